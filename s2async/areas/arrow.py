"""Arrow columns as values of areas. Needs pyarrow, which the callers import first."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from s2async.areas.table import free_name
from s2async.areas.wkt_wkb import explained, with_closed_rings


class Geometries:
    """Geometries that are parsed from batches of WKB."""

    def __init__(self) -> None:
        self.unreadable: dict[int, str] = {}
        self.closed: dict[int, BaseGeometry] = {}
        self._parts: list[NDArray[np.object_]] = [np.empty(0, object)]
        self._count = 0

    def add(self, column: Any) -> None:
        """Parse a column of WKB, and note which values cannot be read."""
        texts = column.to_numpy(zero_copy_only=False).astype(object)
        try:
            with np.errstate(all="ignore"):
                shapes = shapely.from_wkb(texts)
        except (ShapelyError, NotImplementedError, ValueError, TypeError):
            shapes = np.array([self._one(wkb, number) for number, wkb in enumerate(texts.tolist())], object)
        self._parts.append(shapes)
        self._count += len(shapes)

    def all(self) -> NDArray[np.object_]:
        """Return all geometries; None where there is no geometry or it cannot be read."""
        return np.concatenate(self._parts)

    def _one(self, wkb: bytes | None, number: int) -> BaseGeometry | None:
        if wkb is None:
            return None
        try:
            with np.errstate(all="ignore"):
                shape: BaseGeometry = shapely.from_wkb(wkb)
        except (ShapelyError, NotImplementedError, ValueError, TypeError) as error:
            self.unreadable[self._count + number] = why = explained(str(error))
            if "closed" in why and (closed := with_closed_rings(wkb)) is not None:
                self.closed[self._count + number] = closed
            return None
        return shape


def values(column: Any) -> list[Any] | None:
    """Return the values of a column as Python values; None if its type is of no use, such as binary.

    Times in nanoseconds are truncated to microseconds; lists and structures become JSON.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return None
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    found: list[Any] = column.to_pylist()
    if pa.types.is_floating(kind):
        return [None if value is None or math.isnan(value) else value for value in found]
    if pa.types.is_decimal(kind):
        return [None if value is None else _number(value) for value in found]
    if pa.types.is_nested(kind):
        return [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in found]
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return [None if value is None else str(value) for value in found]
    return found


def fields(names: Sequence[str], hidden: Container[int]) -> dict[int, str]:
    """Return the wanted columns: their names by number. If several have one name, all but the first get a number.

    Args:
        names: names of all columns.
        hidden: numbers of the columns that are not wanted.
    """
    found: dict[int, str] = {}
    for number, name in enumerate(names):
        if number not in hidden:
            found[number] = free_name(name, {*found.values()})
    return found


def add_values(columns: dict[str, list[Any]], wanted: Mapping[int, str], batch: Any) -> None:
    """Add the values of a batch to columns; columns of no use are left out.

    Args:
        columns: values by column name; the values are added to it.
        wanted: names of the wanted columns of the batch, by number, in order.
        batch: a batch with these columns.
    """
    for number, name in wanted.items():
        found = values(batch.column(number))
        if found is not None:
            columns.setdefault(name, []).extend(found)


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
