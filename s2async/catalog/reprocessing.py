"""Handles scenes that were processed several times: finds items of one acquisition, and the best of them. Pure.

An acquisition is one datatake (without its baseline) and one grid square, with all its datastrips. ESA reprocesses
old scenes with newer baselines, and a catalogue may keep the items of several processings: items of one
acquisition whose footprints overlap by half are editions of the same image, and only the best edition counts. Two
datastrips that contain different parts of the square are not editions: both count.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from itertools import chain, takewhile
from math import floor
from operator import itemgetter
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry

from s2async.catalog.items import instant
from s2async.models import DEFAULT_MEASURED, Scene

LONGEST_DATATAKE: Final = timedelta(minutes=40)
"""Maximum difference between the times of two items of one datatake. A datatake is at most 15,000 km long
(Sentinel-2 User Handbook), which takes 38 minutes at 40,075 km in 100.6 minutes. The time of an item is within its
datatake: that of its square or the start; both occur in one catalogue. The times of one recorded pair of editions
differ by 208.6 s. Orbits of one satellite are 100 minutes apart."""
TOLERANCE_SECONDS: Final = 1.0
"""Maximum difference in time between items of one acquisition if one of them does not name its datatake. Times of
items of one datastrip differ by 0 or 1 ms, those of two datastrips of one overpass by several seconds."""
OVERLAP: Final = 0.5
"""Minimum overlap, as a fraction of the smaller footprint, for which two items of one acquisition are editions.
Recorded editions overlap by 100 %, recorded halves of an overpass by 37 %."""
LEFT_OVER: Final = 0.01
"""Fraction of a footprint that may lie outside better editions if these are to replace the scene everywhere.
Footprints of recorded editions differ by up to 0.4 %."""

# ---- two items --------------------------------------------------------------------------------------------


def same_acquisition(a: Scene, b: Scene) -> bool:
    """Return whether two items, possibly of different collections, are of the same datatake and grid square.

    Items whose times differ by more than the longest datatake are not of the same datatake, even if they name the
    same. If one of them does not name its datatake, they must be of the same collection, platform, grid square and
    second, and of the same datastrip if both name its start.
    """
    if a.acquisition and b.acquisition:
        return a.acquisition == b.acquisition and abs(a.datetime - b.datetime) <= LONGEST_DATATAKE
    return (
        bool(a.platform and a.grid)
        and (a.collection, a.platform, a.grid) == (b.collection, b.platform, b.grid)
        and abs(a.datetime - b.datetime) <= timedelta(seconds=TOLERANCE_SECONDS)
        and not _other_datastrip(a, b)
    )


def are_editions(a: Scene, b: Scene) -> bool:
    """Return whether two items contain the same image: one acquisition, and footprints that overlap by half.

    If one footprint is unknown, the items are editions unless they are of different datastrips. If both are
    unknown, as in a rebuilt state, they may be halves: they are editions only if they name the same datastrip.
    """
    if not same_acquisition(a, b):
        return False
    if a.footprint is None and b.footprint is None:
        return bool(a.datastrip) and a.datastrip == b.datastrip
    if a.footprint is None or b.footprint is None:
        return not _other_datastrip(a, b)
    one, other = _surface(a.footprint), _beside(_surface(b.footprint), a.footprint)
    smaller = min(one.area, other.area)
    if not smaller:
        return bool(a.footprint.intersects(b.footprint))
    return bool(one.intersection(other).area >= OVERLAP * smaller)


def processing_order(
    scene: Scene, measured: Collection[str] = DEFAULT_MEASURED
) -> tuple[bool, tuple[int, ...], float, str, str]:
    """Return a sort key for editions that sorts the best edition last.

    Items in which clouds can be measured rank above the others, so that an item with only JPEG 2000 files never
    replaces an older item. The next criteria are the processing baseline, the time of processing, the id, and the
    collection, so that no two keys are equal.

    Args:
        scene: the item.
        measured: keys of the assets that the cloud rule measures.
    """
    baseline = tuple(int(number) for number in re.findall(r"\d+", scene.baseline))
    generated = instant(scene.generated)
    readable = scene.assets.keys() >= {*measured}
    return readable, baseline, generated.timestamp() if generated else 0.0, scene.id, scene.collection


def _other_datastrip(a: Scene, b: Scene) -> bool:
    return bool(a.datastrip and b.datastrip and a.datastrip != b.datastrip)


def _surface(footprint: BaseGeometry) -> BaseGeometry:
    """Return the polygons of a footprint: if repaired, it may also have lines, which GEOS does not intersect."""
    if footprint.geom_type != "GeometryCollection":
        return footprint
    parts = shapely.get_parts(footprint)
    polygons: BaseGeometry = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    return polygons


def _beside(footprint: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """Return a footprint, shifted if necessary to the same side of 180 degrees as another footprint."""
    apart = shapely.bounds(other)[0] - shapely.bounds(footprint)[0]
    if not abs(apart) > 180:
        return footprint
    shift = (360.0 if apart > 0 else -360.0, 0.0)
    moved: BaseGeometry = shapely.transform(footprint, lambda xy: xy + shift)
    return moved


# ---- the items of a search --------------------------------------------------------------------------------


class NewestOnly:
    """Holds scenes back until all items of their acquisition have arrived, and releases only the best editions.

    A scene is left out if better editions cover its footprint. If they do not cover all of it, the scene is
    released, and the state decides for each area.

    In a search that returns the newest scenes first, an acquisition is complete as soon as a scene arrives that is
    older by more than the longest datatake, 40 minutes: it is of another overpass. If the order of the scenes
    turns out to be different, they are held until the search ends.

    Args:
        descending: whether the search is known to return the newest scenes first.
        measured: keys of the assets that the cloud rule measures.
    """

    def __init__(self, *, descending: bool, measured: Collection[str] = DEFAULT_MEASURED) -> None:
        self._measured = measured
        self._descending = descending
        self._last: datetime | None = None
        self._waiting: list[Scene] = []
        self._together: defaultdict[object, list[tuple[Any, Scene]]] = defaultdict(list)  # by `_groups`

    def add(self, scene: Scene) -> list[Scene]:
        """Take a scene; return the scenes that can be released now, in the order in which they arrived."""
        if self._last is not None and scene.datetime > self._last:
            self._descending = False
        self._last = scene.datetime
        self._waiting.append(scene)
        entry = processing_order(scene, self._measured), scene
        for group in _groups(scene):
            insort(self._together[group], entry, key=itemgetter(0))
        return self._release(scene.datetime) if self._descending else []

    def rest(self) -> list[Scene]:
        """Release the remaining scenes at the end of the search."""
        return self._release(None)

    def _release(self, now: datetime | None) -> list[Scene]:
        """Release the scenes whose acquisition is complete when the search, newest first, has reached ``now``."""
        ready = list(
            takewhile(lambda scene: now is None or scene.datetime - now > LONGEST_DATATAKE, self._waiting)
        )
        del self._waiting[: len(ready)]
        return [scene for scene in ready if not self._is_replaced(scene)]

    def _is_replaced(self, scene: Scene) -> bool:
        """Return whether better editions cover a scene."""
        if scene.footprint is None:
            return any(True for _ in self._better(scene))
        whole = left = _surface(scene.footprint)
        for other in self._better(scene):
            if other.footprint is None:
                return True
            left = left.difference(_beside(_surface(other.footprint), whole))
            if left.area <= LEFT_OVER * whole.area:
                return True
        return False

    def _better(self, scene: Scene) -> Iterator[Scene]:
        """Yield better editions of a scene."""
        own = processing_order(scene, self._measured)
        for group in chain.from_iterable(_groups(scene, step) for step in (-1, 0, 1)):
            for order, other in reversed(self._together.get(group, ())):
                if order <= own:
                    break
                if are_editions(scene, other):
                    yield other


def _groups(scene: Scene, step: int = 0) -> Iterator[tuple[object, ...]]:
    """Yield keys of small groups: items of one acquisition share a key, or have keys that are one step apart."""
    at = scene.datetime.timestamp()
    yield scene.platform, scene.grid, floor(at / TOLERANCE_SECONDS) + step
    if scene.acquisition:
        yield scene.acquisition, floor(at / LONGEST_DATATAKE.total_seconds()) + step
