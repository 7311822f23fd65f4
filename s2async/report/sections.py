"""What a report tells of all areas together, as sections of its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from s2async.models import SearchReport, Status
from s2async.report import charts, scene_pairs
from s2async.report.data import CELL, ORDER, Saving, Scatter
from s2async.report.html import Markup, element, join
from s2async.report.page import counted, name, paragraph, section
from s2async.report.scene_pairs import Pair
from s2async.state.records import LackRow, Problem
from s2async.text import size

PROBLEMS: Final = 200
"""Most problems of one kind that are listed."""


# ---- bytes --------------------------------------------------------------------------------------------------


def bytes_section(saved: Saving, *, unfinished: bool) -> Markup:
    """What was moved, against whole files."""
    about = "about " if saved.estimated else ""
    if not saved.whole or saved.window < 0:
        return section("bytes", "Bytes", paragraph(f"{size(saved.moved)} were moved."))
    times = f": {saved.whole / saved.moved:,.0f} times less" if saved.moved else ""
    told = f"{size(saved.moved)} were moved instead of {about}{size(saved.whole)} of whole files{times}."
    parts = (
        ("skipped", saved.skipped, "skipped, because no area was clear in the scene"),
        ("window", saved.window, "not read, because only the window under the areas was"),
        ("moved", saved.moved, "moved"),
    )
    legend = [
        element(
            "li",
            element("i", class_=f"swatch {kind}"),
            element("b", f"{about * (kind != 'moved')}{size(count)}"),
            f" {words}, {100 * count / saved.whole:.1f}\u00a0%",
        )
        for kind, count, words in parts
    ]
    return section(
        "bytes",
        "Bytes",
        paragraph(told),
        charts.bar(saved),
        element("ul", legend, class_="legend"),
        paragraph(_whole_rule(saved, unfinished=unfinished), faint=True),
    )


def _whole_rule(saved: Saving, *, unfinished: bool) -> str:
    told = f"Whole files: the classification and the wanted assets of every scene found, {saved.files:,} files"
    if saved.estimated:
        told += f"; {saved.estimated:,} of them were never opened and count as much as the median of the others"
    if saved.unknown:
        told += f"; {saved.unknown:,} more are of unknown size and do not count"
    return told + (". Jobs are still to do, and count here as if they were skipped." if unfinished else ".")


# ---- clouds -------------------------------------------------------------------------------------------------


def clouds_section(points: Scatter, *, max_scene: float, max_area: float) -> Markup:
    """The scatter, and what it tells in numbers."""
    heading = "Scene cloud against area cloud"
    if not points.count:
        return section("clouds", heading, paragraph("No job has been examined yet."))
    number = (
        "Each dot is an examined job, one area in one scene."
        if points.points
        else f"{points.count:,} examined jobs are too many for dots: each square stands for those of its "
        f"{CELL}\u00a0% by {CELL}\u00a0%, and its size tells how many."
    )
    limits = f"Dashed: {max_area:g}\u00a0% of the area, up to which it is clear if enough of it holds data."
    beyond = (
        f" Grey: more than {max_scene:g}\u00a0% of the scene, which is not looked at." if max_scene < 100 else ""
    )
    words = element(
        "div",
        paragraph(
            "The catalogue tells the cloud cover of a whole scene, 110 by 110 km. What a small area in it has is "
            "another matter."
        ),
        element("ul", [element("li", found) for found in _findings(points)]),
        paragraph(f"{number} {limits}{beyond}", faint=True),
        _dots_legend() if points.points else Markup(),
    )
    drawn = element("figure", charts.scatter(points, max_scene=max_scene, max_area=max_area))
    return section("clouds", heading, element("div", drawn, words, class_="pair"))


def _findings(points: Scatter) -> Iterator[Markup]:
    """How often the scene's cloud would have misled."""
    told = points.misjudged
    yield _finding(
        points.extreme,
        points.count,
        "examined jobs",
        "less than 2\u00a0% of the area is covered, or 98\u00a0% and more",
    )
    yield _finding(
        told["clear under clouds"], told["clear"], "clear views", "the scene is 50\u00a0% cloud or more"
    )
    blue = "views in scenes of at most 20\u00a0% cloud"
    yield _finding(told["covered under blue"], told["blue"], blue, "half of the area or more is covered")


def _finding(part: int, whole: int, of: str, what: str) -> Markup:
    share = f" ({100 * part / whole:.0f}\u00a0%)" if whole else ""
    return join(["In ", element("b", f"{part:,}"), f" of {whole:,} {of}{share} {what}."])


