"""Plans with weights: all pixels that areas touch, with the fraction of each pixel that the area covers.

The fractions come from exactextract; this is the only module that needs it (extra ``coverage``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from numpy.typing import ArrayLike, NDArray

from s2async import geo
from s2async.cog.grid import Grid
from s2async.masks.drawing import LARGEST_PIXELS, VERTICES
from s2async.masks.plan import LARGEST_SIDE, GridPlan
from s2async.masks.scanline import groups
from s2async.masks.sweep import ranges
from s2async.models import Area

PIXELS: Final = 1 << 22
"""Maximum number of pixels of windows that are processed together, unless one area has more: about 50 MB."""
_FAR: Final = 1 << 40
"""Largest column or row; values further away are clipped to it."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoveragePlan:
    """The pixels that n areas touch, and how much of each pixel they cover."""

    plan: GridPlan
    """A plan whose runs are the touched pixels, and whose totals are the numbers of touched pixels on the raster.
    Areas that are too large are skipped; no other module draws them."""
    starts: Integers
    """(n + 1,): the pixels that area i covers partly are entries `starts[i]` up to, but not including,
    `starts[i + 1]`."""
    places: NDArray[np.uint32]
    """(partly covered pixels,): position of each pixel among the pixels of its area, ascending."""
    shares: NDArray[np.float32]
    """(partly covered pixels,): covered fraction of each, above 0 and below 1; for all other pixels it is 1."""

    @classmethod
    def empty(cls, grid: Grid) -> CoveragePlan:
        """Return a plan without areas."""
        return cls(
            plan=GridPlan.empty(grid),
            starts=np.zeros(1, np.int64),
            places=np.zeros(0, np.uint32),
            shares=np.zeros(0, np.float32),
        )

    @classmethod
    def joined(cls, plans: Sequence[CoveragePlan]) -> CoveragePlan:
        """Join plans, at least one, of the same grid into one plan of all their areas."""
        numbers = np.concatenate([np.diff(plan.starts) for plan in plans])
        return cls(
            plan=GridPlan.joined([plan.plan for plan in plans]),
            starts=np.concatenate([[0], np.cumsum(numbers)]),
            places=np.concatenate([plan.places for plan in plans]),
            shares=np.concatenate([plan.shares for plan in plans]),
        )

    def __len__(self) -> int:
        """Return the number of areas."""
        return len(self.plan)

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return self.plan.nbytes + self.starts.nbytes + self.places.nbytes + self.shares.nbytes

    @property
    def weights(self) -> Floats:
        """(pixels,): the covered fractions of the pixels of all areas; see `weights_of`."""
        return self.weights_of(np.arange(len(self.plan)))

    def take(self, indices: ArrayLike) -> CoveragePlan:
        """Return the plan of the given areas, in the given order.

        Args:
            indices: (m,) indices of areas, which may repeat.
        """
        wanted = np.asarray(indices, np.int64)
        first, numbers = self.starts[wanted], self.starts[wanted + 1] - self.starts[wanted]
        chosen = ranges(first, numbers)
        return CoveragePlan(
            plan=self.plan.take(wanted),
            starts=np.concatenate([[0], np.cumsum(numbers)]),
            places=self.places[chosen],
            shares=self.shares[chosen],
        )

    def weights_of(self, indices: ArrayLike) -> Floats:
        """Return the covered fraction of each pixel of the given areas, in the order of pixels in `gather.Gather`.

        Args:
            indices: (m,) indices of areas, which may repeat.
        """
        wanted = np.asarray(indices, np.int64)
        ends = np.cumsum(self.plan.totals[wanted], dtype=np.int64)
        first, numbers = self.starts[wanted], self.starts[wanted + 1] - self.starts[wanted]
        weights = np.ones(int(ends[-1]) if len(ends) else 0)
        chosen = ranges(first, numbers)
        weights[self.places[chosen] + np.repeat(ends - self.plan.totals[wanted], numbers)] = self.shares[chosen]
        return weights


def draw(areas: Sequence[Area], grid: Grid) -> CoveragePlan:
    """Find the pixels that areas touch, and how much of each pixel they cover, in slices of bounded memory.

    Args:
        areas: areas whose polygons are in lon/lat.
        grid: grid of the raster, whose rows run to the east and whose columns run to the south.

    Raises:
        ValueError: the grid is rotated, or its CRS is unknown.
        LocalError: PROJ cannot read its database.
    """
    a, b, _, d, e, _ = grid.transform[:6]
    if b or d or a <= 0 or e >= 0:
        raise ValueError("weights by coverage need a raster whose first row is the northernmost, not turned")
    polygons = geo.polygons(areas)
    vertices = shapely.get_num_coordinates(polygons).astype(np.int64)
    plans = [CoveragePlan.empty(grid)]
    for start, stop in groups(vertices, VERTICES):
        placed = shapely.transform(polygons[start:stop], lambda lonlat: geo.projected(lonlat, grid.epsg))
        plans.append(plan_of(placed, grid))
    return CoveragePlan.joined(plans)


