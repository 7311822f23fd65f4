"""The areas' own columns: which ones are copied, and their values in plain types."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import numpy as np

from s2async.areas.naming import name_column
from s2async.areas.seasons import season_columns
from s2async.areas.table import Table
from s2async.errors import AreaError
from s2async.models import Attribute
from s2async.text import one_line

_PLAIN: Final = frozenset((str, int, bool, date, datetime, type(None)))


def carried(table: Table, wanted: Collection[str] | None, name_field: str) -> dict[str, list[Attribute]]:
    """Return the columns of a file that are copied to its areas, in the order of the file.

    Args:
        table: records of the file.
        wanted: names of the columns; None for all except the name and the season, which areas have anyway.
        name_field: column with the names.

    Raises:
        AreaError: the file lacks a wanted column.
    """
    if wanted is None:
        left_out = {name_column(table.columns, name_field), *season_columns(table.columns).values()}
        names = [name for name in table.columns if name not in left_out]
    else:
        if lacking := [name for name in wanted if name not in table.columns]:
            known = ", ".join(table.columns) or "none"
            raise AreaError(
                f'{table.place}: columns: no column "{one_line(lacking[0])}"; the columns are: '
                f"{one_line(known, 200)}; correct columns"
            )
        names = [name for name in table.columns if name in wanted]
    return {_encodable(name): plain(table.columns[name]) for name in names}


def plain(column: Sequence[Any]) -> list[Attribute]:
    """Return the values of a column in plain types: None if not finite, lists and objects as JSON.

    Equal strings become one object: the crop type of 100,000 fields takes 6 MB otherwise.
    """
    kinds = set(map(type, column))
    is_plain = kinds <= _PLAIN or (kinds <= _PLAIN | {float} and _are_finite(column))
    values = list(column) if is_plain else [_value(value) for value in column]
    try:
        "".join(value for value in values if type(value) is str).encode()
    except UnicodeEncodeError:
        values = [_encodable(value) if type(value) is str else value for value in values]
    texts: dict[str, str] = {}
    return [texts.setdefault(value, value) if type(value) is str else value for value in values]


def _are_finite(column: Sequence[Any]) -> bool:
    return all(math.isfinite(value) for value in column if type(value) is float)


def rows(columns: Mapping[str, Sequence[Attribute]], count: int) -> list[dict[str, Attribute]]:
    """Return the values of each record by column."""
    if not columns:
        return [{} for _ in range(count)]
    names = tuple(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _value(value: Any) -> Attribute:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | date):
        return value
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _encodable(text: str) -> str:
    """Return a string without lone surrogates, which no file can contain."""
    return text.encode("utf-8", "replace").decode("utf-8")
