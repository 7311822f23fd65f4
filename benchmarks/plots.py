"""The lines of a benchmark as a picture; needs matplotlib, of the ``bench`` extra."""

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
_OWN, _OTHERS = "#2a7f62", "#b9c2c9"


def contest(lines: Sequence[Line], path: Path) -> None:
    """Bars for each contender: speed, bytes, CPU, memory."""
    from matplotlib.figure import Figure

    rows = [line for line in medians(lines) if "median_of" in line][::-1]
    names = [NAMES[line["contender"]] for line in rows]
    colours = [_OWN if line["contender"] == "s2async" else _OTHERS for line in rows]
    figure = Figure(figsize=(10, 0.6 + 0.36 * len(rows)), layout="constrained")
    for axes, (key, title, better) in zip(figure.subplots(1, len(_PANELS), sharey=True), _PANELS, strict=True):
        values = [line[key] for line in rows]
        bars = axes.barh(names, values, color=colours, height=0.7)
        axes.bar_label(bars, [f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in values], padding=3)
        axes.set_title(f"{title}\n", fontsize=10, loc="left")
        axes.text(0, 1.02, better, transform=axes.transAxes, fontsize=8, color="#777777")
        axes.set_xlim(0, max(values) * 1.25)
        axes.set_xticks([])
        axes.tick_params(left=False)
        axes.spines[:].set_visible(False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Text stays text and there is no date in it: small files that do not change when the figures do not."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "s2async", "font.family": "sans-serif"}):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=144, metadata=metadata)
