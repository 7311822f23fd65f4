"""Rows with their areas' polygons as GeoJSON (RFC 7946)."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import shapely
from shapely.geometry import mapping

from s2async.export.table import Table, TextFile, iso, values


def write(table: Table, file: TextFile) -> int:
    """Write one feature collection, a feature a line, and tell how many there are.

    A feature has the columns of the table as its properties, and the polygon of its area in lon/lat.
    """
    columns = table.typed_columns
    polygon = lru_cache(maxsize=1)(lambda fingerprint: json.dumps(geometry(table.polygon(fingerprint))))
    file.write('{"type": "FeatureCollection", "features": [')
    count = 0
    for row in table.rows:
        told = values(row, table.classes)
        properties = encode({column: told[column] for column in columns})
        place = polygon(row.fingerprint)
        comma = "," if count else ""
        file.write(f'{comma}\n{{"type": "Feature", "properties": {properties}, "geometry": {place}}}')
        count += 1
    file.write("\n]}\n")
    return count


def geometry(wkb: bytes) -> dict[str, Any]:
    """A polygon as a GeoJSON object: outer rings counterclockwise, as RFC 7946 (3.1.6) wants them."""
    found: dict[str, Any] = mapping(shapely.orient_polygons(shapely.from_wkb(wkb)))
    return found


def encode(value: Any) -> str:
    """JSON, not only of its own types but of all that rows hold."""
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"no JSON for {value!r}")
