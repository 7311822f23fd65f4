"""The sections of a report about all areas together, as values for their templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from s2async.events import SearchReport
from s2async.models import Status
from s2async.report import charts, scene_pairs
from s2async.report.area_section import AreaSection
from s2async.report.data import CELL, ORDER, Saving, Scatter
from s2async.report.markup import Markup
from s2async.report.scene_pairs import DrawnPair, Missing, Pair
from s2async.report.values_section import ValuesSection
from s2async.state.records import Doubt, LackRow, Problem
from s2async.text import size

PROBLEMS: Final = 200
"""Maximum number of rows of one kind of problem that are listed."""
NAMED: Final = 5
"""Maximum number of areas that a row names."""


# ---- bytes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareRow:
    """A line in the legend of the bar."""

    kind: str
    """Name of a colour in the style sheet."""
    size: str
    words: str
    percent: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BytesSection:
    """What was downloaded, compared with whole files."""

    moved: int
    bar: Markup
    """Empty if there is nothing to compare with."""
    whole: str
    times: str
    """By which factor fewer bytes were downloaded; the empty string if nothing was downloaded."""
    shares: tuple[ShareRow, ...]
    files: int
    estimated: int
    """Number of files whose size is an estimate."""
    unknown: int
    """Number of files that are left out because their size is unknown."""
    unfinished: bool


def bytes_section(saved: Saving, *, unfinished: bool) -> BytesSection:
    """Prepare the section on bytes.

    Args:
        saved: what was downloaded, and what was not.
        unfinished: whether some jobs are still to do.
    """
    about = "about " if saved.estimated else ""
    comparable = bool(saved.whole) and saved.window >= 0
    return BytesSection(
        moved=saved.moved,
        bar=charts.bar(saved) if comparable else Markup(),
        whole=f"{about}{size(saved.whole)}",
        times=f"{saved.whole / saved.moved:,.0f}" if saved.moved else "",
        shares=tuple(
            ShareRow(
                kind=share.kind,
                size=f"{about * (share.kind != 'moved')}{size(share.bytes)}",
                words=share.words,
                percent=f"{share.percent:.1f}",
            )
            for share in (saved.shares() if comparable else ())
        ),
        files=saved.files,
        estimated=saved.estimated,
        unknown=saved.unknown,
        unfinished=unfinished,
    )


# ---- clouds -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A sentence that the scatter plot supports: how many of which jobs have a property."""

    part: int
    whole: int
    of: str
    what: str

    @property
    def percent(self) -> str:
        """Share of the part in per cent; only if there is a whole."""
        return f"{100 * self.part / self.whole:.0f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudsSection:
    """The scatter plot and its findings."""

    plot: Markup
    """Empty if no job has been examined."""
    findings: tuple[Finding, ...]
    count: int
    cell: int
    """Size in per cent of the squares in which jobs are counted; 0 if each job is a dot."""
    max_area: str
    max_scene: str
    """The empty string if there is no limit."""


def clouds_section(points: Scatter, *, max_scene: float, max_area: float) -> CloudsSection:
    """Prepare the section on cloud cover.

    Args:
        points: all examined jobs.
        max_scene: per cent of cloud above which scenes are not examined.
        max_area: per cent of cloud above which an area counts as cloudy.
    """
    return CloudsSection(
        plot=charts.scatter(points, max_scene=max_scene, max_area=max_area) if points.count else Markup(),
        findings=tuple(_findings(points)),
        count=points.count,
        cell=0 if points.points else CELL,
        max_area=f"{max_area:g}",
        max_scene=f"{max_scene:g}" if max_scene < 100 else "",
    )


def _findings(points: Scatter) -> Iterator[Finding]:
    """Count how often the cloud cover of the scene would have been misleading."""
    counts = points.misjudged
    yield Finding(
        part=points.extreme,
        whole=points.count,
        of="examined jobs",
        what="less than 2\u00a0% or at least 98\u00a0% of the area is cloud",
    )
    yield Finding(
        part=counts["clear under clouds"],
        whole=counts["clear"],
        of="clear views",
        what="at least 50\u00a0% of the scene is cloud",
    )
    yield Finding(
        part=counts["covered under blue"],
        whole=counts["blue"],
        of="examined jobs in scenes with at most 20\u00a0% cloud",
        what="at least half of the area is cloud",
    )


# ---- pairs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class PairsSection:
    """Whole scenes next to small areas in them."""

    pairs: tuple[DrawnPair, ...]
    missing: tuple[str, ...]
    """What the other pairs would show."""
    origins: tuple[str, ...]
    """Servers from which the images come."""
    requests: int
    bytes: int


def pairs_section(pairs: Sequence[Pair], missing: Sequence[Missing]) -> PairsSection:
    """Prepare the section on pairs.

    Args:
        pairs: the pairs to show.
        missing: scenes that were not available for other pairs.
    """
    return PairsSection(
        pairs=tuple(map(scene_pairs.draw, pairs)),
        missing=tuple(dict.fromkeys(lack.kind.words for lack in missing)),
        origins=tuple(dict.fromkeys(pair.origin for pair in pairs)),
        requests=sum(pair.requests for pair in pairs),
        bytes=sum(pair.bytes for pair in pairs),
    )


# ---- index of areas ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An area in the index of areas."""

    name: str
    href: str
    counts: Mapping[str, int]
    """Number of days by status."""
    last_clear: date | None


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRow:
    """A row of the table of all areas."""

    name: str
    href: str
    counts: tuple[int, ...]
    """Number of days by column."""
    last_clear: date | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaIndex:
    """The table of all areas."""

    rows: tuple[IndexRow, ...]
    statuses: tuple[str, ...]
    """Statuses that have a column because at least one day has them."""


