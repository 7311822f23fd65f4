"""Reads vector files by columns through GDAL. Needs pyogrio and pyarrow (extra ``vector``).

GDAL fills Arrow batches without the interpreter lock, and in Arrow, whole numbers stay whole even if some are
missing.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, NamedTuple

from s2async.areas.arrow import Geometries, add_values, fields
from s2async.areas.table import ReadOptions, Table
from s2async.areas.text_files import column_notices, dbf_encoding
from s2async.errors import AreaError
from s2async.text import one_line

BATCH: Final = 2_000
"""Number of features in a batch."""
_PSEUDO: Final = ("fid", "row")
"""Name fields that are not columns."""
_RESOURCE_FORKS: Final = "__MACOSX/"
"""Folder that macOS adds to archives."""


class _Source(NamedTuple):
    """A vector file."""

    file: str
    """Name for messages."""
    dataset: Path | str
    """What GDAL opens."""
    shapefiles: Traversable | None
    """Folder with its Shapefiles; None if it is in another format."""


def read_vector(path: Path, options: ReadOptions) -> Table:
    """Read one layer of a vector file, in the CRS of the file.

    Raises:
        AreaError: pyogrio or pyarrow is not installed, GDAL cannot read the file, or it has several layers and
            none is selected.
    """
    file = one_line(path, 200)
    try:
        import pyarrow as _  # noqa: F401, ICN001 - pyogrio needs it to fill batches
        import pyogrio
    except ImportError:
        raise AreaError(
            f"{file}: needs an extra to be read: pip install 's2async[vector]', or save it as GeoJSON"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = _source(path)
            listed = {str(name): kind for name, kind in pyogrio.list_layers(source.dataset)}
            spatial = [name for name, kind in listed.items() if kind is not None]
            return _read(source, _chosen(source, spatial, tuple(listed), options), options)
    # Days beyond the calendar raise OverflowError.
    except (RuntimeError, ValueError, OSError, OverflowError, zipfile.BadZipFile) as error:
        raise AreaError(f"{file}: {_plain(str(error))}; name a vector file or save it as GeoJSON") from None


def _source(path: Path) -> _Source:
    """Return what to open: GDAL looks only at the top of a zip archive, but Shapefiles may be in a folder."""
    file, suffix = one_line(path, 200), path.suffix.lower()
    if suffix in (".shp", ".dbf"):
        return _Source(file, path, path.parent)
    if suffix not in (".zip", ".shz"):
        return _Source(file, path, None)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.startswith(_RESOURCE_FORKS)]
    folders = {name.rpartition("/")[0] for name in names if name.lower().endswith(".shp")}
    if not folders:
        return _Source(file, path, None)
    folder = "" if "" in folders or len(folders) > 1 else folders.pop()
    inside = zipfile.Path(path, f"{folder}/" if folder else "")
    return _Source(file, f"/vsizip/{path.absolute()}/{folder}" if folder else path, inside)


def _chosen(source: _Source, spatial: Sequence[str], listed: Sequence[str], options: ReadOptions) -> str:
    """Return the layer to read.

    Args:
        source: the file.
        spatial: its layers that have geometries.
        listed: all of its layers.
        options: the selection in the configuration.
    """
    file, dataset, wanted = source.file, source.dataset, options.layer
    if wanted is not None:
        if wanted in spatial:
            return wanted
        what = "has no geometries" if wanted in listed else "is not in the file"
        raise AreaError(
            f'{file}: layer "{one_line(wanted)}" {what}; set layer to one of: '
            f"{_list(_counted(dataset, spatial))}{_no_names(dataset, spatial, options.name_field)}"
        )
    if not spatial:
        raise AreaError(f"{file}: holds no geometries; name a file of polygons")
    counted = {spatial[0]: 1} if len(spatial) == 1 else _counted(dataset, spatial)
    filled = [name for name, count in counted.items() if count]
    if len(filled) == 1:
        return filled[0]
    raise AreaError(
        f"{file}: holds {len(spatial)} layers; set layer to one of: {_list(counted)}"
        f"{_no_names(dataset, filled, options.name_field)}"
    )


def _no_names(dataset: Path | str, layers: Sequence[str], name_field: str) -> str:
    """Return advice on the name field if no layer has it, so that it can be corrected together with the layer."""
    import pyogrio

    columns = {name: [str(field) for field in pyogrio.read_info(dataset, layer=name)["fields"]] for name in layers}
    known = {column.casefold() for of_layer in columns.values() for column in of_layer}
    if name_field.casefold() in known.union(_PSEUDO):
        return ""
    told = "; ".join(f"{layer}: {', '.join([*of_layer, *_PSEUDO])}" for layer, of_layer in columns.items())
    return (
        f'; and no layer has the name field "{one_line(name_field)}": set name_field, too ({one_line(told, 300)})'
    )


def _counted(dataset: Path | str, layers: Iterable[str]) -> dict[str, int]:
    """Return the number of features of each layer."""
    import pyogrio

    return {name: pyogrio.read_info(dataset, layer=name, force_feature_count=True)["features"] for name in layers}


def _read(source: _Source, layer: str, options: ReadOptions) -> Table:
    """Read a layer."""
    from pyogrio.raw import open_arrow

    shapes = Geometries()
    columns: dict[str, list[Any]] = {}
    fids: list[int] = []
    given: Mapping[str, str] = {}
    if source.shapefiles is not None:
        given = {"ENCODING": dbf_encoding(source.shapefiles, layer, options.encoding).upper()}
    with open_arrow(
        source.dataset, layer=layer, return_fids=True, batch_size=BATCH, use_pyarrow=True, **given
    ) as opened:
        meta, reader = opened
        names = reader.schema.names
        fid = names.index(meta["fid_column"] or "OGC_FID")  # comes first: a field may have its name, too
        shape = len(names) - 1 - names[::-1].index(meta["geometry_name"] or "wkb_geometry")  # comes last
        wanted = fields(names, {fid, shape})
        for batch in reader:
            shapes.add(batch.column(shape))
            fids += batch.column(fid).to_pylist()
            add_values(columns, wanted, batch)
    return Table(
        place=source.file,
        geometries=shapes.all(),
        columns=columns,
        pseudo={} if "fid" in columns else {"fid": fids},
        crs=str(meta["crs"] or ""),
        unreadable=shapes.unreadable,
        closed=shapes.closed,
        notices=column_notices(columns, source.file),
    )


def _plain(message: str) -> str:
    """Return in plain words why GDAL cannot read a file."""
    if "not recognized as being in a supported file format" in message or "adbc" in message.lower():
        return "is in no format that GDAL reads"
    if ".so" in message:  # a driver that is not included in this GDAL
        return "is in a format that this GDAL cannot read"
    return f"cannot be read ({one_line(' '.join(message.split()), 120)})"


def _list(counted: Mapping[str, int]) -> str:
    return one_line(", ".join(f"{name} ({count:,} features)" for name, count in counted.items()), 300)
