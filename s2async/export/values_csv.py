"""The table of values as CSV: column by column, so that repeated values are formatted only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async import files
from s2async.config.model import Config
from s2async.config.sections import VALUES_TABLE
from s2async.export import csv_table
from s2async.export.columns import ColumnType
from s2async.export.encoding import TextFile, utf8
from s2async.export.values import Coded, Column, Numbers, ValuesTable, table
from s2async.state.reader import Ledger

ROWS: Final = 1 << 14
"""Number of rows that are formatted together: as text, they take up to a kilobyte each."""
REPEATED: Final = 4
"""How often the numbers of a column must be repeated on average to be looked up; otherwise each is formatted."""


def write_values(state: Ledger, config: Config) -> Path:
    """Write ``values.csv`` atomically into the output folder; see `write_csv`.

    Returns:
        The path of the file.

    Raises:
        LocalError: the file cannot be written: the disk is full, or the folder is read-only or missing.
    """
    path = config.output.folder / VALUES_TABLE
    part = path.with_name(f".{path.name}{files.SUFFIX}")  # only one process writes here, as with overview.csv
    with files.writing(path, part) as file:
        write_csv(table(state, config), utf8(file))
    return path


def write_csv(rows: ValuesTable, file: TextFile) -> int:
    """Write a table of values as CSV (RFC 4180), as `csv_table.write` does, and return the number of rows."""
    file.write(",".join(map(csv_table.cell_text, rows.columns)) + "\n")
    count = 0
    for columns in rows.blocks(ROWS):
        texts = [_texts(some, rows.columns) for some in _together(columns)]
        count += len(texts[0])
        lines = map(",".join, zip(*texts, strict=True))
        file.write("\n".join(lines) + "\n")
    return count


def _together(columns: Mapping[str, Column]) -> list[dict[str, Column]]:
    """Return the columns in groups: adjacent columns with the same codes for all their values are in one group."""
    groups: list[dict[str, Column]] = []
    codes: NDArray[np.intp] | None = None
    for name, column in columns.items():
        if isinstance(column, Coded) and column.codes is codes:
            groups[-1][name] = column
        else:
            groups.append({name: column})
            codes = column.codes if isinstance(column, Coded) else None
    return groups


def _texts(group: Mapping[str, Column], kinds: Mapping[str, ColumnType]) -> list[str]:
    """Return the cells of a group of columns, separated by commas: (rows,)."""
    ((name, column), *_) = group.items()
    if isinstance(column, Numbers):
        return _number_texts(column.numbers, kinds[name])
    cells = [
        [csv_table.cell_text(value) for value in one.values] for one in group.values() if isinstance(one, Coded)
    ]
    return _chosen([*map(",".join, zip(*cells, strict=True))], column.codes)


def _number_texts(numbers: NDArray[np.float64], kind: ColumnType) -> list[str]:
    """Return numbers as text, (rows,); many are repeated, such as reflectances of single pixels."""
    # compared by their bits: 0.0 differs from -0.0
    values, codes = np.unique(np.ascontiguousarray(numbers).view(np.int64), return_inverse=True)
    if len(values) * REPEATED > len(numbers):
        return _plain_texts(numbers, kind)
    return _chosen(_plain_texts(values.view(np.float64), kind), codes)


def _plain_texts(numbers: NDArray[np.float64], kind: ColumnType) -> list[str]:
    plain = [*map(repr if kind == "float64" else "{:.0f}".format, numbers.tolist())]
    for row in np.flatnonzero(np.isnan(numbers)).tolist():
        plain[row] = ""
    return plain


def _chosen(texts: Sequence[str], codes: NDArray[np.intp]) -> list[str]:
    return [*map(texts.__getitem__, codes.tolist())]
