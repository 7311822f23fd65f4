from __future__ import annotations

import numpy as np
import pytest

from s2async.zonal import formulas, indices

REFLECTANCE = {
    "coastal": 0.03,
    "blue": 0.04,
    "green": 0.08,
    "red": 0.05,
    "rededge1": 0.12,
    "rededge2": 0.25,
    "rededge3": 0.32,
    "nir": 0.4,
    "nir08": 0.42,
    "nir09": 0.41,
    "swir16": 0.2,
    "swir22": 0.1,
}
"""Of a green field."""


def value(name: str) -> float:
    index = indices.find(name)
    assert index is not None
    arrays = {band: np.array([REFLECTANCE[band]]) for band in index.bands}
    values, undefined = formulas.parse(index.formula, index.bands).evaluate(arrays)
    assert undefined.tolist() == [False]
    return float(values[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NDVI", 0.35 / 0.45),
        ("EVI", 2.5 * 0.35 / (0.4 + 6 * 0.05 - 7.5 * 0.04 + 1)),
        ("SAVI", 1.5 * 0.35 / 0.95),
        ("GNDVI", 0.32 / 0.48),
        ("NDWI", (0.08 - 0.4) / 0.48),
        ("NDMI", 0.2 / 0.6),
        ("MNDWI", (0.08 - 0.2) / 0.28),
        ("NBR", 0.3 / 0.5),
        ("NDSI", (0.08 - 0.2) / 0.28),
        ("NDREI", 0.28 / 0.52),
        ("CIRE", 0.4 / 0.12 - 1),
        ("OSAVI", 0.35 / 0.61),
        ("MSAVI2", 0.5 * (1.8 - (1.8**2 - 8 * 0.35) ** 0.5)),
        ("BI", (0.2 + 0.05 - 0.4 - 0.04) / (0.2 + 0.05 + 0.4 + 0.04)),
        ("PSRI", 0.01 / 0.25),
        ("S2REP", 705 + 35 * ((0.32 + 0.05) / 2 - 0.12) / (0.25 - 0.12)),
        ("ARVI", (0.4 - (0.05 - (0.04 - 0.05))) / (0.4 + (0.05 - (0.04 - 0.05)))),
        ("TGI", -0.5 * (190 * (0.05 - 0.08) - 120 * (0.05 - 0.04))),
    ],
)
def test_values_by_hand(name: str, expected: float) -> None:
    assert value(name) == pytest.approx(expected, rel=1e-12)


def test_every_index_has_a_finite_value_on_a_green_field() -> None:
    assert len(indices.names()) == 244
    for name in indices.names():
        assert np.isfinite(value(name)), name


def test_constants_are_those_of_each_index() -> None:
    formulas_of = {name: found.formula for name in indices.names() if (found := indices.find(name))}
    assert formulas_of["SAVI"] == "(1 + 0.5) * (nir - red) / (nir + red + 0.5)"
    assert formulas_of["EVI"] == "2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)"
    assert formulas_of["SNDTI"] == "(1 + 0.6) * (swir16 - swir22) / (swir16 + swir22 + 0.6)"
    assert formulas_of["NDVI4RE"].count("0.2") == 8


def test_formulas_are_canonical_and_over_known_bands() -> None:
    for name in indices.names():
        index = indices.find(name)
        assert index is not None
        assert index.name == name
        assert index.title
        parsed = formulas.parse(index.formula, indices.BANDS)
        assert (parsed.text, parsed.names) == (index.formula, index.bands)


@pytest.mark.parametrize("name", ["kNDVI", "NIRvP", "FAI", "WCI3", "NDPolI", "DpRVIVV", "nothing", ""])
def test_what_needs_more_than_these_bands_is_not_there(name: str) -> None:
    assert indices.find(name) is None


def test_case_counts_only_where_it_must() -> None:
    for name in ("NDVI", "ndvi", "Ndvi"):
        found = indices.find(name)
        assert found is not None
        assert (found.name, found.bands) == ("NDVI", ("nir", "red"))
    burnt, bare = indices.find("BAI"), indices.find("BaI")
    assert burnt is not None
    assert bare is not None
    assert burnt.formula != bare.formula
    assert indices.find("bai") is None


def test_names_are_sorted_and_differ() -> None:
    names = indices.names()
    assert list(names) == sorted(names, key=lambda name: (name.lower(), name))
    assert len(set(names)) == len(names)
