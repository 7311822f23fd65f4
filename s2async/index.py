"""The state's saved crops as a table for other programs."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from pathlib import Path

from s2async import files
from s2async.clouds import bad_pixels
from s2async.models import CloudMeasure
from s2async.records import SavedRow

CSV_COLUMNS = (
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
_DECIMALS = 4


def write_csv(rows: Iterable[SavedRow], folder: Path, classes: Collection[int]) -> Path:
    """Write ``overview.csv``: one line for each saved crop, UTF-8, as a whole or not at all.

    Times are UTC (ISO 8601, ``Z``), per cents are rounded half up to four decimals from the counted pixels, paths
    are relative to the folder with forward slashes. What is unknown is empty. Texts that a spreadsheet would take
    for a formula begin with an apostrophe (as OWASP advises against CSV injection).

    Args:
        rows: As `ledger.Ledger.saved_rows` gives them; they are streamed.
        folder: The output folder; it exists.
        classes: SCL classes that spoil a picture.

    Returns:
        Where it is.

    Raises:
        LocalError: Disk full, read-only, no such folder.
    """
    path = folder / "overview.csv"
    part = folder / f".{path.name}{files.SUFFIX}"  # one writer, so what a killed run left is simply written over
    with files.local_errors("write", path):
        try:
            with part.open("w", encoding="utf-8", newline="") as file:
                lines = csv.writer(file, lineterminator="\n")
                lines.writerow(CSV_COLUMNS)
                lines.writerows(_cells(row, classes) for row in rows)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        files.sync_folder(folder)
    return path


WRITERS: dict[str, Callable[[Iterable[SavedRow], Path, Collection[int]], Path]] = {"csv": write_csv}
"""Index formats by name."""


def _cells(row: SavedRow, classes: Collection[int]) -> tuple[object, ...]:
    cloud, valid = _percents(row.measure, classes)
    return (
        _text(row.area),
        _text(row.item),
        row.datetime.isoformat().replace("+00:00", "Z"),
        _text(row.platform),
        _text(row.grid),
        row.epsg,
        "" if row.scene_cloud is None else f"{Decimal(repr(row.scene_cloud)):f}",
        cloud,
        valid,
        _text(row.asset),
        f"{row.folder}/{row.file}",
        row.bytes,
        row.href,
        _text(row.baseline),
    )


def _percents(measured: CloudMeasure | None, classes: Collection[int]) -> tuple[str, str]:
    if measured is None:
        return "", ""
    return _percent(bad_pixels(measured, classes), measured.valid), _percent(measured.valid, measured.total)


def _percent(part: int, whole: int) -> str:
    """``part / whole`` in per cent from integers alone, rounded half up; nothing of nothing is the empty text."""
    if not whole:
        return ""
    unit = 10**_DECIMALS
    scaled = (2 * part * 100 * unit + whole) // (2 * whole)
    return f"{scaled // unit}.{scaled % unit:0{_DECIMALS}d}"


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
