"""The names of areas, from a column of their file or from other values that distinguish them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import numpy as np

from s2async.areas.table import Table
from s2async.config.toml import toml_value
from s2async.errors import AreaError
from s2async.text import one_line

ROW: Final = "row"
"""Name field that stands for the number of the record, counted from 1, in files without a column of this name."""
FOLDER: Final = "folder"
"""Pseudo column with the folder of each record in a KML file, which is prefixed to duplicate names."""


def names(table: Table, name_field: str) -> tuple[list[str], dict[int, str]]:
    """Return the names of all records.

    The name field is a column; or otherwise a column whose name differs only in case; or otherwise a pseudo column
    of the file, such as ``fid``, or ``row``.

    Args:
        table: the records.
        name_field: the field that the configuration sets.

    Returns:
        n names without blanks around them, empty if a record has no usable name; and by number of the record (from
        0) why that is so and what to do.

    Raises:
        AreaError: the file has no such field.
    """
    if not len(table):
        return [], {}
    values = _values(table, name_field)
    found: list[str] = []
    faults: dict[int, str] = {}
    for number, value in enumerate(values):
        # Nearly all values have one of these two types.
        if type(value) is str and (name := value.strip()):
            found.append(name)
        elif type(value) is int:
            found.append(str(value))
        else:
            name, fault = named(value, name_field)
            found.append(name)
            if fault:
                faults[number] = fault
    folders = table.pseudo.get(FOLDER)
    if folders is not None:
        found = _with_folders(found, folders)
    return found, faults


def named(value: Any, name_field: str) -> tuple[str, str]:
    """Return a value as a name, and what is wrong with it; one of the two is empty.

    Text and whole numbers are names, including whole numbers that are stored as floats.

    Args:
        value: a value of the column.
        name_field: the column, for the message.
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)  # shapefiles store whole numbers as floats
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value), ""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return "", f'the name is empty; fill the field "{one_line(name_field)}"'
    if not isinstance(value, str):
        return "", f"the name is {toml_value(value)}; write text or a whole number"
    return value.strip(), ""


def _values(table: Table, name_field: str) -> Sequence[Any]:
    for fields in (table.columns, table.pseudo):
        if (key := name_column(fields, name_field)) is not None:
            return fields[key]
    if name_field.casefold() == ROW:
        return range(1, len(table) + 1)
    others = [*table.columns, *(name for name in table.pseudo if name != FOLDER)]
    if others:
        advice = f"set name_field to one of: {_list([*others, ROW])}"
    else:
        advice = f'give every area one, or set name_field = "{ROW}" to number them'
    raise AreaError(f'{table.where(0)}: no field "{one_line(name_field)}" for the name; {advice}')


def name_column(fields: Collection[str], name_field: str) -> str | None:
    """Return the field of this name, or the only one whose name differs only in case; None if there is neither."""
    if name_field in fields:
        return name_field
    alike = [field for field in fields if field.casefold() == name_field.casefold()]
    return alike[0] if len(alike) == 1 else None


def _with_folders(found: Sequence[str], folders: Sequence[str | None]) -> list[str]:
    """Prefix names that occur more than once with the folder."""
    counts = Counter(found)
    return [
        f"{folder}/{name}" if name and folder and counts[name] > 1 else name
        for name, folder in zip(found, folders, strict=True)
    ]


def _list(fields: Iterable[str]) -> str:
    return one_line(", ".join(fields), 200)
