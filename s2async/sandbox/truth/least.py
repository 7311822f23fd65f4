"""The minimum number of bytes that must be read of files, as whole tiles or only the needed parts of tiles."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
import shapely
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.truth import oracle

Block = tuple[int, int]
"""Row and column of a tile."""
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value by the number of its type (TIFF 6.0, section 2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Least:
    """The minimum cost of reading files.

    Of every file, this includes the first directory up to the last needed byte, and each distinct full-resolution
    tile that a polygon touches: the whole tile, or the part of its stream down to the last row that a polygon
    needs.
    """

    bytes: int
    """Bytes with whole tiles."""
    prefix_bytes: int
    """Bytes with the needed parts of tiles."""
    files: int
    runs: int
    """Number of tiles, with neighbours in a row counted as one, because they are adjacent in the file."""


def least(touching: Mapping[str, Sequence[BaseGeometry]], local: Callable[[str], Path]) -> Least:
    """Return the minimum cost of reading files.

    Args:
        touching: polygons (lon/lat) that are wanted from each file, by its URL.
        local: returns the local file of a URL.
    """
    whole = prefixes = runs = 0
    for href, polygons in touching.items():
        path = local(href)
        header = header_size(path.read_bytes())
        blocks = oracle.touched_blocks(path, polygons)
        whole += header + sum(blocks.values())
        prefixes += header + sum(needed_parts(path, polygons, frozenset(blocks)))
        runs += len(blocks) - sum((row, col + 1) in blocks for row, col in blocks)
    return Least(bytes=whole, prefix_bytes=prefixes, files=len(touching), runs=runs)


def header_size(data: bytes) -> int:
    """Return the bytes from the start of a TIFF to the end of its first directory and of that directory's values.

    Raises:
        ValueError: the file is not a classic little-endian TIFF, which all files of a sandbox are.
    """
    if data[:4] != b"II*\0":
        raise ValueError(f"a file that begins with {data[:4]!r}")
    start: int
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    end: int = start + 2 + 12 * count + 4
    for _, kind, number, place in struct.iter_unpack("<HHII", data[start + 2 : end - 4]):
        size = _SIZES[kind] * number
        if size > 4:
            end = max(end, place + size)
    return end


def needed_parts(path: Path, polygons: Sequence[BaseGeometry], blocks: frozenset[Block]) -> Iterator[int]:
    """Yield the bytes of each tile's stream down to the last row with a pixel centre in a polygon."""
    with rasterio.open(path) as raster:
        height, width = raster.block_shapes[0]
        size, rows = raster.transform.a, dict.fromkeys(blocks, 1)
        for polygon in polygons:
            shape = oracle.project(polygon, raster.crs)
            for row, col in blocks:
                north = raster.transform.f - row * height * size
                west = raster.transform.c + col * width * size
                part = shape & shapely.box(west, north - height * size, west + width * size, north)
                if not part.is_empty:
                    needed = math.ceil((north - part.bounds[1]) / size - 0.5)
                    rows[row, col] = max(rows[row, col], min(needed, height))
        for (row, col), count in rows.items():
            start, stored = (
                int(raster.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1) or 0)
                for what in ("OFFSET", "SIZE")
            )
            wanted = count * width * raster.count * np.dtype(raster.dtypes[0]).itemsize
            yield _consumed(_Stream(path, path.stat().st_ino, start, stored), wanted) if stored else 0


@dataclass(frozen=True, slots=True)
class _Stream:
    """A tile of a file. Hard links to one file have the same stream."""

    path: Path = field(compare=False)
    inode: int
    start: int
    size: int


@lru_cache(maxsize=100_000)
def _consumed(stream: _Stream, wanted: int) -> int:
    with stream.path.open("rb") as file:
        file.seek(stream.start)
        return prefix_size(file.read(stream.size), wanted)


def prefix_size(data: bytes, wanted: int) -> int:
    """Return the number of bytes of a zlib stream that are needed to decompress a given number of bytes."""
    unpacker = zlib.decompressobj()
    unpacker.decompress(data, wanted)
    return len(data) - len(unpacker.unconsumed_tail)
