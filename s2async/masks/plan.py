"""The plan of a grid: the positions of many areas on one raster, as windows and runs of pixels. Values only.

A run is a part of a row: adjacent pixels whose centres lie inside the polygon. Runs take less memory than masks
with one bit for each pixel, and are all that is needed to count pixels.

The arrays have the smallest integer types that hold their values, because the plans of 100,000 areas stay in
memory during a run. Arithmetic in these types can overflow: combine the arrays with int64 arrays only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from s2async.cog.grid import Cutout, Grid, Window

LARGEST_SIDE: Final = (1 << 16) - 1
"""Maximum number of rows and columns of a window that runs of 16 bits can describe."""

Unsigned = NDArray[np.uint8] | NDArray[np.uint16]
Signed = NDArray[np.int32] | NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GridPlan:
    """Windows and masks of n areas on one raster's grid. Runs are in the order of areas, rows and columns."""

    grid: Grid
    windows: NDArray[np.uint16] | Signed
    """(n, 4): first row, first column, rows and columns of each window, inside the raster. All are 0 if the raster
    does not touch the area. uint16 if that holds the size of the raster."""
    starts: Signed
    """(n + 1,): the runs of area i are `starts[i]` up to, but not including, `starts[i + 1]`."""
    rows: Unsigned
    """(runs,): row of each run, counted from the first row of the area's window. uint8 if no window has more than
    255 rows or columns, as for the following arrays."""
    columns: Unsigned
    """(runs,): first column of each run, counted from the first column of the area's window."""
    lengths: Unsigned
    """(runs,): number of pixels of each run. Between two runs of a row there is at least one pixel."""
    totals: Signed
    """(n,): number of pixel centres inside each polygon, including those beyond the raster's edge."""
    skipped: NDArray[np.bool_]
    """(n,): whether an area is too large for a plan. Such areas have neither window nor runs; `cog.polygon_mask`
    draws them."""

    def __post_init__(self) -> None:
        """Convert the arrays to the smallest types that hold their values, whatever the types of those given."""
        raster = max(self.grid.height, self.grid.width)
        runs = type_of_runs(self.windows)
        kinds: dict[str, DTypeLike] = {
            "windows": np.uint16 if raster <= np.iinfo(np.uint16).max else _signed(raster),
            "starts": _signed(int(self.starts[-1])),
            "rows": runs,
            "columns": runs,
            "lengths": runs,
            "totals": _signed(int(self.totals.max(initial=0))),
        }
        for name, kind in kinds.items():
            array: NDArray[Any] = getattr(self, name)
            object.__setattr__(self, name, array.astype(kind, copy=False))

    @classmethod
    def empty(cls, grid: Grid) -> Self:
        """Return a plan without areas."""
        none = np.zeros(0, np.uint8)
        return cls(
            grid=grid,
            windows=np.zeros((0, 4), np.uint16),
            starts=np.zeros(1, np.int32),
            rows=none,
            columns=none,
            lengths=none,
            totals=np.zeros(0, np.int32),
            skipped=np.zeros(0, np.bool_),
        )

    @classmethod
    def joined(cls, plans: Sequence[GridPlan]) -> Self:
        """Join plans into one plan of all their areas, in the given order.

        Args:
            plans: at least one plan; all plans are of the same grid.
        """
        numbers = np.concatenate([np.diff(plan.starts) for plan in plans])
        return cls(
            grid=plans[0].grid,
            windows=np.concatenate([plan.windows for plan in plans]),
            starts=np.concatenate([[0], np.cumsum(numbers, dtype=np.int64)]),
            rows=np.concatenate([plan.rows for plan in plans]),
            columns=np.concatenate([plan.columns for plan in plans]),
            lengths=np.concatenate([plan.lengths for plan in plans]),
            totals=np.concatenate([plan.totals for plan in plans]),
            skipped=np.concatenate([plan.skipped for plan in plans]),
        )

    def __len__(self) -> int:
        """Return the number of areas."""
        return len(self.totals)

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        arrays = (self.windows, self.starts, self.rows, self.columns, self.lengths, self.totals, self.skipped)
        return sum(array.nbytes for array in arrays)

    @property
    def touched(self) -> NDArray[np.bool_]:
        """(n,): whether an area has a window; its mask may still be empty."""
        touched: NDArray[np.bool_] = self.windows[:, 2] > 0
        return touched

    def take(self, indices: ArrayLike) -> GridPlan:
        """Return the plan of the given areas, in the given order.

        Args:
            indices: (m,) indices of areas, which may repeat.
        """
        wanted = np.asarray(indices, np.int64)
        runs, starts = self.runs_of(wanted)
        return GridPlan(
            grid=self.grid,
            windows=self.windows[wanted],
            starts=starts,
            rows=self.rows[runs],
            columns=self.columns[runs],
            lengths=self.lengths[runs],
            totals=self.totals[wanted],
            skipped=self.skipped[wanted],
        )

    def runs_of(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the positions of the runs of the given areas.

        Args:
            indices: (m,) indices of areas.

        Returns:
            The indices of all runs, area by area; and (m + 1,) where the runs of each area begin among them.
        """
        first = self.starts[indices].astype(np.int64)
        numbers = self.starts[indices + 1] - first
        starts = np.concatenate([[0], np.cumsum(numbers)])
        return np.repeat(first - starts[:-1], numbers) + np.arange(starts[-1]), starts

    def window(self, index: int) -> Window | None:
        """Return the window of an area; None if the raster does not touch the area."""
        row, col, height, width = self.windows[index].tolist()
        return Window(row=row, col=col, height=height, width=width) if height else None

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return (rows, columns) of an area's window: True if the centre of the pixel is inside the polygon."""
        return self.masks([index])[0]

    def masks(self, indices: ArrayLike) -> list[NDArray[np.bool_]]:
        """Return the masks of several areas, which are views of one array; see `mask`."""
        wanted = np.asarray(indices, np.int64)
        runs, starts = self.runs_of(wanted)
        heights, widths = self.windows[wanted, 2].astype(np.int64), self.windows[wanted, 3].astype(np.int64)
        ends = np.cumsum(heights * widths)
        numbers = np.diff(starts)
        first = np.repeat(ends - heights * widths, numbers)
        first += self.rows[runs] * np.repeat(widths, numbers) + self.columns[runs]
        # Each run switches the pixels on at its start and off after its end. If a run ends at the end of a row and
        # the next one begins at the start of the next row, exclusive or cancels both switches.
        turns = np.zeros((int(ends[-1]) if len(ends) else 0) + 1, np.bool_)
        turns[first] = True
        turns[first + self.lengths[runs]] ^= True
        inside = np.logical_xor.accumulate(turns[:-1])
        return [
            inside[end - height * width : end].reshape(height, width)
            for end, height, width in zip(ends.tolist(), heights.tolist(), widths.tolist(), strict=True)
        ]

    def cutout(self, index: int) -> Cutout | None:
        """Return the same value as `cog.polygon_mask.cutout` for an area.

        Raises:
            ValueError: the area was skipped.
        """
        if self.skipped[index]:
            raise ValueError(f"area {index} is too large for a plan: cog.polygon_mask draws it")
        window = self.window(index)
        if window is None:
            return None
        inside = self.mask(index)
        inside.flags.writeable = False
        return Cutout(window=window, inside=inside, total=int(self.totals[index]))


def type_of_runs(windows: NDArray[Any]) -> DTypeLike:
    """Return the smallest type that holds rows, columns and lengths of runs in windows, (n, 4) as in a plan."""
    return np.uint8 if windows[:, 2:].max(initial=0) <= np.iinfo(np.uint8).max else np.uint16


def _signed(largest: int) -> DTypeLike:
    """Return the smaller of int32 and int64 that holds a value."""
    return np.int32 if largest <= np.iinfo(np.int32).max else np.int64
