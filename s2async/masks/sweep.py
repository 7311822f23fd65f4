"""Works through a raster by blocks for many areas at once: counts classes, and cuts out windows. Pure.

Areas are sorted by the first row of their windows: those under a row of blocks are found without looking at all.
Memory holds one block, and the windows that the caller keeps open.
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
"""Runs that are looked at at once, unless one area has more: arrays of half a megabyte."""
PIXELS: Final = 1 << 18
"""Pixels that are gathered at once: arrays of 2 MB."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """Parts of runs: those that lie in a block."""

    areas: _Integers
    """(n,) positions of some areas."""
    place: _Integers
    """(parts,) of the area among them; so are the arrays below."""
    run: _Integers
    """Index of the run in the plan."""
    row: _Integers
    """In the block."""
    column: _Integers
    """In the block, of the first pixel."""
    passed: _Integers
    """Pixels of the run that lie before the block."""
    length: _Integers
    """Pixels in the block."""


class Sweep:
    """Some areas of a plan, in the order in which rows of blocks come to them.

    An area is named by its position in the given indices. Areas without a window, and those that the plan skipped,
    are never touched.

    Args:
        plan: of the raster's grid.
        indices: (n,) of areas in the plan.
    """

    def __init__(self, plan: GridPlan, indices: ArrayLike) -> None:
        self.plan = plan
        self.indices = np.asarray(indices, np.int64)
        """(n,) of areas in the plan."""
        windows = plan.windows[self.indices].astype(np.int64)
        touched = np.flatnonzero(windows[:, 2])
        self._order = touched[np.argsort(windows[touched, 0], kind="stable")]
        sorted_windows = windows[self._order]
        self._top, self._left = sorted_windows[:, 0], sorted_windows[:, 1]
        self._bottom, self._right = self._top + sorted_windows[:, 2], self._left + sorted_windows[:, 3]
        self._reached = np.maximum.accumulate(self._bottom)
        """Last row, exclusive, of the windows up to each: this is sorted, too."""

    def touching(self, block: Window) -> NDArray[np.int64]:
        """Positions of the areas whose windows share pixels with a block, in the order of their first rows."""
        return self._order[self._under(block)]

    def ending(self, start: int, stop: int) -> NDArray[np.int64]:
        """Positions of the areas whose windows end in rows `start` up to, and without, `stop`.

        They are complete when all rows before `stop` have been worked through.
        """
        near = self._near(start, stop)
        last = self._bottom[near] - 1
        return self._order[near][(start <= last) & (last < stop)]

    def count(self, pixels: NDArray[np.unsignedinteger], block: Window, counts: NDArray[np.integer]) -> None:
        """Add the pixels of a block to the histograms of the areas.

        Args:
            pixels: (rows, columns) of the block, of an unsigned integer type.
            block: where they lie on the raster.
            counts: (n, bins), changed in place: how many pixels of each area have each value. The last bin also
                counts all higher values.
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
        """The parts of the areas' runs in a block, a bounded number at once."""
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
            pixels: (..., rows, columns) of the block.
            block: where they lie on the raster.
            windows: (..., rows, columns) of areas, by position, changed in place. Areas that are not in it are
                passed over.
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
        """Places in the order outside which no window has a row from `start` up to, and without, `stop`."""
        first = np.searchsorted(self._reached, start, side="right")
        return slice(int(first), int(np.searchsorted(self._top, stop, side="left")))

    def _under(self, block: Window) -> NDArray[np.int64]:
        """Places in the order of the windows that share pixels with a block."""
        near = self._near(block.row, block.row + block.height)
        shares = self._bottom[near] > block.row
        shares &= (self._left[near] < block.col + block.width) & (self._right[near] > block.col)
        places: _Integers = np.flatnonzero(shares) + near.start
        return places


def blank(pixels: NDArray[np.generic], inside: NDArray[np.bool_], nodata: float | None) -> None:
    """Set the pixels of a window outside the polygon to nodata, in place, as `output.crops.cut` does in a copy.

    Args:
        pixels: (..., rows, columns).
        inside: (rows, columns), True inside the polygon.
        nodata: value for pixels outside; None for 0.
    """
    np.copyto(pixels, np.asarray(nodata or 0).astype(pixels.dtype), where=~inside)


def ranges(start: _Integers, length: _Integers) -> _Integers:
    """The numbers from each start on, `length` of each, one after another."""
    before = np.cumsum(length) - length
    numbers = np.repeat(start - before, length)
    numbers += np.arange(len(numbers))
    return numbers
