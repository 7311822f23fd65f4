"""Reflectance of the ground and of clouds in every band, and the numbers in files that stand for it. Pure.

Red, green and blue are those of true colour, whose values are reflectance in units of 0.001, as in ESA's TCI. The
near infrared follows from red and the season's NDVI. The other bands are mixed, by this NDVI, from two spectra: a
canopy and bare soil (typical values, rounded).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async.sandbox.world.assets import Asset, Scaling
from s2async.sandbox.world.fields import Floats, Lattice
from s2async.sandbox.world.land import COVERS, STRENGTH, WATER, Bytes, colours_at, ndvi_at
from s2async.sandbox.world.sky import enlarged

Numbers = NDArray[np.uint16]

UNIT: Final = 0.0001
"""Reflectance of one digital number."""
OFFSET: Final = 1000
"""The offset that ESA adds to all digital numbers since baseline 04.00."""
LARGEST: Final = 2**15 - 1
"""Largest digital number."""
_COLOURS: Final = {"red": 0, "green": 1, "blue": 2}
"""Bands of true colour."""
_INFRARED: Final[Mapping[str, float]] = {
    "rededge2": 0.75,
    "rededge3": 0.92,
    "nir": 1.0,
    "nir08": 1.05,
    "nir09": 1.06,
}
"""Bands of the near infrared: reflectance as a multiple of that of the band nir."""
_SPECTRA: Final[Mapping[str, tuple[float, float]]] = {
    "coastal": (0.025, 0.80),
    "rededge1": (0.090, 1.15),
    "swir16": (0.170, 1.75),
    "swir22": (0.080, 1.55),
}
"""Other bands: reflectance of a canopy; and of dry ground as a multiple of its red (coastal: of its blue)."""
_WATER: Final[Mapping[str, float]] = {
    "coastal": 0.030,
    "rededge1": 0.018,
    "rededge2": 0.014,
    "rededge3": 0.013,
    "nir": 0.012,
    "nir08": 0.010,
    "nir09": 0.008,
    "swir16": 0.005,
    "swir22": 0.0006,
}
"""Reflectance of water. In swir22 it is so low that some pixels are below zero, as in real scenes."""
_CLOUDS: Final[Mapping[str, float]] = {"nir09": 0.90, "swir16": 0.80, "swir22": 0.65}
"""Brightness of clouds as a multiple of that in true colour, if it is different."""
_BARE, _CLOSED = 0.15, 0.75
"""NDVI of bare soil and of a closed canopy."""


def numbers(reflectance: Floats, classes: Bytes, scaling: Scaling) -> Numbers:
    """Return the digital numbers of a window: the only place where they are computed from reflectance.

    ESA's numbers since baseline 04.00 are reflectance in units of 0.0001, plus 1000, at least 1 where there is
    data. Without the offset they are those of Earth Search's bucket sentinel-cogs: ``max(number - 1000, 1)``, and
    0 stays 0 (Element84/earth-search, issue 9).

    Args:
        reflectance: rows x columns.
        classes: SCL of these pixels, or of pixels twice as large; 0 outside the swath.
        scaling: scaling of the file.

    Returns:
        Rows x columns; 0 outside the swath.
    """
    found = np.clip(np.rint(reflectance * np.float32(1 / UNIT)).astype(np.int32) + OFFSET, 1, LARGEST)
    if scaling is Scaling.PLAIN:
        found = np.maximum(found - OFFSET, 1)
    found[enlarged(classes == 0, len(found) // len(classes))] = 0
    dn: Numbers = found.astype(np.uint16)
    return dn


def seen_from_above(
    band: str, cover: Bytes, lattice: Lattice, grain: Floats, month: float, hidden: Floats
) -> Floats:
    """Return the reflectance of a window in one band under its sky.

    Args:
        band: key of a reflectance band.
        cover: rows x columns, from `Land.cover`.
        lattice: the window.
        grain: fine noise (`Land.grain`).
        month: 0 is the start of January, 12 that of the next.
        hidden: opacity and shade, from `Skies.classes`: rows x columns x 2, of the same size or half of it.
    """
    ground = np.take(_table(band, month), cover)
    if lattice.stride < _COARSE:
        strength = np.take(_GRAIN, cover) / np.float32(lattice.stride**0.5)  # larger pixels are smoother
        ground += strength * lattice.grained(grain)
    hidden = enlarged(hidden, len(cover) // len(hidden))
    opacity, shade = hidden[..., 0], hidden[..., 1]
    # the same mixture as in `sky.picture`
    cloud = np.float32(_cloud(band)) * (np.float32(0.205) + np.float32(0.045) * opacity)
    mixed: Floats = ground * (1 - np.float32(0.5) * shade) * (1 - opacity) + cloud * opacity
    return mixed


def retrieved(asset: Asset, relief: Floats, classes: Bytes) -> Numbers:
    """Return aerosol thickness or water vapour of a window: smooth numbers around their usual value.

    Args:
        asset: ``aot`` or ``wvp``.
        relief: a smooth field at the pixels, standard deviation 1.
        classes: SCL of the same pixels.
    """
    assert isinstance(asset.plain, int)  # noqa: S101 - one band
    found: Numbers = np.clip(np.rint(asset.plain * (1 + 0.15 * relief)), 1, LARGEST).astype(np.uint16)
    found[classes == 0] = 0
    return found


_COARSE: Final = 7.0
"""Size in full-resolution pixels from which on pixels show no grain."""
_GRAIN: Final[Floats] = np.array([0.001 * STRENGTH * kind.grain for kind in COVERS], dtype=np.float32)
"""Standard deviation of each cover's reflectance between pixels."""


@lru_cache(maxsize=64)
def _table(key: str, month: float) -> Floats:
    """Return the reflectance of each of COVERS in a band at a time of the year."""
    return np.array([_ground(key, kind, month) for kind in range(len(COVERS))], dtype=np.float32)


def _ground(key: str, kind: int, month: float) -> float:
    colour, ndvi = 0.001 * colours_at(month)[kind], float(ndvi_at(month)[kind])
    if key in _COLOURS:
        return float(colour[_COLOURS[key]])
    if COVERS[kind].scl == WATER:
        return _WATER[key]
    red, blue = float(colour[_COLOURS["red"]]), float(colour[_COLOURS["blue"]])
    if key in _INFRARED:
        return _INFRARED[key] * red * (1 + ndvi) / (1 - ndvi)
    canopy, dry = _SPECTRA[key]
    green = min(max((ndvi - _BARE) / (_CLOSED - _BARE), 0.0), 1.0)
    return green * canopy + (1 - green) * dry * (blue if key == "coastal" else red)


def _cloud(key: str) -> float:
    return _CLOUDS.get(key, 1.0)
