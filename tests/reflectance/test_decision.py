"""The decision on offsets: cases whose files were read or whose archive is known, and properties of the table."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.reflectance.decision import (
    Basis,
    Convention,
    Facts,
    baseline,
    convention,
    decide,
    is_reflectance,
)
from s2async.reflectance.evidence import Evidence

ES, ESA, UNKNOWN = Convention.EARTH_SEARCH, Convention.ESA, Convention.UNKNOWN
DARK = Evidence(pixels=20_000, dark=900)
LIGHT = Evidence(pixels=20_000, dark=0)


def facts(
    kind: Convention,
    version: str,
    flag: bool | None = None,
    day: str = "2023-06-01",
    tag: float | None = None,
    stated: float | None = None,
) -> Facts:
    return Facts(
        convention=kind,
        baseline=baseline(version),
        subtracted=flag,
        sensed=datetime.fromisoformat(f"{day}T10:00:00+00:00").astimezone(UTC),
        tag=tag,
        stated=stated,
    )


@pytest.mark.parametrize(
    ("known", "evidence", "dn", "basis"),
    [
        (facts(ES, "02.14", False, "2020-03-05", stated=0), None, 0, Basis.BASELINE),
        (facts(ES, "05.00", True, "2020-03-05", stated=-0.1), None, 0, Basis.FLAG),
        (facts(ES, "04.00", False, "2022-01-26", stated=-0.1), LIGHT, -1000, Basis.DOUBTFUL),
        (facts(ES, "04.00", False, "2022-02-13", stated=-0.1), LIGHT, -1000, Basis.DOUBTFUL),
        (facts(ES, "04.00", False, "2022-02-13", stated=-0.1), DARK, 0, Basis.PIXELS),
        (facts(ES, "04.00", None, "2022-02-28", stated=-0.1), None, -1000, Basis.DOUBTFUL),
        (facts(ES, "04.00", False, "2022-08-23", stated=-0.1), None, 0, Basis.BUCKET),
        (facts(ES, "04.00", False, "2022-10-23", stated=-0.1), None, 0, Basis.BUCKET),
        (facts(ES, "04.00", True, "2022-11-28", stated=-0.1), None, 0, Basis.FLAG),
        (facts(ES, "05.11", False, "2025-02-11", stated=-0.1), DARK, 0, Basis.BUCKET),
        (facts(ES, "05.11", False, "2025-03-02", stated=-0.1), None, 0, Basis.BUCKET),
        (facts(ES, "05.11", True, "2025-07-31", stated=-0.1), None, 0, Basis.FLAG),
        (facts(ESA, "05.11", None, "2025-07-31", tag=-0.1, stated=-0.1), None, -1000, Basis.TAG),
        (facts(ESA, "05.10", None, "2023-12-23", stated=-0.1), None, -1000, Basis.SOURCE),
        (facts(ESA, "05.11", None, "2024-08-25"), None, -1000, Basis.SOURCE),
        (facts(ESA, "02.12", None, "2019-06-29"), None, 0, Basis.BASELINE),
        (facts(ESA, "05.00", None, "2020-07-05", stated=-0.1), None, -1000, Basis.SOURCE),
        (facts(UNKNOWN, "05.00"), LIGHT, None, Basis.UNKNOWN),
        (facts(UNKNOWN, "05.00"), DARK, 0, Basis.PIXELS),
        (facts(UNKNOWN, ""), None, None, Basis.UNKNOWN),
        (facts(ES, "", False), None, None, Basis.UNKNOWN),
        (facts(Convention.NONE, "05.00"), None, 0, Basis.SOURCE),
    ],
)
def test_the_first_row_that_fits_decides(
    known: Facts, evidence: Evidence | None, dn: int | None, basis: Basis
) -> None:
    offset = decide("red", known, evidence)
    assert (offset.dn, offset.basis, offset.doubt) == (dn, basis, "")
    assert offset.is_certain == (basis not in (Basis.DOUBTFUL, Basis.UNKNOWN))
    assert offset.reflectance == (None if dn is None else dn / 10_000)


def test_dark_pixels_raise_a_doubt_about_an_offset_but_do_not_overrule_the_archive() -> None:
    offset = decide("nir", facts(ESA, "05.11"), DARK)
    assert (offset.dn, offset.basis) == (-1000, Basis.SOURCE)
    assert "darker" in offset.doubt
    assert not offset.is_certain


def test_a_tag_that_contradicts_the_row_raises_a_doubt() -> None:
    assert "-0.1" in decide("red", facts(ES, "05.11", True, tag=-0.1)).doubt
    assert "-0.1" in decide("red", facts(ESA, "02.14", tag=-0.1)).doubt


def test_an_offset_of_0_beside_a_scale_does_not_overrule_an_archive_that_keeps_esas_numbers() -> None:
    offset = decide("red", facts(ESA, "05.11", tag=0.0))
    assert (offset.dn, offset.basis) == (-1000, Basis.SOURCE)
    assert "states an offset of 0" in offset.doubt
    assert decide("red", facts(ESA, "", tag=0.0)).basis is Basis.UNKNOWN
    assert decide("red", facts(ESA, "02.14", tag=0.0)).is_certain
    assert decide("red", facts(UNKNOWN, "05.11", tag=0.0)).basis is Basis.TAG


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e308, -0.2, 0.1, -1000.0, -1e-3])
@pytest.mark.parametrize("kind", Convention)
@pytest.mark.parametrize("version", ["", "02.14", "05.11"])
def test_an_offset_that_no_archive_has_is_not_taken_and_named(
    kind: Convention, version: str, number: float
) -> None:
    bare, odd = (decide("red", facts(kind, version, tag=tag)) for tag in (None, number))
    assert (odd.dn, odd.basis) == (bare.dn, bare.basis)
    assert not odd.is_certain
    stated = decide("red", facts(kind, version, stated=number))
    assert (stated.dn, stated.basis, stated.doubt) == (bare.dn, bare.basis, "")


def test_wrapped_pixels_are_named_corrupt() -> None:
    evidence = Evidence.of(np.array([0, 500, 64_200, 65_000], "uint16"))
    assert evidence == Evidence(pixels=3, dark=1, wrapped=2)
    assert "corrupt: 2 pixels" in decide("red", facts(ES, "05.11", True), evidence).doubt


@pytest.mark.parametrize(("dark", "proof"), [(11, True), (10, False), (0, False)])
def test_the_quantile_of_a_thousandth_is_the_proof(dark: int, proof: bool) -> None:
    dn = np.full(10_000, 1003, "uint16")
    dn[:dark] = 799
    assert Evidence.of(dn).proves_none is proof
    assert not Evidence.of(dn[1:]).proves_none  # 9,999 pixels are too few
    assert (Evidence.of(dn[:5000]) + Evidence.of(dn[5000:])).proves_none is proof


def test_decimal_numbers_and_negative_ones_are_no_dark_pixels() -> None:
    """Of a file of reflectances; and of one whose nodata is -9999."""
    assert Evidence.of(np.full(20_000, 0.3)) == Evidence()
    dn = np.full(20_000, 1500, "int16")
    dn[:5000] = -9999
    assert Evidence.of(dn) == Evidence(pixels=15_000)


@pytest.mark.parametrize("key", ["visual", "scl", "aot", "wvp", "cloud", "snow", "TCI_10m", "AOT_20m", "SCL"])
def test_other_assets_have_no_offset(key: str) -> None:
    assert not is_reflectance(key)
    assert decide(key, facts(ESA, "05.11"), LIGHT).basis is Basis.RULE


@pytest.mark.parametrize(
    "key", ["red", "nir08", "swir22", "B04", "B4", "B8A", "B04_10m", "B8_10m", "B8A_20m", "b12", "red-jp2"]
)
def test_reflectance_bands_by_both_kinds_of_names(key: str) -> None:
    assert is_reflectance(key)


@pytest.mark.parametrize(
    ("texts", "known"),
    [
        (("05.11",), (5, 11)),
        (("", "S2B_MSIL2A_20250731T131909_N0511_R095_T20EPT_20250731T190000.SAFE"), (5, 11)),
        (("S2A_MSIL2A_20200705T101559_N0500_R065_T32TNT_20230530T175912",), (5, 0)),
        (("GS2A_20260823T153711_058338_N05.12",), (5, 12)),
        (("03.00", "S2A_MSIL2A_20200705T101559_N0500_R065_T32TNT_20230530T175912"), (3, 0)),
        (("N0511",), (5, 11)),
        (("N02.05",), (2, 5)),
        (("99.99", "", "02.11.00"), ()),  # made by Sen2Cor outside ESA, and the version of that
        (("", "S2A_MSIL2A_20220105T101559_N9999_R065_T32TNT_20230530T175912", "02.11.00"), ()),
        (("2023-01-01", "S2B_20EPT_20250731_0_L2A"), ()),
        ((), ()),
    ],
)
def test_the_baseline_is_read_from_properties_and_names(texts: tuple[str, ...], known: tuple[int, ...]) -> None:
    assert baseline(*texts) == known


@pytest.mark.parametrize(
    ("href", "kind"),
    [
        ("https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/33/U/UU/2022/6/x/B04.tif", ES),
        ("https://sentinel-cogs.s3.us-west-2.amazonaws.com:443/sentinel-s2-l2a-cogs/x/B04.tif", ES),
        ("s3://sentinel-cogs/sentinel-s2-l2a-cogs/33/U/UU/2022/6/x/B04.tif", ES),
        ("https://s3.us-west-2.amazonaws.com/sentinel-cogs/sentinel-s2-l2a-cogs/x/B04.tif", ES),
        ("https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/sentinel-2-c1-l2a/x/B04.tif", ESA),
        ("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/13/T/DE/x/B04_10m.tif?sig=a", ESA),
        ("s3://eodata/Sentinel-2/MSI/L2A_N0500/2020/07/05/x/B04_10m.jp2", ESA),
        ("https://eodata.dataspace.copernicus.eu/eodata/Sentinel-2/x.jp2", ESA),
        ("https://sentinel-cogs.example.org/B04.tif", UNKNOWN),
        ("https://files.example.org/sentinel-cogs/B04.tif", UNKNOWN),
        ("ftp://sentinel-cogs/B04.tif", UNKNOWN),
    ],
)
def test_the_archive_is_known_by_its_bucket(href: str, kind: Convention) -> None:
    assert convention(href) == kind


@given(
    st.sampled_from(Convention),
    st.sampled_from(["", "02.14", "04.00", "05.11"]),
    st.sampled_from([None, True, False]),
    st.sampled_from(["2022-02-01", "2024-02-01"]),
    st.sampled_from([None, 0.0, -0.1]),
    st.sampled_from([None, DARK, LIGHT]),
)
def test_an_offset_is_known_or_its_basis_says_that_it_is_not(
    kind: Convention,
    version: str,
    flag: bool | None,
    day: str,
    tag: float | None,
    evidence: Evidence | None,
) -> None:
    offset = decide("red", facts(kind, version, flag, day, tag), evidence)
    assert offset.dn in (0, -1000, None)
    assert (offset.dn is None) == (offset.basis is Basis.UNKNOWN)
    if version == "02.14":
        assert offset.dn == 0
