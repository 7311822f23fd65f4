"""Writes the plots of a report as PNG files, for slides and papers. Needs matplotlib (extra ``plots``).

The pages show the same data as SVG (`charts`), which follows the browser's colour scheme and names each point.
Both take their data from `data` and their colours from the style sheet. A new plot is a function in `PLOTS`.
"""

from __future__ import annotations

import io
import warnings
from calendar import month_abbr
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from s2async import files
from s2async.areas.edits import told_apart
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.models import Status
from s2async.report import queries
from s2async.report.area_section import stems
from s2async.report.curve_plots import multiples, of_area
from s2async.report.data import AREA_AXIS, CELL, SCENE_AXIS, Saving, Scatter, Watched
from s2async.report.figures import headline, short_name, single
from s2async.report.series import CURVES, Curve
from s2async.report.style import colours
from s2async.report.values_section import Valued
from s2async.state.reader import Ledger
from s2async.text import size

AREAS: Final = 40
"""Maximum number of areas with their own row; more areas are shown as their sum. Also the maximum number of areas
whose curves get a separate file."""
_DPI: Final = 144
_TOKEN: Final = "s2async-report"  # noqa: S105 - not a password

Month = tuple[int, int]
"""Year and month."""


@dataclass(kw_only=True, slots=True)
class Months:
    """Clear observations by area and month."""

    rows: list[tuple[str, Counter[Month]]] = field(default_factory=list)
    """Name and counts of each area; empty if there are more than `AREAS`."""
    all: Counter[Month] = field(default_factory=Counter)
    areas: int = 0

    def add(self, watched: Watched) -> None:
        """Add an area. A job counts once, whatever the number of its crops."""
        counts = Counter((look.day.year, look.day.month) for look in watched.looks if look.is_clear)
        self.areas += 1
        self.all.update(counts)
        self.rows.append((watched.area.name, counts))
        if self.areas > AREAS:
            self.rows.clear()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlotData:
    """The data that the plots show."""

    scatter: Scatter
    months: Months
    saved: Saving
    max_area: float
    """Per cent of cloud above which an area counts as cloudy."""
    crops: bool
    """Whether crops are saved; if False, areas are only measured."""
    valued: Valued = field(default_factory=Valued)
    curves: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
    """Curves of the first `AREAS` areas that have any, by file name without suffix."""


