"""Searches a catalogue for the scenes of areas in a period.

Neighbouring areas share a search, and a long period is split at calendar quarters. Every search is paged to its
end: it is complete only when the server states that no page follows. Scenes are passed on while pages are still
arriving; only the reprocessings of one acquisition wait for each other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec

import shapely
from shapely import MultiPolygon, Polygon

from s2async.catalog.intake import Intake, identity
from s2async.catalog.pages import Fetch, Request, next_request
from s2async.catalog.periods import LAUNCH, spans
from s2async.catalog.planning import Matcher, parts_of, seasons, shared, within
from s2async.catalog.providers import Catalog
from s2async.errors import BadAnswer, RemoteError, TransientError
from s2async.events import Estimate, SearchReport
from s2async.log import context, log
from s2async.models import DEFAULT_MEASURED, Area, Scene
from s2async.text import excerpt, origin

__all__ = ["LAUNCH", "Fetch", "Matcher", "Request", "Search", "plan", "run_search", "spans"]

P = ParamSpec("P")
_log = logging.getLogger("s2async.catalog")

SEARCHERS = 4
"""Maximum number of concurrent searches."""

MAX_ITEMS = 100_000
"""Number of items after which a search is aborted, so that endless paging cannot exhaust memory."""

MAX_COUNT = 10**9
"""Largest plausible count of items; larger numbers, which may have thousands of digits, are ignored."""

EMPTY_PAGES = 3
"""Maximum number of consecutive empty pages with a link to a next page."""

STALE_PAGES = 2
"""Number of consecutive pages without a new item after which a search is aborted."""

USELESS_PAGES = 20
"""Number of consecutive pages with only unusable new items after which a search is aborted: it may be endless."""

MIN_LIMIT = 12
"""Number of items per page above which a 502 is taken to mean that the response was too large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """One search of the catalogue for what was sensed in a geometry, from start to before end."""

    label: str
    """Areas and period, for messages."""
    key: str
    """Identifies the same search in a later run: 16 hex digits."""
    geometry: Polygon | MultiPolygon
    """A convex polygon with few vertices around all its areas, in lon/lat; boxes if areas are `scattered`."""
    start: datetime
    end: datetime
    areas: frozenset[str] = frozenset()
    """Fingerprints of its areas. Its scenes may contain other areas, which have their own searches."""


# ---- planning ---------------------------------------------------------------------------------------------


def plan(
    areas: Sequence[Area], start: datetime | None, end: datetime | None, catalog: Catalog, *, now: datetime
) -> list[Search]:
    """Split areas and period into searches.

    The parts of a multi-part area are grouped separately. Therefore the search for an area on both sides of 180
    degrees, or with a distant island, does not include everything in between. Two searches may return the same
    scene without harm. In each calendar quarter, a search covers only the days from the first to the last day that
    lies in a season of one of its areas.

    Args:
        areas: areas to search.
        start: first instant, aware; None for the launch of Sentinel-2.
        end: first instant after the period, aware; None if the period has no end.
        catalog: catalogue to search; part of each search's key.
        now: instant after which no search starts: the present plus a day, because clocks differ.
    """
    found, owners = parts_of(areas)
    parts: list[Polygon] = found.tolist()
    when = spans(start, end, now=now)
    opens, closes = seasons(areas)
    searches = []
    for members, geometry in shared(parts):
        own = owners[members].tolist()
        names = list(dict.fromkeys(areas[owner].name for owner in own))
        ours = frozenset(areas[owner].fingerprint for owner in own)
        who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        for first, last in within(when, opens[owners[members]], closes[owners[members]]):
            days = f"{first:%Y-%m-%d}/{last - timedelta(microseconds=1):%Y-%m-%d}"
            question = (catalog.url, catalog.collection, geometry.wkt, first.isoformat(), last.isoformat())
            key = hashlib.sha256("\n".join(question).encode()).hexdigest()[:16]
            searches.append(
                Search(label=f"{who}, {days}", key=key, geometry=geometry, start=first, end=last, areas=ours)
            )
    return searches


def expect_load() -> None:
    """Prepare `load` in a thread: without this, it may print a warning about SOCKS proxies, which are not used.

    requests hides this warning of urllib3 while it is imported. But the filters of warnings belong to the process:
    rasterio changes them for each mask that it draws, and when it restores them in another thread at that moment,
    the filter of requests is lost. A filter that was there before is restored as well.
    """
    warnings.filterwarnings("ignore", message="SOCKS support in urllib3")


