"""Searches: planning, paging, and what becomes of every fault of a STAC server."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import MultiPolygon, box

from s2async.catalog import search as searching
from s2async.catalog.pages import next_request
from s2async.catalog.providers import KNOWN
from s2async.catalog.search import USELESS_PAGES, Request, first_request, plan, run_search
from s2async.errors import BadAnswer, NotFound, Refused, RemoteError, TransientError
from s2async.models import Scene
from tests.support.examples import examples
from tests.support.items import an_area, an_item
from tests.support.scripts import EARTH_SEARCH, NOON, SEARCH_URL, WIDE, Answer, Script, a_page, items, run

# ---- planning ---------------------------------------------------------------------------------------------


def test_a_plan_for_two_places_and_a_year() -> None:
    areas = [an_area("a", box(13, 52, 13.1, 52.1)), an_area("b", box(13.2, 52, 13.3, 52.1))]
    areas.append(an_area("c", box(-60, -10, -59.9, -9.9)))
    year = (datetime(2022, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC))
    now = datetime(2024, 1, 1, tzinfo=UTC)
    found = plan(areas, *year, EARTH_SEARCH, now=now)
    assert [search.label for search in found[:4]] == [
        "a and 1 more, 2022-01-01/2022-03-31",
        "a and 1 more, 2022-04-01/2022-06-30",
        "a and 1 more, 2022-07-01/2022-09-30",
        "a and 1 more, 2022-10-01/2022-12-31",
    ]
    assert [search.label.split(",")[0] for search in found[4:]] == ["c"] * 4
    assert len({search.key for search in found}) == 8
    assert [s.key for s in plan(areas, *year, EARTH_SEARCH, now=now + timedelta(days=1))] == [s.key for s in found]
    other = plan(areas, *year, KNOWN["earth-search-c1"], now=now)
    assert not {search.key for search in found} & {search.key for search in other}


def test_a_season_shortens_searches_unless_a_neighbour_wants_the_rest() -> None:
    a, b = an_area("a", box(13, 52, 13.1, 52.1)), an_area("b", box(13.2, 52, 13.3, 52.1))
    year, now = (
        (datetime(2022, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)),
        datetime(2024, 1, 1, tzinfo=UTC),
    )
    summer = replace(a, start=date(2022, 6, 20), end=date(2022, 7, 10))
    alone = plan([summer], *year, EARTH_SEARCH, now=now)
    assert [search.label for search in alone] == ["a, 2022-06-20/2022-06-30", "a, 2022-07-01/2022-07-10"]
    whole = plan([a, b], *year, EARTH_SEARCH, now=now)
    assert plan([summer, b], *year, EARTH_SEARCH, now=now) == whole, "the same searches, by key"
    assert plan([replace(a, start=date(2023, 1, 1))], *year, EARTH_SEARCH, now=now) == []
    twins = plan([replace(a, end=date(2022, 1, 31)), replace(a, name="c", start=date(2022, 12, 31))], *year,
                 EARTH_SEARCH, now=now)  # fmt: skip
    assert [search.label for search in twins] == [
        "a and 1 more, 2022-01-01/2022-01-31",
        "a and 1 more, 2022-12-31/2022-12-31",
    ]


def test_an_area_on_both_sides_of_180_degrees_never_asks_for_the_world() -> None:
    fiji = an_area("Fiji", MultiPolygon([box(179.9, -17, 180, -16.9), box(-180, -17, -179.9, -16.9)]))
    found = plan([fiji], NOON, NOON + timedelta(days=1), EARTH_SEARCH, now=datetime(2024, 1, 1, tzinfo=UTC))
    assert [search.label for search in found] == ["Fiji, 2022-06-09/2022-06-10"] * 2
    assert all(search.geometry.area < 0.1 for search in found)


# ---- the first request ------------------------------------------------------------------------------------


def test_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    quarter = replace(WIDE, start=datetime(2022, 1, 1, tzinfo=UTC), end=datetime(2022, 4, 1, tzinfo=UTC))
    request = first_request(quarter, EARTH_SEARCH, 100)
    assert (request.method, request.url) == ("POST", "https://earth-search.aws.element84.com/v1/search")
    body = json.loads(json.dumps(request.body))
    ring = body["intersects"].pop("coordinates")[0]
    assert sorted(ring[:-1]) == [[13, 52], [13, 53], [14, 52], [14, 53]]
    assert body == {
        "collections": ["sentinel-2-l2a"],
        "datetime": "2022-01-01T00:00:00Z/2022-04-01T00:00:00Z",
        "intersects": {"type": "Polygon"},
        "limit": 100,
    }


def test_what_was_sensed_when_the_span_ends_belongs_to_the_next() -> None:
    start, end = NOON, NOON + timedelta(hours=1)
    at = {
        "first": start,
        "last": end - timedelta(microseconds=1),
        "next": end,
        "before": start - timedelta(0, 0, 1),
    }
    found = [an_item(id=name, properties={"datetime": time.isoformat()}) for name, time in at.items()]
    halves = [replace(WIDE, start=start, end=end), replace(WIDE, start=end, end=end + timedelta(hours=1))]
    assert run(Script([a_page(found)]), search=halves[0]).ids == ["first", "last"]
    assert run(Script([a_page(found)]), search=halves[1]).ids == ["next"]


# ---- next links -------------------------------------------------------------------------------------------

ASKED = Request("POST", "https://host/v1/search", {"limit": 10, "collections": ["c"]})


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (None, None),
        (
            {"method": "POST", "href": "https://host/v1/search", "merge": False, "body": {"next": "t", "x": 9}},
            Request("POST", "https://host/v1/search", {"next": "t", "x": 9}),
        ),
        (
            {"method": "POST", "href": "https://host/v1/search", "body": {"next": "t"}},
            Request("POST", "https://host/v1/search", {"next": "t"}),
        ),
        (
            {"method": "POST", "href": "https://host/v1/search", "merge": True, "body": {"next": "t", "limit": 5}},
            Request("POST", "https://host/v1/search", {"next": "t", "limit": 5, "collections": ["c"]}),
        ),
        (
            {"method": "post", "href": "?page=2", "merge": True},
            Request("POST", "https://host/v1/search?page=2", {"limit": 10, "collections": ["c"]}),
        ),
        ({"href": "https://host/v1/search?token=2"}, Request("GET", "https://host/v1/search?token=2", None)),
        ({"method": "GET", "href": "/v1/search?t=2"}, Request("GET", "https://host/v1/search?t=2", None)),
        (
            {"method": "GET", "href": "search?t=2", "headers": {"X": "1"}, "body": {"a": 1}},
            Request("GET", "https://host/v1/search?t=2", None),
        ),
        # at the origin that was asked, whatever the link says
        ({"method": "GET", "href": "http://host/v1/s?t=2"}, Request("GET", "https://host/v1/s?t=2", None)),
        ({"method": "GET", "href": "http://inner:8080/s?t=2"}, Request("GET", "https://host/s?t=2", None)),
        ({"method": "GET", "href": "https://other.org/s?t=%2F"}, Request("GET", "https://host/s?t=%2F", None)),
        (
            {"method": "POST", "href": "http://inner/v1/search", "merge": True, "body": {"next": "t"}},
            Request("POST", "https://host/v1/search", {"next": "t", "limit": 10, "collections": ["c"]}),
        ),
    ],
)
def test_next_links(link: dict[str, Any] | None, expected: Request | None) -> None:
    links = [{"rel": "self", "href": "x"}, "odd", None] + ([link | {"rel": "next"}] if link else [])
    assert next_request({"links": links}, ASKED) == expected


@pytest.mark.parametrize("links", [None, {}, "next", []])
def test_pages_without_links_are_the_last(links: object) -> None:
    assert next_request({"links": links}, ASKED) is None
    assert next_request({}, ASKED) is None


@pytest.mark.parametrize(
    "link",
    [
        {"href": "file:///etc/passwd"},
        {"href": "s3://bucket/x"},
        {"href": "https://[host/x"},
        {"href": 5},
        {"href": ""},
        {},
        {"href": "https://host/x", "method": "DELETE"},
        {"href": "https://host/x", "method": 5},
        {"href": "https://host/x", "method": "POST", "body": "next=2"},
    ],
)
def test_next_links_that_cannot_be_followed_are_not_the_end(link: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer, match="the next page cannot be asked for"):
        next_request({"links": [link | {"rel": "next"}]}, ASKED)
    result = run(Script([a_page(items("a"), link | {"rel": "next"})]))
    assert not result.report.complete
    assert result.ids == ["a"]


def test_recorded_shapes_of_next_links(real_data: Path) -> None:
    shapes = json.loads((real_data / "stac" / "next-link-shapes.json").read_text())
    asked = Request("POST", SEARCH_URL, {"limit": 100})
    for name in ("post_with_sortby", "post_default_sort"):
        request = next_request({"links": [shapes[name]]}, asked)
        assert request == Request("POST", SEARCH_URL, shapes[name]["body"])
    get = next_request({"links": [shapes["get"]]}, asked)
    assert get == Request("GET", shapes["get"]["href"], None)


# ---- recorded exchanges -----------------------------------------------------------------------------------


def replay(folder: Path) -> Script:
    """Answer the first request with the first recorded page, and later ones only if they were recorded so."""
    pages = []
    for path in sorted(folder.glob("*.request.json")):
        request = json.loads(path.read_text())
        page = json.loads(path.with_name(path.name.replace("request", "response")).read_text())
        pages.append((Request(request["method"], request["uri"], request.get("body")), page))

    def answer(request: Request, count: int) -> Answer:
        if count == 0:
            return pages[0][1]  # type: ignore[no-any-return]
        recorded = [page for asked, page in pages if asked == request]
        return recorded[0] if recorded else TransientError("not recorded", status=504)

    return Script(answer)


@pytest.mark.parametrize(
    ("name", "collection", "requests", "complete", "count"),
    [
        ("v1-search-bbox-3-pages", "sentinel-2-l2a", 3, True, 16),
        ("v1-search-two-collections-2-pages", "sentinel-2-l2a", 2, True, 1),
        ("v1-search-filter-ignored-2-pages", "sentinel-2-l2a", 3, False, 6),
        ("v1-search-filter-ignored-2-pages", "sentinel-2-c1-l2a", 3, False, 6),
        ("v1-search-fields-c1", "sentinel-2-c1-l2a", 2, False, 10),
        ("v1-search-limit-1", "cop-dem-glo-30", 2, False, 1),
        ("v0-search-limit-1", "sentinel-s2-l2a-cogs", 2, False, 1),
    ],
)
def test_recorded_exchanges(
    real_data: Path, name: str, collection: str, requests: int, complete: bool, count: int
) -> None:
    script = replay(real_data / "stac" / "exchanges" / name)
    result = run(script, replace(EARTH_SEARCH, collection=collection))
    assert len(script.asked) == requests
    assert result.report.complete is complete
    assert result.report.reason == ("" if complete else "not recorded")
    assert result.report.items == count
    assert {scene.collection for scene in result.scenes} <= {collection}
    if collection != "cop-dem-glo-30":
        assert len(result.scenes) == count


def test_recorded_reprocessings_come_as_their_newest(real_data: Path) -> None:
    folder = real_data / "stac" / "exchanges" / "v1-search-bbox-3-pages"
    everything = run(replay(folder), newest_only=False)
    newest = run(replay(folder), newest_only=True)
    assert len(everything.scenes) == 16
    assert newest.ids == [name for name in everything.ids if name.endswith("_1_L2A")]
    assert len(newest.scenes) == 8
    assert newest.report.items == 16


def test_recorded_datastrip_halves_both_come(real_data: Path) -> None:
    path = real_data / "stac" / "items" / "proj-code-pystac-upgraded-31TCJ-8-items.json"
    features = json.loads(path.read_text())["features"]
    result = run(Script([a_page(features)]), newest_only=True)
    assert sorted(result.ids) == sorted(item["id"] for item in features)


# ---- paging -----------------------------------------------------------------------------------------------


def test_pages_to_the_end() -> None:
    script = Script([a_page(items("a", "b"), "t1"), a_page(items("c"), "t2"), a_page([])])
    result = run(script)
    assert (result.ids, result.report.complete, result.report.items) == (["a", "b", "c"], True, 3)
    assert [request.body for request in script.asked[1:]] == [{"next": "t1"}, {"next": "t2"}]
    assert script.finals == [frozenset({502})] * 3
    assert result.notices == []


@given(
    st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=8), min_size=1, max_size=8),
    st.booleans(),
)
@examples(60)
def test_every_item_comes_once_however_the_pages_overlap(pages: list[list[int]], newest_only: bool) -> None:
    shifts = [[f"i{n}" for n in [100 + number, *page]] for number, page in enumerate(pages)]
    days = {f"i{n}": (NOON - timedelta(days=n)).isoformat() for n in range(200)}
    last = len(shifts) - 1
    answers = [
        a_page(
            [an_item(id=i, properties={"datetime": days[i], "s2:product_uri": i}) for i in page],
            number if number < last else None,
        )
        for number, page in enumerate(shifts)
    ]
    result = run(Script(answers), newest_only=newest_only)
    assert result.report.complete
    assert sorted(result.ids) == sorted(set(itertools.chain(*shifts)))
    assert result.report.items == len(result.ids)


@pytest.mark.parametrize(
    "answer", [{}, [], None, "html", {"features": []}, {"type": "FeatureCollection"}, {"type": "Feature"},
               {"type": "FeatureCollection", "features": None}, {"type": "FeatureCollection", "features": {}}]
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_an_answer_that_is_no_page_is_not_an_empty_one(answer: Answer, place: int) -> None:
    pages: list[Answer] = [a_page(items("a"), "t"), a_page(items("b"))]
    pages[place] = answer
    result = run(Script(pages))
    assert not result.report.complete
    assert "not a FeatureCollection" in result.report.reason
    assert len(result.report.reason) < 150
    assert result.ids == ["a"][:place]


@pytest.mark.parametrize(
    "error",
    [
        TransientError("503 after 5 tries", status=503),
        TransientError("timed out"),
        Refused("not on the list"),
        NotFound("404: no such API"),
        BadAnswer("not JSON at byte 12"),
    ],
)
def test_remote_errors_end_a_search_with_their_reason(error: RemoteError) -> None:
    result = run(Script([a_page(items("a"), "t"), error]))
    assert (result.ids, result.report.complete, result.report.reason) == (["a"], False, str(error))


@pytest.mark.parametrize(
    ("pages", "requests"),
    [
        ([a_page(items("a"), "t"), a_page(items("b"), "t")], 2),  # the link to itself
        ([a_page(items("a"), "A"), a_page(items("b"), "B"), a_page(items("c"), "A")], 3),
        ([a_page(items("a", "b"), n) for n in range(9)], 3),  # new tokens, old items
    ],
)
def test_paging_that_does_not_advance(pages: list[Answer], requests: int) -> None:
    script = Script(pages)
    result = run(script)
    assert len(script.asked) == requests
    assert not result.report.complete
    assert result.report.reason.startswith("paging does not advance")


def test_one_page_may_shift_into_the_last() -> None:
    pages = [a_page(items("a", "b"), 1), a_page(items("a", "b"), 2), a_page(items("c"), 3), a_page(items("c"), 4)]
    result = run(Script([*pages, a_page([])]))
    assert (result.ids, result.report.complete) == (["a", "b", "c"], True)


@pytest.mark.parametrize(("empty", "complete"), [(1, True), (3, True), (4, False), (50, False)])
def test_empty_pages_with_a_next_one(empty: int, complete: bool) -> None:
    script = Script([*(a_page([], n) for n in range(empty)), a_page(items("a"))])
    result = run(script)
    assert result.report.complete is complete
    assert result.ids == (["a"] if complete else [])
    assert len(script.asked) == (empty + 1 if complete else 4)


def test_endless_new_items_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_ITEMS", 500)
    script = Script(lambda _, count: a_page(items(*(f"i{count}-{n}" for n in range(100))), count))
    result = run(script)
    assert len(script.asked) == 5
    assert (result.report.complete, result.report.items) == (False, 500)
    assert "more than 500 items" in result.report.reason


def test_items_that_cannot_be_used_are_not_followed_for_ever() -> None:
    script = Script(lambda _, count: a_page([*items("a"), an_item(id=f"../{count}")], count))
    result = run(script)
    assert len(script.asked) == 1 + USELESS_PAGES
    assert (result.ids, result.report.complete) == (["a"], False)
    assert result.report.reason.startswith("20 pages in a row without an item that can be used: item '../0'")

    some = USELESS_PAGES - 1
    pages = [
        *(a_page([an_item(id=f"../{n}")], n) for n in range(some)),
        a_page(items("a"), "t"),
        a_page(items("b")),
    ]
    assert run(Script(pages)).ids == ["a", "b"]


def test_items_of_other_collections_are_followed() -> None:
    """A server that does not sort them out has many pages of them."""
    many = 3 * USELESS_PAGES
    pages = [*(a_page(items(f"l{n}", collection="landsat"), n) for n in range(many)), a_page(items("a"))]
    result = run(Script(pages))
    assert (result.ids, result.report.complete) == (["a"], True)


def test_old_items_with_a_new_one_each_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_ITEMS", 500)
    old = items(*(f"i{n}" for n in range(99)))
    script = Script(lambda _, count: a_page([*old, *items(f"new{count}")], count))
    assert "more than 500 items" in run(script).report.reason
    assert len(script.asked) == 5


@pytest.mark.parametrize("place", [0, 1])
def test_an_item_that_is_nested_too_deeply_ends_a_search(place: int) -> None:
    """Whatever the interpreter bears: 3.12 and later go much deeper than 1,000."""
    deep: Any = "bottom"
    for _ in range(150):
        deep = [deep]
    pages = [a_page(items("a"), "t"), a_page(items("b"), "u")]
    pages[place]["features"].append({"id": deep})
    script = Script(pages)
    result = run(script)
    assert result.report.reason == "an item that is nested too deeply"
    assert (len(script.asked), result.ids) == (place + 1, ["a", "b"][: place + 1])


def test_after_a_502_the_span_starts_again_with_half_the_limit() -> None:
    def answer(request: Request, count: int) -> Answer:
        assert request.body is not None
        if request.body.get("limit", 0) > 12 or count == 4:
            return TransientError("502 Internal server error", status=502)
        return a_page(items("a"), "t") if "limit" in request.body else a_page(items("b"))

    script = Script(lambda request, count: answer(request, -1))
    result = run(script)
    assert (result.ids, result.report.complete) == (["a", "b"], True)
    assert [request.body["limit"] for request in script.asked[:4] if request.body] == [100, 50, 25, 12]
    assert script.finals == [frozenset({502})] * 3 + [frozenset()] * 2

    result = run(Script(answer))  # at the floor, a 502 is an answer like any other
    assert (result.ids, result.report.complete) == (["a"], False)
    assert result.report.reason == "502 Internal server error"


def test_the_limit_is_never_less_than_the_floor() -> None:
    script = Script([TransientError("502", status=502), a_page([])])
    assert run(script, limit=20).report.complete
    assert [request.body["limit"] for request in script.asked if request.body] == [20, 12]


def test_a_502_on_a_later_page_hands_out_nothing_twice() -> None:
    def answer(request: Request, count: int) -> Answer:
        pages: list[Answer] = [
            a_page(items("a", "b"), "t100"),
            TransientError("502", status=502),
            a_page(items("a"), "t50"),
            a_page(items("b", "c")),
        ]
        return pages[count]

    result = run(Script(answer))
    assert (result.ids, result.report.complete, result.report.items) == (["a", "b", "c"], True, 3)


def test_other_statuses_do_not_halve() -> None:
    script = Script([TransientError("504", status=504)])
    assert run(script).report.reason == "504"


def test_pages_of_any_size_are_taken_as_they_are() -> None:
    many = items(*(f"i{n}" for n in range(1000)))
    assert len(run(Script([a_page(many)]), limit=5).scenes) == 1000
    one_by_one = Script([*(a_page([item], n) for n, item in enumerate(many[:30])), a_page([])])
    assert len(run(one_by_one).scenes) == 30


# ---- items ------------------------------------------------------------------------------------------------


def test_bad_items_and_other_collections_do_not_stop_a_page() -> None:
    odd: list[Any] = [None, 5, "x", [], *items("../x"), an_item(id=7), an_item(geometry=None, bbox=None)]
    foreign = items("l1", "l2", collection="landsat-c2-l2")
    result = run(Script([a_page([*odd, *foreign, *items("a"), *items("b", collection=None)])]))
    assert (result.ids, result.report.complete) == (["a", "b"], True)
    assert result.report.items == len(odd) + 2
    assert result.notices == [
        f"{WIDE.label}: 2 items of other collections, ignored",
        f"{WIDE.label}: 7 unusable items, skipped, such as an item that is not an object",
    ]


def test_an_item_that_names_its_collection_only_once_comes_once() -> None:
    result = run(
        Script([a_page([*items("a"), *items("a", collection=None)], "t"), a_page(items("a", collection=None))])
    )
    assert (result.ids, result.report.items, result.report.complete) == (["a"], 1, True)


def test_the_cloud_sieve_keeps_what_tells_no_cloud_cover() -> None:
    clouds = {"clear": 0, "edge": 80, "over": 80.01, "none": None, "text": "5", "high": 150}
    found = [an_item(id=name, properties={"eo:cloud_cover": cloud}) for name, cloud in clouds.items()]
    result = run(Script([a_page(found)]), max_scene_cloud=80)
    assert result.ids == ["clear", "edge", "none", "text", "high"]
    assert result.report.items == 6
    assert result.notices == [f"{WIDE.label}: 3 items that tell no cloud cover, kept"]


def test_the_items_of_a_page_are_let_go_before_their_scenes_wait_for_room() -> None:
    """An item of Earth Search takes 76 kB, its scene 3."""
    page = a_page(items("a", "b", "c"))
    left = []

    async def fetch(*_: Any, **__: Any) -> Any:
        return page

    async def on_scene(scene: Scene) -> None:
        left.append((scene.id, len(page["features"])))

    search = run_search(
        WIDE,
        EARTH_SEARCH,
        fetch,
        max_scene_cloud=100,
        newest_only=False,
        on_scene=on_scene,
        on_notice=print,
    )
    assert asyncio.run(search).complete
    assert left == [("a", 0), ("b", 0), ("c", 0)]


def test_errors_of_our_own_are_not_swallowed() -> None:
    async def full(_: Scene) -> None:
        raise RuntimeError("bug")

    search = run_search(
        WIDE,
        EARTH_SEARCH,
        Script([a_page(items("a"))]),
        max_scene_cloud=100,
        newest_only=False,
        on_scene=full,
        on_notice=print,
    )
    with pytest.raises(RuntimeError, match="bug"):
        asyncio.run(search)


LOADED_BESIDE_OTHERS = """
import importlib.abc, sys, warnings
from s2async.catalog import search

if {expected}:
    search.expect_load()
before = warnings.filters[:]

class Restore(importlib.abc.MetaPathFinder):
    # what rasterio.features.rasterize does in another thread when it ends: the filters of its beginning return
    def find_spec(self, name, path, target=None):
        if name == "urllib3.contrib.socks":
            warnings.filters[:] = before
            warnings.filterwarnings("default", message="nothing")  # tells the interpreter that filters changed

sys.meta_path.insert(0, Restore())
sys.modules["socks"] = None  # as where PySocks is not installed
search.load()
"""


@pytest.mark.parametrize("expected", [True, False])
def test_loading_in_a_thread_prints_nothing_whatever_other_threads_do_to_the_filters(expected: bool) -> None:
    script = LOADED_BESIDE_OTHERS.format(expected=expected)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ("SOCKS" in done.stderr) is not expected
