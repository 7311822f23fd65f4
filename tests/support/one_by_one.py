"""The checks of single geometries as they were before slices were checked: the oracle of `areas.checks`."""

from __future__ import annotations

import hashlib

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from s2async.areas.datums import Coordinates
from s2async.areas.frames import Frame
from s2async.geo import turned


def checked(geometry: BaseGeometry | None, frame: Frame) -> tuple[str, str]:
    """The fingerprint of a geometry and "", or "" and what is wrong with it."""
    try:
        polygon = _polygon(geometry, frame)
    except ValueError as error:
        return "", str(error)
    return hashlib.sha256(shapely.to_wkb(polygon, byte_order=1, output_dimension=2)).hexdigest()[:16], ""


def _polygon(geometry: BaseGeometry | None, frame: Frame) -> Polygon | MultiPolygon:
    if geometry is None or geometry.is_empty:
        raise ValueError("is empty; draw a polygon")
    if not isinstance(geometry, Polygon | MultiPolygon):
        raise ValueError(f"is a {geometry.geom_type}; give a Polygon or MultiPolygon")
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise ValueError("holds a coordinate that is not a finite number; correct it")
    if not frame.lonlat:
        geometry = shapely.transform(shapely.force_2d(geometry), frame.move)
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise ValueError("lies outside the region of the CRS; check crs and the order of x and y")
    _check_range(shapely.get_coordinates(geometry), lonlat=frame.lonlat)
    try:
        polygon = _canonical(geometry)
    except ShapelyError:
        raise ValueError("a ring has fewer than three different points; draw a polygon") from None
    _check_shape(polygon)
    return polygon


def _check_range(xy: Coordinates, *, lonlat: bool) -> None:
    lon, lat = xy[:, 0], xy[:, 1]
    far_lon, far_lat = lon[np.abs(lon).argmax()], lat[np.abs(lat).argmax()]
    if lonlat and max(abs(far_lon), abs(far_lat)) > 360:
        raise ValueError(f'{far_lon:g} {far_lat:g} looks like metres; give crs, such as crs = "EPSG:25833"')
    if abs(far_lat) > 90:
        swapped = abs(far_lon) <= 90 and abs(far_lat) <= 180
        advice = "looks like lat,lon: write longitude first" if swapped else "correct it"
        raise ValueError(f"latitude {far_lat:g} is beyond 90; {advice}")
    if abs(far_lon) > 180:
        raise ValueError(
            f"longitude {far_lon:g} is beyond 180; write {turned(far_lon):g}, and split at 180 what crosses it"
        )
    if lat.max() > 84 or lat.min() < -80:
        raise ValueError(
            f"reaches latitude {far_lat:g}, but Sentinel-2's tiles end at 84 N and 80 S; cut it there"
        )


def _check_shape(polygon: Polygon | MultiPolygon) -> None:
    for part in _parts(polygon):
        west, _, east, _ = part.bounds
        if east - west > 180:
            raise ValueError(
                f"spans {east - west:g} degrees of longitude; "
                "if it crosses the antimeridian, split it at 180 into a MultiPolygon"
            )
    reason, _, at = shapely.is_valid_reason(polygon).partition("[")
    if reason != "Valid Geometry":
        what = {
            "Self-intersection": "its outline crosses itself, or its parts overlap,",
            "Ring Self-intersection": "its outline touches itself",
            "Hole lies outside shell": "a hole lies outside its outline",
            "Too few points in geometry component": "a ring has fewer than three different points",
        }.get(reason, f"is not valid ({reason.lower()})")
        raise ValueError(f"{what} at {at.rstrip(']')} (lon lat); correct the outline")


def _canonical(geometry: BaseGeometry) -> Polygon | MultiPolygon:
    flat = shapely.transform(shapely.force_2d(geometry), lambda xy: np.round(xy, 9) + 0.0)
    parts = [part for part in _parts(shapely.remove_repeated_points(flat)) if not part.is_empty]
    whole: Polygon | MultiPolygon = shapely.normalize(parts[0] if len(parts) == 1 else MultiPolygon(parts))
    return whole


def _parts(polygon: BaseGeometry) -> list[Polygon]:
    return [polygon] if isinstance(polygon, Polygon) else list(shapely.get_parts(polygon))