def load() -> None:
    """Load the library that makes requests. This takes a sixth of the time of all imports; a thread can do it."""
    import pystac_client  # noqa: F401


# ---- paging -----------------------------------------------------------------------------------------------


def first_request(search: Search, catalog: Catalog, limit: int) -> Request:
    """Return the request for the first page.

    STAC intervals are closed, so the requested interval ends at the first instant of the next period. A scene at
    exactly that instant is discarded on arrival, so the precision of a server's times does not matter.
    Cloud cover is not part of the query, because a server would leave out items without a value.
    """
    from pystac_client import ItemSearch  # loads slowly; see `load`

    asked = ItemSearch(
        f"{catalog.url}/search",
        collections=[catalog.collection],
        intersects=json.loads(shapely.to_geojson(search.geometry)),
        datetime=(search.start, search.end),
        limit=limit,
    )
    return Request("POST", asked.url, asked.get_parameters())


def _features(page: Any) -> list[Any]:
    features = page.get("features") if isinstance(page, Mapping) else None
    if not isinstance(features, list) or page.get("type") != "FeatureCollection":
        raise BadAnswer(f"the answer is not a FeatureCollection: {excerpt(ascii(page).encode())}")
    return features


def _matched(page: Mapping[str, Any]) -> int | None:
    """Return the server's count of items in the whole search; None if it is absent or implausible."""
    context = page.get("context")
    counts = page.get("numberMatched"), context.get("matched") if isinstance(context, Mapping) else None
    return next((count for count in counts if type(count) is int and 0 <= count <= MAX_COUNT), None)


# ---- running ----------------------------------------------------------------------------------------------


def _logged(
    run: Callable[Concatenate[Search, Catalog, P], Awaitable[SearchReport]],
) -> Callable[Concatenate[Search, Catalog, P], Coroutine[Any, Any, SearchReport]]:
    """Log when a search begins and how it ends; the logged time includes waits of its scenes for workers."""

    async def logged(search: Search, catalog: Catalog, /, *args: P.args, **kwargs: P.kwargs) -> SearchReport:
        begun, host = time.monotonic(), {"host": origin(catalog.url)}
        with context(search=search.label):
            log(_log, logging.INFO, "search_begun", host)
            report = await run(search, catalog, *args, **kwargs)
            level = logging.INFO if report.complete else logging.WARNING
            fields = {"complete": report.complete, "items": report.items, "reason": report.reason}
            log(_log, level, "search_ended", {**host, **fields, "seconds": time.monotonic() - begun})
        return report

    logged.__doc__ = run.__doc__
    return logged


