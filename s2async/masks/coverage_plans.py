"""Keeps plans with weights in memory during a run. There are so few of them that each run draws its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from s2async.cog.grid import Grid
from s2async.masks.keeper import Keeper, Kept
from s2async.models import Area

if TYPE_CHECKING:  # the library behind it is an extra
    from s2async.masks.coverage import CoveragePlan

MEMORY: Final = 64 << 20
"""Maximum size of the plans in memory, in bytes: about 60,000 fields at 10 m."""


class CoveragePlans:
    """Plans with weights, by grid. Several threads may use it; they wait for each other.

    Args:
        memory: maximum size of the plans in memory, in bytes. The plan that was used last may be larger.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._keeper = Keeper(_drawn, _empty, memory)
        self._lock = threading.Lock()

    def of(self, areas: Sequence[Area], grid: Grid) -> tuple[CoveragePlan, NDArray[np.int64]]:
        """Return a plan of a grid that has all given areas. Call it in a thread: it draws areas that are missing.

        Args:
            areas: areas with polygons in lon/lat.
            grid: grid of the raster.

        Returns:
            A plan, which may have other areas too, and (areas,) the index of each area in it.

        Raises:
            ValueError: the grid is rotated, or its CRS is unknown.
            LocalError: PROJ cannot read its database.
        """
        with self._lock:
            self._keeper.forget_large(grid)  # a new one begins with the areas that are needed now
            kept, indices = self._keeper.of(areas, grid)
            self._keeper.forget_old()
            return kept.plan_of(indices)


def _drawn(areas: Sequence[Area], grid: Grid) -> CoveragePlan:
    from s2async.masks.coverage import draw

    return draw(areas, grid)


def _empty(grid: Grid) -> Kept[CoveragePlan]:
    from s2async.masks.coverage import CoveragePlan

    return Kept.empty(CoveragePlan.empty(grid))
