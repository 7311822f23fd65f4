"""Searches: planning, paging, and what becomes of every fault of a STAC server."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import MultiPolygon, box

from s2async.catalog import reprocessing
from s2async.catalog import search as searching
from s2async.catalog.items import to_scene
from s2async.catalog.pages import next_request
from s2async.catalog.providers import KNOWN, Catalog
from s2async.catalog.reprocessing import NewestOnly, are_editions, processing_order
from s2async.catalog.search import (
    LAUNCH,
    USELESS_PAGES,
    Request,
    Search,
    estimates_told,
    first_request,
    plan,
    run_search,
    spans,
)
from s2async.errors import BadAnswer, NotFound, Refused, RemoteError, TransientError
from s2async.events import Estimate, SearchReport
from s2async.models import Scene
from tests.support.examples import examples
from tests.support.items import a_scene, an_area, an_item

EARTH_SEARCH = KNOWN["earth-search"]
SEARCH_URL = f"{EARTH_SEARCH.url}/search"
WIDE = Search(
    label="Tiergarten, 2015/2030",
    key="0" * 16,
    geometry=box(13, 52, 14, 53),
    start=LAUNCH,
    end=datetime(2030, 1, 1, tzinfo=UTC),
)
NOON = datetime(2022, 6, 9, 12, tzinfo=UTC)


# ---- a server that answers what a test says ---------------------------------------------------------------

Answer = Mapping[str, Any] | list[Any] | str | RemoteError | None


@dataclass
class Script:
    """A transport that gives the next answer of a list, or lets a function answer, and keeps what was asked."""

    answers: Sequence[Answer] | Callable[[Request, int], Answer]
    asked: list[Request] = field(default_factory=list)
    finals: list[frozenset[int]] = field(default_factory=list)

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        await asyncio.sleep(0)
        request = Request(method, url, json.loads(json.dumps(body)))
        self.asked.append(request)
        self.finals.append(final)
        count = len(self.asked) - 1
        answer = self.answers(request, count) if callable(self.answers) else self.answers[count]
        if isinstance(answer, RemoteError):
            raise answer
        return copy.deepcopy(answer)  # a search consumes what it gets


@dataclass
class Result:
    report: SearchReport
    scenes: list[Scene]
    notices: list[str]

    @property
    def ids(self) -> list[str]:
        return [scene.id for scene in self.scenes]


def run(
    script: Script,
    catalog: Catalog = EARTH_SEARCH,
    search: Search = WIDE,
    *,
    max_scene_cloud: float = 100,
    newest_only: bool = False,
    limit: int = 100,
    known: Estimate | None = None,
) -> Result:
    scenes: list[Scene] = []
    notices: list[str] = []

    async def on_scene(scene: Scene) -> None:
        await asyncio.sleep(0)
        scenes.append(scene)

    report = asyncio.run(
        run_search(
            search,
            catalog,
            script,
            max_scene_cloud=max_scene_cloud,
            newest_only=newest_only,
            on_scene=on_scene,
            on_notice=notices.append,
            limit=limit,
            known=known,
        )
    )
    assert (report.label, report.key) == (search.label, search.key)
    assert report.complete is not bool(report.reason)
    assert all("\n" not in text for text in [report.reason, *notices])
    return Result(report, scenes, notices)


def items(*names: str, **changes: Any) -> list[dict[str, Any]]:
    return [an_item(id=name, **changes) for name in names]


def a_page(features: Any, following: object = None, **more: Any) -> dict[str, Any]:
    """A page; ``following`` is the next link, or a token for one in Earth Search's shape."""
    if following is not None and not isinstance(following, dict):
        following = {
            "rel": "next",
            "method": "POST",
            "href": SEARCH_URL,
            "merge": False,
            "body": {"next": following},
        }
    links = [{"rel": "root", "href": EARTH_SEARCH.url}] + ([following] if following else [])
    return {"type": "FeatureCollection", "features": features, "links": links} | more


