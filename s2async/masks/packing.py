"""Plans as bytes: what a kept plan's file contains, and whether all of it is there. Pure.

A file is a line that names the format, a digest of all that follows, the numbers of areas and runs, the key of the
grid, and the arrays, compressed. Numbers are little-endian.
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
"""Version of the rule by which pixels are inside, and of the file: to be raised when either changes."""
SUFFIX: Final = ".plan"
"""Of the files."""
_MAGIC: Final = b"s2async plan\n"
_DIGEST: Final = 32
"""Bytes of a digest."""
_SIZES: Final = struct.Struct("<QQQ")
"""Areas, runs, and bytes of the grid's key."""
_LEVEL: Final = 1
"""Of zlib. The arrays shrink to a fifth; higher levels save little more."""


def keys_of(fingerprints: list[str]) -> Keys:
    """The fingerprints of areas, 16 hex digits each, as numbers."""
    return np.frombuffer(bytes.fromhex("".join(fingerprints)), ">u8").astype(np.uint64)


def grid_key(grid: Grid) -> str:
    """What the plan of an area depends on beside its polygon: the grid, the rule, and PROJ's version."""
    numbers = " ".join(float(value).hex() for value in grid.transform[:6])
    return f"{RULE} PROJ {pyproj.proj_version_str} EPSG {grid.epsg} {grid.width} {grid.height} {numbers}"


def file_name(grid: Grid) -> str:
    """The name of the file for a grid's plan."""
    return hashlib.blake2b(grid_key(grid).encode(), digest_size=8).hexdigest() + SUFFIX


def packed(plan: GridPlan, keys: Keys) -> bytes:
    """The content of a file.

    Args:
        plan: of n areas.
        keys: (n,) of the areas.
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
    """The plan of a grid in a file, and the keys of its areas. The arrays are read-only.

    Raises:
        ValueError: the file is not whole, or is another grid's, or was written by another version.
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
    """Type and length of the arrays in a file: keys, totals, windows, numbers of runs; runs; what was skipped."""
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
