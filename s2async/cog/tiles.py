"""Which blocks of a file some windows need, how many rows of each, and which byte ranges hold them. Pure."""

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


def window_of(layout: Layout, block: int) -> Window:
    """The pixels of the raster that a block holds, without fill beyond the raster's edges."""
    band_block = block % (layout.across * layout.down)
    row, col = band_block // layout.across * layout.block_height, band_block % layout.across * layout.block_width
    width = min(layout.block_width, layout.grid.width - col)
    return Window(row=row, col=col, width=width, height=min(layout.block_height, layout.grid.height - row))


def windows_over(layout: Layout, windows: Sequence[Window]) -> dict[int, list[int]]:
    """Return the indices of the windows that each block holds pixels of, by index of the block."""
    pairs = _Pairs.of(layout, windows)
    over = {block: pairs.window[part].tolist() for block, part in pairs.by_block()}
    if layout.planar:
        plane = layout.across * layout.down
        over = {band * plane + block: found for band in range(layout.bands) for block, found in over.items()}
    return over


def rows_under(
    layout: Layout, windows: Sequence[Window], insides: Sequence[NDArray[np.bool_] | None]
) -> dict[int, int]:
    """Return how many rows of each block, from its top, hold the lowest pixel that any window needs of it.

    Args:
        layout: of the file; bands interleaved.
        windows: inside the raster.
        insides: for each window (rows, columns) of the pixels that matter; None when all of them do.

    Returns:
        Rows by index of the block; blocks without a pixel that matters are not in it.
    """
    pairs = _Pairs.of(layout, windows)
    rows: dict[int, int] = {}
    for block, part in pairs.by_block():
        top, left = block // layout.across * layout.block_height, block % layout.across * layout.block_width
        # From the window that reaches lowest on: few masks are looked at, however many windows there are.
        order = np.argsort(-pairs.last[part], kind="stable")
        for index, last in zip(pairs.window[part][order].tolist(), pairs.last[part][order].tolist(), strict=True):
            if last <= rows.get(block, 0):
                break
            window, inside = windows[index], insides[index]
            if inside is not None:
                # Of a polygon's window the last rows of a block may hold no pixel that is inside.
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
    """Which windows share pixels with which blocks of one band, sorted by block."""

    block: NDArray[np.int64]
    """(pairs,) index of the block."""
    window: NDArray[np.int64]
    """(pairs,) index of the window; ascending within a block."""
    last: NDArray[np.int64]
    """(pairs,) the last row, exclusive, that the window has of the block, from the block's top."""

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
        """The blocks, ascending, and the pairs of each."""
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
