"""The grid squares of Sentinel-2: which squares contain given areas, and where their rasters are.

MGRS squares of 100 km, whose rasters extend 9.8 km further east and south and start at whole multiples of 60 m,
with northings counted from the equator (ESA, Sentinel-2 Products Specification Document, tiling grid). Squares
exist in every UTM zone that they touch, so that a place near the edge of a zone is in squares of two zones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final, TypeVar

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from s2async.errors import AreaError

EXTENT: Final = 109_800
"""Side of a raster in metres."""
TILE: Final = 10_240
"""Side of a full-resolution tile in metres: 1024 pixels of 10 m, 512 of 20 m. (Those of 60 m are larger.)"""
TILES: Final = 11
"""Number of such tiles in a row, and of rows of tiles; the last ones are cut off by the raster's edge."""

_COLUMNS: Final = {1: "ABCDEFGH", 2: "JKLMNPQR", 0: "STUVWXYZ"}
_ROWS: Final = "ABCDEFGHJKLMNPQRSTUV"
_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    """One grid square and the position of its rasters."""

    name: str
    """Name such as ``33UUU``: zone (one or two digits), latitude band, two letters."""
    epsg: int
    west: int
    """Easting of the upper left corner in metres."""
    north: int
    """Northing of the upper left corner in metres."""

    @property
    def zone(self) -> int:
        """UTM zone."""
        return self.epsg % 100

    @property
    def box(self) -> shapely.Polygon:
        """The raster's outline in UTM."""
        return shapely.box(self.west, self.north - EXTENT, self.west + EXTENT, self.north)

    def project(self, geometry: BaseGeometry) -> BaseGeometry:
        """Return a geometry in lon/lat in UTM of this square."""
        return _moved(geometry, _to_utm(self.epsg))

    def unproject(self, geometry: BaseGeometry) -> BaseGeometry:
        """Return a geometry in UTM of this square in lon/lat."""
        return _moved(geometry, _to_utm(self.epsg), direction="INVERSE")

    def tiles_near(self, areas: Sequence[BaseGeometry], distance: float, tile: int = TILE) -> frozenset[int]:
        """Return the full-resolution tiles, counted row by row, within a distance of an area.

        Args:
            areas: polygons in lon/lat, anywhere on the globe.
            distance: the distance in metres.
            tile: side of a tile in metres.
        """
        everywhere = np.array(areas, dtype=object)
        _, south, _, north = (
            self.unproject(shapely.segmentize(self.box, EXTENT / 4)).buffer(distance / 100_000 + 0.1).bounds
        )
        latitudes = shapely.bounds(everywhere)[:, [1, 3]]
        # projecting takes time, and most areas of a large country are elsewhere
        projected = _moved(everywhere[(latitudes[:, 1] >= south) & (latitudes[:, 0] <= north)], _to_utm(self.epsg))
        west, south, east, north = self.box.buffer(distance, join_style="mitre").bounds
        bounds = shapely.bounds(projected)  # infinite if an area is on the other side of the globe
        low, high = bounds[:, :2], bounds[:, 2:]
        close = ((high >= (west, south)) & (low <= (east, north)) & np.isfinite(low) & np.isfinite(high)).all(
            axis=1
        )
        count = -(-EXTENT // tile)
        tiles = [self._tile(row, column, tile) for row in range(count) for column in range(count)]
        near = STRtree(shapely.buffer(projected[close], distance))
        hits, _ = near.query(tiles, predicate="intersects")
        return frozenset(np.unique(hits).tolist())

    def _tile(self, row: int, column: int, side: int) -> BaseGeometry:
        west, north = self.west + column * side, self.north - row * side
        return shapely.box(west, north - side, west + side, north).intersection(self.box)


@cache
def _to_utm(epsg: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(4326, epsg, always_xy=True)


Geometry = TypeVar("Geometry", BaseGeometry, NDArray[np.object_])


def _moved(geometry: Geometry, transformer: pyproj.Transformer, *, direction: str = "FORWARD") -> Geometry:
    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1], direction=direction))

    moved: Geometry = shapely.transform(geometry, move)
    return moved


