"""Correct results, computed in a simple way from local files: rasterio's mask on the scene, and SQL on the state.

Nothing here uses the package's own reading, measuring or cropping, so that an agreement is meaningful.
"""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import geometry_mask
from rasterio.io import DatasetReader
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

BAD_CLASSES = (1, 3, 8, 9, 10)
MAX_CLOUD = 2.0
"""Default of ``max_area_cloud``, in per cent."""
MIN_VALID = 95.0
"""Default of ``min_area_valid``, in per cent."""


@dataclass(frozen=True)
class PlainCrop:
    """The result of rasterio.mask.mask, as `masked` returns it."""

    pixels: NDArray[Any]
    transform: Affine
    epsg: int
    nodata: float | None


@dataclass(frozen=True)
class RecordedJob:
    """One job as stored in the state file."""

    area: str
    polygon: BaseGeometry
    folder: str
    item: str
    status: str
    reason: str
    hrefs: dict[str, str]
    histogram: tuple[int, ...] | None
    total: int | None
    products: dict[str, str]
    """File name by asset."""


def project(polygon: BaseGeometry, crs: Any) -> BaseGeometry:
    """Return a lon/lat polygon in a raster's CRS, projected vertex by vertex."""
    transformer = _to(crs)

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    return shapely.transform(polygon, move)


@lru_cache(maxsize=64)  # making a transformer takes longer than the rest of a crop
def _to(crs: Any) -> Transformer:
    return Transformer.from_crs("OGC:CRS84", crs, always_xy=True)


def outermost(shape: BaseGeometry, transform: Affine) -> tuple[int, int, int, int]:
    """Return the window of whole pixels around a shape, by the rule of ``geometry_window`` in rasterio 1.4.

    Windows of later versions may have an empty row or column more or less, and are larger on rotated rasters.

    Args:
        shape: shape in the CRS of the raster.
        transform: transform of the raster.

    Returns:
        First column and row, and the column and row after the last. They may lie outside the raster.
    """
    a, b, c, d, e, f = (~transform)[:6]
    points = shapely.get_coordinates(shape).tolist()
    columns, rows = [x * a + y * b + c for x, y in points], [x * d + y * e + f for x, y in points]
    return math.floor(min(columns)), math.floor(min(rows)), math.ceil(max(columns)), math.ceil(max(rows))


def window(shape: BaseGeometry, transform: Affine, width: int, height: int) -> Window | None:
    """Return the part of `outermost` that is inside a raster; None if there is none."""
    left, top, right, bottom = outermost(shape, transform)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


def masked(raster: DatasetReader, shape: BaseGeometry) -> tuple[NDArray[Any], Affine] | None:
    """Return what ``rasterio.mask.mask(raster, [shape], crop=True)`` returns, in the window of `outermost`.

    Args:
        raster: open raster.
        shape: shape in the CRS of the raster.

    Returns:
        (bands, rows, columns) pixels, which are nodata (or 0) outside the shape, and their transform; None if the
        shape's box does not overlap the raster.
    """
    place = window(shape, raster.transform, raster.width, raster.height)
    if place is None:
        return None
    transform = raster.window_transform(place)
    pixels = raster.read(window=place, masked=True)
    pixels.mask |= geometry_mask([shape], out_shape=(place.height, place.width), transform=transform)
    return pixels.filled(0 if raster.nodata is None else raster.nodata), transform


def plain_crop(path: Path, polygon: BaseGeometry) -> PlainCrop | None:
    """Return the crop of a local file; None if the polygon's box does not overlap the raster."""
    with rasterio.open(path) as raster:
        found = masked(raster, project(polygon, raster.crs))
        return found and PlainCrop(*found, raster.crs.to_epsg(), raster.nodata)


def plain_cloud_percent(path: Path, polygon: BaseGeometry, classes: Sequence[int] = BAD_CLASSES) -> float | None:
    """Return the share of bad classes in the non-zero pixels, as in the tutorial.

    The result is NaN if there is no data, and None outside the raster.
    """
    crop = plain_crop(path, polygon)
    if crop is None:
        return None
    counts = np.bincount(crop.pixels.ravel(), minlength=13)
    valid = np.count_nonzero(crop.pixels)
    return float(counts[list(classes)].sum() / valid * 100) if valid else float("nan")


def recorded_jobs(state: Path) -> Iterator[RecordedJob]:
    """Yield all jobs of a state file, read only with SQL."""
    with closing(sqlite3.connect(f"{state.absolute().as_uri()}?mode=ro", uri=True)) as db:
        products: dict[int, dict[str, str]] = {}
        for job, asset, file in db.execute("SELECT job, asset, file FROM products"):
            products.setdefault(job, {})[asset] = file
        for job, name, wkb, folder, item, status, reason, base, assets, slot, cells in db.execute(
            """SELECT jobs.id, shelves.name, areas.polygon, shelves.folder, items.item, jobs.status, jobs.reason,
                      items.base, items.assets, jobs.slot, answers.cells
               FROM jobs JOIN areas ON areas.id = jobs.area JOIN items ON items.id = jobs.item
               JOIN shelves ON shelves.area = areas.id AND items.sensed >= shelves.since
                 AND items.sensed < shelves.until
               LEFT JOIN answers ON answers.item = jobs.item AND answers.block = jobs.block
                 AND answers.step = 'clouds' AND answers.asked = 'scl'
               ORDER BY shelves.name, items.item"""
        ):
            numbers = _numbers_at(cells, slot) if cells else None
            counts = tuple(numbers[1:]) if numbers else None
            total = sum(numbers) if numbers else None
            yield RecordedJob(
                area=name,
                polygon=shapely.from_wkb(wkb),
                folder=folder,
                item=item,
                status=status,
                reason=reason,
                hrefs={key: base + rest for key, rest in json.loads(assets).items()},
                histogram=counts,
                total=total,
                products=products.get(job, {}),
            )


