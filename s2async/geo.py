"""Geometry in degrees: boxes, the antimeridian, sizes on the ground, and projection to a raster's CRS. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from pyproj.exceptions import ProjError
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from s2async.errors import LocalError
from s2async.models import Area

Box = tuple[float, float, float, float]
"""West, south, east, north, in degrees."""
Degrees = TypeVar("Degrees", float, NDArray[np.float64])

KM_PER_DEGREE: Final = 111.2
"""Kilometres per degree of latitude, on a sphere with a radius of 6371 km."""
UTM: Final = frozenset((*range(32601, 32661), *range(32701, 32761)))
"""EPSG codes of the zones of WGS 84 / UTM, north and south: the CRS of Sentinel-2's rasters."""
_LONLAT: Final = "OGC:CRS84"
_SLICE: Final = 4096
"""Number of areas whose polygons are in memory at once."""
_OBLATE: Final = 0.015
"""Largest relative difference between a surface on the ellipsoid and on a sphere of `KM_PER_DEGREE`: a degree of
latitude has 110.57 to 111.69 km, and one of longitude 111.32 to 111.69 km times the cosine of the latitude."""
_GEOD: Final = Geod(ellps="WGS84")

# ---- boxes and sizes --------------------------------------------------------------------------------------


def bbox(parts: NDArray[np.float64]) -> Box:
    """Return the narrowest box around the given boxes, as defined by RFC 7946 (section 5.2).

    Its west is larger than its east if it crosses the antimeridian. To find it, the widest gap between the boxes
    on the circle of longitudes is determined: the result is everything but this gap.

    Args:
        parts: (n, 4) west, south, east, north in degrees, as by ``shapely.bounds``; none crosses the antimeridian.
    """
    parts = parts[np.argsort(parts[:, 0], kind="stable")]
    reached = np.maximum.accumulate(parts[:, 2])
    south, north = float(parts[:, 1].min()), float(parts[:, 3].max())
    gaps = parts[1:, 0] - reached[:-1]
    outside = parts[0, 0] + 360 - reached[-1]
    if len(gaps) and gaps.max() > outside:
        widest = int(gaps.argmax())
        return float(parts[widest + 1, 0]), south, float(reached[widest]), north
    return float(parts[0, 0]), south, float(reached[-1]), north


def polygons(areas: Sequence[Area]) -> NDArray[np.object_]:
    """Return the polygons of areas as geometry objects, which need 0.4 kB for each small field."""
    found: NDArray[np.object_] = shapely.from_wkb(np.array([area.wkb for area in areas], object))
    return found


def boxes(areas: Sequence[Area]) -> NDArray[np.float64]:
    """Return (n, 4) west, south, east, north in degrees of each area, without all polygons in memory at once."""
    parts = [shapely.bounds(polygons(areas[start : start + _SLICE])) for start in range(0, len(areas), _SLICE)]
    return np.concatenate([np.zeros((0, 4)), *parts])


def bounds(areas: Sequence[Area]) -> Box:
    """Return the box around all areas: west, south, east, north in degrees; see `bbox`."""
    return bbox(shapely.bounds(shapely.get_parts(polygons(areas))))


def area_km2(area: Area) -> float:
    """Return the size of an area on the WGS 84 ellipsoid in km2, without holes (Karney, J. Geodesy 87, 2013)."""
    square_metres, _ = _GEOD.geometry_area_perimeter(area.polygon)
    return abs(square_metres) / 1e6


def sizes_km2(areas: Sequence[Area]) -> tuple[float, float]:
    """Return the sizes of the smallest and of the largest area, as `area_km2` does.

    Nearly all areas are ruled out by bounds of their sizes on a sphere: an ellipsoid differs by less than
    `_OBLATE`, and geodesics of length s (in radians) deviate from straight edges by at most s^2 / 8.

    Args:
        areas: at least one area.
    """
    shapes = polygons(areas)
    flat, bounded = shapely.area(shapes), shapely.bounds(shapes)
    south, north = np.radians(bounded[:, 1]), np.radians(bounded[:, 3])
    across = np.where(south * north < 0, 1.0, np.cos(np.minimum(np.abs(south), np.abs(north))))
    narrow = np.cos(np.maximum(np.abs(south), np.abs(north)))
    side = np.radians((bounded[:, 2:] - bounded[:, :2]).sum(axis=1))
    bulge = shapely.length(shapes) * np.degrees(side**2 / 8)
    least = ((flat * narrow) * (1 - _OBLATE) - bulge) * KM_PER_DEGREE**2
    most = ((flat * across) * (1 + _OBLATE) + bulge) * KM_PER_DEGREE**2
    small = [area_km2(areas[number]) for number in np.flatnonzero(least <= most.min()).tolist()]
    large = [area_km2(areas[number]) for number in np.flatnonzero(most >= least.max()).tolist()]
    return min(small), max(large)


# ---- 180 degrees ------------------------------------------------------------------------------------------


def turned(degrees: Degrees) -> Degrees:
    """Return the equivalent angle from -180 to 180 degrees."""
    return (degrees + 180) % 360 - 180


def copies(shape: BaseGeometry) -> list[BaseGeometry]:
    """Return a lon/lat shape and, if it extends beyond 180 degrees, its copy shifted by 360 degrees.

    Any shape with longitudes from -180 to 180 that touches this shape on Earth touches one of them in the plane.
    """
    west, _, east, _ = shape.bounds
    turns = [0.0] + [-360.0] * (east > 180) + [360.0] * (west < -180)
    return [translate(shape, turn) for turn in turns]


# ---- grids ------------------------------------------------------------------------------------------------


def projected(lonlat: NDArray[np.float64], epsg: int) -> NDArray[np.float64]:
    """Project points from lon/lat to a CRS.

    Args:
        lonlat: (n, 2) longitude and latitude in degrees.
        epsg: EPSG code of the CRS.

    Returns:
        (n, 2) x and y; infinite for points outside the domain of the CRS.

    Raises:
        ValueError: the CRS is unknown.
        LocalError: PROJ cannot read its database.
    """
    try:
        x, y = _to_plane(epsg).transform(lonlat[:, 0], lonlat[:, 1], errcheck=False)
    except ProjError as error:  # each thread opens PROJ's database by itself, so any call may fail
        raise _unknown(epsg) from error
    return np.column_stack([x, y])


def unprojected(xy: NDArray[np.float64], epsg: int) -> NDArray[np.float64]:
    """Return the longitude and latitude in degrees, (n, 2), of points (n, 2) in a CRS."""
    lon, lat = Transformer.from_crs(f"EPSG:{epsg}", _LONLAT, always_xy=True).transform(xy[:, 0], xy[:, 1])
    return np.column_stack([lon, lat])


def _unknown(epsg: int) -> Exception:
    """Return the error for a CRS that PROJ does not know, or cannot find because its database is unreadable.

    The two cases look alike, but every database contains the UTM zones.
    """
    if epsg in UTM:
        return LocalError(
            "PROJ cannot read its database: raise the limit on open files (ulimit -n) or on memory (ulimit -v), "
            "or reinstall pyproj"
        )
    return ValueError(f"EPSG:{epsg} is not a known CRS")


@lru_cache(maxsize=128)
def _to_plane(epsg: int) -> Transformer:
    return Transformer.from_crs(_LONLAT, f"EPSG:{epsg}", always_xy=True)
