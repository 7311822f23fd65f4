"""The table of crops as CSV: that of the saved ones every run writes beside them."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

from s2async import files
from s2async.config.model import TABLE
from s2async.export.table import Table, TextFile, Value, iso, values
from s2async.state.records import SavedRow

_FORMULA = frozenset("=+-@\t\r")
"""What a spreadsheet's formula may begin with."""


def write_csv(rows: Iterable[SavedRow], folder: Path, classes: Collection[int]) -> Path:
    """Write ``overview.csv``: one line for each saved crop, UTF-8, as a whole or not at all; see `write`.

    Args:
        rows: As `state.reader.Ledger.saved_rows` gives them; they are streamed.
        folder: The output folder; it exists.
        classes: SCL classes that spoil a picture.

    Returns:
        Where it is.

    Raises:
        LocalError: Disk full, read-only, no such folder.
    """
    path = folder / TABLE
    part = folder / f".{path.name}{files.SUFFIX}"  # one writer, so what a killed run left is simply written over
    with files.writing(path, part) as file:
        write(Table(rows=rows, classes=classes), utf8(file))
    return path


def write(table: Table, file: TextFile) -> int:
    """Write a table as CSV, and tell how many rows it has.

    What is unknown is empty. Texts that a spreadsheet would take for a formula begin with an apostrophe (as OWASP
    advises against CSV injection).
    """
    columns = table.columns
    lines = csv.writer(_Lines(file), lineterminator="\r\n")
    lines.writerow(columns)
    count = 0
    for row in table.rows:
        told = values(row, table.classes)
        lines.writerow([_cell(told[column]) for column in columns])
        count += 1
    return count


def utf8(file: BinaryIO) -> TextFile:
    """Take texts for a file of bytes; line ends stay what they are."""
    return codecs.getwriter("utf-8")(file)


class _Lines:
    """Lines that end with a line feed alone.

    The writer believes that they end with a carriage return, too, or Python before 3.13 would not put cells in
    quotes that hold one, and readers would take it for the end of the row.
    """

    def __init__(self, file: TextFile) -> None:
        self._write = file.write

    def write(self, line: str) -> None:
        self._write(line[:-2] + "\n")


def _cell(value: Value) -> object:
    if isinstance(value, str):
        return f"'{value}" if value[:1] in _FORMULA else value
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    return value  # None is written as nothing
