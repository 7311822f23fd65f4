"""Spectral indices by name, over Sentinel-2's bands. Pure.

The file ``indices.csv`` contains the indices of Awesome Spectral Indices that can be computed from the bands of
Level-2A with arithmetic operations. Constants are replaced by the default values of each index. Indices are left
out if they

- need other bands, polarisations or measurements, such as NIRvP (radiation);
- have formulas with functions, such as kNDVI (an exponential kernel) or WCI3 (tanh, max);
- have constants without a default: CRSWIR, DVIplus, FAI, FDI, NDGI and NIRvH2 need the wavelengths of the sensor.

The formulas are those of version 1 of that catalogue. CRI550, CRI700, PSRI and SR3 are taken from version 0, which
defines them for Sentinel-2's bands; version 1 defines them for narrow bands or not at all.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from s2async.zonal import formulas

BANDS: Final = (
    "coastal",
    "blue",
    "green",
    "red",
    "rededge1",
    "rededge2",
    "rededge3",
    "nir",
    "nir08",
    "nir09",
    "swir16",
    "swir22",
)
"""The reflectance bands of Level-2A, with Earth Search's keys: B01-B08, B8A, B09, B11 and B12."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """A spectral index."""

    name: str
    """Short name."""
    title: str
    """Long name."""
    formula: str
    """Canonical text of the formula over names of `BANDS`."""
    bands: tuple[str, ...]
    """Bands in the formula, in the order in which they first occur."""


def names() -> tuple[str, ...]:
    """Return the short names of all indices, sorted without regard to case."""
    return tuple(_rows())


def find(name: str) -> Index | None:
    """Return the index with the given short name; None if there is none.

    Case is ignored, except for indices whose names differ only in case (``BAI``, ``BaI``): these are found only by
    their exact names.
    """
    rows = _rows()
    same = [name] if name in rows else [known for known in rows if known.lower() == name.lower()]
    if len(same) != 1:
        return None
    title, formula = rows[same[0]]
    bands = formulas.parse(formula, BANDS).names
    return Index(name=same[0], title=title, formula=formula, bands=bands)


@cache
def _rows() -> dict[str, tuple[str, str]]:
    """Return title and formula of each index by its short name."""
    text = resources.files(__package__).joinpath("indices.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["name"]: (row["title"], row["formula"]) for row in rows}
