"""Processes a raster block by block for many areas at once: counts classes, and cuts out windows. Pure.

Areas are sorted by the first row of their windows, so that the areas under a row of blocks are found without
examining all areas. Only one block is in memory, and the windows that the caller keeps open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2async.cog.grid import Window
from s2async.masks.plan import GridPlan
from s2async.masks.scanline import groups

_Integers = NDArray[np.int64]

RUNS: Final = 1 << 16
"""Maximum number of runs that are examined together, unless one area has more: arrays of half a megabyte."""
PIXELS: Final = 1 << 18
"""Maximum number of pixels that are gathered together: arrays of 2 MB."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """The parts of runs that lie in a block."""

    areas: _Integers
    """(n,): positions of areas in the indices of the sweep."""
    place: _Integers
    """(parts,): index into ``areas``, for each part; the following arrays have the same shape."""
    run: _Integers
    """Index of the run in the plan."""
    row: _Integers
    """Row in the block."""
    column: _Integers
    """Column of the first pixel in the block."""
    passed: _Integers
    """Number of pixels of the run that lie before the block."""
    length: _Integers
    """Number of pixels in the block."""


class Sweep:
    """The given areas of a plan, in the order in which rows of blocks reach them.

    An area is identified by its position in the given indices. No block touches an area without a window or an
    area that the plan skipped.

    Args:
        plan: plan of the raster's grid.
        indices: (n,) indices of areas in the plan.
    """

    def __init__(self, plan: GridPlan, indices: ArrayLike) -> None:
        self.plan = plan
        self.indices = np.asarray(indices, np.int64)
        """(n,): indices of areas in the plan."""
        windows = plan.windows[self.indices].astype(np.int64)
        touched = np.flatnonzero(windows[:, 2])
        self._order = touched[np.argsort(windows[touched, 0], kind="stable")]
        sorted_windows = windows[self._order]
        self._top, self._left = sorted_windows[:, 0], sorted_windows[:, 1]
        self._bottom, self._right = self._top + sorted_windows[:, 2], self._left + sorted_windows[:, 3]
        self._reached = np.maximum.accumulate(self._bottom)
        """One past the last row of all windows up to each window; this array is also sorted."""

    def touching(self, block: Window) -> NDArray[np.int64]:
        """Return the positions of the areas whose windows share pixels with a block, ordered by first row."""
        return self._order[self._under(block)]

    def ending(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the positions of the areas whose windows end in rows `start` up to, but not including, `stop`.

        These areas are complete when all rows before `stop` have been processed.
        """
        near = self._near(start, stop)
        last = self._bottom[near] - 1
        return self._order[near][(start <= last) & (last < stop)]

    def count(self, pixels: NDArray[np.unsignedinteger], block: Window, counts: NDArray[np.integer]) -> None:
        """Add the pixels of a block to the histograms of the areas.

        Args:
            pixels: (rows, columns) pixels of the block, of an unsigned integer type.
            block: window of the block on the raster.
            counts: (n, bins), changed in place: number of pixels of each area that have each value. The last bin
                also counts all higher values.
        """
        bins = counts.shape[1]
        flat = np.minimum(pixels, bins - 1).astype(np.uint16).ravel()
        for parts in self.parts(block):
            start = parts.row * block.width + parts.column
            for first, last in groups(parts.length, PIXELS):
                numbers = parts.length[first:last]
                keys = np.repeat(parts.place[first:last] * bins, numbers)
                keys += flat[ranges(start[first:last], numbers)]
                counts[parts.areas] += np.bincount(keys, minlength=len(parts.areas) * bins).reshape(-1, bins)

    def parts(self, block: Window) -> Iterator[Parts]:
        """Yield the parts of the areas' runs in a block, a bounded number at a time."""
        plan, under = self.plan, self._under(block)
        areas = self.indices[self._order[under]]
        for first, last in groups(plan.starts[areas + 1] - plan.starts[areas], RUNS):
            places = under[first:last]
            runs, starts = plan.runs_of(areas[first:last])
            numbers = np.diff(starts)
            row = plan.rows[runs].astype(np.int64) + np.repeat(self._top[places] - block.row, numbers)
            left = plan.columns[runs].astype(np.int64) + np.repeat(self._left[places] - block.col, numbers)
            right = np.minimum(left + plan.lengths[runs], block.width).astype(np.int64)
            column = np.maximum(left, 0)
            here = np.flatnonzero((row >= 0) & (row < block.height) & (column < right))
            column = column[here]
            yield Parts(
                areas=self._order[places],
                place=np.repeat(np.arange(len(places)), numbers)[here],
                run=runs[here],
                row=row[here],
                column=column,
                passed=column - left[here],
                length=right[here] - column,
            )

    def scatter(
        self, pixels: NDArray[np.generic], block: Window, windows: Mapping[int, NDArray[np.generic]]
    ) -> None:
        """Copy the pixels of a block into the windows of the areas.

        Args:
            pixels: (..., rows, columns) pixels of the block.
            block: window of the block on the raster.
            windows: (..., rows, columns) pixels of the areas' windows, keyed by the position of the area, changed
                in place. Areas without an entry are ignored.
        """
        under = self._under(block)
        sides = [
            np.stack([np.maximum(low[under], start), np.minimum(high[under], start + size)])
            for low, high, start, size in (
                (self._top, self._bottom, block.row, block.height),
                (self._left, self._right, block.col, block.width),
            )
        ]
        for position, (top, bottom), (left, right), row, col in zip(
            self._order[under].tolist(),
            sides[0].T.tolist(),
            sides[1].T.tolist(),
            self._top[under].tolist(),
            self._left[under].tolist(),
            strict=True,
        ):
            window = windows.get(position)
            if window is not None:
                window[..., top - row : bottom - row, left - col : right - col] = pixels[
                    ..., top - block.row : bottom - block.row, left - block.col : right - block.col
                ]

    def _near(self, start: int, stop: int) -> slice:
        """Return the slice of the order that contains all windows with rows from `start` to before `stop`."""
        first = np.searchsorted(self._reached, start, side="right")
        return slice(int(first), int(np.searchsorted(self._top, stop, side="left")))

    def _under(self, block: Window) -> NDArray[np.int64]:
        """Return the positions, in the order, of the windows that share pixels with a block."""
        near = self._near(block.row, block.row + block.height)
        shares = self._bottom[near] > block.row
        shares &= (self._left[near] < block.col + block.width) & (self._right[near] > block.col)
        places: _Integers = np.flatnonzero(shares) + near.start
        return places


def blank(pixels: NDArray[np.generic], inside: NDArray[np.bool_], nodata: float | None) -> None:
    """Set the pixels of a window outside the polygon to nodata, in place, as `output.crops.cut` does in a copy.

    Args:
        pixels: (..., rows, columns) pixels of the window.
        inside: (rows, columns), True inside the polygon.
        nodata: value for pixels outside; None for 0.
    """
    np.copyto(pixels, np.asarray(nodata or 0).astype(pixels.dtype), where=~inside)


def ranges(start: _Integers, length: _Integers) -> _Integers:
    """Return consecutive numbers from each start, `length` numbers for each, joined in one array."""
    before = np.cumsum(length) - length
    numbers = np.repeat(start - before, length)
    numbers += np.arange(len(numbers))
    return numbers
