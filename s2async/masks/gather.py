"""Gathers the pixels of many areas in flat arrays, block by block. Pure.

The plan may be finer than the file; the pixels of the file are then repeated. In this way, bands of 20 m and 60 m
are counted on the grid of 10 m.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from s2async.cog.grid import Window
from s2async.cog.tiff import Layout
from s2async.masks.plan import GridPlan
from s2async.masks.scanline import groups
from s2async.masks.sweep import PIXELS, Sweep, ranges


class Gather:
    """Collects the pixels of the given areas of a plan in one flat array.

    The pixels are in the order of the areas, and in each area in the order of rows and columns, as in
    ``raster[mask]``. Pixels of blocks that have not been taken yet are 0. An area that the plan skipped, or that
    the raster does not touch, has no pixels. Several threads may pass different blocks at once.

    Args:
        plan: plan of the grid on which pixels are counted.
        indices: (n,) indices of areas in the plan, which may repeat.
        dtype: type of the pixels.
        factor: number of the plan's pixels along each side of a file pixel. Both grids have the same corner.
    """

    def __init__(self, plan: GridPlan, indices: ArrayLike, dtype: DTypeLike, *, factor: int = 1) -> None:
        taken = plan.take(indices)
        self._sweep = Sweep(taken, np.arange(len(taken)))
        self._factor = factor
        ends = np.concatenate([[0], np.cumsum(taken.lengths, dtype=np.int64)])
        self._first = ends[:-1]
        """(runs,): position of each run's first pixel."""
        self.starts: NDArray[np.int64] = ends[taken.starts]
        """(n + 1,): the pixels of area i are `starts[i]` up to, but not including, `starts[i + 1]`."""
        self.values: NDArray[Any] = np.zeros(int(ends[-1]), dtype)
        """(pixels,): the pixels of all areas."""

    def take(self, block: Window, pixels: NDArray[Any]) -> None:
        """Take the pixels of the areas from a block.

        Args:
            block: window of the block on the file's own grid.
            pixels: (rows, columns) pixels of the block.
        """
        factor, flat = self._factor, pixels.ravel()
        for parts in self._sweep.parts(_finer(block, factor)):
            first = self._first[parts.run] + parts.passed
            row = parts.row // factor * block.width
            for start, stop in groups(parts.length, PIXELS):
                length = parts.length[start:stop]
                if factor == 1:
                    source = ranges(row[start:stop] + parts.column[start:stop], length)
                else:
                    source = ranges(parts.column[start:stop], length)
                    source //= factor
                    source += np.repeat(row[start:stop], length)
                self._put(first[start:stop], length, flat[source])

    def _put(self, first: NDArray[np.int64], length: NDArray[np.int64], pixels: NDArray[Any]) -> None:
        """Put the pixels of runs into `values`; runs that continue the previous run are copied together with it.

        Args:
            first: (runs,) position of the first pixel of each run.
            length: (runs,) number of pixels of each run.
            pixels: (pixels,) pixels of all runs.
        """
        ends = np.cumsum(length)
        cuts = np.flatnonzero(first[1:] != first[:-1] + length[:-1])
        begins = np.concatenate([[0], cuts + 1])[: len(first)]
        starts = (ends - length)[begins].tolist()
        for place, start, stop in zip(first[begins].tolist(), starts, [*starts[1:], len(pixels)], strict=True):
            self.values[place : place + stop - start] = pixels[start:stop]

    def touching(self, block: Window) -> NDArray[np.int64]:
        """Return (m,): positions, among the given indices, of the areas whose windows share pixels with a block.

        Args:
            block: window of the block on the file's own grid.
        """
        return self._sweep.touching(_finer(block, self._factor))


def rows_under(plan: GridPlan, indices: ArrayLike, layout: Layout, *, factor: int = 1) -> dict[int, int]:
    """Return which blocks of a file contain pixels of areas, and how many rows of each block are needed.

    Args:
        plan: plan of a grid with the same corner as the file's grid.
        indices: (n,) indices of areas in the plan.
        layout: layout of the file, with interleaved bands.
        factor: number of the plan's pixels along each side of a pixel of the file.

    Returns:
        By index of the block, the number of rows from its top down to the lowest row that any area needs.
    """
    wanted = np.asarray(indices, np.int64)
    runs, starts = plan.runs_of(wanted)
    windows = np.repeat(plan.windows[wanted].astype(np.int64), np.diff(starts), axis=0)
    row = (windows[:, 0] + plan.rows[runs]) // factor
    left = windows[:, 1] + plan.columns[runs]
    right = (left + plan.lengths[runs] - 1) // factor
    first, last = left // factor // layout.block_width, right // layout.block_width
    rows = np.zeros(layout.across * layout.down, np.int64)
    for step in range(int((last - first).max(initial=0)) + 1):
        here = first + step <= last
        block = row[here] // layout.block_height * layout.across + first[here] + step
        np.maximum.at(rows, block, row[here] % layout.block_height + 1)
    found: NDArray[np.intp] = np.flatnonzero(rows)
    return dict(zip(found.tolist(), rows[found].tolist(), strict=True))


def _finer(block: Window, factor: int) -> Window:
    """Return the window of a block on the grid of the plan."""
    return Window(
        row=block.row * factor,
        col=block.col * factor,
        height=block.height * factor,
        width=block.width * factor,
    )
