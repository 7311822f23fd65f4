"""Exports rows with the polygons of their areas as GeoParquet 1.1. Needs pyarrow (extra ``parquet``).

https://geoparquet.org/releases/v1.1.0: geometries are WKB in lon/lat (OGC:CRS84, the default), and the column
``bbox`` allows readers to skip row groups that are elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from s2async.export.columns import ColumnType, Table, Value

GROUP_ROWS: Final = 5_000
"""Number of rows in a row group. A whole group is kept in memory."""
GROUP_BYTES: Final = 8 << 20
"""Bytes of geometries at which a group ends early, because polygons may have any number of vertices."""

_SIDES: Final = ("xmin", "ymin", "xmax", "ymax")
TYPES: Final[Mapping[ColumnType, pa.DataType]] = {
    "text": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "int64s": pa.list_(pa.int64()),
    "float64": pa.float64(),
    "utc": pa.timestamp("us", tz="UTC"),
    "time": pa.timestamp("us"),
    "date": pa.date32(),
    "bool": pa.bool_(),
}
_GEO: Final = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {
        "geometry": {
            "encoding": "WKB",
            "geometry_types": ["Polygon", "MultiPolygon"],
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
    },
}


def write(table: Table, file: BinaryIO) -> int:
    """Write the table in row groups, and return the number of rows."""
    schema = _schema(table.typed_columns)
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(table):
            writer.write_batch(pa.RecordBatch.from_pylist(group, schema=schema))
            count += len(group)
    return count


def _schema(columns: Mapping[str, ColumnType]) -> Any:
    fields = [pa.field(column, TYPES[kind]) for column, kind in columns.items()]
    box = pa.struct([pa.field(side, pa.float64(), nullable=False) for side in _SIDES])
    fields += [pa.field("bbox", box, nullable=False), pa.field("geometry", pa.binary(), nullable=False)]
    return pa.schema(fields, metadata={"geo": json.dumps(_GEO)})


def _groups(table: Table) -> Iterator[list[dict[str, Any]]]:
    columns = table.typed_columns

    @lru_cache(maxsize=1)
    def location(fingerprint: str) -> dict[str, Any]:
        wkb = table.polygon(fingerprint)
        # Across the antimeridian, this box is as wide as the world: readers filter by xmin <= east, xmax >=
        # west, and would miss a box whose xmin is larger than its xmax; the specification does not support such
        # boxes.
        bounds = map(float, shapely.bounds(shapely.from_wkb(wkb)))
        return {"bbox": dict(zip(_SIDES, bounds, strict=True)), "geometry": wkb}

    group: list[dict[str, Any]] = []
    size = 0
    for row in table.rows:
        cells = table.values(row)
        where = location(row.fingerprint)
        group.append({column: _plain(cells[column]) for column in columns} | where)
        size += len(where["geometry"])
        if len(group) == GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _plain(value: Value) -> object:
    return float(value) if isinstance(value, Decimal) else value
