"""Locates areas on the rasters of scenes before any file is opened. Pure.

All scenes of an MGRS tile have the same raster, whose corners are those of all their footprints together. The
blocks under an area, and how many of their rows it needs, therefore follow from the items of a catalogue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from s2async.geo import UTM, copies, projected
from s2async.models import Area

RasterKey = tuple[str, int]
"""MGRS tile and EPSG code: scenes with the same key have the same raster."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks under a group of areas."""

    shares: tuple[tuple[float, ...], ...]
    """For each block, the shares of its rows that the areas need, counted from the top; largest share first."""
    runs: int
    """Number of blocks, with neighbours in a row counted as one."""


class Rasters:
    """The rasters of all scenes, derived from their footprints.

    Args:
        areas: all areas; methods refer to them by their index in this list.
        mask: whether pixels outside a polygon are left out of its crop.
    """

    def __init__(self, areas: Sequence[Area], *, mask: bool) -> None:
        self._areas = areas
        self._mask = mask
        self._corners: dict[RasterKey, tuple[float, float]] = {}
        self._shapes: dict[tuple[int, int], _Shape] = {}
        self._blocks: dict[tuple[RasterKey, float, bytes], Blocks] = {}

    def add(self, grid: str, epsg: int | None, footprint: BaseGeometry) -> RasterKey:
        """Add a scene. The upper left corner of its raster becomes more exact with each footprint.

        Args:
            grid: MGRS tile of the scene.
            epsg: EPSG code from the catalogue; if it is not a UTM zone, the zone of the footprint is used.
            footprint: footprint in lon/lat.
        """
        zone = epsg if epsg and epsg in UTM else _utm_of(footprint)
        x, y = projected(shapely.get_coordinates(footprint), zone).T
        west, north = self._corners.get((grid, zone), (np.inf, -np.inf))
        self._corners[grid, zone] = min(west, float(x.min())), max(north, float(y.max()))
        return grid, zone

    def blocks(self, raster_key: RasterKey, side: float, places: NDArray[np.intp]) -> Blocks:
        """Find the blocks of ``side`` metres under the given areas. Call this after all scenes have been added."""
        key = raster_key, side, places.tobytes()
        if key not in self._blocks:
            boxes = [self._shape(int(place), raster_key[1]).box for place in places]
            self._blocks[key] = blocks_under(boxes, self._corners[raster_key], side)
        return self._blocks[key]

    def metres(self, raster_key: RasterKey, places: NDArray[np.intp]) -> float:
        """Return the square metres that the crops of the given areas contain."""
        return sum(self._shape(int(place), raster_key[1]).metres for place in places)

    def _shape(self, place: int, epsg: int) -> _Shape:
        key = place, epsg
        if key not in self._shapes:
            flat = shapely.transform(self._areas[place].polygon, lambda xy: projected(xy, epsg))
            box = tuple(map(float, flat.bounds))
            self._shapes[key] = _Shape(box, flat.area if self._mask else flat.envelope.area)
        return self._shapes[key]


@dataclass(frozen=True, slots=True)
class _Shape:
    """An area in the coordinates of a CRS."""

    box: tuple[float, ...]
    """West, south, east, north."""
    metres: float
    """Square metres that its crop contains."""


def blocks_under(boxes: Iterable[tuple[float, ...]], corner: tuple[float, float], side: float) -> Blocks:
    """Find the blocks of a raster under the given boxes.

    Args:
        boxes: west, south, east, north, in metres.
        corner: x of the west edge and y of the north edge of the raster, in metres.
        side: side of a block, in metres.
    """
    shares: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for west, south, east, north in boxes:
        columns = range(max(0, int((west - corner[0]) // side)), int((east - corner[0]) // side) + 1)
        rows = range(max(0, int((corner[1] - north) // side)), int((corner[1] - south) // side) + 1)
        for row in rows:
            share = min(1.0, (corner[1] - south) / side - row)
            for column in columns:
                shares[row, column].append(share)
    runs = sum((row, column - 1) not in shares for row, column in shares)
    return Blocks(tuple(tuple(sorted(found, reverse=True)) for found in shares.values()), runs)


def covered_share(polygons: NDArray[np.object_], footprint: BaseGeometry) -> NDArray[np.float64]:
    """Compute the share of each polygon that a footprint covers, from 0 to 1; both are in lon/lat."""
    whole = shapely.union_all(copies(shapely.make_valid(footprint)))
    shapely.prepare(whole)
    held = shapely.contains_properly(whole, polygons).astype(np.float64)
    partly = held == 0
    if partly.any():
        rest = polygons[partly]
        held[partly] = shapely.area(shapely.intersection(whole, rest)) / shapely.area(rest)
    return held


def _utm_of(footprint: BaseGeometry) -> int:
    """Return the EPSG code of the UTM zone that contains the centroid of a footprint."""
    middle = footprint.centroid
    return (32600 if middle.y >= 0 else 32700) + int((middle.x + 180) % 360 // 6) + 1