def area_index(entries: Sequence[Entry]) -> AreaIndex:
    """Prepare the table of all areas."""
    statuses = tuple(status for status in ORDER if any(entry.counts.get(status) for entry in entries))
    rows = (
        IndexRow(
            name=entry.name,
            href=entry.href,
            counts=tuple(entry.counts.get(status, 0) for status in statuses),
            last_clear=entry.last_clear,
        )
        for entry in entries
    )
    return AreaIndex(rows=tuple(rows), statuses=statuses)


# ---- problems -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ProblemGroup:
    """Problems of one kind, as a table."""

    summary: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int
    """Number of rows that are left out; a row is a scene."""
    is_open: bool
    """Whether the table is shown at first."""


def problem_groups(
    problems: Sequence[Problem],
    searches: Sequence[SearchReport],
    lacking: Sequence[LackRow] = (),
    unseen: Sequence[Missing] = (),
    doubts: Sequence[Doubt] = (),
) -> tuple[ProblemGroup, ...]:
    """Prepare the tables of failures, missing files and images, incomplete searches and doubts; none is empty.

    Args:
        problems: jobs that failed or whose files are missing.
        searches: the searches of the last run.
        lacking: assets that are missing for jobs; those of saved jobs are listed.
        unseen: scenes whose images are missing from this report.
        doubts: crops of reflectance bands whose offset is uncertain.
    """
    scenes = ("scene", "areas", "reason")
    incomplete = [(report.label, report.reason) for report in searches if not report.complete]
    failed = [(p.item, p.area, p.reason) for p in problems if p.status == Status.FAILED]
    missing = [(p.item, p.area, p.reason) for p in problems if p.status == Status.MISSING]
    without = [(row.item, row.area, f"{row.asset}: {row.reason}") for row in lacking if row.status == Status.SAVED]
    unsure = [(f"{doubt.crops:,}", f"{doubt.scenes:,}", doubt.item, doubt.text) for doubt in doubts]
    crops = sum(doubt.crops for doubt in doubts)
    pictures = [(lack.kind.words, lack.item, lack.reason) for lack in unseen]
    groups = (
        _group(f"{counted(len(incomplete), 'search', 'es')} incomplete", ("search", "reason"), incomplete, True),
        _group(
            f"{counted(len(failed), 'job')} failed; run s2async retry to try them again",
            scenes,
            _by_scene(failed),
            True,
        ),
        _group(f"{counted(len(missing), 'job')} with missing files", scenes, _by_scene(missing), False),
        _group(f"{counted(len(without), 'crop')} missing from saved jobs", scenes, _by_scene(without), False),
        _group(f"{counted(crops, 'crop')} with an uncertain offset", _DOUBTS, unsure, True),
        _group(_unseen(unseen), ("picture", "scene", "reason"), pictures, False),
    )
    return tuple(group for group in groups if group.rows)


_DOUBTS: Final = ("crops", "scenes", "such as", "reason")


def _unseen(missing: Sequence[Missing]) -> str:
    """Return how many images of whole scenes are missing from this report, and why: scenes counted by cause."""
    kinds, causes = {lack.kind for lack in missing}, Counter(lack.cause for lack in missing)
    why = ", ".join(cause if len(causes) == 1 else f"{count:,} {cause}" for cause, count in causes.most_common())
    tried = f" ({counted(len(missing), 'scene')} tried)" if len(missing) > len(kinds) else ""
    return f"{counted(len(kinds), 'picture')} of whole scenes missing from this report{tried}: {why}"


def counted(number: int, noun: str, plural: str = "s") -> str:
    """Format a number with its noun: ``1 job``, ``2 jobs``."""
    return f"{number:,} {noun}{plural if number != 1 else ''}"


def _by_scene(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    """Combine rows of scene, area and reason that differ only in the area: a file concerns all areas in it."""
    areas: dict[tuple[str, str], dict[str, None]] = {}
    for scene, area, reason in rows:
        areas.setdefault((scene, reason), {})[area] = None
    return [(scene, _named(list(several)), reason) for (scene, reason), several in sorted(areas.items())]


def _named(areas: Sequence[str]) -> str:
    """Return the names of the areas if there are few; otherwise their number and the first names."""
    if len(areas) <= NAMED:
        return ", ".join(areas)
    return f"{len(areas):,} areas: {', '.join(areas[:NAMED])}, ..."


def _group(summary: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], is_open: bool) -> ProblemGroup:
    more = max(0, len(rows) - PROBLEMS)
    return ProblemGroup(summary=summary, columns=columns, rows=tuple(rows[:PROBLEMS]), more=more, is_open=is_open)


# ---- the page ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A large number and what it counts."""

    value: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnMap:
    """A map with its caption."""

    svg: Markup
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportPage:
    """The page about all areas; each field is a variable of ``report.html.j2``."""

    heading: str
    facts: tuple[str, ...]
    """One line below the heading."""
    notices: tuple[str, ...]
    figures: tuple[Figure, ...]
    values: ValuesSection | None
    """None if no area has values."""
    bytes: BytesSection
    clouds: CloudsSection
    pairs: PairsSection
    maps: tuple[DrawnMap, ...]
    index: AreaIndex
    areas: tuple[AreaSection, ...]
    """Empty if each area has a separate page."""
    note: str
    """How to read the curves of the areas; the empty string if there are no curves."""
    problems: tuple[ProblemGroup, ...]
    credits: tuple[str, ...]
    """Sources of the pixels, and the program that made the page."""
