"""Curves of values as plots: small curves of many areas, and the curves of one area. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from s2async.report.figures import grid, headline, short_name
from s2async.report.series import Axis, Curve, Scale, Value, pieces
from s2async.report.style import colours
from s2async.report.values_section import Valued
from s2async.text import safe


def multiples(valued: Valued) -> Any | None:
    """Plot small curves of the first areas with the same axes."""
    alike = valued.alike()
    if not alike:
        return None
    axis, scale = axes_of([found.curve for found in alike])
    columns = min(5, len(alike))
    rows = -(-len(alike) // columns)
    figure, places = grid(max(6.0, 2.5 * columns), 1.0 + 1.5 * rows, rows, columns)
    for number, axes in enumerate(places):
        if number >= len(alike):
            axes.set_visible(False)
            continue
        curve = alike[number].curve
        _draw_curve(axes, curve, axis, scale, every=3, points=False)
        axes.set_title(short_name(alike[number].name), loc="left", fontsize=9, color=colours()["ink"])
    one, shown = alike[0].curve, len(alike)
    of = f" of {valued.areas:,}" if valued.areas > shown else ""
    year = axis.words(max(axis.year(found.curve.values[-1].day) for found in alike))
    title = f"{safe(one.name)}, {one.line} of {shown:,}{of} area{'s' * (shown != 1)}, {year}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def of_area(curves: Sequence[Curve]) -> Any:
    """Plot the curves of an area below each other; at least one."""
    figure, places = grid(8.0, 0.4 + 2.3 * len(curves), len(curves))
    for curve, axes in zip(curves, places, strict=True):
        axis, scale = axes_of([curve], bands=True)
        years = list(curve.years(axis))
        _draw_curve(axes, curve, axis, scale, every=1, points=True)
        unit = f", {curve.unit}" if curve.unit else ""
        behind = f"; paler: {axis.span(years[:-1])}" if years[1:] else ""
        headline(axes, f"{safe(curve.name)}{unit}, {axis.words(years[-1])}{behind}")
    return figure


def axes_of(curves: Sequence[Curve], *, bands: bool = False) -> tuple[Axis, Scale]:
    """Choose common axes for curves, from their values and, if requested, their bands."""
    days = [value.day for curve in curves for value in curve.values]
    edges = (curve.edges() if bands else [value.value for value in curve.values] for curve in curves)
    return Axis.of(min(days), max(days)), Scale.of(chain.from_iterable(edges))


def _draw_curve(axes: Any, curve: Curve, axis: Axis, scale: Scale, *, every: int, points: bool) -> None:
    """Draw a curve: the newest year in front of the others, with its band and points if requested.

    Args:
        axes: matplotlib axes.
        curve: a curve with at least one value.
        axis: horizontal axis, whose months contain all values.
        scale: the vertical axis.
        every: number of months between two month names.
        points: whether points show how much of the area is clear, and the band is drawn.
    """
    colour, years = colours(), curve.years(axis)
    newest = max(years)
    for year, values in years.items():
        for piece in pieces(values):
            days = [axis.place(value.day) for value in piece]
            line = {"color": colour["clear"]} if year == newest else {"color": colour["cloudy"], "alpha": 0.6}
            axes.plot(days, [value.value for value in piece], linewidth=1.4, zorder=2 + (year == newest), **line)
            if points and year == newest and curve.band:
                edges = ([value.low for value in piece], [value.high for value in piece])
                axes.fill_between(days, *edges, color=colour["clear"], alpha=0.18, linewidth=0)
    shown = years[newest]
    sizes = [_area_of(value) for value in shown] if points else 5
    places = [axis.place(value.day) for value in shown]
    axes.scatter(
        places, [value.value for value in shown], s=sizes, c=colour["clear"], linewidths=0, zorder=4, clip_on=False
    )
    ticks = axis.ticks()[::every]
    axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks], ha="left", fontsize=8)
    heights = [scale.low + place * (scale.high - scale.low) for place, _ in scale.ticks()]
    axes.set_yticks(heights, [number for _, number in scale.ticks()], fontsize=8)
    axes.set(xlim=(0, 1), ylim=(scale.low, scale.high))
    axes.grid(visible=True, axis="y", linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _area_of(value: Value) -> float:
    """Return the size of a point, in square points: proportional to the clear share, but never invisible."""
    return max(4.0, 26 * value.clear / 100)
