"""The first pages of a search, requested as in a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from s2async.catalog import search
from s2async.catalog.items import links
from s2async.catalog.periods import TOLERANCE
from s2async.config.model import Config
from s2async.errors import RemoteError
from s2async.models import Area

PAGES: Final = 2
"""Number of pages that are requested: the second shows whether links can be followed."""


def whole_time(config: Config, areas: Sequence[Area]) -> search.Search | None:
    """Return the searches of a run over the first areas as one search over the whole period.

    None if a run makes no search.
    """
    period, now = config.search.period, datetime.now(UTC) + TOLERANCE
    planned = search.plan(areas, period.start, period.end, config.catalog(), now=now)
    same = [one for one in planned if one.geometry == planned[0].geometry]
    if not same:
        return None
    who, start, end = same[0].label.rpartition(", ")[0], same[0].start, max(one.end for one in same)
    label = f"{who}, {start:%Y-%m-%d}/{end - timedelta(microseconds=1):%Y-%m-%d}"
    return replace(same[0], start=start, end=end, label=label)


class Pages:
    """Fetches the first pages of a search, and ends the search after them.

    Args:
        fetch: requests a page.
    """

    def __init__(self, fetch: search.Fetch) -> None:
        self._fetch = fetch
        self.read: list[list[Any]] = []
        """Items of each page."""
        self.matched: int | None = None
        """The catalogue's count of items; None if it gives no count."""
        self.following = False
        """Whether the first page has a link to the next one."""
        self.failed: RemoteError | None = None
        """Error of the last request."""

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        """Request a page; see `catalog.search.Fetch`."""
        self.failed = None
        try:
            page = await self._fetch(method, url, body, final=final)
        except RemoteError as error:
            self.failed = error
            raise
        features = page.get("features") if isinstance(page, Mapping) else None
        if not isinstance(features, list) or page.get("type") != "FeatureCollection":
            return page
        count = page.get("numberMatched")
        self.matched = count if type(count) is int and self.matched is None else self.matched
        self.following = self.following or bool(links(page, "next"))
        self.read.append([*features])
        # Without the count, the search does not start again when pages are missing.
        kept = {key: value for key, value in page.items() if key not in ("numberMatched", "context")}
        return kept if len(self.read) < PAGES else kept | {"links": []}
