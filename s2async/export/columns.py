"""The columns of exported tables, and the value of each column for one row of the state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from s2async.clouds.shares import bad_pixels
from s2async.state.records import JobRow, SavedRow
from s2async.text import public

ColumnType = Literal["text", "int32", "int64", "int64s", "float64", "utc"]
"""Type of a column in formats that have types: ``int64s`` is a list of integers, ``utc`` a time."""

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
}
"""Columns of every format, in this order, with their types."""
TYPED_COLUMNS: Final[Mapping[str, ColumnType]] = {
    "area_fingerprint": "text",
    "collection": "text",
    "sha256": "text",
    "area_pixels": "int64",
    "scl_histogram": "int64s",
}
"""Further columns of formats that have data types."""
JOB_COLUMNS: Final[Mapping[str, ColumnType]] = {"status": "text", "reason": "text"}
"""Further columns of tables of all jobs."""
_DECIMALS = 4

Value = str | int | float | Decimal | datetime | tuple[int, ...] | None
"""Unknown values are None. Percentages of an area's pixels are rounded half up to four decimals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows to export, and what is needed to compute their values."""

    rows: Iterable[JobRow]
    """Grouped by area and ordered by time, as the ledger yields them. They are streamed."""
    all: bool = False
    """Whether the rows are all jobs; if False, they are saved crops only."""
    classes: Collection[int]
    """SCL classes that count as cloud."""
    polygon: Callable[[str], bytes] = lambda _: b""
    """Maps an area's fingerprint to its polygon (WKB, lon/lat), for formats that have geometries."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of formats without data types."""
        return (*COLUMNS, *(JOB_COLUMNS if self.all else ()))

    @property
    def typed_columns(self) -> Mapping[str, ColumnType]:
        """Columns of formats with data types and their types, except the geometry."""
        return {**COLUMNS, **TYPED_COLUMNS, **(JOB_COLUMNS if self.all else {})}


def values(row: JobRow, classes: Collection[int]) -> dict[str, Value]:
    """Compute the values of all columns for one row.

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
