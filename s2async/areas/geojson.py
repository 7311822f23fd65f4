"""Reads GeoJSON by columns: features one by one from the text, polygons by the hundred into shapely.

The parser of the standard library holds the interpreter lock until it returns, and its lists of lists of numbers
take many times the memory of an array. So the text is parsed feature by feature, and each batch is converted to
columns and geometries before the next one is parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import GeometryType
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from s2async.areas.table import ReadOptions, Table
from s2async.areas.text_files import read_text
from s2async.areas.wkt_wkb import closed_ring, explained
from s2async.config.toml import toml_value
from s2async.errors import AreaError
from s2async.text import one_line

BATCH: Final = 128
"""Number of features that are converted to columns and geometries at once. With a thousand, the parsed values are
no longer in the processor's cache when they are converted, and reading takes half as long again."""

_FEATURES: Final = "features"
_GEOMETRIES: Final = frozenset(
    ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")
)
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_COMMA: Final = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_NUMBERS: Final = frozenset((int, float))
_decode: Final = json.JSONDecoder().raw_decode


def read_geojson(path: Path, options: ReadOptions) -> Table:
    """Read a FeatureCollection, a Feature or a bare geometry (named after the file).

    A ``crs`` member as in GeoJSON 2008 is respected.

    Raises:
        AreaError: the file is not JSON or not GeoJSON.
    """
    file = one_line(path, 200)
    text = read_text(path, options.encoding)
    data, records = _parsed(text.text, file)
    kind = data.get("type") if isinstance(data, dict) else None
    places, columns = None, None
    if kind != "FeatureCollection" or _FEATURES not in data:
        records, places = _Records(), [file]
        if kind == "Feature":
            records.add([data])
        elif isinstance(kind, str) and kind in _GEOMETRIES:
            records.add([{"type": "Feature", "geometry": data}])
            columns = {options.name_field: [path.stem]}
        else:
            raise AreaError(f"{file}: not GeoJSON (type {toml_value(kind)}); give a FeatureCollection of polygons")
    return Table(
        place=file,
        geometries=records.geometries(),
        columns=records.columns if columns is None else columns,
        pseudo={} if "id" in records.columns else records.ids,
        crs=_legacy_crs(data.get("crs"), file),
        places=places,
        unreadable=records.unreadable,
        malformed=records.malformed,
        closed=records.closed,
        notices=text.notices,
    )


# ---- the text -----------------------------------------------------------------------------------------------


def _parsed(text: str, file: str) -> tuple[Any, _Records]:
    """Return the outer value, and the records of its features."""
    try:
        return _parsed_by_feature(text)
    except (ValueError, RecursionError):  # the parser of the whole text finds the right message
        pass
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise AreaError(f"{file}:{error.lineno}: not JSON ({error.msg}); correct it or export it again") from None
    except ValueError:
        raise AreaError(f"{file}: not JSON (a number of thousands of digits); export the file again") from None
    except RecursionError:
        raise AreaError(f"{file}: nested too deeply for GeoJSON; export the file again") from None
    records = _Records()
    if isinstance(data, dict) and isinstance(data.get(_FEATURES), list):
        records.add(data[_FEATURES])
    elif isinstance(data, dict):
        data.pop(_FEATURES, None)
    return data, records


def _parsed_by_feature(text: str) -> tuple[dict[str, Any], _Records]:
    """Parse the members of an object; its features are parsed in batches, which are not kept.

    Returns:
        The members, including ``features`` only if it is a list, which is returned empty; and the records of the
        list.

    Raises:
        ValueError: the text is not an object, or not JSON; the position in the text is not stated.
        RecursionError: it is nested too deeply.
    """
    found: dict[str, Any] = {}
    records = _Records()
    at, more = _opened(text, _after_space(text, 0), "{", "}")
    while more:
        key, at = _decode(text, at)
        if not isinstance(key, str):
            raise ValueError("a key is not text")
        at = _after(text, _after_space(text, at), ":")
        if key == _FEATURES:  # if several members have the same key, the last one counts
            records = _Records()
            found.pop(_FEATURES, None)
        if key == _FEATURES and text[at : at + 1] == "[":
            found[_FEATURES] = []
            at = _take_features(text, at, records)
        else:
            value, at = _decode(text, at)
            if key != _FEATURES:
                found[key] = value
        at, more = _next(text, _after_space(text, at), "}")
    if at != len(text):
        raise ValueError("there is more behind the object")
    return found, records


