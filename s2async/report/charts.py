"""The scatter plot, the calendar and the bar of a report as inline SVG. Pure.

Colours are defined by class in the style sheet. Sizes are in units of the drawing, which is scaled to its column.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from math import sqrt
from typing import Final

from s2async.models import Status
from s2async.report.data import AREA_AXIS, CELL, ORDER, SCENE_AXIS, Look, Saving, Scatter
from s2async.report.markup import Markup, element, join, text
from s2async.state.records import OPEN

WORDS: Final = {
    Status.SAVED: "clear",
    Status.CLOUDY: "cloudy",
    Status.NODATA: "no data",
    Status.OUTSIDE: "outside",
    Status.MISSING: "missing",
    Status.FAILED: "failed",
    Status.DUPLICATE: "shown by another scene",
    OPEN: "still to do",
}
"""Words for the statuses of jobs."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# ---- marks: one for each status, which differ in shape as well as in colour ----------------------------------

_MARK: Final = 12.0
_SHAPES: Final = {
    Status.SAVED: element("rect", x=0.5, y=0.5, width=11, height=11, rx=2.5, class_="fill clear"),
    Status.CLOUDY: element("rect", x=1.5, y=1.5, width=9, height=9, rx=2, class_="fill cloudy"),
    Status.NODATA: element("rect", x=2, y=2, width=8, height=8, rx=1.5, class_="line cloudy"),
    Status.OUTSIDE: element("circle", cx=6, cy=6, r=1.6, class_="fill cloudy"),
    Status.MISSING: element("path", d="M6 1.5 10.5 6 6 10.5 1.5 6Z", class_="line missing"),
    Status.FAILED: element("path", d="M2 2 10 10M10 2 2 10", class_="line failed"),
    Status.DUPLICATE: element("circle", cx=6, cy=6, r=2.5, class_="line cloudy"),
    OPEN: element("circle", cx=6, cy=6, r=3.5, class_="line open"),
}


def marks() -> Markup:
    """Draw the definitions of all marks, once per page; `mark` refers to them."""
    shapes = [element("g", shape, id=f"mark-{status}") for status, shape in _SHAPES.items()]
    return element("svg", element("defs", shapes), width=0, height=0, class_="defs", aria_hidden="true")


def mark(status: str, x: float = 0, y: float = 0, title: str = "") -> Markup:
    """Draw a mark, positioned by its upper left corner."""
    told = element("title", title) if title else ""
    return element("use", told, href=f"#mark-{status}", x=float(x), y=float(y))


def lone_mark(status: str) -> Markup:
    """Draw a mark for a line of text."""
    return element(
        "svg", mark(status), viewBox="0 0 12 12", width=12, height=12, class_="mark", aria_hidden="true"
    )


# ---- scatter ------------------------------------------------------------------------------------------------

_WIDE, _HIGH = 480.0, 400.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 42.0, 28.0, 472.0, 356.0
_PAD: Final = 7.0
"""Space between the frame and the points at 0 and 100 per cent, so that no point is cut off."""


def scatter(points: Scatter, *, max_scene: float, max_area: float) -> Markup:
    """Draw the cloud cover of the scene (x) against that of the area (y), 0 to 100 per cent each.

    Args:
        points: drawn as dots; if there are too many, as squares whose size shows the number of jobs in a cell.
        max_scene: per cent above which scenes are not examined.
        max_area: per cent above which an area counts as cloudy.
    """
    drawn = _dots(points) if points.points else _squares(points)
    label = f"Cloud of the whole scene against cloud inside the area, {points.count:,} examined jobs"
    return element(
        "svg",
        _beyond(max_scene),
        _axes(),
        element("path", d=f"M{_LEFT} {_y(max_area):.1f}H{_RIGHT}", class_="limit"),
        element("g", drawn, class_="dots" if points.points else "cells"),
        viewBox=f"0 0 {_WIDE:.0f} {_HIGH:.0f}",
        class_="plot",
        role="img",
        aria_label=label,
    )


def _dots(points: Scatter) -> Iterator[Markup]:
    for point in sorted(points.points, key=lambda point: -ORDER.index(point.status)):  # clear areas on top
        yield element(
            "circle",
            element("title", point.label),
            cx=_x(point.scene),
            cy=_y(point.area),
            r=3.4,
            class_="clear" if point.status == Status.SAVED else None,
        )


