"""The parts of a report's pages as HTML.

No script, no attribute ``style``, nothing from another file: a page needs no more than its one style sheet, whose
hash its Content-Security-Policy names, and pictures that are part of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from s2async import pairs, svg
from s2async.console import size
from s2async.markup import Content, Markup, element, join, text
from s2async.models import SearchReport, Status
from s2async.pairs import Pair
from s2async.records import Problem
from s2async.report_data import CELL, ORDER, Look, Saving, Scatter, Watched

YEARS: Final = 2
"""Calendars that are seen at once; older ones are folded away."""
PROBLEMS: Final = 200
"""Most problems of one kind that are listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A crop to be looked at."""

    look: Look
    data: bytes
    """PNG or WebP; none when the crop cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An area in the index of areas."""

    name: str
    href: str
    counts: Mapping[str, int]
    last_clear: date | None


def document(title: str, style: str, *body: Content | Iterable[Content], key: str = "") -> bytes:
    """A whole page in UTF-8.

    Args:
        title: Of the window.
        style: The style sheet.
        body: Its contents.
        key: Tells whether a page is still what it would be now; see `has_key`.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="s2async-key", content=key) if key else Markup(),
        element("meta", http_equiv="Content-Security-Policy", content=Markup(policy)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    page = element("html", head, element("body", svg.marks(), *body), lang="en")
    return f"<!doctype html>\n{page}\n".encode()


def has_key(beginning: bytes, key: str) -> bool:
    """Whether a page that begins so was made with this key."""
    return f'content="{key}"'.encode() in beginning


def name(shown: str) -> Markup:
    """The name of an area, whose letters may run from right to left."""
    return element("bdi", shown)


def section(key: str, heading: str, *content: Content | Iterable[Content]) -> Markup:
    """A part of the page that links lead to."""
    return element("section", element("h2", heading), *content, id=key)


def header(heading: str, facts: Sequence[str], links: Mapping[str, str]) -> Markup:
    """The top of a page.

    Args:
        heading: Of the page.
        facts: Below it, in one line.
        links: Words to addresses.
    """
    shown = [element("a", words, href=href) for words, href in links.items()]
    return element(
        "header",
        element("p", "s2async report", class_="brand"),
        element("h1", heading),
        element("p", " \u00b7 ".join(facts), class_="soft"),
        element("nav", shown) if shown else Markup(),
    )


def figures(entries: Iterable[tuple[str, str]]) -> Markup:
    """Large numbers, each over what it counts."""
    return element(
        "dl",
        [element("div", element("dd", value), element("dt", label)) for value, label in entries],
        class_="figures",
    )


def notice(told: str) -> Markup:
    """Something to be known before the rest is read."""
    return element("p", told, class_="notice")


def paragraph(*content: Content | Iterable[Content], faint: bool = False) -> Markup:
    """A paragraph."""
    return element("p", *content, class_="soft" if faint else None)


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
        svg.bar(saved),
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
    drawn = element("figure", svg.scatter(points, max_scene=max_scene, max_area=max_area))
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
        element("div", [pairs.draw(pair) for pair in found], class_="maps") if found else Markup(),
        [paragraph(line, faint=True) for line in told],
    )


# ---- areas --------------------------------------------------------------------------------------------------


