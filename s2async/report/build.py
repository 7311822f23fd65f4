"""Writes a report: the page, and a page for each area where they are many."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from s2async import files
from s2async._version import __version__
from s2async.cog import headers
from s2async.config.model import Config
from s2async.errors import S2AsyncError
from s2async.geo import area_km2, bounds
from s2async.models import Area, Status, Wanted
from s2async.output import quicklook
from s2async.report import maps as svgmap
from s2async.report import page, scenery, sections, sheet
from s2async.report.data import Look, Scatter, Watched, looks, run_seconds, saving, total
from s2async.report.html import Markup, element
from s2async.report.maps import Outline, Spot
from s2async.report.scene_pairs import Telling
from s2async.report.sections import Entry
from s2async.report.sheet import Picture
from s2async.state.reader import Ledger
from s2async.state.records import OPEN
from s2async.text import duration, size

AREAS: Final = 50
"""Most areas that are shown in the page itself."""
NAMED: Final = 40
"""Most areas that the map names."""
TELL_EVERY: Final = 5.0
"""Seconds between two lines about what is done."""
PIXELS: Final = 224
"""Longer side of a picture: twice as long as it is shown at most, for fine screens."""
_BEGINNING: Final = 512
"""Bytes of a page that hold its key."""
_TOKEN: Final = "s2async-report"  # noqa: S105 - not a password


@dataclass(kw_only=True, slots=True)
class _Gathered:
    """What is told of all areas together."""

    counts: Counter[str] = field(default_factory=Counter)
    crops: int = 0
    days: tuple[date, date] | None = None
    """First and last day of all looks."""
    scatter: Scatter = field(default_factory=Scatter)
    telling: Telling = field(default_factory=Telling)
    entries: list[Entry] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)
    sections: list[Markup] = field(default_factory=list)
    """Of areas that have no page of their own."""

    def add(self, watched: Watched, href: str) -> None:
        """Take in an area.

        Args:
            watched: The area and the looks at it.
            href: Where it is shown.
        """
        counts, clear = watched.counts, watched.clear_days
        self.counts.update(counts)
        self.crops += sum(bool(look.path) for look in watched.looks)
        days = [*(self.days or ()), *(watched.span or ())]
        self.days = (min(days), max(days)) if days else None
        self.scatter.add(watched)
        self.telling.add(watched)
        last = clear[-1] if clear else None
        self.entries.append(Entry(name=watched.area.name, href=href, counts=counts, last_clear=last))
        told = f"{counts.get(Status.SAVED, 0):,} of {counts.total():,} jobs clear"
        self.spots.append(Spot(name=watched.area.name, polygon=watched.area.polygon, told=told, href=href))


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What has been written."""

    bytes: int
    """Size of the page."""
    areas: int
    """Pages of areas."""
    new: int
    """Of these, pages that were not there as they are."""


def write(
    state: Ledger,
    config: Config,
    target: Path,
    *,
    source: str,
    pictures: int,
    doubts: Sequence[str] = (),
    tell: Callable[[str], None],
) -> Made:
    """Write the report of what a state knows now, whatever that is.

    Args:
        state: Read only; a run may be going on.
        config: Settings of the job.
        target: The page; its folder is made where missing. Pages of areas, and pictures that were fetched, go to
            the folder of the same name without suffix; pages that would be the same are left.
        source: Name of the configuration, for people.
        pictures: Most pictures of one area.
        doubts: What may be wrong with all that it shows.
        tell: Told now and then what is done.

    Raises:
        LocalError: The page cannot be written.
        StateError: The state cannot be read.
    """
    now = datetime.now(UTC)
    style = Path(__file__).with_name("report.css").read_text("utf-8")
    areas = list(state.areas())
    folder, several = target.with_suffix(""), len(areas) > AREAS
    files.make_folder(folder if several else target.parent, parents=True)
    gathered, new = _Gathered(), 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # pictures are work for cores
        for watched in _watched(state, config, areas, tell):
            part = _Part(config=config, watched=watched, pictures=pictures, style=style, home=target.name, now=now)
            if not several:
                gathered.add(watched, f"#area-{watched.area.fingerprint}")
                gathered.sections.append(part.drawn(pool, rank="h3"))
                continue
            path = folder / f"{watched.area.folder}.html"
            gathered.add(watched, f"{quote(folder.name)}/{quote(path.name)}")
            new += part.write(pool, path)
    parts = _parts(state, config, areas, gathered, folder, source, doubts, now)
    data = page.document(f"{source}: s2async report", style, parts)
    files.replace(target, data, token=_TOKEN)
    return Made(bytes=len(data), areas=several * len(areas), new=new)


