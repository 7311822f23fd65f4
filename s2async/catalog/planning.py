"""Geometry of searches: groups areas into searches, surrounds them, and finds the areas that a scene covers.

Pure geometry in lon/lat degrees, with margins in km on the ground.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from s2async.catalog import scattered
from s2async.geo import KM_PER_DEGREE, copies, polygons
from s2async.models import Area, Scene

Span = tuple[datetime, datetime]
"""First instant, and the first instant after the end."""

GROUP_DEGREES = 1.0
"""Size in degrees of a square whose areas share a search: about one MGRS tile."""
_SLICE = 4096
"""Number of areas whose polygons are in memory at once."""
NEAR_180 = 179.0
"""Longitude beyond which a scene, with the margin around it, may reach across 180 degrees."""


def shared(parts: Sequence[Polygon]) -> list[tuple[NDArray[np.intp], Polygon | MultiPolygon]]:
    """Group polygons that share a search; return for each search the indices of its polygons and its geometry.

    Neighbouring polygons share a search. If that gives more than `scattered.MOST` searches, `scattered` groups the
    polygons instead.
    """
    found = groups(parts, most=scattered.MOST)
    if len(found) <= scattered.MOST:
        shapes: NDArray[np.object_] = np.array(parts, object)
        return [(members, surround(shapes[members])) for members in found]
    boxes = scattered.around(parts)
    return [(members, scattered.geometry(boxes[members], widened)) for members in scattered.groups(boxes)]


def groups(parts: Sequence[Polygon], *, most: int = sys.maxsize) -> list[NDArray[np.intp]]:
    """Return groups of the indices of polygons that share a search: neighbours together, each large polygon alone.

    Args:
        parts: polygons.
        most: number of groups above which grouping stops; the returned groups may then still be too large.
    """
    bounds = shapely.bounds(np.array(parts, dtype=object)).reshape(-1, 4)
    large = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1]) > GROUP_DEGREES
    points = shapely.get_coordinates(shapely.point_on_surface(parts))
    found = [np.array([index]) for index in np.flatnonzero(large)]
    todo = [np.flatnonzero(~large)] if not large.all() else []
    while todo and len(found) + len(todo) <= most:
        members = todo.pop()
        low, high = points[members].min(axis=0), points[members].max(axis=0)
        axis = int(np.argmax(high - low))
        width = (high - low)[axis]
        if width <= GROUP_DEGREES:
            found.append(members)
            continue
        # Cutting at the widest gap in the middle half keeps clusters together and makes both parts clearly
        # smaller.
        where = points[members, axis]
        inner = np.unique(np.clip(where, low[axis] + width / 4, high[axis] - width / 4))
        gap = int(np.argmax(np.diff(inner)))
        cut = (inner[gap] + inner[gap + 1]) / 2
        todo += [members[where > cut], members[where <= cut]]
    return sorted(found + todo, key=lambda members: int(members[0]))


def surround(parts: Sequence[Polygon] | NDArray[np.object_]) -> Polygon:
    """Return a convex polygon with a few dozen vertices around these polygons, with a margin."""
    hull = shapely.convex_hull(LineString(shapely.get_coordinates(parts)))  # no copies, unlike a collection
    west, south, east, north = hull.bounds
    slack = max(0.005, 0.01 * max(east - west, north - south))
    plain = shapely.simplify(hull, slack)
    # At the first point of a ring, GEOS may cut off more than the tolerance.
    cut = float(shapely.distance(plain, shapely.points(shapely.get_coordinates(hull))).max())
    margin = _margin(max(abs(south), abs(north))) + max(slack, cut) * KM_PER_DEGREE
    wide = shapely.clip_by_rect(_widen(plain, margin), -180, -90, 180, 90)
    around: Polygon = orient(shapely.set_precision(wide, 1e-6))  # type: ignore[arg-type]  # convex, so one piece
    return around


class Matcher:
    """Finds the areas that a scene covers, in an order in which neighbours are adjacent."""

    def __init__(self, areas: Sequence[Area]) -> None:
        points, around = _points_and_boxes(areas)
        order = np.argsort(_z_order(points), kind="stable")
        self._areas = [areas[index] for index in order.tolist()]
        # A tree of 100,000 polygons would take 50 MB. Nearly all areas are decided by these 48 bytes each.
        self._points = points[order]
        self._boxes = around[order]
        self._first, self._last = seasons(self._areas)
        self._prints = [area.fingerprint for area in self._areas]
        self._is_simple = len(set(self._prints)) == len(areas) and not any(
            area.start or area.end for area in areas
        )

    def areas_for(self, scene: Scene) -> list[Area]:
        """Return the areas that a scene may cover: those within 1 km of its footprint (more beyond 76 degrees).

        Only areas whose season includes the day of the scene are returned. If several areas have the same polygon,
        only the first of them is returned: it gets the crop.

        Raises:
            ValueError: the scene has no footprint, like some scenes read from the state.
        """
        if scene.footprint is None:
            raise ValueError(f"scene {scene.id} has no footprint to match areas with")
        _, south, _, north = scene.footprint.bounds
        wide = _widen(scene.footprint, _margin(max(abs(south), abs(north))))
        near = np.unique(np.concatenate([self._touching(shape) for shape in copies(wide)]))
        if self._is_simple:
            return [self._areas[index] for index in near]
        day = scene.datetime.astimezone(UTC).date().toordinal()
        near = near[(self._first[near] <= day) & (day <= self._last[near])]
        first = {self._prints[index]: index for index in reversed(near.tolist())}
        return [self._areas[index] for index in near if first[self._prints[index]] == index]

    def _touching(self, shape: BaseGeometry) -> NDArray[np.intp]:
        """Return the indices of the areas that intersect a shape."""
        west, south, east, north = shape.bounds
        left, bottom, right, top = self._boxes.T
        near = np.flatnonzero((left <= east) & (right >= west) & (bottom <= north) & (top >= south))
        shapely.prepare(shape)
        surely = shapely.intersects_xy(shape, self._points[near])
        unsure = near[~surely]
        touching = [
            part[shapely.intersects(shape, polygons([self._areas[index] for index in part.tolist()]))]
            for part in np.split(unsure, range(_SLICE, len(unsure), _SLICE))
        ]
        return np.concatenate([near[surely], *touching])


def _points_and_boxes(areas: Sequence[Area]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, 2) longitude and latitude of a point inside each area, and (n, 4) the box around it."""
    points, around = np.zeros((len(areas), 2)), np.zeros((len(areas), 4))
    for start in range(0, len(areas), _SLICE):
        some = slice(start, start + _SLICE)
        shapes = polygons(areas[some])
        points[some] = shapely.get_coordinates(shapely.point_on_surface(shapes))
        around[some] = shapely.bounds(shapes)
    return points, around


