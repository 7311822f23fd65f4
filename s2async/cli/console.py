"""The terminal: consoles, notices, plain tables and labelled lines.

All external text (names, ids, reasons) passes `text.safe`, so that no markup, escape sequence or line break in it
ever reaches the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2async.events import Notice
from s2async.models import Status
from s2async.text import safe


def tell(console: Console, notice: Notice, *, quiet: bool) -> None:
    """Print a notice on a separate line; with ``quiet``, only if it is grave."""
    if notice.grave or not quiet:
        console.print(Text(safe(notice.text), style="yellow" * notice.grave), soft_wrap=True)


def status_word(status: str, *, crops: bool) -> str:
    """Return the word for a status of jobs.

    Args:
        status: a value of `Status`, or ``open``.
        crops: whether crops are wanted; otherwise a finished job is not saved but clear.
    """
    return "clear" if status == Status.SAVED and not crops else str(status)


def short(path: Path) -> str:
    """Return a path relative to the current folder if possible."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def table(title: str, columns: Mapping[str, str], rows: Iterable[Iterable[str]]) -> Table:
    """Return a plain table.

    Args:
        title: line above the table.
        columns: maps the heading of each column to its kind: ``text`` (folded if there is no room), ``id`` (never
            folded) or ``number``.
        rows: text of the cells, in the order of the columns.
    """
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading, kind in columns.items():
        made.add_column(
            heading,
            justify="right" if kind == "number" else "left",
            header_style="dim",
            no_wrap=kind != "text",
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(Text(safe(cell)) for cell in row))
    return made


def facts(rows: Mapping[str, str]) -> Text:
    """Return labelled lines, one below the other."""
    width = max(map(len, rows))
    lines = (Text.assemble((f"{label:{width}}  ", "dim"), safe(text)) for label, text in rows.items())
    return Text("\n").join(lines)


def standard_error() -> Console:
    """Return the console for progress and errors."""
    return Console(stderr=True, highlight=False)


def standard_output() -> Console:
    """Return the console for results, which are not folded if the output is not a terminal."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(highlight=False, width=None if terminal else 160, soft_wrap=not terminal)