def _dots_legend() -> Markup:
    dots = (("clear", "clear"), ("cloudy", "not clear"))
    return element(
        "ul",
        [element("li", element("i", class_=f"swatch dot {kind}"), words) for kind, words in dots],
        class_="legend",
    )


def pairs_section(found: Sequence[Pair], why_not: Sequence[str]) -> Markup:
    """The pairs of a whole scene and a small area in it.

    Args:
        found: The pairs.
        why_not: Why there are no more, in lines.
    """
    if not (found or why_not):
        return Markup()
    requests, fetched = sum(pair.requests for pair in found), sum(pair.bytes for pair in found)
    told = [f"These pictures took {size(fetched)} in {requests:,} requests, once."] if found else []
    told += [f"Not to be had now: {reason}" for reason in why_not]
    return section(
        "pairs",
        "The whole scene and the area",
        element("div", [scene_pairs.draw(pair) for pair in found], class_="maps") if found else Markup(),
        [paragraph(line, faint=True) for line in told],
    )


# ---- index of areas ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An area in the index of areas."""

    name: str
    href: str
    counts: Mapping[str, int]
    last_clear: date | None


def index(entries: Sequence[Entry]) -> Markup:
    """A table of all areas."""
    columns = [status for status in ORDER if any(entry.counts.get(status) for entry in entries)]
    head = element(
        "tr",
        element("th", "area", scope="col"),
        [element("th", charts.WORDS[status], scope="col", class_="number") for status in columns],
        element("th", "last clear", scope="col", class_="number"),
    )
    rows = [
        element(
            "tr",
            element("th", element("a", name(entry.name), href=entry.href), scope="row"),
            [element("td", _count(entry.counts.get(status, 0)), class_="number") for status in columns],
            element("td", str(entry.last_clear or "\u2013"), class_="number"),
        )
        for entry in entries
    ]
    table = element("table", element("thead", head), element("tbody", rows))
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label="Areas")


def _count(number: int) -> str:
    return f"{number:,}" if number else "\u00b7"


# ---- problems -----------------------------------------------------------------------------------------------


def problems(
    found: Sequence[Problem], searches: Sequence[SearchReport], lacking: Sequence[LackRow] = ()
) -> Markup:
    """Failures and files that do not exist, with their reasons, and searches that are incomplete.

    Args:
        found: Jobs that failed or are missing.
        searches: Of the last run.
        lacking: What jobs lack, by asset; those that are saved without one are told.
    """
    without = [(row.area, row.item, f"{row.asset}: {row.reason}") for row in lacking if row.status == Status.SAVED]
    failed = [problem for problem in found if problem.status == Status.FAILED]
    missing = [problem for problem in found if problem.status == Status.MISSING]
    incomplete = [report for report in searches if not report.complete]
    if not (failed or missing or incomplete or without):
        return section("problems", "Problems", paragraph("None."))
    return section("problems", "Problems", _problem_parts(failed, missing, incomplete, without))


def _problem_parts(
    failed: Sequence[Problem],
    missing: Sequence[Problem],
    incomplete: Sequence[SearchReport],
    without: Sequence[tuple[str, ...]],
) -> Iterator[Markup]:
    if incomplete:
        rows = [(report.label, report.reason) for report in incomplete]
        yield _folded(f"{counted(len(rows), 'search', 'es')} incomplete", ("search", "reason"), rows, shown=True)
    if failed:
        told = f"{counted(len(failed), 'job')} failed; s2async retry opens them again"
        yield _folded(told, ("area", "scene", "reason"), _rows(failed), shown=True)
    if missing:
        told = f"{counted(len(missing), 'job')} whose files do not exist"
        yield _folded(told, ("area", "scene", "reason"), _rows(missing), shown=False)
    if without:
        told = f"{counted(len(without), 'crop')} of clear views not to be had"
        yield _folded(told, ("area", "scene", "reason"), without, shown=False)


def _rows(found: Sequence[Problem]) -> list[tuple[str, ...]]:
    return [(problem.area, problem.item, problem.reason) for problem in found]


def _folded(summary: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]], *, shown: bool) -> Markup:
    head = element("tr", [element("th", column, scope="col") for column in columns])
    body = [element("tr", [element("td", name(cell)) for cell in row]) for row in rows[:PROBLEMS]]
    more = len(rows) - len(body)
    table = element("table", element("thead", head), element("tbody", body))
    return element(
        "details",
        element("summary", summary),
        element("div", table, class_="scroll", tabindex=0, role="region", aria_label=summary),
        paragraph(f"and {more:,} more; s2async status --json lists them all", faint=True) if more else Markup(),
        open=shown or None,
    )
