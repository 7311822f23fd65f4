"""Reads GeoParquet by columns, such as fields of fiboa and the exports of this program. Needs pyarrow.

https://geoparquet.org/releases/v1.1.0: the metadata ``geo`` name the geometry column, its encoding and its CRS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from s2async.areas.arrow import Geometries, add_values, fields
from s2async.areas.seasons import season_columns
from s2async.areas.table import ReadOptions, Table
from s2async.areas.text_files import column_notices
from s2async.errors import AreaError
from s2async.events import Notice
from s2async.text import one_line

BATCH: Final = 2_000
"""Number of rows in a batch."""
EXPORT_KEY: Final = "area_fingerprint"
"""The column that identifies an export of this program, whose rows are crops, several for each area."""
EXPORT_NAME: Final = "area"
"""The column with the names of areas in such an export."""
CROP_COLUMNS: Final = frozenset(
    (
        "item_id", "datetime", "platform", "grid", "epsg", "scene_cloud_percent", "area_cloud_percent",
        "area_valid_percent", "asset", "path", "file_bytes", "href", "processing_baseline", "offset",
        "offset_basis", EXPORT_KEY, "collection", "sha256", "area_pixels", "scl_histogram", "status", "reason",
    )
)  # fmt: skip
"""Columns of such an export that describe crops."""

_INDEX: Final = re.compile(r"__index_level_[0-9]+__")
"""Name that pandas gives to the column of an index without a name."""


def read_geoparquet(path: Path, _: ReadOptions) -> Table:
    """Read a GeoParquet file whose geometries are WKB, in the CRS that its metadata state.

    From an export of this program, whose rows are crops, each area is read once.

    Raises:
        AreaError: pyarrow is not installed, the file cannot be read, or it is not GeoParquet with WKB.
    """
    file = one_line(path, 200)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise AreaError(
            f"{file}: needs an extra to be read: pip install 's2async[parquet]', or save it as GeoJSON"
        ) from None
    try:
        with pq.ParquetFile(path) as parquet:
            schema = parquet.schema_arrow
            column, crs, hidden = _geometry(schema.metadata or {}, schema.names, file)
            hidden |= {column}
            chosen = [name for name in schema.names if name not in hidden and not _INDEX.fullmatch(name)]
            shapes = Geometries()
            columns: dict[str, list[Any]] = {}
            for batch in parquet.iter_batches(batch_size=BATCH, columns=[*chosen, column]):
                at = batch.schema.names.index(column)
                cells = batch.column(at)
                if not (pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type)):
                    raise AreaError(f"{file}: its geometries are not WKB; {_ADVICE}")
                shapes.add(cells)
                add_values(columns, fields(batch.schema.names, {at}), batch)
    # Days beyond the calendar raise OverflowError.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = one_line(" ".join(str(error).split()), 120)
        raise AreaError(f"{file}: cannot be read ({reason}); export it again as GeoParquet") from None
    table = Table(
        place=file,
        geometries=shapes.all(),
        columns=columns,
        crs=crs,
        unreadable=shapes.unreadable,
        closed=shapes.closed,
        notices=column_notices(columns, file),
    )
    return _areas_of_export(table) if {EXPORT_KEY, EXPORT_NAME, "item_id"} <= columns.keys() else table


_ADVICE: Final = 'export it again with geometry_encoding="WKB"'


def _geometry(
    metadata: Mapping[bytes, bytes], names: Sequence[str], file: str
) -> tuple[str, str | None, set[str]]:
    """Return the geometry column, its CRS for pyproj, and the columns that only contain bounding boxes."""
    if b"geo" not in metadata:
        raise AreaError(
            f"{file}: is Parquet without the metadata of GeoParquet; export it with geopandas, GDAL or QGIS"
        )
    try:
        geo = json.loads(metadata[b"geo"])
        column = geo["primary_column"]
        about = geo["columns"][column]
        encoding = about["encoding"]
        covering = about.get("covering", {}).get("bbox", {})
        boxes = {side[0] for side in covering.values()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise AreaError(f"{file}: its metadata of GeoParquet cannot be read; export it again") from None
    if column not in names:
        raise AreaError(f'{file}: has no geometry column "{one_line(column)}"; export it again')
    if encoding != "WKB":
        raise AreaError(f'{file}: its geometries have the encoding "{one_line(encoding)}"; {_ADVICE}')
    if "crs" not in about:  # the default: OGC:CRS84
        return column, None, boxes
    crs = about["crs"]
    return column, "" if crs is None else json.dumps(crs) if isinstance(crs, dict) else str(crs), boxes


def _areas_of_export(table: Table) -> Table:
    """Return the areas of an export of crops: the first row of each."""
    # polygons may have several names, each with several seasons
    seasons = [table.columns[name] for name in season_columns(table.columns).values()]
    keys = zip(table.columns[EXPORT_KEY], table.columns[EXPORT_NAME], *seasons, strict=True)
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    rows = sorted(first.values())
    count = f"{len(rows):,} area" + "s" * (len(rows) != 1)
    return Table(
        place=table.place,
        geometries=table.geometries[np.array(rows, np.intp)],
        columns={
            name: [column[row] for row in rows]
            for name, column in table.columns.items()
            if name not in CROP_COLUMNS
        },
        crs=table.crs,
        places=[table.where(row) for row in rows],
        unreadable={at: table.unreadable[row] for at, row in enumerate(rows) if row in table.unreadable},
        notices=(
            Notice(
                text=f"{table.place}: its {len(table):,} rows are crops of an export; {count} were read from it"
            ),
        ),
    )
