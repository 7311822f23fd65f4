"""Checks of geometries: whole slices at once with vectorised shapely; those that fail are checked one by one.

Both ways give the same polygons. Only the slow way, which checks a single geometry, can say what is wrong.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import GeometryType, MultiPolygon, Polygon
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from s2async.areas import rings
from s2async.areas.datums import Coordinates
from s2async.areas.frames import Frame
from s2async.geo import turned

DECIMALS: Final = 9
"""Number of decimals of a degree that are kept."""
NORTH, SOUTH = 84.0, -80.0
"""Latitudes at which UTM and the MGRS tiles of Sentinel-2 end."""
SLICE: Final = 2_000
"""Number of records that are processed at once. Between slices, other threads get the interpreter lock."""

Geometries = NDArray[np.object_]
Buffer = Callable[[Geometries, float], Geometries]
"""Grows geometries in lon/lat by a distance in metres."""
Repair = Callable[[BaseGeometry], tuple[BaseGeometry, str] | None]
"""Repairs a geometry in lon/lat, and says what was done; None if it cannot be repaired."""

_POLYGONAL: Final = (GeometryType.POLYGON, GeometryType.MULTIPOLYGON)
_COLLECTION: Final = GeometryType.GEOMETRYCOLLECTION


class UnfitError(Exception):
    """A geometry cannot be an area. The text says why and what to do, without naming the area."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """The polygons of all records, with faults and repairs."""

    polygons: Geometries
    """Canonical polygons in lon/lat; None for records without one."""
    faults: Mapping[int, str] = field(default_factory=dict)
    """Why a record has no polygon, and what to do; by number of the record from 0."""
    repairs: Mapping[int, str] = field(default_factory=dict)
    """What was repaired, by number of the record from 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checks:
    """The checks of the geometries of one file."""

    frame: Frame
    """CRS of the coordinates."""
    grow: Callable[[Geometries], Geometries] | None = None
    """Grows geometries in lon/lat by a fixed distance; with it, points and lines can be areas as well."""
    repair: Repair | None = None
    """Repairs geometries that are not valid."""

    def all(self, geometries: Geometries) -> Checked:
        """Check geometries, and return their canonical forms.

        Args:
            geometries: of any type, in the CRS of the frame; None where there is no geometry.
        """
        with np.errstate(all="ignore"):  # numpy warns about results of GEOS for huge numbers
            return self._all(geometries)

    def _all(self, geometries: Geometries) -> Checked:
        polygons = np.empty(len(geometries), object)
        for start in range(0, len(geometries), SLICE):
            polygons[start : start + SLICE] = self._quick(geometries[start : start + SLICE])
        faults: dict[int, str] = {}
        repairs: dict[int, str] = {}
        for number in np.flatnonzero(shapely.is_missing(polygons)).tolist():
            try:
                polygons[number], mended = self.one(geometries[number])
            except UnfitError as unfit:
                faults[number] = str(unfit)
            else:
                if mended:
                    repairs[number] = mended
        return Checked(polygons=polygons, faults=faults, repairs=repairs)

    # ---- the quick way ----

    def _quick(self, geometries: Geometries) -> Geometries:
        """Return canonical polygons, and None for each geometry that needs the slow way."""
        polygons = np.full(len(geometries), None, object)
        kinds = shapely.get_type_id(geometries)
        wanted = kinds != _COLLECTION if self.grow else np.isin(kinds, _POLYGONAL)
        use = np.flatnonzero(wanted & ~shapely.is_empty(geometries) & ~shapely.is_missing(geometries))
        use = use[_finite(geometries[use])]
        there = geometries[use]
        if not self.frame.lonlat:
            there = shapely.transform(shapely.force_2d(there), self.frame.move)
            there, use = _only(_finite(there), there, use)
        there, use = _only(_within(there), there, use)
        try:
            if self.grow:
                flat = np.isin(shapely.get_type_id(there), _POLYGONAL)
                fit = ~flat
                fit[flat] = _fit(canonical_all(there[flat]))
                there, use = _only(fit, there, use)
                there = self.grow(there)
                there, use = _only(_finite(there) & _within(there), there, use)
            found = canonical_all(there)
        except ShapelyError:  # raised for one or more geometries of this slice
            return polygons
        found, use = _only(_fit(found), found, use)
        polygons[use] = found
        return polygons

    # ---- the slow way ----

    def one(self, geometry: BaseGeometry | None) -> tuple[Polygon | MultiPolygon, str]:
        """Check a geometry.

        Returns:
            Its canonical form, and what was repaired.

        Raises:
            UnfitError: it cannot be an area.
        """
        if geometry is None or geometry.is_empty:
            raise UnfitError("is empty; draw a polygon")
        polygonal = isinstance(geometry, Polygon | MultiPolygon)
        if not polygonal and not (self.grow and shapely.get_type_id(geometry) != _COLLECTION):
            advice = "" if shapely.get_type_id(geometry) == _COLLECTION else ", or set buffer in metres"
            raise UnfitError(f"is a {geometry.geom_type}; give a Polygon or MultiPolygon{advice}")
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise UnfitError("holds a coordinate that is not a finite number; correct it")
        if not self.frame.lonlat:
            geometry = shapely.transform(shapely.force_2d(geometry), self.frame.move)
            if not np.isfinite(shapely.get_coordinates(geometry)).all():
                raise UnfitError("lies outside the region of the CRS; check crs and the order of x and y")
        _check_range(shapely.get_coordinates(geometry), lonlat=self.frame.lonlat)
        mended = ""
        if polygonal:
            geometry, mended = self._mended(geometry)
        if self.grow:
            (geometry,) = self.grow(np.array([geometry], object))
            _check_range(shapely.get_coordinates(geometry), lonlat=True)
        return _shaped(geometry), mended

    def _mended(self, polygon: BaseGeometry) -> tuple[BaseGeometry, str]:
        try:
            _shaped(polygon)
        except UnfitError as unfit:
            if self.repair is None:
                raise
            mended = self.repair(polygon)
            if mended is None:
                raise UnfitError(f"is beyond repair: {unfit}") from None
            return mended
        return polygon, ""


