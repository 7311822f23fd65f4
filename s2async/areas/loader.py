"""Areas from WKT, GeoJSON, CSV and vector files: checked before any request, named, and fingerprinted.

The polygon identifies an area: normalised, in lon/lat degrees (OGC:CRS84), rounded to 1e-9 degrees (0.1 mm). So
the same polygon as WKT, as GeoJSON or in a file of doubles is the same area. The name is only used for the folder
and in tables.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from s2async.areas import frames
from s2async.areas.datums import Coordinates, offline
from s2async.areas.folder_names import folder_name, folder_names
from s2async.areas.frames import NAMED, Frame
from s2async.areas.readers import READERS, Record, Source, read_vector, read_wkt
from s2async.config.model import Config, InlineArea
from s2async.errors import AreaError, PlaceWarning
from s2async.geo import area_km2, turned
from s2async.models import Area, Notice
from s2async.text import one_line

__all__ = ["NAMED", "READERS", "fingerprint", "folder_name", "folder_names", "load", "read"]

DECIMALS: Final = 9
"""Decimals of a degree that are kept."""

NORTH, SOUTH = 84.0, -80.0
"""Latitudes where UTM and the MGRS tiles of Sentinel-2 end."""

PIXEL: Final = 20
"""Size of a pixel of the scene classification, in metres."""
LEFT_NAMED: Final = 10
"""Maximum number of areas that a notice names when they are no longer in the configuration."""
_SPECK: Final = 1e-6
"""Square degrees; up to 87 degrees of latitude, larger areas are larger than a pixel."""


def warn(notice: Notice) -> None:
    """Issue a Python warning for a grave notice; ignore all others."""
    if notice.grave:
        warnings.warn(notice.text, PlaceWarning, stacklevel=2)


def load(config: Config, on_notice: Callable[[Notice], None] = warn) -> list[Area]:
    """Read and check the areas of a configuration.

    Args:
        config: settings.
        on_notice: called with notices for the user, such as locations that may be wrong.

    Raises:
        AreaError: the first error, in one line: file and line, area, what is wrong, what to do.
    """
    taken = [config.run.state.name + suffix for suffix in ("", "-shm", "-wal")]
    if isinstance(config.areas, Path):
        if not config.areas.is_file():
            raise AreaError(
                f"{config.place('areas')}: areas: no such file: {one_line(config.areas, 200)}; correct the path"
            )
        return _areas(_read_file(config.areas, config.name_field), config.crs, on_notice, taken)
    tables = [(config.place("areas", number), area.name, area.wkt) for number, area in enumerate(config.areas)]
    return _areas(read_wkt(config.place("areas"), tables), config.crs, on_notice, taken)


def read(
    source: Path | Sequence[InlineArea],
    *,
    name_field: str = "name",
    crs: str | None = None,
    on_notice: Callable[[Notice], None] = warn,
) -> list[Area]:
    """Read and check areas without a configuration.

    Args:
        source: a file, or names and WKT.
        name_field: field or column of the file with the names.
        crs: CRS of the coordinates, whose order is then x (or lon) first; None for that of the file, or else
            lon/lat.
        on_notice: called with notices for the user, such as locations that may be wrong.

    Raises:
        AreaError: the first error, in one line: file and line, area, what is wrong, what to do.
    """
    if isinstance(source, Path):
        if not source.is_file():
            raise AreaError(f"{one_line(source, 200)}: no such file; correct the path")
        return _areas(_read_file(source, name_field), crs, on_notice)
    tables = [(f"[[areas]] {number}", area.name, area.wkt) for number, area in enumerate(source, start=1)]
    return _areas(read_wkt("areas", tables), crs, on_notice)


def fingerprint(polygon: Polygon | MultiPolygon) -> str:
    """Hash a polygon: 16 hex digits of the SHA-256 of its canonical WKB (2D, little endian).

    The result does not depend on the start and direction of rings, on the order of rings and parts, on repeated
    points, on Z and M, or on digits beyond 1e-9 degrees.
    """
    return _hash(_canonical(polygon))


def removed_notice(former: Mapping[str, str], areas: Sequence[Area]) -> str:
    """A notice about areas of the last run that are not in this run; empty when there are none.

    Args:
        former: names of the last run's areas by fingerprint.
        areas: the areas of this run.
    """
    outlines, names = {area.fingerprint for area in areas}, {area.name for area in areas}
    left = [
        f"{name} (its former outline)" if name in names else name
        for fingerprint, name in former.items()
        if fingerprint not in outlines
    ]
    if not left:
        return ""
    more = f" and {len(left) - LEFT_NAMED:,} more" if len(left) > LEFT_NAMED else ""
    count = "1 area" if len(left) == 1 else f"{len(left):,} areas"
    are, their = ("is", "its") if len(left) == 1 else ("are", "their")
    named = ", ".join(left[:LEFT_NAMED]) + more
    return f"{count} of the last run {are} no longer in the configuration; {their} crops stay on disk: {named}"


def specks_notice(areas: Sequence[Area]) -> str:
    """A notice about areas that are smaller than a pixel; empty when there are none."""
    specks = [area.name for area in areas if area.polygon.area < _SPECK and area_km2(area) * 1e6 < PIXEL**2]
    if not specks:
        return ""
    named = ", ".join(specks[:NAMED]) + (", ..." if len(specks) > NAMED else "")
    what = "1 area is" if len(specks) == 1 else f"{len(specks):,} areas are"
    return f"{what} smaller than a pixel of {PIXEL} m, and will most likely have no crop: {named}"


# ---- from records to areas --------------------------------------------------------------------------------


def _read_file(path: Path, name_field: str) -> Source:
    return READERS.get(path.suffix.lower(), read_vector)(path, name_field)


def _areas(
    source: Source, wanted: str | None, on_notice: Callable[[Notice], None], taken: Sequence[str] = ()
) -> list[Area]:
    if not source.records:
        raise AreaError(f"{source.place}: there is no area; give at least one polygon with a name")
    with offline():
        polygons, prints = _placed(source, wanted, on_notice)
    folders = folder_names(polygons, taken)
    return [
        Area(name=name, polygon=polygons[name], fingerprint=identity, folder=folders[name])
        for identity, name in prints.items()
    ]


def _placed(
    source: Source, wanted: str | None, on_notice: Callable[[Notice], None]
) -> tuple[dict[str, Polygon | MultiPolygon], dict[str, str]]:
    """Return polygons in lon/lat by name, and names by fingerprint."""
    xy, owners = shapely.get_coordinates([record.geometry for record in source.records], return_index=True)
    frame = frames.choose(source.place, source.crs, wanted, xy, on_notice)
    names = [record.name for record in source.records]
    notice = frames.accuracy_notice(frame, xy, owners, names, asked=wanted is not None)
    polygons: dict[str, Polygon | MultiPolygon] = {}
    prints: dict[str, str] = {}
    for record in source.records:
        where = f'{record.place}: area "{one_line(record.name)}"'
        _check_name(record.name, where)
        if record.name in polygons:
            raise AreaError(f"{where}: there is another area of this name; give each its own")
        _check_srid(record, frame, where)
        polygon = _polygon(record.geometry, frame, where)
        identity = _hash(polygon)
        if identity in prints:
            raise AreaError(
                f'{where}: has the polygon of area "{one_line(prints[identity])}"; remove one of the two'
            )
        polygons[record.name], prints[identity] = polygon, record.name
    if notice:
        on_notice(notice)
    return polygons, prints


def _check_name(name: str, where: str) -> None:
    if not name:
        raise AreaError(f"{where}: the name is empty; write one")
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise AreaError(f"{where}: the name holds half a character (a lone surrogate); write it again")


def _check_srid(record: Record, frame: Frame, where: str) -> None:
    if record.srid is None:
        return
    stated = frames.known(f"EPSG:{record.srid}", f"{where}: SRID")
    if not frame.agrees(stated, shapely.get_coordinates(record.geometry)):
        raise AreaError(
            f"{where}: SRID={record.srid}, but the areas are in {frames.named(frame.crs)}; "
            f'set crs = "EPSG:{record.srid}" if all are in it'
        )


# ---- polygons ---------------------------------------------------------------------------------------------


def _polygon(geometry: BaseGeometry | None, frame: Frame, where: str) -> Polygon | MultiPolygon:
    """Check a geometry and return its canonical form in lon/lat."""
    if geometry is None or geometry.is_empty:
        raise AreaError(f"{where}: is empty; draw a polygon")
    if not isinstance(geometry, Polygon | MultiPolygon):
        raise AreaError(f"{where}: is a {geometry.geom_type}; give a Polygon or MultiPolygon")
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise AreaError(f"{where}: holds a coordinate that is not a finite number; correct it")
    if not frame.lonlat:
        geometry = shapely.transform(shapely.force_2d(geometry), frame.move)
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise AreaError(f"{where}: lies outside the region of the CRS; check crs and the order of x and y")
    _check_range(shapely.get_coordinates(geometry), where, lonlat=frame.lonlat)
    try:
        polygon = _canonical(geometry)
    except ShapelyError:
        raise AreaError(f"{where}: a ring has fewer than three different points; draw a polygon") from None
    _check_shape(polygon, where)
    return polygon


def _check_range(xy: Coordinates, where: str, *, lonlat: bool) -> None:
    lon, lat = xy[:, 0], xy[:, 1]
    far_lon, far_lat = lon[np.abs(lon).argmax()], lat[np.abs(lat).argmax()]
    if lonlat and max(abs(far_lon), abs(far_lat)) > 360:
        raise AreaError(
            f'{where}: {far_lon:g} {far_lat:g} looks like metres; give crs, such as crs = "EPSG:25833"'
        )
    if abs(far_lat) > 90:
        swapped = abs(far_lon) <= 90 and abs(far_lat) <= 180
        advice = "looks like lat,lon: write longitude first" if swapped else "correct it"
        raise AreaError(f"{where}: latitude {far_lat:g} is beyond 90; {advice}")
    if abs(far_lon) > 180:
        raise AreaError(
            f"{where}: longitude {far_lon:g} is beyond 180; write {turned(far_lon):g}, "
            "and split at 180 what crosses it"
        )
    if lat.max() > NORTH or lat.min() < SOUTH:
        raise AreaError(
            f"{where}: reaches latitude {far_lat:g}, but Sentinel-2's tiles end at 84 N and 80 S; cut it there"
        )


def _check_shape(polygon: Polygon | MultiPolygon, where: str) -> None:
    for part in _parts(polygon):
        west, _, east, _ = part.bounds
        if east - west > 180:
            raise AreaError(
                f"{where}: spans {east - west:g} degrees of longitude; "
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
        raise AreaError(f"{where}: {what} at {at.rstrip(']')} (lon lat); correct the outline")


def _canonical(geometry: BaseGeometry) -> Polygon | MultiPolygon:
    flat = shapely.transform(shapely.force_2d(geometry), lambda xy: np.round(xy, DECIMALS) + 0.0)
    parts = [part for part in _parts(shapely.remove_repeated_points(flat)) if not part.is_empty]
    whole: Polygon | MultiPolygon = shapely.normalize(parts[0] if len(parts) == 1 else MultiPolygon(parts))
    return whole


def _hash(canonical: Polygon | MultiPolygon) -> str:
    wkb = shapely.to_wkb(canonical, byte_order=1, output_dimension=2)
    return hashlib.sha256(wkb).hexdigest()[:16]


def _parts(polygon: BaseGeometry) -> list[Polygon]:
    return [polygon] if isinstance(polygon, Polygon) else list(shapely.get_parts(polygon))
