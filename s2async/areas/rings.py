"""The canonical form of many polygons without holes at once, in arrays of coordinates. Pure.

GEOS would copy each polygon for each step: rounding, repeated points, normal form. Its normal form of a ring
begins at the westernmost vertex (of several, at the southernmost of these) and continues clockwise.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import GeometryType

Geometries = NDArray[np.object_]
Flags = NDArray[np.bool_]

_FLAT: Final = 1e-9
"""Size of a ring, relative to its bounding box, below which GEOS must determine its direction: the sums of rounded
products that are used here have an error of about 1e-15 for each vertex."""
_SHORTEST: Final = 4
"""Number of points of a triangle, whose last point equals its first."""


def are_plain(geometries: Geometries) -> Flags:
    """Return which geometries are polygons without holes that are not empty."""
    plain: Flags = (
        (shapely.get_type_id(geometries) == GeometryType.POLYGON)
        & (shapely.get_num_interior_rings(geometries) == 0)
        & ~shapely.is_empty(geometries)
    )
    return plain


def canonical(polygons: Geometries, decimals: int) -> Geometries:
    """Round the coordinates of polygons without holes, and bring their rings to normal form.

    Args:
        polygons: n polygons for which `are_plain` is true, with finite coordinates.
        decimals: number of decimals of the coordinates.

    Returns:
        n polygons; None for each that has repeated points or nearly no size, which GEOS must process.
    """
    found = np.full(len(polygons), None, object)
    if not len(polygons):
        return found
    _, xyz, (offsets, _) = shapely.to_ragged_array(polygons)
    points = np.round(xyz[:, :2], decimals) + 0.0  # no negative zero
    rings = offsets.astype(np.int64)
    starts, sizes = rings[:-1], np.diff(rings)
    fit = (sizes >= _SHORTEST) & ~_have_repeats(points, starts)
    turns = _turns(points, starts, sizes)
    fit &= turns != 0
    order = _order(starts, sizes, _lowest(points, starts, sizes), turns)[np.repeat(fit, sizes)]
    ends = np.concatenate([[0], np.cumsum(sizes[fit])])
    found[fit] = shapely.from_ragged_array(GeometryType.POLYGON, points[order], (ends, np.arange(len(ends))))
    return found


def _have_repeats(points: NDArray[np.float64], starts: NDArray[np.int64]) -> Flags:
    """Return which rings have a point that equals the one before it."""
    repeats = np.zeros(len(points), bool)
    repeats[1:] = (points[1:] == points[:-1]).all(axis=1)
    repeats[starts] = False
    return np.logical_or.reduceat(repeats, starts)


def _turns(points: NDArray[np.float64], starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the direction of rings: 1 for clockwise, -1 for counterclockwise, and 0 if it is not certain."""
    x, y = (points - np.repeat(points[starts], sizes, axis=0)).T
    doubled = np.zeros(len(points))
    doubled[:-1] = x[1:] * y[:-1] - x[:-1] * y[1:]
    doubled[starts + sizes - 1] = 0  # from the last point of a ring to the first one of the next
    sums = np.add.reduceat(doubled, starts)
    extent = np.maximum.reduceat(points, starts) - np.minimum.reduceat(points, starts)
    return np.where(np.abs(sums) > _FLAT * extent.prod(axis=1), np.sign(sums), 0).astype(np.int64)


def _lowest(points: NDArray[np.float64], starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index within each ring of its westernmost vertex (of several, the southernmost of these)."""
    x, y = points.T
    is_west = x == np.repeat(np.minimum.reduceat(x, starts), sizes)
    y = np.where(is_west, y, np.inf)
    places = np.flatnonzero(y == np.repeat(np.minimum.reduceat(y, starts), sizes))
    return places[np.searchsorted(places, starts)] - starts


def _order(
    starts: NDArray[np.int64], sizes: NDArray[np.int64], first: NDArray[np.int64], turns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the indices of the points in the order in which each ring begins at `first` and goes clockwise."""
    around = np.repeat(sizes - 1, sizes)
    begin = np.repeat(starts, sizes)
    steps = np.arange(len(begin)) - begin
    return begin + (np.repeat(first, sizes) + np.repeat(turns, sizes) * steps) % np.maximum(around, 1)
