"""Faults of the API's pages: responses that are not pages, broken paging, odd items."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from s2async.sandbox.server.answers import GEOJSON, Answer, Asked, Fault, api_error, content, json_answer

Document = dict[str, Any]

CLOUDS: Final[Mapping[str, Any]] = {"null": None, "text": "many", "nan": float("nan"), "150": 150, "-1": -1}
"""Values of ``eo:cloud_cover`` that are not usable."""
IDS: Final[Mapping[str, Any]] = {
    "empty": "",
    "long": "x" * 10_000,
    "path": "../../../escaped",
    "nul": "S2A\0item",
    "emoji": "S2A_\N{EARTH GLOBE EUROPE-AFRICA}",
    "number": 7,
    "newline": "S2A\nError: forged line",
    "escape": "S2A\x1b]0;owned\x07\x1b[2J",
    "sql": "'; DROP TABLE jobs; --",
    "dots": "..",
    "list": ["S2A"],
}
"""Values that are not valid ids, or would do harm as a path, a line or a statement."""


def body(text: str, media_type: str = GEOJSON) -> Fault:
    """Return a fault that replaces the body, with status 200."""
    return lambda _asked, _answer: json_answer(text, media_type=media_type)


def malformed(share: float = 0.5) -> Fault:
    """Return a fault that cuts JSON off after a share of it; Content-Length is that of the cut body."""

    def spoil(_asked: Asked, answer: Answer) -> Answer:
        text = _plain(answer)
        return _answered(answer, text[: int(len(text) * share)])

    return spoil


def nested(depth: int = 100_000) -> Fault:
    """Return a fault that replaces the body by nested lists."""
    return body("[" * depth + "]" * depth)


def pages(size: int) -> Fault:
    """Return a fault that limits pages to a number of items, whatever the client requested.

    This is not a failure: it can be combined with other faults.
    """

    def change(asked: Asked, page: Document) -> None:
        features = page["features"]
        if len(features) > size:
            page["features"] = features[:size]
            page["numberReturned"] = size
            _lead(page, asked, _token(features[size - 1]))

    return _page(change)


def no_post(status: int = 405) -> Fault:
    """Return a fault that answers a search by POST with this status; a search by GET is not affected."""
    return lambda asked, answer: api_error(status, HTTPStatus(status).phrase) if asked.method == "POST" else answer


def next_link(how: str, to: str = "") -> Fault:
    """Return a fault in which the ``next`` link is wrong or unusual.

    Args:
        how: ``same`` links to this page, ``back`` to the first, ``retoken`` to this page with a new token each
            time, ``lost`` omits the link although items are left, ``elsewhere`` links to the URL ``to``,
            ``hrefless`` and ``odd`` cannot be followed; ``get``, ``merge`` and ``relative`` are valid, but have
            other forms.
        to: a URL.
    """
    if how not in _LINKS:
        raise ValueError(f"no link {how!r}; there are {', '.join(_LINKS)}")

    def change(asked: Asked, page: Document) -> None:
        link = next((link for link in page["links"] if link["rel"] == "next"), None)
        if link is not None:
            _LINKS[how](asked, page, link, to)

    return _page(change)


def empty() -> Fault:
    """Return a fault that gives a page without items, whose next link leads to the requested page."""

    def change(asked: Asked, page: Document) -> None:
        page["features"] = []
        page["numberReturned"] = 0
        _lead(page, asked, _asked_token(asked))
        page["links"][0]["body"]["again"] = _count(asked, "again") + 1

    return _page(change)


def endless(most: int = 1000) -> Fault:
    """Return a fault that gives endless pages of new items.

    The pages end after ``most`` pages; the items have no files, and their times are one second apart.
    """

    def change(asked: Asked, page: Document) -> None:
        number = _count(asked, "page") + 1
        for index, item in enumerate(page["features"]):
            item["id"] = f"{item['id']}_{number}"
            item["properties"]["datetime"] = f"2022-01-01T{number // 60:02}:{number % 60:02}:{index % 60:02}Z"
            item["assets"] = {}
        if number < most:
            _lead(page, asked, _asked_token(asked))
            page["links"][0]["body"]["page"] = number

    return _page(change)


def shifted() -> Fault:
    """Return a fault that omits the first item of a page, as if the catalogue had changed between two pages."""

    def change(asked: Asked, page: Document) -> None:
        if page["features"]:
            _lead(page, asked, _token(page["features"][-1]))
            del page["features"][0]

    return _page(change)


def duplicates(times: int = 2) -> Fault:
    """Return a fault that repeats each item."""

    def change(_asked: Asked, page: Document) -> None:
        page["features"] = [item for item in page["features"] for _ in range(times)]

    return _page(change)


def matched(number: Any = None, factor: float | None = None) -> Fault:
    """Return a fault that changes the number of matched items: to a number, or to a multiple, rounded up."""

    def change(_asked: Asked, page: Document) -> None:
        found = number if factor is None else math.ceil(page["numberMatched"] * factor)
        page["numberMatched"] = found
        page["context"]["matched"] = found

    return _page(change)


def item(how: str, to: str = "", of: str = "scl") -> Fault:
    """Return a fault that makes items odd.

    Args:
        how: ``no_asset``, ``no_href``, ``null_href``, ``null_geometry``, ``nowhere``, ``no_properties``,
            ``no_datetime``, ``no_object``; ``proj_null``, ``proj_wrong``, ``proj_wkt2``; ``href`` (with ``to``);
            ``cloud:NAME`` of `CLOUDS`, ``id:NAME`` of `IDS`.
        to: a URL.
        of: key of the affected asset.
    """
    kind, _, name = how.partition(":")
    known: Mapping[str, Any] = {"cloud": CLOUDS, "id": IDS}.get(kind, {})
    if how not in _ITEMS and name not in known:
        raise ValueError(f"no odd item {how!r}")

    def change(_asked: Asked, page: Document) -> None:
        for index, one in enumerate(page["features"]):
            if kind == "cloud":
                one["properties"]["eo:cloud_cover"] = known[name]
            elif kind == "id":
                one["id"] = known[name]
            else:
                page["features"][index] = _ITEMS[how](one, of, to)

    return _page(change)


# ---- links ------------------------------------------------------------------------------------------------


def _same(asked: Asked, page: Document, _link: Document, _to: str) -> None:
    _lead(page, asked, _asked_token(asked))


def _back(asked: Asked, page: Document, _link: Document, _to: str) -> None:
    _lead(page, asked, None)


def _retoken(asked: Asked, page: Document, _link: Document, _to: str) -> None:
    _lead(page, asked, _asked_token(asked))
    page["links"][0]["body"]["cursor"] = _count(asked, "cursor") + 1


def _lost(_asked: Asked, page: Document, link: Document, _to: str) -> None:
    page["links"].remove(link)


def _elsewhere(_asked: Asked, _page: Document, link: Document, to: str) -> None:
    link["href"] = to


def _hrefless(_asked: Asked, _page: Document, link: Document, _to: str) -> None:
    del link["href"]


def _odd(_asked: Asked, _page: Document, link: Document, _to: str) -> None:
    link["method"] = "DELETE"


def _get(_asked: Asked, _page: Document, link: Document, _to: str) -> None:
    sent = link.pop("body")
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in sent.items()}
    texts["collections"] = ",".join(sent.get("collections") or ())
    link |= {"method": "GET", "href": f"{link['href']}?{urlencode(texts)}"}


def _merge(_asked: Asked, _page: Document, link: Document, _to: str) -> None:
    link |= {"merge": True, "body": {"next": link["body"]["next"]}}


def _relative(_asked: Asked, _page: Document, link: Document, _to: str) -> None:
    link["href"] = "search"


_LINKS: Final[Mapping[str, Callable[[Asked, Document, Document, str], None]]] = {
    "same": _same,
    "back": _back,
    "retoken": _retoken,
    "lost": _lost,
    "elsewhere": _elsewhere,
    "hrefless": _hrefless,
    "odd": _odd,
    "get": _get,
    "merge": _merge,
    "relative": _relative,
}


def _lead(page: Document, asked: Asked, token: str | None) -> None:
    """Make the page's ``next`` link lead to the page with this token; without a token, to the first page."""
    sent = {key: value for key, value in _sent(asked).items() if key != "next"}
    rest = [link for link in page["links"] if link["rel"] != "next"]
    href = next(link["href"] for link in rest if link["rel"] == "root") + "/search"
    link = {
        "rel": "next",
        "type": GEOJSON,
        "method": "POST",
        "href": href,
        "merge": False,
        "body": sent if token is None else {**sent, "next": token},
    }
    page["links"] = [link, *rest]


