"""Random fields on the ground: a place has the same value in every UTM zone and at every resolution.

A field is periodic noise on a lattice of 160 m in a plate carree plane (metres east and north, scaled for one
latitude), repeated every 328 km x 164 km. A window of a raster samples it at a few knots and interpolates the
values at its pixels, which costs two small matrix products instead of a look-up per pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from s2async.sandbox.world.squares import EXTENT, Square

Floats = NDArray[np.float32]

STEP: Final = 160.0
"""Distance in metres between the values of a field."""
ROWS: Final = 1024
COLUMNS: Final = 2048
GRAIN: Final = 1024
"""Period of the fine grain in pixels: that of the full-resolution tiles, so that it is continuous at their
edges."""
PIXEL: Final = 10.0
"""Size of a full-resolution pixel in metres."""

METRES: Final = 111_320.0
"""Approximate length of a degree of latitude in metres."""
_MESH: Final = 61
"""Knots along a side of a square at which projected places are computed; between them, they are linear to 0.2
m."""


def field(seed: int, scale: float, *, slope: float = 2.6) -> Floats:
    """Return a periodic field with mean 0 and standard deviation 1.

    Args:
        seed: seed of the random numbers.
        scale: size of its largest features in metres.
        slope: how fast the amplitude decreases with the wave number below that size; a smaller slope is rougher.
    """
    white = np.random.default_rng(seed).standard_normal((ROWS, COLUMNS), dtype=np.float32)
    waves = np.fft.rfft2(white)
    north = np.fft.fftfreq(ROWS, STEP)[:, None]
    east = np.fft.rfftfreq(COLUMNS, STEP)[None, :]
    waves *= (1 + (north**2 + east**2) * scale**2) ** (-slope / 2)
    waves[0, 0] = 0
    noise = np.fft.irfft2(waves, s=(ROWS, COLUMNS)).astype(np.float32)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def grain(seed: int) -> Floats:
    """Return fine periodic noise, GRAIN x GRAIN pixels, mean 0, standard deviation 1: grainy, slightly blurred."""
    white = np.random.default_rng(seed).standard_normal((GRAIN, GRAIN), dtype=np.float32)
    blurred = white + 0.5 * (np.roll(white, 1, 0) + np.roll(white, 1, 1)) + 0.3 * np.roll(white, (2, 2), (0, 1))
    return np.asarray(blurred / blurred.std(), dtype=np.float32)


def sample(values: Floats, east: NDArray[np.float64], north: NDArray[np.float64]) -> Floats:
    """Return a field at places of the plane, by bilinear interpolation."""
    x, y = east / STEP, north / STEP
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    dx, dy = (x - column).astype(np.float32), (y - row).astype(np.float32)
    left, right = column % COLUMNS, (column + 1) % COLUMNS
    low, high = row % ROWS, (row + 1) % ROWS
    bottom = values[low, left] * (1 - dx) + values[low, right] * dx
    top = values[high, left] * (1 - dx) + values[high, right] * dx
    return np.asarray(bottom * (1 - dy) + top * dy, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Lattice:
    """The pixels of one square window: their positions in the plane, by knots."""

    size: int
    """Number of pixels per side."""
    east: NDArray[np.float64]
    """East coordinates of the knots in metres; rows go south."""
    north: NDArray[np.float64]
    weights: Floats
    """Pixels x knots: interpolate from values at the knots to the pixels' centres, along one axis."""
    first: tuple[int, int]
    """Row and column of the upper left pixel in the whole raster, for the grain."""
    stride: float = 1.0
    """Size of a pixel in full-resolution pixels, for the grain."""

    def spread(self, values: Floats) -> Floats:
        """Return the values at the pixels, size x size, interpolated from values at the knots."""
        return np.asarray(self.weights @ values @ self.weights.T, dtype=np.float32)

    def of(self, values: Floats, east: float = 0.0, north: float = 0.0) -> Floats:
        """Return a field at the pixels, or at places shifted east and north from them by the given metres."""
        return self.spread(sample(values, self.east + east, self.north + north))

    def places(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return east and north of every pixel's centre, in metres."""
        weights = self.weights.astype(np.float64)
        return weights @ self.east @ weights.T, weights @ self.north @ weights.T

    def grained(self, values: Floats) -> Floats:
        """Return the grain at the pixels (for coarse pixels: at one place of each)."""
        rows, columns = (
            (start + (np.arange(self.size) * self.stride).astype(np.int64)) % GRAIN for start in self.first
        )
        return values[np.ix_(rows, columns)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """The plane of one world of scenes."""

    longitude: float
    """Longitude of its middle in degrees, from which the longitudes of places are counted beyond 180 degrees."""
    latitude: float
    """Latitude in degrees at which the east-west scale is true."""

    @property
    def degree(self) -> float:
        """Metres in the plane per degree of longitude."""
        return METRES * math.cos(math.radians(self.latitude))

    def unwrapped(self, longitudes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return longitudes of adjacent places, in degrees, which continue beyond 180 degrees."""
        first = float(longitudes.flat[0])
        first += 360 * round((self.longitude - first) / 360)
        return longitudes + 360 * np.round((first - longitudes) / 360)


class Ground:
    """One square in the plane.

    Args:
        square: the grid square.
        plane: plane of the whole world of scenes.
    """

    def __init__(self, square: Square, plane: Plane) -> None:
        knots = np.linspace(0, EXTENT, _MESH)
        x, y = np.meshgrid(square.west + knots, square.north - knots)
        lonlat = shapely.get_coordinates(square.unproject(shapely.MultiPoint(np.c_[x.ravel(), y.ravel()])))
        self._east = plane.unwrapped(lonlat[:, 0]).reshape(_MESH, _MESH) * plane.degree
        self._north = lonlat[:, 1].reshape(_MESH, _MESH) * METRES

    def lattice(self, row: float, column: float, extent: float, size: int, step: int) -> Lattice:
        """Return a window of the square.

        Args:
            row: distance of its upper edge from the square's, in metres.
            column: distance of its left edge from the square's, in metres.
            extent: side of the window in metres.
            size: number of pixels per side.
            step: number of pixels between knots; divides the size.
        """
        count = size // step + 1
        down, across = (
            _linear(np.linspace(start, start + extent, count), EXTENT, _MESH) for start in (row, column)
        )
        centres = np.arange(size) + 0.5
        return Lattice(
            size=size,
            east=down @ self._east @ across.T,
            north=down @ self._north @ across.T,
            weights=_linear(centres, size, count).astype(np.float32),
            first=(int(row / PIXEL), int(column / PIXEL)),
            stride=extent / size / PIXEL,
        )


def _linear(at: NDArray[np.floating[Any]], extent: float, knots: int) -> NDArray[np.float64]:
    """Return weights, places x knots, of linear interpolation between evenly spaced knots from 0 to extent.

    Places outside are extrapolated: a tile at the raster's edge is larger than the rest of the raster.
    """
    place = at / extent * (knots - 1)
    left = np.clip(np.floor(place).astype(np.int64), 0, knots - 2)
    share = place - left
    weights = np.zeros((len(at), knots))
    rows = np.arange(len(at))
    weights[rows, left] = 1 - share
    weights[rows, left + 1] = share
    return weights
