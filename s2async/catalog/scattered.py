"""Plans searches for many scattered areas: a bounded number of groups, and boxes as the geometry of each. Pure.

If there are many areas that are far apart, a search for each neighbourhood would give thousands of searches.
Therefore the areas are split into at most `MOST` groups with about the same number of scenes. How many unneeded
scenes a search returns depends on its geometry, because each scene has a side of 110 km. The geometry therefore
consists of boxes around single areas or clusters, cut so that as few scenes as possible touch a box but no area.

Boxes are (n, 4) arrays of west, south, east, north in degrees, from -180 to 180 and from -90 to 90.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from s2async.geo import KM_PER_DEGREE

MOST: Final = 40
"""Maximum number of groups: a year, which overlaps at most five calendar quarters, has at most 200 searches."""
SQUARES: Final = 64
"""Number of squares of 100 km above which a group is split: about 2,500 items in a quarter, or 25 pages. With
smaller groups, more of the scenes on their borders would be returned twice."""
BOXES: Final = 128
"""Maximum number of boxes in the geometry of a search."""
LONGEST: Final = 15_000
"""Maximum bytes of a geometry as GeoJSON: a request, which contains little else, stays below 16 KiB."""
_CELL: Final = 0.125
"""Size in degrees of a cell whose areas stay together in one box: far smaller than a scene."""
_SCENE: Final = 110.0
"""Length in kilometres of a side of a scene."""
_SQUARE: Final = 100.0
"""Length in kilometres of a side of a square, which is the distance between scenes."""
_CLEAR: Final = 0.5
"""Minimum width in degrees of a gap between areas at which a group is cut, instead of in the middle."""
_DIGITS: Final = 2
"""Decimals of a box's degrees: a kilometre is little compared with a scene."""

Boxes = NDArray[np.float64]
Indices = NDArray[np.intp]


def groups(parts: Boxes) -> list[Indices]:
    """Return the indices of the boxes that share a search: at most `MOST` groups, neighbours together."""
    middle = (parts[:, :2] + parts[:, 2:]) / 2
    squares, own = _squares(middle), _ground(_plane(parts, middle[:, 1:]), 0) / _SQUARE**2

    def weighed(members: Indices) -> tuple[float, int, Indices]:
        """Return a tuple that sorts the heaviest group first, and equal groups by their earliest part."""
        return -len(np.unique(squares[members])) - float(own[members].sum()), int(members[0]), members

    found = [weighed(np.arange(len(parts)))]
    while len(found) < MOST and -found[0][0] > SQUARES and len(found[0][2]) > 1:
        _, _, members = heapq.heappop(found)
        for half in _halves(middle, members):
            heapq.heappush(found, weighed(half))
    return sorted((members for _, _, members in found), key=lambda members: int(members[0]))


