"""What a report tells of one area: its calendars, some facts, its newest pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from s2async.report import charts
from s2async.report.data import ORDER, Look, Watched
from s2async.report.html import Markup, element
from s2async.report.page import counted, image, name

YEARS: Final = 2
"""Calendars that are seen at once; older ones are folded away."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A crop to be looked at."""

    look: Look
    data: bytes
    """PNG or WebP; none when the crop cannot be read."""


def legend() -> Markup:
    """What the marks of the calendars mean."""
    return element(
        "ul", [element("li", charts.lone_mark(status), charts.WORDS[status]) for status in ORDER], class_="legend"
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
        element("li", charts.lone_mark(status), f"{counts[status]:,} {charts.WORDS[status]}")
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
        element("figure", element("figcaption", str(year)), charts.calendar(year, days, first, last))
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
        facts["longest gap"] = f"{counted((gap[1] - gap[0]).days, 'day')}, {gap[0]} to {gap[1]}"
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