def _sent(asked: Asked) -> Document:
    sent: Document = json.loads(asked.body or b"{}") if asked.method == "POST" else dict(asked.parameters)
    return sent


def _asked_token(asked: Asked) -> str | None:
    return _sent(asked).get("next")


def _count(asked: Asked, name: str) -> int:
    return int(_sent(asked).get(name, 0))


def _token(one: Document) -> str:
    return f"{one['properties']['datetime']},{one['id']},{one['collection']}"


# ---- items ------------------------------------------------------------------------------------------------


def _without_asset(one: Document, of: str, _to: str) -> Any:
    one["assets"].pop(of, None)
    return one


def _href(one: Document, of: str, to: str) -> Any:
    one["assets"][of]["href"] = to
    return one


def _without_href(one: Document, of: str, _to: str) -> Any:
    del one["assets"][of]["href"]
    return one


def _null_href(one: Document, of: str, _to: str) -> Any:
    one["assets"][of]["href"] = None
    return one


def _null_geometry(one: Document, _of: str, _to: str) -> Any:
    one["geometry"] = None
    return one


def _nowhere(one: Document, _of: str, _to: str) -> Any:
    one["geometry"] = one["bbox"] = None
    return one


def _lacking(name: str) -> Callable[[Document, str, str], Any]:
    def change(one: Document, _of: str, _to: str) -> Any:
        if name == "properties":
            one["properties"] = None
        else:
            del one["properties"][name]
        return one

    return change


