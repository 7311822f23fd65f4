"""Finds items that show the same overpass of a satellite, and the UTM zone of an item. Pure.

Grid squares overlap, by tens of kilometres where two UTM zones meet: an area near an edge is in several items of
one overpass.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from s2async.catalog.reprocessing import LONGEST_DATATAKE


class Sighting(Protocol):
    """The properties of an item that identify its overpass; a `models.Scene` has them."""

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
    """Return whether two items that show one place are of the same overpass.

    They must be of one datatake or, if one of them does not name its datatake, of the same collection and
    platform. In both cases, their times must not differ by more than the length of the longest datatake, which is
    less than half of the time that a satellite takes to orbit the Earth.
    """
    if abs(a.datetime - b.datetime) > LONGEST_DATATAKE:
        return False
    if a.datatake and b.datatake:
        return a.datatake == b.datatake
    return bool(a.platform) and (a.collection, a.platform) == (b.collection, b.platform)


def overpasses(sightings: Iterable[S]) -> list[list[S]]:
    """Group items that show one place by overpass; newest overpasses first, and in them newest items first."""
    found: list[list[S]] = []
    near: list[list[S]] = []
    for one in sorted(sightings, key=lambda one: one.datetime, reverse=True):
        # The last item of a group is its oldest one: no later item of the loop is nearer in time to the others.
        near = [group for group in near if group[-1].datetime - one.datetime <= LONGEST_DATATAKE]
        own = (group for group in reversed(near) if any(same_overpass(one, other) for other in group))
        group = next(own, None)
        if group is None:
            group = list[S]()
            found.append(group)
            near.append(group)
        group.append(one)
    return found


class Together(Generic[S]):
    """Holds the items of a search back until all items of their overpass have arrived, and releases them together.

    In a search that returns the newest items first, an overpass is complete as soon as an item arrives that is
    older than all of its items by more than the longest datatake; likewise if the oldest items come first. If
    areas are all around the globe, one overpass follows another without a gap, so each overpass is released
    separately. If the order of the items turns out to be different, they are held until the search ends.

    Args:
        descending: whether the search is known to return the newest items first.
        ascending: whether the search is known to return the oldest items first; in this case, the oldest
            overpasses are released first.
    """

    def __init__(self, *, descending: bool = False, ascending: bool = False) -> None:
        self._descending = descending
        self._ascending = self._oldest_first = ascending
        self._last: datetime | None = None
        self._looked: datetime | None = None
        """Time of the item that arrived when complete overpasses were last looked for."""
        self._waiting: list[S] = []

    def add(self, one: S) -> list[list[S]]:
        """Take an item; return the overpasses that it shows to be complete, in chronological order."""
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
        """Release the remaining overpasses at the end of the search."""
        found, self._waiting = overpasses(self._waiting), []
        return found[::-1] if self._oldest_first else found

    def _complete(self, now: datetime) -> list[list[S]]:
        """Release the overpasses to which neither the current item nor a later one can belong."""
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
    """Return the number of the UTM zone of an item, from its grid square or otherwise its CRS; None if unknown.

    Args:
        grid: MGRS grid square of the item; the empty string if unknown.
        epsg: EPSG code of the CRS of the item; None if unknown.
    """
    number = grid.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    if number.isdigit():
        return int(number)
    return epsg % 100 if epsg is not None and epsg // 100 in (326, 327) else None
