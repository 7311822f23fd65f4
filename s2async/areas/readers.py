"""Readers of area files: GeoJSON, CSV with a wkt column, WKT in the configuration, and any vector file.

Readers return names, geometries and their places in the file. They only check the format; `loader` does the rest.
"""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from s2async.config.toml import toml_value
from s2async.errors import AreaError
from s2async.text import one_line

_EWKT: Final = re.compile(r"\s*SRID\s*=\s*([0-9]{1,6})\s*;", re.IGNORECASE)
_GEOMETRIES: Final = frozenset(
    ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One area as the file gives it."""

    place: str
    """Place for messages: file and line, or file and number of the feature, counted from 1."""
    name: str
    geometry: BaseGeometry | None
    srid: int | None = None
    """EPSG code of an EWKT text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """All areas of a file, and its CRS."""

    place: str
    """For messages: the file, or the place in the configuration."""
    records: list[Record]
    crs: str | None = None
    """For pyproj. None: lon/lat unless the configuration sets it; empty: the file lacks one."""


def read_geojson(path: Path, name_field: str) -> Source:
    """Read a FeatureCollection, a Feature or a bare geometry (named after the file).

    It respects a ``crs`` member as in GeoJSON 2008.

    Raises:
        AreaError: it is not JSON or not GeoJSON, or a geometry cannot be read, or a feature has no name field.
    """
    file = one_line(path, 200)
    try:
        data = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise AreaError(f"{file}:{error.lineno}: not JSON ({error.msg}); correct it or export it again") from None
    except ValueError:
        raise AreaError(f"{file}: not JSON (a number of thousands of digits); export the file again") from None
    except RecursionError:
        raise AreaError(f"{file}: nested too deeply for GeoJSON; export the file again") from None
    kind = data.get("type") if isinstance(data, dict) else None
    if kind == "FeatureCollection" and isinstance(data.get("features"), list):
        records = [
            _feature(feature, name_field, f"{file}: feature {number}")
            for number, feature in enumerate(data["features"], start=1)
        ]
    elif kind == "Feature":
        records = [_feature(data, name_field, file)]
    elif isinstance(kind, str) and kind in _GEOMETRIES:
        records = [Record(place=file, name=path.stem, geometry=_from_geojson(data, f"{file}:"))]
    else:
        raise AreaError(f"{file}: not GeoJSON (type {toml_value(kind)}); give a FeatureCollection of polygons")
    return Source(place=file, records=records, crs=_legacy_crs(data.get("crs"), file))


def read_csv(path: Path, name_field: str) -> Source:
    """Read a table with a header line and the columns ``wkt`` and ``name_field``.

    Columns are separated by commas, or by semicolons or tabs if the header line has these and no comma.

    Raises:
        AreaError: a column is missing, or a row does not match the header, or a WKT cannot be read.
    """
    file = one_line(path, 200)
    # The default limit is 128 KiB; a polygon of 10,000 points is larger.
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))
    text = _text(path)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    header: list[str] | None = None
    records = []
    last = 0
    try:
        for row in rows:
            place, last = f"{file}:{last + 1}", rows.line_num
            if not row:
                continue
            if header is None:
                header = [cell.strip() for cell in row]
                continue
            if len(row) != len(header):
                advice = "put the WKT in double quotes" if len(header) > 1 else "separate the columns by commas"
                raise AreaError(f"{place}: {len(row)} cells under {len(header)} columns; {advice}")
            records.append(_row(dict(zip(header, row, strict=True)), name_field, place))
    except csv.Error as error:
        raise AreaError(f"{file}:{rows.line_num}: not CSV ({error}); close every double quote") from None
    if header is None:
        raise AreaError(f"{file}: is empty; write a header line with name and wkt, and a line for each area")
    srids = {record.srid for record in records}
    if len(srids) == 1 and (srid := srids.pop()) is not None:  # each line has the same: the CRS of the file
        return Source(place=file, records=[replace(record, srid=None) for record in records], crs=f"EPSG:{srid}")
    return Source(place=file, records=records)


