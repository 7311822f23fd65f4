"""The state's jobs as rows of named and typed values, for every kind of index. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from s2async.clouds import bad_pixels
from s2async.models import CloudMeasure
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
"""What every format has, in this order."""
TYPED_COLUMNS = ("area_fingerprint", "collection", "sha256", "area_pixels", "scl_histogram")
"""What formats with types have besides."""
JOB_COLUMNS = ("status", "reason")
"""What tables of all jobs have besides."""
_DECIMALS = 4

Value = str | int | float | Decimal | datetime | tuple[int, ...] | None
"""What is unknown is None. Per cents of an area's pixels are rounded half up to four decimals."""


class TextFile(Protocol):
    """Whatever takes texts."""

    def write(self, text: str, /) -> object:
        """Append a text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows to be written, and what they are told by."""

    rows: Iterable[JobRow]
    """As the ledger gives them: area by area, by time. They are streamed."""
    all: bool = False
    """Whether these are all jobs, or the saved crops alone."""
    classes: Collection[int]
    """SCL classes that spoil a picture."""
    polygon: Callable[[str], bytes] = lambda _: b""
    """An area's fingerprint to its polygon (WKB, lon/lat), for formats with geometries."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of formats without types."""
        return (*COLUMNS, *(JOB_COLUMNS if self.all else ()))

    @property
    def typed_columns(self) -> tuple[str, ...]:
        """Those of formats with types, but for the geometry."""
        return (*COLUMNS, *TYPED_COLUMNS, *(JOB_COLUMNS if self.all else ()))


def values(row: JobRow, classes: Collection[int]) -> dict[str, Value]:
    """All that a row tells, by column. Times are UTC, paths relative to the output folder with forward slashes."""
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
        "area_cloud_percent": cloud_percent(measured, classes),
        "area_valid_percent": valid_percent(measured),
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


def cloud_percent(measured: CloudMeasure | None, classes: Collection[int]) -> Decimal | None:
    """Spoilt share of the valid pixels; None when there are none, or nothing was measured."""
    return _percent(bad_pixels(measured, classes), measured.valid) if measured else None


def valid_percent(measured: CloudMeasure | None) -> Decimal | None:
    """Share of the area's pixels that hold data; None for an area without a pixel, or not measured."""
    return _percent(measured.valid, measured.total) if measured else None


def iso(time: datetime) -> str:
    """A UTC time as RFC 3339 writes it, with ``Z``."""
    return time.isoformat().replace("+00:00", "Z")


def _percent(part: int, whole: int) -> Decimal | None:
    """``part / whole`` in per cent from integers alone, rounded half up; None for nothing of nothing."""
    if not whole:
        return None
    scaled = (2 * part * 100 * 10**_DECIMALS + whole) // (2 * whole)
    return Decimal(scaled).scaleb(-_DECIMALS)
