"""Scenes that were processed several times: which items are of one acquisition, and which of them is the newest.

ESA processes old scenes again with newer baselines, and a catalogue may keep the items of several processings.
Pure.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import takewhile
from math import ceil, floor
from operator import itemgetter
from typing import Any

from s2async.catalog.items import instant
from s2async.models import DEFAULT_MEASURED, Scene

TOLERANCE_SECONDS = 1.0
"""Items of one datastrip differ by 0 or 1 ms in their time; two datastrips of one pass by several seconds."""


def same_acquisition(a: Scene, b: Scene) -> bool:
    """Whether two items of one collection hold the same datastrip over the same grid square.

    Items whose ids differ in ``_0_`` and ``_1_`` may also be two datastrips of one pass, seconds apart, each with
    its part of the square: those are different acquisitions. If both items name the start of their datastrip, it
    must be equal.
    """
    return (
        bool(a.platform and a.grid)
        and (a.collection, a.platform, a.grid) == (b.collection, b.platform, b.grid)
        and abs(a.datetime - b.datetime) <= timedelta(seconds=TOLERANCE_SECONDS)
        and not (a.datastrip and b.datastrip and a.datastrip != b.datastrip)
    )


def processing_order(
    scene: Scene, measured: Collection[str] = DEFAULT_MEASURED
) -> tuple[bool, tuple[int, ...], float, str]:
    """Sort key for items of one acquisition: the last is the newest that can be used.

    Items in which clouds can be measured rank above the others, so that an item with JPEG 2000 files only never
    replaces an older one. Then count the processing baseline, the time of processing, and the id, so that
    no two keys are equal.

    Args:
        scene: the item.
        measured: keys of the assets that the cloud rule measures.
    """
    baseline = tuple(int(number) for number in re.findall(r"\d+", scene.baseline))
    generated = instant(scene.generated)
    return scene.assets.keys() >= {*measured}, baseline, generated.timestamp() if generated else 0.0, scene.id


class NewestOnly:
    """Holds scenes back until all items of their acquisition have come, and releases only the newest.

    In a search that returns the newest scenes first, an acquisition is complete as soon as a scene comes that is
    more than a second older. If the order turns out to be another, scenes are held until the search ends.

    Args:
        descending: whether the search is known to return the newest scenes first.
        measured: keys of the assets that the cloud rule measures.
    """

    def __init__(self, *, descending: bool, measured: Collection[str] = DEFAULT_MEASURED) -> None:
        self._measured = measured
        self._descending = descending
        self._last: datetime | None = None
        self._waiting: list[Scene] = []
        # By platform, grid square and second: a square has many scenes, but a second has few of them.
        self._by_second: defaultdict[tuple[str, str, int], list[tuple[Any, Scene]]] = defaultdict(list)

    def add(self, scene: Scene) -> list[Scene]:
        """Take a scene; returns the scenes that are released by it, in the order in which they came."""
        if self._last is not None and scene.datetime > self._last:
            self._descending = False
        self._last = scene.datetime
        self._waiting.append(scene)
        key = scene.platform, scene.grid, _second(scene)
        insort(self._by_second[key], (processing_order(scene, self._measured), scene), key=itemgetter(0))
        return self._release(scene.datetime + timedelta(seconds=TOLERANCE_SECONDS)) if self._descending else []

    def rest(self) -> list[Scene]:
        """Release the scenes that are left, at the end of the search."""
        return self._release(None)

    def _release(self, newest_open: datetime | None) -> list[Scene]:
        ready = list(takewhile(lambda scene: newest_open is None or scene.datetime > newest_open, self._waiting))
        del self._waiting[: len(ready)]
        return [scene for scene in ready if not self._is_superseded(scene)]

    def _is_superseded(self, scene: Scene) -> bool:
        own, second = processing_order(scene, self._measured), _second(scene)
        near = (self._by_second.get((scene.platform, scene.grid, second + step), ()) for step in _STEPS)
        newer = (takewhile(lambda entry: entry[0] > own, reversed(entries)) for entries in near)
        return any(same_acquisition(scene, other) for entries in newer for _, other in entries)


_STEPS = range(-ceil(TOLERANCE_SECONDS), ceil(TOLERANCE_SECONDS) + 1)
"""Seconds before and after a scene in which other items of its acquisition may lie."""


def _second(scene: Scene) -> int:
    return floor(scene.datetime.timestamp())
