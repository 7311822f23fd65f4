from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from s2async.sandbox.server.search import BadRequest, parse, plain
from s2async.sandbox.server.stac import Catalog, compact

EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"


def item(
    identity: str,
    when: str,
    *,
    west: float = 13.0,
    collection: str = "sentinel-2-l2a",
    cloud: float | None = None,
    **properties: Any,
) -> str:
    if cloud is not None:
        properties["eo:cloud_cover"] = cloud
    footprint = shapely.box(west, 52.0, west + 1, 53.0)
    return compact(
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": identity,
            "collection": collection,
            "properties": {"datetime": when, **properties},
            "geometry": shapely.geometry.mapping(footprint),
            "bbox": list(footprint.bounds),
            "links": [],
            "assets": {"scl": {"href": f"http://127.0.0.1/{identity}/SCL.tif"}},
        }
    )


def answer(catalog: Catalog, parameters: dict[str, Any], method: str = "POST") -> dict[str, Any]:
    page = catalog.search(parse(parameters), method=method, href=f"{catalog.api}/search")
    return dict(json.loads(page))


def ids(page: dict[str, Any]) -> list[str]:
    return [feature["id"] for feature in page["features"]]


def next_link(page: dict[str, Any]) -> dict[str, Any] | None:
    return next((link for link in page["links"] if link["rel"] == "next"), None)


def walk(catalog: Catalog, parameters: dict[str, Any], method: str = "POST") -> list[str]:
    found: list[str] = []
    for _ in range(100):
        page = answer(catalog, parameters, method)
        found += ids(page)
        link = next_link(page)
        if link is None:
            return found
        parameters = link["body"] if method == "POST" else dict(parse_qsl(urlsplit(link["href"]).query))
    raise AssertionError("a search without an end")


# ---- the recorded API ---------------------------------------------------------------------------------


