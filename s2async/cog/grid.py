"""Values for the grid of a raster, and for windows (rectangles of pixels) in it. Pure.

The window around a polygon follows the rule of ``rasterio.features.geometry_window`` in rasterio 1.4: the inverse
of the transform turns every vertex into a column and a row (`in_pixels`), and the window reaches from the floor of
the smallest to the ceiling of the largest (`outermost`). Since version 1.5, rasterio transforms the corners of the
polygon's bounds instead (``rasterio.windows.from_bounds``). Its windows have one row or column more or less where
rounding moves a vertex across a pixel edge, and they are larger on rotated rasters. The rows and columns by which
the windows differ contain no pixel whose centre is inside the polygon. It also raises an error for rasters whose
columns run to the west.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def shifted(transform: Affine, columns: float, rows: float) -> Affine:
    """Return the transform of a raster that begins ``columns`` further right and ``rows`` further down.

    This is ``transform * Affine.translation(columns, rows)``, without the cost of building the second matrix.
    """
    a, b, c, d, e, f = transform.a, transform.b, transform.c, transform.d, transform.e, transform.f  # not a slice
    return Affine(a, b, a * columns + b * rows + c, d, e, d * columns + e * rows + f)


def in_pixels(transform: Affine, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the columns and rows of points.

    The operations and their order are those of ``~transform * (x, y)``, which rasterio 1.4 uses, so that points on
    a pixel edge are rounded in the same way.

    Args:
        transform: transform of the raster.
        x: (points,) coordinates in the CRS of the raster.
        y: (points,) coordinates in the CRS of the raster.
    """
    a, b, c, d, e, f = (~transform)[:6]
    return x * a + y * b + c, x * d + y * e + f


def outermost(columns: Floats, rows: Floats, starts: Sequence[int] | NDArray[np.int64]) -> Floats:
    """Return the windows of whole pixels around shapes, on a grid without edges.

    Args:
        columns: (vertices,) columns of the vertices of all shapes, one shape after the other.
        rows: (vertices,) rows of the same vertices.
        starts: (shapes,) index of the first vertex of each shape. Every shape has at least one vertex.

    Returns:
        (shapes, 4) integers as floats: the first row and column, and the row and column after the last.
    """
    first = [np.floor(np.minimum.reduceat(values, starts)) for values in (rows, columns)]
    behind = [np.ceil(np.maximum.reduceat(values, starts)) for values in (rows, columns)]
    return np.column_stack([*first, *behind])


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A rectangle of whole pixels."""

    col: int
    row: int
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and number of columns."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    def clip(self, width: int, height: int) -> Window | None:
        """Return the part of the window inside a raster of this size, or None if the window lies outside."""
        col, row = max(self.col, 0), max(self.row, 0)
        right, bottom = min(self.col + self.width, width), min(self.row + self.height, height)
        if right <= col or bottom <= row:
            return None
        return Window(col=col, row=row, width=right - col, height=bottom - row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Size, transform and CRS of a raster."""

    width: int
    height: int
    transform: Affine
    """From (column, row) of pixel corners to coordinates of the CRS."""
    epsg: int

    def window_transform(self, window: Window) -> Affine:
        """Return the transform of a window's own pixels."""
        return shifted(self.transform, window.col, window.row)

    def resized(self, width: int, height: int) -> Grid:
        """Return the grid of an overview, which shows the same ground with ``width`` x ``height`` pixels."""
        across, down = self.width / width, self.height / height
        a, b, c, d, e, f = self.transform[:6]
        transform = Affine(a * across, b * down, c, d * across, e * down, f)
        return Grid(width=width, height=height, transform=transform, epsg=self.epsg)

    def refined(self, factor: int) -> Grid:
        """Return the grid in which each pixel is divided into ``factor`` x ``factor`` pixels."""
        a, b, c, d, e, f = self.transform[:6]
        transform = Affine(a / factor, b / factor, c, d / factor, e / factor, f)
        return Grid(width=self.width * factor, height=self.height * factor, transform=transform, epsg=self.epsg)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Coordinates of the upper left and the lower right corner: x0, y0, x1, y1."""
        end = shifted(self.transform, self.width, self.height)
        return self.transform.c, self.transform.f, end.c, end.f


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cutout:
    """The part of a raster that an area covers."""

    window: Window
    """Window of whole pixels around the area, clipped to the raster."""
    inside: NDArray[np.bool_]
    """(rows, columns) of the window: True if the pixel's centre is inside the polygon."""
    total: int
    """Number of pixel centres inside the polygon, including those beyond the raster's edge."""
