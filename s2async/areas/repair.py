"""Repairs polygons whose faults are smaller than a pixel; a person must correct all others. Pure.

Outlines that cross or overlap can be interpreted in several ways. A *face* is a region between the lines of a
polygon. By the even-odd rule, a face is inside if a ray from it crosses an odd number of lines; by the non-zero
rule, if the outline winds around it; by the positive rule, if it does so in the direction of the polygon as a
whole. Both loops of a figure eight are inside by the first two rules, but only one of them by the third.

Where the rules disagree, the polygon is ambiguous. If all ambiguous regions are smaller than a pixel and narrow,
any interpretation will do: the positive rule is used for each part, and parts are merged. Otherwise the polygon is
refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod
from shapely import LineString, MultiPolygon, Polygon
from shapely.affinity import scale
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

PIXEL: Final = 10.0
"""Size in metres of a pixel of Sentinel-2's finest bands."""
GRID: Final = 1e-9
"""Degrees to which the areas' coordinates are rounded."""

_DECIMALS: Final = 9
_WGS84: Final = Geod(ellps="WGS84")
_RADIUS: Final = 6_371_000.0
_MOST: Final = 20_000_000
"""Maximum number of pairs of faces and edges that are compared, in about 1 s; polygons with more are refused."""
_BATCH: Final = 1_000_000


class Repair(NamedTuple):
    """A polygon that was repaired."""

    polygon: Polygon | MultiPolygon
    """Valid, in lon/lat degrees, rounded to `GRID`."""
    what: str
    """What was repaired and where, in one line."""


def repair(polygon: BaseGeometry) -> Repair | None:
    """Repair a polygon that is not valid: crossings, spikes, doubled points, overlaps, touching rings.

    Args:
        polygon: a Polygon or MultiPolygon in lon/lat degrees.

    Returns:
        The repaired polygon, which differs from every interpretation of the original by less than a pixel in
        total, and is nowhere off by the width of a pixel; None if it would differ more, or nothing would be left.
    """
    try:
        return _repair(polygon)
    except ShapelyError:  # such as lines that GEOS cannot union
        return None


def _repair(polygon: BaseGeometry) -> Repair | None:
    if not np.isfinite(shapely.get_coordinates(polygon)).all():
        return None
    rounded = shapely.transform(shapely.force_2d(polygon), lambda xy: np.round(xy, _DECIMALS) + 0.0)
    whole: list[BaseGeometry] = []
    doubtful: list[BaseGeometry] = []
    for part in shapely.get_parts(rounded):
        if part.is_empty:
            continue
        if shapely.is_valid(part):
            whole.append(part)
            continue
        faces = _faces(part)
        if faces is None:
            return None
        inside, ambiguous = faces
        whole += inside
        doubtful += ambiguous
    doubtful += _overlaps(whole)
    changed = _changed(doubtful)
    if changed is None:
        return None
    mended = _on_grid(shapely.union_all(whole))
    return None if mended is None else Repair(polygon=mended, what=_what(rounded, changed))


def _faces(part: Polygon) -> tuple[list[BaseGeometry], list[BaseGeometry]] | None:
    """Return the faces of a part that are inside by the positive rule, and those where the rules disagree.

    None if there are too many faces, or the part has holes but no shell.
    """
    shell, *holes = _rings(part)
    if len(shell) < 3:
        return None if holes else ([], [])
    rings = [shell, *(hole for hole in holes if len(hole) > 2)]
    lines = shapely.union_all([LineString(ring) for ring in rings])
    faces = np.array(list(shapely.polygonize([lines]).geoms), dtype=object)
    if len(faces) * sum(map(len, rings)) > _MOST:
        return None
    if not len(faces):
        return [], []
    within = shapely.get_coordinates(shapely.point_on_surface(faces))
    turns = [_winding(within, ring) for ring in rings]
    # Rings may have either direction; the one that counts is that of most of the area which they enclose.
    turns = [winding * _direction(ring) for winding, ring in zip(turns, rings, strict=True)]
    odd = np.sum(turns, axis=0) % 2 == 1
    hollow = np.any(np.array(turns[1:], int).reshape(-1, len(faces)) != 0, axis=0)
    nonzero = (turns[0] != 0) & ~hollow
    positive = (turns[0] > 0) & ~hollow
    return list(faces[positive]), list(faces[(odd != positive) | (nonzero != positive)])


