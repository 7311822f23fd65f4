"""Chooses the reader for a file of areas, by its suffix or by its first bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from s2async.areas.csv_file import read_csv
from s2async.areas.geojson import read_geojson
from s2async.areas.geoparquet import read_geoparquet
from s2async.areas.kml import read_kml
from s2async.areas.table import ReadOptions, Table
from s2async.areas.vector import read_vector
from s2async.errors import AreaError
from s2async.text import one_line

Reader = Callable[[Path, ReadOptions], Table]

READERS: Final[Mapping[str, Reader]] = {
    ".geojson": read_geojson,
    ".json": read_geojson,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".kml": read_kml,
    ".kmz": read_kml,
    ".parquet": read_geoparquet,
    ".geoparquet": read_geoparquet,
}
"""Reader by suffix. Other files are read by :func:`~s2async.areas.vector.read_vector`, unless they are Parquet."""

_PARQUET: Final = b"PAR1"
"""First bytes of a Parquet file."""


def read_file(path: Path, options: ReadOptions) -> Table:
    """Read a file of areas. Its format is checked, but not its geometries.

    Raises:
        AreaError: the file cannot be read, or has no layers although one is selected.
    """
    reader = READERS.get(path.suffix.lower()) or (read_geoparquet if _is_parquet(path) else read_vector)
    if options.layer is not None and reader not in (read_vector, read_kml):
        raise AreaError(
            f'{one_line(path, 200)}: a file of this format has no layer "{one_line(options.layer)}"; remove layer'
        )
    return reader(path, options)


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError:  # the reader reports it
        return False
