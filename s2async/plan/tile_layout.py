"""Where areas lie on the rasters of scenes, before any file is opened. Pure.

The corners of a grid square are those of all footprints in it together, so the tiles under an area, and how far
down in them it reaches, can be told from a catalogue's items alone.
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

Ground = tuple[str, int]
"""Grid square and EPSG code: scenes of one ground have one raster."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles under some areas."""

    shares: tuple[tuple[float, ...], ...]
    """For each tile the shares of it that the areas want, from its top down, largest first."""
    runs: int
    """Tiles, but neighbours in a row count as one."""


class Grounds:
    """The rasters of all scenes, as far as their footprints tell.

    Args:
        areas: All areas; they are known by their place in this list.
        mask: Nothing is written of what lies outside a polygon.
    """

    def __init__(self, areas: Sequence[Area], *, mask: bool) -> None:
        self._areas = areas
        self._mask = mask
        self._corners: dict[Ground, tuple[float, float]] = {}
        self._shapes: dict[tuple[int, int], _Shape] = {}
        self._tiles: dict[tuple[Ground, float, bytes], Tiles] = {}

    def add(self, grid: str, epsg: int | None, footprint: BaseGeometry) -> Ground:
        """Take in a scene: what is known of its raster's upper left corner grows with each footprint.

        Args:
            grid: Its grid square.
            epsg: As the catalogue says; the zone under the footprint where that is none of UTM.
            footprint: In lon/lat.
        """
        zone = epsg if epsg and epsg in UTM else _utm_of(footprint)
        x, y = projected(shapely.get_coordinates(footprint), zone).T
        west, north = self._corners.get((grid, zone), (np.inf, -np.inf))
        self._corners[grid, zone] = min(west, float(x.min())), max(north, float(y.max()))
        return grid, zone

    def tiles(self, ground: Ground, side: float, places: NDArray[np.intp]) -> Tiles:
        """Tiles of so many metres under some areas. To be asked when all scenes have been taken in."""
        key = ground, side, places.tobytes()
        if key not in self._tiles:
            boxes = [self._shape(int(place), ground[1]).box for place in places]
            self._tiles[key] = tiles_under(boxes, self._corners[ground], side)
        return self._tiles[key]

    def metres(self, ground: Ground, places: NDArray[np.intp]) -> float:
        """Square metres of what is written of some areas."""
        return sum(self._shape(int(place), ground[1]).metres for place in places)

    def _shape(self, place: int, epsg: int) -> _Shape:
        key = place, epsg
        if key not in self._shapes:
            flat = shapely.transform(self._areas[place].polygon, lambda xy: projected(xy, epsg))
            box = tuple(map(float, flat.bounds))
            self._shapes[key] = _Shape(box, flat.area if self._mask else flat.envelope.area)
        return self._shapes[key]


@dataclass(frozen=True, slots=True)
class _Shape:
    """An area on a CRS's plane."""

    box: tuple[float, ...]
    """West, south, east, north."""
    metres: float
    """Square metres of what is written of it."""


def tiles_under(boxes: Iterable[tuple[float, ...]], corner: tuple[float, float], side: float) -> Tiles:
    """Tiles of a raster under some boxes.

    Args:
        boxes: West, south, east, north, in metres.
        corner: West and north edge of the raster, in metres.
        side: Of a tile, in metres.
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
    return Tiles(tuple(tuple(sorted(found, reverse=True)) for found in shares.values()), runs)


def held_share(polygons: NDArray[np.object_], footprint: BaseGeometry) -> NDArray[np.float64]:
    """The part of each polygon that a footprint holds, from 0 to 1; both in lon/lat."""
    whole = shapely.union_all(copies(shapely.make_valid(footprint)))
    shapely.prepare(whole)
    held = shapely.contains_properly(whole, polygons).astype(np.float64)
    partly = held == 0
    if partly.any():
        rest = polygons[partly]
        held[partly] = shapely.area(shapely.intersection(whole, rest)) / shapely.area(rest)
    return held


def _utm_of(footprint: BaseGeometry) -> int:
    """The zone under the middle of a footprint, as EPSG code."""
    middle = footprint.centroid
    return (32600 if middle.y >= 0 else 32700) + int((middle.x + 180) % 360 // 6) + 1
