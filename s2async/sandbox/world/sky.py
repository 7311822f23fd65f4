"""Clouds, their shadows, and the swath's edge: everything between the ground and a scene's pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async.sandbox.world.fields import Floats, Lattice, field
from s2async.sandbox.world.land import Bytes

SHADOW, MEDIUM, HIGH, CIRRUS = 3, 8, 9, 10
"""SCL classes of the sky."""

PATTERNS: Final = 5
"""Number of different cloud fields; a sky is one of them, shifted."""
_SHADOW_EAST, _SHADOW_NORTH = 700.0, -1100.0
"""Offset from a shadow to its cloud in metres: the sun is in the south-south-east."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sky:
    """The weather at one moment, and the part of the ground that the satellite saw."""

    pattern: int
    """Number of the cloud field, below PATTERNS."""
    cover: float
    """Approximate share of the sky that is cloudy, 0 to 1."""
    east: float = 0.0
    """How far the pattern is shifted, in metres."""
    north: float = 0.0
    edge: float | None = None
    """Where the swath ends, see `edge_through`; None if it covers everything."""
    before: bool = True
    """True if the part west of the edge is seen."""


class Skies:
    """The cloud fields of one world.

    Args:
        seed: seed of the world.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def opacity(self, sky: Sky, lattice: Lattice, *, shadow: bool = False) -> Floats:
        """Return how much of the ground, or of its sunlight, is hidden at each pixel, 0 to 1."""
        if sky.cover <= 0:
            return np.zeros((lattice.size, lattice.size), dtype=np.float32)
        depths, threshold = _pattern(self._seed, sky.pattern, sky.cover)
        east, north = (sky.east + _SHADOW_EAST, sky.north + _SHADOW_NORTH) if shadow else (sky.east, sky.north)
        depth = lattice.of(depths, east, north)
        return np.asarray(np.clip((depth - np.float32(threshold)) * np.float32(2.2), 0, 1), dtype=np.float32)

    def classes(self, sky: Sky, lattice: Lattice, ground: Bytes) -> tuple[Bytes, Floats]:
        """Return the SCL of a window: clouds over shadows over the ground's classes; 0 beyond the swath's edge.

        Returns:
            The classes, rows x columns; and, for `picture`, how much of the ground and of its sunlight is hidden,
            rows x columns x 2, 0 to 1.
        """
        opacity, shade = self.opacity(sky, lattice), self.opacity(sky, lattice, shadow=True)
        found = ground.copy()
        found[shade > 0.35] = SHADOW
        found[opacity > 0.08] = CIRRUS
        found[opacity > 0.25] = MEDIUM
        found[opacity > 0.55] = HIGH
        found[~seen(sky, lattice)] = 0
        return found, np.stack([opacity, shade], axis=2)


def picture(ground: Bytes, hidden: Floats, classes: Bytes) -> Bytes:
    """Return the true colour of a window under its sky; 0, 0, 0 outside the swath.

    Args:
        ground: true colour of the ground, rows x columns x 3, 1 to 255.
        hidden: opacity and shade, from `Skies.classes`, of the same size or half of it.
        classes: classes from `Skies.classes`, of the same size as `hidden`.
    """
    times = len(ground) // len(hidden)
    light = np.rint(256 * (1 - 0.5 * hidden[..., 1]) * (1 - hidden[..., 0])).astype(np.uint16)
    white = np.rint((205 + 45 * hidden[..., 0]) * 256 * hidden[..., 0]).astype(np.uint16)
    light, white, classes = (enlarged(values, times) for values in (light, white, classes))
    mixed: Bytes = np.maximum((ground * light[:, :, None] + white[:, :, None]) >> 8, 1).astype(np.uint8)
    if not classes.all():
        mixed[classes == 0] = 0
    return mixed


def seen(sky: Sky, lattice: Lattice) -> NDArray[np.bool_]:
    """Return which pixels the swath covers; its edge runs south-south-west, like the orbits."""
    if sky.edge is None:
        return np.ones((lattice.size, lattice.size), dtype=bool)
    across = edge_through(*lattice.places())
    return across < sky.edge if sky.before else across >= sky.edge


Place = TypeVar("Place", float, NDArray[np.float64])


def edge_through(east: Place, north: Place) -> Place:
    """Return the number of the edge that runs through a place of the plane."""
    return east - math.tan(math.radians(14)) * north


def enlarged(values: NDArray[Any], times: int) -> NDArray[Any]:
    """Repeat each pixel, along rows and columns."""
    return values if times == 1 else values.repeat(times, axis=0).repeat(times, axis=1)


@lru_cache(maxsize=64)
def _pattern(seed: int, pattern: int, cover: float) -> tuple[Floats, float]:
    depths = _depths(seed, pattern)
    sampled = depths[::4, ::4]
    return depths, float(np.quantile(sampled, 1 - cover) if cover < 1 else depths.min() - 1)


@lru_cache(maxsize=PATTERNS)
def _depths(seed: int, pattern: int) -> Floats:
    start = seed * 31 + 1000 + pattern * 10
    return np.asarray(field(start, 24_000, slope=2.4) + np.float32(0.25) * field(start + 1, 2_500, slope=2.0))
