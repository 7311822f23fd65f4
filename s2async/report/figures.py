"""Matplotlib figures for all plots of a report: empty figures, titles and names. Needs matplotlib."""

from __future__ import annotations

from typing import Any, Final

from s2async.text import safe

LETTERS: Final = 28
"""Maximum length of an area's name."""


def empty(width: float, height: float) -> Any:
    """Return an empty figure; width and height in inches."""
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
    return figure


def single(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure and its only pair of axes; width and height in inches."""
    figure = empty(width, height)
    return figure, figure.subplots()


def grid(width: float, height: float, rows: int, columns: int = 1) -> tuple[Any, Any]:
    """Return a figure with rows of axes, and an iterator over the axes, row by row."""
    figure = empty(width, height)
    return figure, figure.subplots(rows, columns, squeeze=False).flat


def headline(axes: Any, text: str) -> None:
    """Write the title of a plot."""
    axes.set_title(text, loc="left", fontsize=12, fontweight="bold", pad=12)


def short_name(name: str) -> str:
    """Shorten the name of an area to `LETTERS`, without control characters."""
    printable = safe(name)
    return printable if len(printable) <= LETTERS else f"{printable[: LETTERS - 1]}\u2026"
