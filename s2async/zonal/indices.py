"""Spectral indices by name, over Sentinel-2's bands. Pure.

The file ``indices.csv`` has the indices of Awesome Spectral Indices that can be computed from the bands of
Level-2A by arithmetic. Constants are filled in, each with the default of its own index. Left out are indices

- that need other bands, polarisations or measurements, such as NIRvP (radiation);
- whose formulas have functions, such as kNDVI (an exponential kernel) or WCI3 (tanh, max);
- whose constants have no default: CRSWIR, DVIplus, FAI, FDI, NDGI and NIRvH2 need the wavelengths of the sensor.

The formulas are those of the catalogue's version 1. CRI550, CRI700, PSRI and SR3 are those of version 0, which has
them for Sentinel-2's bands; version 1 has them for narrow bands, or not at all.
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
"""The reflectance bands of Level-2A, by Earth Search's keys: B01-B08, B8A, B09, B11 and B12."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """A spectral index."""

    name: str
    """Its short name."""
    title: str
    """Its long name."""
    formula: str
    """Canonical text over names of `BANDS`."""
    bands: tuple[str, ...]
    """Those in the formula, in the order in which they come."""


def names() -> tuple[str, ...]:
    """The short names of all indices, sorted without regard to case."""
    return tuple(_rows())


def find(name: str) -> Index | None:
    """An index by its short name; None where there is none.

    Upper and lower case are the same, except where two indices differ in nothing else (``BAI``, ``BaI``): these
    are found by their exact names only.
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
    """Title and formula by short name."""
    text = resources.files(__package__).joinpath("indices.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["name"]: (row["title"], row["formula"]) for row in rows}