def squares_of(areas: Sequence[BaseGeometry]) -> tuple[Square, ...]:
    """Return every square whose raster touches an area, sorted by name.

    Args:
        areas: polygons in lon/lat.

    Raises:
        AreaError: an area is beyond 80 degrees of latitude, where there is no UTM.
    """
    everywhere = np.array(areas, dtype=object)
    bounds = shapely.bounds(everywhere)
    for south, north in bounds[(bounds[:, 1] < -80) | (bounds[:, 3] > 80)][:1, [1, 3]]:
        raise AreaError(
            f"the sandbox knows areas between 80 S and 80 N only, not one at {south:.2f} to {north:.2f}"
        )
    northern = bounds[:, 1] + bounds[:, 3] >= 0
    zones = np.stack([(_zones(bounds[:, end]) + step - 1) % 60 + 1 for end in (0, 2) for step in (-1, 0, 1)])
    found: dict[str, Square] = {}
    for half, base in ((northern, 32600), (~northern, 32700)):
        for zone in np.unique(zones[:, half]).tolist():
            near = everywhere[half & (zones == zone).any(axis=0)]
            found |= {square.name: square for square in _touched(near, base + zone)}
    return tuple(found[name] for name in sorted(found))


def _touched(areas: NDArray[np.object_], epsg: int) -> Iterator[Square]:
    """Yield the squares of one zone whose rasters touch given areas (lon/lat)."""
    projected = _moved(areas, _to_utm(epsg))
    bounds = shapely.bounds(projected)  # infinite if an area is on the other side of the globe
    inside = np.isfinite(bounds).all(axis=1) & (bounds[:, 0] >= 0) & (bounds[:, 2] <= 1_000_000)
    projected, bounds = projected[inside], bounds[inside]
    if not len(bounds):
        return
    west, south, east, north = bounds.T
    columns = range(max(int(west.min() - 9800) // 100_000, 1), min(int(east.max()) // 100_000, 8) + 1)
    rows = range(int(south.min()) // 100_000, int(north.max() + 9800) // 100_000 + 1)
    for column, row in product(columns, rows):
        if not _in_zone(epsg, column, row):
            continue
        box = _square(epsg, column, row).box
        left, low, right, high = box.bounds
        close = (west <= right) & (east >= left) & (south <= high) & (north >= low)
        if close.any() and shapely.intersects(box, projected[close]).any():
            yield _square(epsg, column, row)


def _zones(longitudes: NDArray[np.float64]) -> NDArray[np.int64]:
    return ((longitudes + 180) // 6).astype(np.int64) % 60 + 1


@cache
def _square(epsg: int, column: int, row: int) -> Square:
    """Return the square whose lower left corner is at column and row, in units of 100 km."""
    zone = epsg % 100
    equator = 10_000_000 if epsg // 100 == 327 else 0
    latitude = _centre(epsg, column, row)[1]
    band = _BANDS[min(int((latitude + 80) // 8), 19)]
    letters = _COLUMNS[zone % 3][column - 1] + _ROWS[(row + (0 if zone % 2 else 5)) % 20]
    return Square(
        name=f"{zone}{band}{letters}",
        epsg=epsg,
        west=column * 100_000 // 60 * 60,
        north=equator - (equator - (row + 1) * 100_000) // 60 * 60,
    )


def _centre(epsg: int, column: int, row: int) -> tuple[float, float]:
    east, north = (column + 0.5) * 100_000, (row + 0.5) * 100_000
    longitude, latitude = _to_utm(epsg).transform(east, north, direction="INVERSE")
    return float(longitude), float(latitude)


@cache
def _in_zone(epsg: int, column: int, row: int) -> bool:
    """Return whether a part of the 100 km square is in its own zone's six degrees."""
    meridian = epsg % 100 * 6 - 183
    xs = [(column + dx) * 100_000.0 for dx in (0, 1, 0, 1)]
    ys = [(row + dy) * 100_000.0 for dy in (0, 0, 1, 1)]
    longitudes, _ = _to_utm(epsg).transform(xs, ys, direction="INVERSE")
    offsets = [(longitude - meridian + 180) % 360 - 180 for longitude in longitudes]
    return bool(min(offsets) < 3 and max(offsets) > -3)