def geometry(parts: Boxes, margins: Callable[[Boxes], Boxes]) -> Polygon | MultiPolygon:
    """Return the union of boxes that contain the given boxes with a margin.

    Args:
        parts: boxes that the geometry must contain.
        margins: widens boxes by the margin that a search needs around its areas.

    Returns:
        A valid geometry of at most `LONGEST` bytes.
    """
    cells = _cells(parts)
    most = min(BOXES, len(cells))
    while True:
        few = _rounded(margins(cells if most == len(cells) else _merged(cells, most)))
        found = shapely.union_all(shapely.box(*few.T))
        if most == 1 or len(shapely.to_geojson(found)) + 2 * shapely.get_num_coordinates(found) <= LONGEST:
            return shapely.orient_polygons(found)  # type: ignore[return-value]  # the union of boxes is not mixed
        most = max(1, most * 3 // 4)


# ---- groups -----------------------------------------------------------------------------------------------


def _squares(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the numbers of the squares of about 100 km in which points lie."""
    row = np.floor((points[:, 1] + 90) * KM_PER_DEGREE / _SQUARE)
    narrow = np.cos(np.radians(np.clip((row + 0.5) * _SQUARE / KM_PER_DEGREE - 90, -89, 89)))
    column = np.floor((points[:, 0] + 180) * KM_PER_DEGREE * narrow / _SQUARE)
    numbers: NDArray[np.int64] = (row * 1000 + column).astype(np.int64)
    return numbers


def _halves(middle: NDArray[np.float64], members: Indices) -> tuple[Indices, Indices]:
    """Cut a group across its longer side: at the widest gap in its middle half, or in the middle."""
    points = middle[members]
    sizes = np.ptp(points, axis=0) * (np.cos(np.radians(points[:, 1].mean())), 1)
    where = points[:, int(np.argmax(sizes))]
    order = np.argsort(where, kind="stable")
    line, count = where[order], len(members)
    first, last = count // 4, max(count // 4 + 1, count - count // 4 - 1)
    gaps = np.diff(line[first : last + 1])
    widest = int(np.argmax(gaps))
    cut = first + widest + 1 if gaps[widest] > _CLEAR else count // 2
    return np.sort(members[order[:cut]]), np.sort(members[order[cut:]])


# ---- boxes ------------------------------------------------------------------------------------------------


def _cells(parts: Boxes) -> Boxes:
    """Return a box around all boxes in the same small cell, for each cell."""
    row, column = np.floor((parts[:, :2] + parts[:, 2:]) / 2 / _CELL).T[::-1]
    keys = row * 10_000 + column
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=np.nan) != 0)
    low = np.minimum.reduceat(parts[order, :2], starts)
    high = np.maximum.reduceat(parts[order, 2:], starts)
    return np.hstack([low, high])


def _merged(boxes: Boxes, most: int) -> Boxes:
    """Merge boxes into ``most`` boxes, cut so that as few unneeded scenes as possible touch them."""
    plane = _plane(boxes, np.mean(boxes[:, 1::2], keepdims=True))
    number = itertools.count()
    found: list[tuple[float, int, Indices, int]] = []

    def put(members: Indices) -> None:
        gain, members, cut = _best_cut(plane, members)
        heapq.heappush(found, (-gain, next(number), members, cut))

    put(np.arange(len(boxes)))
    while len(found) < most:
        _, _, members, cut = heapq.heappop(found)
        put(members[:cut])
        put(members[cut:])
    around = [
        np.hstack([boxes[members, :2].min(axis=0), boxes[members, 2:].max(axis=0)]) for *_, members, _ in found
    ]
    return np.array(around)


def _best_cut(plane: Boxes, members: Indices) -> tuple[float, Indices, int]:
    """Find the best cut of boxes in two; return its gain in km2, the sorted members, and the first half's size.

    The gain is the area of the positions at which a scene would touch the box around all members, but not the box
    around either half. If no cut has a gain, a cut that makes the boxes themselves smaller is preferred, because
    later cuts may then have a gain.
    """
    if len(members) < 2:
        return -1.0, members, 0
    best: tuple[float, Indices, int] = (-1.0, members, 1)
    for axis in (0, 1):
        order = members[np.argsort(plane[members, axis] + plane[members, axis + 2], kind="stable")]
        boxes = plane[order]
        low, high = boxes[:, :2], boxes[:, 2:]
        ahead = np.hstack([np.minimum.accumulate(low), np.maximum.accumulate(high)])
        behind = np.hstack([np.minimum.accumulate(low[::-1]), np.maximum.accumulate(high[::-1])])[::-1]
        one, other, whole = ahead[:-1], behind[1:], ahead[-1:]
        both = np.hstack([np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])])
        left_out = _ground(whole, _SCENE) - _ground(one, _SCENE) - _ground(other, _SCENE) + _ground(both, _SCENE)
        smaller = _ground(whole, 0) - _ground(one, 0) - _ground(other, 0) + _ground(both, 0)
        gains = left_out + smaller / 1000
        at = int(np.argmax(gains))
        if gains[at] > best[0]:
            best = (float(gains[at]), order, at + 1)
    return best


def _plane(boxes: Boxes, latitude: NDArray[np.float64]) -> Boxes:
    """Convert boxes from degrees to kilometres, with widths at the given latitudes.

    Args:
        boxes: (n, 4) in degrees.
        latitude: latitudes in degrees: (n, 1), or (1, 1) for one latitude for all boxes.
    """
    narrow = np.cos(np.radians(np.clip(latitude, -85, 85)))
    ones = np.ones_like(narrow)
    plane: Boxes = boxes * KM_PER_DEGREE * np.hstack([narrow, ones, narrow, ones])
    return plane


def _ground(boxes: Boxes, wider: float) -> NDArray[np.float64]:
    """Return the areas of boxes in a plane after each side is lengthened; 0 if a side is negative."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2] + wider, 0)
    area: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return area


def _rounded(boxes: Boxes) -> Boxes:
    """Return boxes with few decimals that contain the given boxes, clipped to the range of degrees."""
    scale = 10**_DIGITS
    low, high = np.floor(boxes[:, :2] * scale) / scale, np.ceil(boxes[:, 2:] * scale) / scale
    edge = np.array([180.0, 90.0])
    return np.hstack([np.clip(low, -edge, edge), np.clip(high, -edge, edge)])


def around(parts: Sequence[Polygon] | NDArray[np.object_]) -> Boxes:
    """Return the box around each polygon."""
    boxes: Boxes = shapely.bounds(np.asarray(parts, dtype=object)).reshape(-1, 4)
    return boxes
