"""The columns of exported tables, and the value of each column for one row of the state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from s2async.clouds.shares import bad_pixels
from s2async.state.records import JobRow, SavedRow
from s2async.text import public

COLUMNS = (
    "area",
    "item_id",
    "datetime",
    "platform",
    "grid",
    "epsg",
    "scene_cloud_percent",
    "area_cloud_percent",
    "area_valid_percent",
    "asset",
    "path",
    "file_bytes",
    "href",
    "processing_baseline",
)
"""Columns of every format, in this order."""
TYPED_COLUMNS = ("area_fingerprint", "collection", "sha256", "area_pixels", "scl_histogram")
"""Further columns of formats that have data types."""
JOB_COLUMNS = ("status", "reason")
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
    def typed_columns(self) -> tuple[str, ...]:
        """Columns of formats with data types, except the geometry."""
        return (*COLUMNS, *TYPED_COLUMNS, *(JOB_COLUMNS if self.all else ()))


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
