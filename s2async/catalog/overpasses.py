"""Which items show the same overpass of a satellite, and in which UTM zone. Pure.

Grid squares overlap, and where two UTM zones meet they do so by tens of kilometres: an area near an edge is in
several items of one overpass.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from s2async.catalog.reprocessing import LONGEST_DATATAKE


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
    than all of it by more than the longest datatake; likewise if the oldest come first. Where areas are all around
    the globe, one overpass follows the other without a gap, so each is released by itself. If the order turns out
    to be another, items are held until the search ends.

    Args:
        descending: whether the search is known to return the newest items first.
        ascending: whether it is known to return the oldest items first; then the oldest overpasses are released
            first.
    """

    def __init__(self, *, descending: bool = False, ascending: bool = False) -> None:
        self._descending = descending
        self._ascending = self._oldest_first = ascending
        self._last: datetime | None = None
        self._looked: datetime | None = None
        """When the last item was sensed that had come at the last look for complete overpasses."""
        self._waiting: list[S] = []

    def add(self, one: S) -> list[list[S]]:
        """Take an item; returns the overpasses that are complete by it, in order of time."""
        if self._last is not None:
            self._descending &= one.datetime <= self._last
            self._ascending &= one.datetime >= self._last
        self._last = one.datetime
        found = list[list[S]]()
        if self._looked is None:
            self._looked = one.datetime
        elif (self._descending or self._ascending) and abs(self._looked - one.datetime) > LONGEST_DATATAKE:
            found = self._complete(one.datetime)
            self._looked = one.datetime
        self._waiting.append(one)
        return found

    def rest(self) -> list[list[S]]:
        """Release what is left, at the end of the search."""
        found, self._waiting = overpasses(self._waiting), []
        return found[::-1] if self._oldest_first else found

    def _complete(self, now: datetime) -> list[list[S]]:
        """Release the overpasses that no item belongs to which comes now or later."""
        found = list[list[S]]()
        held = list[S]()
        for overpass in self.rest():
            if min(abs(one.datetime - now) for one in overpass) > LONGEST_DATATAKE:
                found.append(overpass)
            else:
                held += overpass
        self._waiting = held
        return found


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