def _take_features(text: str, at: int, records: _Records) -> int:
    """Add the elements of the list at a position to the records, and return the position after it."""
    batch: list[Any] = []
    at, more = _opened(text, at, "[", "]")
    while more:
        feature, at = _decode(text, at)
        batch.append(feature)
        if len(batch) == BATCH:
            records.add(batch)
            batch = []
        comma = _COMMA.match(text, at)
        at, more = (comma.end(), True) if comma else (_after(text, _after_space(text, at), "]"), False)
    records.add(batch)
    return at


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _after(text: str, at: int, sign: str) -> int:
    """Return the position after a sign, which must be at the given position."""
    if text[at : at + 1] != sign:
        raise ValueError(f"{sign} is missing")
    return _after_space(text, at + 1)


def _opened(text: str, at: int, sign: str, end: str) -> tuple[int, bool]:
    """Return the position of the first member of a list or object, and whether there is one."""
    at = _after(text, at, sign)
    return (_after_space(text, at + 1), False) if text[at : at + 1] == end else (at, True)


def _next(text: str, at: int, end: str) -> tuple[int, bool]:
    """Return the position of the next member of a list or object, and whether there is one."""
    return (_after(text, at, end), False) if text[at : at + 1] == end else (_after(text, at, ","), True)


# ---- records ------------------------------------------------------------------------------------------------