@_logged
async def run_search(
    search: Search,
    catalog: Catalog,
    fetch: Fetch,
    *,
    max_scene_cloud: float,
    newest_only: bool,
    measured: Collection[str] = DEFAULT_MEASURED,
    on_scene: Callable[[Scene], Awaitable[None]],
    on_notice: Callable[[str], None],
    limit: int = 100,
    known: Estimate | None = None,
) -> SearchReport:
    """Page through one search and pass on its scenes.

    If the catalogue counts more items than it returned, the search is repeated with another page size. If items
    were lost because of a missing link or a change of order, the second pass returns other items. If it returns
    the same items, the count is an estimate, as in pgSTAC.

    Args:
        search: the search.
        catalog: the catalogue to search.
        fetch: sends requests.
        max_scene_cloud: maximum cloud cover of a scene, in per cent. Scenes with more are dropped; scenes without
            a value are kept. With ``newest_only``, the cloud cover of the newest item counts.
        newest_only: whether to pass on only the newest item of a scene that was processed several times; see
            `catalog.reprocessing`.
        measured: keys of the assets that the cloud rule measures.
        on_scene: awaited for each scene; the search waits for it.
        on_notice: called with a one-line notice about items that were left out, or kept without a value.
        limit: items per page. A 502 halves the limit and restarts the search: Earth Search sends this status for
            responses of more than about 6 MB.
        known: the catalogue's estimate from an earlier run; if the same items return, there is no second pass.

    Returns:
        How the search ended. Errors of the server are not raised: the report is then incomplete and contains a
        reason, and scenes that arrived earlier are passed on.
    """
    intake = Intake(
        catalog,
        search.start,
        search.end,
        max_scene_cloud=max_scene_cloud,
        newest_only=newest_only,
        measured=measured,
    )
    reason, estimate = "", None
    first: _Paged | None = None
    while True:
        final = frozenset({502}) if limit > MIN_LIMIT else frozenset[int]()
        try:
            paged = await _page_through(
                first_request(search, catalog, limit), catalog, fetch, final, intake, on_scene
            )
        except RemoteError as error:
            if isinstance(error, TransientError) and error.status in final:
                limit = max(MIN_LIMIT, limit // 2)
                continue
            reason = str(error) or type(error).__name__
            break
        except RecursionError:  # the JSON was decoded, but is nested too deeply for the code of this module
            reason = "an answer that is nested too deeply"
            break
        if paged.matched <= len(intake.listed):
            break
        found = Estimate(counted=paged.matched, ids=_digest(intake.listed))
        if first is None and known is not None and found.ids == known.ids and found.counted <= known.counted:
            estimate = known
            break
        if first is None:
            first, limit = paged, _another_size(min(limit, paged.longest or limit))
        elif first.listed == paged.listed == intake.listed:
            estimate = found
            break
        else:
            reason = f"the server counts {paged.matched} items, but gave {len(intake.listed)}"
            break
    for scene in intake.rest():
        await on_scene(scene)
    for text in intake.notices():
        on_notice(f"{search.label}: {text}")
    reason = reason or intake.fault()
    return SearchReport(
        label=search.label,
        key=search.key,
        complete=not reason,
        items=len(intake.ours),
        reason=reason,
        estimate=None if reason else estimate,
    )


def estimates_told(reports: Sequence[SearchReport]) -> str:
    """Return a notice about searches whose catalogue counts more items than it returns; empty without any."""
    found = [(report, report.estimate) for report in reports if report.estimate is not None]
    if not found:
        return ""
    (report, estimate), many = found[0], len(found) > 1
    return (
        f"{f'{len(found):,} searches' if many else 'a search'}: the catalogue counts more items than it gives, "
        f"also in pages of another size, so its count is taken for an estimate "
        f"({'such as ' * many}{report.label}: {estimate.counted:,} counted, {report.items:,} given)"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Paged:
    """The result of one pass through all pages."""

    listed: frozenset[str]
    """Identities of the items."""
    matched: int
    """The server's last count of items; 0 if it sent none."""
    longest: int
    """Number of items on the longest page."""


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _another_size(size: int) -> int:
    """Return a smaller page size without a common divisor above 2, so that page boundaries seldom coincide."""
    return size // 2 + 1 if size > 2 else 1


async def _page_through(
    first: Request,
    catalog: Catalog,
    fetch: Fetch,
    final: frozenset[int],
    intake: Intake,
    on_scene: Callable[[Scene], Awaitable[None]],
) -> _Paged:
    """Request page after page until none follows."""
    asked: set[str] = set()
    listed: set[str] = set()
    matched = longest = received = empty = stale = useless = 0
    request: Request | None = first
    while request is not None:
        mark = json.dumps(request, sort_keys=True)
        if mark in asked:
            raise BadAnswer("paging does not advance: the next page is one that was asked for before")
        asked.add(mark)
        page = await fetch(request.method, request.url, request.body, final=final)
        items, names, scenes = _features(page), set[str](), list[Scene]()
        count = len(items)
        try:
            for item in items:
                names.add(name := identity(item, catalog))
                scenes += intake.add(name, item)
        finally:  # scenes before an error are passed on as well
            items.clear()  # an item takes 76 kB, its scene 3 kB, and scenes may have to wait
            for scene in scenes:
                await on_scene(scene)
        counted = _matched(page)
        matched = matched if counted is None else counted
        received, longest = received + len(names), max(longest, count)
        request = next_request(page, request)
        new = names - listed
        listed |= new
        if not new <= intake.refused.keys():
            empty = stale = useless = 0
        elif new:
            useless += 1
        elif count:
            stale += 1
        else:
            empty += 1
        if request and (empty > EMPTY_PAGES or stale >= STALE_PAGES):
            raise BadAnswer(f"paging does not advance: {empty + stale} pages in a row without a new item")
        if request and useless >= USELESS_PAGES:
            raise BadAnswer(f"{useless} pages in a row without an item that can be used: {intake.example}")
        if request and received >= MAX_ITEMS:
            raise BadAnswer(f"more than {MAX_ITEMS} items: split the areas or the period")
    return _Paged(listed=frozenset(listed), matched=matched, longest=longest)
