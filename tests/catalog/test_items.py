"""Catalogues and items: what is read from real items, and what odd ones come to."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from s2async.catalog.assets import NO_TIFF, ONLY_JP2, UNUSABLE
from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN, custom
from s2async.catalog.reprocessing import are_editions, processing_order, same_acquisition
from s2async.causes import Cause, Reason
from s2async.errors import BadAnswer, ConfigError
from s2async.models import Asset
from tests.support.items import COG, COGS, EARTH_SEARCH, a_scene, an_item


def recorded(folder: Path, name: str) -> list[dict[str, Any]]:
    document = json.loads((folder / "stac" / "items" / f"{name}.json").read_text())
    features: list[dict[str, Any]] = document.get("features", [document])
    return features


# ---- the real data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "collection", "count"),
    [
        ("v1-l2a-4-tiles-6-dates", "sentinel-2-l2a", 24),
        ("v1-c1-13TDE-10-dates", "sentinel-2-c1-l2a", 10),
        ("c1-S2B_T10TFR_20231223-pystac-upgraded", "sentinel-2-c1-l2a", 1),
        ("proj-code-S2A_32TPS_20230602", "sentinel-2-l2a", 1),
        ("same-scene-S2A_28QCH_20200714-v1", "sentinel-2-l2a", 1),
    ],
)
def test_items_of_earth_search_v1(real_data: Path, name: str, collection: str, count: int) -> None:
    items = recorded(real_data, name)
    assert len(items) == count
    for item in items:
        scene = to_scene(item, EARTH_SEARCH)
        properties, square = item["properties"], item["properties"]["grid:code"].removeprefix("MGRS-")
        assert (scene.id, scene.collection) == (item["id"], collection)
        assert scene.version == properties["s2:product_uri"]
        assert scene.version.startswith(scene.platform.upper().replace("SENTINEL-", "S"))
        assert f"_T{square}_" in scene.version
        assert scene.grid == square
        assert scene.cloud == properties["eo:cloud_cover"]
        assert scene.epsg == (32600 if square[2] >= "N" else 32700) + int(square[:2])
        assert scene.baseline == properties["s2:processing_baseline"]
        assert f"_{scene.datastrip}_" in properties["s2:datastrip_id"]
        assert scene.datetime.isoformat(timespec="microseconds").replace("+00:00", "Z") == properties["datetime"]
        for key, file in (("scl", "SCL.tif"), ("visual", "TCI.tif")):
            assert scene.assets[key].href == item["assets"][key]["href"]
            assert scene.assets[key].href.endswith(f"/{item['id']}/{file}")
            origin = "/".join(scene.assets[key].href.split("/")[:3])
            assert origin in EARTH_SEARCH.origins
        assert all(asset.href.endswith(".tif") for asset in scene.assets.values())
        assert scene.absent["thumbnail"] == NO_TIFF
        assert scene.absent.get("visual-jp2", ONLY_JP2) == ONLY_JP2
        assert scene.footprint is not None
        assert scene.footprint.bounds == pytest.approx(shapely.geometry.shape(item["geometry"]).bounds)


@pytest.mark.parametrize(
    ("name", "count"),
    [("v0-36MYB-18-dates", 18), ("v0-S2A_17SPR_20221106", 1), ("same-scene-S2A_28QCH_20200714-v0-beta1", 1)],
)
def test_items_of_the_first_generation(real_data: Path, name: str, count: int) -> None:
    v0 = custom("https://earth-search.aws.element84.com/v0", "sentinel-s2-l2a-cogs", {"scl": "SCL"})
    items = recorded(real_data, name)
    scenes = [to_scene(item, v0) for item in items]
    assert len(scenes) == count
    for item, scene in zip(items, scenes, strict=True):
        assert scene.assets["scl"].href.endswith("/SCL.tif")
        assert scene.assets["scl"].key == "scl"
        assert scene.assets["visual"].href.endswith("/TCI.tif")
        assert "SCL" not in scene.assets
        assert scene.grid == scene.id.split("_")[1]  # v0 names no grid:code: from the id
        assert scene.platform.startswith("sentinel-2")
        assert scene.datastrip == ""
        assert scene.version == scene.updated
        named = item["properties"]["sentinel:product_id"].split("_")  # such as S2A_MSIL2A_<start>_N0214_R135_...
        assert scene.datatake == f"{named[0]}_{named[2]}"
        assert scene.baseline == f"{named[3][1:3]}.{named[3][3:]}"
        assert scene.generated == named[-1]


def test_items_of_the_planetary_computer(real_data: Path) -> None:
    catalog = custom(
        "https://planetarycomputer.microsoft.com/api/stac/v1", "sentinel-2-l2a", {"scl": "SCL", "red": "B04"}
    )
    items = recorded(real_data, "planetary-computer-13TDE-2-items")
    items += recorded(real_data, "planetary-computer-S2B_MSIL2A_20190629")
    scenes = [to_scene(item, catalog) for item in items]
    assert [scene.grid for scene in scenes] == ["13TDE", "13TDE", "6VVN"]
    assert [scene.platform for scene in scenes] == ["sentinel-2b", "sentinel-2a", "sentinel-2b"]
    assert [scene.epsg for scene in scenes] == [32613, 32613, 32606]
    for scene in scenes:
        assert scene.assets["scl"].href.endswith("_SCL_20m.tif")
        assert scene.assets["red"].href.endswith("_B04_10m.tif")
        assert scene.assets["visual"].href.endswith("_TCI_10m.tif")
        assert "B04" not in scene.assets
        assert scene.absent["tilejson"] == NO_TIFF


@pytest.mark.parametrize(
    ("name", "grid", "epsg", "west", "east"),
    [
        ("antimeridian-S2A_OPER_MSI_L2A_TL_2APS_20230730T020155_A042312_T01VCC", "1VCC", 32601, 179.72, 180.70),
        ("antimeridian-S2B_OPER_MSI_L2A_TL_2BPS_20230503T100334_A030615_T60VXH", "60VXH", 32660, 178.62, 180.44),
    ],
)
def test_items_across_180_degrees_are_in_one_piece_and_only_jpeg2000(
    real_data: Path, name: str, grid: str, epsg: int, west: float, east: float
) -> None:
    scene = to_scene(recorded(real_data, name)[0], EARTH_SEARCH)
    assert (scene.grid, scene.epsg) == (grid, epsg)
    assert scene.assets == {}
    assert scene.absent["scl"] == scene.absent["visual"] == ONLY_JP2
    assert scene.footprint is not None
    assert scene.footprint.geom_type == "Polygon"
    assert (scene.footprint.bounds[0], scene.footprint.bounds[2]) == pytest.approx((west, east), abs=0.01)


def test_buckets_that_are_not_public_are_named(real_data: Path) -> None:
    scene = to_scene(recorded(real_data, "c1-S2B_T37MGP_20240710-s3-hrefs")[0], KNOWN["earth-search-c1"])
    assert scene.assets == {}
    assert scene.absent["scl"] == Reason(
        Cause.SCHEME, "s3:// bucket deafrica-sentinel-2-l2a-c1-dev is not public over https"
    )
    assert (scene.epsg, scene.collection) == (32737, "s2_l2a_c1")


def test_the_coming_version_two_parses_but_its_working_paths_are_no_addresses(real_data: Path) -> None:
    scene = to_scene(recorded(real_data, "v2-excerpt-S2A_T19TDJ_20260823")[0], KNOWN["earth-search-c1"])
    assert (scene.grid, scene.epsg, scene.baseline) == ("19TDJ", 32619, "05.12")
    assert scene.assets == {}
    assert scene.absent == {"scl": UNUSABLE, "visual": UNUSABLE}


def test_dropped_entries_are_derived_from_the_folder(real_data: Path) -> None:
    items = recorded(real_data, "proj-code-pystac-upgraded-31TCJ-8-items")
    assert len(items) == 8
    for item in items:
        scene = to_scene(item, EARTH_SEARCH)
        assert sorted(item["assets"]) == ["blue", "green", "red"]
        assert scene.assets["scl"].href == f"{COGS}/31/T/CJ/2022/8/{item['id']}/SCL.tif"
        assert scene.assets["visual"].href == f"{COGS}/31/T/CJ/2022/8/{item['id']}/TCI.tif"
        assert scene.epsg == 32631


def test_halves_of_a_pass_are_one_acquisition_and_no_editions(real_data: Path) -> None:
    items = recorded(real_data, "proj-code-pystac-upgraded-31TCJ-8-items")
    scenes = {scene.id: scene for scene in (to_scene(item, EARTH_SEARCH) for item in items)}
    halves = [scenes[f"S2A_31TCJ_20220808_{n}_L2A"] for n in (0, 1)]
    assert timedelta(seconds=6) < halves[1].datetime - halves[0].datetime < timedelta(seconds=7)
    assert halves[0].baseline == halves[1].baseline
    pairs = {(a.id, b.id) for a, b in itertools.combinations(scenes.values(), 2) if same_acquisition(a, b)}
    assert pairs == {
        ("S2A_31TCJ_20220808_0_L2A", "S2A_31TCJ_20220808_1_L2A"),
        ("S2A_31TCJ_20220828_1_L2A", "S2A_31TCJ_20220828_0_L2A"),
    }
    assert not any(are_editions(a, b) for a, b in itertools.combinations(scenes.values(), 2))


def test_of_recorded_reprocessings_the_newer_wins(real_data: Path) -> None:
    folder = real_data / "stac" / "exchanges" / "v1-search-bbox-3-pages"
    pages = [json.loads((folder / f"{n:02}.response.json").read_text()) for n in (1, 2, 3)]
    scenes = [to_scene(item, EARTH_SEARCH) for page in pages for item in page["features"]]
    assert len(scenes) == 16
    pairs = [(a, b) for a, b in itertools.combinations(scenes, 2) if are_editions(a, b)]
    assert len(pairs) == 8
    for pair in pairs:
        newer, older = sorted(pair, key=processing_order, reverse=True)
        assert (newer.baseline, older.baseline) == ("05.00", "02.14")
        assert newer.id == older.id.replace("_0_L2A", "_1_L2A")


def test_every_recorded_item_is_a_scene(real_data: Path) -> None:
    def items() -> Iterator[dict[str, Any]]:
        for path in sorted((real_data / "stac").rglob("*.json")):
            document = json.loads(path.read_text())
            features = document.get("features") if isinstance(document, dict) else None
            for item in features if isinstance(features, list) else [document]:
                if isinstance(item, dict) and item.get("type") == "Feature":
                    yield item

    scenes = [to_scene(item, EARTH_SEARCH) for item in items()]
    assert len(scenes) > 100
    assert all(scene.footprint is not None and scene.footprint.is_valid for scene in scenes)
    optical = [scene for scene in scenes if scene.platform.startswith("sentinel-2")]
    assert all(scene.grid for scene in optical)


# ---- ids, times, places -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        None,
        7,
        ["x"],
        "",
        "../../x",
        "a/b",
        "a\\b",
        ".hidden",
        "a\0b",
        "a\nb",
        "a\x1b[31mb",
        "\u202eb",
        "\ud800",
        "x" * 201,
        "é" * 101,
        "x" * 10_000,
        " x",
        "x.",
        "C:x",
        "a*b",
    ],
)
def test_ids_that_cannot_name_a_file_are_refused_in_one_safe_line(name: object) -> None:
    with pytest.raises(BadAnswer) as caught:
        to_scene(an_item(id=name), EARTH_SEARCH)
    text = str(caught.value)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 150


@pytest.mark.parametrize("name", ["S2A_32TMT_20200305_1_L2A", "x" * 200, "Ünïcode-\N{SATELLITE}", "a.b"])
def test_ids_that_can_name_a_file_stay_as_they_are(name: str) -> None:
    assert to_scene(an_item(id=name), EARTH_SEARCH).id == name


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"datetime": "2022-06-09T10:16:54Z"}, datetime(2022, 6, 9, 10, 16, 54, tzinfo=UTC)),
        ({"datetime": "2022-06-09T12:16:54+02:00"}, datetime(2022, 6, 9, 10, 16, 54, tzinfo=UTC)),
        ({"datetime": "2022-06-09t10:16:54.5z"}, datetime(2022, 6, 9, 10, 16, 54, 500000, tzinfo=UTC)),
        ({"datetime": "2022-06-09T10:16:54"}, datetime(2022, 6, 9, 10, 16, 54, tzinfo=UTC)),
        ({"datetime": None, "start_datetime": "2022-06-09T10:00:00Z"}, datetime(2022, 6, 9, 10, tzinfo=UTC)),
    ],
)
def test_times(properties: dict[str, Any], expected: datetime) -> None:
    item = an_item()
    item["properties"] |= properties
    scene = to_scene(item, EARTH_SEARCH)
    assert scene.datetime == expected
    assert scene.datetime.tzinfo is UTC


@pytest.mark.parametrize(
    "value", [None, "", "yesterday", 20220609, "2022-13-01T00:00:00Z", "0001-01-01T00:00:00+05:00"]
)
def test_an_item_without_a_time_is_refused(value: object) -> None:
    item = an_item()
    item["properties"]["datetime"] = value
    with pytest.raises(
        BadAnswer, match="item S2B_33UUU_20220609_0_L2A: neither datetime nor start_datetime is a time"
    ):
        to_scene(item, EARTH_SEARCH)


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {},
        "POINT (1 2)",
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[["a", "b"]]]},
        {"type": "Polygon", "coordinates": None},
        {"type": "Blob", "coordinates": [1, 2]},
        {"type": "Polygon", "coordinates": [[[1, 95], [2, 95], [2, 96], [1, 95]]]},
        {"type": "Polygon", "coordinates": [[[1e9, 5], [2e9, 5], [2e9, 6], [1e9, 5]]]},
    ],
)
def test_without_a_usable_geometry_the_bbox_counts(geometry: object) -> None:
    scene = to_scene(an_item(geometry=geometry), EARTH_SEARCH)
    assert scene.footprint is not None
    assert scene.footprint.bounds == (12, 52.2, 13.6, 53.2)


@pytest.mark.parametrize(
    "bbox", [None, [], [1, 2, 3], "1,2,3,4", [1, 2, "x", 4], [float("nan")] * 4, [0, -91, 1, 0]]
)
def test_an_item_without_a_place_is_refused(bbox: object) -> None:
    with pytest.raises(BadAnswer, match="neither geometry nor bbox is valid"):
        to_scene(an_item(geometry=None, bbox=bbox), EARTH_SEARCH)


def test_a_self_crossing_footprint_is_mended_and_a_bbox_may_have_heights() -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    scene = to_scene(an_item(geometry=bow), EARTH_SEARCH)
    assert scene.footprint is not None
    assert scene.footprint.is_valid
    assert scene.footprint.area == pytest.approx(0.5)
    tall = to_scene(an_item(geometry=None, bbox=[12, 52, 0, 13, 53, 900]), EARTH_SEARCH)
    assert tall.footprint is not None
    assert tall.footprint.bounds == (12, 52, 13, 53)


@pytest.mark.parametrize(
    "place",
    [
        {"geometry": None, "bbox": [179.5, 10, -179.5, 11]},
        {"geometry": shapely.geometry.mapping(shapely.box(-179.5, 10, 179.5, 11)), "bbox": None},
        {
            "geometry": shapely.geometry.mapping(
                shapely.MultiPolygon([shapely.box(179.5, 10, 180, 11), shapely.box(-180, 10, -179.5, 11)])
            ),
            "bbox": None,
        },
    ],
)
def test_spellings_of_a_scene_across_180_degrees(place: dict[str, Any]) -> None:
    scene = to_scene(an_item(**place), EARTH_SEARCH)
    assert scene.footprint is not None
    assert scene.footprint.bounds == (179.5, 10, 180.5, 11)
    assert scene.footprint.area == pytest.approx(1)


# ---- what may be odd --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 0.0, 100, 55.5])
def test_cloud_cover(value: float) -> None:
    assert to_scene(an_item(properties={"eo:cloud_cover": value}), EARTH_SEARCH).cloud == value


@pytest.mark.parametrize("value", [None, "12", float("nan"), float("inf"), -1, 150, True, [5], {}])
def test_odd_cloud_cover_is_unknown(value: object) -> None:
    assert to_scene(an_item(properties={"eo:cloud_cover": value}), EARTH_SEARCH).cloud is None


@pytest.mark.parametrize(
    ("properties", "epsg"),
    [
        ({"proj:epsg": 32633}, 32633),
        ({"proj:epsg": None, "proj:code": "EPSG:32632"}, 32632),
        ({"proj:epsg": None, "proj:code": "EPSG:None"}, None),
        ({"proj:epsg": None, "proj:code": "IAU_2015:30100"}, None),
        ({"proj:epsg": None}, None),
        ({"proj:epsg": "WGS 84"}, None),
        ({"proj:epsg": True}, None),
    ],
)
def test_epsg(properties: dict[str, Any], epsg: int | None) -> None:
    assert to_scene(an_item(properties=properties), EARTH_SEARCH).epsg == epsg


@pytest.mark.parametrize(
    ("name", "properties", "grid"),
    [
        ("x", {"grid:code": "MGRS-1VCC"}, "1VCC"),
        ("x", {"grid:code": "MGRS-01VCC"}, "1VCC"),
        ("x", {"mgrs:utm_zone": 1, "mgrs:latitude_band": "V", "mgrs:grid_square": "CC"}, "1VCC"),
        ("x", {"s2:mgrs_tile": "06VVN"}, "6VVN"),
        ("x", {"grid:code": "WRS2-1", "s2:mgrs_tile": "13TDE"}, "13TDE"),
        ("S2A_36MYB_20200814_0_L2A", {}, "36MYB"),
        ("S2B_T10TFR_20231223T190950_L2A", {}, "10TFR"),
        ("S2A_OPER_MSI_L2A_TL_2APS_20230730T020155_A042312_T01VCC", {}, "1VCC"),
        ("x", {}, ""),
        ("S2A_MSI_no_square_here", {"grid:code": 5, "mgrs:utm_zone": [1]}, ""),
    ],
)
def test_grid_square(name: str, properties: dict[str, Any], grid: str) -> None:
    item = an_item(id=name, properties={"grid:code": None})
    item["properties"] |= properties
    assert to_scene(item, EARTH_SEARCH).grid == grid


def test_version_falls_back_and_texts_are_one_plain_line() -> None:
    none = {"s2:product_uri": None, "updated": "a\nb", "platform": 5, "s2:datastrip_id": "none"}
    scene = to_scene(an_item(properties=none), EARTH_SEARCH)
    assert (scene.version, scene.updated, scene.platform, scene.datastrip) == (
        "2022-06-09T13:00:00.000000Z", "", "", "",
    )  # fmt: skip
    assert (
        to_scene(an_item(properties={"s2:product_uri": None}), EARTH_SEARCH).version == "2022-06-09T18:00:00.000Z"
    )
    assert to_scene(an_item(collection=None), EARTH_SEARCH).collection == "sentinel-2-l2a"


# ---- assets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "cause", "reason"),
    [
        ({"href": "s3://sentinel-s2-l2a/tiles/33/TCI.jp2", "type": "image/jp2"}, Cause.JPEG2000, ONLY_JP2.text),
        ({"href": "https://host/TCI.JP2"}, Cause.JPEG2000, ONLY_JP2.text),
        ({"href": "https://host/TCI", "type": "image/jp2"}, Cause.JPEG2000, ONLY_JP2.text),
        ({"href": "https://host/TCI.jpg", "type": "image/jpeg"}, Cause.FORMAT, "not a TIFF"),
        ({"href": "https://host/TCI"}, Cause.FORMAT, "not a TIFF"),
        ({"href": "s3://other/TCI.tif"}, Cause.SCHEME, "s3:// bucket other is not public over https"),
        ({"href": "gs://other/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "file:///etc/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "/etc/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "https://user:secret@host/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "https://host/a b/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "https://host/TCI.tif\r\nX-Evil: 1", "type": COG}, Cause.ADDRESS, "unusable address"),
        ({"href": "https://host\\@evil/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "https://host:port/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "https:///TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "https://[host/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": "https://hóst/TCI.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": f"https://host/{'x' * 2000}.tif"}, Cause.ADDRESS, "unusable address"),
        ({"href": 5}, Cause.ADDRESS, "no address"),
        ({"href": ""}, Cause.ADDRESS, "no address"),
        ({"type": COG}, Cause.ADDRESS, "no address"),
        ("TCI.tif", Cause.ADDRESS, "no address"),
    ],
)
def test_assets_that_cannot_be_read_say_why(entry: object, cause: Cause, reason: str) -> None:
    item = an_item()
    item["assets"]["visual"] = entry
    scene = to_scene(item, EARTH_SEARCH)
    assert scene.absent == {"visual": Reason(cause, reason)}
    assert list(scene.assets) == ["scl"]


@pytest.mark.parametrize(
    ("entry", "href"),
    [
        ({"href": "https://host/x", "type": COG}, "https://host/x"),
        ({"href": "http://127.0.0.1:8000/TCI.TIF"}, "http://127.0.0.1:8000/TCI.TIF"),
        ({"href": "https://host/TCI.tiff?sig=a%2Fb&x=1", "type": None}, "https://host/TCI.tiff?sig=a%2Fb&x=1"),
        (
            {"href": "s3://sentinel-cogs/a/TCI.tif"},
            "https://sentinel-cogs.s3.us-west-2.amazonaws.com/a/TCI.tif",
        ),
        (
            {"href": "s3://e84-earth-search-sentinel-data/a/TCI.tif"},
            "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/a/TCI.tif",
        ),
    ],
)
def test_assets_that_can_be_read(entry: dict[str, Any], href: str) -> None:
    scene = to_scene(an_item(assets={"visual": entry}), EARTH_SEARCH)
    assert scene.assets["visual"] == Asset(key="visual", href=href)
    assert scene.absent == {}


API = "https://earth-search.aws.element84.com"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (f"{API}/v1/items/x", f"{API}/v1/x/TCI.tif"),
        ("https://files.example.org/v1/items/x", "https://files.example.org/v1/x/TCI.tif"),
        # the API's own addresses, as it knows them behind a proxy
        ("http://earth-search.aws.element84.com/v1/items/x", f"{API}/v1/x/TCI.tif"),
        ("http://stac-api:8080/v1/items/x", f"{API}/v1/x/TCI.tif"),
        ("http://10.1.2.3/v1/items/x", f"{API}/v1/x/TCI.tif"),
        ("http://stac.prod.svc/v1/items/x", f"{API}/v1/x/TCI.tif"),
    ],
)
def test_relative_addresses_are_resolved_against_the_item_itself(own: str, expected: str) -> None:
    links = [{"rel": "self", "href": own}]
    scene = to_scene(an_item(links=links, assets={"visual": {"href": "../x/TCI.tif"}}), EARTH_SEARCH)
    assert scene.assets["visual"].href == expected


def test_a_self_link_on_an_origin_that_is_allowed_is_kept_whatever_its_name() -> None:
    own = [{"rel": "self", "href": "http://stac-api:8080/items/x"}]
    inner = replace(EARTH_SEARCH, listed=("http://stac-api:8080",))
    scene = to_scene(an_item(links=own, assets={"visual": {"href": "TCI.tif"}}), inner)
    assert scene.assets["visual"].href == "http://stac-api:8080/items/TCI.tif"


def test_only_the_jpeg2000_sibling_is_there() -> None:
    jp2 = {"href": "s3://sentinel-s2-l2a/tiles/33/U/UU/2022/6/9/0/TCI.jp2", "type": "image/jp2"}
    folder = {"earthsearch:s3_path": "s3://sentinel-cogs/sentinel-s2-l2a-cogs/33/U/UU/2022/6/x"}
    item = an_item(properties=folder, assets={"visual": None, "visual-jp2": jp2, "scl-jp2": jp2})
    scene = to_scene(item, EARTH_SEARCH)
    assert list(scene.assets) == ["scl"]
    assert scene.absent == {"visual": ONLY_JP2, "visual-jp2": ONLY_JP2, "scl-jp2": ONLY_JP2}


@pytest.mark.parametrize("folder", ["s3://elsewhere/x", "https://user@host/x", "x", 7, ""])
def test_no_address_is_derived_from_an_unknown_folder(folder: object) -> None:
    item = an_item(properties={"earthsearch:s3_path": folder})
    item["assets"] = {}
    assert to_scene(item, EARTH_SEARCH).assets == {}


@pytest.mark.parametrize("assets", [None, [], "x", {"../scl": {"href": "https://host/SCL.tif"}}])
def test_odd_assets_are_none(assets: object) -> None:
    item = an_item()
    item["assets"] = assets
    scene = to_scene(item, EARTH_SEARCH)
    assert (scene.assets, scene.absent) == ({}, {})


def test_a_mapped_key_hides_an_asset_of_the_same_name() -> None:
    catalog = custom("https://host/v1", "c", {"scl": "SCL", "visual": "TCI"})
    names = ("SCL", "TCI", "visual", "B02")
    item = an_item(assets={"scl": None} | {name: {"href": f"https://host/{name}.tif"} for name in names})
    assets = to_scene(item, catalog).assets
    assert {key: asset.href for key, asset in assets.items()} == {
        "scl": "https://host/SCL.tif",
        "visual": "https://host/TCI.tif",
        "B02": "https://host/B02.tif",
    }


# ---- any JSON ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.data())
def test_whatever_an_item_holds_it_is_a_scene_or_one_line(data: st.DataObject) -> None:
    item = copy.deepcopy(an_item())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from([item, item["properties"], item["assets"]]))
        if isinstance(place, dict) and place:
            place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
        if not (isinstance(item["properties"], dict) and isinstance(item["assets"], dict)):
            break
    scene, line = None, ""
    try:
        scene = to_scene(item, EARTH_SEARCH)
    except BadAnswer as error:
        line = str(error)
    assert line.isprintable()
    assert len(line) < 300
    if scene is not None:
        assert scene.footprint is not None
        assert scene.datetime.tzinfo is UTC
        assert scene.cloud is None or 0 <= scene.cloud <= 100
        assert all(asset.href.startswith(("http://", "https://")) for asset in scene.assets.values())
        assert not set(scene.assets) & set(scene.absent)


# ---- catalogues -------------------------------------------------------------------------------------------


def test_known_catalogues() -> None:
    assert sorted(KNOWN) == ["earth-search", "earth-search-c1"]
    for name, catalog in KNOWN.items():
        assert catalog.name == name
        assert catalog.url == "https://earth-search.aws.element84.com/v1"
        assert "scl" in catalog.assets
        assert catalog.descending
    assert [catalog.collection for catalog in KNOWN.values()] == ["sentinel-2-l2a", "sentinel-2-c1-l2a"]


def test_a_custom_catalogue() -> None:
    catalog = custom("http://127.0.0.1:8000/v1/", "sentinel-2-l2a", {"scl": "scl"})
    assert (catalog.name, catalog.url) == ("127.0.0.1:8000", "http://127.0.0.1:8000/v1")
    assert not catalog.descending
    assert catalog.attribution == EARTH_SEARCH.attribution
    assert custom("https://h/v1", "c", {"scl": "scl"}, attribution="synthetic").attribution == "synthetic"


@pytest.mark.parametrize(
    ("url", "collection", "assets", "words"),
    [
        ("ftp://host/v1", "c", {"scl": "scl"}, "not the URL of a STAC API"),
        ("host/v1", "c", {"scl": "scl"}, "not the URL of a STAC API"),
        ("https://me:pw@host/v1", "c", {"scl": "scl"}, "not the URL of a STAC API"),
        ("https://host/v1?x=1", "c", {"scl": "scl"}, "not the URL of a STAC API"),
        ("https://host/v1", "", {"scl": "scl"}, "needs the name of a collection"),
        ("https://host/v1", "c", {"visual": "TCI"}, "must say which asset holds the scene classification"),
    ],
)
def test_a_custom_catalogue_that_cannot_be(url: str, collection: str, assets: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        custom(url, collection, assets)


# ---- scenes that were processed several times ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"datetime": datetime(2022, 6, 9, 10, 16, 55, 123000, tzinfo=UTC)}, True),
        ({"datetime": datetime(2022, 6, 9, 10, 16, 53, 123000, tzinfo=UTC)}, True),
        ({"datetime": datetime(2022, 6, 9, 10, 16, 55, 124000, tzinfo=UTC)}, False),
        ({"collection": "sentinel-2-c1-l2a"}, False),
        ({"platform": "sentinel-2a"}, False),
        ({"platform": ""}, False),
        ({"grid": "33UVU"}, False),
        ({"datastrip": "S20220609T101237"}, False),
        ({"datastrip": ""}, True),
        ({"baseline": "05.10", "generated": "", "cloud": None}, True),
    ],
)
@pytest.mark.parametrize("datatake", ["", "S2B_20220609T100559"])
def test_the_same_acquisition_where_an_item_names_no_datatake(
    changes: dict[str, Any], expected: bool, datatake: str
) -> None:
    a, b = a_scene(datatake=""), a_scene(id="other", datatake=datatake, **changes)
    assert same_acquisition(a, b) is same_acquisition(b, a) is expected
    assert are_editions(a, b) is are_editions(b, a) is expected


def test_unknown_platform_or_grid_is_never_the_same_acquisition() -> None:
    assert not same_acquisition(a_scene(grid=""), a_scene(grid="", id="other"))
    nameless = {"platform": "", "datatake": ""}
    assert not same_acquisition(a_scene(**nameless), a_scene(id="other", **nameless))


def test_editions_in_order() -> None:
    jp2: dict[str, Asset] = {}
    oldest_first = [
        a_scene(id="a", baseline="99.99", assets=jp2),
        a_scene(id="b", baseline=""),
        a_scene(id="c", baseline="2.14"),
        a_scene(id="d", baseline="05.00", generated=""),
        a_scene(id="e", baseline="05.00", generated="2022-06-09T13:00:00Z"),
        a_scene(id="f", baseline="05.00", generated="2022-06-09T13:00:00.830Z"),
        a_scene(id="g", baseline="05.09", generated="2022-06-09T12:00:00Z"),
        a_scene(id="h", baseline="05.10", generated="2022-06-09T11:00:00Z"),
        a_scene(id="i", baseline="05.10", generated="2022-06-09T11:00:00Z"),
    ]
    shuffled = random.Random(1).sample(oldest_first, len(oldest_first))
    assert [scene.id for scene in sorted(shuffled, key=processing_order)] == list("abcdefghi")


# ---- what an item says about its offsets --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands", "offsets"),
    [
        ({"red": {"raster:bands": [{"offset": -0.1}]}, "nir": {"raster:offset": -0.1}}, -0.1),
        ({"red": {"bands": [{"raster:offset": -0.1}]}, "nir-jp2": {"raster:offset": -0.1}}, -0.1),
        ({"red": {"raster:offset": 0}, "nir": {"raster:offset": 0.0}}, 0.0),
        ({"red": {"raster:offset": -0.1}, "nir": {"raster:offset": 0}}, {"red": -0.1, "nir": 0.0}),
        ({"red": {"raster:offset": -0.1}, "nir": {}}, {"red": -0.1}),
        ({"red": {"raster:offset": -0.1}, "aot": {"raster:offset": 0}, "visual": {"raster:offset": 3}}, -0.1),
        ({"red": {}}, None),
        ({"aot": {"raster:offset": 0}}, None),
        ({"red": {"raster:bands": {}, "bands": [None], "raster:offset": True}}, None),
        ({"red": {"raster:bands": ["x"], "bands": 5, "raster:offset": "-0.1"}}, None),
        ({"red": {"raster:offset": float("nan")}, "nir": {"raster:offset": 1e300}}, None),
    ],
)
def test_offsets_of_reflectance_bands(bands: dict[str, Any], offsets: object) -> None:
    assets = {key: {"href": f"https://h/{key}.tif", "type": COG} | entry for key, entry in bands.items()}
    scene = to_scene(an_item(assets=assets), EARTH_SEARCH)
    assert scene.offsets == offsets
    assert type(scene.offsets) is type(offsets)


@pytest.mark.parametrize(
    ("properties", "subtracted"),
    [
        ({}, None),
        ({"earthsearch:boa_offset_applied": True}, True),
        ({"earthsearch:boa_offset_applied": False}, False),
        ({"sentinel:boa_offset_applied": False}, False),
        ({"earthsearch:boa_offset_applied": "yes", "sentinel:boa_offset_applied": True}, True),
        ({"earthsearch:boa_offset_applied": 1}, None),
    ],
)
def test_the_flag_of_the_offset(properties: dict[str, Any], subtracted: bool | None) -> None:
    assert to_scene(an_item(properties=properties), EARTH_SEARCH).subtracted is subtracted


@pytest.mark.parametrize(
    ("properties", "baseline"),
    [
        ({}, "04.00"),
        ({"s2:processing_baseline": "5.09"}, "05.09"),
        ({"s2:processing_baseline": None}, "04.00"),
        ({"s2:processing_baseline": "?", "s2:product_uri": None}, ""),
        ({"s2:processing_baseline": None, "s2:product_uri": None, "processing:version": "05.11"}, "05.11"),
        (
            {"s2:processing_baseline": None, "s2:product_uri": None, "sentinel:processing_baseline": "04.00"},
            "04.00",
        ),
        (
            {"s2:processing_baseline": None, "s2:product_uri": None, "sentinel2:processing_baseline": "3.01"},
            "03.01",
        ),
    ],
)
def test_the_baseline_of_an_item(properties: dict[str, Any], baseline: str) -> None:
    assert to_scene(an_item(properties=properties), EARTH_SEARCH).baseline == baseline
