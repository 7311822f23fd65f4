"""Small fields on a raster, for tests of many areas at once."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.warp import transform
from shapely import MultiPolygon, Polygon

from s2async.cog.grid import Grid
from s2async.models import Area

FIELDS = 60


def lonlat(shape: Polygon | MultiPolygon, epsg: int) -> Polygon | MultiPolygon:
    def project(points: NDArray[Any]) -> NDArray[Any]:
        return np.column_stack(transform(f"EPSG:{epsg}", "EPSG:4326", *points.T))

    found = shapely.transform(shape, project)
    assert isinstance(found, Polygon | MultiPolygon)
    return found


def fields(grid: Grid, number: int = FIELDS) -> list[Area]:
    """Small fields all over a raster and across its edges, some with holes or two parts; two lie outside."""
    random = np.random.default_rng(5)
    west, north, east, south = grid.bounds
    areas = []
    for index in range(number):
        middle = np.array([random.uniform(west, east), random.uniform(south, north)])
        if index < 2:
            middle = middle + 10 * (east - west)
        side = 0.06 * (east - west)
        corners = middle + random.uniform(0.3, 1, (4, 1)) * side * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        hole = middle + side * 0.1 * np.array([[-1, -1], [1, -1], [1, 1]])
        field = Polygon(corners, [hole] if index % 5 == 0 else [])
        shape: Polygon | MultiPolygon = field
        if index % 7 == 0:
            shape = MultiPolygon([field, shapely.box(*(middle + 2 * side), *(middle + 2.3 * side))])
        polygon = lonlat(shape, grid.epsg)
        fingerprint = hashlib.sha256(polygon.wkb).hexdigest()[:16]
        areas.append(
            Area(name=f"field-{index}", wkb=polygon.wkb, fingerprint=fingerprint, folder=f"field-{index}")
        )
    return areas
