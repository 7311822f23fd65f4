"""Rows of crops, and of jobs with their crops, as records. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from s2async.models import CloudMeasure, Numbers
from s2async.reflectance.decision import Basis
from s2async.state.reader_sql import JOB_COLUMNS
from s2async.state.records import BandCrop, JobRow, SavedRow, StoredCrop
from s2async.state.serialization import from_microseconds, row_attributes

_JOB = len(JOB_COLUMNS.split(","))
"""Number of columns of a job in `reader_sql.SAVED_ROWS` and `reader_sql.JOB_ROWS`."""
_BY_RULE = str(Basis.RULE)


class ItemOfRows(NamedTuple):
    """What table rows need to know about an item."""

    item: str
    collection: str
    datetime: datetime
    platform: str
    grid: str
    baseline: str
    cloud: float | None
    base: str
    """Common start of the hrefs of its assets."""
    rest: Mapping[str, str]
    """Rest of the href, keyed by asset."""


def item_of_rows(columns: Sequence[Any]) -> ItemOfRows:
    """Convert a row of `reader_sql.ITEM_OF_ROWS`."""
    item, collection, sensed, platform, grid, baseline, cloud, base, assets = columns
    time = from_microseconds(sensed)
    return ItemOfRows(item, collection, time, platform, grid, baseline, cloud, base, json.loads(assets))


class Known(Protocol):
    """Data that many rows of a table share."""

    def item(self, row: int, /) -> ItemOfRows:
        """Return an item by its row."""

    def measure(self, row: int | None, slot: int, /) -> CloudMeasure | None:
        """Return the measurement at a slot of a row of answers; None if there is no row."""


def saved_row(columns: Sequence[Any], known: Known) -> SavedRow:
    """Convert a row of `reader_sql.SAVED_ROWS`."""
    job, item = _job(columns[:_JOB], known)
    return SavedRow(**job, **_crop(columns[_JOB:], item))


def job_row(columns: Sequence[Any], known: Known) -> JobRow:
    """Convert a row of `reader_sql.JOB_ROWS`: to a `SavedRow` if the job has a crop."""
    status, reason, *crop = columns[_JOB:]
    job, item = _job(columns[:_JOB], known)
    job |= {"status": status, "reason": reason}
    return JobRow(**job) if crop[0] is None else SavedRow(**job, **_crop(crop, item))


def _job(columns: Sequence[Any], known: Known) -> tuple[dict[str, Any], ItemOfRows]:
    area, attributes, since, until, home, fingerprint, folder, row, slot, cells = columns
    item = known.item(row)
    return {
        "area": area,
        "attributes": row_attributes(attributes, since, until),
        "home": home,
        "fingerprint": fingerprint,
        "folder": folder,
        "item": item.item,
        "collection": item.collection,
        "datetime": item.datetime,
        "platform": item.platform,
        "grid": item.grid,
        "baseline": item.baseline,
        "scene_cloud": item.cloud,
        "measure": known.measure(cells, slot),
    }, item


def _crop(columns: Sequence[Any], item: ItemOfRows) -> dict[str, Any]:
    asset, file, size, sha256, epsg, harmonised, says, dn, basis, doubt = columns
    href = item.base + item.rest[asset] if asset in item.rest else ""
    found = {"asset": asset, "href": href, "file": file, "bytes": size, "sha256": sha256.hex(), "epsg": epsg}
    if harmonised is None:
        return found | {"offset": 0, "offset_basis": _BY_RULE}
    if says is None or basis is None:
        return found
    # The state takes precedence over the tags, which are updated at the end of a run.
    left = None if dn is None else dn - _subtracted(harmonised, says)
    return found | {"offset": left, "offset_basis": basis, "doubt": doubt}


def _subtracted(harmonised: bool, says: str | None) -> int:
    """Return the value that was added to the DN of a crop with these columns: 0 or -1000."""
    offset = says.split(" ")[0] if harmonised and says else "?"
    return 0 if offset == "?" else int(offset)


def band_crop(columns: Sequence[Any]) -> BandCrop:
    """Convert a row of `reader_sql.BAND_CROPS`."""
    job, asset, folder, file, size, sha256, harmonised, says, dn, basis, baseline = columns
    return BandCrop(
        job=job,
        asset=asset,
        path=f"{folder}/{file}",
        bytes=size,
        sha256=sha256.hex(),
        harmonised=bool(harmonised),
        subtracted=_subtracted(harmonised, says),
        untold=says is None,
        numbers=None if basis is None else Numbers(offset=dn, basis=basis, baseline=baseline, harmonised=False),
    )


def stored_crop(columns: Sequence[Any]) -> StoredCrop:
    """Convert a row of `reader_sql.STORED_CROPS`."""
    job, asset, folder, file, size, sha256, mask, item, fingerprint, unwanted, removed = columns
    return StoredCrop(
        job=job,
        asset=asset,
        folder=folder,
        file=file,
        bytes=size,
        sha256=sha256.hex(),
        mask=bool(mask),
        item=item,
        fingerprint=fingerprint,
        unwanted=bool(unwanted),
        removed=bool(removed),
    )
