"""Converts plans to the bytes of a file and back, and checks that a file is complete. Pure.

A file consists of a line that names the format, a digest of all following bytes, the numbers of areas and runs,
the key of the grid, and the compressed arrays. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyproj
from numpy.typing import NDArray

from s2async.cog.grid import Grid
from s2async.masks.plan import GridPlan, type_of_runs

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
_SLICE: Final = 1 << 16
"""Number of values that are converted and compressed at once."""


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


def packed(plans: Sequence[GridPlan], keys: Keys) -> bytes:
    """Return the content of the file for a plan in pieces.

    Args:
        plans: at least one plan of the same grid; the file contains all n areas of these, one plan after another.
        keys: (n,) keys of the areas.
    """
    key = grid_key(plans[0].grid).encode()
    runs = sum(int(plan.starts[-1]) for plan in plans)
    body = zlib.compressobj(_LEVEL)
    parts = [_SIZES.pack(len(keys), runs, len(key)), key]
    for (kind, _), arrays in zip(_layout(0, 0), _columns(plans, keys), strict=True):
        for array in arrays:
            flat = array.ravel()
            parts += (
                body.compress(flat[start : start + _SLICE].astype(kind, copy=False).data)
                for start in range(0, len(flat), _SLICE)
            )
    parts.append(body.flush())
    digest = _digest(*parts)
    return b"".join([_MAGIC, digest, *parts])


def unpacked(data: bytes, grid: Grid) -> tuple[GridPlan, Keys]:
    """Return the plan of a grid from the content of a file, and the keys of its areas. The arrays are read-only.

    Raises:
        ValueError: the file is incomplete, belongs to another grid, or was written by another version.
    """
    rest = memoryview(data)[len(_MAGIC) + _DIGEST :]
    if not data.startswith(_MAGIC) or _digest(rest) != data[len(_MAGIC) : len(_MAGIC) + _DIGEST]:
        raise ValueError("not a plan, or not all of it")
    areas, runs, length = _SIZES.unpack_from(rest)
    if rest[_SIZES.size :][:length] != grid_key(grid).encode():
        raise ValueError("a plan of another grid or version")
    arrays = _arrays(rest[_SIZES.size + length :], areas, runs)
    keys, totals, windows, numbers = (next(arrays) for _ in range(4))
    windows = windows.reshape(-1, 4)
    # Each array of runs is converted before the next one is decompressed: in the file they are twice as large.
    rows, columns, lengths = (next(arrays).astype(type_of_runs(windows), copy=False) for _ in range(3))
    plan = GridPlan(
        grid=grid,
        windows=windows,
        starts=np.concatenate([[0], np.cumsum(numbers, dtype=np.int64)]),
        rows=rows,
        columns=columns,
        lengths=lengths,
        totals=totals,
        skipped=next(arrays),
    )
    return plan, keys


def _columns(plans: Sequence[GridPlan], keys: Keys) -> Iterator[list[NDArray[Any]]]:
    """Yield the parts of each of the file's arrays, in the order of `_layout`."""
    yield [keys]
    of_plan: tuple[Callable[[GridPlan], NDArray[Any]], ...] = (
        lambda plan: plan.totals,
        lambda plan: plan.windows,
        lambda plan: np.diff(plan.starts),
        lambda plan: plan.rows,
        lambda plan: plan.columns,
        lambda plan: plan.lengths,
        lambda plan: plan.skipped,
    )
    for column in of_plan:
        yield [column(plan) for plan in plans]


def _arrays(body: memoryview, areas: int, runs: int) -> Iterator[NDArray[Any]]:
    """Yield the file's arrays one by one, in the order of `_layout`, from their compressed bytes."""
    stream = zlib.decompressobj()
    rest: bytes | memoryview = body
    for kind, number in _layout(areas, runs):
        size, data = number * np.dtype(kind).itemsize, b""
        if size:  # 0 would mean without a limit
            data = stream.decompress(rest, size)
            rest = stream.unconsumed_tail
        yield np.frombuffer(data, kind, number)


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


def _digest(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
    return digest.digest()