# ---- areas --------------------------------------------------------------------------------------------------


def _watched(
    state: Ledger, config: Config, areas: Sequence[Area], tell: Callable[[str], None]
) -> Iterator[Watched]:
    """Every area with the looks at it."""
    newest, wanted = config.search.twins == "newest", config.wanted()
    told = time.monotonic()
    for number, area in enumerate(areas):
        rows = state.job_rows(twins_newest=newest, wanted=wanted, area=area.fingerprint)
        yield Watched(area=area, looks=tuple(looks(rows, config.clouds.classes)))
        if time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            tell(f"{number + 1:,} of {len(areas):,} areas")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One area, as a part of the page or as a page of its own."""

    config: Config
    watched: Watched
    pictures: int
    style: str
    home: str
    """File name of the page of all areas."""
    now: datetime

    def drawn(self, pool: Executor, *, rank: str) -> Markup:
        """The area with its pictures, which are made by the pool."""
        folder = self.config.output.folder
        shown = [look for look in reversed(self.watched.looks) if look.path][: self.pictures]
        made = list(pool.map(lambda look: _picture(folder, look), shown))
        first, last = self._period
        km2 = area_km2(self.watched.area)
        return sheet.area(self.watched, made, km2=km2, first=first, last=last, rank=rank)

    def write(self, pool: Executor, path: Path) -> bool:
        """Write its page, if that would not be what is there; pictures take their time. Tells whether it did."""
        key = self._key()
        with contextlib.suppress(OSError), path.open("rb") as file:
            if page.has_key(file.read(_BEGINNING), key):
                return False
        back = element("nav", element("a", "all areas", href=f"../{quote(self.home)}#areas"))
        body = [back, sheet.legend(), self.drawn(pool, rank="h1"), self._footer()]
        data = page.document(self.watched.area.name, self.style, body, key=key)
        files.replace(path, data, token=_TOKEN)
        return True

    @property
    def _period(self) -> tuple[date, date]:
        return _period(self.config, self.watched.span or (), self.now)

    def _footer(self) -> Markup:
        return page.footer(*_credits(self.config, *(self.watched.span or self._period)))

    def _key(self) -> str:
        """The same for pages that look the same."""
        told = (self.watched, self.pictures, self.style, self.home, self._period, self._footer())
        return hashlib.sha256(repr(told).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _picture(folder: Path, look: Look) -> Picture:
    try:
        return Picture(look=look, data=quicklook.thumbnail(folder / look.path, size=PIXELS))
    except S2AsyncError:
        return Picture(look=look, data=b"")


def _period(config: Config, days: Sequence[date], now: datetime) -> tuple[date, date]:
    """First and last day of the wanted period and of the looks, which may be of earlier runs that wanted more.

    An open end is that of the month, so that pages without news stay the same until then.
    """
    period = config.search.period
    if period.end:
        last = max([(period.end - timedelta(microseconds=1)).date(), *days])
    else:
        last = max([now.date(), *days])
        last = last.replace(day=monthrange(last.year, last.month)[1])
    return min([period.start.date() if period.start else last, *days]), last


# ---- the page -----------------------------------------------------------------------------------------------


def _parts(
    state: Ledger,
    config: Config,
    areas: Sequence[Area],
    gathered: _Gathered,
    folder: Path,
    source: str,
    doubts: Sequence[str],
    now: datetime,
) -> Iterator[Markup]:
    found, searches = state.problems(), state.searches()
    yield _header(state, config, gathered, source, now)
    yield from map(page.notice, doubts)
    yield from _notices(state, gathered)
    yield _figures(state, gathered)
    yield _bytes(state, config, gathered)
    yield sections.clouds_section(
        gathered.scatter, max_scene=config.search.max_scene_cloud, max_area=config.clouds.max_area_cloud
    )
    fetched = scenery.fetch(state, config, gathered.telling, folder)
    yield sections.pairs_section(fetched.pairs, fetched.missing)
    yield _maps(state, areas, gathered)
    yield page.section("areas", "Areas", sections.index(gathered.entries))
    if gathered.sections:
        yield page.section("calendars", "Calendars", sheet.legend(), gathered.sections)
    yield sections.problems(found, searches, state.lacking(config.wanted()))
    yield page.footer(*_credits(config, *(gathered.days or _period(config, (), now))))


def _header(state: Ledger, config: Config, gathered: _Gathered, source: str, now: datetime) -> Markup:
    number, scenes = len(gathered.entries), sum(square.items for square in state.squares())
    days = config.search.datetime.split("/") if gathered.days is None else list(map(str, gathered.days))
    facts = [
        source,
        " to ".join(dict.fromkeys(days)),
        f"{scenes:,} scenes",
        f"made {now:%Y-%m-%d %H:%M} UTC",
    ]
    links = {"Bytes": "#bytes", "Clouds": "#clouds", "Map": "#map", "Areas": "#areas", "Problems": "#problems"}
    return page.header(f"Clear views of {number:,} area{'s' * (number != 1)}", facts, links)


def _notices(state: Ledger, gathered: _Gathered) -> Iterator[Markup]:
    run, to_do = state.last_run(), gathered.counts[OPEN]
    if run is None:
        yield page.notice("Nothing has been run yet.")
    elif not run.ended:
        yield page.notice(
            f"The run of {run.started[:16].replace('T', ' ')} UTC has not ended: this is how far it is."
        )
    if to_do:
        yield page.notice(f"{to_do:,} jobs are still to do.")


def _figures(state: Ledger, gathered: _Gathered) -> Markup:
    requests, moved = total(state.traffic())
    seconds, unended = run_seconds(state.runs())
    kept = gathered.crops
    entries = [
        (f"{kept:,}", "crops kept") if kept else (f"{gathered.counts[Status.SAVED]:,}", "clear views"),
        (f"{gathered.counts.total():,}", "jobs: one area in one scene"),
        (size(moved), f"moved in {requests:,} requests"),
        (duration(seconds), "of runs" + (f", without {unended:,} that did not end" if unended else "")),
    ]
    return page.figures(entries)


def _bytes(state: Ledger, config: Config, gathered: _Gathered) -> Markup:
    wanted = config.wanted()
    every = state.whole_files(wanted)
    classification = state.whole_files(Wanted(assets=(), mask=wanted.mask, format=wanted.format))
    _, moved = total(state.traffic())
    return sections.bytes_section(saving(every, classification, moved), unfinished=gathered.counts[OPEN] > 0)


def _maps(state: Ledger, areas: Sequence[Area], gathered: _Gathered) -> Markup:
    if not areas:
        return page.section("map", "Map", page.paragraph("There are no areas."))
    west, south, east, north = bounds(areas)
    near = (west, south, east + 360 * (east < west), north)
    outlines = _outlines(state)
    far = svgmap.around([near, *(shown.polygon.bounds for shown in outlines)], (near[0] + near[2]) / 2)
    named = len(gathered.spots) <= NAMED
    maps = [
        element(
            "figure",
            svgmap.draw(near, gathered.spots, [], names=named, label="Map of the areas"),
            element("figcaption", "The areas."),
        )
    ]
    if outlines:
        drawn = svgmap.draw(far, gathered.spots, outlines, names=False, label="Map of the scenes' footprints")
        maps.append(
            element("figure", drawn, element("figcaption", "The grid squares of the scenes, and the areas."))
        )
    return page.section("map", "Map", element("div", maps, class_="maps"))


def _outlines(state: Ledger) -> list[Outline]:
    """Footprints of the grid squares of which a file was opened."""
    found = []
    for square in state.squares():
        layout = headers.unpack(square.header) if square.header else None
        if layout is not None:
            told = f"{square.items:,} scenes"
            found.append(Outline(name=square.grid, polygon=svgmap.outline(layout.grid), told=told))
    return found


def _credits(config: Config, first: date, last: date) -> list[str]:
    """Where the pixels come from, those between two days, and what made the page."""
    years = "\u2013".join(dict.fromkeys((f"{first:%Y}", f"{last:%Y}")))
    catalog = config.search.resolve()
    return [
        f"Pictures: {catalog.attribution.replace('{year}', years)}.",
        f"Made by s2async {__version__} from scenes of {catalog.url}, collection {catalog.collection}.",
    ]
