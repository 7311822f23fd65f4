"""Plots of a benchmark's lines; needs matplotlib, of the ``bench`` extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.tables import NAMES, medians

Line = dict[str, Any]

_PANELS: Final = (
    ("jobs_per_second", "jobs per second", "more is better"),
    ("kilobytes_per_job", "kB per job", "less is better"),
    ("cpu_ms_per_job", "CPU ms per job", "less is better"),
    ("peak_megabytes", "peak MB", "less is better"),
)
_GROWTH: Final = (
    ("requests", "requests", 1),
    ("bytes", "megabytes read", 1e6),
    ("seconds", "seconds", 1),
    ("cpu_seconds", "CPU seconds", 1),
    ("peak_megabytes", "peak memory, MB", 1),
    ("files", "files", 1),
)
_OWN, _OTHERS = "#2a7f62", "#b9c2c9"


def contest(lines: Sequence[Line], path: Path) -> None:
    """Draw bars for each contender: speed, bytes, CPU, memory."""
    from matplotlib.figure import Figure

    rows = [line for line in medians(lines) if "median_of" in line][::-1]
    names = [NAMES[line["contender"]] for line in rows]
    colours = [_OWN if line["contender"] == "s2async" else _OTHERS for line in rows]
    figure = Figure(figsize=(10, 0.6 + 0.36 * len(rows)), layout="constrained")
    for axes, (key, title, better) in zip(figure.subplots(1, len(_PANELS), sharey=True), _PANELS, strict=True):
        values = [line[key] for line in rows]
        bars = axes.barh(names, values, color=colours, height=0.7)
        axes.bar_label(bars, [_number(value) for value in values], padding=3)
        axes.set_title(f"{title}\n", fontsize=10, loc="left")
        axes.text(0, 1.02, better, transform=axes.transAxes, fontsize=8, color="#777777")
        axes.set_xlim(0, max(values) * 1.25)
        axes.set_xticks([])
        axes.tick_params(left=False)
        axes.spines[:].set_visible(False)
    _save(figure, path)


def growth(lines: Sequence[Line], path: Path) -> None:
    """Plot requests, bytes, time, CPU time, memory and files against areas and items, on logarithmic scales."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.6), layout="constrained")
    grid = figure.subplots(2, len(_GROWTH), sharey="col")
    for row, (axis, rest) in enumerate((("areas", "items"), ("items", "areas"))):
        runs = [line for line in lines if line.get("axis") == axis and "jobs" in line]
        places = [line[axis] for line in runs]
        for axes, (key, title, unit) in zip(grid[row], _GROWTH, strict=True):
            values = [line[key] / unit for line in runs]
            axes.loglog(places, values, "o-", color=_OWN, markersize=4)
            for place, value in zip(places, values, strict=True):
                spot = {"xytext": (0, 4), "textcoords": "offset points", "ha": "right", "fontsize": 8}
                axes.annotate(_number(value), (place, value), **spot)
            names = [f"{place // 1000}k" if place >= 10_000 else f"{place:,}" for place in places]
            axes.set_xticks(places, names, minor=False)
            axes.set_xlabel(f"{axis} (with {runs[0][rest]:,} {rest})", fontsize=9)
            axes.set_title("" if row else title, fontsize=10, loc="left")
            _plain(axes)
    for axes in grid[0]:
        low, high = axes.get_ylim()
        axes.set_ylim(low / 1.3, high * 1.8)
    _save(figure, path)


def _plain(axes: Any) -> None:
    """Reduce the axes: values are written at the points, so the vertical axis needs no numbers."""
    axes.minorticks_off()
    axes.set_yticks([], [])
    axes.margins(x=0.16)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _save(figure: Any, path: Path) -> None:
    """Save a figure with text as text and without a date: a small file that only changes if the data change."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "s2async", "font.family": "sans-serif"}):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=144, metadata=metadata)
