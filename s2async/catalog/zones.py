"""Finds the home zone of an area: the UTM zone that contains most of it. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

ZONE_DEGREES: Final = 6.0
"""Width of a UTM zone."""
_BANDS: Final = (
    (-90.0, 56.0, ()),
    (56.0, 64.0, ((0.0, 3.0, 31), (3.0, 12.0, 32))),
    (64.0, 72.0, ()),
    (72.0, 84.0, ((0.0, 9.0, 31), (9.0, 21.0, 33), (21.0, 33.0, 35), (33.0, 42.0, 37))),
    (84.0, 90.0, ()),
)
"""Bands of latitude, south to north, each with its zones (west, east, number) that are wider or narrower than 6
degrees in the MGRS: around Norway and Svalbard. The grid squares follow these zones (DMA TM 8358.1)."""

_ODD_FROM: Final = 56.0
"""Latitude north of which bands may have such zones, in degrees."""


def home_zone(polygon: BaseGeometry) -> int:
    """Return the number of the UTM zone that contains most of a polygon; of equal zones, the smaller number.

    Args:
        polygon: a polygon in degrees of longitude and latitude, which may extend beyond 180 degrees.
    """
    zones = _zones(*polygon.bounds)
    if len(zones) == 1:
        return zones[0][-1]
    held: dict[int, float] = defaultdict(float)
    for *rectangle, zone in zones:
        part = shapely.clip_by_rect(polygon, *rectangle)
        held[zone] += shapely.transform(part, _equal_area).area
    return max(sorted(held), key=lambda zone: held[zone])


def home_zones(polygons: NDArray[np.object_]) -> list[int]:
    """Return the home zones of many polygons; see `home_zone`."""
    west, _, east, north = shapely.bounds(polygons).reshape(-1, 4).T
    first = np.floor(west / ZONE_DEGREES)
    # Almost all polygons lie within one zone, and south of the zones with other widths.
    plain = (first == np.floor(east / ZONE_DEGREES)) & (north < _ODD_FROM)
    found: list[int] = np.where(plain, (first + 30) % 60 + 1, 0).astype(np.int64).tolist()
    for index in np.flatnonzero(~plain).tolist():
        found[index] = home_zone(polygons[index])
    return found


def _zones(west: float, south: float, east: float, north: float) -> list[tuple[float, float, float, float, int]]:
    """Return the zones within these bounds, cut at the bands of latitude: west, south, east, north and number."""
    found = []
    for low, high, odd in _BANDS:
        if low <= north and south < high:
            starts = np.arange(np.floor(west / ZONE_DEGREES), np.floor(east / ZONE_DEGREES) + 1) * ZONE_DEGREES
            usual = [(float(start), float(start) + ZONE_DEGREES, _number(start)) for start in starts]
            if odd:
                first, last = odd[0][0], odd[-1][1]
                usual = [zone for zone in usual if zone[1] <= first or zone[0] >= last]
                usual += [zone for zone in odd if zone[0] <= east and zone[1] > west]
            found += [(start, low, end, high, number) for start, end, number in usual]
    return found


def _number(start: float) -> int:
    return (int(start // ZONE_DEGREES) + 30) % 60 + 1


def _equal_area(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project points in degrees (n, 2) to Lambert's cylindrical equal-area projection."""
    return np.column_stack([points[:, 0], np.degrees(np.sin(np.radians(points[:, 1])))])