def _overlaps(parts: Sequence[BaseGeometry]) -> list[BaseGeometry]:
    """Return the regions that several parts share."""
    if len(parts) < 2:
        return []
    these = np.array(parts, dtype=object)
    one, other = shapely.STRtree(these).query(these, predicate="intersects")
    pairs = one < other
    shared = shapely.get_parts(shapely.intersection(these[one[pairs]], these[other[pairs]]))
    return list(shared[shapely.area(shared) > 0])


def _changed(doubtful: Sequence[BaseGeometry]) -> float | None:
    """Return the size of regions in m2; None if they are as large as a pixel, or one of them as wide."""
    if not doubtful:
        return 0.0
    total = 0.0
    for region in shapely.get_parts(shapely.union_all(list(doubtful))):
        total += abs(_WGS84.geometry_area_perimeter(region)[0])
        if total >= PIXEL**2:
            return None
        north = np.pi / 180 * _RADIUS
        plane = scale(region, north * np.cos(np.radians(region.centroid.y)), north, origin=region.centroid)
        if not plane.buffer(-PIXEL / 2).is_empty:
            return None
    return total


def _on_grid(whole: BaseGeometry) -> Polygon | MultiPolygon | None:
    """Round a valid geometry so that it stays valid; None if no polygon is left."""
    snapped = shapely.set_precision(shapely.set_precision(whole, GRID), 0)
    rounded = shapely.transform(snapped, lambda xy: np.round(xy, _DECIMALS) + 0.0)
    if not isinstance(rounded, Polygon | MultiPolygon) or rounded.is_empty or not rounded.is_valid:
        return None
    return rounded


# ---- rings --------------------------------------------------------------------------------------------------


def _rings(part: Polygon) -> list[NDArray[np.float64]]:
    """Return the coordinates of the rings of a polygon, the shell first, without doubled points."""
    rings = [shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)]
    return [ring[np.append(True, (np.diff(ring, axis=0) != 0).any(axis=1))] for ring in rings]


def _direction(ring: NDArray[np.float64]) -> int:
    """Return 1 if a ring encloses more area counterclockwise than clockwise, otherwise -1."""
    x, y = (ring - ring[0]).T
    return 1 if float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) >= 0 else -1


def _winding(points: NDArray[np.float64], ring: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return how often a ring winds counterclockwise around each point; no point lies on the ring.

    This is the signed number of edges that a ray from the point to the east crosses (D. Sunday, "Inclusion of a
    point in a polygon", 2001).
    """
    (x1, y1), (x2, y2) = ring[:-1].T, ring[1:].T
    turns = np.empty(len(points), int)
    step = max(1, _BATCH // len(x1))
    for start in range(0, len(points), step):
        x, y = points[start : start + step, :, None].transpose(1, 0, 2)
        side = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
        upward, downward = (y1 <= y) & (y < y2) & (side > 0), (y2 <= y) & (y < y1) & (side < 0)
        turns[start : start + step] = upward.sum(axis=1) - downward.sum(axis=1)
    return turns


def _what(original: BaseGeometry, changed: float) -> str:
    """Describe what was wrong, and how much of the area is concerned."""
    reason, _, at = shapely.is_valid_reason(original).partition("[")
    fault = {
        "Self-intersection": "an outline that crosses itself, or parts that overlap,",
        "Ring Self-intersection": "an outline that touches itself",
        "Hole lies outside shell": "a hole outside its outline",
        "Too few points in geometry component": "a ring with fewer than three different points",
        "Valid Geometry": "doubled points",
    }.get(reason, f"an outline that is not valid ({reason.lower()})")
    where = f" at {at.rstrip(']')} (lon lat)" if at else ""
    size = "less than 0.1 m2" if changed < 0.1 else f"{changed:.1f} m2"
    return f"mended {fault}{where}; the area changed by {size}"