def coordinates(geometries: Geometries) -> tuple[Coordinates, NDArray[np.intp]]:
    """Return the points of geometries, one per row, and the number of the geometry of each point."""
    xy, owners = [np.empty((0, 2))], [np.empty(0, np.intp)]
    for start in range(0, len(geometries), SLICE):
        some, numbers = shapely.get_coordinates(geometries[start : start + SLICE], return_index=True)
        xy.append(some)
        owners.append(numbers + start)
    return np.concatenate(xy), np.concatenate(owners)


# ---- identity -----------------------------------------------------------------------------------------------


def fingerprint(polygon: Polygon | MultiPolygon) -> str:
    """Hash a polygon: 16 hex digits of the SHA-256 of its canonical WKB (2D, little endian).

    The result does not depend on the start or direction of rings, on the order of rings and parts, on repeated
    points, on Z and M, or on digits beyond 1e-9 degrees.
    """
    ((_, found),) = identified(np.array([canonical(polygon)], object))
    return found


def identified(polygons: Geometries) -> Iterator[tuple[bytes, str]]:
    """Yield the WKB of each of these canonical polygons, and its hash."""
    for start in range(0, len(polygons), SLICE):
        texts = shapely.to_wkb(polygons[start : start + SLICE], byte_order=1, output_dimension=2)
        for wkb in texts.tolist():
            yield wkb, hashlib.sha256(wkb).hexdigest()[:16]
        # GEOS releases the interpreter lock in each slice and takes it again before a waiting thread wakes up.
        # Such a thread therefore never waits long enough to demand the lock, and would wait for the last slice.
        time.sleep(0)


def canonical(geometry: BaseGeometry) -> Polygon | MultiPolygon:
    """Return the normal form of a polygon in lon/lat: 2D, rounded, without repeated points or empty parts.

    Raises:
        ShapelyError: a ring has too few different points.
    """
    parts = [part for part in _parts(_rounded(geometry)) if not part.is_empty]
    whole: Polygon | MultiPolygon = shapely.normalize(parts[0] if len(parts) == 1 else MultiPolygon(parts))
    return whole


def canonical_all(geometries: Geometries) -> Geometries:
    """Return the normal forms of polygons, as `canonical` does.

    Raises:
        ShapelyError: a ring of one of them has too few different points.
    """
    found = np.full(len(geometries), None, object)
    plain = rings.are_plain(geometries)
    found[plain] = rings.canonical(geometries[plain], DECIMALS)
    others = shapely.is_missing(found)
    found[others] = _canonical_others(geometries[others])
    return found


