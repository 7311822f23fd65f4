"""The columns of exported tables, and the value of each column for one row of the state. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, Literal

from s2async.clouds.shares import bad_pixels
from s2async.models import Attribute
from s2async.state.records import JobRow, SavedRow
from s2async.text import public

ColumnType = Literal["text", "int32", "int64", "int64s", "float64", "utc", "bool", "date", "time"]
"""Type of a column in formats that have types: ``int64s`` is a list of integers, ``utc`` a time in UTC, ``time`` a
date with a time of day but without a zone."""

COLUMNS: Final[Mapping[str, ColumnType]] = {
    "area": "text",
    "item_id": "text",
    "datetime": "utc",
    "platform": "text",
    "grid": "text",
    "epsg": "int32",
    "scene_cloud_percent": "float64",
    "area_cloud_percent": "float64",
    "area_valid_percent": "float64",
    "asset": "text",
    "path": "text",
    "file_bytes": "int64",
    "href": "text",
    "processing_baseline": "text",
    "offset": "int32",
    "offset_basis": "text",
}
"""Columns of every format, in this order, with their types."""
TYPED_COLUMNS: Final[Mapping[str, ColumnType]] = {
    "area_fingerprint": "text",
    "collection": "text",
    "sha256": "text",
    "area_pixels": "int64",
    "scl_histogram": "int64s",
}
"""Additional columns of formats that have data types."""
JOB_COLUMNS: Final[Mapping[str, ColumnType]] = {"status": "text", "reason": "text"}
"""Additional columns of tables of all jobs."""
RESERVED: Final = frozenset({*COLUMNS, *TYPED_COLUMNS, *JOB_COLUMNS, "geometry", "bbox"})
"""Names that the areas' own columns cannot have in any format."""
PREFIX: Final = "area_"
"""Prefix of the names of such columns."""
_DECIMALS = 4

Value = str | int | float | bool | Decimal | date | datetime | tuple[int, ...] | None
"""Unknown values are None. Percentages of an area's pixels are rounded half up to four decimals."""


@dataclass(frozen=True, slots=True)
class Own:
    """One of the areas' own columns."""

    name: str
    """Its name in the areas' file."""
    type: ColumnType


def own_columns(
    attributes: Iterable[Mapping[str, Attribute]], taken: Collection[str] = RESERVED
) -> dict[str, Own]:
    """Choose name and type of each of the areas' own columns.

    A column has the type that all its values have: integers stay integers even if other values are missing;
    integers beyond 64 bits and values of several types become text. A name that is taken gets the prefix
    ``area_``, as often as needed; names that differ only in case are treated as equal, as in many databases.

    Args:
        attributes: values of all areas by column.
        taken: names of other columns.

    Returns:
        The columns by their names in tables, in the order of the areas.
    """
    kinds: dict[str, set[ColumnType]] = {}
    for values_ in attributes:
        for name, value in values_.items():
            kind = kinds.setdefault(name, set())
            if value is not None:
                kind.add(_kind(value))
    found: dict[str, Own] = {}
    used = {name.casefold() for name in taken}
    own = {name.casefold() for name in kinds}
    for name, several in kinds.items():
        column = name
        while column.casefold() in used or (column != name and column.casefold() in own):
            column = f"{PREFIX}{column}"
        used.add(column.casefold())
        found[column] = Own(name, _common(several))
    return found


def _kind(value: Attribute) -> ColumnType:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -(1 << 63) <= value < 1 << 63 else "text"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, datetime):
        return "time" if value.tzinfo is None else "utc"
    return "date" if isinstance(value, date) else "text"


def _common(kinds: Collection[ColumnType]) -> ColumnType:
    if len(kinds) == 1:
        return next(iter(kinds))
    return "float64" if kinds == {"int64", "float64"} else "text"


def own_values(attributes: Mapping[str, Attribute], columns: Mapping[str, Own]) -> dict[str, Value]:
    """Return the values of the areas' own columns, each in the type of its column."""
    return {column: _typed(attributes.get(own.name), own.type) for column, own in columns.items()}


def _typed(value: Attribute, kind: ColumnType) -> Value:
    if value is None:
        return None
    if kind == "text":
        return value.isoformat() if isinstance(value, date) else str(value)
    if kind == "float64":
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    return value.astimezone(UTC) if kind == "utc" and isinstance(value, datetime) else value


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows to export, and the data that is needed to compute their values."""

    rows: Iterable[JobRow]
    """Grouped by area and ordered by time, as the ledger yields them. They are streamed."""
    all: bool = False
    """Whether the rows are all jobs; if False, they are saved crops only."""
    classes: Collection[int]
    """SCL classes that count as cloud."""
    polygon: Callable[[str], bytes] = lambda _: b""
    """Maps an area's fingerprint to its polygon (WKB, lon/lat), for formats that have geometries."""
    own: Mapping[str, Own] = field(default_factory=dict)
    """The areas' own columns, after all others."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of formats without data types."""
        return (*COLUMNS, *(JOB_COLUMNS if self.all else ()), *self.own)

    @property
    def typed_columns(self) -> Mapping[str, ColumnType]:
        """Columns of formats with data types and their types, except the geometry."""
        own = {column: own.type for column, own in self.own.items()}
        return {**COLUMNS, **TYPED_COLUMNS, **(JOB_COLUMNS if self.all else {}), **own}

    def values(self, row: JobRow) -> dict[str, Value]:
        """Compute the values of all columns for one row."""
        return values(row, self.classes) | own_values(row.attributes, self.own)


def values(row: JobRow, classes: Collection[int]) -> dict[str, Value]:
    """Compute the values of s2async's own columns for one row.

    Args:
        row: a job or a saved crop.
        classes: SCL classes that count as cloud.

    Returns:
        Values by column. Times are UTC; paths are relative to the output folder, with forward slashes.
    """
    crop = row if isinstance(row, SavedRow) else None
    measured = row.measure
    return {
        "area": row.area,
        "item_id": row.item,
        "datetime": row.datetime,
        "platform": row.platform or None,
        "grid": row.grid or None,
        "epsg": crop.epsg if crop else None,
        "scene_cloud_percent": row.scene_cloud,
        "area_cloud_percent": percent(bad_pixels(measured, classes), measured.valid) if measured else None,
        "area_valid_percent": percent(measured.valid, measured.total) if measured else None,
        "asset": crop.asset if crop else None,
        "path": f"{row.folder}/{crop.file}" if crop else None,
        "file_bytes": crop.bytes if crop else None,
        "href": public(crop.href) or None if crop else None,
        "processing_baseline": row.baseline or None,
        "offset": crop.offset if crop else None,
        "offset_basis": crop.offset_basis or None if crop else None,
        "area_fingerprint": row.fingerprint,
        "collection": row.collection,
        "sha256": crop.sha256 if crop else None,
        "area_pixels": measured.total if measured else None,
        "scl_histogram": measured.histogram if measured else None,
        "status": str(row.status),
        "reason": row.reason or None,
    }


def percent(part: int, whole: int) -> Decimal | None:
    """Compute a percentage from two counts, rounded half up to four decimals; None if ``whole`` is 0.

    The calculation uses integers only: the same counts give the same digits on every machine.
    """
    if not whole:
        return None
    scaled = (2 * part * 100 * 10**_DECIMALS + whole) // (2 * whole)
    return Decimal(scaled).scaleb(-_DECIMALS)
