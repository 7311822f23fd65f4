"""Which blocks of a file some windows need, how many rows of each, and which byte ranges hold them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2async.cog.grid import Window
from s2async.cog.tiff import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class ByteRange:
    """Bytes to fetch in one request, and the blocks in them."""

    start: int
    stop: int
    """One past the last byte."""
    blocks: tuple[int, ...]
    """Indices of the blocks that lie in it."""


def blocks_under(layout: Layout, windows: Iterable[Window]) -> list[int]:
    """Return the indices of the blocks that hold any pixel of any window, ascending, each once."""
    blocks: set[int] = set()
    for window in windows:
        columns = range(window.col // layout.block_width, -(-(window.col + window.width) // layout.block_width))
        rows = range(window.row // layout.block_height, -(-(window.row + window.height) // layout.block_height))
        blocks.update(row * layout.across + column for row in rows for column in columns)
    if layout.planar:
        plane = layout.across * layout.down
        blocks = {band * plane + block for band in range(layout.bands) for block in blocks}
    return sorted(blocks)


def windows_over(layout: Layout, windows: Sequence[Window]) -> dict[int, list[int]]:
    """Return the indices of the windows that each block holds pixels of, by index of the block."""
    over: dict[int, list[int]] = {}
    for index, window in enumerate(windows):
        for block in blocks_under(layout, [window]):
            over.setdefault(block, []).append(index)
    return over


def rows_under(
    layout: Layout, windows: Iterable[Window], insides: Iterable[NDArray[np.bool_] | None]
) -> dict[int, int]:
    """Return how many rows of each block, from its top, hold the lowest pixel that any window needs of it.

    Args:
        layout: of the file; bands interleaved.
        windows: inside the raster.
        insides: for each window (rows, columns) of the pixels that matter; None when all of them do.

    Returns:
        Rows by index of the block; blocks without a pixel that matters are not in it.
    """
    high, wide = layout.block_height, layout.block_width
    rows: dict[int, int] = {}
    for window, inside in zip(windows, insides, strict=True):
        for block in blocks_under(layout, [window]):
            top, left = block // layout.across * high, block % layout.across * wide
            first, last = max(window.row, top), min(window.row + window.height, top + high)
            if inside is not None:
                # Of a polygon's window the last rows of a block may hold no pixel that is inside.
                columns = slice(max(left - window.col, 0), left + wide - window.col)
                while last > first and not inside[last - 1 - window.row, columns].any():
                    last -= 1
            if last > first:
                rows[block] = max(rows.get(block, 0), last - top)
    return rows


def byte_ranges(
    layout: Layout,
    wanted: Mapping[int, int],
    *,
    had: Mapping[int, int] | None = None,
    gap: int = 8192,
    longest: int = 32 << 20,
) -> list[ByteRange]:
    """Return the requests that fetch the blocks; neighbours in the file share one.

    Args:
        layout: of the file.
        wanted: bytes of each block, from its start; blocks left out of the file have 0 and need no request.
        had: bytes of some blocks, from their start, that are there already.
        gap: maximum number of bytes between two blocks that are also fetched, to save a request.
        longest: maximum number of bytes of a request of several blocks.

    Returns:
        Ranges in the order of the file.
    """
    places, had = layout.block_offsets, had or {}
    parts = {block: (int(places[block]), had.get(block, 0), size) for block, size in wanted.items()}
    missing = sorted((at + first, at + last, block) for block, (at, first, last) in parts.items() if first < last)
    merged: list[tuple[int, int, list[int]]] = []
    for start, stop, block in missing:
        first, last, members = merged[-1] if merged else (0, 0, [])
        if members and start - last <= gap and stop - first <= longest:
            members.append(block)
            merged[-1] = (first, max(stop, last), members)
        else:
            merged.append((start, stop, [block]))
    return [ByteRange(start=start, stop=stop, blocks=tuple(members)) for start, stop, members in merged]


def covered(parts: Iterable[tuple[int, int]]) -> int:
    """Count the bytes that lie in any of some parts (first byte, one past the last), which may overlap."""
    size = end = 0
    for start, stop in sorted(parts):
        size += max(0, stop - max(start, end))
        end = max(end, stop)
    return size