def index(entries: Sequence[Entry]) -> Markup:
    """A table of all areas."""
    columns = [status for status in ORDER if any(entry.counts.get(status) for entry in entries)]
    head = element(
        "tr",
        element("th", "area", scope="col"),
        [element("th", svg.WORDS[status], scope="col", class_="number") for status in columns],
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


def legend() -> Markup:
    """What the marks of the calendars mean."""
    return element(
        "ul", [element("li", svg.lone_mark(status), svg.WORDS[status]) for status in ORDER], class_="legend"
    )


def area(
    watched: Watched, pictures: Sequence[Picture], *, km2: float, first: date, last: date, rank: str = "h3"
) -> Markup:
    """All about one area.

    Args:
        watched: The area and the looks at it.
        pictures: Of its newest crops, newest first.
        km2: Its size in square kilometres.
        first: Day of the period.
        last: Day of the period, included.
        rank: Of its heading.
    """
    counts = watched.counts
    told = [
        element("li", svg.lone_mark(status), f"{counts[status]:,} {svg.WORDS[status]}")
        for status in ORDER
        if counts.get(status)
    ]
    return element(
        "section",
        element(rank, name(watched.area.name)),
        element("ul", told or [element("li", "no scene has been found yet")], class_="legend"),
        element("div", _calendars(watched, first, last), _facts(watched, km2), class_="pair"),
        _strip(watched, pictures),
        class_="area",
        id=f"area-{watched.area.fingerprint}",
    )


def _calendars(watched: Watched, first: date, last: date) -> Markup:
    days = watched.days()
    years = range(last.year, first.year - 1, -1)
    drawn = [
        element("figure", element("figcaption", str(year)), svg.calendar(year, days, first, last))
        for year in years
    ]
    older = Markup()
    if len(drawn) > YEARS:
        summary = element("summary", f"{first.year} to {years[YEARS]}")
        older = element("details", summary, drawn[YEARS:])
    return element("div", drawn[:YEARS], older)


def _facts(watched: Watched, km2: float) -> Markup:
    days = watched.clear_days
    facts = {
        "size": f"{km2:,.2f} km\u00b2" if km2 < 10 else f"{km2:,.0f} km\u00b2",
        "clear days": f"{len(days):,}",
    }
    if days:
        facts["first and last"] = f"{days[0]} to {days[-1]}" if len(days) > 1 else str(days[0])
    if gap := watched.longest_gap:
        facts["longest gap"] = f"{_counted((gap[1] - gap[0]).days, 'day')}, {gap[0]} to {gap[1]}"
    return element(
        "dl",
        [element("div", element("dt", term), element("dd", told)) for term, told in facts.items()],
        class_="facts",
    )


def _strip(watched: Watched, pictures: Sequence[Picture]) -> Markup:
    if not pictures:
        return Markup()
    crops = sum(bool(look.path) for look in watched.looks)
    more = crops - len(pictures)
    end = element("figure", element("p", f"and {more:,} older"), class_="more") if more else Markup()
    shown = [_picture(watched.area.name, picture) for picture in pictures]
    label = f"Clear pictures of {watched.area.name}, newest first"
    return element("div", shown, end, class_="strip", tabindex=0, role="region", aria_label=label)


def _picture(area_name: str, picture: Picture) -> Markup:
    look = picture.look
    known = [look.grid] if look.grid else []
    if look.area_cloud is not None:
        known.append(f"{look.area_cloud:.1f}\u00a0% cloud")
    shown = (
        image(picture.data, f"{area_name}, {look.day}")
        if picture.data
        else element("p", "cannot be read", class_="gone")
    )
    return element(
        "figure",
        shown,
        element("figcaption", element("b", str(look.day)), [element("span", fact) for fact in known]),
        title=look.item,
    )


def image(data: bytes, alt: str) -> Markup:
    """A picture as part of the page."""
    media = "image/webp" if data.startswith(b"RIFF") else "image/png"
    address = Markup(f"data:{media};base64,{base64.b64encode(data).decode()}")
    return element("img", src=address, alt=alt, decoding="async")


# ---- problems -----------------------------------------------------------------------------------------------


def problems(found: Sequence[Problem], searches: Sequence[SearchReport]) -> Markup:
    """Failures and files that do not exist, with their reasons, and searches that are incomplete."""
    failed = [problem for problem in found if problem.status == Status.FAILED]
    missing = [problem for problem in found if problem.status == Status.MISSING]
    incomplete = [report for report in searches if not report.complete]
    if not (failed or missing or incomplete):
        return section("problems", "Problems", paragraph("None."))
    return section("problems", "Problems", _problem_parts(failed, missing, incomplete))


def _problem_parts(
    failed: Sequence[Problem], missing: Sequence[Problem], incomplete: Sequence[SearchReport]
) -> Iterator[Markup]:
    if incomplete:
        rows = [(report.label, report.reason) for report in incomplete]
        yield _folded(f"{_counted(len(rows), 'search', 'es')} incomplete", ("search", "reason"), rows, shown=True)
    if failed:
        told = f"{_counted(len(failed), 'job')} failed; s2async retry opens them again"
        yield _folded(told, ("area", "scene", "reason"), _rows(failed), shown=True)
    if missing:
        told = f"{_counted(len(missing), 'job')} whose files do not exist"
        yield _folded(told, ("area", "scene", "reason"), _rows(missing), shown=False)


def _counted(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{plural if number != 1 else ''}"


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


def footer(*lines: str) -> Markup:
    """The end of a page: where pixels come from, and what made it."""
    return element("footer", [element("p", text(line)) for line in lines])
