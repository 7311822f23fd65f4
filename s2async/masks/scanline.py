"""Finds the pixels inside polygons, for many polygons at once: GDAL's rule in numpy. Pure.

The rule is that of ``GDALdllImageFilledPolygon`` (alg/llrasterize.cpp) and ``GDALCollectRingsFromGeometry``
(alg/gdalrasterize.cpp), in columns and rows of the window:

- An edge from y1 up to y2 crosses row r if y1 <= r + 0.5 < y2, at the column floor(x + 0.5) for its x there.
- The columns of all crossings of a polygon in a row are sorted. Pixels are inside from the first crossing to the
  second, from the third to the fourth, and so on.
- Edges exactly on the centres of a row do not cross it. They are filled if they run to the left in a ring that has
  been turned clockwise (on the ground, according to ``OGRLineString::isClockwise``).
- The parts of a multipolygon are drawn one by one.

All floating-point operations are done in GDAL's order, so that centres exactly on an edge fall on the same side of
it. This requires a GDAL that is built without fused multiply-add, like the builds for x86-64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CROSSINGS: Final = 1 << 16
"""Maximum number of crossings that are sorted together, unless one area has more: arrays of half a megabyte."""
_COLUMN_BITS: Final = 17
"""Number of bits in a key for a column, including the one after the last, or for a row."""
_AREA_SHIFT: Final = 2 * _COLUMN_BITS
_SAME: Final = 1e-5
"""Distance in x and y below which ``OGRLineString::isClockwise`` treats two points as one."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shapes:
    """Polygons of many areas as flat arrays, one entry for each vertex; each ring ends with its first vertex."""

    x: Floats
    y: Floats
    ring: Integers
    """Number of the ring; this and the next two arrays are in ascending order."""
    polygon: Integers
    """Number of the polygon; an area may have several polygons."""
    area: Integers
    """Number of the area."""

    @classmethod
    def of(cls, polygons: NDArray[np.object_]) -> Shapes:
        """Return the coordinates of polygons and multipolygons, none of which may be empty."""
        _, xy, offsets = shapely.to_ragged_array(polygons, include_z=False)
        rings, parts, *more = offsets
        areas = more[0] if more else np.arange(len(polygons) + 1)
        ring = np.repeat(np.arange(len(rings) - 1), np.diff(rings))
        polygon = np.repeat(np.arange(len(parts) - 1), np.diff(parts))[ring]
        area = np.repeat(np.arange(len(areas) - 1), np.diff(areas))[polygon]
        return cls(x=xy[:, 0], y=xy[:, 1], ring=ring, polygon=polygon, area=area)

    def of_areas(self, wanted: NDArray[np.bool_]) -> Shapes:
        """Return the vertices of the selected areas, which keep their numbers."""
        kept = wanted[self.area]
        return Shapes(
            x=self.x[kept],
            y=self.y[kept],
            ring=self.ring[kept],
            polygon=self.polygon[kept],
            area=self.area[kept],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Runs:
    """Runs of pixels inside areas, sorted by area, row and column."""

    area: Integers
    row: NDArray[np.uint16]
    column: NDArray[np.uint16]
    length: NDArray[np.uint16]

    def numbers(self, areas: int) -> Integers:
        """Return (areas,): the number of runs of each area."""
        return np.bincount(self.area, minlength=areas)

    def pixels(self, areas: int) -> Integers:
        """Return (areas,): the number of pixels of each area."""
        return np.bincount(self.area, self.length, minlength=areas).astype(np.int64)


def groups(weights: Integers, limit: int) -> Iterator[tuple[int, int]]:
    """Split a sequence into pieces of limited weight; an entry that exceeds the limit forms a separate piece.

    Yields:
        Start and stop of each piece.
    """
    ends = np.cumsum(weights)
    start = 0
    while start < len(weights):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + limit, side="right")), start + 1)
        yield start, stop
        start = stop