def parts_of(areas: Sequence[Area]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return all polygons of the areas, and the index of the area of each. Areas of one part are not copied."""
    shapes = polygons(areas)
    if (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON).all():
        return shapes, np.arange(len(areas))
    parts, owners = shapely.get_parts(shapes, return_index=True)
    return parts, owners


def is_near_180(scene: Scene) -> bool:
    """Return whether a scene may cover areas on both sides of 180 degrees.

    A catalogue that compares degrees in the plane returns such a scene only for searches on one side.
    """
    if scene.footprint is None:
        return False
    west, _, east, _ = scene.footprint.bounds
    return bool(west < -NEAR_180 or east > NEAR_180)


def seasons(areas: Sequence[Area]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first and last day of each area's season as ordinals; open seasons extend to the calendar's ends."""
    first = np.full(len(areas), date.min.toordinal(), np.int64)
    last = np.full(len(areas), date.max.toordinal(), np.int64)
    for number, area in enumerate(areas):
        if area.start:
            first[number] = area.start.toordinal()
        if area.end:
            last[number] = area.end.toordinal()
    return first, last


def within(spans: Iterable[Span], first: NDArray[np.int64], last: NDArray[np.int64]) -> list[Span]:
    """Shorten each span to the time from the first to the last day of the seasons that overlap it.

    Args:
        spans: half-open spans in UTC, in order.
        first: first day of each season, as `seasons` returns it.
        last: last day of each season.

    Returns:
        The shortened spans, without those that no season overlaps.
    """
    found = []
    for start, end in spans:
        day, until = start.toordinal(), (end - timedelta(microseconds=1)).toordinal()
        touching = (first <= until) & (last >= day)
        if touching.any():
            opens, closes = int(first[touching].min()), int(last[touching].max())
            found.append(
                (_midnight(opens) if opens > day else start, _midnight(closes + 1) if closes < until else end)
            )
    return found


def _midnight(day: int) -> datetime:
    return datetime.combine(date.fromordinal(day), time(), UTC)


def _margin(latitude: float) -> float:
    """Return the maximum distance, in km, by which a scene may extend beyond its footprint.

    Edges of a scene are straight in UTM, those of its footprint in lon/lat. The distance between them is at most
    side^2 tan(latitude) / (8 R) for a side of 110 km on a sphere of radius 6371 km; 1 km is enough up to 76
    degrees.
    """
    return float(max(1.0, 0.24 * np.tan(np.radians(min(latitude, 89.0)))))


def widened(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes, (n, 4) in degrees, widened by the distance that scenes may extend beyond their footprints."""
    latitude = np.minimum(np.abs(boxes[:, 1::2]).max(axis=1), 89.0)
    margin = np.array([_margin(each) for each in latitude]) / KM_PER_DEGREE
    across = margin / np.cos(np.radians(np.minimum(latitude + margin, 89.5)))
    wide: NDArray[np.float64] = boxes + np.column_stack([-across, -margin, across, margin])
    return wide


def _widen(shape: BaseGeometry, km: float) -> BaseGeometry:
    """Buffer a lon/lat shape by a distance on the ground, or by more towards the equator."""
    _, south, _, north = shape.bounds
    scale = (np.cos(np.radians(min(max(abs(south), abs(north)), 89.0))), 1.0)
    flat = shapely.transform(shape, lambda xy: xy * scale)
    wide: BaseGeometry = shapely.transform(shapely.buffer(flat, km / KM_PER_DEGREE), lambda xy: xy / scale)
    return wide


def _z_order(points: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return the positions of lon/lat points (n, 2) on a Morton curve of 65536 x 65536 cells."""
    x, y = (np.add(points, (180.0, 90.0)) / (360.0, 180.0) * 65535).astype(np.uint64).T
    place = np.zeros(len(points), np.uint64)
    for bit in np.arange(16, dtype=np.uint64):
        one, twice = np.uint64(1), bit + bit
        place |= (x >> bit & one) << twice | (y >> bit & one) << twice + one
    return place