def _numbers_at(cells: bytes, slot: int) -> list[int] | None:
    """Return the row of a slot in a packed table of the state, read in a simple way, number by number."""
    plain = zlib.decompress(cells[1:]) if cells[0] else cells[1:]
    rows, columns, rest = plain[0] + 1, plain[1], plain[2:]
    if rows <= 32:
        slots, rest = list(rest[:rows]), rest[rows:]
    else:
        slots, rest = [n for n in range(256) if rest[n // 8] >> n % 8 & 1], rest[32:]
    if slot not in slots:
        return None
    row, widths, at, numbers = slots.index(slot), rest[:columns], columns, []
    for width in widths:
        numbers.append(int.from_bytes(rest[at + row * width : at + (row + 1) * width], "little"))
        at += rows * width
    return numbers


def check_job(
    job: RecordedJob, local: Callable[[str], Path], output: Path, *, max_cloud: float = MAX_CLOUD
) -> list[str]:
    """Compare one job's record and crops with simple results from local files; return the differences.

    Only for runs without a limit on valid pixels (``min_area_valid = 0``).
    """
    label = f"{job.area} {job.item}"
    if job.status == "missing":
        gone = [key for key in ("scl", "visual") if key not in job.hrefs or not local(job.hrefs[key]).exists()]
        return [] if gone else [f"{label}: said to be missing, but it is there"]
    scl = local(job.hrefs["scl"])
    percent = plain_cloud_percent(scl, job.polygon)
    if percent is None:
        return [] if job.status == "outside" else [f"{label}: {job.status}, but lies outside"]
    if job.histogram is None:
        return [f"{label}: {job.status} without a measurement"]
    faults = []
    valid = sum(job.histogram[1:12])
    ours = sum(job.histogram[c] for c in BAD_CLASSES) / valid * 100 if valid else float("nan")
    if not (ours == percent or (np.isnan(ours) and np.isnan(percent))):
        faults.append(f"{label}: cloud {ours} %, the plain way {percent} %")
    expected = "nodata" if np.isnan(percent) else "cloudy" if percent > max_cloud else "saved"
    if job.status != expected:
        faults.append(f"{label}: {job.status}, the plain way {expected} ({percent} %)")
    if job.status == "saved":
        for asset, file in job.products.items():
            fault = crop_differs(output / job.folder / file, local(job.hrefs[asset]), job.polygon)
            if fault:
                faults.append(f"{label} {asset}: {fault}")
        if not job.products:
            faults.append(f"{label}: saved without a crop")
    return faults


def crop_differs(crop: Path, scene: Path, polygon: BaseGeometry) -> str | None:
    """Return how a crop on disk differs from `masked` of the scene; None if it does not."""
    plain = plain_crop(scene, polygon)
    if plain is None:
        return "the scene does not reach the area"
    with rasterio.open(crop) as raster:
        if raster.transform != plain.transform:
            return f"transform {raster.transform} instead of {plain.transform}"
        if raster.crs.to_epsg() != plain.epsg:
            return f"CRS {raster.crs} instead of EPSG:{plain.epsg}"
        if raster.nodata != plain.nodata:
            return f"nodata {raster.nodata} instead of {plain.nodata}"
        pixels = raster.read()
    if pixels.dtype != plain.pixels.dtype or pixels.shape != plain.pixels.shape:
        return f"{pixels.dtype} {pixels.shape} instead of {plain.pixels.dtype} {plain.pixels.shape}"
    differing = int(np.count_nonzero(pixels != plain.pixels))
    return f"{differing} pixels differ" if differing else None


def touched_blocks(path: Path, polygons: Iterable[BaseGeometry]) -> dict[tuple[int, int], int]:
    """Return the distinct full-resolution blocks (row, column) that any of the polygons touches, and their bytes.

    GDAL supplies the sizes; a polygon touches a block if it intersects the block's square.
    """
    with rasterio.open(path) as raster:
        height, width = raster.block_shapes[0]
        found: dict[tuple[int, int], int] = {}
        for polygon in polygons:
            shape = project(polygon, raster.crs)
            x0, y0, size = raster.transform.c, raster.transform.f, raster.transform.a
            left, bottom, right, top = shape.bounds
            c0, c1, r0, r1 = (left - x0) / size, (right - x0) / size, (y0 - top) / size, (y0 - bottom) / size
            for row in range(max(0, int(r0 // height)), min(raster.height - 1, int(r1)) // height + 1):
                for col in range(max(0, int(c0 // width)), min(raster.width - 1, int(c1)) // width + 1):
                    west, north = x0 + col * width * size, y0 - row * height * size
                    south = max(north - height * size, raster.bounds.bottom)  # the last blocks extend beyond it
                    east = min(west + width * size, raster.bounds.right)
                    if shape.intersects(shapely.box(west, south, east, north)):
                        stored = raster.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)
                        found[row, col] = int(stored or 0)
        return found
