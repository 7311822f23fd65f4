"""Requests the pages of a catalogue's searches: by POST or GET, and always at the catalogue's own origin.

Servers behind a proxy that terminates TLS often write links with ``http``, or with the name of an internal host.
Such links are followed at the origin of the request; no link leads a search to another server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode, urljoin, urlsplit

from s2async.catalog.assets import at_origin_of
from s2async.catalog.items import links
from s2async.errors import BadAnswer
from s2async.text import excerpt, origin, shown

POST_REFUSED: Final = frozenset({405, 501})
"""Statuses with which a server without searches by POST responds (RFC 9110, 15.5.6 and 15.6.2)."""


class Request(NamedTuple):
    """The request for one page."""

    method: str
    url: str
    body: Mapping[str, Any] | None


class Fetch(Protocol):
    """A function that sends a request, with retries, and decodes the JSON response."""

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        """Send a request; do not retry it after statuses in ``final``. Raises a `RemoteError`."""


def as_get(request: Request) -> Request:
    """Return the same search as a GET request: lists joined by commas, objects as JSON text, as in pystac-client.

    If the URL already has a query, it is kept.
    """
    values = {name: _as_text(value) for name, value in (request.body or {}).items() if value is not None}
    query = urlencode(values)
    joint = "&" if urlsplit(request.url).query else "?"
    return Request("GET", f"{request.url}{joint}{query}" if query else request.url, None)


def _as_text(value: object) -> str:
    if isinstance(value, list | tuple) and not any(isinstance(one, Mapping | list) for one in value):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def next_request(page: Mapping[str, Any], asked: Request) -> Request | None:
    """Return the request for the next page (STAC API, item search); None after the last page.

    The request goes to the origin of the previous request, whatever the link says.

    Raises:
        BadAnswer: the link cannot be followed, because it is not http(s), or neither GET nor POST.
    """
    link = next(iter(links(page, "next")), None)
    if link is None:
        return None
    method, body = str(link.get("method") or "GET").upper(), link.get("body") or {}
    url = _target(link, asked.url)
    if not url or method not in ("GET", "POST") or not isinstance(body, Mapping):
        raise BadAnswer(f"the next page cannot be asked for: {excerpt(ascii(link).encode(), 200)}")
    url = at_origin_of(asked.url, url)
    if method == "GET":
        return Request(method, url, None)
    return Request(method, url, {**(asked.body or {}), **body} if link.get("merge") is True else body)


def _target(link: Mapping[str, Any], base: str) -> str:
    """Return the http(s) URL of a link, unchanged but absolute; the empty string if it has none."""
    href = link.get("href")
    try:
        url = urljoin(base, href)
        return url if href and urlsplit(url).scheme in ("http", "https") else ""
    except (TypeError, ValueError):
        return ""


class Asker:
    """A `Fetch` for all searches of a run that remembers whether the catalogue supports POST.

    If a catalogue refuses the first searches by POST, GET is used from then on.

    Args:
        fetch: sends requests.
        on_notice: called with a one-line notice about unusual behaviour, once for each kind.
    """

    def __init__(self, fetch: Fetch, on_notice: Callable[[str], None]) -> None:
        self._fetch = fetch
        self._on_notice = on_notice
        self._posts: bool | None = None
        """Whether the catalogue supports searches by POST; None while this is unknown."""
        self._told_of_links = False

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        """Fetch a page; see `Fetch`."""
        page = await self._page(Request(method, url, body), final)
        self._tell_of_links(page, url)
        return page

    async def _page(self, request: Request, final: frozenset[int]) -> Any:
        if request.method == "POST" and self._posts is not False:
            try:
                page = await self._fetch(*request, final=final)
            except BadAnswer as error:
                if self._posts or error.status not in POST_REFUSED:
                    raise
                if self._posts is None:
                    self._posts = False
                    self._on_notice(f"the catalogue refuses searches by POST ({error.status}): GET is used")
            else:
                self._posts = True
                return page
        if request.method == "POST":
            request = as_get(request)
        return await self._fetch(*request, final=final)

    def _tell_of_links(self, page: object, url: str) -> None:
        link = next(iter(links(page, "next")), None) if isinstance(page, Mapping) else None
        named = origin(_target(link, url)) if link is not None else ""
        if named and named != origin(url) and not self._told_of_links:
            self._told_of_links = True
            self._on_notice(
                f"the catalogue's links to further pages name {shown(named)}; {shown(origin(url))}, which was "
                "asked, is asked for them too"
            )
