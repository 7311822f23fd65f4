"""Scenes that were processed several times: which items are of one acquisition, and which of them counts.

An acquisition is one datatake (without its baseline) and one grid square, with all its datastrips. ESA processes
old scenes again with newer baselines, and a catalogue may keep the items of several processings: items of one
acquisition whose footprints overlap by half are editions of one picture, and the best of them counts. Two
datastrips that each hold their part of the square are not editions: both count. Pure.
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
(Sentinel-2 User Handbook), which are 38 minutes at 40,075 km in 100.6 minutes, and an item names a time within it:
that of its square or the start, and both occur in one catalogue. One recorded pair of editions lies 208.6 s apart.
Passes of one satellite are 100 minutes apart."""
TOLERANCE_SECONDS: Final = 1.0
"""Where an item does not name its datatake: items of one datastrip differ by 0 or 1 ms in their time; two
datastrips of one pass by several seconds."""
OVERLAP: Final = 0.5
"""Share of the smaller footprint from which on two items of one acquisition are editions. Recorded editions
overlap by 100 %, recorded halves of a pass by 37 %."""
LEFT_OVER: Final = 0.01
"""Share of a footprint that may lie outside those of better editions which replace it everywhere. Footprints of
recorded editions differ by up to 0.4 %."""

# ---- two items --------------------------------------------------------------------------------------------


def same_acquisition(a: Scene, b: Scene) -> bool:
    """Whether two items are of the same datatake and grid square, in whatever collections they are.

    Items that lie further apart than a datatake can last are not of one, whatever they say. If one of them does
    not name its datatake, they must be of the same collection, platform and second, and, if both name the start
    of their datastrip, of the same datastrip.
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
    """Whether two items hold the same picture: they are of one acquisition, and their footprints overlap by half.

    If a footprint is unknown, items of different datastrips are no editions, and others are.
    """
    if not same_acquisition(a, b):
        return False
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
    """Sort key for editions: the last is the best.

    Items in which clouds can be measured rank above the others, so that an item with JPEG 2000 files only never
    replaces an older one. Then count the processing baseline, the time of processing, the id, and the collection,
    so that no two keys are equal.

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
    """Its polygons alone: a repaired footprint may have lines beside them, which GEOS does not intersect."""
    if footprint.geom_type != "GeometryCollection":
        return footprint
    parts = shapely.get_parts(footprint)
    polygons: BaseGeometry = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    return polygons


def _beside(footprint: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
    """A footprint on the same side of 180 degrees as another one: both may lie on either side of the line."""
    apart = shapely.bounds(other)[0] - shapely.bounds(footprint)[0]
    if not abs(apart) > 180:
        return footprint
    shift = (360.0 if apart > 0 else -360.0, 0.0)
    moved: BaseGeometry = shapely.transform(footprint, lambda xy: xy + shift)
    return moved


# ---- the items of a search --------------------------------------------------------------------------------


class NewestOnly:
    """Holds scenes back until all items of their acquisition have come, and releases only the best editions.

    A scene is left out if better editions of it cover its footprint. Where they leave a part of it, it is
    released, and the state decides for each area.

    In a search that returns the newest scenes first, an acquisition is complete as soon as a scene comes that is
    older by more than the longest datatake, 40 minutes: that is the next pass over the place. If the order turns
    out to be another, scenes are held until the search ends.

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
        """Take a scene; returns the scenes that are released by it, in the order in which they came."""
        if self._last is not None and scene.datetime > self._last:
            self._descending = False
        self._last = scene.datetime
        self._waiting.append(scene)
        entry = processing_order(scene, self._measured), scene
        for group in _groups(scene):
            insort(self._together[group], entry, key=itemgetter(0))
        return self._release(scene.datetime) if self._descending else []

    def rest(self) -> list[Scene]:
        """Release the scenes that are left, at the end of the search."""
        return self._release(None)

    def _release(self, now: datetime | None) -> list[Scene]:
        """Release the scenes whose acquisition is complete in a search that has come down to this time."""
        ready = list(
            takewhile(lambda scene: now is None or scene.datetime - now > LONGEST_DATATAKE, self._waiting)
        )
        del self._waiting[: len(ready)]
        return [scene for scene in ready if not self._is_replaced(scene)]

    def _is_replaced(self, scene: Scene) -> bool:
        """Whether better editions cover a scene."""
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
        """Better editions of a scene."""
        own = processing_order(scene, self._measured)
        for group in chain.from_iterable(_groups(scene, step) for step in (-1, 0, 1)):
            for order, other in reversed(self._together.get(group, ())):
                if order <= own:
                    break
                if are_editions(scene, other):
                    yield other


def _groups(scene: Scene, step: int = 0) -> Iterator[tuple[object, ...]]:
    """Keys of small groups of scenes: items of one acquisition share a key, or their keys are one step apart."""
    at = scene.datetime.timestamp()
    yield scene.platform, scene.grid, floor(at / TOLERANCE_SECONDS) + step
    if scene.acquisition:
        yield scene.acquisition, floor(at / LONGEST_DATATAKE.total_seconds()) + step
