"""Gathers the pixels of many areas in flat arrays, block by block. Pure.

The plan may be finer than the file: its pixels are then those of the file, each repeated. So the bands of 20 m and
60 m are counted on the grid of 10 m.
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
    """The pixels of some areas of a plan, in one flat array.

    They are in the order of the areas, and those of an area are in the order of rows and columns: what
    ``raster[mask]`` gives. Pixels that no block has brought are 0. An area that the plan skipped, or that its
    raster does not touch, has none. Several threads may bring different blocks at once.

    Args:
        plan: of the grid on which pixels are counted.
        indices: (n,) of areas in the plan; they may repeat.
        dtype: of the pixels.
        factor: how many pixels of the plan a pixel of the file has on each side. Both grids have the same corner.
    """

    def __init__(self, plan: GridPlan, indices: ArrayLike, dtype: DTypeLike, *, factor: int = 1) -> None:
        taken = plan.take(indices)
        self._sweep = Sweep(taken, np.arange(len(taken)))
        self._factor = factor
        ends = np.concatenate([[0], np.cumsum(taken.lengths, dtype=np.int64)])
        self._first = ends[:-1]
        """(runs,): the place of each run's first pixel."""
        self.starts: NDArray[np.int64] = ends[taken.starts]
        """(n + 1,): the pixels of area i are `starts[i]` up to, and without, `starts[i + 1]`."""
        self.values: NDArray[Any] = np.zeros(int(ends[-1]), dtype)
        """(pixels,) of all areas."""

    def take(self, block: Window, pixels: NDArray[Any]) -> None:
        """Take the pixels of the areas from a block.

        Args:
            block: where the pixels lie on the file's own grid.
            pixels: (rows, columns) of the block.
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
        """Put the pixels of runs where they belong, together where a run continues the one before.

        Args:
            first: (runs,) place of the first pixel of each.
            length: (runs,) pixels.
            pixels: (pixels,) of all runs.
        """
        ends = np.cumsum(length)
        cuts = np.flatnonzero(first[1:] != first[:-1] + length[:-1])
        begins = np.concatenate([[0], cuts + 1])[: len(first)]
        starts = (ends - length)[begins].tolist()
        for place, start, stop in zip(first[begins].tolist(), starts, [*starts[1:], len(pixels)], strict=True):
            self.values[place : place + stop - start] = pixels[start:stop]

    def touching(self, block: Window) -> NDArray[np.int64]:
        """(m,) positions of the areas, among the given indices, whose windows share pixels with a block.

        Args:
            block: on the file's own grid.
        """
        return self._sweep.touching(_finer(block, self._factor))


def rows_under(plan: GridPlan, indices: ArrayLike, layout: Layout, *, factor: int = 1) -> dict[int, int]:
    """Return which blocks of a file hold pixels of areas, and how many rows of each.

    Args:
        plan: of a grid with the same corner as the file's.
        indices: (n,) of areas in the plan.
        layout: of the file; bands interleaved.
        factor: how many pixels of the plan a pixel of the file has on each side.

    Returns:
        By index of the block the rows, from its top, down to the lowest that any area needs.
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
    """A block on the grid of the plan."""
    return Window(
        row=block.row * factor,
        col=block.col * factor,
        height=block.height * factor,
        width=block.width * factor,
    )