def _squares(points: Scatter) -> Iterator[Markup]:
    most = max(points.cells.values(), default=1)
    full = (_RIGHT - _LEFT - 2 * _PAD) * CELL / 100
    for (column, row), count in sorted(points.cells.items()):
        side = max(1.2, full * sqrt(count / most))
        scene, area = CELL * column, CELL * row
        told = f"{count:,} jobs: scene {scene} to {scene + CELL} %, area {area} to {area + CELL} %"
        yield element(
            "rect",
            element("title", told),
            x=_x(scene + CELL / 2) - side / 2,
            y=_y(area + CELL / 2) - side / 2,
            width=side,
            height=side,
        )


def _beyond(max_scene: float) -> Markup:
    if max_scene >= 100:
        return Markup()
    left = _x(max_scene)
    return element("rect", x=left, y=_TOP, width=_RIGHT - left, height=_BOTTOM - _TOP, class_="beyond")


def _axes() -> Iterator[Markup]:
    for value in range(0, 101, 20):
        yield element("path", d=f"M{_x(value):.1f} {_TOP}V{_BOTTOM}", class_="rule")
        yield element("path", d=f"M{_LEFT} {_y(value):.1f}H{_RIGHT}", class_="rule")
        yield element("text", value, x=_x(value), y=_BOTTOM + 18, text_anchor="middle")
        yield element("text", value, x=_LEFT - 8, y=_y(value) + 4, text_anchor="end")
    yield element("text", AREA_AXIS, x=0, y=14, class_="axis")
    yield element("text", SCENE_AXIS, x=_RIGHT, y=_HIGH - 6, text_anchor="end", class_="axis")


def _x(percent: float) -> float:
    return _LEFT + _PAD + (_RIGHT - _LEFT - 2 * _PAD) * percent / 100


def _y(percent: float) -> float:
    return _BOTTOM - _PAD - (_BOTTOM - _TOP - 2 * _PAD) * percent / 100


# ---- calendar -----------------------------------------------------------------------------------------------

_DAY, _NAMES, _HEAD = 14.0, 34.0, 16.0


def calendar(year: int, days: Mapping[date, Sequence[Look]], first: date, last: date) -> Markup:
    """Draw one year: a row for each month, a column for each day.

    Args:
        year: the year.
        days: observations by day, the one whose mark is shown first.
        first: first day of the period.
        last: last day of the period, inclusive.
    """
    return element(
        "svg",
        _days_of_month(),
        [_month(year, month, first, last) for month in range(1, 13)],
        [_day(day, found) for day, found in days.items() if day.year == year],
        viewBox=f"0 0 {_NAMES + 31 * _DAY:.0f} {_HEAD + 12 * _DAY:.0f}",
        class_="calendar",
        role="img",
        aria_label=f"Calendar of {year}",
    )


def _days_of_month() -> Iterator[Markup]:
    for day in (1, 5, 10, 15, 20, 25, 30):
        x = _NAMES + (day - 0.5) * _DAY
        yield element("text", day, x=x, y=_HEAD - 5, text_anchor="middle", class_="faint")


def _month(year: int, month: int, first: date, last: date) -> Markup:
    y = _HEAD + (month - 1) * _DAY
    start, end = date(year, month, 1), date(year, month, monthrange(year, month)[1])
    start, end = max(start, first), min(end, last)
    row = Markup()
    if start <= end:
        x, width = _NAMES + (start.day - 1) * _DAY, (end.day - start.day + 1) * _DAY
        row = element("rect", x=x, y=y + 1, width=width, height=_DAY - 2, rx=3, class_="row")
    return join([row, element("text", _MONTHS[month - 1], x=0, y=y + 10.5)])


def _day(day: date, found: Sequence[Look]) -> Markup:
    x, y = _NAMES + (day.day - 1) * _DAY + 1, _HEAD + (day.month - 1) * _DAY + 1
    told = Markup("\n").join(map(text, (day, *map(describe, found))))
    return element("use", element("title", told), href=f"#mark-{found[0].status}", x=x, y=y)


def describe(look: Look) -> str:
    """Describe an observation in one line."""
    known = [WORDS[look.status]]
    if look.area_cloud is not None:
        known.append(f"area {look.area_cloud:.1f} %")
    if look.scene_cloud is not None:
        known.append(f"scene {look.scene_cloud:.0f} %")
    return f"{', '.join(known)} ({look.item})"


# ---- bar ----------------------------------------------------------------------------------------------------


def bar(saved: Saving) -> Markup:
    """Draw the bytes of the whole files as one bar of three parts."""
    drawn, x = [], 0.0
    for share in saved.shares():
        width = 10 * share.percent
        drawn.append(element("rect", x=min(x, 998.0), y=0, width=max(width, 2.0), height=40, class_=share.kind))
        x += width
    return element(
        "svg",
        drawn,
        viewBox="0 0 1000 40",
        preserveAspectRatio="none",
        class_="bar",
        role="img",
        aria_label="Shares of the bytes of the whole files",
    )
