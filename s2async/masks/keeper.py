"""Keeps the plans of several grids in memory, finds areas in them, and draws areas that are missing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async.cog.grid import Grid
from s2async.masks import packing
from s2async.masks.packing import Keys
from s2async.models import Area


class Plan(Protocol):
    """The positions of areas on a grid."""

    @property
    def nbytes(self) -> int:
        """Return the size of the arrays in bytes."""

    @classmethod
    def joined(cls, plans: Sequence[Self]) -> Self:
        """Join plans into one plan of all their areas, in the given order."""


P = TypeVar("P", bound=Plan)


@dataclass(kw_only=True, slots=True, eq=False)
class Kept(Generic[P]):
    """A plan, and the keys by which its areas are found."""

    plan: P
    keys: Keys
    """(areas,) keys of the areas of the plan."""
    order: NDArray[np.int64]
    """(areas,) indices of the keys in ascending order."""
    unsaved: int = 0
    """Number of areas that were drawn or removed since the plan was read or saved."""

    @classmethod
    def of(cls, plan: P, keys: Keys, unsaved: int = 0) -> Self:
        """Return a plan with the keys of its areas."""
        return cls(plan=plan, keys=keys, order=np.argsort(keys, kind="stable"), unsaved=unsaved)

    @classmethod
    def empty(cls, plan: P) -> Self:
        """Return a plan without areas, with no keys."""
        return cls.of(plan, np.zeros(0, np.uint64))

    def with_more(self, plan: P, keys: Keys) -> Kept[P]:
        """Return the plan with more areas, none of which it has yet."""
        whole = self.plan.joined([self.plan, plan])
        return Kept.of(whole, np.concatenate([self.keys, keys]), self.unsaved + len(keys))

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Return the index of each key; -1 for keys that the plan does not have."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self.keys, keys, sorter=self.order), len(self.keys) - 1)
        indices = self.order[place]
        return np.where(self.keys[indices] == keys, indices, -1)


class Keeper(Generic[P]):
    """Plans by grid. Only one thread may use it at a time.

    Args:
        draw: function that draws areas on a grid.
        begin: function that returns the plan to which the first areas of a grid are added.
        memory: maximum size in bytes of all plans together, unless the plan that was used last is larger.
    """

    def __init__(
        self, draw: Callable[[Sequence[Area], Grid], P], begin: Callable[[Grid], Kept[P]], memory: int
    ) -> None:
        self._draw, self._begin, self._memory = draw, begin, memory
        self._plans: OrderedDict[Grid, Kept[P]] = OrderedDict()

    @property
    def plans(self) -> list[Kept[P]]:
        """Return all plans, the one that was used last at the end."""
        return [*self._plans.values()]

    def of(self, areas: Sequence[Area], grid: Grid) -> tuple[Kept[P], NDArray[np.int64]]:
        """Return a plan of a grid that has all given areas, and (areas,) the index of each area in it."""
        keys = packing.keys_of([area.fingerprint for area in areas])
        kept = self._plans.pop(grid, None) or self._begin(grid)
        indices = kept.find(keys)
        new = np.flatnonzero(indices < 0)
        if len(new):
            new = new[np.unique(keys[new], return_index=True)[1]]  # areas may share a polygon
            kept = kept.with_more(self._draw([areas[index] for index in new.tolist()], grid), keys[new])
            indices = kept.find(keys)
        self._plans[grid] = kept
        return kept, indices

    def forget_large(self, grid: Grid) -> None:
        """Remove the plan of a grid if it alone takes more memory than all plans may."""
        if grid in self._plans and self._plans[grid].plan.nbytes > self._memory:
            del self._plans[grid]

    def forget_old(self) -> list[Kept[P]]:
        """Remove the least recently used plans until the others fit into memory or only one is left.

        Returns:
            The plans that were removed.
        """
        forgotten = list[Kept[P]]()
        while len(self._plans) > 1 and sum(kept.plan.nbytes for kept in self._plans.values()) > self._memory:
            forgotten.append(self._plans.popitem(last=False)[1])
        return forgotten
