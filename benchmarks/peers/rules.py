"""The code that all peers share: the cloud rule, the crop along the polygon, and the file of a crop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import geometry_mask, geometry_window
from shapely.geometry.base import BaseGeometry

BAD_CLASSES: Final = (1, 3, 8, 9, 10)
MOST_CLOUD: Final = 2
"""Limit in per cent of an area's valid pixels."""

Pixels = NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A peer's result for one job."""

    item: str
    area: str
    bad: int
    """Pixels of classes that make an image unusable."""
    valid: int
    """Pixels with data; both counts are inside the polygon, at 20 m."""
    file: str | None = None
    """Where the masked crop was saved; None if the area is not clear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """An area on the grid of a raster, as computed by ``rasterio.mask``."""

    col: int
    row: int
    width: int
    height: int
    transform: Affine
    epsg: int
    outside: NDArray[np.bool_]
    """Height x width: pixels whose centres are not in the polygon."""

    def masked(self, pixels: Pixels) -> Pixels:
        """Return the pixels of the window (bands x height x width) with 0 outside the polygon."""
        return np.where(self.outside, pixels.dtype.type(0), pixels)


def is_clear(bad: int, valid: int) -> bool:
    """Return whether at most 2 per cent of the pixels with data are bad, and there are some with data."""
    return valid > 0 and bad * 100 <= MOST_CLOUD * valid


def count(classes: Pixels) -> tuple[int, int]:
    """Return the bad and the valid pixels of a masked SCL crop, by the simple rule that 0 is no data."""
    counts = np.bincount(classes.ravel(), minlength=12)
    return int(counts[list(BAD_CLASSES)].sum()), int(classes.size - counts[0])


def save(path: Path, crop: Pixels, transform: Affine, epsg: int) -> str:
    """Write a crop (bands x rows x columns) as users do, compressed as in s2async, and return its path."""
    bands, height, width = crop.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=bands,
        height=height,
        width=width,
        dtype=crop.dtype,
        crs=f"EPSG:{epsg}",
        transform=transform,
        nodata=0,
        compress="deflate",
        zlevel=1,
        predictor=2,
        tiled=True,
        blockxsize=256,
        blockysize=256,
    ) as raster:
        raster.write(crop)
    return str(path)


@lru_cache(maxsize=100_000)
def cut(wkt: str, epsg: int, transform: Affine, width: int, height: int) -> Cut:
    """Return the window of a polygon in a raster, and its mask; computed once for each grid.

    Raises:
        rasterio.errors.WindowError: the polygon does not overlap the raster.
    """
    polygon = project(wkt, epsg)
    grid = SimpleNamespace(transform=transform, width=width, height=height)
    window = geometry_window(grid, [polygon])
    moved = transform * Affine.translation(window.col_off, window.row_off)
    shape = (int(window.height), int(window.width))
    return Cut(
        col=int(window.col_off),
        row=int(window.row_off),
        width=shape[1],
        height=shape[0],
        transform=moved,
        epsg=epsg,
        outside=geometry_mask([polygon], out_shape=shape, transform=moved),
    )


@lru_cache(maxsize=100_000)
def project(wkt: str, epsg: int) -> BaseGeometry:
    """Return a lon/lat polygon in UTM, projected vertex by vertex."""
    transformer = _transformer(epsg)

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    return shapely.transform(shapely.from_wkt(wkt), move)


@cache
def _transformer(epsg: int) -> Transformer:
    return Transformer.from_crs("OGC:CRS84", epsg, always_xy=True)


def union_tiles(cuts: Iterable[Cut], side: int) -> list[tuple[int, int]]:
    """Return the tiles (column, row) that the windows of the areas touch, each once."""
    return sorted(
        {
            (col, row)
            for cut in cuts
            for col in range(cut.col // side, (cut.col + cut.width - 1) // side + 1)
            for row in range(cut.row // side, (cut.row + cut.height - 1) // side + 1)
        }
    )
