"""Keeps the plans of several grids in memory, finds areas in them, and draws areas that are missing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2async.cog.grid import Grid
from s2async.masks import packing
from s2async.masks.packing import Keys
from s2async.models import Area

PIECE: Final = 1 << 12
"""Maximum number of areas of a piece of a plan to which more areas are added: about that of a large batch."""


class Plan(Protocol):
    """The positions of areas on a grid."""

    def __len__(self) -> int:
        """Return the number of areas."""

    @property
    def nbytes(self) -> int:
        """Return the size of the arrays in bytes."""

    @classmethod
    def joined(cls, plans: Sequence[Self]) -> Self:
        """Join plans into one plan of all their areas, in the given order."""

    def take(self, indices: ArrayLike) -> Self:
        """Return the plan of the given areas, in the given order."""


P = TypeVar("P", bound=Plan)


@dataclass(kw_only=True, slots=True, eq=False)
class Kept(Generic[P]):
    """A plan in pieces, and the keys by which its areas are found.

    An area is identified by its index in the whole plan, which is all pieces joined. The pieces are not joined in
    memory: if each batch joined its areas to all earlier ones, these would be copied for each batch.
    """

    pieces: list[P]
    """At least one plan of the same grid."""
    keys: Keys
    """(areas,) keys of the areas in ascending order."""
    order: NDArray[np.int32]
    """(areas,) index of the area with each key."""
    unsaved: int = 0
    """Number of areas that were drawn or removed since the plan was read or saved."""

    @classmethod
    def of(cls, plan: P, keys: Keys, unsaved: int = 0) -> Self:
        """Return a plan with the keys of its areas, of which no two are equal."""
        order = np.argsort(keys, kind="stable")
        return cls(pieces=[plan], keys=keys[order], order=order.astype(np.int32), unsaved=unsaved)

    @classmethod
    def empty(cls, plan: P) -> Self:
        """Return a plan without areas, with no keys."""
        return cls.of(plan, np.zeros(0, np.uint64))

    def __len__(self) -> int:
        """Return the number of areas."""
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return sum(piece.nbytes for piece in self.pieces) + self.keys.nbytes + self.order.nbytes

    @property
    def keys_of_areas(self) -> Keys:
        """(areas,): the key of each area, in the order of the pieces."""
        keys = np.empty_like(self.keys)
        keys[self.order] = self.keys
        return keys

    def add(self, plan: P, keys: Keys) -> None:
        """Add areas, none of which the plan has yet, to the last piece or, if that has many areas, as a piece.

        Args:
            plan: plan of n areas.
            keys: (n,) keys of the areas, of which no two are equal.
        """
        order = np.argsort(keys, kind="stable")
        at = np.searchsorted(self.keys, keys[order])
        self.order = np.insert(self.order, at, (order + len(self.keys)).astype(np.int32))
        self.keys = np.insert(self.keys, at, keys[order])
        if len(self.pieces[-1]) + len(plan) <= PIECE or not len(self.pieces[-1]):
            plan = plan.joined([self.pieces.pop(), plan])
        self.pieces.append(plan)
        self.unsaved += len(keys)

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Return the index of each key; -1 for keys that the plan does not have."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.order[place].astype(np.int64), -1)

    def plan_of(self, indices: NDArray[np.int64]) -> tuple[P, NDArray[np.int64]]:
        """Return a plan that has the given areas: a piece, or a copy of the areas if they lie in several pieces.

        Args:
            indices: (n,) indices of areas, which may repeat.

        Returns:
            The plan, which may have other areas too, and (n,) the index of each area in it.
        """
        ends = np.cumsum([len(piece) for piece in self.pieces])
        number = np.searchsorted(ends, indices, side="right")
        used = np.unique(number).tolist() or [0]
        starts = [int(ends[piece]) - len(self.pieces[piece]) for piece in used]
        if len(used) == 1:
            return self.pieces[used[0]], indices - starts[0]
        taken = [
            self.pieces[piece].take(indices[number == piece] - start)
            for piece, start in zip(used, starts, strict=True)
        ]
        found = np.empty(len(indices), np.int64)
        found[np.argsort(number, kind="stable")] = np.arange(len(indices))
        return taken[0].joined(taken), found


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
        """Return the plan of a grid, to which missing areas are added, and (areas,) the index of each area."""
        keys = packing.keys_of([area.fingerprint for area in areas])
        if grid not in self._plans:
            self._plans[grid] = self._begin(grid)
        self._plans.move_to_end(grid)
        kept = self._plans[grid]
        indices = kept.find(keys)
        new = np.flatnonzero(indices < 0)
        if len(new):
            new = new[np.unique(keys[new], return_index=True)[1]]  # areas may share a polygon
            kept.add(self._draw([areas[index] for index in new.tolist()], grid), keys[new])
            indices = kept.find(keys)
        return kept, indices

    def forget_large(self, grid: Grid) -> None:
        """Remove the plan of a grid if it alone takes more memory than all plans may."""
        if grid in self._plans and self._plans[grid].nbytes > self._memory:
            del self._plans[grid]

    def forget_old(self) -> list[Kept[P]]:
        """Remove the least recently used plans until the others fit into memory or only one is left.

        Returns:
            The plans that were removed.
        """
        forgotten = list[Kept[P]]()
        while len(self._plans) > 1 and sum(kept.nbytes for kept in self._plans.values()) > self._memory:
            forgotten.append(self._plans.popitem(last=False)[1])
        return forgotten