def runs(shapes: Shapes, transform: Affine, windows: Integers) -> Iterator[Runs]:
    """Draw areas, each in its window, in pieces of bounded size.

    Args:
        shapes: polygons in the CRS of the raster; their area numbers are row numbers of `windows`.
        transform: transform of the raster, from columns and rows to coordinates.
        windows: (areas, 4) first row, first column, rows and columns; up to `plan.LARGEST_SIDE` rows and columns.
    """
    if not len(shapes.area):
        return
    edges = _Edges.of(shapes, transform, windows)
    ends = np.flatnonzero(np.diff(edges.area, append=-1)) + 1  # ends of the areas
    weights = np.diff(np.cumsum(edges.number)[ends - 1], prepend=0)
    bounds = np.concatenate([[0], ends])
    for start, stop in groups(weights, CROSSINGS):
        yield _drawn(edges, slice(int(bounds[start]), int(bounds[stop])), shapes)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Edges:
    """Edges in columns and rows of their windows, from (x1, y1) to (x2, y2), where y1 is at most y2."""

    x1: Floats
    y1: Floats
    x2: Floats
    y2: Floats
    first: Integers
    """First row of the window whose centre line the edge crosses."""
    number: Integers
    """Number of such rows."""
    height: Integers
    """Number of rows of the window."""
    width: Integers
    ring: Integers
    polygon: Integers
    area: Integers
    turned: NDArray[np.bool_]
    """Whether (x1, y1) is the end of the edge in the order of its ring."""
    surplus: Integers
    """(polygons,): amount by which the keys of a polygon exceed those of its area."""

    @classmethod
    def of(cls, shapes: Shapes, transform: Affine, windows: Integers) -> _Edges:
        x, y = _in_windows(shapes, transform, windows)
        start = np.flatnonzero(shapes.ring[1:] == shapes.ring[:-1])
        polygon, area = shapes.polygon[start], shapes.area[start]
        xa, ya, xb, yb = x[start], y[start], x[start + 1], y[start + 1]
        height, width = windows[area, 2], windows[area, 3]
        turned = ya >= yb
        y1, y2 = np.where(turned, yb, ya), np.where(turned, ya, yb)
        first = np.clip(np.ceil(y1 - 0.5), 0, height)
        number = np.clip(np.ceil(y2 - 0.5), first, height) - first
        surplus = np.zeros(int(polygon[-1]) + 1, np.int64)
        surplus[polygon] = (polygon - area) << _AREA_SHIFT
        return cls(
            x1=np.where(turned, xb, xa),
            y1=y1,
            x2=np.where(turned, xa, xb),
            y2=y2,
            first=first.astype(np.int64),
            number=number.astype(np.int64),
            height=height,
            width=width,
            ring=shapes.ring[start],
            polygon=polygon,
            area=area,
            turned=turned,
            surplus=surplus,
        )


def _in_windows(shapes: Shapes, transform: Affine, windows: Integers) -> tuple[Floats, Floats]:
    """Return columns and rows of vertices, each in its own window, computed in the order of GDAL's operations.

    The operations are those of ``GDALInvGeoTransform`` and ``GDALGenImgProjTransform`` (alg/gdaltransformer.cpp),
    with the transform of `cog.grid.shifted`.
    """
    a, b, c, d, e, f = transform[:6]
    row, col = windows[:, 0], windows[:, 1]
    left, top = a * col + b * row + c, d * col + e * row + f
    x, y, area = shapes.x, shapes.y, shapes.area
    if b == 0 and d == 0:
        return (-left / a)[area] + x * (1 / a), (-top / e)[area] + y * (1 / e)
    inverse = 1 / (a * e - b * d)
    column0, row0 = (b * top - left * e) * inverse, (-a * top + left * d) * inverse
    return (
        column0[area] + x * (e * inverse) + y * (-b * inverse),
        row0[area] + x * (-d * inverse) + y * (a * inverse),
    )


def _drawn(edges: _Edges, part: slice, shapes: Shapes) -> Runs:
    """Return the runs of whole areas.

    Starts and ends of runs are keys of area, row and column, so that their order is that of the runs. Sorting
    starts and ends separately does not change the union of the runs: there is a gap where the next start is
    greater than the end at the position before it.
    """
    inside, flat = _pairs(edges, part), _horizontal(edges, part, shapes)
    starts, ends = (np.concatenate(keys) for keys in zip(inside, flat, strict=True))
    starts.sort(kind="stable")  # mostly sorted already, which this algorithm detects in one pass
    ends.sort(kind="stable")
    gap = np.ones(len(starts) + 1, np.bool_)
    gap[1:-1] = starts[1:] > ends[:-1]
    starts, ends = starts[gap[:-1]], ends[gap[1:]]
    low = (1 << _COLUMN_BITS) - 1
    return Runs(
        area=starts >> _AREA_SHIFT,
        row=(starts >> _COLUMN_BITS & low).astype(np.uint16),
        column=(starts & low).astype(np.uint16),
        length=(ends - starts).astype(np.uint16),
    )


