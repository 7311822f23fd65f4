"""The table of values in Arrow: as Parquet, or in memory. Needs pyarrow (extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from s2async.export.columns import ColumnType
from s2async.export.geoparquet import TYPES
from s2async.export.values import Coded, Column, ValuesTable

GROUP_ROWS: Final = 100_000
"""Number of rows in a row group."""


def write(table: ValuesTable, file: BinaryIO) -> int:
    """Write the table as Parquet, page by page, and return the number of rows."""
    count = 0
    with pq.ParquetWriter(file, _schema(table), compression="zstd") as writer:
        for batch in _batches(table):
            writer.write_table(pa.Table.from_batches([batch]), row_group_size=GROUP_ROWS)
            count += batch.num_rows
    return count


def read(table: ValuesTable) -> Any:
    """Return the table as a pyarrow table."""
    return pa.Table.from_batches(list(_batches(table)), schema=_schema(table))


def _schema(table: ValuesTable) -> Any:
    return pa.schema([pa.field(column, TYPES[kind]) for column, kind in table.columns.items()])


def _batches(table: ValuesTable) -> Iterator[Any]:
    schema = _schema(table)
    for block in table.blocks():
        arrays = [_array(column, table.columns[name]) for name, column in block.items()]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(column: Column, kind: ColumnType) -> Any:
    if isinstance(column, Coded):
        values = pa.array(column.values, TYPES[kind])
        return values.take(pa.array(column.codes))
    unknown = np.isnan(column.numbers)
    if kind == "float64":
        return pa.array(column.numbers, mask=unknown)
    return pa.array(np.where(unknown, 0, column.numbers).astype(kind), TYPES[kind], mask=unknown)
