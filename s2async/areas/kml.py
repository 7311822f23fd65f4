"""Reads placemarks of KML and KMZ files, with their folders and extended data.

The XML is read here and not by GDAL: its driver KML drops extended data, and LIBKML is not in all builds; both
treat a folder as a layer. Here, all folders are read as one table.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from s2async.areas.cell_values import typed
from s2async.areas.naming import FOLDER
from s2async.areas.table import ReadOptions, Table, free_name
from s2async.areas.text_files import decoded, read_bytes, xml_declaration
from s2async.areas.wkt_wkb import closed_ring, explained
from s2async.errors import AreaError
from s2async.text import one_line

NAME: Final = "Name"
"""Column with the names of placemarks, as GDAL calls it."""
DESCRIPTION: Final = "description"
ID: Final = "id"
"""Column with the ``id`` attributes of placemarks."""

_LARGEST: Final = 1 << 30
"""Maximum number of bytes that are read of a KML in a KMZ: a small archive may claim to contain any amount."""
_COMMA: Final = re.compile(r"\s*,\s*")
_STRETCH: Final = 1 << 18
"""Number of characters that are parsed at once. Between them, other threads get the interpreter lock."""
_SHAPES: Final = frozenset(("Point", "LineString", "LinearRing", "Polygon", "MultiGeometry"))
_MULTI: Final[Mapping[str, Callable[[list[Any]], BaseGeometry]]] = {
    "Point": shapely.MultiPoint,
    "LineString": shapely.MultiLineString,
    "Polygon": shapely.MultiPolygon,
}


class _UnfitError(Exception):
    """A geometry cannot be read. The text says why and what to do."""


def read_kml(path: Path, options: ReadOptions) -> Table:
    """Read all placemarks of a KML or KMZ file.

    Columns are `NAME`, `DESCRIPTION` and `ID` if any placemark has them, and each ``Data`` and ``SimpleData`` of
    the extended data. Columns that no schema declares as text may become numbers by the rule of `cell_values`; the
    column with the names becomes integers at most. The folder of each placemark, such as ``North/2024``, is a
    pseudo column.

    Args:
        path: the file.
        options: the encoding if it is set, and the folder if only one is wanted (``layer``).

    Raises:
        AreaError: the file is not KML, or contains no placemarks, or not the wanted folder.
    """
    file = one_line(path, 200)
    raw = _kml_of_kmz(path) if path.suffix.lower() == ".kmz" else read_bytes(path)
    text = decoded(raw, file, options.encoding, xml_declaration(raw))
    root = _parsed(text.text, file)
    found = list(_placemarks(root))
    if not found:
        link = next(root.iter("NetworkLink"), None) is not None
        advice = "it links to another file: save that one" if link else "save polygons in it"
        raise AreaError(f"{file}: holds no placemarks; {advice}")
    if options.layer is not None:
        found = _within(found, options.layer, file)
    marks, folders = [mark for mark, _ in found], [folder for _, folder in found]
    geometries = np.full(len(marks), None, dtype=object)
    unreadable: dict[int, str] = {}
    closed: dict[int, BaseGeometry] = {}
    for number, mark in enumerate(marks):
        try:
            geometries[number] = _geometry(mark)
        except _UnfitError as unfit:
            unreadable[number] = str(unfit)
            if (shape := _closed(mark)) is not None:
                closed[number] = shape
    return Table(
        place=file,
        geometries=geometries,
        columns=_columns(marks, _text_fields(root), options.name_field),
        pseudo={FOLDER: folders} if any(folders) else {},
        crs="OGC:CRS84",
        unreadable=unreadable,
        closed=closed,
        notices=text.notices,
    )


def _kml_of_kmz(path: Path) -> bytes:
    """Return the main document of an archive: ``doc.kml``, or the first KML (KML 2.2, OGC 07-147r2, annex C)."""
    file = one_line(path, 200)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(".kml")]
            if not names:
                raise AreaError(f"{file}: holds no .kml; save the areas as KML")
            with archive.open("doc.kml" if "doc.kml" in names else names[0]) as member:
                raw = member.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        reason = one_line(str(error), 100)
        raise AreaError(f"{file}: cannot be read ({reason}); save the areas as KML") from None
    if len(raw) > _LARGEST:
        raise AreaError(f"{file}: its KML is larger than 1 GiB; save the areas as GeoPackage")
    return raw


def _parsed(text: str, file: str) -> Element:
    """Return the root of an XML document without namespaces, because KML has had several.

    Raises:
        AreaError: the text is not well-formed.
    """
    parser = ET.XMLParser()  # noqa: S314 - expat limits the expansion of entities and fetches none
    try:
        for start in range(0, len(text), _STRETCH):
            parser.feed(text[start : start + _STRETCH])
        root = parser.close()
    except ET.ParseError as error:
        line = error.position[0]
        reason = one_line(str(error).partition(":")[0])
        raise AreaError(f"{file}:{line}: not KML ({reason}); correct it or export it again") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


# ---- elements -----------------------------------------------------------------------------------------------


def _text_of(element: Element, name: str) -> str:
    return element.findtext(name, "").strip()


def _placemarks(root: Element) -> Iterator[tuple[Element, str]]:
    """Yield placemarks in the order of the file, each with the path of its folder."""
    stack = [(root, "")]
    while stack:
        element, folder = stack.pop()
        if element.tag == "Placemark":
            yield element, folder
            continue
        if element.tag == "Folder":
            name = _text_of(element, "name")
            folder = f"{folder}/{name}" if folder and name else folder or name
        stack += [(child, folder) for child in reversed(element)]


def _within(found: Sequence[tuple[Element, str]], layer: str, file: str) -> list[tuple[Element, str]]:
    """Return the placemarks of a folder, which is given by its name or its path."""
    some = [(mark, folder) for mark, folder in found if layer in (folder, folder.rpartition("/")[2])]
    if not some:
        counts = Counter(folder or "(no folder)" for _, folder in found)
        there = ", ".join(f"{folder} ({count:,})" for folder, count in counts.items())
        raise AreaError(f'{file}: no folder "{one_line(layer)}"; set layer to one of: {one_line(there, 200)}')
    return some


# ---- columns ------------------------------------------------------------------------------------------------


def _columns(marks: Sequence[Element], as_text: frozenset[str], name_field: str) -> dict[str, Sequence[Any]]:
    own: dict[str, list[str | None]] = {
        ID: [mark.get("id") for mark in marks],
        NAME: [_text_of(mark, "name") or None for mark in marks],
        DESCRIPTION: [_text_of(mark, "description") or None for mark in marks],
    }
    columns: dict[str, Sequence[Any]] = {
        name: values for name, values in own.items() if name == NAME or any(values)
    }
    extended: dict[str, list[str | None]] = {}
    for number, mark in enumerate(marks):
        for name, value in _extended(mark):
            if name not in extended:
                extended[name] = [None] * len(marks)
            extended[name][number] = value or None
    for name, cells in extended.items():
        key = free_name(name, columns)
        is_name = key.casefold() == name_field.casefold()
        columns[key] = cells if name in as_text else typed(cells, floats=not is_name)
    return columns


def _extended(mark: Element) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a placemark's extended data."""
    for data in mark.iterfind("ExtendedData"):
        for one in data.iter():
            name = one.get("name", "").strip()
            if name and one.tag == "Data":
                yield name, _text_of(one, "value")
            elif name and one.tag == "SimpleData":
                yield name, (one.text or "").strip()


