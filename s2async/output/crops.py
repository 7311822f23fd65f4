"""Crops: pixels to the bytes of a file, and the folders that the files live in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s2async import files
from s2async.areas.folders import parking
from s2async.models import FolderMove, Product
from s2async.output import geotiff
from s2async.output.geotiff import Crop


def cut(pixels: NDArray[np.generic], inside: NDArray[np.bool_], nodata: float | None) -> NDArray[np.generic]:
    """Pixels outside the polygon become nodata (0 where the file has none), as rasterio.mask does it.

    Args:
        pixels: (bands, rows, columns).
        inside: (rows, columns), True inside the polygon.
        nodata: value of the file.

    Returns:
        A new array of the same type.
    """
    if not nodata and pixels.dtype.kind in "ui":
        return pixels * inside  # a tenth of the time; of floats, a multiple of not-a-number stays one
    return np.where(inside, pixels, np.asarray(nodata or 0).astype(pixels.dtype))


def file_name(item_id: str, asset: str, format_: str) -> str:
    """Name of a crop inside its area's folder."""
    return f"{item_id}_{asset}{SUFFIXES[format_]}"


def mask_tag(mask: bool) -> str:
    """What the tag ``MASK`` of a crop says."""
    return "polygon" if mask else "none"


def encode(crop: Crop, name: str, *, format_: str, mask: bool, asset: str) -> tuple[Product, bytes]:
    """Encode a crop in memory.

    Args:
        crop: content.
        name: of the file that it will be, for the record.
        format_: a key of :data:`WRITERS`.
        mask: what the crop is, for the record.
        asset: what the crop is, for the record.

    Returns:
        What is to be recorded once the file is on disk, and its bytes.
    """
    data = WRITERS[format_](crop)
    product = Product(
        asset=asset,
        file=name,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mask=mask,
        format=format_,
        epsg=crop.epsg,
    )
    return product, data


WRITERS: dict[str, Callable[[Crop], bytes]] = {"gtiff": geotiff.encode}
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


def place_folders(output: Path, moves: Sequence[FolderMove]) -> list[Path]:
    """Second half: from there to the new names. Files that somebody else keeps there stay beside the crops.

    Returns:
        Files of somebody else that had the name of a crop, and were written over.

    Raises:
        LocalError: a folder cannot be renamed.
    """
    lost = [path for move in moves for path in _move(output / parking(move.fingerprint), output / move.new)]
    _sync(output, moves)
    return lost


def _move(source: Path, target: Path) -> list[Path]:
    """Move a folder, or what is in it where the other one is there; tells which files were written over."""
    lost = []
    with files.local_errors("move to", target):
        if not source.is_dir():
            return []
        if not target.exists():
            source.replace(target)
            return []
        for path in list(source.iterdir()):
            new = target / path.name
            if new.exists():
                lost.append(new)
            path.replace(new)
        files.sync_folder(target)
        source.rmdir()
    return lost


def _sync(output: Path, moves: Sequence[FolderMove]) -> None:
    if moves and output.is_dir():
        with files.local_errors("move folders in", output):
            files.sync_folder(output)
