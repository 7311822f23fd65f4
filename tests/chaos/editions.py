"""Later editions of a world's files whose tiles have the places of the earlier ones: nothing but a tag tells.

A reader that takes the header of one edition and tiles of the other finds a tile where it looks for one, and sound
pixels in it, though of another picture.
"""

from __future__ import annotations

import os
import time
import zlib
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray

_DAY: Final = 86_400
_CLOUD: Final = 9
PADDING: Final = 64
"""Bytes by which a longer edition is longer."""


def make(world: Path, alike: Path, longer: Path) -> None:
    """Write two later editions of a world, a day younger: of the same sizes, and a little longer."""
    for file in sorted(world.rglob("*")):
        if file.is_file():
            one, other = (folder / file.relative_to(world) for folder in (alike, longer))
            for path in (one, other):
                path.parent.mkdir(parents=True, exist_ok=True)
            data = later(file) if file.suffix == ".tif" else file.read_bytes()
            one.write_bytes(data)
            other.write_bytes(data + bytes(PADDING if file.suffix == ".tif" else 0))
            for path, days in ((file, 2), (one, 1), (other, 1)):
                os.utime(path, (time.time() - days * _DAY,) * 2)


def later(path: Path) -> bytes:
    """The bytes of a file with another picture, whose tiles are where they were, and no larger."""
    data = bytearray(path.read_bytes())
    with rasterio.open(path) as raster:
        height, width = raster.block_shapes[0]
        pixels = _other(raster.read())
        for row, col in product(range(raster.height // height), range(raster.width // width)):
            start, size = (
                int(raster.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1))
                for what in ("OFFSET", "SIZE")
            )
            block = pixels[:, row * height : (row + 1) * height, col * width : (col + 1) * width]
            tile = zlib.compress(_differences(block), 9)
            if len(tile) > size:
                raise ValueError(f"a tile of {path} does not fit into its place")
            data[start : start + size] = tile.ljust(size, b"\0")
    return bytes(data)


def _other(pixels: NDArray[Any]) -> NDArray[Any]:
    """Another picture with fewer values, so that it packs better; clouds stay clouds, and nothing nothing."""
    few = np.where(pixels == _CLOUD, _CLOUD, 5) if len(pixels) == 1 else pixels // 32 * 32 + 7
    return np.where(pixels == 0, 0, few).astype(pixels.dtype)


def _differences(block: NDArray[Any]) -> bytes:
    """A tile's pixels as TIFF's predictor 2 has them, band by band in each."""
    mixed = np.moveaxis(block, 0, -1)
    return np.diff(mixed, axis=1, prepend=np.zeros_like(mixed[:, :1])).astype(block.dtype).tobytes()
