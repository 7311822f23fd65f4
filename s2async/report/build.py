"""Writes a report: one page, and one more for each area if there are many."""

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
from s2async.areas.edits import told_apart
from s2async.cog import headers
from s2async.config.model import Config
from s2async.errors import S2AsyncError
from s2async.geo import area_km2, bounds
from s2async.models import Area, Status
from s2async.output import quicklook
from s2async.report import curves, maps, page, queries, scenery, sections
from s2async.report.area_section import AreaPage, AreaSection, Thumbnail, anchor, area_section, keys, stems
from s2async.report.data import Look, Scatter, Watched, run_seconds, total
from s2async.report.maps import Outline, Spot
from s2async.report.scene_pairs import Candidates
from s2async.report.scenery import Scenery
from s2async.report.sections import DrawnMap, Entry, Figure, ReportPage
from s2async.report.series import Curve
from s2async.report.style import style_sheet
from s2async.report.values_section import Valued, values_section
from s2async.state.reader import Ledger
from s2async.state.records import OPEN
from s2async.text import duration, size

AREAS: Final = 50
"""Maximum number of areas that are shown on the page itself."""
NAMED: Final = 40
"""Maximum number of areas whose names are shown on the map."""
TELL_EVERY: Final = 5.0
"""Seconds between two messages about progress."""
PIXELS: Final = 224
"""Longer side of a thumbnail: twice the largest size at which it is shown, for high-resolution screens."""
_BEGINNING: Final = 512
"""Number of bytes at the start of a page that contain its key."""
_TOKEN: Final = "s2async-report"  # noqa: S105 - not a password