def read_vector(path: Path, name_field: str) -> Source:
    """Read any vector file with one layer through GDAL (pyogrio), in the CRS of the file.

    Raises:
        AreaError: pyogrio is not installed, or GDAL cannot read the file, or it has several layers.
    """
    file = one_line(path, 200)
    try:
        import pyogrio
    except ImportError:
        raise AreaError(
            f"{file}: needs an extra to be read: pip install 's2async[vector]', or save it as GeoJSON"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layers = [str(name) for name, _ in pyogrio.list_layers(path)]
            meta, _, shapes, columns = pyogrio.raw.read(path, layer=0, force_2d=True)
    except (RuntimeError, ValueError, OSError) as error:
        reason = one_line(" ".join(str(error).split()), 120)
        raise AreaError(f"{file}: cannot be read ({reason}); name a vector file or save it as GeoJSON") from None
    if len(layers) != 1:
        raise AreaError(
            f"{file}: holds {len(layers)} layers ({_list(layers)}); save the areas in a file of their own"
        )
    if shapes is None:
        raise AreaError(f"{file}: holds no geometries; name a file of polygons")
    fields = [str(field) for field in meta["fields"]]
    records = []
    for number, wkb in enumerate(shapes):
        place = f"{file}: feature {number + 1}"
        name = _name(
            {field: column[number] for field, column in zip(fields, columns, strict=True)}, name_field, place
        )
        records.append(Record(place=place, name=name, geometry=_from_wkb(wkb, place)))
    return Source(place=file, records=records, crs=str(meta["crs"] or ""))


def read_wkt(place: str, areas: Iterable[tuple[str, str, str]]) -> Source:
    """Read areas from tuples (place, name, WKT).

    Raises:
        AreaError: a text is not WKT.
    """
    return Source(place=place, records=[_wkt_record(*area) for area in areas])


READERS: Final[Mapping[str, Callable[[Path, str], Source]]] = {
    ".geojson": read_geojson,
    ".json": read_geojson,
    ".csv": read_csv,
}
"""Reader by suffix; every other file is read by :func:`read_vector`."""


def _delimiter(text: str) -> str:
    """The separator of columns in the header line."""
    header = re.search(r"[^\r\n]+", text)
    return next((char for char in ",;\t" if header and char in header[0]), ",")


def _text(path: Path) -> str:
    file = one_line(path, 200)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise AreaError(f"{file}: cannot be read ({error.strerror or error}); name a readable file") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise AreaError(f"{file}:{line}: not UTF-8; save the file as UTF-8") from None


def _feature(feature: Any, name_field: str, place: str) -> Record:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise AreaError(f"{place}: is not a GeoJSON Feature; wrap each geometry in one")
    properties = feature.get("properties")
    fields = {"id": feature["id"]} if "id" in feature else {}
    if isinstance(properties, dict):
        fields |= properties
    name = _name(fields, name_field, place)
    geometry = feature.get("geometry")
    return Record(
        place=place,
        name=name,
        geometry=None if geometry is None else _from_geojson(geometry, f'{place}: area "{one_line(name)}":'),
    )


def _row(cells: Mapping[str, str], name_field: str, place: str) -> Record:
    column = next((key for key in cells if key.casefold() == "wkt"), None)
    if column is None:
        raise AreaError(f'{place}: no column "wkt"; the columns are {_list(cells)}')
    return _wkt_record(place, _name(cells, name_field, place), cells[column])


def _name(fields: Mapping[str, Any], name_field: str, place: str) -> str:
    if name_field not in fields:
        advice = f"set name_field to one of: {_list(fields)}" if fields else "give every area one"
        raise AreaError(f'{place}: no field "{one_line(name_field)}" for the name; {advice}')
    value = fields[name_field]
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)  # shapefiles store whole numbers as floats
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise AreaError(f'{place}: the name is empty; fill the field "{one_line(name_field)}"')
    if not isinstance(value, str):
        raise AreaError(f"{place}: the name is {toml_value(value)}; write text or a whole number")
    return value.strip()


def _wkt_record(place: str, name: str, text: str) -> Record:
    name, srid = name.strip(), _EWKT.match(text)
    wkt = text[srid.end() :] if srid else text
    return Record(
        place=place,
        name=name,
        geometry=_parsed(shapely.from_wkt, wkt, f'{place}: area "{one_line(name)}":'),
        srid=int(srid[1]) if srid else None,
    )


def _from_geojson(geometry: Any, where: str) -> BaseGeometry:
    if not isinstance(geometry, dict):
        raise AreaError(f"{where} the geometry is {toml_value(geometry)}; give a Polygon or MultiPolygon")
    if "coordinates" in geometry:
        geometry = {**geometry, "coordinates": _flat(geometry["coordinates"])}
    return _parsed(shapely.from_geojson, json.dumps(geometry), where)


def _flat(coordinates: Any, depth: int = 4) -> Any:
    """Drop heights, which GEOS before 3.12 does not accept in GeoJSON."""
    if not depth or not isinstance(coordinates, list) or not coordinates:
        return coordinates
    if isinstance(coordinates[0], list):
        return [_flat(part, depth - 1) for part in coordinates]
    return coordinates[:2]


def _from_wkb(wkb: bytes | None, place: str) -> BaseGeometry | None:
    return None if wkb is None else _parsed(shapely.from_wkb, wkb, f"{place}:")


def _parsed(parse: Callable[[Any], Any], text: str | bytes, where: str) -> BaseGeometry:
    try:
        with np.errstate(all="ignore"):
            geometry: BaseGeometry = parse(text)
    except (ShapelyError, NotImplementedError, ValueError, TypeError) as error:
        raise AreaError(f"{where} {_why(str(error))}") from None
    return geometry


def _why(message: str) -> str:
    """Explain why GEOS refused a geometry, and what to do."""
    if "closed" in message:
        return "a ring is not closed; repeat its first point at its end"
    if "number of points" in message:
        return "a ring has fewer than three different points; give them, and the first again at the end"
    if any(word in message.lower() for word in ("nonlinear", "curve", "circular")):
        return "curves cannot be used; convert them to straight lines"
    message = one_line(" ".join(message.split(": ", 1)[-1].split()), 100)
    return f"cannot be read ({message}); write POLYGON ((lon lat, lon lat, ...)) or a GeoJSON Polygon"


def _legacy_crs(member: Any, file: str) -> str | None:
    if member is None:
        return None
    properties = member.get("properties") if isinstance(member, dict) and member.get("type") == "name" else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str):
        raise AreaError(f'{file}: its "crs" member cannot be read; remove it, and set crs in the config if needed')
    return name


def _list(names: Iterable[str]) -> str:
    return one_line(", ".join(names), 200)
