"""Tables of areas as CSV: the delimiter, the columns with the geometry, and the types of all other columns.

**Delimiter**: comma, semicolon or tab, or the one of Excel's first line ``sep=;``. Of the three, the first one is
used with which the header line has geometry columns.

**Geometry**: a column named ``wkt``, ``geometry``, ``geom`` or ``the_geom``, with WKT, EWKT, or WKB or EWKB in
hexadecimal digits; or otherwise two columns for points: ``lon`` and ``lat``, ``longitude`` and ``latitude``,
``long`` and ``lat``, ``lng`` and ``lat``, or ``x`` and ``y``. The first of these that exists is used; case is
ignored. Like all other coordinates, those of points are lon/lat unless the configuration sets a CRS.

**Values**: numbers are recognised by the strict rule of `cell_values`. In the column with the names, only integers
are recognised, so that a name such as ``1.10`` is not changed. If semicolons separate columns, commas are decimal
points.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely

from s2async.areas.cell_values import typed
from s2async.areas.table import ReadOptions, Table, free_name
from s2async.areas.text_files import read_text
from s2async.areas.wkt_wkb import Geometries, parsed
from s2async.errors import AreaError
from s2async.text import one_line

GEOMETRY: Final = ("wkt", "geometry", "geom", "the_geom")
"""Names of columns with geometries, in lower case; if a file has several, the first one listed here is used."""
POINTS: Final = (("lon", "lat"), ("longitude", "latitude"), ("long", "lat"), ("lng", "lat"), ("x", "y"))
"""Names of columns with the coordinates of points, in lower case."""

_SEP: Final = re.compile(r'"?sep=(?P<delimiter>[^\w\r\n "\'])"?[ \t;,]*(\r\n|\r|\n|$)', re.IGNORECASE)
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_COORDINATE: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """The layout that the header line describes."""

    delimiter: str
    header: tuple[str, ...]
    """Names of the columns, stripped of blanks."""
    geometry: tuple[int, ...]
    """Index of the column with geometries, or of the two with x and y; empty if there are none."""

    @property
    def decimal_comma(self) -> bool:
        """Whether numbers may have a decimal comma."""
        return self.delimiter == ";"


def read_csv(path: Path, options: ReadOptions) -> Table:
    """Read a table with a header line.

    Args:
        path: the file.
        options: the name field, and the encoding if it is set.

    Returns:
        The records. A row with too few or too many cells is malformed, and rows without any text are left out.

    Raises:
        AreaError: the file cannot be decoded, is not CSV, or has no geometry.
    """
    # The default limit is 128 KiB; a polygon with 10,000 points is larger.
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))
    file = one_line(path, 200)
    read = read_text(path, options.encoding)
    stated = _SEP.match(read.text)
    lines = _Lines(read.text, file, stated)
    layout = _layout(lines, stated["delimiter"] if stated else None)
    places: list[str] = []
    rows: list[list[str]] = []
    malformed: dict[int, str] = {}
    width = len(layout.header)
    body = lines.rows(layout.delimiter)
    next(body)
    for line, row in body:
        if not any(cell and not cell.isspace() for cell in row):
            continue
        if len(row) != width:
            advice = "put the WKT in double quotes" if len(layout.geometry) == 1 else "correct the row"
            malformed[len(rows)] = f"{len(row)} cells under {width} columns; {advice}"
            row = [""] * width
        rows.append(row)
        places.append(f"{file}:{line}")
    columns: list[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [()] * width
    found = _geometries(columns, layout)
    crs, srids = _common_srid(found)
    return Table(
        place=file,
        geometries=found.shapes,
        columns=_typed_columns(columns, layout, options.name_field),
        crs=crs,
        places=places,
        unreadable=found.unreadable,
        malformed=malformed,
        closed=found.closed,
        srids=srids,
        notices=read.notices,
    )


class _Lines:
    """The rows of a CSV text, with their line numbers.

    Args:
        text: the whole file.
        file: its name for messages.
        stated: Excel's first line with the delimiter, if the file has one.
    """

    def __init__(self, text: str, file: str, stated: re.Match[str] | None) -> None:
        self.file = file
        self._text = text
        self._start = stated.end() if stated else 0
        self._first = 1 if stated else 0

    def rows(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows that are not empty, each with the number of its first line, counted from 1.

        Raises:
            AreaError: the text is not CSV.
        """
        lines = (match[0] for match in _LINE.finditer(self._text, self._start))
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        last = 0
        try:
            for row in rows:
                line, last = self._first + last + 1, rows.line_num
                if row:
                    yield line, row
        except csv.Error as error:
            at = f"{self.file}:{self._first + rows.line_num}"
            raise AreaError(f"{at}: not CSV ({error}); close every double quote") from None


# ---- the header line ----------------------------------------------------------------------------------------