class _Records:
    """The features read so far, as columns."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self.ids: dict[str, list[Any]] = {}
        """Name of the pseudo column with the ``id`` members of the features, if there are any."""
        self.unreadable: dict[int, str] = {}
        self.malformed: dict[int, str] = {}
        self.closed: dict[int, BaseGeometry] = {}
        self._count = 0
        self._geometries: list[NDArray[np.object_]] = []

    def geometries(self) -> NDArray[np.object_]:
        """Return all geometries; None where there is no geometry or it cannot be read."""
        return np.concatenate([np.empty(0, object), *self._geometries])

    def add(self, features: Sequence[Any]) -> None:
        """Add the next features."""
        rows: list[Mapping[str, Any]] = []
        shapes: list[Any] = []
        for number, feature in enumerate(features, start=self._count):
            if not isinstance(feature, dict) or feature.get("type") != "Feature":
                self.malformed[number] = "is not a GeoJSON Feature; wrap each geometry in one"
                feature = {}
            properties = feature.get("properties")
            rows.append(properties if isinstance(properties, dict) else {})
            shapes.append(feature.get("geometry"))
        self._extend(self.columns, rows)
        ids = [{"id": f["id"]} if isinstance(f, dict) and "id" in f else {} for f in features]
        if self.ids or any(ids):
            self._extend(self.ids, ids)
        self._geometries.append(self._shapes(shapes))
        self._count += len(features)

    def _extend(self, columns: dict[str, list[Any]], rows: Sequence[Mapping[str, Any]]) -> None:
        for key in dict.fromkeys(chain.from_iterable(rows)):
            if key not in columns:
                columns[key] = [None] * self._count
        for key, column in columns.items():
            column += [row.get(key) for row in rows]

    def _shapes(self, shapes: Sequence[Any]) -> NDArray[np.object_]:
        found = np.full(len(shapes), None, object)
        kinds = [shape.get("type") if isinstance(shape, dict) else None for shape in shapes]
        coordinates: list[Any] = [
            shape.get("coordinates") if kind else None for shape, kind in zip(shapes, kinds, strict=True)
        ]
        single = [number for number, kind in enumerate(kinds) if kind == "Polygon"]
        several = [number for number, kind in enumerate(kinds) if kind == "MultiPolygon"]
        polygons = _polygons([coordinates[number] for number in single])
        if polygons is not None:
            found[single] = polygons
        multi = [coordinates[number] for number in several]
        if multi and all(isinstance(parts, list) and parts for parts in multi):
            polygons = _polygons(list(chain.from_iterable(multi)))
            if polygons is not None:
                owners = np.repeat(np.arange(len(multi)), [len(parts) for parts in multi])
                found[several] = shapely.multipolygons(polygons, indices=owners)
        for number in np.flatnonzero(shapely.is_missing(found)).tolist():
            if shapes[number] is not None:
                found[number] = self._shape(shapes[number], self._count + number)
        return found

    def _shape(self, shape: Any, number: int) -> BaseGeometry | None:
        """Read a geometry of any type; if it cannot be read, note why."""
        if not isinstance(shape, dict):
            self.unreadable[number] = f"the geometry is {toml_value(shape)}; give a Polygon or MultiPolygon"
            return None
        if "coordinates" in shape:
            shape = {**shape, "coordinates": _flat(shape["coordinates"])}
        found, why = _from_geojson(shape)
        if why:
            self.unreadable[number] = why
            if "closed" in why and shape.get("type") in ("Polygon", "MultiPolygon"):
                closed, _ = _from_geojson({**shape, "coordinates": _closed(shape["coordinates"])})
                if closed is not None:
                    self.closed[number] = closed
        return found


def _polygons(coordinates: Sequence[Any]) -> NDArray[np.object_] | None:
    """Make polygons from GeoJSON coordinates, all at once.

    Returns:
        As many polygons; None if any of them must be examined individually.
    """
    if not coordinates or not _are_lists(coordinates):
        return None
    rings = list(chain.from_iterable(coordinates))
    if not _are_lists(rings):
        return None
    points = list(chain.from_iterable(rings))
    if not _are_lists(points) or len(sizes := set(map(len, points))) != 1:
        return None
    numbers = list(chain.from_iterable(points))
    size = sizes.pop()
    if size < 2 or not set(map(type, numbers)) <= _NUMBERS:
        return None
    try:
        xy = np.ascontiguousarray(np.array(numbers, np.float64).reshape(-1, size)[:, :2])
    except OverflowError:
        return None
    lengths = np.fromiter(map(len, rings), np.int64, len(rings))
    ends = np.cumsum(lengths)
    if lengths.min() < 4 or not np.isfinite(xy).all() or (xy[ends - lengths] != xy[ends - 1]).any():
        return None
    offsets = (
        np.concatenate([[0], ends]),
        np.concatenate([[0], np.cumsum(np.fromiter(map(len, coordinates), np.int64, len(coordinates)))]),
    )
    found: NDArray[np.object_] = shapely.from_ragged_array(GeometryType.POLYGON, xy, offsets)
    return found


def _are_lists(values: Sequence[Any]) -> bool:
    """Return whether all values are lists that are not empty."""
    return set(map(type, values)) == {list} and all(values)


def _from_geojson(shape: Mapping[str, Any]) -> tuple[BaseGeometry | None, str]:
    """Return a geometry, or why it cannot be read and what to do."""
    try:
        with np.errstate(all="ignore"):
            return shapely.from_geojson(json.dumps(shape)), ""
    except (ShapelyError, NotImplementedError, ValueError, TypeError) as error:
        return None, explained(str(error))


def _flat(coordinates: Any, depth: int = 4) -> Any:
    """Drop heights, which GEOS before 3.12 does not accept in GeoJSON."""
    if not depth or not isinstance(coordinates, list) or not coordinates:
        return coordinates
    if isinstance(coordinates[0], list):
        return [_flat(part, depth - 1) for part in coordinates]
    return coordinates[:2]


def _closed(coordinates: Any) -> Any:
    """Return the coordinates of a polygon or multipolygon with all rings closed."""
    if coordinates and isinstance(coordinates[0], list) and coordinates[0] and isinstance(coordinates[0][0], list):
        return [_closed(part) for part in coordinates]
    return closed_ring(coordinates) if coordinates else coordinates


def _legacy_crs(member: Any, file: str) -> str | None:
    if member is None:
        return None
    properties = member.get("properties") if isinstance(member, dict) and member.get("type") == "name" else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str):
        raise AreaError(f'{file}: its "crs" member cannot be read; remove it, and set crs in the config if needed')
    return name
