"""How a catalogue is asked: by GET where it refuses POST, and at its own origin whatever its links say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pystac_client import ItemSearch

from s2async.catalog.pages import Asker, Request, as_get
from s2async.config.model import Config
from s2async.errors import BadAnswer, RemoteError
from tests.support import worlds
from tests.support.shell import Shell
from tests.support.worlds import Stage

URL = "https://host.org/v1/search"
AREA = {"type": "Polygon", "coordinates": [[[13.1, 52.4], [13.2, 52.4], [13.2, 52.5], [13.1, 52.4]]]}
BODY = {
    "collections": ["a", "b"],
    "datetime": "2022-01-01T00:00:00Z/2022-04-01T00:00:00Z",
    "intersects": AREA,
    "limit": 100,
    "query": {"eo:cloud_cover": {"lt": 20}},
}


def test_a_search_by_get_has_the_parameters_of_pystac_client() -> None:
    more: dict[str, Any] = {"collections": ["a", "b"], "intersects": AREA, "limit": 100, "query": BODY["query"]}
    expected = ItemSearch(URL, method="GET", datetime=str(BODY["datetime"]), **more).get_parameters()
    method, url, body = as_get(Request("POST", URL, BODY))
    assert (method, body) == ("GET", None)
    found = {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}
    assert found == {name: str(value) for name, value in expected.items()}
    assert json.loads(found["intersects"]) == AREA


def test_a_search_by_get_keeps_what_the_url_asks_for() -> None:
    assert as_get(Request("POST", f"{URL}?token=x", {"limit": 5})).url == f"{URL}?token=x&limit=5"
    assert as_get(Request("POST", f"{URL}?token=x", None)).url == f"{URL}?token=x"
    assert as_get(Request("POST", URL, {"ids": ["a", "b"], "next": None})).url == f"{URL}?ids=a%2Cb"


class Server:
    """Answers GET with a page, and POST with an error or a page."""

    def __init__(self, *posts: BadAnswer | None, link: Mapping[str, Any] | None = None) -> None:
        self.posts = [*posts]
        self.asked: list[str] = []
        self.page = {"type": "FeatureCollection", "features": [], "links": [{"rel": "next"} | dict(link or {})]}

    async def __call__(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, *, final: frozenset[int] = frozenset()
    ) -> Any:
        self.asked.append(method)
        error = self.posts.pop(0) if method == "POST" and self.posts else None
        if error:
            raise error
        return self.page


def refused(status: int) -> BadAnswer:
    return BadAnswer(f"the server answers {status}", status=status)


@pytest.mark.parametrize("status", [405, 501])
def test_where_post_is_refused_get_is_used_from_then_on(status: int) -> None:
    server, told = Server(refused(status)), list[str]()
    ask = Asker(server, told.append)

    async def work() -> None:
        for _ in range(3):
            assert await ask("POST", URL, BODY) == server.page

    asyncio.run(work())
    assert server.asked == ["POST", "GET", "GET", "GET"]
    assert told == [f"the catalogue refuses searches by POST ({status}): GET is used"]


def test_an_api_that_answered_a_post_is_not_taken_for_one_without() -> None:
    server, told = Server(None, refused(405)), list[str]()
    ask = Asker(server, told.append)

    async def work() -> None:
        await ask("POST", URL, BODY)
        with pytest.raises(RemoteError, match="405"):
            await ask("POST", URL, BODY)

    asyncio.run(work())
    assert server.asked == ["POST", "POST"]
    assert told == []


def test_other_refusals_are_not_answered_by_get() -> None:
    server = Server(refused(400))
    with pytest.raises(RemoteError, match="400"):
        asyncio.run(Asker(server, print)("POST", URL, BODY))
    assert server.asked == ["POST"]


@pytest.mark.parametrize(
    ("href", "named"),
    [
        ("http://host.org/v1/search?token=secret", "http://host.org"),
        ("http://stac-api:8080/search", "http://stac-api:8080"),
        ("https://HOST.org:443/v1/search", ""),
        ("search?page=2", ""),
        ("file:///etc/passwd", ""),
    ],
)
def test_links_to_another_origin_are_told_once(href: str, named: str) -> None:
    told = list[str]()
    ask = Asker(Server(link={"href": href}), told.append)

    async def work() -> None:
        for _ in range(3):
            await ask("POST", URL, BODY)

    asyncio.run(work())
    assert len(told) == bool(named)
    assert all(f"name {named};" in text and "https://host.org" in text and "secret" not in text for text in told)


# ---- whole runs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in (1, 2, 3, 4)])


def methods(stage: Stage) -> list[str]:
    return [entry.method for entry in stage.sandbox.log() if entry.kind == "search"]


@pytest.mark.parametrize("status", [405, 501])
def test_a_run_over_a_catalogue_without_post(tmp_path: Path, stage: Stage, s2: Shell, status: int) -> None:
    calm = worlds.write_config(tmp_path, stage.sandbox, name="calm")
    assert s2("run", calm).code == 0
    stage.sandbox.reset()
    stage.sandbox.fault("no_post", path="/search", status=status, count=None)
    stage.sandbox.fault("pages", size=1, count=None)
    path = worlds.write_config(tmp_path, stage.sandbox)
    ended = s2("run", path)
    asked = methods(stage)
    plan = s2("plan", path)
    stage.sandbox.clear_faults()
    assert (ended.code, plan.code) == (0, 0)
    assert f"refuses searches by POST ({status})" in ended.out + ended.error
    assert worlds.statuses(Config.load(path)) == worlds.statuses(Config.load(calm))
    assert asked == ["POST"] * 2 + ["GET"] * 5, "an odd answer is asked for twice; the last of five pages is empty"


@pytest.mark.parametrize("to", ["http://stac-api:8080/v1/search", "https://127.0.0.1/v1/search"])
def test_a_run_follows_links_that_name_an_inner_host(tmp_path: Path, stage: Stage, s2: Shell, to: str) -> None:
    calm = worlds.write_config(tmp_path, stage.sandbox, name="calm")
    assert s2("run", calm).code == 0
    stage.sandbox.reset()
    stage.sandbox.fault("pages", size=1, count=None)
    stage.sandbox.fault("next", how="elsewhere", to=to, count=None)
    path = worlds.write_config(tmp_path, stage.sandbox)
    ended = s2("run", path)
    asked = methods(stage)
    stage.sandbox.clear_faults()
    assert ended.code == 0
    assert (ended.out + ended.error).count("links to further pages name") == 1
    assert worlds.statuses(Config.load(path)) == worlds.statuses(Config.load(calm))
    assert asked == ["POST"] * 5