def plan_of(polygons: NDArray[np.object_], grid: Grid) -> CoveragePlan:
    """Draw areas whose coordinates are in the CRS of the raster.

    Args:
        polygons: polygons of the areas; a polygon with a vertex that is not finite counts as outside the raster.
        grid: grid of the raster, as in `draw`.
    """
    windows = _windows(polygons, grid)
    pixels = windows[:, 2] * windows[:, 3]
    skipped = (pixels > LARGEST_PIXELS) | (windows[:, 2:] > LARGEST_SIDE).any(axis=1)
    pixels[skipped] = 0
    plans = [CoveragePlan.empty(grid)]
    for start, stop in groups(pixels, PIXELS):
        drawn = np.flatnonzero(pixels[start:stop])
        totals = np.zeros(stop - start, np.int64)
        found = _covered(polygons[start:stop][drawn], grid)
        totals[drawn] = [len(cells) for cells, _ in found]
        cells = np.concatenate([np.zeros(0, np.int64), *(cells for cells, _ in found)])
        shares = np.concatenate([np.zeros(0, np.float32), *(shares for _, shares in found)])
        plans.append(_plan(cells, shares, totals, grid, skipped[start:stop]))
    return CoveragePlan.joined(plans)


def _windows(polygons: NDArray[np.object_], grid: Grid) -> Integers:
    """Return (areas, 4): first row, first column, rows and columns of each area on the raster; 0 if outside."""
    a, _, c, _, e, f = grid.transform[:6]
    with np.errstate(invalid="ignore"):  # a vertex outside the domain of the CRS is infinite
        left, bottom, right, top = shapely.bounds(polygons).T
        low = np.column_stack([np.floor((top - f) / e), np.floor((left - c) / a)])
        high = np.column_stack([np.ceil((bottom - f) / e), np.ceil((right - c) / a)])
    sound = np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1)
    low, high = (np.where(sound[:, None], side, 0.0) for side in (low, high))
    first = np.maximum(np.clip(low, -_FAR, _FAR).astype(np.int64), 0)
    last = np.minimum(np.clip(high, -_FAR, _FAR).astype(np.int64), (grid.height, grid.width))
    windows = np.hstack([first, last - first])
    windows[(windows[:, 2:] <= 0).any(axis=1)] = 0
    return windows


def _covered(polygons: NDArray[np.object_], grid: Grid) -> list[tuple[Integers, NDArray[np.float32]]]:
    """Return for each polygon the touched cells, numbered row by row over the raster, and their fractions."""
    if not len(polygons):  # exactextract refuses an empty list
        return []
    west, north, east, south = grid.bounds
    # exactextract requires values to summarise; these are arbitrary, and the whole array takes one byte.
    values = np.broadcast_to(np.uint8(1), (grid.height, grid.width))
    raster = NumPyRasterSource(values, xmin=west, ymin=south, xmax=east, ymax=north)
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in polygons
    ]
    found = [feature["properties"] for feature in exact_extract(raster, features, ["cell_id", "coverage"])]
    return [(one["cell_id"].astype(np.int64), one["coverage"].astype(np.float32)) for one in found]


def _plan(
    cells: Integers, shares: NDArray[np.float32], totals: Integers, grid: Grid, skipped: NDArray[np.bool_]
) -> CoveragePlan:
    """Return the plan of pixels, which must be in the order of areas, rows and columns.

    Args:
        cells: (pixels,) numbers of the pixels, row by row over the raster.
        shares: (pixels,) covered fraction of each pixel.
        totals: (areas,) number of pixels of each area.
        grid: grid of the raster.
        skipped: (areas,) whether an area was not drawn.
    """
    area = np.repeat(np.arange(len(totals)), totals)
    row, column = np.divmod(cells, grid.width)
    some, begin = np.flatnonzero(totals), np.cumsum(totals) - totals
    windows = np.zeros((len(totals), 4), np.int32)
    for side, place in enumerate((row, column)):
        windows[some, side] = np.minimum.reduceat(place, begin[some])
        windows[some, side + 2] = np.maximum.reduceat(place, begin[some]) + 1 - windows[some, side]
    first = np.ones(len(cells), np.bool_)
    first[1:] = (cells[1:] != cells[:-1] + 1) | (row[1:] != row[:-1]) | (area[1:] != area[:-1])
    runs, partial = np.flatnonzero(first), np.flatnonzero(shares < 1)
    of_run = area[runs]
    return CoveragePlan(
        plan=GridPlan(
            grid=grid,
            windows=windows,
            starts=_starts(of_run, len(totals)),
            rows=(row[runs] - windows[of_run, 0]).astype(np.uint16),
            columns=(column[runs] - windows[of_run, 1]).astype(np.uint16),
            lengths=np.diff(runs, append=len(cells)).astype(np.uint16),
            totals=totals,
            skipped=skipped,
        ),
        starts=_starts(area[partial], len(totals)),
        places=(partial - begin[area[partial]]).astype(np.uint32),
        shares=shares[partial],
    )


def _starts(area: Integers, number: int) -> Integers:
    """Return (number + 1,): where the entries of each area begin; ``area`` must be in ascending order."""
    return np.searchsorted(area, np.arange(number + 1))