def exchange(real_data: Path, name: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = real_data / "stac" / "exchanges" / name
    request = json.loads((folder / f"{number:02}.request.json").read_text())
    return request["body"], json.loads((folder / f"{number:02}.response.json").read_text())


def recorded_catalog(real_data: Path, name: str, pages: int) -> Catalog:
    features = [f for page in range(1, pages + 1) for f in exchange(real_data, name, page)[1]["features"]]
    return Catalog((compact(feature) for feature in reversed(features)), EARTH_SEARCH)


@pytest.mark.parametrize(
    ("name", "pages"), [("v1-search-bbox-3-pages", 3), ("v1-search-two-collections-2-pages", 2)]
)
def test_a_recorded_search_comes_out_the_same_on_every_page(real_data: Path, name: str, pages: int) -> None:
    catalog = recorded_catalog(real_data, name, pages)
    for number in range(1, pages + 1):
        body, recorded = exchange(real_data, name, number)
        page = answer(catalog, body)
        assert page == recorded
        assert list(page) == list(recorded)


def test_a_page_has_the_recorded_bytes(real_data: Path) -> None:
    name = "v1-search-bbox-3-pages"
    body, _ = exchange(real_data, name, 3)
    recorded = (real_data / "stac" / "exchanges" / name / "03.response.json").read_text()
    page = recorded_catalog(real_data, name, 3).search(parse(body), method="POST", href=f"{EARTH_SEARCH}/search")
    assert page == recorded.strip()


def test_a_filter_is_ignored_and_ties_over_collections_are_in_the_recorded_order(real_data: Path) -> None:
    name = "v1-search-filter-ignored-2-pages"
    catalog = recorded_catalog(real_data, name, 2)
    for number in (1, 2):
        body, recorded = exchange(real_data, name, number)
        page = answer(catalog, body)
        assert page["features"] == recorded["features"]
        assert page["links"] == recorded["links"]


def test_what_fields_leave_of_an_item_is_as_recorded(real_data: Path) -> None:
    body, recorded = exchange(real_data, "v1-search-fields-c1", 1)
    whole = [
        item(f["id"], f["properties"]["datetime"], collection=f["collection"], platform="sentinel-2a")
        for f in recorded["features"]
    ]
    catalog = Catalog(whole, EARTH_SEARCH)
    page = answer(catalog, {key: value for key, value in body.items() if key != "intersects"})
    for feature, original in zip(page["features"], recorded["features"], strict=True):
        assert {**feature, "bbox": None} == {**original, "bbox": None}
    link, recorded_link = next_link(page), next_link(recorded)
    assert link is not None
    assert recorded_link is not None
    assert link["body"] == {key: value for key, value in recorded_link["body"].items() if key != "intersects"}


def test_the_get_link_is_as_recorded(real_data: Path) -> None:
    recorded = json.loads((real_data / "stac" / "next-link-shapes.json").read_text())["get"]
    asked = dict(parse_qsl(urlsplit(recorded["href"]).query))
    when, identity, collection = asked.pop("next").split(",")
    last = compact({**json.loads(item(identity, when, west=106.0, collection=collection)), "geometry": None})
    catalog = Catalog([last], EARTH_SEARCH)
    del asked["bbox"]
    link = next_link(answer(catalog, asked, "GET"))
    assert link == {**recorded, "href": recorded["href"].replace("&bbox=106.684%2C10.750%2C106.739%2C10.808", "")}


def test_a_sorted_search_has_the_recorded_token(real_data: Path) -> None:
    recorded = json.loads((real_data / "stac" / "next-link-shapes.json").read_text())["post_with_sortby"]
    body = {key: value for key, value in recorded["body"].items() if key not in ("next", "bbox")}
    last = item("a", "2024-11-03T00:00:00Z", collection="sentinel-2-c1-l2a", cloud=99.869466)
    link = next_link(answer(Catalog([last], EARTH_SEARCH), body))
    expected = {key: value for key, value in recorded["body"].items() if key != "bbox"}
    assert link == {**recorded, "body": expected}


def test_the_landing_page_has_the_recorded_shape(real_data: Path) -> None:
    recorded = json.loads(
        (real_data / "stac/exchanges/v1-landing-and-404-collection/01.response.json").read_text()
    )
    page = Catalog([item("a", "2022-01-01T00:00:00Z")], EARTH_SEARCH).landing()
    assert set(page) == set(recorded)
    assert set(page["conformsTo"]) < set(recorded["conformsTo"])
    assert all(link in recorded["links"] for link in page["links"])


# ---- what a search can ask ----------------------------------------------------------------------------

WORLD = [
    item("a", "2022-03-01T10:00:00.000000Z", cloud=10, platform="sentinel-2a"),
    item("b", "2022-03-01T10:00:00.000000Z", cloud=10.5, platform="sentinel-2b"),
    item("c", "2022-03-02T10:00:00.000000Z", west=20.0, platform="sentinel-2a", instruments=["msi"]),
    item("d", "2022-03-03T10:00:00.000000Z", collection="sentinel-2-c1-l2a", cloud=90),
]


@pytest.fixture(scope="module")
def world() -> Catalog:
    return Catalog(WORLD, "http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "dcba"),
        ({"collections": ["sentinel-2-l2a"]}, "cba"),
        ({"collections": ["nowhere"]}, ""),
        ({"ids": ["a", "d"]}, "da"),
        ({"bbox": [13.2, 52.2, 13.3, 52.3]}, "dba"),
        ({"bbox": [13.2, 52.2, 0, 13.3, 52.3, 100]}, "dba"),
        ({"bbox": [170, 52.2, 13.3, 52.3]}, "dba"),
        ({"bbox": [13.2, 52.2, 13.2, 52.2]}, "dba"),
        ({"bbox": [0, 0, 1, 1]}, ""),
        ({"intersects": {"type": "Point", "coordinates": [20.5, 52.5]}}, "c"),
        ({"intersects": {"type": "LineString", "coordinates": [[13.5, 52.5], [20.5, 52.5]]}}, "dcba"),
        (
            {
                "intersects": {
                    "type": "GeometryCollection",
                    "geometries": [{"type": "Point", "coordinates": [20.5, 52.5]}],
                }
            },
            "c",
        ),
        ({"datetime": "2022-03-02T10:00:00Z"}, "c"),
        ({"datetime": "2022-03-02T10:00:00Z/2022-03-03T10:00:00Z"}, "dc"),
        ({"datetime": "2022-03-02T11:00:00+01:00/.."}, "dc"),
        ({"datetime": "../2022-03-02T09:59:59.999999Z"}, "ba"),
        ({"datetime": "/2022-03-01t10:00:00z"}, "ba"),
        ({"query": {"eo:cloud_cover": {"lt": 10.5}}}, "a"),
        ({"query": {"eo:cloud_cover": {"lte": 10.5}}}, "ba"),
        ({"query": {"eo:cloud_cover": {"gt": 10, "lt": 90}}}, "b"),
        ({"query": {"eo:cloud_cover": {"gte": 10.5}}}, "db"),
        ({"query": {"eo:cloud_cover": {"eq": 10.0}, "platform": {"neq": "sentinel-2b"}}}, "a"),
        ({"query": {"platform": {"neq": "sentinel-2a"}}}, "db"),
        ({"query": {"platform": {"in": ["sentinel-2b", "sentinel-2c"]}}}, "b"),
        ({"query": {"platform": {"startsWith": "sentinel"}}}, "cba"),
        ({"query": {"platform": {"endsWith": "2b"}}}, "b"),
        ({"query": {"platform": {"contains": "inel-2a"}}}, "ca"),
        ({"query": {"instruments": {"eq": "msi"}}}, "c"),
        ({"query": {"platform": {"lt": 3}}}, ""),
        ({"query": {"platform": {"resembles": "x"}}}, "dcba"),
        ({"sortby": [{"field": "properties.eo:cloud_cover", "direction": "asc"}]}, "abdc"),
        ({"sortby": [{"field": "properties.eo:cloud_cover", "direction": "desc"}]}, "dbac"),
        (
            {
                "sortby": [
                    {"field": "properties.platform", "direction": "asc"},
                    {"field": "id", "direction": "asc"},
                ]
            },
            "acbd",
        ),
        ({"filter": {"op": "=", "args": [{"property": "id"}, "a"]}, "filter-lang": "cql2-json"}, "dcba"),
        ({"limit": 2}, "dc"),
        ({"limit": 10**9}, "dcba"),
    ],
)
def test_a_search_finds(world: Catalog, parameters: dict[str, Any], expected: str) -> None:
    page = answer(world, parameters)
    assert "".join(ids(page)) == expected


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ({"bbox": "13.2,52.2,13.3,52.3"}, {"bbox": [13.2, 52.2, 13.3, 52.3]}),
        ({"collections": "sentinel-2-l2a,other"}, {"collections": ["sentinel-2-l2a", "other"]}),
        ({"ids": '["a","d"]'}, {"ids": ["a", "d"]}),
        ({"ids": "a,d"}, {"ids": ["a", "d"]}),
        (
            {"intersects": '{"type":"Point","coordinates":[20.5,52.5]}'},
            {"intersects": {"type": "Point", "coordinates": [20.5, 52.5]}},
        ),
        ({"query": '{"eo:cloud_cover":{"lt":50}}'}, {"query": {"eo:cloud_cover": {"lt": 50}}}),
        (
            {"sortby": "-properties.platform,+id"},
            {
                "sortby": [
                    {"field": "properties.platform", "direction": "desc"},
                    {"field": "id", "direction": "asc"},
                ]
            },
        ),
        (
            {"fields": "properties.platform,-assets"},
            {"fields": {"include": ["properties.platform"], "exclude": ["assets"]}},
        ),
        ({"limit": "2"}, {"limit": 2}),
    ],
)
def test_get_and_post_ask_the_same(world: Catalog, text: dict[str, str], same: dict[str, Any]) -> None:
    assert answer(world, text, "GET")["features"] == answer(world, same)["features"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"bbox": [1, 2, 3, 4], "intersects": {"type": "Point", "coordinates": [1, 2]}},
        {"bbox": [1, 2, 3]},
        {"bbox": []},
        {"bbox": [1, 4, 3, 2]},
        {"bbox": ["x", 2, 3, 4]},
        {"intersects": {"type": "Feature", "geometry": None, "properties": {}}},
        {"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}},
        {"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}},
        {"intersects": "nonsense"},
        {"intersects": [1]},
        {"datetime": "2022-01-01"},
        {"datetime": "../.."},
        {"datetime": "2022-13-01T00:00:00Z"},
        {"datetime": "2022-02-01T00:00:00Z/2022-01-01T00:00:00Z"},
        {"datetime": "2022-01-01T00:00:00Z/2022-01-02T00:00:00Z/.."},
        {"datetime": 2022},
        {"limit": 0},
        {"limit": "many"},
        {"collections": [1]},
        {"ids": {"a": 1}},
        {"query": {"eo:cloud_cover": 3}},
        {"query": "{"},
        {"sortby": [{"direction": "asc"}]},
        {"fields": ["id"]},
        {"next": "only-one-part"},
        {"next": 3},
        {"sortby": [{"field": "properties.eo:cloud_cover", "direction": "asc"}], "next": "high"},
        {"sortby": [{"field": "id", "direction": "asc"}], "next": "a,b"},
    ],
)
def test_what_the_api_refuses(world: Catalog, parameters: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        answer(world, parameters)


def test_the_next_body_carries_the_whole_search_with_numbers_as_javascript_writes_them(world: Catalog) -> None:
    asked = {
        "query": {"eo:cloud_cover": {"lte": 80.0}},
        "intersects": {"type": "Point", "coordinates": [13.0, 52.5]},
        "limit": 1,
    }
    link = next_link(answer(world, asked))
    assert link is not None
    assert compact(link["body"]["query"]) == '{"eo:cloud_cover":{"lte":80}}'
    assert link["body"] == {**asked, "next": "2022-03-01T10:00:00.000000Z,b,sentinel-2-l2a"}
    assert link["merge"] is False


def test_fields_keep_the_core_and_what_is_included(world: Catalog) -> None:
    page = answer(world, {"ids": ["c"], "fields": {"include": ["properties.platform"], "exclude": ["bbox"]}})
    (feature,) = page["features"]
    assert feature["properties"] == {"datetime": "2022-03-02T10:00:00.000000Z", "platform": "sentinel-2a"}
    assert set(feature) == {
        "id",
        "type",
        "stac_version",
        "geometry",
        "links",
        "assets",
        "collection",
        "properties",
    }


def test_without_the_sorted_field_in_the_answer_there_is_no_next(world: Catalog) -> None:
    rule = [{"field": "properties.eo:cloud_cover", "direction": "asc"}]
    assert next_link(answer(world, {"sortby": rule, "limit": 1})) is not None
    assert next_link(answer(world, {"sortby": rule, "limit": 1, "fields": {}})) is None


def test_sorted_pages_lose_ties_on_their_edge() -> None:
    tied = [item(name, f"2022-03-0{day}T00:00:00Z", cloud=5) for day, name in enumerate("abc", start=1)]
    rule = [{"field": "properties.eo:cloud_cover", "direction": "asc"}]
    assert walk(Catalog(tied, "http://x/v1"), {"sortby": rule, "limit": 2}) == ["c", "b"]


@given(
    times=st.lists(st.integers(0, 5), max_size=30),
    limit=st.integers(1, 12),
    method=st.sampled_from(["GET", "POST"]),
)
def test_paging_skips_nothing_and_repeats_nothing(times: list[int], limit: int, method: str) -> None:
    items = [item(f"i{n}", f"2022-01-0{day + 1}T00:00:00.5Z") for n, day in enumerate(times)]
    found = walk(Catalog(items, "http://x/v1"), {"limit": limit}, method)
    expected = sorted(((day, f"i{n}") for n, day in enumerate(times)), reverse=True)
    assert found == [identity for _, identity in expected]


def test_documents_of_items_and_collections(world: Catalog) -> None:
    assert world.item("sentinel-2-l2a", "a") == WORLD[0]
    assert world.item("sentinel-2-c1-l2a", "a") is None
    listing = world.collection_list()
    assert [document["id"] for document in listing["collections"]] == ["sentinel-2-c1-l2a", "sentinel-2-l2a"]
    extent = world.collections["sentinel-2-l2a"]["extent"]
    assert extent["spatial"]["bbox"] == [[13.0, 52.0, 21.0, 53.0]]
    assert extent["temporal"]["interval"] == [["2022-03-01T10:00:00.000000Z", None]]


def test_whole_floats_become_integers() -> None:
    assert compact(plain({"a": [9.0, 0.5, True, "9.0", None]})) == '{"a":[9,0.5,true,"9.0",null]}'