def _layout(lines: _Lines, stated: str | None) -> _Layout:
    """Choose the delimiter and the columns with the geometry.

    Args:
        lines: the file.
        stated: the delimiter of Excel's first line.

    Raises:
        AreaError: there are no such columns.
    """
    layouts = []
    delimiters = (stated,) if stated else (",", ";", "\t")
    refused: AreaError | None = None
    for delimiter in delimiters:
        try:
            line, cells = next(lines.rows(delimiter), (0, []))
        except AreaError as error:  # quoted cells are followed by another delimiter
            refused = refused or error
            continue
        header = tuple(cell.strip() for cell in cells)
        layouts.append(_Layout(delimiter=delimiter, header=header, geometry=_geometry_columns(header)))
    if refused and all(len(layout.header) < 2 for layout in layouts):
        raise refused
    if not layouts[0].header:
        raise AreaError(f"{lines.file}: is empty; write a header line with name and wkt, and a line for each area")
    best = next((layout for layout in layouts if layout.geometry), None)
    if best is not None:
        return best
    widest = max(layouts, key=lambda layout: len(layout.header))
    place = f"{lines.file}:{line}"
    if len(widest.header) == 1:
        raise AreaError(
            f'{place}: no column "wkt", but 1 column "{one_line(widest.header[0])}"; '
            "separate the columns by commas, semicolons or tabs"
        )
    raise AreaError(
        f'{place}: no column "wkt", "geometry", "geom" or "the_geom", and no "lon" and "lat"; rename one of the '
        f"columns: {_list(widest.header)}"
    )


def _geometry_columns(header: Sequence[str]) -> tuple[int, ...]:
    names = [name.casefold() for name in header]
    for name in GEOMETRY:
        if name in names:
            return (names.index(name),)
    for x, y in POINTS:
        if x in names and y in names:
            return names.index(x), names.index(y)
    return ()


# ---- geometries ---------------------------------------------------------------------------------------------


def _geometries(columns: Sequence[Sequence[str]], layout: _Layout) -> Geometries:
    if len(layout.geometry) == 1:
        return parsed(columns[layout.geometry[0]])
    x, y = layout.geometry
    return _points(columns[x], columns[y], (layout.header[x], layout.header[y]), layout.decimal_comma)


def _points(xs: Sequence[str], ys: Sequence[str], names: tuple[str, str], comma: bool) -> Geometries:
    shapes = np.full(len(xs), None, dtype=object)
    numbers: list[int] = []
    positions: list[tuple[float, float]] = []
    unreadable: dict[int, str] = {}
    for number, cells in enumerate(zip(xs, ys, strict=True)):
        if not any(cell.strip() for cell in cells):
            continue
        plain = [cell.strip().replace(",", ".", 1) if comma else cell.strip() for cell in cells]
        wrong = next((at for at in (0, 1) if not _COORDINATE.fullmatch(plain[at])), None)
        if wrong is None:
            numbers.append(number)
            positions.append((float(plain[0]), float(plain[1])))
        else:
            unreadable[number] = (
                f'{one_line(names[wrong])} is "{one_line(cells[wrong])}"; write a number such as 13.41'
            )
    if numbers:
        shapes[numbers] = shapely.points(positions)
    return Geometries(shapes=shapes, srids=[None] * len(xs), unreadable=unreadable, closed={})


def _common_srid(found: Geometries) -> tuple[str | None, list[int | None] | None]:
    """Return the CRS of the file if all geometries state the same.

    Otherwise return the CRS that each of them states, if any does.
    """
    stated = {
        srid
        for number, srid in enumerate(found.srids)
        if found.shapes[number] is not None or number in found.unreadable
    }
    if not stated or stated == {None}:
        return None, None
    if len(stated) == 1:
        return f"EPSG:{stated.pop()}", None
    return None, found.srids


# ---- other columns ------------------------------------------------------------------------------------------


def _typed_columns(columns: Sequence[Sequence[str]], layout: _Layout, name_field: str) -> dict[str, Sequence[Any]]:
    # A column of WKT is the geometry; the coordinates of points are also values that a user may need.
    shape = layout.geometry if len(layout.geometry) == 1 else ()
    found: dict[str, Sequence[Any]] = {}
    for number, name in enumerate(layout.header):
        if number in shape:
            continue
        if not name:  # such as after a delimiter at the end of lines, or the row numbers of pandas
            if not any(cell.strip() for cell in columns[number]):
                continue
            name = f"column_{number + 1}"
        unique = free_name(name, found)
        names = unique.casefold() == name_field.casefold()
        found[unique] = typed(columns[number], decimal_comma=layout.decimal_comma, floats=not names)
    return found


def _list(names: Iterable[str]) -> str:
    return one_line(", ".join(names), 200)
