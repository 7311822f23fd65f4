"""Where the areas of jobs lie on the grid that values are computed on: pixels of 10 m. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2async.cog.grid import Cutout, Grid
from s2async.cog.polygon_mask import cutout, outline
from s2async.cog.tiff import Layout
from s2async.engine.many import Places
from s2async.masks.coverage_plans import CoveragePlans
from s2async.masks.fine_grid import fine_grid
from s2async.masks.plan import GridPlan
from s2async.masks.store import Plans
from s2async.masks.sweep import ranges
from s2async.models import Area, Job

LARGEST: Final = 1 << 25
"""Maximum number of pixels of the rectangle around an area, within the raster, for which values are computed: a
quarter of a scene. Each pixel inside temporarily takes about 50 bytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FinePlaces:
    """Where the areas of n jobs lie on the grid that values are computed on."""

    grid: Grid
    at: Mapping[int, int]
    """Positions of the jobs, by job id."""
    sizes: NDArray[np.int64]
    """(n,) number of pixels of each area inside the raster."""
    cutouts: Mapping[int, Cutout | None]
    """By position, areas that are located individually; None for an area that the raster does not touch."""
    large: frozenset[int] = frozenset()
    """Positions of areas that are too large; these have no pixels here."""
    plan: GridPlan | None = None
    """The plan of the other areas; None if there are no others."""
    indices: NDArray[np.int64]
    """(n,) indices of the areas in the plan, if there is a plan."""
    weights: NDArray[np.float64] | None = None
    """(pixels,) fraction of each pixel that its area covers, area by area; None to weight all pixels equally."""

    @classmethod
    def planned(cls, plans: Plans, jobs: Sequence[Job], grid: Grid) -> FinePlaces:
        """Locate many areas. Call it in a thread, because areas that are not in the plan yet are rasterized.

        Raises:
            ValueError: the CRS of the grid is unknown.
            LocalError: PROJ cannot read its database.
        """
        plan, indices = plans.of([job.area for job in jobs], grid)
        skipped = np.flatnonzero(plan.skipped[indices]).tolist()
        large = frozenset(index for index in skipped if is_large(jobs[index].area, grid))
        cutouts = {index: cutout(jobs[index].area, grid) for index in skipped if index not in large}
        sizes = _sizes(plan, indices)
        for index, one in cutouts.items():
            sizes[index] = _size(one)
        at = {job.id: position for position, job in enumerate(jobs)}
        return cls(grid=grid, at=at, sizes=sizes, cutouts=cutouts, large=large, plan=plan, indices=indices)

    @classmethod
    def covered(cls, plans: CoveragePlans, jobs: Sequence[Job], grid: Grid) -> FinePlaces:
        """Locate areas with the fraction that they cover of each pixel that they touch. Call it in a thread.

        Raises:
            ValueError: the grid is rotated, or its CRS is unknown.
            LocalError: PROJ cannot read its database.
        """
        coverage, indices = plans.of([job.area for job in jobs], grid)
        return cls(
            grid=grid,
            at={job.id: position for position, job in enumerate(jobs)},
            sizes=_sizes(coverage.plan, indices),
            cutouts={},
            large=frozenset(np.flatnonzero(coverage.plan.skipped[indices]).tolist()),
            plan=coverage.plan,
            indices=indices,
            weights=coverage.weights_of(indices),
        )

    @classmethod
    def drawn(cls, jobs: Sequence[Job], grid: Grid, found: Mapping[int, Cutout | None]) -> FinePlaces:
        """Return the places of a few areas that were rasterized individually.

        Args:
            jobs: jobs of the areas.
            grid: the grid on which they were rasterized.
            found: the cutouts by job id; areas that are too large have none.
        """
        return cls(
            grid=grid,
            at={job.id: position for position, job in enumerate(jobs)},
            sizes=np.array([_size(found.get(job.id)) for job in jobs], np.int64),
            cutouts={position: found[job.id] for position, job in enumerate(jobs) if job.id in found},
            large=frozenset(position for position, job in enumerate(jobs) if job.id not in found),
            indices=np.zeros(len(jobs), np.int64),
        )

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(n + 1,) index at which the pixels of each area begin in a flat array of all areas."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def factor(self, layout: Layout) -> int | None:
        """Return how many grid pixels a file's pixel spans per side; None if the file does not fit the grid."""
        grid, factor = fine_grid(layout.grid)
        return factor if grid == self.grid else None

    @property
    def are_planned(self) -> bool:
        """Whether all areas are in the plan."""
        return self.plan is not None and not (self.cutouts or self.large)

    def is_planned(self, position: int) -> bool:
        """Return whether an area is in the plan."""
        return self.plan is not None and position not in self.cutouts and position not in self.large

    def places(self, positions: Sequence[int], layout: Layout) -> Places:
        """Return where areas of the plan lie in a file that fits the grid; other areas have no pixels there."""
        if self.plan is None:
            raise ValueError("these areas are located one by one")
        factor = self.factor(layout) or 1
        return Places(layout=layout, plan=self.plan, indices=self.indices[[*positions]], factor=factor)

    def windows(self, positions: Sequence[int]) -> Iterator[tuple[int, Cutout]]:
        """Yield the positions and pixels of those of the areas that the raster touches."""
        planned = [position for position in positions if self.is_planned(position)]
        masks = dict(zip(planned, self.plan.masks(self.indices[planned]), strict=True)) if self.plan else {}
        for position in positions:
            one = self.cutouts.get(position)
            window = self.plan.window(int(self.indices[position])) if position in masks and self.plan else None
            if window:
                one = Cutout(window=window, inside=masks[position], total=int(self.sizes[position]))
            if one is not None:
                yield position, one

    def spread(self, values: NDArray[Any], positions: Sequence[int]) -> NDArray[Any]:
        """Put the pixels of some areas into place in a flat array of all areas; all other pixels are 0.

        Args:
            values: (pixels,) pixels of these areas, one after another.
            positions: positions of the areas, ascending.
        """
        if len(values) == self.starts[-1]:
            return values
        whole = np.zeros(int(self.starts[-1]), values.dtype)
        chosen = np.array(positions, np.int64)
        whole[ranges(self.starts[chosen], self.sizes[chosen])] = values
        return whole


def is_large(area: Area, grid: Grid) -> bool:
    """Return whether the rectangle around an area, within the grid, has too many pixels.

    Raises:
        ValueError: the CRS of the grid is unknown.
        LocalError: PROJ cannot read its database.
    """
    shape = outline(area, grid)
    if shape is None:
        return False
    left, top, right, bottom = shape.bounds
    across, down = min(right, grid.width) - max(left, 0), min(bottom, grid.height) - max(top, 0)
    return across > 0 and down > 0 and across * down > LARGEST


def _size(place: Cutout | None) -> int:
    return 0 if place is None else int(np.count_nonzero(place.inside))


def _sizes(plan: GridPlan, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each area, the number of pixels inside the raster, (n,)."""
    runs, starts = plan.runs_of(indices)
    return np.diff(np.concatenate([[0], np.cumsum(plan.lengths[runs], dtype=np.int64)])[starts])
