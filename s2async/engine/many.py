"""Many areas of a scene at once, by the plan of a grid: their places, counts of each class, and their pixels.

For a few areas `cog.polygon_mask` is faster, because it caches what it has rasterized, while a plan costs about
the same for one area as for a hundred. See `tools.MANY`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s2async.cog import tiles
from s2async.cog.grid import Cutout, Grid, Window
from s2async.cog.polygon_mask import cutout
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile
from s2async.masks import gather
from s2async.masks.gather import Gather
from s2async.masks.plan import GridPlan
from s2async.masks.store import Plans
from s2async.masks.sweep import Sweep
from s2async.models import Area


def cutouts(plans: Plans, areas: Sequence[Area], grid: Grid) -> list[Cutout | None]:
    """Return where areas lie on a grid, like `cog.polygon_mask.cutout` for each area.

    Raises:
        ValueError: the CRS of the grid is unknown.
        LocalError: PROJ cannot read its database.
    """
    plan, indices = plans.of(areas, grid)
    masks = plan.masks(indices)
    found: list[Cutout | None] = []
    for area, mask, (row, col, height, width), total, skipped in zip(
        areas,
        masks,
        plan.windows[indices].tolist(),
        plan.totals[indices].tolist(),
        plan.skipped[indices].tolist(),
        strict=True,
    ):
        if skipped:
            found.append(cutout(area, grid))
        elif not height:
            found.append(None)
        else:
            window = Window(col=col, row=row, width=width, height=height)
            found.append(Cutout(window=window, inside=mask, total=total))
    return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Places:
    """Where n areas lie on the raster of a file."""

    layout: Layout
    plan: GridPlan
    indices: NDArray[np.int64]
    """(n,) indices of the areas in the plan."""
    factor: int = 1
    """Number of plan pixels that a pixel of the file spans on each side."""

    @classmethod
    def of(cls, plans: Plans, areas: Sequence[Area], layout: Layout) -> Places:
        """Locate areas. Call it in a thread, because areas that are not in the plan yet are rasterized.

        Raises:
            ValueError: the CRS of the grid is unknown.
            LocalError: PROJ cannot read its database.
        """
        plan, indices = plans.of(areas, layout.grid)
        return cls(layout=layout, plan=plan, indices=indices)

    @property
    def skipped(self) -> NDArray[np.bool_]:
        """(n,) whether each area is too large for a plan."""
        return self.plan.skipped[self.indices]

    @property
    def touched(self) -> NDArray[np.bool_]:
        """(n,) whether the raster touches each area; False for areas that the plan does not contain."""
        touched: NDArray[np.bool_] = self.plan.windows[self.indices, 2] > 0
        return touched

    @property
    def totals(self) -> NDArray[np.int64]:
        """(n,) number of pixels of each area, including pixels outside the raster."""
        return self.plan.totals[self.indices].astype(np.int64)

    def rows_under(self) -> dict[int, int]:
        """Return, by block, the number of rows from its top down to the lowest pixel inside any of the areas."""
        return gather.rows_under(self.plan, self.indices, self.layout, factor=self.factor)


class Target(Protocol):
    """Takes the pixels of many areas, block by block; it may be called from several threads."""

    def rows_under(self) -> Mapping[int, int]:
        """Return the number of rows that it needs, by block, counted from the top of the block."""
        ...

    def take(self, block: Window, pixels: NDArray[Any]) -> None:
        """Take the pixels of a block: (bands, rows, columns)."""
        ...

    def touching(self, damaged: Mapping[int, CorruptFile]) -> Mapping[int, CorruptFile]:
        """Return the areas that lack pixels because of damaged blocks, by index, and the fault of a block."""
        ...


class Histograms:
    """Counts classes inside many areas: a `Target`.

    Args:
        places: places of the areas.
        bins: number of bins of each histogram; the last bin also counts all higher values.
    """

    def __init__(self, places: Places, bins: int) -> None:
        self._places = places
        self._sweep = Sweep(places.plan, places.indices)
        self._lock = threading.Lock()
        self.counts = np.zeros((len(places.indices), bins), np.int64)
        """(n, bins) number of pixels of each area, by value."""

    def rows_under(self) -> Mapping[int, int]:
        """Return, by block, the number of rows from its top down to the lowest pixel inside any of the areas."""
        return self._places.rows_under()

    def take(self, block: Window, pixels: NDArray[Any]) -> None:
        """Count the pixels of a block: (1, rows, columns) of an unsigned type."""
        with self._lock:
            self._sweep.count(pixels[0], block, self.counts)

    def touching(self, damaged: Mapping[int, CorruptFile]) -> dict[int, CorruptFile]:
        """Return the areas whose windows touch damaged blocks, by index, and why they cannot be counted."""
        return {
            index: error
            for block, error in damaged.items()
            for index in self._sweep.touching(tiles.window_of(self._places.layout, block)).tolist()
        }


class Gathered:
    """Gathers the pixels of many areas, repeating each pixel if the plan is finer than the file: a `Target`.

    Args:
        places: places of the areas.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._gather = Gather(places.plan, places.indices, places.layout.dtype, factor=places.factor)

    @property
    def values(self) -> NDArray[Any]:
        """(pixels,) pixels of all areas, one after another, in the plan's order; 0 if no block contained them."""
        return self._gather.values

    @property
    def starts(self) -> NDArray[np.int64]:
        """(n + 1,) index at which the pixels of each area begin."""
        return self._gather.starts

    def rows_under(self) -> Mapping[int, int]:
        """Return, by block, the number of rows from its top down to the lowest pixel inside any of the areas."""
        return self._places.rows_under()

    def take(self, block: Window, pixels: NDArray[Any]) -> None:
        """Take the pixels of a block: (1, rows, columns)."""
        self._gather.take(block, pixels[0])

    def touching(self, damaged: Mapping[int, CorruptFile]) -> dict[int, CorruptFile]:
        """Return the areas whose windows touch damaged blocks, by index, and why their pixels are missing."""
        return {
            index: error
            for block, error in damaged.items()
            for index in self._gather.touching(tiles.window_of(self._places.layout, block)).tolist()
        }
