"""Reads the areas that are defined in the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from s2async.areas.seasons import FIRST, LAST
from s2async.areas.table import Table
from s2async.areas.wkt_wkb import parsed

NAME: Final = "name"
"""Column of the table with the names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """An area as defined in the configuration."""

    place: str
    """File and line, for messages."""
    name: str
    wkt: str
    valid_from: date | str | None = None
    valid_to: date | str | None = None


def read_inline(place: str, areas: Iterable[Written]) -> Table:
    """Read areas of the configuration, whose geometries are WKT or EWKT.

    Args:
        place: place of all of them in the configuration.
        areas: the areas, in the order of the configuration.
    """
    rows = list(areas)
    shapes = parsed([row.wkt for row in rows])
    columns: dict[str, list[Any]] = {NAME: [row.name for row in rows]}
    if any(row.valid_from or row.valid_to for row in rows):
        columns |= {FIRST: [row.valid_from for row in rows], LAST: [row.valid_to for row in rows]}
    return Table(
        place=place,
        geometries=shapes.shapes,
        columns=columns,
        places=[row.place for row in rows],
        unreadable=shapes.unreadable,
        closed=shapes.closed,
        srids=shapes.srids if any(shapes.srids) else None,
    )