def write(state: Ledger, config: Config, folder: Path) -> list[Path]:
    """Write a PNG file for each of `PLOTS` that has something to show, and one for the curves of each area.

    Args:
        state: read only; a run may be in progress.
        config: settings of the job.
        folder: folder for the files; created if missing.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: matplotlib is not installed.
        LocalError: a file cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("--png needs matplotlib: pip install 's2async[plots]'") from error
    data = gathered(state, config)
    files.make_folder(folder, parents=True)
    written = []
    with mpl.rc_context(settings()):
        for name, figure in figures(data):
            files.replace(folder / f"{name}.png", encoded(figure), token=_TOKEN)
            written.append(folder / f"{name}.png")
    return written


def figures(data: PlotData) -> Iterator[tuple[str, Any]]:
    """Yield the plots that have something to show, one after the other, with their file names."""
    for name, plot in PLOTS.items():
        figure = plot(data)
        if figure is not None:
            yield name, figure
    for name, curves in data.curves.items():
        yield name, of_area(curves)


def gathered(state: Ledger, config: Config) -> PlotData:
    """Read the data for the plots from the state."""
    scatter, months, valued = Scatter(), Months(), Valued()
    curves: dict[str, Sequence[Curve]] = {}
    areas = list(state.areas())
    several = zip(queries.watched_areas(state, config, areas), stems(areas), told_apart(areas), strict=True)
    for watched, stem, label in several:
        scatter.add(watched)
        months.add(watched)
        valued.add(watched, name=label)
        if watched.curves and len(curves) < AREAS:
            curves[f"curves-{stem}"] = watched.curves[:CURVES]
    return PlotData(
        scatter=scatter,
        months=months,
        saved=queries.bytes_saved(state, config),
        max_area=config.clouds.max_area_cloud,
        crops=bool(config.output.assets),
        valued=valued,
        curves=curves,
    )


def encoded(figure: Any) -> bytes:
    """Encode a figure as PNG. Characters that no installed font contains become boxes, without a warning."""
    with io.BytesIO() as out, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(out, format="png", dpi=_DPI)
        return out.getvalue()


def settings() -> dict[str, Any]:
    """Return the matplotlib settings for all plots."""
    colour = colours()
    return {
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": colour["ink"],
        "text.parse_math": False,  # the name of an area may contain dollar signs
        "axes.labelcolor": colour["ink"],
        "axes.edgecolor": colour["line"],
        "axes.axisbelow": True,
        "xtick.color": colour["soft"],
        "ytick.color": colour["soft"],
        "grid.color": colour["line"],
    }


# ---- the plots --------------------------------------------------------------------------------------------


def clouds(data: PlotData) -> Any | None:
    """Plot the cloud cover of the scene against that of the area: points, or squares if there are too many."""
    scatter, colour = data.scatter, colours()
    if not scatter.count:
        return None
    figure, axes = single(6.6, 6.2)
    if scatter.points:
        for clear in (False, True):  # clear areas are drawn last, on top
            points = [point for point in scatter.points if (point.status == Status.SAVED) == clear]
            axes.scatter(
                [point.scene for point in points],
                [point.area for point in points],
                s=22,
                c=colour["clear" if clear else "cloudy"],
                alpha=0.6,
                linewidths=0,
                label=f"{'clear' if clear else 'not clear'} ({len(points):,})",
                clip_on=False,
            )
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=2, frameon=False, handletextpad=0.2)
    else:
        most = max(scatter.cells.values())
        cells = scatter.cells.items()
        places = [(CELL * (column + 0.5), CELL * (row + 0.5)) for (column, row), _ in cells]
        sizes = [4 + 60 * count / most for _, count in cells]
        axes.scatter(
            *zip(*places, strict=True), s=sizes, c=colour["clear"], marker="s", linewidths=0, clip_on=False
        )
        axes.set_title(f"largest square: {most:,} jobs", fontsize=9, color=colour["soft"], loc="right")
    axes.axhline(data.max_area, color=colour["soft"], linewidth=0.8, linestyle=(0, (4, 4)))
    axes.set(xlim=(-2, 102), ylim=(-2, 102), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    axes.set_xlabel(SCENE_AXIS)
    axes.set_ylabel(AREA_AXIS)
    axes.grid(visible=True, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    headline(axes, f"Scene and area, {scatter.count:,} examined jobs")
    return figure


def by_month(data: PlotData) -> Any | None:
    """Plot clear observations per month: a row of counts for each area, or bars of their sum if there are many."""
    months = data.months
    if not months.all:
        return None
    columns = list(_between(min(months.all), max(months.all)))
    words = "Saved views" if data.crops else "Clear views"
    if not months.rows:
        figure, axes = single(max(6.0, 1.5 + _wide(columns)), 4.2)
        counts = [months.all[column] for column in columns]
        bars = axes.bar(range(len(columns)), counts, color=colours()["clear"], width=0.72)
        axes.bar_label(bars, [f"{count:,}" for count in counts], padding=3, fontsize=9)
        axes.set_yticks([])
        headline(axes, f"{words} per month, {months.areas:,} areas together")
    else:
        figure, axes = single(max(6.0, 2.6 + _wide(columns)), 1.4 + 0.34 * len(months.rows))
        values = [[counts[column] for column in columns] for _, counts in months.rows]
        axes.imshow(values, aspect="auto", cmap=_shades(), vmin=0, vmax=max(map(max, values)))
        _write_counts(axes, values)
        names = [short_name(name) for name, _ in months.rows]
        axes.set_yticks(range(len(names)), names, color=colours()["ink"])
        headline(axes, f"{words} per area and month")
    axes.set_xticks(range(len(columns)), [_month(column, first=not index) for index, column in enumerate(columns)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def downloaded(data: PlotData) -> Any | None:
    """Plot one bar: the bytes of the whole files, split into what was downloaded and what was not."""
    saved, colour = data.saved, colours()
    if not saved.whole or saved.window < 0:
        return None
    about = "about " * bool(saved.estimated)
    fill = {"skipped": colour["cloudy"], "window": colour["window"], "moved": colour["clear"]}
    figure, axes = single(8.0, 2.1)
    left = 0.0
    for share in saved.shares():
        if not share.bytes:
            continue
        amount = f"{about * (share.kind != 'moved')}{size(share.bytes)}"
        axes.barh(
            0,
            max(share.percent, 0.2),
            left=min(left, 99.8),
            color=fill[share.kind],
            height=1,
            label=f"{amount} {share.words}, {share.percent:.1f} %",
        )
        left += share.percent
    axes.set(xlim=(0, 100), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.01, -0.05), frameon=False, borderaxespad=0, labelspacing=0.35)
    headline(axes, f"Bytes of the whole files: {about}{size(saved.whole)}")
    return figure


PLOTS: Final[Mapping[str, Callable[[PlotData], Any | None]]] = {
    "clouds": clouds,
    "months": by_month,
    "bytes": downloaded,
    "values": lambda data: multiples(data.valued),
}
"""Plots by file name; each returns a figure, or None if there is nothing to show."""


# ---- parts ------------------------------------------------------------------------------------------------


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("clear", [colours()["row"], "#7fc4bd", colours()["clear"]])


def _write_counts(axes: Any, values: Sequence[Sequence[int]]) -> None:
    most = max(map(max, values))
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value:
                colour = "white" if value > 0.6 * most else colours()["ink"]
                axes.text(column, row, f"{value:,}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks([column + 0.5 for column in range(len(values[0]) - 1)], minor=True)
    axes.set_yticks([row + 0.5 for row in range(len(values) - 1)], minor=True)
    axes.grid(visible=True, which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)


def _month(month: Month, *, first: bool) -> str:
    name = month_abbr[month[1]]
    return f"{name}\n{month[0]}" if first or month[1] == 1 else name


def _wide(columns: Sequence[Month]) -> float:
    """Return the width in inches for a number of months; columns become narrower for long periods."""
    return min(0.42 * len(columns), 24.0)


def _between(first: Month, last: Month) -> Iterable[Month]:
    year, month = first
    while (year, month) <= last:
        yield year, month
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
