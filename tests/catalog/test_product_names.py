from __future__ import annotations

import pytest

from s2async.catalog.product_names import datastrip, datatake, platform, processed, square

NAME = "S2B_MSIL2A_20240825T173909_N0511_R098_T13TDE_20240825T215747"


@pytest.mark.parametrize(
    ("identity", "names", "known"),
    [
        ("GS2B_20240825T173909_039020_N05.11", (), "S2B_20240825T173909"),
        ("GS2B_20240825T173909_039020", (), "S2B_20240825T173909"),
        ("", (f"{NAME}.SAFE",), "S2B_20240825T173909"),
        ("", ("", NAME), "S2B_20240825T173909"),
        ("", (NAME.replace("_N0511", ""),), "S2B_20240825T173909"),
        ("odd", (NAME.replace("S2B_MSIL2A", "S2C_MSIL1C"),), "S2C_20240825T173909"),
        ("GS2A_20240825T173909_039020_N05.11", (NAME,), "S2A_20240825T173909"),
        ("", ("S2B_13TDE_20240825_0_L2A",), ""),
        ("", ("S2B_T13TDE_20240825T174804_L2A",), ""),
        ("", ("S2A_USER_PRD_MSIL2A_PDMC_20160101T173909_R098_V20160101T173909_20160101T173909",), ""),
        ("", (f"{NAME}x",), ""),
        ("", (), ""),
    ],
)
def test_the_datatake_is_the_same_from_its_id_and_from_names(
    identity: str, names: tuple[str, ...], known: str
) -> None:
    assert datatake(identity, *names) == known


def test_the_time_of_processing_is_the_last_of_a_name() -> None:
    assert processed("S2B_13TDE_20240825_0_L2A", f"{NAME}.SAFE") == "20240825T215747"
    assert processed("", "S2B_13TDE_20240825_0_L2A") == ""


@pytest.mark.parametrize(
    ("identity", "name", "known"),
    [
        ("S2B_OPER_MSI_L2A_DS_2BPS_20240825T215747_S20240825T174804_N05.11", "x", "S20240825T174804"),
        ("", "S2B_T13TDE_20240825T174804_L2A", "S20240825T174804"),
        ("", NAME, ""),
        ("none", "S2B_13TDE_20240825_0_L2A", ""),
    ],
)
def test_the_datastrip_is_in_its_id_or_in_that_of_the_item(identity: str, name: str, known: str) -> None:
    assert datastrip(identity, name) == known


@pytest.mark.parametrize(
    ("name", "satellite", "known"),
    [
        ("S2A_33UUU_20220101_0_L2A", "sentinel-2a", "33UUU"),
        ("S2B_T01WCV_20231223T190950_L2A", "sentinel-2b", "1WCV"),
        (NAME, "sentinel-2b", "13TDE"),
        ("scene 5", "", ""),
    ],
)
def test_satellite_and_square_are_in_the_id_of_an_item(name: str, satellite: str, known: str) -> None:
    assert (platform(name), square(name)) == (satellite, known)
