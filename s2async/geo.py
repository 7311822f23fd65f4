"""Places in degrees: boxes, what crosses 180 degrees, sizes on the ground, and planes of rasters. Pure."""

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
"""Kilometres of a degree of latitude, on a sphere of 6371 km."""
UTM: Final = frozenset((*range(32601, 32661), *range(32701, 32761)))
"""EPSG codes of the zones of WGS 84 / UTM, north and south, in which Sentinel-2's rasters lie."""
_LONLAT: Final = "OGC:CRS84"
_GEOD: Final = Geod(ellps="WGS84")

# ---- boxes and sizes --------------------------------------------------------------------------------------


def bbox(parts: NDArray[np.float64]) -> Box:
    """The narrowest box around some boxes, as RFC 7946 (5.2) wants it.

    West is larger than east when they lie about the antimeridian.

    Args:
        parts: Rows of west, south, east, north, as ``shapely.bounds`` gives them; none crosses the antimeridian.
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


def bounds(areas: Sequence[Area]) -> Box:
    """Box around all areas: west, south, east, north in degrees; see `bbox`."""
    return bbox(shapely.bounds(shapely.get_parts([area.polygon for area in areas])))


def area_km2(area: Area) -> float:
    """Size on the WGS 84 ellipsoid in square kilometres, holes left out (C. Karney, J. Geodesy 87, 2013)."""
    square_metres, _ = _GEOD.geometry_area_perimeter(area.polygon)
    return abs(square_metres) / 1e6


# ---- 180 degrees ------------------------------------------------------------------------------------------


def turned(degrees: Degrees) -> Degrees:
    """The same angle, from -180 to 180."""
    return (degrees + 180) % 360 - 180


def copies(shape: BaseGeometry) -> list[BaseGeometry]:
    """A lon/lat shape in one piece, and where it reaches beyond 180 degrees the same a turn further.

    One of them lies where the longitudes of others, from -180 to 180, have it.
    """
    west, _, east, _ = shape.bounds
    turns = [0.0] + [-360.0] * (east > 180) + [360.0] * (west < -180)
    return [translate(shape, turn) for turn in turns]


# ---- grids ------------------------------------------------------------------------------------------------


def projected(lonlat: NDArray[np.float64], epsg: int) -> NDArray[np.float64]:
    """Points (n, 2) in lon/lat on the plane of a CRS; infinite where that ends.

    Raises:
        ValueError: The CRS is not known.
        LocalError: PROJ cannot read its database.
    """
    try:
        x, y = _to_plane(epsg).transform(lonlat[:, 0], lonlat[:, 1], errcheck=False)
    except ProjError as error:  # each thread looks into PROJ's database for itself
        raise _unknown(epsg) from error
    return np.column_stack([x, y])


def unprojected(xy: NDArray[np.float64], epsg: int) -> NDArray[np.float64]:
    """Points (n, 2) on the plane of a CRS in lon/lat."""
    lon, lat = Transformer.from_crs(f"EPSG:{epsg}", _LONLAT, always_xy=True).transform(xy[:, 0], xy[:, 1])
    return np.column_stack([lon, lat])


def _unknown(epsg: int) -> Exception:
    """The error for a CRS that PROJ does not know, or does not find because its database cannot be read.

    The zones of UTM, in which all scenes are, are in every such database.
    """
    if epsg in UTM:
        return LocalError(
            "PROJ cannot read its database: too few open files (ulimit -n), too little memory (ulimit -v), or "
            "pyproj has to be installed anew"
        )
    return ValueError(f"EPSG:{epsg} is not a known CRS")


@lru_cache(maxsize=128)
def _to_plane(epsg: int) -> Transformer:
    return Transformer.from_crs(_LONLAT, f"EPSG:{epsg}", always_xy=True)
