"""Which items show the same overpass of a satellite, and the UTM zone in which an area is at home. Pure.

Grid squares overlap, and where two UTM zones meet they do so by tens of kilometres: an area near an edge is in
several items of one overpass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from s2async.catalog.reprocessing import LONGEST_DATATAKE

ZONE_DEGREES: Final = 6.0
"""Width of a UTM zone."""
_BANDS: Final = (
    (-90.0, 56.0, ()),
    (56.0, 64.0, ((0.0, 3.0, 31), (3.0, 12.0, 32))),
    (64.0, 72.0, ()),
    (72.0, 84.0, ((0.0, 9.0, 31), (9.0, 21.0, 33), (21.0, 33.0, 35), (33.0, 42.0, 37))),
    (84.0, 90.0, ()),
)
"""Bands of latitude, south to north, and the zones of each (west, east, number) that are wider or narrower than 6
degrees in the MGRS: around Norway and Svalbard. Its grid squares keep to them (DMA TM 8358.1)."""


class Sighting(Protocol):
    """What tells the overpass of an item; a `models.Scene` is one."""

    @property
    def collection(self) -> str: ...  # noqa: D102 - as in `models.Scene`
    @property
    def datatake(self) -> str: ...  # noqa: D102
    @property
    def platform(self) -> str: ...  # noqa: D102
    @property
    def datetime(self) -> datetime: ...  # noqa: D102


S = TypeVar("S", bound=Sighting)


# ---- overpasses -------------------------------------------------------------------------------------------


def same_overpass(a: Sighting, b: Sighting) -> bool:
    """Whether two items that show one place show it in the same overpass.

    They are of one datatake. If one of them does not name its datatake, they are of the same collection and
    platform. In both cases, they are no further apart than a datatake can last, which is less than half of the
    time in which a satellite comes round again.
    """
    if abs(a.datetime - b.datetime) > LONGEST_DATATAKE:
        return False
    if a.datatake and b.datatake:
        return a.datatake == b.datatake
    return bool(a.platform) and (a.collection, a.platform) == (b.collection, b.platform)


def overpasses(sightings: Iterable[S]) -> list[list[S]]:
    """Group items that show one place by overpass; the newest item and the newest overpass first."""
    found: list[list[S]] = []
    for one in sorted(sightings, key=lambda one: one.datetime, reverse=True):
        # an overpass is far away in time from the one before the last of each satellite
        near = (group for group in reversed(found) if any(same_overpass(one, other) for other in group))
        group = next(near, None)
        if group is None:
            found.append([one])
        else:
            group.append(one)
    return found


class Together(Generic[S]):
    """Holds the items of a search back until those of their overpass have come, and releases them together.

    In a search that returns the newest items first, an overpass is complete as soon as an item comes that is older
    by more than the longest datatake. If the order turns out to be another, items are held until the search ends.

    Args:
        descending: whether the search is known to return the newest items first.
    """

    def __init__(self, *, descending: bool) -> None:
        self._descending = descending
        self._last: datetime | None = None
        self._waiting: list[S] = []

    def add(self, one: S) -> list[list[S]]:
        """Take an item; returns the overpasses that are complete by it, the newest first."""
        if self._last is not None and one.datetime > self._last:
            self._descending = False
        self._last = one.datetime
        oldest = min((other.datetime for other in self._waiting), default=one.datetime)
        found = []
        if self._descending and oldest - one.datetime > LONGEST_DATATAKE:
            found = self.rest()
        self._waiting.append(one)
        return found

    def rest(self) -> list[list[S]]:
        """Release what is left, at the end of the search."""
        found, self._waiting = overpasses(self._waiting), []
        return found


# ---- zones ------------------------------------------------------------------------------------------------


def zone_number(grid: str, epsg: int | None) -> int | None:
    """The number of the UTM zone of an item: that of its grid square, or else of its CRS; None when unknown.

    Args:
        grid: MGRS grid square; the empty string when unknown.
        epsg: EPSG code of its CRS.
    """
    number = grid.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    if number.isdigit():
        return int(number)
    return epsg % 100 if epsg is not None and epsg // 100 in (326, 327) else None


def home_zone(polygon: BaseGeometry) -> int:
    """The number of the UTM zone that holds most of a polygon; of two that hold as much, the smaller one.

    Args:
        polygon: in longitude and latitude, degrees; it may go on beyond 180 degrees.
    """
    zones = _zones(*polygon.bounds)
    if len(zones) == 1:
        return zones[0][-1]
    held: dict[int, float] = defaultdict(float)
    for *rectangle, zone in zones:
        part = shapely.clip_by_rect(polygon, *rectangle)
        held[zone] += shapely.transform(part, _equal_area).area
    return max(sorted(held), key=lambda zone: held[zone])


def _zones(west: float, south: float, east: float, north: float) -> list[tuple[float, float, float, float, int]]:
    """The zones within these bounds, cut at the bands of latitude: west, south, east, north and number."""
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
    """Points in degrees (n, 2) in a projection that keeps areas: Lambert's cylinder."""
    return np.column_stack([points[:, 0], np.degrees(np.sin(np.radians(points[:, 1])))])
