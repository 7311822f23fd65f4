"""Polygons on a raster's own grid: which window, which pixels. Pure, and the same answers as rasterio.mask.

The window is the outermost whole pixels around the polygon (floor and ceiling), cut at the raster's edge; a
pixel is inside when its centre is. Vertices are projected one by one, as everybody does who projects a polygon
before he cuts with it.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import geometry_mask, geometry_window
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from s2async import geo
from s2async.models import Area

# rasterio warns of its own scratch raster, which gets its transform a moment later
warnings.filterwarnings("ignore", message="Dataset has no geotransform", module=r"rasterio\.features")


CACHED_VERTICES = 2000
"""Polygons of more vertices are projected anew each time: 4096 of these hold 131 MB."""
CACHED_PIXELS = 1 << 18
"""Masks of more pixels are kept packed only: 512 of these hold 134 MB, and packed 4096 do."""
PACKED_PIXELS = 1 << 21
"""Masks of more pixels are drawn anew each time: 512 of these hold 134 MB, packed."""
KEPT_PLACES = 16_384
"""Areas whose place on a grid is remembered, half a kilobyte each: 1,000 areas have some 4,000."""
STRIPE_PIXELS = 1 << 24
"""Pixels that are looked at together where an area is larger than the raster."""


def shifted(transform: Affine, columns: float, rows: float) -> Affine:
    """The transform of a raster whose first pixel lies so many columns and rows further."""
    a, b, c, d, e, f = transform[:6]
    return Affine(a, b, a * columns + b * rows + c, d, e, d * columns + e * rows + f)


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A rectangle of whole pixels."""

    col: int
    row: int
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.height, self.width

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.width * self.height

    def clip(self, width: int, height: int) -> Window | None:
        """The part inside a raster of that size; None when there is none."""
        col, row = max(self.col, 0), max(self.row, 0)
        right, bottom = min(self.col + self.width, width), min(self.row + self.height, height)
        if right <= col or bottom <= row:
            return None
        return Window(col=col, row=row, width=right - col, height=bottom - row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Where the pixels of a raster lie."""

    width: int
    height: int
    transform: Affine
    """From (column, row) of pixel corners to coordinates of the CRS."""
    epsg: int

    def window_transform(self, window: Window) -> Affine:
        """The transform of a window's own pixels."""
        return shifted(self.transform, window.col, window.row)

    def resized(self, width: int, height: int) -> Grid:
        """The same ground in so many pixels."""
        across, down = self.width / width, self.height / height
        a, b, c, d, e, f = self.transform[:6]
        transform = Affine(a * across, b * down, c, d * across, e * down, f)
        return Grid(width=width, height=height, transform=transform, epsg=self.epsg)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Coordinates of the upper left and the lower right corner: x0, y0, x1, y1."""
        end = shifted(self.transform, self.width, self.height)
        return self.transform.c, self.transform.f, end.c, end.f


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cutout:
    """The part of a raster that lies under an area."""

    window: Window
    """Whole pixels around the area, inside the raster."""
    inside: NDArray[np.bool_]
    """(rows, columns) of the window: True where the pixel's centre is inside the polygon."""
    total: int
    """Pixel centres inside the polygon, also of pixels that the raster does not hold."""


def cutout(area: Area, grid: Grid) -> Cutout | None:
    """The window and the pixels of an area on a raster's grid.

    Args:
        area: polygon in lon/lat.
        grid: of the raster.

    Returns:
        None when the raster does not touch the polygon's bounding box.
    """
    place = _PLACES.get((area.fingerprint, grid), _UNKNOWN)
    if isinstance(place, _Unknown):
        found = _found(area, grid)
        if not _large(area.polygon):
            _PLACES[area.fingerprint, grid] = None if found is None else _Place.of(found, grid)
            while len(_PLACES) > KEPT_PLACES:
                _PLACES.popitem(last=False)
        return found
    if place is None:
        return None
    keyed = _Projected(area, grid.epsg)
    inside = _inside(keyed, place.transform, place.window.shape)
    return Cutout(window=place.window, inside=inside, total=place.total)


def is_known(area: Area, grid: Grid) -> bool:
    """Whether :func:`cutout` takes microseconds for an answer, because it was asked before.

    Where so many masks take turns that some were forgotten, nothing is: one might have to be drawn again.
    """
    place = _PLACES.get((area.fingerprint, grid), _UNKNOWN)
    if not isinstance(place, _Place):
        return place is None
    pixels = place.window.pixels
    kept = (_packed if pixels <= CACHED_PIXELS else _packed_large).cache_info()
    return pixels <= PACKED_PIXELS and kept.currsize < (kept.maxsize or 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """What is kept of a cutout: all but its mask, which other grids share."""

    window: Window
    transform: Affine
    """Of the window."""
    total: int

    @classmethod
    def of(cls, found: Cutout, grid: Grid) -> Self:
        return cls(window=found.window, transform=grid.window_transform(found.window), total=found.total)


class _Unknown:
    """Nobody has asked before."""


_UNKNOWN = _Unknown()
_PLACES: OrderedDict[tuple[str, Grid], _Place | None] = OrderedDict()
"""Where areas lie, by fingerprint, on grids; None for those outside."""


def _found(area: Area, grid: Grid) -> Cutout | None:
    polygon = _project(area.fingerprint, area.polygon, grid.epsg)
    if polygon is None:
        return None
    keyed = _Keyed((area.fingerprint, grid.epsg), polygon)
    whole = (_whole.__wrapped__ if _large(polygon) else _whole)(keyed, grid.transform)
    window = whole.clip(grid.width, grid.height)
    if window is None:
        return None
    inside = _inside(keyed, grid.window_transform(window), window.shape)
    total = int(np.count_nonzero(inside))
    if window != whole:
        start = grid.window_transform(whole)
        total = max(total, _count(keyed, start, whole.shape))
    return Cutout(window=window, inside=inside, total=total)


def outline(area: Area, grid: Grid, window: Window | None = None) -> BaseGeometry | None:
    """The polygon of an area in columns and rows of a raster, or of a window of it.

    Returns:
        None when the polygon cannot be projected to the raster's CRS.
    """
    polygon = _project(area.fingerprint, area.polygon, grid.epsg)
    if polygon is None:
        return None
    a, b, c, d, e, f = (~(grid.window_transform(window) if window else grid.transform))[:6]
    return shapely.transform(polygon, lambda xy: np.column_stack([xy @ (a, b) + c, xy @ (d, e) + f]))


class _Keyed:
    """A value that a cache tells apart by its key alone: hashing a polygon of 100,000 vertices is not free."""

    __slots__ = ("key", "value")

    def __init__(self, key: object, value: Any) -> None:
        self.key, self.value = key, value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class _Projected(_Keyed):
    """The same of the polygon of an area in a CRS, which is projected only when somebody wants it."""

    __slots__ = ("_area", "_epsg")

    def __init__(self, area: Area, epsg: int) -> None:
        self.key, self._area, self._epsg = (area.fingerprint, epsg), area, epsg

    @property
    def value(self) -> Polygon | MultiPolygon | None:
        return _project(self._area.fingerprint, self._area.polygon, self._epsg)


def _large(polygon: Polygon | MultiPolygon) -> bool:
    return bool(shapely.get_num_coordinates(polygon) > CACHED_VERTICES)


def _project(fingerprint: str, polygon: Polygon | MultiPolygon, epsg: int) -> Polygon | MultiPolygon | None:
    projected = _projected.__wrapped__ if _large(polygon) else _projected
    return projected(_Keyed(fingerprint, polygon), epsg)


@lru_cache(maxsize=4096)
def _projected(keyed: _Keyed, epsg: int) -> Polygon | MultiPolygon | None:
    projected = shapely.transform(keyed.value, lambda points: geo.projected(points, epsg))
    return projected if np.isfinite(shapely.get_coordinates(projected)).all() else None


def _inside(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.bool_]:
    pixels = shape[0] * shape[1]
    if pixels <= CACHED_PIXELS:
        inside = _shared(keyed, transform, shape)
    elif pixels <= PACKED_PIXELS:
        inside = _unpacked(_packed_large(keyed, transform, shape), shape)
    else:
        inside = _rasterized(keyed, transform, shape)
    inside.flags.writeable = False
    return inside


def _rasterized(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = geometry_mask([keyed.value], out_shape=shape, transform=transform, invert=True)
    return inside


@lru_cache(maxsize=512)
def _shared(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask that all its users share, for as long as few areas take turns."""
    return _unpacked(_packed(keyed, transform, shape), shape)


@lru_cache(maxsize=4096)
def _packed(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask in an eighth of the memory: thousands of areas take turns, and each polygon is drawn once."""
    return np.packbits(_rasterized(keyed, transform, shape))


@lru_cache(maxsize=512)
def _packed_large(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The same of a large area: to unpack its mask takes a twentieth of the time of drawing it."""
    return np.packbits(_rasterized(keyed, transform, shape))


def _unpacked(packed: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.unpackbits(packed, count=shape[0] * shape[1]).view(np.bool_).reshape(shape)


@lru_cache(maxsize=4096)
def _count(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> int:
    """Pixel centres inside the polygon, a stripe at a time: an area may be a country, or two parks far apart."""
    rows, columns = shape
    if rows * columns > STRIPE_PIXELS and isinstance(keyed.value, MultiPolygon):
        return sum(_count_part(part, transform) for part in keyed.value.geoms)
    step = max(1, STRIPE_PIXELS // columns)
    stripes = [(row, min(step, rows - row)) for row in range(0, rows, step)]
    return sum(
        int(np.count_nonzero(_rasterized(keyed, shifted(transform, 0, row), (height, columns))))
        for row, height in stripes
    )


def _count_part(part: Polygon, transform: Affine) -> int:
    keyed = _Keyed(None, part)
    window = _whole.__wrapped__(keyed, transform)
    return _count.__wrapped__(keyed, shifted(transform, window.col, window.row), window.shape)


@lru_cache(maxsize=4096)
def _whole(keyed: _Keyed, transform: Affine) -> Window:
    """The outermost whole pixels around a polygon, on a grid without edges."""
    grid = Grid(width=1, height=1, transform=transform, epsg=0)
    found = geometry_window(grid, [keyed.value], boundless=True)
    return Window(col=int(found.col_off), row=int(found.row_off), width=int(found.width), height=int(found.height))