# ---- planning ---------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(datetime(2014, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS, MOMENTS, MOMENTS)
def test_spans_tile_the_period(start: datetime, end: datetime, now: datetime) -> None:
    cuts = spans(start, end, now=now)
    first = max(start, LAUNCH)
    if first >= end or first >= now:
        assert cuts == []
        return
    assert cuts[0][0] == first
    assert all(a[1] == b[0] for a, b in itertools.pairwise(cuts))
    assert all(timedelta(0) < last - first <= timedelta(days=92) for first, last in cuts)
    assert cuts[-1][1] <= end
    assert cuts[-1][1] == end or (cuts[-1][0] < now <= cuts[-1][1])
    assert all(cut[1].month in (1, 4, 7, 10) and cut[1].day == 1 for cut in cuts[:-1])


def test_open_ends() -> None:
    now = datetime(2026, 11, 5, 17, tzinfo=UTC)
    cuts = spans(None, None, now=now)
    assert cuts[0] == (LAUNCH, datetime(2015, 7, 1, tzinfo=UTC))
    assert cuts[-1] == (datetime(2026, 10, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert spans(None, None, now=now + timedelta(days=30)) == cuts  # a later run asks the same
    assert len(cuts) == 47


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


@pytest.mark.parametrize("told", [{"numberMatched": 3}, {"context": {"matched": 3}}])
def test_an_end_that_comes_too_early_is_searched_once_more(told: dict[str, Any]) -> None:
    healed = Script([a_page(items("a", "b"), **told), a_page(items("b", "c"), **told)])
    result = run(healed)
    assert (result.ids, result.report.complete) == (["a", "b", "c"], True)
    assert [request.body["limit"] for request in healed.asked if request.body] == [100, 1], "pages of another size"
    assert result.report.estimate is None

    short = Script([a_page(items("a", "b"), **told), a_page(items("b"), **told)])
    result = run(short)
    assert (result.ids, result.report.complete) == (["a", "b"], False)
    assert result.report.reason == "the server counts 3 items, but gave 2"


@pytest.mark.parametrize(
    "told",
    [{"numberMatched": 1}, {"numberMatched": None}, {"context": None}, {"numberMatched": "9"},
     {"numberMatched": True}, {"numberMatched": 9.5}, {"numberMatched": -1, "context": {"matched": 2}}],
)  # fmt: skip
def test_counts_that_do_not_speak_against_the_end(told: dict[str, Any]) -> None:
    script = Script([a_page(items("a", "b"), **told)])
    assert run(script).report.complete
    assert len(script.asked) == 1


def test_a_null_count_beside_a_context_that_counts() -> None:
    pages = [a_page(items("a", "b"), numberMatched=None, context={"matched": 3}), a_page(items("a", "c"))]
    assert run(Script(pages)).ids == ["a", "b", "c"]


def test_the_count_may_change_between_pages() -> None:
    pages = [a_page(items("a"), 1, numberMatched=3), a_page(items("b"), numberMatched=2)]
    assert run(Script(pages)).report.complete


@dataclass
class Shelf:
    """A catalogue of so many items that counts as it likes, and pages as well as it can."""

    count: int
    matched: Callable[[int], int | None]
    """From the number of the page (from 0) to what it says of the whole; None says nothing."""
    longest: int = 10_000
    """Items of a page, at most, whatever is asked for."""
    lost: bool = False
    """Links to the next page are."""
    skips: bool = False
    """Between two pages an item is passed over, as by a token that is the time of the last one."""
    blind: frozenset[int] = frozenset()
    """Items that are counted but never given."""

    def __call__(self, request: Request, _number: int) -> Answer:
        body = request.body or {}
        start, size, page = body.get("start", 0), min(body["limit"], self.longest), body.get("page", 0)
        end = start + size
        found = items(*(f"i{n}" for n in range(start, min(end, self.count)) if n not in self.blind))
        more = {"start": end + self.skips, "limit": body["limit"], "page": page + 1}
        link = {"rel": "next", "method": "POST", "href": SEARCH_URL, "body": more}
        told = self.matched(page)
        return a_page(
            found,
            link if end < self.count and not self.lost else None,
            **({} if told is None else {"numberMatched": told}),
        )


EXACT = 25
ESTIMATES = {
    "1.3 times as many": Shelf(EXACT, lambda _: 32),
    "one more": Shelf(EXACT, lambda _: EXACT + 1),
    "one more, of one": Shelf(1, lambda _: 2),
    "some, of none": Shelf(0, lambda _: 5),
    "in pages that the server cuts short": Shelf(EXACT, lambda _: 32, longest=7),
    "in pages of one item": Shelf(EXACT, lambda _: 32, longest=1),
    "more on every page": Shelf(EXACT, lambda page: 30 + page, longest=7),
    "on the first page alone": Shelf(EXACT, lambda page: None if page else 32, longest=7),
    "on the last page alone": Shelf(EXACT, lambda page: 32 if page == 3 else None, longest=7),
    "with items that nobody may see": Shelf(EXACT, lambda _: EXACT, blind=frozenset({3, 24})),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_a_count_that_other_pages_do_not_confirm_is_an_estimate(name: str) -> None:
    shelf = ESTIMATES[name]
    script = Script(shelf)
    result = run(script)
    assert sorted(result.ids) == sorted(f"i{n}" for n in range(shelf.count) if n not in shelf.blind)
    assert (result.report.complete, result.report.reason) == (True, "")
    limits = list(dict.fromkeys(request.body["limit"] for request in script.asked if request.body))
    assert len(limits) == 2
    estimate = result.report.estimate
    assert estimate is not None
    assert estimate.counted > result.report.items

    again = Script(shelf)  # another run, which knows it
    known = run(again, known=estimate)
    assert (sorted(known.ids), known.report) == (sorted(result.ids), result.report)
    once = [request for request in script.asked if request.body and request.body["limit"] == 100]
    assert again.asked == once, "no second look"
    assert known.notices == result.notices == [], "a line for all searches, see `estimates_told`"


@pytest.mark.parametrize(
    "shelf",
    [Shelf(EXACT, lambda _: EXACT, longest=10, lost=True), Shelf(EXACT, lambda _: EXACT, longest=2, lost=True),
     Shelf(250, lambda _: 250, lost=True), Shelf(250, lambda page: None if page else 250, lost=True),
     Shelf(EXACT, lambda _: 60, longest=7, skips=True)],
)  # fmt: skip
def test_a_lost_link_shows_in_pages_of_another_size(shelf: Shelf) -> None:
    result = run(Script(shelf))
    assert not result.report.complete
    assert result.report.reason == f"the server counts {shelf.matched(0)} items, but gave {len(result.ids)}"
    assert result.report.estimate is None


def test_what_falls_between_two_pages_does_not_fall_between_others() -> None:
    """A token that is the time of the last item passes over its equals."""
    result = run(Script(Shelf(EXACT, lambda _: EXACT, longest=7, skips=True)))
    assert sorted(result.ids) == sorted(f"i{n}" for n in range(EXACT))
    assert (result.report.complete, result.report.estimate) == (True, None)


def test_an_order_that_changes_brings_the_others_the_second_time() -> None:
    first = [a_page(items("a", "b"), 1, numberMatched=4), a_page(items("b", "c"), numberMatched=4)]
    second = [a_page(items("d", "a"), 2, numberMatched=4), a_page(items("b", "c"), numberMatched=4)]
    result = run(Script([*first, *second]))
    assert (result.ids, result.report.complete, result.report.estimate) == (["a", "b", "c", "d"], True, None)
    third = run(Script([*first, a_page(items("a", "b", "c"), numberMatched=4)]))
    assert (third.report.complete, third.report.estimate is not None) == (True, True)


def test_an_estimate_is_believed_of_the_same_items_and_of_no_larger_count_only() -> None:
    def asked(count: int, matched: int, known: Estimate | None) -> tuple[int, Estimate | None]:
        script = Script(Shelf(count, lambda _: matched))
        result = run(script, known=known)
        assert result.report.complete
        return len(script.asked), result.report.estimate

    requests, found = asked(6, 8, None)
    assert (requests, found and found.counted) == (3, 8)
    assert asked(6, 8, found) == (1, found)
    assert asked(6, 7, found) == (1, found), "it may have been larger"
    requests, larger = asked(6, 9, found)
    assert (requests, larger and larger.counted) == (3, 9)
    requests, other = asked(7, 8, found)
    assert requests == 3
    assert (other and other.ids) != (found and found.ids)
    assert asked(8, 8, found) == (1, None), "exact this time"


def test_what_only_the_first_pages_gave_makes_a_known_estimate_doubtful() -> None:
    known = run(Script(Shelf(3, lambda _: 5))).report.estimate
    first, second = (
        a_page(items("i0", "i1", "i2", "new"), numberMatched=5),
        a_page(items("i0", "i1", "i2"), numberMatched=5),
    )
    result = run(Script([first, second]), known=known)
    assert not result.report.complete
    assert result.ids == ["i0", "i1", "i2", "new"]


def test_a_second_look_that_fails_is_not_taken_for_one() -> None:
    script = Script([a_page(items("a", "b"), numberMatched=3), TransientError("503", status=503)])
    result = run(script)
    assert (result.ids, result.report.complete, result.report.reason) == (["a", "b"], False, "503")


def test_estimates_are_told_in_one_line() -> None:
    reports = [run(Script(Shelf(count, lambda _: 30))).report for count in (6, 30, 7)]
    told = estimates_told(reports)
    assert told.startswith("2 searches: the catalogue counts more items than it gives")
    assert told.endswith(f"(such as {WIDE.label}: 30 counted, 6 given)")
    assert estimates_told(reports[:1]).startswith("a search: ")
    assert estimates_told(reports[1:2]) == ""


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


# ---- scenes that were processed several times ---------------------------------------------------------------

REPROCESSED = {"s2:processing_baseline": "05.10", "s2:generation_time": "2024-01-01T00:00:00Z"}


def test_the_newest_editions_cloud_counts() -> None:
    old = an_item(id="old", properties={"eo:cloud_cover": 5})
    new = an_item(id="new", properties={"eo:cloud_cover": 95} | REPROCESSED)
    assert run(Script([a_page([old, new])]), newest_only=True, max_scene_cloud=80).ids == []
    assert run(Script([a_page([old, new])]), newest_only=False, max_scene_cloud=80).ids == ["old"]
    new["properties"]["eo:cloud_cover"], old["properties"]["eo:cloud_cover"] = 5, 95
    assert run(Script([a_page([old, new])]), newest_only=True, max_scene_cloud=80).ids == ["new"]


def test_a_twin_on_the_next_page_is_waited_for() -> None:
    script = Script([a_page(items("old"), "t"), a_page(items("new", properties=REPROCESSED))])
    assert run(script, newest_only=True).ids == ["new"]


def test_scenes_leave_as_soon_as_their_reprocessings_must_have_come() -> None:
    minutes = [100, 80, 60, 59, 20, 9]
    scenes = [
        a_scene(id=f"{at}", grid=f"{n}", datetime=NOON + timedelta(minutes=at)) for n, at in enumerate(minutes)
    ]
    held = NewestOnly(descending=True)
    assert [[scene.id for scene in held.add(scene)] for scene in scenes] == [
        [], [], [], ["100"], ["80"], ["60", "59"],
    ]  # fmt: skip
    assert [scene.id for scene in held.rest()] == ["20", "9"]
    assert held.rest() == []

    broken = NewestOnly(descending=True)  # out of order once: then nothing leaves before the end
    assert [scene.id for scene in (scenes[3], scenes[0], scenes[4]) for scene in broken.add(scene)] == []
    assert [scene.id for scene in broken.rest()] == ["59", "100", "20"]

    waiting = NewestOnly(descending=False)
    assert all(waiting.add(scene) == [] for scene in scenes)
    assert waiting.rest() == scenes


FOOTPRINTS = (box(12, 52, 14, 53), box(12, 52, 13, 53), box(13, 52, 14, 53), box(12.4, 52, 14, 53))
"""A square, its halves, and a part that overlaps both."""


@st.composite
def editions(draw: st.DrawFn) -> list[Scene]:
    """Scenes of two datatakes, or of none, over two squares: whole or in parts, seconds or minutes apart."""
    count = draw(st.integers(0, 14))
    return [
        a_scene(
            id=f"s{n}",
            platform=draw(st.sampled_from(["sentinel-2a", "sentinel-2b", ""])),
            grid=draw(st.sampled_from(["33UUU", "33UVU"])),
            datetime=NOON
            + timedelta(milliseconds=draw(st.integers(0, 8)) * 500 + draw(st.sampled_from([0, 208_600]))),
            datastrip=draw(st.sampled_from(["S1", "S2", ""])),
            datatake=draw(st.sampled_from(["S2A_20220609T113000", "S2B_20220609T114000", ""])),
            footprint=draw(st.sampled_from([*FOOTPRINTS, None])),
            baseline=draw(st.sampled_from(["02.14", "05.00", "05.10"])),
            assets=draw(st.sampled_from([a_scene().assets, {}])),
        )
        for n in range(count)
    ]


def survivors(scenes: Sequence[Scene]) -> set[str]:
    """The plain rule: those whose footprint is not covered by the better editions together."""

    def counts(scene: Scene) -> bool:
        own = processing_order(scene)
        better = [other for other in scenes if are_editions(scene, other) and processing_order(other) > own]
        if not better or scene.footprint is None or any(other.footprint is None for other in better):
            return not better
        return not shapely.union_all([other.footprint for other in better]).covers(scene.footprint)

    return {scene.id for scene in scenes if counts(scene)}


@given(editions(), st.randoms(use_true_random=False))
@examples(150)
def test_reprocessings_are_resolved_as_the_plain_rule_says(scenes: list[Scene], random: Any) -> None:
    def resolve(stream: Sequence[Scene], *, descending: bool) -> list[str]:
        held = NewestOnly(descending=descending)
        let_go = [scene.id for scene in stream for scene in held.add(scene)]
        let_go += [scene.id for scene in held.rest()]
        assert len(let_go) == len(set(let_go))
        return let_go

    shuffled = random.sample(scenes, len(scenes))
    ordered = sorted(shuffled, key=lambda scene: scene.datetime, reverse=True)
    assert set(resolve(shuffled, descending=False)) == survivors(scenes)
    assert set(resolve(ordered, descending=True)) == survivors(scenes)
    assert set(resolve(shuffled, descending=True)) >= survivors(scenes)  # a broken promise loses nothing


@pytest.mark.slow
def test_reprocessings_scale_to_many_of_one_moment() -> None:
    held = NewestOnly(descending=True)
    for n in range(5000):
        held.add(a_scene(id=f"s{n:04}"))
    assert [scene.id for scene in held.rest()] == ["s4999"]


@pytest.mark.slow
def test_reprocessings_scale_to_many_of_one_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scene is compared with those of its acquisition; comparing it with all took an hour for 100,000."""
    compared: list[Scene] = []

    def counted(scene: Scene, other: Scene) -> bool:
        compared.append(other)
        return are_editions(scene, other)

    monkeypatch.setattr(reprocessing, "are_editions", counted)
    one, named = a_scene(datatake=""), "S2B_20220609T100559"
    scenes = [
        replace(one, id=f"s{n:05}", datetime=NOON - n * timedelta(minutes=41), datatake=named if n % 3 else "")
        for n in range(10_000)
    ]
    held = NewestOnly(descending=True)
    let_go = sum(len(held.add(scene)) for scene in scenes)
    assert let_go + len(held.rest()) == len(scenes)
    assert len(compared) <= 2 * len(scenes)


def test_every_recorded_scene_leaves_once(real_data: Path) -> None:
    path = real_data / "stac" / "items" / "v1-l2a-4-tiles-6-dates.json"
    scenes = [to_scene(item, EARTH_SEARCH) for item in json.loads(path.read_text())["features"]]
    features = json.loads(path.read_text())["features"]
    assert sorted(run(Script([a_page(features)]), newest_only=True).ids) == sorted(scene.id for scene in scenes)