@dataclass(kw_only=True, slots=True)
class _Gathered:
    """The data that the page shows about all areas together."""

    counts: Counter[str] = field(default_factory=Counter)
    clear: int = 0
    """Number of clear observations (an area in a scene each)."""
    crops: int = 0
    """Number of files: one for each asset of a clear observation."""
    days: tuple[date, date] | None = None
    """First and last day of all observations."""
    scatter: Scatter = field(default_factory=Scatter)
    candidates: Candidates = field(default_factory=Candidates)
    valued: Valued = field(default_factory=Valued)
    entries: list[Entry] = field(default_factory=list)
    spots: list[Spot] = field(default_factory=list)
    areas: list[AreaSection] = field(default_factory=list)
    """Areas that have no separate page."""

    def add(self, watched: Watched, href: str, label: str) -> None:
        """Add an area.

        Args:
            watched: the area and its observations.
            href: URL of its section or page.
            label: its name, with its season if several areas have this name.
        """
        counts, clear = watched.days_by_status, watched.clear_days
        self.counts.update(watched.counts)
        self.clear += sum(look.is_clear for look in watched.looks)
        self.crops += sum(look.crops for look in watched.looks)
        days = [*(self.days or ()), *(watched.span or ())]
        self.days = (min(days), max(days)) if days else None
        self.scatter.add(watched)
        self.candidates.add(watched)
        self.valued.add(watched, name=label, href=href)
        last = clear[-1] if clear else None
        self.entries.append(Entry(name=label, href=href, counts=counts, last_clear=last))
        summary = f"{counts.get(Status.SAVED, 0):,} of {counts.total():,} days clear"
        self.spots.append(Spot(name=label, polygon=watched.area.polygon, label=summary, href=href))


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What `write` has written."""

    bytes: int
    """Size of the page."""
    areas: int
    """Number of pages about individual areas."""
    new: int
    """Number of these that were missing or have changed."""


def write(
    state: Ledger,
    config: Config,
    target: Path,
    *,
    source: str,
    pictures: int,
    doubts: Sequence[str] = (),
    offline: bool = False,
    tell: Callable[[str], None],
) -> Made:
    """Write the report of the current state.

    Args:
        state: read only; a run may be in progress.
        config: settings of the job.
        target: path of the page; its folder is created if missing. Pages about individual areas, and downloaded
            images, are written to the folder of the same name without suffix. Pages that would not change are not
            written.
        source: name of the configuration, which is shown.
        pictures: maximum number of crops of one area.
        doubts: warnings that concern everything on the page.
        offline: download nothing; images of whole scenes that no earlier report has stored are missing.
        tell: called with messages about progress, and before anything is downloaded.

    Raises:
        LocalError: the page cannot be written.
        StateError: the state cannot be read.
    """
    now, style = datetime.now(UTC), style_sheet()
    areas = list(state.areas())
    folder, several = target.with_suffix(""), len(areas) > AREAS
    files.make_folder(folder if several else target.parent, parents=True)
    gathered, new = _Gathered(), 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # thumbnails are decoded and encoded on all cores
        for watched, key, stem, label in zip(
            _watched(state, config, areas, tell), keys(areas), stems(areas), told_apart(areas), strict=True
        ):
            part = _Part(
                config=config,
                watched=watched,
                key=key,
                label=label,
                pictures=pictures,
                style=style,
                home=target.name,
                now=now,
            )
            if not several:
                gathered.add(watched, f"#{anchor(key)}", label)
                gathered.areas.append(part.section(pool, heading="h3"))
                continue
            path = folder / f"{stem}.html"
            gathered.add(watched, f"{quote(folder.name)}/{quote(path.name)}", label)
            new += part.write(pool, path)
    fetched = scenery.fetch(state, config, gathered.candidates, folder, offline=offline, tell=tell)
    view = _page(state, config, areas, gathered, fetched, source, doubts, now)
    data = page.document("report.html.j2", view, title=f"{source}: s2async report", style=style)
    files.replace(target, data, token=_TOKEN)
    return Made(bytes=len(data), areas=several * len(areas), new=new)


# ---- areas --------------------------------------------------------------------------------------------------


def _watched(
    state: Ledger, config: Config, areas: Sequence[Area], tell: Callable[[str], None]
) -> Iterator[Watched]:
    """Read all areas with their observations, with messages about progress."""
    last = time.monotonic()
    for number, watched in enumerate(queries.watched_areas(state, config, areas), start=1):
        yield watched
        if time.monotonic() - last > TELL_EVERY:
            last = time.monotonic()
            tell(f"{number:,} of {len(areas):,} areas")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One area, as a section of the page or as a separate page."""

    config: Config
    watched: Watched
    key: str
    """Distinguishes the area from others with the same polygon."""
    label: str
    """Its name, with its season if several areas have this name."""
    pictures: int
    style: str
    home: str
    """File name of the page about all areas."""
    now: datetime

    def section(self, pool: Executor, *, heading: str) -> AreaSection:
        """Prepare the section, with thumbnails that the pool makes."""
        folder = self.config.output.folder
        newest = [look for look in reversed(self.watched.looks) if look.path][: self.pictures]
        thumbnails = list(pool.map(lambda look: _thumbnail(folder, look), newest))
        first, last = self._period
        km2 = area_km2(self.watched.area)
        return area_section(
            self.watched,
            thumbnails,
            km2=km2,
            first=first,
            last=last,
            heading=heading,
            key=self.key,
            label=self.label,
        )

    def write(self, pool: Executor, path: Path) -> bool:
        """Write the area's page unless it would not change, because thumbnails take time.

        Returns:
            Whether the page was written.
        """
        key = self._hash()
        with contextlib.suppress(OSError), path.open("rb") as file:
            if page.has_key(file.read(_BEGINNING), key):
                return False
        view = AreaPage(
            area=self.section(pool, heading="h1"),
            note=_note(self.watched.curves),
            back=f"../{quote(self.home)}#areas",
            credits=self._credits(),
        )
        data = page.document("area_page.html.j2", view, title=self.label, style=self.style, key=key)
        files.replace(path, data, token=_TOKEN)
        return True

    @property
    def _period(self) -> tuple[date, date]:
        first, last = _period(self.config, self.watched.span or (), self.now)
        area = self.watched.area
        opens, closes = max(first, area.start or first), min(last, area.end or last)
        return (opens, closes) if opens <= closes else (first, last)

    def _credits(self) -> tuple[str, ...]:
        return _credits(self.config, *(self.watched.span or self._period))

    def _hash(self) -> str:
        """Return a hash of everything that the page depends on."""
        inputs = (self.watched, self.label, self.pictures, self.style, self.home, self._period, self._credits())
        return hashlib.sha256(repr(inputs).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _note(several: Sequence[Curve]) -> str:
    """Return how to read the curves of a page."""
    return curves.note(several[0], past=any(curve.is_of_years for curve in several)) if several else ""


def _thumbnail(folder: Path, look: Look) -> Thumbnail:
    paths = [folder / path for path in (look.path, *look.more)]
    try:
        if look.more:
            return Thumbnail(look=look, data=quicklook.true_colour(paths, size=PIXELS))
        return Thumbnail(look=look, data=quicklook.thumbnail(paths[0], size=PIXELS))
    except S2AsyncError:
        return Thumbnail(look=look, data=b"")


def _period(config: Config, days: Sequence[date], now: datetime) -> tuple[date, date]:
    """Return the first and last day of the configured period and of the observations.

    Earlier runs may have had a longer period. An open end becomes the end of the month, so that pages without news
    do not change until then.
    """
    period = config.search.period
    if period.end:
        last = max([(period.end - timedelta(microseconds=1)).date(), *days])
    else:
        last = max([now.date(), *days])
        last = last.replace(day=monthrange(last.year, last.month)[1])
    return min([period.start.date() if period.start else last, *days]), last


# ---- the page -----------------------------------------------------------------------------------------------


def _page(
    state: Ledger,
    config: Config,
    areas: Sequence[Area],
    gathered: _Gathered,
    fetched: Scenery,
    source: str,
    doubts: Sequence[str],
    now: datetime,
) -> ReportPage:
    unfinished = gathered.counts[OPEN] > 0
    limits = {"max_scene": config.search.max_scene_cloud, "max_area": config.clouds.max_area_cloud}
    number = len(gathered.entries)
    return ReportPage(
        heading=f"Clear views of {number:,} area{'s' * (number != 1)}",
        facts=tuple(_facts(state, config, gathered, source, now)),
        notices=(*doubts, *_notices(state, gathered)),
        figures=tuple(_figures(state, gathered)),
        values=values_section(gathered.valued, *_period(config, gathered.days or (), now)),
        bytes=sections.bytes_section(queries.bytes_saved(state, config), unfinished=unfinished),
        clouds=sections.clouds_section(gathered.scatter, **limits),
        pairs=sections.pairs_section(fetched.pairs, fetched.missing),
        maps=tuple(_maps(state, areas, gathered)),
        index=sections.area_index(gathered.entries),
        areas=tuple(gathered.areas),
        note=_note([found.curve for found in gathered.valued.first]),
        problems=sections.problem_groups(
            state.problems(),
            state.searches(),
            state.lacking(config.selection()),
            fetched.missing,
            state.doubts(config.selection()),
        ),
        credits=_credits(config, *(gathered.days or _period(config, (), now))),
    )


def _facts(state: Ledger, config: Config, gathered: _Gathered, source: str, now: datetime) -> Iterator[str]:
    days = config.search.datetime.split("/") if gathered.days is None else map(str, gathered.days)
    yield source
    yield " to ".join(dict.fromkeys(days))
    yield f"{sum(square.items for square in state.squares()):,} scenes"
    yield f"created {now:%Y-%m-%d %H:%M} UTC"


def _notices(state: Ledger, gathered: _Gathered) -> Iterator[str]:
    run, to_do = state.last_run(), gathered.counts[OPEN]
    if run is None:
        yield "No run has been started yet."
    elif not run.ended:
        yield f"The run of {run.started[:16].replace('T', ' ')} UTC has not ended; this is its progress so far."
    if to_do:
        yield f"Still to do: {sections.counted(to_do, 'job')}."


def _figures(state: Ledger, gathered: _Gathered) -> Iterator[Figure]:
    requests, moved = total(state.traffic())
    seconds, unended = run_seconds(state.runs())
    if gathered.valued.dates:
        yield Figure(value=f"{gathered.valued.dates:,}", label="days with a value (one area on one day)")
    crops = f", saved as {sections.counted(gathered.crops, 'crop')}" if gathered.crops else ""
    yield Figure(value=f"{gathered.clear:,}", label=f"clear views{crops}")
    yield Figure(value=f"{gathered.counts.total():,}", label="jobs (one area in one scene)")
    yield Figure(value=size(moved), label=f"downloaded in {requests:,} requests")
    without = f", excluding {unended:,} unfinished" if unended else ""
    yield Figure(value=duration(seconds), label=f"of run time{without}")


def _maps(state: Ledger, areas: Sequence[Area], gathered: _Gathered) -> Iterator[DrawnMap]:
    if not areas:
        return
    west, south, east, north = bounds(areas)
    near = (west, south, east + 360 * (east < west), north)
    named = len(gathered.spots) <= NAMED
    yield DrawnMap(
        svg=maps.draw(near, gathered.spots, [], names=named, label="Map of the areas"), caption="The areas"
    )
    if outlines := _outlines(state):
        far = maps.around([near, *(shown.polygon.bounds for shown in outlines)], (near[0] + near[2]) / 2)
        yield DrawnMap(
            svg=maps.draw(far, gathered.spots, outlines, names=False, label="Map of the scenes' footprints"),
            caption="The MGRS tiles of the scenes, and the areas",
        )


def _outlines(state: Ledger) -> list[Outline]:
    """Return the footprints of the grid squares of which a file has been opened."""
    outlines = []
    for square in state.squares():
        layout = headers.unpack(square.header) if square.header else None
        if layout is not None:
            label = f"{square.items:,} scenes"
            outlines.append(Outline(name=square.grid, polygon=maps.outline(layout.grid), label=label))
    return outlines


def _credits(config: Config, first: date, last: date) -> tuple[str, ...]:
    """Return the sources of the pixels of a period, and the program that made the page."""
    years = "\u2013".join(dict.fromkeys((f"{first:%Y}", f"{last:%Y}")))
    catalog = config.search.resolve()
    return (
        f"Imagery: {catalog.attribution.replace('{year}', years)}.",
        f"Created by s2async {__version__} from scenes of {catalog.url}, collection {catalog.collection}.",
    )
