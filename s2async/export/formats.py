"""Export formats, keyed by name. A new format is a module with a `write` function and an entry in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from s2async.catalog.providers import Catalog
from s2async.errors import ConfigError
from s2async.export.columns import Table

if TYPE_CHECKING:
    from s2async.export.collection import Written
    from s2async.export.values import ValuesTable


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFormat:
    """A format that is one file: a table with one row for each crop or job."""

    about: str
    """Description for the help text, after the name of the format."""
    suffix: str
    """Suffix of its file names, with the dot."""
    is_text: bool
    """Whether `write` takes a text file (which may be standard output); if False, a binary file."""
    write: Callable[[Table, Any], int]
    """Writes a table to an open file and returns the number of rows."""


class FolderWriter(Protocol):
    """Writes a table into a folder; see `collection.write`."""

    def __call__(self, table: Table, folder: Path, *, output: Path, catalog: Catalog, state: str) -> Written:
        """Write the files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderFormat:
    """A format that is a folder of files, for saved crops only."""

    about: str
    """Description for the help text, after the name of the format."""
    index: str
    """Name of the file that links to all others."""
    write: FolderWriter


# Writers are imported when they are used: pyarrow may be missing, and pystac takes long to load.


def _csv(table: Table, file: Any) -> int:
    from s2async.export import csv_table

    return csv_table.write(table, file)


def _geojson(table: Table, file: Any) -> int:
    from s2async.export import geojson

    return geojson.write(table, file)


def _parquet(table: Table, file: Any) -> int:
    try:
        from s2async.export import geoparquet
    except ImportError:
        raise ConfigError("GeoParquet needs pyarrow: pip install 's2async[parquet]'") from None
    return geoparquet.write(table, file)


def _stac(table: Table, folder: Path, *, output: Path, catalog: Catalog, state: str) -> Written:
    from s2async.export import collection

    return collection.write(table, folder, output=output, catalog=catalog, state=state)


def write_values(table: ValuesTable, name: str, file: Any) -> int:
    """Write a table of values to an open file, and return the number of rows.

    Args:
        table: the values.
        name: one of `VALUE_FORMATS`.
        file: a text file for CSV, a binary one for Parquet.

    Raises:
        ConfigError: pyarrow is missing.
    """
    if name == "csv":
        from s2async.export import values_csv

        return values_csv.write_csv(table, file)
    try:
        from s2async.export import values_arrow
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: pip install 's2async[parquet]'") from None
    return values_arrow.write(table, file)


VALUE_FORMATS: Final = ("csv", "parquet")
"""Formats of the table of values."""
FORMATS: Final[dict[str, FileFormat | FolderFormat]] = {
    "csv": FileFormat(about="a table without geometries", suffix=".csv", is_text=True, write=_csv),
    "geojson": FileFormat(
        about="a table with the polygon of each area", suffix=".geojson", is_text=True, write=_geojson
    ),
    "parquet": FileFormat(
        about="the same as GeoParquet (extra parquet)", suffix=".parquet", is_text=False, write=_parquet
    ),
    "stac": FolderFormat(
        about="a STAC collection: collection.json, and an item for each area and scene",
        index="collection.json",
        write=_stac,
    ),
}
"""All export formats, in the order of the help text."""
