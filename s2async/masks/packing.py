"""Converts plans to the bytes of a file and back, and checks that a file is complete. Pure.

A file consists of a line that names the format, a digest of all following bytes, the numbers of areas and runs,
the key of the grid, and the compressed arrays. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Any, Final

import numpy as np
import pyproj
from numpy.typing import NDArray

from s2async.cog.grid import Grid
from s2async.masks.plan import GridPlan

Keys = NDArray[np.uint64]
"""Fingerprints of areas as numbers."""

RULE: Final = 1
"""Version of the rule for pixels inside a polygon and of the file format; increase it when either changes."""
SUFFIX: Final = ".plan"
"""Suffix of the files."""
_MAGIC: Final = b"s2async plan\n"
_DIGEST: Final = 32
"""Number of bytes of a digest."""
_SIZES: Final = struct.Struct("<QQQ")
"""Number of areas, of runs, and of bytes of the grid's key."""
_LEVEL: Final = 1
"""Compression level of zlib. The arrays shrink to a fifth; higher levels save little more."""


def keys_of(fingerprints: list[str]) -> Keys:
    """Convert the fingerprints of areas, 16 hex digits each, to numbers."""
    return np.frombuffer(bytes.fromhex("".join(fingerprints)), ">u8").astype(np.uint64)


def grid_key(grid: Grid) -> str:
    """Return a string of what an area's plan depends on besides its polygon: grid, rule and PROJ's version."""
    numbers = " ".join(float(value).hex() for value in grid.transform[:6])
    return f"{RULE} PROJ {pyproj.proj_version_str} EPSG {grid.epsg} {grid.width} {grid.height} {numbers}"


def file_name(grid: Grid) -> str:
    """Return the name of the file for a grid's plan."""
    return hashlib.blake2b(grid_key(grid).encode(), digest_size=8).hexdigest() + SUFFIX


def packed(plan: GridPlan, keys: Keys) -> bytes:
    """Return the content of the file for a plan.

    Args:
        plan: plan of n areas.
        keys: (n,) keys of the areas.
    """
    key = grid_key(plan.grid).encode()
    numbers = np.diff(plan.starts)
    arrays: tuple[NDArray[Any], ...] = (
        keys,
        plan.totals,
        plan.windows,
        numbers,
        plan.rows,
        plan.columns,
        plan.lengths,
        plan.skipped,
    )
    whole = b"".join(
        array.astype(kind, copy=False).tobytes() for array, (kind, _) in zip(arrays, _layout(0, 0), strict=True)
    )
    rest = _SIZES.pack(len(plan), int(plan.starts[-1]), len(key)) + key + zlib.compress(whole, _LEVEL)
    return _MAGIC + _digest(rest) + rest


def unpacked(data: bytes, grid: Grid) -> tuple[GridPlan, Keys]:
    """Return the plan of a grid from the content of a file, and the keys of its areas. The arrays are read-only.

    Raises:
        ValueError: the file is incomplete, belongs to another grid, or was written by another version.
    """
    rest = memoryview(data)[len(_MAGIC) + _DIGEST :]
    if not data.startswith(_MAGIC) or _digest(rest) != data[len(_MAGIC) : len(_MAGIC) + _DIGEST]:
        raise ValueError("not a plan, or not all of it")
    areas, runs, length = _SIZES.unpack_from(rest)
    key, body = rest[_SIZES.size :][:length], zlib.decompress(rest[_SIZES.size + length :])
    if key != grid_key(grid).encode():
        raise ValueError("a plan of another grid or version")
    at, arrays = 0, []
    for kind, number in _layout(areas, runs):
        arrays.append(np.frombuffer(body, kind, number, at))
        at += arrays[-1].nbytes
    keys, totals, windows, numbers, rows, columns, lengths, skipped = arrays
    plan = GridPlan(
        grid=grid,
        windows=windows.reshape(-1, 4),
        starts=np.concatenate([[0], np.cumsum(numbers, dtype=np.int64)]),
        rows=rows,
        columns=columns,
        lengths=lengths,
        totals=totals,
        skipped=skipped,
    )
    return plan, keys


def _layout(areas: int, runs: int) -> tuple[tuple[str, int], ...]:
    """Return types and lengths of a file's arrays: keys, totals, windows, numbers of runs, runs, skipped areas."""
    return (
        ("<u8", areas),
        ("<i8", areas),
        ("<i4", 4 * areas),
        ("<u4", areas),
        ("<u2", runs),
        ("<u2", runs),
        ("<u2", runs),
        ("?", areas),
    )


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
