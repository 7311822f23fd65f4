"""Searches: areas and a period in, scenes out, each matched to all its areas.

Neighbouring areas share a search, a long period is cut into calendar quarters, and every search is paged to its
end: it is complete only when the server said so. Scenes leave while the pages still come in, but for the editions
(twins) of one scene, which wait for each other.
"""

from __future__ import annotations

import hashlib
import json
from bisect import insort
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from math import ceil, floor
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

import shapely
from pystac_client import ItemSearch
from shapely import Polygon

from s2async.answers import excerpt
from s2async.catalogs import TWIN_SECONDS, Catalog, are_twins, edition, links, to_scene
from s2async.errors import BadAnswer, RemoteError, TransientError
from s2async.models import Area, Scene, SearchReport
from s2async.neighbours import Matcher, groups, surround

__all__ = ["Fetch", "Matcher", "Request", "Search", "Twins", "plan", "run_search", "spans"]

LAUNCH = datetime(2015, 6, 23, tzinfo=UTC)
"""Launch of Sentinel-2A: no scene is older."""

MAX_ITEMS = 100_000
"""Items after which a search is given up: a server that never ends must not fill the memory."""

MAX_COUNT = 10**9
"""Items that a catalogue may count: larger numbers are none, and some have thousands of digits."""

EMPTY_PAGES = 3
"""Empty pages in a row that still name a next one."""

STALE_PAGES = 2
"""Pages in a row that hold items, but no new one, after which paging does not advance."""