def _pairs(edges: _Edges, part: slice) -> tuple[Integers, Integers]:
    """Return the keys of the starts and ends of the runs between crossings."""
    crossing = np.flatnonzero(edges.number[part]) + part.start
    x1, y1, number = edges.x1[crossing], edges.y1[crossing], edges.number[crossing]
    before = np.cumsum(number) - number
    row = np.repeat(edges.first[crossing] - before, number)
    row += np.arange(len(row))

    column = row + 0.5
    column -= np.repeat(y1, number)
    column *= np.repeat(edges.x2[crossing] - x1, number)
    column /= np.repeat(edges.y2[crossing] - y1, number)
    column += np.repeat(x1, number)
    column += 0.5
    np.floor(column, out=column)
    np.clip(column, 0, np.repeat(edges.width[crossing], number), out=column)

    keys = row
    keys <<= _COLUMN_BITS
    keys += column.astype(np.int64)
    keys += np.repeat(edges.polygon[crossing] << _AREA_SHIFT, number)
    keys.sort()
    starts, ends = keys[0::2], keys[1::2]  # rings are closed: a row of a polygon has an even number of crossings
    some = starts < ends
    starts, ends = starts[some], ends[some]
    surplus = edges.surplus[starts >> _AREA_SHIFT]
    return starts - surplus, ends - surplus


def _horizontal(edges: _Edges, part: slice, shapes: Shapes) -> tuple[Integers, Integers]:
    """Return the keys of the starts and ends of filled edges that lie exactly on centres of rows."""
    row = edges.y1[part] - 0.5
    flat = (edges.y1[part] == edges.y2[part]) & (edges.x1[part] != edges.x2[part])
    flat &= (row == np.floor(row)) & (row >= 0) & (row < edges.height[part])
    found = np.flatnonzero(flat) + part.start
    rings = edges.ring[found].tolist()
    clockwise = {ring: _is_clockwise(shapes, ring) for ring in set(rings)}
    left = (edges.x1[found] < edges.x2[found]) == edges.turned[found]
    found = found[left == np.array([clockwise[ring] for ring in rings], np.bool_)]
    x1, x2, width = edges.x1[found], edges.x2[found], edges.width[found]
    keys = (edges.area[found] << _AREA_SHIFT) + ((edges.y1[found] - 0.5).astype(np.int64) << _COLUMN_BITS)
    starts = keys + np.clip(np.floor(np.minimum(x1, x2) + 0.5), 0, width).astype(np.int64)
    ends = keys + np.clip(np.floor(np.maximum(x1, x2) + 0.5), 0, width).astype(np.int64)
    some = starts < ends
    return starts[some], ends[some]


def _is_clockwise(shapes: Shapes, ring: int) -> bool:
    """Return whether GDAL considers a ring clockwise on the ground (``OGRLineString::isClockwise``).

    GDAL examines the lowest, rightmost vertex and its neighbours. If these nearly coincide, it computes the sign
    of the area, whose rounding depends on the order of the vertices.
    """
    start, stop = np.searchsorted(shapes.ring, [ring, ring + 1])
    x, y = shapes.x[start:stop], shapes.y[start:stop]
    number = len(x) - 1  # without the last vertex, which is the first
    lowest = np.flatnonzero(y[:-1] == y[:-1].min())
    pivots = lowest[x[lowest] == x[lowest].max()]
    at = int(pivots[0])
    before, behind = (at - 1) % number, (at + 1) % number
    dx0, dy0 = x[before] - x[at], y[before] - y[at]
    dx1, dy1 = x[behind] - x[at], y[behind] - y[at]
    near = [abs(dx) < _SAME and abs(dy) < _SAME for dx, dy in ((dx0, dy0), (dx1, dy1))]
    product = dx1 * dy0 - dx0 * dy1
    if len(pivots) == 1 and not any(near) and product != 0:
        return bool(product < 0)
    terms = x * (np.append(y[1:], y[0]) - np.append(y[-1], y[:-1]))
    return bool(np.cumsum(terms)[-1] < 0)  # unlike `sum`, `cumsum` adds the terms one by one
