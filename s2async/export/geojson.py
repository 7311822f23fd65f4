"""Exports rows with the polygons of their areas as GeoJSON (RFC 7946)."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import shapely
from shapely.geometry import mapping

from s2async.export.columns import Table
from s2async.export.encoding import TextFile, to_json


def write(table: Table, file: TextFile) -> int:
    """Write a feature collection, one feature per line.

    The properties of a feature are the columns of the table; its geometry is the polygon of the area in lon/lat.

    Returns:
        The number of features.
    """
    columns = table.typed_columns
    polygon = lru_cache(maxsize=1)(lambda fingerprint: json.dumps(geometry(table.polygon(fingerprint))))
    file.write('{"type": "FeatureCollection", "features": [')
    count = 0
    for row in table.rows:
        cells = table.values(row)
        properties = to_json({column: cells[column] for column in columns})
        outline = polygon(row.fingerprint)
        comma = "," if count else ""
        file.write(f'{comma}\n{{"type": "Feature", "properties": {properties}, "geometry": {outline}}}')
        count += 1
    file.write("\n]}\n")
    return count


def geometry(wkb: bytes) -> dict[str, Any]:
    """Convert a polygon to a GeoJSON object, with counterclockwise outer rings (RFC 7946, 3.1.6)."""
    converted: dict[str, Any] = mapping(shapely.orient_polygons(shapely.from_wkb(wkb)))
    return converted
