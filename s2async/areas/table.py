"""The areas of a file by columns, as returned by a reader: only the format of the file has been checked."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from s2async.events import Notice


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name for a column that is not taken: the name itself, or with a number, such as ``crop_2``."""
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    return unique


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """The settings for reading a file of areas."""

    name_field: str = "name"
    """Field or column with the names."""
    layer: str | None = None
    """Layer to read; None if the file has only one."""
    encoding: str | None = None
    """Encoding of text in formats that do not state it reliably; None to determine it from the file."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """All records of a file: n geometries, and n values in each column."""

    place: str
    """The file, or the place in the configuration, for messages."""
    geometries: NDArray[np.object_]
    """n shapely geometries of any type, in the CRS of the file, x (or lon) first; None if a record has no geometry
    or it cannot be read."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """The file's columns without the geometry, in their order: name to n values (str, int, float, bool, date,
    datetime or None). Integers stay integers even if other records have no value."""
    pseudo: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Values that can name areas but are not columns, such as ``fid``."""
    crs: str | None = None
    """CRS for pyproj. None: lon/lat, unless the configuration sets one; empty: the file has none."""
    places: Sequence[str] | None = None
    """Place of each record for messages, such as ``fields.csv:7``; None: ``<place>: feature <number from 1>``."""
    unreadable: Mapping[int, str] = field(default_factory=dict)
    """Why the geometry of a record (number from 0) cannot be read, and what to do: the end of a message."""
    malformed: Mapping[int, str] = field(default_factory=dict)
    """Why a record (number from 0) is malformed, such as a row with too many cells, and what to do: a message that
    needs no name."""
    closed: Mapping[int, BaseGeometry] = field(default_factory=dict)
    """Geometries of records in `unreadable` whose rings were not closed, with closed rings: for `repair`."""
    srids: Sequence[int | None] | None = None
    """EPSG code that each record states (EWKT, EWKB), if records differ or only some state one."""
    notices: Sequence[Notice] = ()
    """What the user should check in the file, such as control characters."""

    def __len__(self) -> int:
        return len(self.geometries)

    def where(self, number: int) -> str:
        """Return the place of a record, for messages.

        Args:
            number: number of the record, from 0.
        """
        return self.places[number] if self.places is not None else f"{self.place}: feature {number + 1}"

    def near(self, number: int) -> str:
        """Return the place of a record for messages that already name the file: ``feature 3`` or ``line 7``.

        Args:
            number: number of the record, from 0.
        """
        place = self.where(number)
        rest = place.removeprefix(f"{self.place}:")
        return f"line {rest}" if rest.isdecimal() else rest.strip()
