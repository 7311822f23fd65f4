"""A report's plots as PNG files; the only door to matplotlib, of the extra ``plots``."""

from __future__ import annotations

import io
import warnings
from calendar import month_abbr
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from s2async import files
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.models import Status
from s2async.report import queries
from s2async.report.data import CELL, Saving, Scatter, Watched
from s2async.state.reader import Ledger
from s2async.text import safe, size

AREAS: Final = 40
"""Most areas that have a row of their own; more are told as their sum."""
LETTERS: Final = 28
"""Of an area's name."""
_DPI: Final = 144
_TOKEN: Final = "s2async-report"  # noqa: S105 - not a password
_INK, _SOFT, _LINE, _ROW = "#1a2225", "#586469", "#dfe3e1", "#f2f4f3"
_CLEAR, _CLOUDY, _WINDOW = "#0b8078", "#a3aeb3", "#cfd8d6"
_STYLE: Final = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "text.parse_math": False,  # a name may hold dollars
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "axes.axisbelow": True,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "grid.color": _LINE,
}

Month = tuple[int, int]
"""Year and month."""


@dataclass(kw_only=True, slots=True)
class Months:
    """Clear views by area and month."""

    rows: list[tuple[str, Counter[Month]]] = field(default_factory=list)
    """By name; none once there are more than `AREAS`."""
    all: Counter[Month] = field(default_factory=Counter)
    areas: int = 0

    def add(self, watched: Watched) -> None:
        """Take in an area; a job counts once, however many crops it has."""
        counts = Counter((look.day.year, look.day.month) for look in watched.looks if look.is_clear)
        self.areas += 1
        self.all.update(counts)
        self.rows.append((watched.area.name, counts))
        if self.areas > AREAS:
            self.rows.clear()


