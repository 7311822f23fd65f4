"""Curves of values over the days of a year, as inline SVG without scripts. Pure.

A chart is as wide as its column on the page and has a fixed height: horizontal positions are per cents of the
width, vertical ones pixels. Letters, points and lines keep their size on every screen. Colours are defined by
class in the style sheet, which also gives the chart its margins, where the numbers of the axes are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, sqrt
from typing import Final

from s2async.report.markup import Content, Markup, element
from s2async.report.series import GAP, Axis, Curve, Scale, Value, pieces

HEIGHT: Final = 150.0
"""Height of the vertical axis in pixels; the style sheet adds the margins."""
LOW: Final = 72.0
"""Height of the vertical axis of a small chart in pixels."""
_WIDE: Final = 1000.0
"""Width of the lines' drawing in its own units, which are stretched to the width of the chart."""
_LARGEST, _SMALLEST = 4.0, 1.4
"""Radius of a point if the whole area is clear, and the smallest radius."""
_LETTERS: Final = 22.0
"""Minimum distance in pixels between numbers above each other."""
_QUARTERS: Final = 3
"""Number of months between two month names in a small chart."""


def chart(curve: Curve, axis: Axis, *, label: str) -> Markup:
    """Draw a curve with a point for each date of the newest year; other years are lines in the background.

    The size of a point shows how much of the area is clear. The line is broken at gaps.

    Args:
        curve: a curve with at least one value; all values are finite.
        axis: horizontal axis, whose months contain all values.
        label: text alternative for screen readers.
    """
    scale, years = Scale.of(curve.edges()), curve.years(axis)
    newest = max(years)
    past = [
        _line(found, axis, scale, HEIGHT, "past", f"{axis.words(year)}")
        for year, found in years.items()
        if year < newest
    ]
    shown = years[newest]
    return element(
        "svg",
        element("desc", told(curve, axis)),
        _axes(axis, scale, HEIGHT, every=1),
        _stretched(HEIGHT, past, _band(shown, axis, scale, HEIGHT), _line(shown, axis, scale, HEIGHT, "now")),
        element("g", (_point(value, axis, scale) for value in shown), class_="points"),
        class_="curve",
        role="img",
        aria_label=label,
    )


def small(curve: Curve, axis: Axis, scale: Scale, *, label: str) -> Markup:
    """Draw a small curve for a row of many: lines, and dots without dates.

    Args:
        curve: a curve with at least one value; all values are finite.
        axis: horizontal axis, whose months contain all values.
        scale: the vertical axis, which is the same for all curves.
        label: text alternative for screen readers.
    """
    years = curve.years(axis)
    newest = max(years)
    past = [_line(found, axis, scale, LOW, "past") for year, found in years.items() if year < newest]
    shown = years[newest]
    dots = "".join(f"M{_x(value, axis):.1f} {_y(value.value, scale, LOW):.1f}h0" for value in shown)
    return element(
        "svg",
        element("desc", told(curve, axis)),
        _axes(axis, scale, LOW, every=_QUARTERS),
        _stretched(LOW, past, _line(shown, axis, scale, LOW, "now"), element("path", d=dots, class_="dots")),
        class_="curve small",
        role="img",
        aria_label=label,
    )


def told(curve: Curve, axis: Axis) -> str:
    """Describe a curve in one sentence: the newest year, its lowest and its highest value."""
    years = curve.years(axis)
    newest = max(years)
    low, high = (most(years[newest], key=lambda value: value.value) for most in (min, max))
    others = f"; {len(years) - 1} other years" if len(years) > 2 else "; another year" if len(years) > 1 else ""
    count = len(years[newest])
    return (
        f"{curve.name} in {axis.words(newest)}: {count:,} date{'s' * (count != 1)}, "
        f"from {low.value:.3f} ({low.day}) to {high.value:.3f} ({high.day}){others}"
    )


