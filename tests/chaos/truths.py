"""The world of the fault matrix, and what is right of each of its jobs, worked out from local files alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
import rasterio.mask
from numpy.typing import NDArray
from shapely import Polygon

from s2async.sandbox.truth import oracle
from tests.support import worlds

AREAS: Final = ("North", "Tall")

Pair = tuple[str, str]
"""An area and an item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What is right of one job."""

    status: str
    crop: NDArray[Any] | None
    """Of the picture; None when there is to be none."""
    counts: tuple[int, ...]
    """Pixels of the area by class, from 1 to 11, and of those that are none."""


def quarters(count: int) -> list[tuple[int, int]]:
    """The year and first month (from 0) of so many quarters, of which the last is the first of 2022."""
    return [divmod(2022 * 12 - 3 * back, 12) for back in range(count - 1, -1, -1)]


def items(searches: int) -> list[worlds.Item]:
    """Two scenes a quarter; every third is cloudy over one area."""
    found = []
    for number, (year, month) in enumerate(quarters(searches) * 2):
        when = datetime(year, month + 1, 5 + 7 * (number // searches), 10, 20, 30, tzinfo=UTC)
        clouded = frozenset({"Tall"}) if number % 3 == 1 else frozenset[str]()
        name = f"S2A_33UUU_{when:%Y%m%d}_0_L2A"
        found.append(worlds.Item(id=name, when=when, clouded=clouded))
    return found


def polygon(name: str) -> Polygon:
    """An area none of whose corners lies on the edge of a pixel, where a hair's breadth would decide."""
    return worlds.lonlat([(east + 3.7, south + 3.1) for east, south in worlds.SHAPES[name]])


def truth_of(folder: Path) -> dict[Pair, Truth]:
    """What is right of every area and item, from the items as JSON and the local files alone."""
    found = {}
    for line in (folder / "items.jsonl").read_text().splitlines():
        item = json.loads(line)
        scl, visual = (folder / item["assets"][key]["href"].removeprefix("{origin}/") for key in ("scl", "visual"))
        for area in AREAS:
            percent = oracle.plain_cloud_percent(scl, polygon(area))
            crop = oracle.plain_crop(visual, polygon(area))
            assert percent is not None
            assert crop is not None
            clear = percent <= oracle.MAX_CLOUD
            found[area, item["id"]] = Truth(
                status="saved" if clear else "cloudy",
                crop=crop.pixels if clear else None,
                counts=_counts(scl, polygon(area)),
            )
    return found


def _counts(path: Path, shape: Polygon) -> tuple[int, ...]:
    with rasterio.open(path) as raster:
        pixels, _ = rasterio.mask.mask(raster, [oracle.project(shape, raster.crs)], crop=True)
    counts = np.bincount(pixels.ravel(), minlength=256)
    return (*(int(n) for n in counts[1:12]), int(counts[12:].sum()))


def differs(job: oracle.RecordedJob, files: Iterable[Path], truths: Iterable[Truth]) -> str:
    """What is wrong with an answer, which must be that of one of the truths; the empty string for nothing."""
    known = list(truths)
    if job.status not in {truth.status for truth in known}:
        return f"I4: {job.status} instead of {known[0].status}"
    if job.histogram is not None and (seen := job.histogram[1:]) not in {truth.counts for truth in known}:
        return f"I4: classes counted {seen} instead of {known[0].counts}"
    crops = [truth.crop for truth in known if truth.crop is not None and truth.status == job.status]
    if not crops:
        return "" if not job.products else "I2: a crop of what is not clear"
    paths = list(files)
    if len(paths) != 1:
        return f"I2: {len(paths)} files"
    try:
        with rasterio.open(paths[0]) as raster:
            pixels = raster.read()
    except rasterio.errors.RasterioError as error:
        return f"I3: {error}"
    return "" if any(np.array_equal(pixels, crop) for crop in crops) else "I3: silent wrong pixels"
