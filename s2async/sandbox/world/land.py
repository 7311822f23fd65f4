"""The ground without clouds: lakes and rivers, woods, fields, towns, and their colours in each season.

Pure functions of a place: two squares that overlap show the same land.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async.sandbox.world.fields import STEP, Floats, Lattice, field, grain

Bytes = NDArray[np.uint8]

STRENGTH: Final = 0.55
"""Strength of the grain: with it, a clear tile of true colour has 1.3 MB on average, as in real files."""

VEGETATION, SOIL, WATER, DARK, UNCLASSIFIED = 4, 5, 6, 2, 7
"""SCL classes of land."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cover:
    """A kind of ground."""

    colours: tuple[Colour, Colour, Colour, Colour]
    """Red, green, blue, 1 to 255, in the middle of January, April, July and October."""
    ndvi: tuple[float, ...]
    """Its NDVI in the middle of each month, or one value for all: above 0.35 it is classified as vegetation."""
    grain: float
    """Standard deviation of its brightness between pixels."""
    scl: int = SOIL
    """Its class if it is not green."""


def _steady(colour: Colour, grain: float, ndvi: float, scl: int = SOIL) -> Cover:
    return Cover(colours=(colour,) * 4, ndvi=(ndvi,), grain=grain, scl=scl)


def _growing(colours: Sequence[Colour], ndvi: str, grain: float) -> Cover:
    first, second, third, fourth = colours
    return Cover(
        colours=(first, second, third, fourth),
        ndvi=tuple(float(hundredths) / 100 for hundredths in ndvi.split()),
        grain=grain,
    )


_GREEN: Final = 0.35
"""NDVI above which ground is classified as vegetation."""
COVERS: Final = (
    _steady((24, 36, 48), 1.0, -0.33, WATER),
    _growing([(30, 38, 34), (34, 46, 34), (32, 50, 34), (34, 44, 32)], "68 68 70 74 78 80 80 79 76 73 70 68", 2.2),
    _growing([(66, 58, 48), (62, 76, 40), (40, 66, 34), (86, 76, 38)], "25 26 30 45 70 82 81 78 70 56 40 28", 2.6),
    _growing(
        [(70, 74, 50), (76, 104, 52), (88, 106, 56), (78, 92, 50)], "40 40 45 56 66 70 66 62 58 54 46 41", 1.8
    ),
    _growing(
        [(66, 84, 48), (56, 106, 44), (172, 146, 88), (120, 96, 70)], "37 38 44 54 60 58 22 18 18 22 28 34", 1.5
    ),
    _growing(
        [(94, 78, 62), (108, 88, 70), (60, 98, 44), (130, 112, 76)], "16 17 18 20 30 55 68 62 42 25 20 17", 1.6
    ),
    _growing(
        [(76, 84, 54), (130, 138, 52), (140, 124, 78), (84, 96, 56)], "42 42 48 56 60 60 40 37 40 46 46 43", 1.6
    ),
    _growing(
        [(112, 94, 74), (136, 112, 86), (150, 132, 98), (118, 98, 76)], "15 15 17 20 26 30 30 27 22 19 17 15", 1.9
    ),
    _growing(
        [(84, 80, 60), (74, 98, 50), (104, 112, 62), (92, 92, 58)], "38 38 44 56 64 66 58 50 52 48 42 39", 1.7
    ),
    _steady((122, 112, 104), 7.0, 0.08),
    _steady((88, 84, 82), 6.0, 0.12),
    _growing([(70, 68, 58), (72, 84, 58), (64, 84, 54), (76, 78, 54)], "24 25 32 46 62 70 70 66 60 48 38 27", 5.0),
    _steady((164, 152, 140), 8.0, 0.10),
    _steady((58, 56, 56), 4.0, 0.15, DARK),
)
"""Water, conifers, broadleaves, meadow, five crops (winter wheat, maize, rape, fallow, clover), town (streets,
roofs, gardens, halls), shade. Wheat and rape are harvested in July."""

_WATER, _CONIFER, _BROADLEAF, _MEADOW, _CROP, _TOWN, _SHADE = 0, 1, 2, 3, 4, 9, 13
_CROPS, _TOWNS = 5, 4


