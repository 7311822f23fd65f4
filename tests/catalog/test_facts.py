"""From items to the offsets of their bands: cases whose files were read, or whose archive is known.

Recorded items are taken where they exist; the others are made by their facts. Sources of the facts are named in
`reflectance.decision`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from s2async.catalog.facts import Conventions, facts
from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN, Catalog, custom
from s2async.models import Scene
from s2async.reflectance.decision import Basis, Convention, decide
from tests.support.items import COGS, EARTH_SEARCH, a_scene, an_item

C1 = KNOWN["earth-search-c1"]
V0 = custom("https://earth-search.aws.element84.com/v0", "sentinel-s2-l2a-cogs", {"scl": "SCL", "red": "B04"})
PLANETARY = custom(
    "https://planetarycomputer.microsoft.com/api/stac/v1", "sentinel-2-l2a", {"scl": "SCL", "red": "B04"}
)
CDSE = custom("https://stac.dataspace.copernicus.eu/v1", "sentinel-2-l2a", {"scl": "SCL_20m", "red": "B04_10m"})


def recorded(folder: Path, name: str, item: str, catalog: Catalog) -> Scene:
    document = json.loads((folder / "stac" / name).read_text())
    features = document.get("features", [document])
    return next(to_scene(one, catalog) for one in features if one["id"] == item)


def made(name: str, day: str, baseline: str, *, flag: bool | None) -> Scene:
    """An item of ``sentinel-2-l2a`` by its facts: everything but id, day, baseline and flag is invented."""
    red: dict[str, Any] = {
        "href": f"{COGS}/x/{name}/B04.tif",
        "type": "image/tiff",
        "raster:bands": [{"scale": 0.0001, "offset": -0.1}],
    }
    properties = {
        "datetime": f"{day}T10:00:00Z",
        "s2:processing_baseline": baseline,
        "s2:product_uri": None,
        "earthsearch:boa_offset_applied": flag,
    }
    return to_scene(an_item(id=name, properties=properties, assets={"red": red}), EARTH_SEARCH)


def of_cdse() -> Scene:
    """By its facts; the real one lists JPEG 2000, which is not read. Its baseline is in its name alone."""
    name = "S2B_MSIL2A_20200705T101559_N0500_R065_T32TNT_20230530T175912"
    href = f"https://eodata.dataspace.copernicus.eu/eodata/Sentinel-2/MSI/L2A_N0500/{name}.SAFE/B04_10m.tif"
    none = {"s2:processing_baseline": None, "s2:product_uri": None, "s2:datastrip_id": None}
    item = an_item(
        id=name,
        properties=none
        | {
            "datetime": "2020-07-05T10:15:59.024Z",
            "eopf:datatake_id": "GS2B_20200705T101559_017394_N05.00",
            "processing:version": "05.00",
        },
        assets={"B04_10m": {"href": href, "type": "image/tiff", "raster:scale": 0.0001, "raster:offset": -0.1}},
    )
    return to_scene(item, CDSE)


CASES: dict[str, tuple[Callable[[Path], Scene], str, float | None, int, Basis]] = {
    "an old baseline": (
        lambda real: recorded(
            real, "exchanges/v1-get-item/02.response.json", "S2A_32TMT_20200305_0_L2A", EARTH_SEARCH
        ),
        "red", None, 0, Basis.BASELINE,
    ),
    "the same scene processed again": (
        lambda real: recorded(
            real, "exchanges/v1-get-item/01.response.json", "S2A_32TMT_20200305_1_L2A", EARTH_SEARCH
        ),
        "red", None, 0, Basis.FLAG,
    ),
    "equal to the JPEG 2000": (
        lambda real: made("S2B_52SFA_20220126_0_L2A", "2022-01-26", "04.00", flag=False),
        "red", None, -1000, Basis.DOUBTFUL,
    ),
    "no dark pixel in February 2022": (
        lambda real: made("S2B_45QXF_20220213_0_L2A", "2022-02-13", "04.00", flag=False),
        "red", None, -1000, Basis.DOUBTFUL,
    ),
    "a flag that lies in August 2022": (
        lambda real: recorded(
            real, "items/proj-code-pystac-upgraded-31TCJ-8-items.json", "S2B_31TCJ_20220823_0_L2A", EARTH_SEARCH
        ),
        "red", None, 0, Basis.BUCKET,
    ),
    "a flag that lies in October 2022": (
        lambda real: made("S2B_20HMD_20221023_0_L2A", "2022-10-23", "04.00", flag=False),
        "red", None, 0, Basis.BUCKET,
    ),
    "equal to the JPEG 2000 less 1000": (
        lambda real: made("S2A_33TWM_20221128_0_L2A", "2022-11-28", "04.00", flag=True),
        "red", None, 0, Basis.FLAG,
    ),
    "Sentinel-2C": (
        lambda real: made("S2C_43PGK_20250211_0_L2A", "2025-02-11", "05.11", flag=False),
        "red", None, 0, Basis.BUCKET,
    ),
    "a flag that lies in March 2025": (
        lambda real: made("S2B_33UXP_20250302_0_L2A", "2025-03-02", "05.11", flag=False),
        "red", None, 0, Basis.BUCKET,
    ),
    "one product in l2a": (
        lambda real: recorded(
            real, "exchanges/v1-search-filter-ignored-2-pages/01.response.json", "S2B_20EPT_20250731_0_L2A",
            EARTH_SEARCH,
        ),
        "red", None, 0, Basis.FLAG,
    ),
    "the same in v0": (
        lambda real: recorded(
            real, "exchanges/v0-search-limit-1/01.response.json", "S2B_20EPT_20250731_0_L2A", V0
        ),
        "red", None, 0, Basis.FLAG,
    ),
    "the same in C1": (
        lambda real: recorded(
            real, "exchanges/v1-search-filter-ignored-2-pages/01.response.json", "S2B_T20EPT_20250731T131905_L2A",
            C1,
        ),
        "red", -0.1, -1000, Basis.TAG,
    ),
    "C1 with a recorded header": (
        lambda real: recorded(
            real, "items/c1-S2B_T10TFR_20231223-pystac-upgraded.json", "S2B_T10TFR_20231223T190950_L2A", C1
        ),
        "red", -0.1, -1000, Basis.TAG,
    ),
    "C1 before its header is read": (
        lambda real: recorded(
            real, "items/c1-S2B_T10TFR_20231223-pystac-upgraded.json", "S2B_T10TFR_20231223T190950_L2A", C1
        ),
        "red", None, -1000, Basis.SOURCE,
    ),
    "the Planetary Computer": (
        lambda real: recorded(
            real, "items/planetary-computer-13TDE-2-items.json",
            "S2B_MSIL2A_20240825T173909_R098_T13TDE_20240825T215747", PLANETARY,
        ),
        "red", None, -1000, Basis.SOURCE,
    ),
    "an old baseline on the Planetary Computer": (
        lambda real: recorded(
            real, "items/planetary-computer-S2B_MSIL2A_20190629.json",
            "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531", PLANETARY,
        ),
        "red", None, 0, Basis.BASELINE,
    ),
    "CDSE": (lambda real: of_cdse(), "red", None, -1000, Basis.SOURCE),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_from_the_item_to_the_offset(real_data: Path, case: str) -> None:
    find, key, tag, dn, basis = CASES[case]
    offset = decide(key, facts(find(real_data), key, tag=tag))
    assert (offset.dn, offset.basis, offset.doubt) == (dn, basis, "")


def test_other_assets_of_a_recorded_item_follow_the_rule(real_data: Path) -> None:
    scene = CASES["the same in C1"][0](real_data)
    for key in ("visual", "scl", "aot", "wvp", "cloud", "snow"):
        assert key in scene.assets
        assert decide(key, facts(scene, key)).basis is Basis.RULE
    bands = [key for key in scene.assets if decide(key, facts(scene, key)).basis is not Basis.RULE]
    assert len(bands) == 12


def test_what_the_user_says_about_an_archive_counts() -> None:
    scene = made("S2A_33TWM_20240101_0_L2A", "2024-01-01", "05.10", flag=None)
    elsewhere = replace(scene, assets={"red": replace(scene.assets["red"], href="https://mirror.example/B04.tif")})
    assert facts(elsewhere, "red").convention is Convention.UNKNOWN
    assert decide("red", facts(elsewhere, "red")).dn is None
    known = facts(elsewhere, "red", convention_override=Convention.ESA)
    assert decide("red", known).dn == -1000
    assert facts(scene, "red", convention_override=Convention.NONE).convention is Convention.NONE
    assert facts(scene, "blue").convention is Convention.UNKNOWN, "it has no such asset"


def test_offsets_are_those_of_the_asset() -> None:
    scene = replace(made("x", "2024-01-01", "05.10", flag=True), offsets={"red": -0.1, "nir": 0.0})
    assert [facts(scene, key).stated for key in ("red", "nir", "blue")] == [-0.1, 0.0, None]
    assert facts(replace(scene, offsets=-0.1), "blue").stated == -0.1
    assert facts(replace(scene, offsets=None), "red").stated is None


# ---- what the user says -----------------------------------------------------------------------------------


def describing(
    collection: str, offsets: Convention | None = None, buckets: Mapping[str, str] = MappingProxyType({})
) -> Catalog:
    return custom("https://stac.example/v1", collection, {"scl": "scl"}, buckets=buckets, offsets=offsets)


def test_each_collection_keeps_what_was_said_when_it_was_searched() -> None:
    said = Conventions().noted(describing("a", Convention.ESA)).noted(describing("b"))
    known = {name: said.of(a_scene(collection=name), "visual") for name in ("a", "b", "c")}
    assert known == {"a": Convention.ESA, "b": None, "c": None}
    again = said.noted(describing("a", Convention.NONE))
    assert again.of(a_scene(collection="a"), "visual") is Convention.NONE
    assert again.of(a_scene(collection="c"), "visual") is Convention.NONE  # of an alias of the present catalogue


MIRRORED = {
    "sentinel-cogs": "https://nas.example/s2",
    "eodata": "https://nas.example/s2/esa",
    "other": "https://o.example",
}


@pytest.mark.parametrize(
    ("bucket", "offset"),
    [("sentinel-cogs", (0, Basis.BUCKET)), ("eodata", (-1000, Basis.SOURCE)), ("other", (None, Basis.UNKNOWN))],
)
def test_a_known_bucket_tells_its_convention_wherever_it_is_read(
    bucket: str, offset: tuple[int | None, Basis]
) -> None:
    catalog = describing("a", buckets=MIRRORED)
    item = an_item(
        assets={"red": {"href": f"s3://{bucket}/x/B04.tif"}}, properties={"s2:processing_baseline": "05.10"}
    )
    scene = to_scene(item, catalog)
    assert scene.assets["red"].href == f"{MIRRORED[bucket]}/x/B04.tif"
    said = Conventions().noted(catalog).noted(describing("b"))  # another catalogue does not forget it
    found = decide("red", facts(scene, "red", convention_override=said.of(scene, "red")))
    assert (found.dn, found.basis) == offset
    told = Conventions().noted(describing("a", Convention.NONE, MIRRORED))
    assert told.of(scene, "red") is Convention.NONE, "what the user says comes first"


@pytest.mark.parametrize(
    "said",
    [
        Conventions(),
        Conventions().noted(describing("a", Convention.ESA)).noted(describing("b")),
        Conventions().noted(describing("a", buckets=MIRRORED)),
    ],
)
def test_what_was_said_is_read_back(said: Conventions) -> None:
    assert Conventions.of_text(said.text()) == said


@pytest.mark.parametrize("catalog", KNOWN.values())
def test_what_hrefs_tell_by_themselves_is_not_recorded(catalog: Catalog) -> None:
    assert "mirrors" not in Conventions().noted(catalog).text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "esa",
        "[]",
        '{"present": "mine", "collections": {}}',
        '{"present": ""}',
        '{"present": "", "collections": {}, "mirrors": {"https://x": "mine"}}',
    ],
)
def test_what_no_program_wrote_says_nothing(text: str) -> None:
    assert Conventions.of_text(text) == Conventions()