def note(curve: Curve, *, past: bool) -> str:
    """Explain how to read curves that show the same statistics as the given one.

    Args:
        curve: any of the curves.
        past: whether some of them also show other years.
    """
    band = f" Band: {curve.band}." if curve.band else ""
    size = "The larger a point, the more of the area is clear."
    return f"Line: {curve.line} of the area's clear pixels.{band} {size} {_gaps(past)}"


def small_note(curve: Curve, *, past: bool) -> str:
    """Explain how to read small curves; arguments as for `note`."""
    return f"Line: {curve.line} of the area's clear pixels. All have the same axes. {_gaps(past)}"


def _gaps(past: bool) -> str:
    behind = "; paler lines are other years" if past else ""
    return f"Lines are broken where more than {GAP} days lie between two dates{behind}."


# ---- parts --------------------------------------------------------------------------------------------------


def _stretched(height: float, *drawn: Content | Iterable[Content]) -> Markup:
    """Return a part of the chart that is stretched to the width of the chart; its lines keep their thickness."""
    return element(
        "svg", *drawn, viewBox=f"0 0 {_WIDE:.0f} {height:.0f}", preserveAspectRatio="none", height=height
    )


def _x(value: Value, axis: Axis) -> float:
    return _WIDE * axis.place(value.day)


def _y(value: float, scale: Scale, height: float) -> float:
    return height * (1 - scale.place(value))


def _line(
    values: Sequence[Value], axis: Axis, scale: Scale, height: float, class_: str, title: str = ""
) -> Markup:
    """Draw the line through values, in pieces; a date between two gaps is a dot."""
    path = "".join(
        "M" + "L".join(f"{_x(value, axis):.1f} {_y(value.value, scale, height):.1f}" for value in piece)
        + "h0" * (len(piece) == 1)
        for piece in pieces(values)
    )  # fmt: skip
    return element("path", element("title", title) if title else "", d=path, class_=class_)


def _band(values: Sequence[Value], axis: Axis, scale: Scale, height: float) -> Markup:
    path = ""
    for piece in pieces(values):
        upper = [(_x(value, axis), _y(value.high, scale, height)) for value in piece if value.high is not None]
        lower = [(_x(value, axis), _y(value.low, scale, height)) for value in piece if value.low is not None]
        if len(upper) > 1:
            path += "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in [*upper, *reversed(lower)]) + "Z"
    return element("path", d=path, class_="band") if path else Markup()


def _point(value: Value, axis: Axis, scale: Scale) -> Markup:
    around = "" if value.low is None else f" ({value.low:.3f} to {value.high:.3f})"
    return element(
        "circle",
        element("title", f"{value.day}: {value.value:.3f}{around}, {value.clear:.0f} % clear"),
        cx=_percent(axis.place(value.day)),
        cy=_y(value.value, scale, HEIGHT),
        r=max(_SMALLEST, _LARGEST * sqrt(value.clear / 100)),
    )


def _axes(axis: Axis, scale: Scale, height: float, *, every: int) -> Iterator[Markup]:
    """Draw the grid with its numbers, and the names of every so many months."""
    heights = scale.ticks()
    room = ceil((len(heights) - 1) * _LETTERS / height)  # a small chart has no room for the numbers of all lines
    for line, (place, number) in enumerate(heights):
        y = height * (1 - place)
        yield element("line", x1=0, y1=y, x2="100%", y2=y, class_="rule")
        if line % room == 0:
            yield element("text", number, x=-7, y=y + 4, text_anchor="end")
    ticks = axis.ticks()
    ends = [place for place, _ in ticks[1:]] + [1.0]
    for (place, name), end in list(zip(ticks, ends, strict=True))[::every]:
        at = _percent(place)
        yield element("line", x1=at, y1=height, x2=at, y2=height + 5, class_="rule")
        if every == 1:
            yield element("text", name, x=_percent((place + end) / 2), y=height + 17, text_anchor="middle")
        else:
            yield element("text", name, x=at, y=height + 17)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