def _text_fields(root: Element) -> frozenset[str]:
    """Return the names of the fields that a schema declares as text."""
    fields = (field for field in root.iter("SimpleField") if field.get("type") == "string")
    return frozenset(field.get("name", "").strip() for field in fields)


# ---- geometries ---------------------------------------------------------------------------------------------


def _geometry(mark: Element, *, closing: bool = False) -> BaseGeometry | None:
    """Return the geometry of a placemark; the parts of a MultiGeometry, even if nested, are merged by type.

    Raises:
        _UnfitError: the geometry cannot be read.
    """
    stack = [child for child in mark if child.tag in _SHAPES][:1]
    if not stack:
        return None
    several = stack[0].tag == "MultiGeometry"
    parts: list[BaseGeometry] = []
    while stack:
        element = stack.pop()
        if element.tag == "MultiGeometry":
            stack += [child for child in reversed(element) if child.tag in _SHAPES]
            continue
        try:
            parts.append(_part(element, closing=closing))
        except (ShapelyError, ValueError, IndexError) as error:
            raise _UnfitError(_why(error)) from None
    if not several:
        return parts[0]
    kinds = {part.geom_type for part in parts}
    return _MULTI[kinds.pop()](parts) if len(kinds) == 1 else shapely.GeometryCollection(parts)


def _part(element: Element, *, closing: bool) -> BaseGeometry:
    if element.tag == "Polygon":
        shell, *holes = [
            _ring(ring, closing=closing)
            for side in ("outerBoundaryIs", "innerBoundaryIs")
            for ring in element.iterfind(f"{side}/LinearRing")
        ] or [()]
        return shapely.Polygon(shell, holes)
    positions = _positions(element)
    return shapely.Point(positions[0]) if element.tag == "Point" else shapely.LineString(positions)


def _ring(element: Element, *, closing: bool) -> Sequence[tuple[float, float]]:
    positions = _positions(element)
    closed = closed_ring(positions)
    if not closing and len(closed) != len(positions):
        raise ValueError("not closed")
    return [(x, y) for x, y in closed]


def _closed(mark: Element) -> BaseGeometry | None:
    try:
        return _geometry(mark, closing=True)
    except _UnfitError:
        return None


def _positions(element: Element) -> list[tuple[float, float]]:
    """Return the longitudes and latitudes of an element, without heights.

    Raises:
        ValueError: a position does not have two numbers.
    """
    text = element.findtext("coordinates", "")
    if ", " in text or " ," in text:  # the standard forbids this
        text = _COMMA.sub(",", text)
    positions = []
    for position in text.split():
        lon, lat, *_ = position.split(",")
        positions.append((float(lon), float(lat)))
    return positions


def _why(error: Exception) -> str:
    message = str(error)
    if "linearring" in message.lower() and "at least" in message:
        message = "number of points"
    return explained(message)
