"""The oracle's mask against ``rasterio.mask``, whose windows depend on its version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.mask
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.truth import oracle
from tests.support.hard_polygons import SIDE, hard_polygon, on_grid, random_polygon

TRANSFORMS = {
    "10 m": Affine(10, 0, 399_960, 0, -10, 5_800_020),
    "tilted": Affine(8, 3, 399_960, 2, -9, 5_800_020),
    "north down": Affine(10, 0, 399_960, 0, 10, 5_799_000),
    "degrees": Affine(1 / 3000, 0, 13.1, 0, -1 / 3000, 52.3),
}
SAME_RULE = tuple(map(int, rasterio.__version__.split(".")[:2])) < (1, 5)
"""Whether rasterio's windows follow the rule of 1.4."""
Pixels = NDArray[Any]


def whole(found: tuple[Pixels, Affine] | None, raster: DatasetReader) -> Pixels:
    """A masked crop on the whole raster, with 0 around it."""
    canvas = np.zeros(raster.shape, np.uint16)
    if found is not None:
        (pixels,), transform = found
        column, row = ~raster.transform * (transform.c, transform.f)
        window = Window(round(column), round(row), pixels.shape[1], pixels.shape[0])
        canvas[window.toslices()] = pixels
    return canvas


def by_rasterio(raster: DatasetReader, shape: BaseGeometry) -> tuple[Pixels, Affine] | None:
    try:
        pixels, transform = rasterio.mask.mask(raster, [shape], crop=True)
    except ValueError as error:
        assert "do not overlap" in str(error)  # noqa: PT017 - any other error is raised
        return None
    return pixels, transform


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_masked_is_rasterios_mask_but_for_empty_rows_and_columns_of_later_versions(transform: Affine) -> None:
    random = np.random.default_rng(5)
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE + 5, "count": 1, "dtype": "uint16"}
    pixels = random.integers(1, 5000, (SIDE + 5, SIDE), np.uint16)
    outside = 0
    with MemoryFile() as file:
        with file.open(**profile, crs="EPSG:32633", transform=transform) as raster:
            raster.write(pixels, 1)
        with file.open() as raster:
            for kind in [random_polygon, hard_polygon] * 60:
                shape = on_grid(kind(random), transform)
                found, expected = oracle.masked(raster, shape), by_rasterio(raster, shape)
                assert np.array_equal(whole(found, raster), whole(expected, raster)), shape.wkt
                if SAME_RULE:
                    assert (found is None) == (expected is None)
                if SAME_RULE and found is not None and expected is not None:
                    assert (found[0].shape, found[1]) == (expected[0].shape, expected[1])
                outside += found is None
    assert 0 < outside < 60