MIN_LIMIT = 12
"""Items a page below which a 502 is no longer taken for an answer that was too large."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """One question to the catalogue: what was sensed here, from start until before end?"""

    label: str
    """Names the areas and the span, for people."""
    key: str
    """Identifies the same search in a later run: 16 hex digits."""
    geometry: Polygon
    """A small convex polygon around all its areas, lon/lat."""
    start: datetime
    end: datetime


class Request(NamedTuple):
    """One page to ask for."""

    method: str
    url: str
    body: Mapping[str, Any] | None


class Fetch(Protocol):
    """The transport as a search sees it: asks, retries by itself, and decodes the JSON of the answer."""

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        """Ask once more or less; statuses in ``final`` are not retried. Raises a `RemoteError`."""


# ---- planning ---------------------------------------------------------------------------------------------


def plan(
    areas: Sequence[Area], start: datetime | None, end: datetime | None, catalog: Catalog, *, now: datetime
) -> list[Search]:
    """Cut the whole question into searches.

    The parts of a multi-part area are grouped one by one, so an area on both sides of 180 degrees, or with an
    island far away, never asks for all that lies between. Scenes that two searches return are harmless.

    Args:
        areas: What to watch.
        start: First instant, aware; None is the launch of Sentinel-2.
        end: First instant that is no longer wanted, aware; None is open.
        catalog: Whom to ask; part of each search's key.
        now: No span begins later: the present and a day, for clocks that differ.
    """
    owned = [(area, part) for area in areas for part in shapely.get_parts(area.polygon)]
    when = spans(start, end, now=now)
    searches = []
    for members in groups([part for _, part in owned]):
        geometry = surround([owned[member][1] for member in members])
        names = list(dict.fromkeys(owned[member][0].name for member in members))
        who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        for first, last in when:
            days = f"{first:%Y-%m-%d}/{last - timedelta(microseconds=1):%Y-%m-%d}"
            told = (catalog.url, catalog.collection, geometry.wkt, first.isoformat(), last.isoformat())
            key = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
            searches.append(Search(label=f"{who}, {days}", key=key, geometry=geometry, start=first, end=last))
    return searches


def spans(start: datetime | None, end: datetime | None, *, now: datetime) -> list[tuple[datetime, datetime]]:
    """Cut a half-open period at the calendar quarters (UTC), so that later runs ask the same questions.

    An open end runs to the end of the quarter that ``now`` lies in.
    """
    cuts = []
    first = max((start or LAUNCH).astimezone(UTC), LAUNCH)
    while first < now and (end is None or first < end):
        months = first.year * 12 + (first.month - 1) // 3 * 3 + 3
        last = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
        cuts.append((first, last if end is None else min(last, end.astimezone(UTC))))
        first = last
    return cuts


# ---- paging -----------------------------------------------------------------------------------------------


def first_request(search: Search, catalog: Catalog, limit: int) -> Request:
    """The request for the first page.

    The interval is closed, as STAC has it, and ends at the first instant of the next span: what was sensed exactly
    then is dropped on arrival, so nothing depends on the fractions of a second that a server keeps. Cloud cover is
    not asked for, because a server would leave out the items that tell none.
    """
    asked = ItemSearch(
        f"{catalog.url}/search",
        collections=[catalog.collection],
        intersects=json.loads(shapely.to_geojson(search.geometry)),
        datetime=(search.start, search.end),
        limit=limit,
    )
    return Request("POST", asked.url, asked.get_parameters())


def next_request(page: Mapping[str, Any], asked: Request) -> Request | None:
    """The request for the page after this one, as the STAC API's item search writes it; None after the last.

    Raises:
        BadAnswer: There is a link, but none that can be followed: not http(s), neither GET nor POST.
    """
    link = next(iter(links(page, "next")), None)
    if link is None:
        return None
    href, method, body = link.get("href"), str(link.get("method") or "GET").upper(), link.get("body") or {}
    try:
        url = urljoin(asked.url, href)
        usable = bool(href) and urlsplit(url).scheme in ("http", "https")
    except (TypeError, ValueError):
        usable = False
    if not usable or method not in ("GET", "POST") or not isinstance(body, Mapping):
        raise BadAnswer(f"the next page cannot be asked for: {excerpt(ascii(link).encode(), 200)}")
    if method == "GET":
        return Request(method, url, None)
    return Request(method, url, {**(asked.body or {}), **body} if link.get("merge") is True else body)


def _features(page: Any) -> list[Any]:
    features = page.get("features") if isinstance(page, Mapping) else None
    if not isinstance(features, list) or page.get("type") != "FeatureCollection":
        raise BadAnswer(f"the answer is not a FeatureCollection: {excerpt(ascii(page).encode())}")
    return features


def _matched(page: Mapping[str, Any]) -> int | None:
    """How many items the server counts in the whole search, if it does and if it makes sense."""
    context = page.get("context")
    told = page.get("numberMatched", context.get("matched") if isinstance(context, Mapping) else None)
    return told if isinstance(told, int) and 0 <= told <= MAX_COUNT else None


def _identity(item: Any, catalog: Catalog) -> str:
    """Tells an item from all others: its collection and id, or all of it where the id is no text."""
    if isinstance(item, Mapping) and isinstance(item.get("id"), str):
        collection = item.get("collection")
        return f"{catalog.collection if collection is None else collection}/{item['id']}"
    return hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()


# ---- running ----------------------------------------------------------------------------------------------


async def run_search(
    search: Search,
    catalog: Catalog,
    fetch: Fetch,
    *,
    max_scene_cloud: float,
    twins: Literal["newest", "all"],
    on_scene: Callable[[Scene], Awaitable[None]],
    on_notice: Callable[[str], None],
    limit: int = 100,
) -> SearchReport:
    """Page through one search and hand out its scenes.

    Args:
        search: What to ask.
        catalog: Whom to ask.
        fetch: The transport.
        max_scene_cloud: Per cent of the whole scene above which it is dropped; a scene that tells none is kept.
            With twins, the newest edition's cloud counts.
        twins: ``newest`` hands out only the newest edition of each scene (see `catalogs.edition`), ``all`` all.
        on_scene: Awaited for each scene; the search waits as long as it does.
        on_notice: Told, in one line each, what was left out or kept for want of knowledge.
        limit: Items a page. Halved, and the search begun again, when the server answers 502: Earth Search does so
            for answers of more than about 6 MB.

    Returns:
        How it ended. What a server does wrong never raises: it makes the report incomplete, with a reason, and
        the scenes that were found before are handed out all the same.
    """
    intake = _Intake(search, catalog, max_scene_cloud, newest=twins == "newest")
    reason, tries = "", 2
    while tries and not reason:
        final = frozenset({502}) if limit > MIN_LIMIT else frozenset[int]()
        try:
            matched = await _page_through(first_request(search, catalog, limit), fetch, final, intake, on_scene)
            tries -= 1
            if matched <= len(intake.listed):
                break
            if not tries:
                reason = f"the server counts {matched} items, but gave {len(intake.listed)}"
        except RemoteError as error:
            if isinstance(error, TransientError) and error.status in final:
                limit = max(MIN_LIMIT, limit // 2)
            else:
                reason = str(error) or type(error).__name__
        except RecursionError:  # what json.loads took may be too deep for what comes after it
            reason = "an answer that is nested too deeply"
    for scene in intake.rest():
        await on_scene(scene)
    for text in intake.notices():
        on_notice(f"{search.label}: {text}")
    return SearchReport(
        label=search.label, key=search.key, complete=not reason, items=len(intake.ours), reason=reason
    )


async def _page_through(
    first: Request,
    fetch: Fetch,
    final: frozenset[int],
    intake: _Intake,
    on_scene: Callable[[Scene], Awaitable[None]],
) -> int:
    """Ask for page after page until none follows; returns how many items the server last counted."""
    asked: set[str] = set()
    listed: set[str] = set()
    matched = empty = stale = 0
    request: Request | None = first
    while request is not None:
        mark = json.dumps(request, sort_keys=True)
        if mark in asked:
            raise BadAnswer("paging does not advance: the next page is one that was asked for before")
        asked.add(mark)
        page = await fetch(request.method, request.url, request.body, final=final)
        before, items, scenes = len(listed), _features(page), list[Scene]()
        count = len(items)
        try:
            for item in items:
                listed.add(_identity(item, intake.catalog))
                scenes += intake.add(item)
        finally:  # what was found before a fault is handed out, too
            items.clear()  # an item takes 76 kB, its scene 3, and scenes may have to wait
            for scene in scenes:
                await on_scene(scene)
        counted = _matched(page)
        matched = matched if counted is None else counted
        request = next_request(page, request)
        if len(listed) > before:
            empty = stale = 0
        elif count:
            stale += 1
        else:
            empty += 1
        if request and (empty > EMPTY_PAGES or stale >= STALE_PAGES):
            raise BadAnswer(f"paging does not advance: {empty + stale} pages in a row without a new item")
        if request and len(listed) >= MAX_ITEMS:
            raise BadAnswer(f"more than {MAX_ITEMS} items: split the areas or the period")
    return matched


class _Intake:
    """Items in, scenes out: each item once, the newest edition of each scene, none too cloudy."""

    def __init__(self, search: Search, catalog: Catalog, max_scene_cloud: float, *, newest: bool) -> None:
        self.listed: set[str] = set()
        """Identities of all items that came."""
        self.ours: set[str] = set()
        """Those of the collection that was asked for."""
        self._search = search
        self.catalog = catalog
        self._max_scene_cloud = max_scene_cloud
        self._twins = Twins(descending=catalog.descending) if newest else None
        self._refused: list[str] = []
        self._cloudless = 0

    def add(self, item: Any) -> list[Scene]:
        """Take an item; returns the scenes that can go now."""
        identity = _identity(item, self.catalog)
        if identity in self.listed:
            return []
        self.listed.add(identity)
        collection = item.get("collection") if isinstance(item, Mapping) else None
        if collection not in (None, self.catalog.collection):
            return []
        self.ours.add(identity)
        try:
            if not isinstance(item, Mapping):
                raise BadAnswer("an item that is not an object")
            scene = to_scene(item, self.catalog)
        except BadAnswer as error:
            self._refused.append(str(error))
            return []
        if not self._search.start <= scene.datetime < self._search.end:
            return []
        self._cloudless += scene.cloud is None
        return self._clear([scene] if self._twins is None else self._twins.add(scene))

    def rest(self) -> list[Scene]:
        """The scenes that were still held back, at the end of the search."""
        return self._clear([] if self._twins is None else self._twins.rest())

    def notices(self) -> list[str]:
        """What a person should know, one line each."""
        told = {
            "items of other collections, ignored": len(self.listed) - len(self.ours),
            "items that tell no cloud cover, kept": self._cloudless,
            f"unusable items, skipped, such as {self._refused[0] if self._refused else ''}": len(self._refused),
        }
        return [f"{count} {text}" for text, count in told.items() if count]

    def _clear(self, scenes: list[Scene]) -> list[Scene]:
        return [scene for scene in scenes if scene.cloud is None or scene.cloud <= self._max_scene_cloud]


class Twins:
    """Holds scenes back until all their editions have come, and lets only the newest of them go.

    In a stream that runs from new to old, that is when a scene comes that is more than a second older. If the
    stream turns out to run otherwise, scenes wait until its end.
    """

    def __init__(self, *, descending: bool) -> None:
        self._descending = descending
        self._last: datetime | None = None
        self._waiting: list[Scene] = []
        self._editions: defaultdict[tuple[str, str, int], list[tuple[Any, Scene]]] = defaultdict(list)
        """By platform, grid square and second: a square has many scenes, and a second few."""

    def add(self, scene: Scene) -> list[Scene]:
        """Take a scene; returns those, in the order in which they came, that can go now."""
        if self._last is not None and scene.datetime > self._last:
            self._descending = False
        self._last = scene.datetime
        self._waiting.append(scene)
        place = scene.platform, scene.grid, _second(scene)
        insort(self._editions[place], (edition(scene), scene), key=itemgetter(0))
        return self._release(scene.datetime + timedelta(seconds=TWIN_SECONDS)) if self._descending else []

    def rest(self) -> list[Scene]:
        """All that still wait and are not superseded; nothing more is to come."""
        return self._release(None)

    def _release(self, newest_open: datetime | None) -> list[Scene]:
        gone = list(takewhile(lambda scene: newest_open is None or scene.datetime > newest_open, self._waiting))
        del self._waiting[: len(gone)]
        return [scene for scene in gone if not self._is_superseded(scene)]

    def _is_superseded(self, scene: Scene) -> bool:
        own, second = edition(scene), _second(scene)
        near = (self._editions.get((scene.platform, scene.grid, second + step), ()) for step in _STEPS)
        newer = (takewhile(lambda entry: entry[0] > own, reversed(entries)) for entries in near)
        return any(are_twins(scene, twin) for entries in newer for _, twin in entries)


_STEPS = range(-ceil(TWIN_SECONDS), ceil(TWIN_SECONDS) + 1)
"""Seconds away in which a twin may be."""


def _second(scene: Scene) -> int:
    return floor(scene.datetime.timestamp())
