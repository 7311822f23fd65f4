"""The areas of a file by columns, as a reader returns them: nothing is checked yet but the format of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from s2async.events import Notice


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """What the configuration says about how to read a file of areas."""

    name_field: str = "name"
    """Field or column with the names."""
    layer: str | None = None
    """Layer to read; None when the file has only one."""
    encoding: str | None = None
    """Encoding of text in formats that do not state it reliably; None to decide by the file."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """All records of a file: n geometries, and as many values in each column."""

    place: str
    """For messages: the file, or the place in the configuration."""
    geometries: NDArray[np.object_]
    """n shapely geometries of any type, in the CRS of the file, x (or lon) first; None where a record has none, or
    one that cannot be read."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """The file's columns without the geometry, in its order: name to n values (str, int, float, bool, date,
    datetime or None). Integers stay integers where other records have none."""
    pseudo: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Values that can name areas but are no columns, such as ``fid``."""
    crs: str | None = None
    """For pyproj. None: lon/lat, unless the configuration sets one; empty: the file lacks it."""
    places: Sequence[str] | None = None
    """Place of each record for messages, such as ``fields.csv:7``; None: ``<place>: feature <number from 1>``."""
    unreadable: Mapping[int, str] = field(default_factory=dict)
    """Why the geometry of a record (number from 0) cannot be read, and what to do: the end of a message."""
    malformed: Mapping[int, str] = field(default_factory=dict)
    """Why a record (number from 0) is no record at all, such as a row with too many cells, and what to do: a
    message that needs no name."""
    closed: Mapping[int, BaseGeometry] = field(default_factory=dict)
    """Geometries of records in `unreadable` whose rings are not closed, with their rings closed: for `repair`."""
    srids: Sequence[int | None] | None = None
    """EPSG code that each record states (EWKT, EWKB), if records differ or only some state one."""
    notices: Sequence[Notice] = ()
    """What the user should check in the file, such as control characters."""

    def __len__(self) -> int:
        return len(self.geometries)

    def where(self, number: int) -> str:
        """Place of a record, for messages.

        Args:
            number: of the record, from 0.
        """
        return self.places[number] if self.places is not None else f"{self.place}: feature {number + 1}"

    def near(self, number: int) -> str:
        """Place of a record for messages that name the file already, such as ``feature 3`` or ``line 7``.

        Args:
            number: of the record, from 0.
        """
        place = self.where(number)
        rest = place.removeprefix(f"{self.place}:")
        return f"line {rest}" if rest.isdecimal() else rest.strip()