class Land:
    """The land of one world.

    Args:
        seed: seed of the world.
    """

    def __init__(self, seed: int) -> None:
        self._relief = field(seed + 1, 9_000)
        self._hills = field(seed + 2, 2_200)
        self._course = field(seed + 3, 26_000, slope=3.4)
        self._towns = field(seed + 4, 12_000, slope=2.2)
        # A river is where the course field is 0; divided by its slope, its width is the same everywhere.
        north, east = np.gradient(self._course, STEP)
        self._slope = np.hypot(north, east).astype(np.float32)
        self.grain = grain(seed + 5)
        """Fine brightness noise, standard deviation 1."""

    def cover(self, lattice: Lattice) -> Bytes:
        """Return the index into COVERS for every pixel of a window."""
        relief, hills = lattice.of(self._relief), lattice.of(self._hills)
        rough = lattice.grained(self.grain) * np.float32(0.05)
        east, north = lattice.places()
        # Borders of fields bend slightly with the hills.
        east += hills * 90.0
        north += relief * 160.0
        cover = _parcels(east, north)
        wooded = 0.8 * hills + 0.7 * relief + rough
        cover[wooded > 0.55] = _BROADLEAF
        cover[wooded > 0.75] = _CONIFER
        cover[(np.abs(wooded - 0.5) < 0.05)] = _MEADOW
        built = lattice.of(self._towns) + 0.25 * hills + 2 * rough
        cover[built > 0.95] = _streets(east, north)[built > 0.95]
        distance = np.abs(lattice.of(self._course)) / np.maximum(lattice.of(self._slope), np.float32(2e-5))
        cover[distance < 420 + 200 * hills] = np.where(hills > 0.2, _BROADLEAF, _MEADOW)[
            distance < 420 + 200 * hills
        ]
        cover[(distance < 130 + 60 * hills) | (relief + 0.5 * hills < -1.9 + rough)] = _WATER
        return cover

    def relief(self, lattice: Lattice) -> Floats:
        """Return a smooth field with mean 0 and standard deviation 1, for quantities that vary slowly in space."""
        return lattice.of(self._relief)

    def picture(self, cover: Bytes, lattice: Lattice, month: float) -> Bytes:
        """Return the true colour of a window, rows x columns x 3, values 1 to 255.

        Args:
            cover: what `cover` returned for the window.
            lattice: the window; grain is only added at full resolution.
            month: 0 is the start of January, 12 that of the next.
        """
        picture = np.take(colours_at(month), cover, axis=0)
        if lattice.stride == 1:
            strength = np.array([kind.grain * STRENGTH for kind in COVERS], dtype=np.float32)
            noise = np.rint(np.take(strength, cover) * lattice.grained(self.grain)).astype(np.int16)
            picture += noise[:, :, None]
        return np.clip(picture, 1, 255).astype(np.uint8)


def colours_at(month: float) -> NDArray[np.int16]:
    """Return the true colour of each of COVERS at a time of the year, covers x 3."""
    return np.array([_at_time(kind.colours, month) for kind in COVERS]).round().astype(np.int16)


def ndvi_at(month: float) -> Floats:
    """Return the NDVI of each of COVERS at a time of the year."""
    middles = np.arange(12) + 0.5
    return np.array(
        [np.interp(month, middles[: len(kind.ndvi)], kind.ndvi, period=12) for kind in COVERS], dtype=np.float32
    )


def classes(month: float) -> Bytes:
    """Return the SCL class of each of COVERS at a time of the year."""
    return np.array(
        [VEGETATION if value > _GREEN else kind.scl for value, kind in zip(ndvi_at(month), COVERS, strict=True)],
        dtype=np.uint8,
    )


def _at_time(keys: Sequence[Sequence[float]], month: float) -> NDArray[np.float64]:
    """Return values at a time of the year from those in the middle of January, April, July and October."""
    place = (month - 0.5) / 3 % 4
    before, share = int(place), place % 1
    first, second = np.array(keys[before], float), np.array(keys[(before + 1) % 4], float)
    return np.asarray(first * (1 - share) + second * share)


def _mixed(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return a pseudo-random number for each pair of integers (multiplicative hashing, wrapping at 32 bits)."""
    mixed = x.astype(np.uint32) * np.uint32(0x9E3779B1) ^ y.astype(np.uint32) * np.uint32(0x85EBCA77)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x2C1B3C6D)
    return np.asarray(mixed ^ mixed >> np.uint32(13), dtype=np.uint32)


def _parcels(east: NDArray[np.float64], north: NDArray[np.float64]) -> Bytes:
    """Return farmland: strips of several hundred metres, each with one crop, rotated against the grid."""
    along, across = 0.94 * east + 0.34 * north, 0.94 * north - 0.34 * east
    row = np.floor(across / 420)
    column = np.floor(along / 260 + row * 0.37)
    return (_CROP + _mixed(column.astype(np.int64), row.astype(np.int64)) % _CROPS).astype(np.uint8)


def _streets(east: NDArray[np.float64], north: NDArray[np.float64]) -> Bytes:
    """Return town: blocks of 110 m x 90 m between streets, with gardens, roofs, halls, and shade."""
    along, across = (0.8 * east + 0.6 * north) / 110, (0.8 * north - 0.6 * east) / 90
    column, row = np.floor(along), np.floor(across)
    kind = _mixed(column.astype(np.int64), row.astype(np.int64)) % 16
    block = np.array([1, 2, 2, 1, 2, 0, 1, 2, 2, 1, 2, 2, 1, 3, 4, 2], dtype=np.uint8) + _TOWN
    street = (along - column < 0.18) | (across - row < 0.2)
    return np.where(street, np.uint8(_TOWN), np.take(block, kind)).astype(np.uint8)
