"""Targets for the pixels of blocks that are decoded row by row: the arrays of windows, or a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s2async.cog import deflate, memory, tiles
from s2async.cog.grid import Window
from s2async.cog.request import Pixels, Request
from s2async.cog.row_plan import Plan
from s2async.errors import CorruptFile


class Target(Protocol):
    """Receives the pixels of blocks in any order; its methods are called in threads."""

    def pixels(self, block: int, raw: bytes) -> Sequence[NDArray[np.generic]]:
        """Return the requested pixels of a block, given its inflated bytes, so that they can be checked."""

    def accept(self, block: int, pixels: Sequence[NDArray[np.generic]]) -> None:
        """Accept the pixels that `pixels` returned after they were checked. Called once for each block."""


class Windows:
    """Copies the pixels of blocks into the arrays of windows.

    Args:
        plan: plan of the read.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._over = tiles.windows_over(plan.request.layout, plan.request.windows)
        """Indices of the windows that share pixels with each block."""
        self._arrays = _arrays(plan.request)

    def over(self, block: int) -> Sequence[int]:
        """Return the indices of the windows that share pixels with a block."""
        return self._over[block]

    def pixels(self, block: int, raw: bytes) -> Sequence[NDArray[np.generic]]:
        """Copy the requested pixels of a block into the arrays; return these parts of the arrays."""
        pieces = self._pieces(block)
        deflate.place(self._plan.request.layout, raw, pieces)
        return [piece.target for piece in pieces]

    def accept(self, block: int, pixels: Sequence[NDArray[np.generic]]) -> None:
        """Do nothing, because the pixels are in the arrays already."""

    def results(self, damaged: Mapping[int, CorruptFile]) -> list[Pixels]:
        """Return the pixels of each window, or an error if the window touches a damaged block."""
        broken = {index: error for block, error in damaged.items() for index in self._over[block]}
        return [broken.get(index, array) for index, array in enumerate(self._arrays)]

    def _pieces(self, block: int) -> list[deflate.Piece]:
        """Return the rectangles of a block, with the parts of the windows' arrays to which they are copied."""
        layout = self._plan.request.layout
        top = block // layout.across * layout.block_height
        left = block % layout.across * layout.block_width
        # Rows below the last row that matters are not inflated; the window's array keeps its nodata there.
        bottom, right = top + self._plan.blocks[block].rows, left + layout.block_width
        pieces = []
        for index in self._over[block]:
            window = self._plan.request.windows[index]
            first, last = max(window.row, top), min(window.row + window.height, bottom)
            start, stop = max(window.col, left), min(window.col + window.width, right)
            if first < last:
                rows = slice(first - window.row, last - window.row)
                columns = slice(start - window.col, stop - window.col)
                piece = deflate.Piece(
                    rows=slice(first - top, last - top),
                    columns=slice(start - left, stop - left),
                    target=self._arrays[index][:, rows, columns],
                )
                pieces.append(piece)
        return pieces


class Scan:
    """Passes the pixels of whole rows of blocks to a function.

    Args:
        plan: plan of the read.
        take: called with a window of the raster and its pixels (bands, rows, columns).
    """

    def __init__(self, plan: Plan, take: Callable[[Window, NDArray[Any]], None]) -> None:
        self._plan = plan
        self._take = take

    def pixels(self, block: int, raw: bytes) -> Sequence[NDArray[np.generic]]:
        """Return the requested rows of a block as the only element of a sequence."""
        layout, window = self._plan.request.layout, self._window(block)
        whole = deflate.Piece(
            rows=slice(0, window.height),
            columns=slice(0, window.width),
            target=np.empty((layout.bands, *window.shape), layout.dtype),
        )
        deflate.place(layout, raw, [whole])
        return [whole.target]

    def accept(self, block: int, pixels: Sequence[NDArray[np.generic]]) -> None:
        """Pass the rows to the function."""
        self._take(self._window(block), pixels[0])

    def fill(self, blocks: Iterable[int]) -> None:
        """Pass nodata to the function for blocks that were left out of the file."""
        layout = self._plan.request.layout
        for block in blocks:
            window = self._window(block)
            self._take(window, np.full((layout.bands, *window.shape), layout.nodata or 0, layout.dtype))

    def _window(self, block: int) -> Window:
        layout = self._plan.request.layout
        window = tiles.window_of(layout, block)
        return replace(window, height=min(window.height, self._plan.blocks[block].rows))


def _arrays(request: Request) -> list[NDArray[np.generic]]:
    """Allocate the pixels of all windows, filled with nodata, the value of blocks left out of the file."""
    dtype, nodata = np.dtype(request.layout.dtype), request.layout.nodata
    buffer, start, arrays = memory.zeros(request.decoded_bytes), 0, []
    for shape in request.shapes:
        array: NDArray[np.generic] = np.ndarray(shape, dtype, buffer, start)
        if nodata:
            array[:] = nodata
        arrays.append(array)
        start += array.nbytes
    return arrays