def _canonical_others(geometries: Geometries) -> Geometries:
    """Return the normal forms of polygons of any kind."""
    flat: Geometries = np.asarray(_rounded(geometries), object)
    parts, owners = shapely.get_parts(flat, return_index=True)
    for number in np.unique(owners[shapely.is_empty(parts)]).tolist():
        flat[number] = MultiPolygon([part for part in _parts(flat[number]) if not part.is_empty])
    single = shapely.get_num_geometries(flat) == 1
    flat[single] = shapely.get_geometry(flat[single], 0)
    return np.asarray(shapely.normalize(flat), object)


def _rounded(geometry: Any) -> Any:
    """Return one geometry, or an array of them, in 2D, rounded, and without repeated points."""
    flat = shapely.transform(shapely.force_2d(geometry), lambda xy: np.round(xy, DECIMALS) + 0.0)
    return shapely.remove_repeated_points(flat)


# ---- vectorised ---------------------------------------------------------------------------------------------


def _only(
    mask: NDArray[np.bool_], geometries: Geometries, numbers: NDArray[np.intp]
) -> tuple[Geometries, NDArray[np.intp]]:
    return geometries[mask], numbers[mask]


def _finite(geometries: Geometries) -> NDArray[np.bool_]:
    xy, owners = shapely.get_coordinates(geometries, return_index=True)
    finite = np.ones(len(geometries), np.bool_)
    finite[owners[~np.isfinite(xy).all(axis=1)]] = False
    return finite


def _within(geometries: Geometries) -> NDArray[np.bool_]:
    """Return a mask of geometries whose coordinates, if finite, are lon/lat where Sentinel-2 has tiles."""
    west, south, east, north = shapely.bounds(geometries).reshape(-1, 4).T
    with np.errstate(invalid="ignore"):
        within: NDArray[np.bool_] = (west >= -180) & (east <= 180) & (south >= SOUTH) & (north <= NORTH)
    return within


def _fit(polygons: Geometries) -> NDArray[np.bool_]:
    """Return a mask of canonical polygons that are valid and do not cross the antimeridian."""
    west, _, east, _ = shapely.bounds(polygons).reshape(-1, 4).T
    fit: NDArray[np.bool_] = (east - west <= 180) & shapely.is_valid(polygons) & ~shapely.is_empty(polygons)
    return fit


# ---- one by one ---------------------------------------------------------------------------------------------


def _check_range(xy: Coordinates, *, lonlat: bool) -> None:
    lon, lat = xy[:, 0], xy[:, 1]
    far_lon, far_lat = lon[np.abs(lon).argmax()], lat[np.abs(lat).argmax()]
    if lonlat and max(abs(far_lon), abs(far_lat)) > 360:
        raise UnfitError(f'{far_lon:g} {far_lat:g} looks like metres; give crs, such as crs = "EPSG:25833"')
    if abs(far_lat) > 90:
        swapped = abs(far_lon) <= 90 and abs(far_lat) <= 180
        advice = "looks like lat,lon: write longitude first" if swapped else "correct it"
        raise UnfitError(f"latitude {far_lat:g} is beyond 90; {advice}")
    if abs(far_lon) > 180:
        raise UnfitError(
            f"longitude {far_lon:g} is beyond 180; write {turned(far_lon):g}, and split at 180 what crosses it"
        )
    if lat.max() > NORTH or lat.min() < SOUTH:
        raise UnfitError(
            f"reaches latitude {far_lat:g}, but Sentinel-2's tiles end at 84 N and 80 S; cut it there"
        )


def _shaped(geometry: BaseGeometry) -> Polygon | MultiPolygon:
    """Return the canonical form of a polygon in lon/lat, if this form is valid."""
    try:
        polygon = canonical(geometry)
    except ShapelyError:
        raise UnfitError("a ring has fewer than three different points; draw a polygon") from None
    for part in _parts(polygon):
        west, _, east, _ = part.bounds
        if east - west > 180:
            raise UnfitError(
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
        raise UnfitError(f"{what} at {at.rstrip(']')} (lon lat); correct the outline")
    return polygon


def _parts(polygon: BaseGeometry) -> list[Polygon]:
    return [polygon] if isinstance(polygon, Polygon) else list(shapely.get_parts(polygon))
