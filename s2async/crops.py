"""Crops: pixels to a file under its final name, and the folders they live in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from s2async import files
from s2async.folders import parking
from s2async.models import FolderMove, Product

_BLOCK = 256
"""Pixels of a tile's side."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crop:
    """What goes into a file."""

    pixels: NDArray[np.generic]
    """(bands, rows, columns)."""
    transform: Affine
    epsg: int
    nodata: float | None
    scales: Sequence[float]
    offsets: Sequence[float]
    tags: Mapping[str, str]


def cut(pixels: NDArray[np.generic], inside: NDArray[np.bool_], nodata: float | None) -> NDArray[np.generic]:
    """Pixels outside the polygon become nodata (0 where the file has none), as rasterio.mask does it.

    Args:
        pixels: (bands, rows, columns).
        inside: (rows, columns), True inside the polygon.
        nodata: value of the file.

    Returns:
        A new array of the same type.
    """
    return np.where(inside, pixels, np.asarray(nodata or 0).astype(pixels.dtype))


def file_name(item_id: str, asset: str, format_: str) -> str:
    """Name of a crop inside its area's folder."""
    return f"{item_id}_{asset}{SUFFIXES[format_]}"


def save(crop: Crop, path: Path, *, format_: str, mask: bool, asset: str, token: str) -> Product:
    """Encode a crop in memory, then put it under its final name in one step.

    Args:
        crop: content.
        path: final name; its folder exists.
        format_: a key of :data:`WRITERS`.
        mask: what the crop is, for the record.
        asset: what the crop is, for the record.
        token: begins the temporary name.

    Raises:
        LocalError: disk full, read-only, no such folder.
    """
    data = WRITERS[format_](crop)
    files.replace(path, data, token=token)
    return Product(
        asset=asset,
        file=path.name,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mask=mask,
        format=format_,
        epsg=crop.epsg,
    )


def geotiff(crop: Crop) -> bytes:
    """A tiled, DEFLATE-compressed GeoTIFF with nodata, CRS, transform, scale, offset and tags."""
    bands, rows, columns = crop.pixels.shape
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": bands,
        "height": rows,
        "width": columns,
        "dtype": crop.pixels.dtype.name,
        "crs": f"EPSG:{crop.epsg}",
        "transform": crop.transform,
        "nodata": crop.nodata,
        "compress": "deflate",
        "zlevel": 1,  # half the time of the default, for files that are a tenth larger
        "predictor": 2 if crop.pixels.dtype.kind in "ui" else 3,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "interleave": "pixel",
        # said always: GDAL would take the fourth of four bands for alpha, which hides pixels
        "photometric": "rgb" if bands == 3 and crop.pixels.dtype == np.uint8 else "minisblack",
    }
    with rasterio.Env(GDAL_NUM_THREADS="1", GDAL_PAM_ENABLED="NO"), MemoryFile() as memory:
        with memory.open(**profile) as raster:
            raster.write(crop.pixels)
            if any(scale != 1 for scale in crop.scales) or any(crop.offsets):
                raster.scales, raster.offsets = tuple(crop.scales), tuple(crop.offsets)
            # a header of a server (an ETag) or a name may hold what is no text
            raster.update_tags(
                **{key: text.encode("utf-8", "replace").decode() for key, text in crop.tags.items()}
            )
        return bytes(memory.getbuffer())


WRITERS: dict[str, Callable[[Crop], bytes]] = {"gtiff": geotiff}
"""Writers by name: a crop to the bytes of a file."""
SUFFIXES = {"gtiff": ".tif"}
"""File suffix by writer."""


def park_folders(output: Path, moves: Sequence[FolderMove]) -> None:
    """First half of moving areas' folders inside the output folder: each gets a name that tells its area.

    In two halves, because areas may have swapped their names. The state notes the end of each half, so that a kill
    at any time loses nothing and mixes nothing up: what is left of a half is done by doing it again.

    Raises:
        LocalError: a folder cannot be renamed.
    """
    for move in moves:
        if move.old != parking(move.fingerprint):
            _move(output / move.old, output / parking(move.fingerprint))
    _sync(output, moves)


def place_folders(output: Path, moves: Sequence[FolderMove]) -> None:
    """Second half: from there to the new names. Files that somebody else keeps there stay beside the crops.

    Raises:
        LocalError: a folder cannot be renamed.
    """
    for move in moves:
        _move(output / parking(move.fingerprint), output / move.new)
    _sync(output, moves)


def _move(source: Path, target: Path) -> None:
    with files.local_errors("move to", target):
        if not source.is_dir():
            return
        if not target.exists():
            source.replace(target)
            return
        for path in list(source.iterdir()):
            path.replace(target / path.name)
        files.sync_folder(target)
        source.rmdir()


def _sync(output: Path, moves: Sequence[FolderMove]) -> None:
    if moves and output.is_dir():
        with files.local_errors("move folders in", output):
            files.sync_folder(output)
