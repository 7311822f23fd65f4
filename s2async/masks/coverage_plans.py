"""Keeps plans with weights in memory while a run needs them; they are few enough to be drawn by each run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from s2async.cog.grid import Grid
from s2async.models import Area

if TYPE_CHECKING:  # the library behind it is an extra
    from s2async.masks.coverage import CoveragePlan

MEMORY: Final = 64 << 20
"""Bytes of plans that stay in memory: some 60,000 fields at 10 m."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Entry:
    plan: CoveragePlan
    known: Mapping[str, int]
    """Index of each area in the plan, by fingerprint."""


class CoveragePlans:
    """Plans with weights of all grids. It may be used by several threads, which wait for each other.

    Args:
        memory: bytes of plans that stay in memory. The plan that is asked for may have more.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._entries: OrderedDict[Grid, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, areas: Sequence[Area], grid: Grid) -> tuple[CoveragePlan, NDArray[np.int64]]:
        """The plan of a grid with all these areas in it. What is missing is drawn, which takes time: in a thread.

        Args:
            areas: polygons in lon/lat.
            grid: of the raster.

        Returns:
            A plan, which may have other areas too, and (areas,) the index of each area in it.

        Raises:
            ValueError: the grid is turned, or its CRS is unknown.
            LocalError: PROJ cannot read its database.
        """
        from s2async.masks.coverage import CoveragePlan, draw

        with self._lock:
            entry = self._entries.pop(grid, None)
            if entry and entry.plan.nbytes > self._memory:
                entry = None  # it has grown too large, and begins anew with the areas that are needed now
            known = dict(entry.known) if entry else {}
            new = {area.fingerprint: area for area in areas if area.fingerprint not in known}
            if new or entry is None:
                drawn = draw([*new.values()], grid)
                known |= {name: len(known) + number for number, name in enumerate(new)}
                plan = CoveragePlan.joined([entry.plan, drawn]) if entry else drawn
                entry = _Entry(plan=plan, known=known)
            self._entries[grid] = entry
            while len(self._entries) > 1 and sum(one.plan.nbytes for one in self._entries.values()) > self._memory:
                self._entries.popitem(last=False)
            return entry.plan, np.array([entry.known[area.fingerprint] for area in areas], np.int64)
