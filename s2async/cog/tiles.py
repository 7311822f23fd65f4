"""Computes which blocks of a file windows need, how many rows of each, and which byte ranges to fetch. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """Indices of the blocks in this range."""


def blocks_under(layout: Layout, windows: Iterable[Window]) -> list[int]:
    """Return the indices of the blocks that contain pixels of any window, ascending and without duplicates."""
    blocks: set[int] = set()
    for window in windows:
        columns = range(window.col // layout.block_width, -(-(window.col + window.width) // layout.block_width))
        rows = range(window.row // layout.block_height, -(-(window.row + window.height) // layout.block_height))
        blocks.update(row * layout.across + column for row in rows for column in columns)
    if layout.planar:
        plane = layout.across * layout.down
        blocks = {band * plane + block for band in range(layout.bands) for block in blocks}
    return sorted(blocks)


def window_of(layout: Layout, block: int) -> Window:
    """Return the window of the raster that a block covers, without fill beyond the raster's edges."""
    band_block = block % (layout.across * layout.down)
    row, col = band_block // layout.across * layout.block_height, band_block % layout.across * layout.block_width
    width = min(layout.block_width, layout.grid.width - col)
    return Window(row=row, col=col, width=width, height=min(layout.block_height, layout.grid.height - row))


def windows_over(layout: Layout, windows: Sequence[Window]) -> dict[int, list[int]]:
    """Return the indices of the windows that share pixels with each block, by index of the block."""
    pairs = _Pairs.of(layout, windows)
    over = {block: pairs.window[part].tolist() for block, part in pairs.by_block()}
    if layout.planar:
        plane = layout.across * layout.down
        over = {band * plane + block: found for band in range(layout.bands) for block, found in over.items()}
    return over


def rows_under(
    layout: Layout, windows: Sequence[Window], insides: Sequence[NDArray[np.bool_] | None]
) -> dict[int, int]:
    """Return how many rows of each block, from its top, contain all pixels that any window needs.

    Args:
        layout: layout of the file, with interleaved bands.
        windows: windows inside the raster.
        insides: for each window, which pixels matter (rows, columns); None if all pixels matter.

    Returns:
        Number of rows by index of the block, without blocks that contain no pixel that matters.
    """
    pairs = _Pairs.of(layout, windows)
    rows: dict[int, int] = {}
    for block, part in pairs.by_block():
        top, left = block // layout.across * layout.block_height, block % layout.across * layout.block_width
        # The window that reaches lowest comes first, so that only few masks are examined, even for many windows.
        order = np.argsort(-pairs.last[part], kind="stable")
        for index, last in zip(pairs.window[part][order].tolist(), pairs.last[part][order].tolist(), strict=True):
            if last <= rows.get(block, 0):
                break
            window, inside = windows[index], insides[index]
            if inside is not None:
                # In the window of a polygon, the last rows of a block may contain no pixel inside the polygon.
                first = max(window.row - top, 0)
                columns = slice(max(left - window.col, 0), left + layout.block_width - window.col)
                while last > first and not inside[last - 1 + top - window.row, columns].any():
                    last -= 1
                if last == first:
                    continue
            rows[block] = max(rows.get(block, 0), last)
    return rows


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Pairs:
    """Pairs of blocks of one band and windows that share pixels, sorted by block."""

    block: NDArray[np.int64]
    """(pairs,): index of the block."""
    window: NDArray[np.int64]
    """(pairs,): index of the window; ascending within a block."""
    last: NDArray[np.int64]
    """(pairs,): one past the last row of the block that the window contains, counted from the block's top."""

    @classmethod
    def of(cls, layout: Layout, windows: Sequence[Window]) -> _Pairs:
        sides = np.array([(w.row, w.row + w.height, w.col, w.col + w.width) for w in windows], np.int64)
        top, bottom, left, right = sides.reshape(-1, 4).T
        high, wide = layout.block_height, layout.block_width
        first_row, first_column = top // high, left // wide
        across = (right - 1) // wide - first_column + 1
        numbers = across * ((bottom - 1) // high - first_row + 1)
        window = np.repeat(np.arange(len(windows)), numbers)
        nth = np.arange(len(window)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
        row = first_row[window] + nth // across[window]
        block = row * layout.across + first_column[window] + nth % across[window]
        order = np.argsort(block, kind="stable")
        last = np.minimum(bottom[window] - row * high, high)
        return cls(block=block[order], window=window[order], last=last[order])

    def by_block(self) -> Iterator[tuple[int, slice]]:
        """Yield each block, in ascending order, with the slice of its pairs."""
        starts = np.flatnonzero(np.diff(self.block, prepend=-1)).tolist()
        for start, stop in itertools.pairwise([*starts, len(self.block)]):
            yield int(self.block[start]), slice(start, stop)


def byte_ranges(
    layout: Layout,
    wanted: Mapping[int, int],
    *,
    had: Mapping[int, int] | None = None,
    gap: int = 8192,
    longest: int = 32 << 20,
) -> list[ByteRange]:
    """Return the byte ranges to request for the blocks; blocks that are close in the file share a range.

    Args:
        layout: layout of the file.
        wanted: number of bytes to fetch of each block, from its start; blocks left out of the file have 0 bytes
            and need no request.
        had: number of bytes of blocks, from their start, that are available already.
        gap: maximum number of bytes between two blocks that are fetched as well, to save a request.
        longest: maximum number of bytes of a request for several blocks.

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
    """Return the number of bytes in the union of parts (first byte, one past the last), which may overlap."""
    size = end = 0
    for start, stop in sorted(parts):
        size += max(0, stop - max(start, end))
        end = max(end, stop)
    return size
