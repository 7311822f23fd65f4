"""The order in which a run works: its searches by quarter, and the scenes of each search by time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from s2async.catalog.overpasses import Together
from s2async.catalog.search import Search
from s2async.models import Order, Scene


def rounds(searches: Sequence[Search], order: Order | None) -> list[list[Search]]:
    """Split searches into rounds that follow one another; the searches of a round run concurrently.

    Args:
        searches: searches of a run.
        order: which quarter comes first. None makes one round of all searches, in the order given, so that no
            search waits for another one.
    """
    if order is None:
        return [list(searches)]
    ordered = sorted(searches, key=_quarter, reverse=order == "newest")  # stable: keeps neighbours in order
    return [list(found) for _, found in groupby(ordered, key=_quarter)]


def _quarter(search: Search) -> int:
    return search.start.year * 4 + (search.start.month - 1) // 3


class Arranged:
    """Passes on the scenes of a search in the requested order, one by one or all scenes of an overpass together.

    If the catalogue returns scenes in another order, they are held back until the search ends.

    Args:
        order: which scenes come first; None passes them on in the order of the catalogue.
        descending: whether the search is known to return the newest scenes first.
        by_overpass: whether the scenes of an overpass are passed on together.
    """

    def __init__(self, order: Order | None, *, descending: bool, by_overpass: bool) -> None:
        self._order = order
        self._by_overpass = by_overpass
        self._passing = order is None or (order == "newest" and descending)
        self._together = Together[Scene](descending=descending and self._passing)
        self._held: list[Scene] = []

    def add(self, scene: Scene) -> list[list[Scene]]:
        """Add a scene, and return the scenes that are passed on now."""
        if self._by_overpass:
            return self._together.add(scene)
        if self._passing:
            return [[scene]]
        self._held.append(scene)
        return []

    def rest(self) -> list[list[Scene]]:
        """Return the remaining scenes at the end of the search."""
        if self._by_overpass:
            found = self._together.rest()  # the newest first
            return found[::-1] if self._order == "oldest" else found
        held, self._held = self._held, []
        held.sort(key=lambda scene: (scene.datetime, scene.id), reverse=self._order == "newest")
        return [[scene] for scene in held]
