"""Buffers around points, lines and polygons, by a true distance in metres. Pure.

Directions and distances are those of geodesics on the WGS 84 ellipsoid (Karney, J. Geodesy 87, 2013). The outline
around a point is therefore at the wanted distance at all latitudes.

Each line or polygon is buffered in its own plane: the azimuthal equidistant projection about its centre. At a
distance d from the centre, lengths perpendicular to the direction of the centre are too large by a relative error
of d^2 / (6 R^2), which is 4 in 100,000 at 100 km. As everywhere in the program, edges are straight in lon/lat and
only vertices are projected.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod
from shapely import GeometryType, MultiPolygon
from shapely.geometry.base import BaseGeometry

from s2async.geo import copies, turned

QUARTER: Final = 24
"""Vertices on a quarter of a circle. The outline is inside the circle by at most 0.6 per thousand of the radius,
and the area of a disc is 0.7 per thousand too small."""
_WGS84: Final = Geod(ellps="WGS84")
_WORLD: Final = shapely.box(-180, -90, 180, 90)
_HAIR: Final = 1e-8
"""Degrees; narrower pieces beyond the antimeridian would vanish when coordinates are rounded."""
_CHUNK: Final = 5_000
"""Number of geometries that are processed at once, to limit the memory: points need about 30 MB."""

Geometries = NDArray[np.object_]
Degrees = NDArray[np.float64]


def buffered(geometries: Geometries, metres: float) -> Geometries:
    """Return the areas within a distance of geometries.

    Args:
        geometries: n geometries of any type, in lon/lat degrees; None and empty geometries are returned unchanged.
        metres: the distance. If it is negative, polygons shrink, and points and lines become empty.

    Returns:
        n polygons, in lon/lat degrees from -180 to 180; those that cross the antimeridian are split there into a
        MultiPolygon. If a pole is within the distance, the result is not usable.
    """
    found = np.array(geometries, dtype=object)
    there = np.flatnonzero(~shapely.is_missing(found) & ~shapely.is_empty(found))
    points = (shapely.get_type_id(found[there]) == GeometryType.POINT) & (metres > 0)
    for draw, numbers in ((_discs, there[points]), (_grown, there[~points])):
        for start in range(0, len(numbers), _CHUNK):
            some = numbers[start : start + _CHUNK]
            found[some] = _split(draw(found[some], metres))
    return found


def _discs(points: Geometries, metres: float) -> Geometries:
    """Return the areas around points; their longitudes may continue beyond 180 degrees."""
    lon, lat = shapely.get_coordinates(points).T
    half = 2 * QUARTER
    azimuths = np.linspace(0, 180, half + 1)
    there, north, _ = _WGS84.fwd(
        np.repeat(lon, half + 1),
        np.repeat(lat, half + 1),
        np.tile(azimuths, len(lon)),
        np.full(len(lon) * (half + 1), metres),
    )
    # The western half mirrors the eastern one, which saves half of the work.
    east = turned(there.reshape(-1, half + 1) - lon[:, None])
    north = north.reshape(-1, half + 1)
    offsets = np.concatenate([east, -east[:, -2::-1]], axis=1)
    offsets[:, half] = offsets[:, 0] = 0.0
    return np.asarray(
        shapely.polygons(
            np.stack([lon[:, None] + offsets, np.concatenate([north, north[:, -2::-1]], axis=1)], axis=2)
        ),
        object,
    )


def _grown(geometries: Geometries, metres: float) -> Geometries:
    """Return the areas around geometries of any type; their longitudes may continue beyond 180 degrees."""
    flat = shapely.force_2d(geometries)
    lonlat, owners = shapely.get_coordinates(flat, return_index=True)
    centres = _centres(lonlat, owners, len(flat))
    lon, lat = centres[owners].T
    azimuths, _, distances = _WGS84.inv(lon, lat, *lonlat.T)
    angles = np.radians(azimuths)
    plane = np.column_stack([distances * np.sin(angles), distances * np.cos(angles)])
    grown = shapely.buffer(shapely.transform(flat, lambda _: plane), metres, quad_segs=QUARTER)
    plane, owners = shapely.get_coordinates(grown, return_index=True)
    lon, lat = centres[owners].T
    east, north, _ = _WGS84.fwd(lon, lat, np.degrees(np.arctan2(*plane.T)), np.hypot(*plane.T))
    beyond = np.column_stack([lon + turned(east - lon), north])
    return np.asarray(shapely.transform(grown, lambda _: beyond), object)


def _centres(lonlat: Degrees, owners: NDArray[np.intp], count: int) -> Degrees:
    """Return the mean direction of each geometry's vertices, as lon/lat; it works across the antimeridian."""
    lon, lat = np.radians(lonlat).T
    directions = (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat))
    x, y, z = (np.bincount(owners, weights=part, minlength=count) for part in directions)
    centres: Degrees = np.degrees(np.column_stack([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))]))
    return centres


def _split(polygons: Geometries) -> Geometries:
    """Split polygons that continue beyond 180 degrees at this meridian."""
    bounds = shapely.bounds(polygons)
    with np.errstate(invalid="ignore"):
        beyond = np.flatnonzero((bounds[:, 0] < -180) | (bounds[:, 2] > 180))
    for number in beyond.tolist():
        polygons[number] = _pieces(polygons[number])
    return polygons


def _pieces(polygon: BaseGeometry) -> BaseGeometry:
    within = [shapely.intersection(copy, _WORLD) for copy in copies(polygon)]
    parts = shapely.get_parts(within)
    west, _, east, _ = shapely.bounds(parts).T
    kept = parts[(shapely.get_type_id(parts) == GeometryType.POLYGON) & (east - west > _HAIR)]
    return kept[0] if len(kept) == 1 else MultiPolygon(list(kept))