def write(state: Ledger, config: Config, folder: Path) -> list[Path]:
    """Write ``clouds.png``, ``months.png`` and ``bytes.png``; what there is nothing to show of is left out.

    Args:
        state: read only; a run may be going on.
        config: of the run.
        folder: made where missing.

    Returns:
        The files.

    Raises:
        ConfigError: matplotlib is missing.
        LocalError: a file cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError("--png needs matplotlib: pip install 's2async[plots]'") from error
    scatter, months = _gathered(state, config)
    saved = queries.bytes_saved(state, config)
    files.make_folder(folder, parents=True)
    written = []
    with mpl.rc_context(_STYLE):
        for name, figure in _figures(scatter, months, saved, config):
            files.replace(folder / f"{name}.png", encoded(figure), token=_TOKEN)
            written.append(folder / f"{name}.png")
    return written


def encoded(figure: Any) -> bytes:
    """A figure as PNG; letters that no font here has are boxes, and nobody is warned of that."""
    with io.BytesIO() as out, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(out, format="png", dpi=_DPI)
        return out.getvalue()


def _gathered(state: Ledger, config: Config) -> tuple[Scatter, Months]:
    scatter, months = Scatter(), Months()
    for watched in queries.watched_areas(state, config):
        scatter.add(watched)
        months.add(watched)
    return scatter, months


def _figures(scatter: Scatter, months: Months, saved: Saving, config: Config) -> Iterator[tuple[str, Any]]:
    if scatter.count:
        yield "clouds", clouds(scatter, max_area=config.clouds.max_area_cloud)
    if months.all:
        yield "months", by_month(months, crops=bool(config.output.assets))
    if saved.whole and saved.window >= 0:
        yield "bytes", moved(saved)


# ---- the plots --------------------------------------------------------------------------------------------


def clouds(scatter: Scatter, *, max_area: float) -> Any:
    """Cloud of the scene against cloud of the area: points, or squares by count once there are too many."""
    figure, axes = _plot(6.6, 6.2)
    if scatter.points:
        for clear in (False, True):  # clear ones on top
            points = [point for point in scatter.points if (point.status == Status.SAVED) == clear]
            axes.scatter(
                [point.scene for point in points],
                [point.area for point in points],
                s=22,
                c=_CLEAR if clear else _CLOUDY,
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
        axes.scatter(*zip(*places, strict=True), s=sizes, c=_CLEAR, marker="s", linewidths=0, clip_on=False)
        axes.set_title(f"largest square: {most:,} jobs", fontsize=9, color=_SOFT, loc="right")
    axes.axhline(max_area, color=_SOFT, linewidth=0.8, linestyle=(0, (4, 4)))
    axes.set(xlim=(-2, 102), ylim=(-2, 102), xticks=range(0, 101, 20), yticks=range(0, 101, 20))
    axes.set_xlabel("cloud of the whole scene, %")
    axes.set_ylabel("cloud inside the area, %")
    axes.grid(visible=True, linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _headline(axes, f"Scene and area, {scatter.count:,} examined jobs")
    return figure


def by_month(months: Months, *, crops: bool) -> Any:
    """Clear views per month: a row of counts for each area, or bars of their sum once there are too many."""
    columns = list(_between(min(months.all), max(months.all)))
    words = "Saved views" if crops else "Clear views"
    if not months.rows:
        figure, axes = _plot(max(6.0, 1.5 + _wide(columns)), 4.2)
        bars = axes.bar(range(len(columns)), [months.all[column] for column in columns], color=_CLEAR, width=0.72)
        axes.bar_label(bars, [f"{months.all[column]:,}" for column in columns], padding=3, fontsize=9)
        axes.set_yticks([])
        _headline(axes, f"{words} per month, {months.areas:,} areas together")
    else:
        figure, axes = _plot(max(6.0, 2.6 + _wide(columns)), 1.4 + 0.34 * len(months.rows))
        values = [[counts[column] for column in columns] for _, counts in months.rows]
        axes.imshow(values, aspect="auto", cmap=_shades(), vmin=0, vmax=max(map(max, values)))
        _tell(axes, values)
        names = [_name(name) for name, _ in months.rows]
        axes.set_yticks(range(len(names)), names, color=_INK)
        _headline(axes, f"{words} per area and month")
    axes.set_xticks(range(len(columns)), [_month(column, first=not index) for index, column in enumerate(columns)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def moved(saved: Saving) -> Any:
    """One bar: what whole files weigh, and where it went."""
    about = "about " * bool(saved.estimated)
    parts = [
        (saved.skipped, _CLOUDY, f"{about}{size(saved.skipped)} skipped: no area was clear in the scene"),
        (saved.window, _WINDOW, f"{about}{size(saved.window)} not read: only the window under the areas was"),
        (saved.moved, _CLEAR, f"{size(saved.moved)} moved"),
    ]
    figure, axes = _plot(8.0, 2.1)
    left = 0.0
    for count, colour, words in parts:
        if not count:
            continue
        share = 100 * count / saved.whole
        axes.barh(
            0, max(share, 0.2), left=min(left, 99.8), color=colour, height=1, label=f"{words}, {share:.1f} %"
        )
        left += share
    axes.set(xlim=(0, 100), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.01, -0.05), frameon=False, borderaxespad=0, labelspacing=0.35)
    _headline(axes, f"Bytes of the whole files: {about}{size(saved.whole)}")
    return figure


# ---- parts ------------------------------------------------------------------------------------------------


def _plot(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
    return figure, figure.subplots()


def _headline(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=12, fontweight="bold", pad=12)


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("clear", [_ROW, "#7fc4bd", _CLEAR])


def _tell(axes: Any, values: Sequence[Sequence[int]]) -> None:
    most = max(map(max, values))
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value:
                colour = "white" if value > 0.6 * most else _INK
                axes.text(column, row, f"{value:,}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks([column + 0.5 for column in range(len(values[0]) - 1)], minor=True)
    axes.set_yticks([row + 0.5 for row in range(len(values) - 1)], minor=True)
    axes.grid(visible=True, which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)


def _name(name: str) -> str:
    shown = safe(name)
    return shown if len(shown) <= LETTERS else f"{shown[: LETTERS - 1]}\u2026"


def _month(month: Month, *, first: bool) -> str:
    name = month_abbr[month[1]]
    return f"{name}\n{month[0]}" if first or month[1] == 1 else name


def _wide(columns: Sequence[Month]) -> float:
    """Inches for so many months: of many years they are narrow."""
    return min(0.42 * len(columns), 24.0)


def _between(first: Month, last: Month) -> Iterable[Month]:
    year, month = first
    while (year, month) <= last:
        yield year, month
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
