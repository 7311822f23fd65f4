"""Polygons on a raster's own grid: which window they need, and which pixels are inside.

The results equal those of ``rasterio.mask`` of rasterio 1.4: the window is the outermost whole pixels around the
polygon (floor and ceiling), cut at the raster's edge, and a pixel is inside when its centre is. Vertices are
projected one by one, as with the usual ``rasterio.warp.transform_geom``; edges are straight on the raster's plane.
The window does not depend on the version of rasterio: `cog.grid` computes it, here and in `masks.drawing`.

Masks are drawn by rasterio's features, which are computed in memory. Dates of one area share grids, so nearly
every mask is needed again; three caches, from fast to small, keep them:

- masks as they are, of the windows used last (:func:`_shared`);
- masks packed to one bit a pixel, of many more windows (:func:`_packed`, :func:`_packed_large`);
- the window and pixel count of each area on each grid, without the mask (``_PLACES``).

None of them keeps what is too large: a polygon of many vertices is projected, and a mask of many pixels drawn,
each time it is needed.
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
from rasterio.features import geometry_mask
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from s2async import geo
from s2async.cog.grid import Cutout, Grid, Window, in_pixels, outermost, shifted
from s2async.models import Area

# rasterio warns about its own scratch raster, which gets its transform a moment later
warnings.filterwarnings("ignore", message="Dataset has no geotransform", module=r"rasterio\.features")


CACHED_VERTICES = 2000
"""Polygons of more vertices are projected anew each time: 4096 of this size take 131 MB."""
CACHED_PIXELS = 1 << 18
"""Masks of more pixels are kept only packed: 512 of this size take 134 MB, and packed 4096 do."""
PACKED_PIXELS = 1 << 21
"""Masks of more pixels are drawn anew each time: 512 of this size take 134 MB, packed."""
KEPT_PLACES = 16_384
"""Pairs of area and grid whose window is remembered, half a kilobyte each; 1,000 areas have about 4,000."""
STRIPE_PIXELS = 1 << 24
"""Pixels that are counted at once where an area is larger than the raster."""


def cutout(area: Area, grid: Grid) -> Cutout | None:
    """Return the window and the pixels of an area on a raster's grid.

    Args:
        area: polygon in lon/lat.
        grid: of the raster.

    Returns:
        None when the raster does not touch the polygon's bounding box.

    Raises:
        ValueError: the CRS of the grid is unknown.
        LocalError: PROJ cannot read its database.
    """
    place = _PLACES.get((area.fingerprint, grid), _UNKNOWN)
    if isinstance(place, _Unknown):
        part = _computed(area, grid)
        if not _large(area.polygon):
            _PLACES[area.fingerprint, grid] = None if part is None else _Place.of(part, grid)
            while len(_PLACES) > KEPT_PLACES:
                _PLACES.popitem(last=False)
        return part
    if place is None:
        return None
    keyed = _Projected(area, grid.epsg)
    inside = _inside(keyed, place.transform, place.window.shape)
    return Cutout(window=place.window, inside=inside, total=place.total)


def is_known(area: Area, grid: Grid) -> bool:
    """Return whether :func:`cutout` answers from its caches, in microseconds.

    False for every area once the cache of packed masks is full: the mask in question may have been dropped from
    it.
    """
    place = _PLACES.get((area.fingerprint, grid), _UNKNOWN)
    if not isinstance(place, _Place):
        return place is None
    pixels = place.window.pixels
    kept = (_packed if pixels <= CACHED_PIXELS else _packed_large).cache_info()
    return pixels <= PACKED_PIXELS and kept.currsize < (kept.maxsize or 0)


def outline(area: Area, grid: Grid, window: Window | None = None) -> BaseGeometry | None:
    """Return the polygon of an area in columns and rows of a raster, or of a window of it.

    Returns:
        None when the polygon cannot be projected to the raster's CRS.
    """
    polygon = _project(area.fingerprint, area.polygon, grid.epsg)
    if polygon is None:
        return None
    a, b, c, d, e, f = (~(grid.window_transform(window) if window else grid.transform))[:6]
    return shapely.transform(polygon, lambda xy: np.column_stack([xy @ (a, b) + c, xy @ (d, e) + f]))


# ---- where areas lie --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """A cutout without its mask, which is cached apart: grids of the same phase share masks."""

    window: Window
    transform: Affine
    """Of the window."""
    total: int

    @classmethod
    def of(cls, part: Cutout, grid: Grid) -> Self:
        return cls(window=part.window, transform=grid.window_transform(part.window), total=part.total)


class _Unknown:
    """Marks pairs of area and grid that are not cached; None stands for an area outside the grid."""


_UNKNOWN = _Unknown()
_PLACES: OrderedDict[tuple[str, Grid], _Place | None] = OrderedDict()
"""Places of areas, by fingerprint and grid; None for areas outside."""


def _computed(area: Area, grid: Grid) -> Cutout | None:
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
        # At least what was just counted: rasterizing from another origin may round a centre on an edge
        # differently.
        total = max(total, _count(keyed, start, whole.shape))
    return Cutout(window=window, inside=inside, total=total)


class _Keyed:
    """A value that caches tell apart by its key alone: hashing a polygon of 100,000 vertices takes time."""

    __slots__ = ("key", "value")

    def __init__(self, key: object, value: Any) -> None:
        self.key, self.value = key, value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class _Projected(_Keyed):
    """The polygon of an area in a CRS. It is projected only when its value is read: on a hit, it never is."""

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


@lru_cache(maxsize=4096)
def _whole(keyed: _Keyed, transform: Affine) -> Window:
    """Return the outermost whole pixels around a polygon, on a grid without edges."""
    x, y = shapely.get_coordinates(keyed.value).T
    top, left, bottom, right = map(int, outermost(*in_pixels(transform, x, y), [0])[0].tolist())
    return Window(col=left, row=top, width=right - left, height=bottom - top)


# ---- which pixels are inside ------------------------------------------------------------------------------


def _inside(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.bool_]:
    pixels = shape[0] * shape[1]
    if pixels <= CACHED_PIXELS:
        inside = _shared(keyed, transform, shape)
    elif pixels <= PACKED_PIXELS:
        inside = _unpacked(_packed_large(keyed, transform, shape), shape)
    else:
        inside = _rasterized(keyed, transform, shape)
    inside.flags.writeable = False  # callers share it
    return inside


def _rasterized(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = geometry_mask([keyed.value], out_shape=shape, transform=transform, invert=True)
    return inside


@lru_cache(maxsize=512)
def _shared(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask that all callers share: the fastest cache, large enough while few areas alternate."""
    return _unpacked(_packed(keyed, transform, shape), shape)


@lru_cache(maxsize=4096)
def _packed(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask in an eighth of the memory, so that thousands of areas alternate and each is drawn once."""
    return np.packbits(_rasterized(keyed, transform, shape))


@lru_cache(maxsize=512)
def _packed_large(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Like `_packed`, for large areas. Unpacking a mask takes a twentieth of the time of drawing it."""
    return np.packbits(_rasterized(keyed, transform, shape))


def _unpacked(packed: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.unpackbits(packed, count=shape[0] * shape[1]).view(np.bool_).reshape(shape)


@lru_cache(maxsize=4096)
def _count(keyed: _Keyed, transform: Affine, shape: tuple[int, int]) -> int:
    """Count pixel centres inside a polygon, stripe by stripe: an area may be a country, or two parks far apart."""
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
