"""Kept plans, looked at from outside: which are whole, which are right, and which of them a run believed.

Only the layout of the file is that of `masks.packing`; pixels are those of rasterio.
"""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio.features
from affine import Affine
from numpy.typing import NDArray
from shapely import Polygon

from s2async.cog.grid import Grid
from s2async.masks import packing
from s2async.sandbox.truth import oracle

_MAGIC: Final = b"s2async plan\n"
_DIGEST: Final = 32
_SIZES: Final = struct.Struct("<QQQ")


def name_of(data: bytes) -> str:
    """What identifies the content of a file."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def is_whole(data: bytes) -> bool:
    """Whether a file has all its bytes, by the digest in it."""
    digest, rest = data[len(_MAGIC) :][:_DIGEST], data[len(_MAGIC) + _DIGEST :]
    return data.startswith(_MAGIC) and hashlib.blake2b(rest, digest_size=_DIGEST).digest() == digest


def faults(data: bytes, polygons: Mapping[int, Polygon]) -> list[str]:
    """What a whole plan says otherwise than `rasterio.features.geometry_mask`, in words.

    Args:
        data: the file.
        polygons: in lon/lat, by fingerprint as a number.
    """
    rest = data[len(_MAGIC) + _DIGEST :]
    areas, runs, length = _SIZES.unpack_from(rest)
    epsg, width, height, *numbers = rest[_SIZES.size :][:length].decode().split(" ")[-9:]
    transform = Affine(*map(float.fromhex, numbers))
    body, at, arrays = zlib.decompress(rest[_SIZES.size + length :]), 0, list[NDArray[Any]]()
    kinds = (("<u8", areas), ("<i8", areas), ("<i4", 4 * areas), ("<u4", areas), *[("<u2", runs)] * 3)
    for kind, count in kinds:
        arrays.append(np.frombuffer(body, kind, count, at))
        at += arrays[-1].nbytes
    keys, _, windows, counts, rows, columns, lengths = arrays
    ends, found = np.cumsum(counts), list[str]()
    for key, (top, left, _, _), end, count in zip(
        keys.tolist(), windows.reshape(-1, 4).tolist(), ends.tolist(), counts.tolist(), strict=True
    ):
        inside = np.zeros((int(height), int(width)), np.bool_)
        runs_of_area = (values[end - count : end].tolist() for values in (rows, columns, lengths))
        for row, column, pixels in zip(*runs_of_area, strict=True):
            inside[(top + row) % len(inside), left + column : left + column + pixels] = (
                True  # never beyond the raster
            )
        shape = oracle.project(polygons[key], f"EPSG:{epsg}")
        right = rasterio.features.geometry_mask([shape], inside.shape, transform, invert=True)
        if not np.array_equal(inside, right):
            found.append(f"{np.count_nonzero(inside != right)} pixels of area {key:016x} differ")
    return found


def spoil(path: Path, chance: random.Random) -> str:
    """Damage a file as a power cut or a bad disk might, or remove it; what identifies the damaged content."""
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data))
    how = chance.choice(["remove", "cut", "zero", "flip"])
    if how == "remove":
        path.unlink()
        return ""
    if how == "cut":
        del data[place:]
    elif how == "zero":
        data[place:] = bytes(len(data) - place)
    else:
        data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return name_of(bytes(data))


def note_what_is_believed(notes: Path) -> None:
    """Let this process append a line to a file for each plan that it reads: whether it believes it, and which."""
    plain = packing.unpacked

    def unpacked(data: bytes, grid: Grid) -> Any:
        word = "believed"
        try:
            return plain(data, grid)
        except ValueError:
            word = "refused"
            raise
        finally:
            with notes.open("a") as file:
                file.write(f"{word} {name_of(data)}\n")

    packing.unpacked = unpacked