def _projected(**projection: Any) -> Callable[[Document, str, str], Any]:
    def change(one: Document, _of: str, _to: str) -> Any:
        for name in ("proj:epsg", "proj:code"):
            one["properties"].pop(name, None)
        one["properties"] |= {f"proj:{name}": value for name, value in projection.items()}
        return one

    return change


_ITEMS: Final[Mapping[str, Callable[[Document, str, str], Any]]] = {
    "no_asset": _without_asset,
    "no_href": _without_href,
    "null_href": _null_href,
    "href": _href,
    "null_geometry": _null_geometry,
    "nowhere": _nowhere,
    "no_properties": _lacking("properties"),
    "no_datetime": _lacking("datetime"),
    "no_object": lambda one, _of, _to: one["id"],
    "proj_null": _projected(epsg=None),
    "proj_wrong": _projected(epsg=32601, code="EPSG:32601", transform=[1, 0, 0, 0, 1, 0], shape=[1, 1]),
    "proj_wkt2": _projected(wkt2='PROJCRS["nonsense"]'),
}


# ---- pages ------------------------------------------------------------------------------------------------


def _page(change: Callable[[Asked, Document], None]) -> Fault:
    """Return a fault that only affects pages of items; other responses are not changed."""

    def fault(asked: Asked, answer: Answer) -> Answer:
        if answer.status != 200 or answer.headers.get("Content-Type") != GEOJSON:
            return answer
        page = json.loads(_plain(answer))
        if not isinstance(page.get("features"), list):
            return answer
        change(asked, page)
        return _answered(answer, json.dumps(page, separators=(",", ":")).encode())

    return fault


def _plain(answer: Answer) -> bytes:
    found = content(answer.body)
    return gzip.decompress(found) if answer.headers.get("Content-Encoding") == "gzip" else found


def _answered(answer: Answer, text: bytes) -> Answer:
    headers = {name: value for name, value in answer.headers.items() if name != "Content-Encoding"}
    return replace(answer, headers=headers, body=text)


FAULTS: Final[Mapping[str, Callable[..., Fault]]] = {
    "body": body,
    "malformed": malformed,
    "nested": nested,
    "pages": pages,
    "no_post": no_post,
    "next": next_link,
    "empty": empty,
    "endless": endless,
    "shifted": shifted,
    "duplicates": duplicates,
    "matched": matched,
    "item": item,
}
"""Functions that make faults, keyed by name; their parameters are the settings of the fault."""
