"""Draws the plan of a grid: projects all areas, and finds their windows, their runs and their totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from s2async import geo
from s2async.cog.grid import Grid, in_pixels, outermost
from s2async.masks import scanline
from s2async.masks.plan import LARGEST_SIDE, GridPlan
from s2async.masks.scanline import Integers, Shapes
from s2async.models import Area

VERTICES: Final = 1 << 17
"""Vertices that are projected at once, unless one area has more: arrays of 1 MB."""
LARGEST_PIXELS: Final = 1 << 24
"""Larger areas are left to `cog.polygon_mask`, which counts them in stripes."""
LARGEST_CROSSINGS: Final = 1 << 22
"""So are areas whose edges cross more rows than that, all together."""
_FAR: Final = 1 << 40
"""Columns and rows further away are taken for this one: such areas are outside, or too large."""


def draw(areas: Sequence[Area], grid: Grid) -> GridPlan:
    """Draw the plan of a grid, in slices of bounded memory.

    Args:
        areas: polygons in lon/lat.
        grid: of the raster.

    Raises:
        ValueError: the CRS of the grid is unknown.
        LocalError: PROJ cannot read its database.
    """
    polygons = geo.polygons(areas)
    vertices = shapely.get_num_coordinates(polygons).astype(np.int64)
    slices = [
        plan_of(_projected(polygons[start:stop], grid.epsg), grid, stop - start)
        for start, stop in scanline.groups(vertices, VERTICES)
    ]
    return GridPlan.joined([GridPlan.empty(grid), *slices])


def plan_of(shapes: Shapes, grid: Grid, areas: int) -> GridPlan:
    """Draw areas that are in the plane of the raster.

    Args:
        shapes: of the areas; areas without any lie outside.
        grid: of the raster.
        areas: how many there are.
    """
    whole, large = _whole(shapes, grid, areas)
    windows = _clipped(whole, grid)
    touched = windows[:, 2] > 0
    skipped = touched & large
    windows[skipped] = 0
    shapes = shapes.of_areas(touched & ~skipped)
    pieces = list(scanline.runs(shapes, grid.transform, windows))
    none = np.zeros(0, np.uint16)
    lengths = np.concatenate([none, *(piece.length for piece in pieces)])
    numbers = sum((piece.numbers(areas) for piece in pieces), start=np.zeros(areas, np.int64))
    starts = np.concatenate([[0], np.cumsum(numbers)])
    counted = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    totals = np.diff(counted[starts])
    # Beyond the raster's edge an area is counted in its whole window. That is at least what its own window has:
    # drawing from another origin may round a centre on an edge differently.
    cut = (whole != windows).any(axis=1)
    for piece in scanline.runs(shapes.of_areas(cut), grid.transform, whole):
        np.maximum(totals, piece.pixels(areas), out=totals)
    return GridPlan(
        grid=grid,
        windows=windows.astype(np.int32),
        starts=starts,
        rows=np.concatenate([none, *(piece.row for piece in pieces)]),
        columns=np.concatenate([none, *(piece.column for piece in pieces)]),
        lengths=lengths,
        totals=totals,
        skipped=skipped,
    )


def _projected(polygons: NDArray[np.object_], epsg: int) -> Shapes:
    """Polygons in the plane of a CRS, without those that have a vertex outside its domain."""
    lonlat = Shapes.of(polygons)
    xy = geo.projected(np.column_stack([lonlat.x, lonlat.y]), epsg)
    lost = lonlat.area[~np.isfinite(xy).all(axis=1)]
    shapes = replace(lonlat, x=xy[:, 0], y=xy[:, 1])
    if not len(lost):
        return shapes
    sound = np.ones(len(polygons), np.bool_)
    sound[lost] = False
    return shapes.of_areas(sound)


def _whole(shapes: Shapes, grid: Grid, number: int) -> tuple[Integers, NDArray[np.bool_]]:
    """Return the windows of whole pixels around areas, on a grid without edges; see `cog.grid.outermost`.

    Args:
        shapes: in the plane of the raster.
        grid: of the raster.
        number: of areas.

    Returns:
        (areas, 4) first row, first column, rows and columns, and (areas,) which areas are too large for a plan.
        All are 0 for areas without vertices.
    """
    windows, large = np.zeros((number, 4), np.int64), np.zeros(number, np.bool_)
    if not len(shapes.area):
        return windows, large
    column, row = in_pixels(grid.transform, shapes.x, shapes.y)
    first = np.flatnonzero(np.diff(shapes.area, prepend=-1))
    areas = shapes.area[first]
    bounds = np.clip(outermost(column, row, first), -_FAR, _FAR)
    windows[areas] = np.hstack([bounds[:, :2], bounds[:, 2:] - bounds[:, :2]])
    height, width = windows[areas, 2], windows[areas, 3]
    rises = np.abs(np.diff(row, append=0)) * (np.diff(shapes.ring, append=-1) == 0)
    crossings = np.add.reduceat(rises, first)
    wide = np.maximum(height, width) > LARGEST_SIDE
    large[areas] = wide | (height * width > LARGEST_PIXELS) | (crossings > LARGEST_CROSSINGS)
    return windows, large


def _clipped(whole: Integers, grid: Grid) -> Integers:
    """Return the part of each window inside a raster; a row of zeros if there is none. See `Window.clip`."""
    size = np.array([grid.height, grid.width])
    starts = np.maximum(whole[:, :2], 0)
    sides = np.minimum(whole[:, :2] + whole[:, 2:], size) - starts
    windows = np.hstack([starts, sides])
    windows[(sides <= 0).any(axis=1)] = 0
    return windows
