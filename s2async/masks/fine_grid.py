"""The grid of 10 m pixels on which values are computed, and the pixels of coarser files for its windows. Pure.

A pixel of a coarser file represents the pixels of 10 m that it consists of: it is repeated, never interpolated.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2async.cog.grid import Cutout, Grid, Window

PIXEL: Final = 10.0
"""Size in metres of the pixels from which values are computed: that of the finest bands."""


def fine_grid(grid: Grid) -> tuple[Grid, int]:
    """Return the grid on which the pixels of a file are counted.

    Args:
        grid: grid of the file.

    Returns:
        The grid, and the number of its pixels along each side of a pixel of the file: 1 if the file's pixels do
        not consist of whole pixels of 10 m.
    """
    size = abs(grid.transform.a)
    factor = round(size / PIXEL)
    if factor <= 1 or factor * PIXEL != size or abs(grid.transform.e) != size:
        return grid, 1
    return grid.refined(factor), factor


def covering(fine: Cutout, factor: int) -> Cutout:
    """Return the part of a file whose pixels contain any pixel of an area.

    Args:
        fine: the area on the fine grid.
        factor: number of fine pixels along each side of a pixel of the file.
    """
    if factor == 1:
        return fine
    window = fine.window
    top, left = window.row // factor, window.col // factor
    height = -(-(window.row + window.height) // factor) - top
    width = -(-(window.col + window.width) // factor) - left
    whole = np.zeros((height * factor, width * factor), np.bool_)
    row, col = window.row - top * factor, window.col - left * factor
    whole[row : row + window.height, col : col + window.width] = fine.inside
    inside: NDArray[np.bool_] = np.any(whole.reshape(height, factor, width, factor), axis=(1, 3))
    return Cutout(
        window=Window(row=top, col=left, height=height, width=width),
        inside=inside,
        total=int(np.count_nonzero(inside)),
    )


def joined(one: Cutout, other: Cutout) -> Cutout:
    """Return the part of a raster that contains the pixels of two parts."""
    if one is other:
        return one
    a, b = one.window, other.window
    row, col = min(a.row, b.row), min(a.col, b.col)
    height = max(a.row + a.height, b.row + b.height) - row
    width = max(a.col + a.width, b.col + b.width) - col
    inside = np.zeros((height, width), np.bool_)
    for part in (one, other):
        top, left = part.window.row - row, part.window.col - col
        inside[top : top + part.window.height, left : left + part.window.width] |= part.inside
    return Cutout(
        window=Window(row=row, col=col, height=height, width=width),
        inside=inside,
        total=int(np.count_nonzero(inside)),
    )


def part_of(pixels: NDArray[Any], around: Window, window: Window) -> NDArray[Any]:
    """Return the pixels of a window.

    Args:
        pixels: (..., rows, columns) pixels of a larger window.
        around: the larger window.
        window: the window, inside the larger one.
    """
    if around == window:
        return pixels
    top, left = window.row - around.row, window.col - around.col
    return pixels[..., top : top + window.height, left : left + window.width]


def fine_pixels(pixels: NDArray[Any], around: Window, fine: Cutout, factor: int) -> NDArray[Any]:
    """Return the pixels of an area on the fine grid, row by row.

    Args:
        pixels: (rows, columns) pixels of a window of the file.
        around: this window, which contains the window that `covering` returns.
        fine: the area on the fine grid.
        factor: number of fine pixels along each side of a pixel of the file.

    Returns:
        (pixels of the area,), of the file's type.
    """
    window = fine.window
    if factor == 1:
        return part_of(pixels, around, window)[fine.inside]
    rows = np.arange(window.row, window.row + window.height) // factor - around.row
    columns = np.arange(window.col, window.col + window.width) // factor - around.col
    found: NDArray[Any] = pixels[rows[:, np.newaxis], columns][fine.inside]
    return found
