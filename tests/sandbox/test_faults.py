"""The sandbox's faults: which requests they meet, what goes out, and what the forbidden origin sees."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from s2async.sandbox.faults.api import IDS
from s2async.sandbox.faults.faults import FAULTS, FaultTable
from s2async.sandbox.server.answers import GEOJSON, Answer, Asked, Slice, content, json_answer
from s2async.sandbox.server.process import Sandbox, start
from tests.support import worlds

FILE = "/cogs/a/SCL.tif"
DATA = bytes(range(256)) * 8
SIZE = len(DATA)


def part(path: Path, first: int, last: int) -> tuple[Asked, Answer]:
    """A request for part of a file, and its sound answer."""
    path.write_bytes(DATA)
    asked = Asked(method="GET", path=FILE, headers={"Range": f"bytes={first}-{last}"})
    headers = {"Content-Range": f"bytes {first}-{last}/{SIZE}", "ETag": '"a"', "Content-Type": "image/tiff"}
    return asked, Answer(status=206, headers=headers, body=Slice(path=path, start=first, length=last - first + 1))


def page(names: list[str], token: str | None = None, *, packed: bool = False) -> tuple[Asked, Answer]:
    """A request for a page, and its sound answer: items of one day each, and a next link."""
    sent: dict[str, Any] = {"datetime": "2022-01-01/2022-02-01", "limit": 100, "collections": ["c"]}
    body = sent if token is None else {**sent, "next": token}
    items = [
        {
            "id": name,
            "collection": "c",
            "properties": {"datetime": f"2022-01-{day:02}T00:00:00Z", "eo:cloud_cover": 1},
            "assets": {"scl": {"href": "http://h/scl.tif"}},
            "geometry": {"type": "Point", "coordinates": [0, 0]},
            "bbox": [0, 0, 0, 0],
        }
        for day, name in enumerate(names, start=1)
    ]
    link = {"rel": "next", "method": "POST", "href": "http://h/v1/search", "body": {**sent, "next": "further"}}
    document = {
        "type": "FeatureCollection",
        "features": items,
        "numberMatched": 9,
        "numberReturned": len(items),
        "context": {"matched": 9},
        "links": [link, {"rel": "root", "href": "http://h/v1"}],
    }
    asked = Asked(method="POST", path="/v1/search", headers={}, body=json.dumps(body).encode())
    answer = json_answer(document, media_type=GEOJSON)
    if packed:
        headers = {**answer.headers, "Content-Encoding": "gzip"}
        answer = Answer(status=200, headers=headers, body=gzip.compress(content(answer.body)))
    return asked, answer


def spoilt(asked: Asked, answer: Answer, kind: str, **settings: Any) -> Answer:
    return FAULTS[kind](**settings)(asked, answer)


def document(answer: Answer) -> Any:
    return json.loads(content(answer.body))


# ---- the table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("position", "met"),
    [
        ("", [True] * 4),
        ("page", [False, False, True, True]),
        ("first", [False, False, True, False]),
        ("later", [False, False, False, True]),
        ("header", [True, False, False, False]),
        ("tile", [False, True, False, False]),
    ],
)
def test_a_position_is_a_kind_of_request(tmp_path: Path, position: str, met: list[bool]) -> None:
    table = FaultTable()
    table.add("code", position=position, count=None)
    requests = [part(tmp_path / "f", 0, 99), part(tmp_path / "f", 100, 199), page(["a"]), page(["b"], "token")]
    assert [table.spoil(*request).status == 503 for request in requests] == met
    assert table.listing()[0]["met"] == sum(met)


def test_each_file_and_each_search_has_its_own_count(tmp_path: Path) -> None:
    table = FaultTable()
    table.add("code", count=2, each=True)
    asked, answer = part(tmp_path / "f", 0, 9)
    other = Asked(method="GET", path="/cogs/b/SCL.tif", headers=asked.headers)
    again = Asked(method="POST", path="/v1/search", headers={}, body=b'{"datetime": "2023"}')
    for one in (asked, other, page(["a"])[0], again):
        assert [table.spoil(one, answer).status for _ in range(4)] == [503, 503, 206, 206]
    assert table.listing()[0]["met"] == 8


def test_each_range_has_its_own_count(tmp_path: Path) -> None:
    table = FaultTable()
    table.add("code", each=True, by_range=True)
    one, other = part(tmp_path / "f", 0, 9), part(tmp_path / "f", 10, 19)
    first, second = page(["a"]), page(["b"], "token")
    for request in (one, other, first, second):
        statuses = [table.spoil(*request).status for _ in range(2)]
        assert statuses == [503, request[1].status]


def test_a_fault_begins_after_some_requests(tmp_path: Path) -> None:
    table = FaultTable()
    table.add("code", skip=2)
    request = part(tmp_path / "f", 0, 9)
    assert [table.spoil(*request).status for _ in range(4)] == [206, 206, 503, 206]


def test_a_fault_lasts_from_the_first_request_that_it_meets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = FaultTable()
    table.add("code", seconds=1.0, count=None)

    def status_at(moment: float) -> int:
        monkeypatch.setattr("time.monotonic", lambda: moment)
        return table.spoil(*part(tmp_path / "f", 0, 9)).status

    found = [status_at(moment) for moment in (105.0, 105.9, 106.1, 200.0)]
    assert found == [503, 503, 206, 206]


def test_a_file_that_was_replaced_stays_so_from_its_header_on(tmp_path: Path) -> None:
    table = FaultTable()
    table.add("code", position="tile", count=None, each=True, onwards=True)
    header, tile = part(tmp_path / "f", 0, 9), part(tmp_path / "f", 10, 19)
    assert [table.spoil(*request).status for request in (header, tile, header)] == [206, 503, 503]
    other = Asked(method="GET", path="/cogs/b/SCL.tif", headers=header[0].headers)
    assert table.spoil(other, header[1]).status == 206


def test_a_way_of_the_server_touches_faults_too(tmp_path: Path) -> None:
    table = FaultTable()
    table.add("always", name="ETag", count=None)
    table.add("hole")
    for _ in range(2):
        answer = table.spoil(*part(tmp_path / "f", 0, 9))
        assert (answer.status, answer.headers.get("ETag")) == (206, None)
    assert [rule["met"] for rule in table.listing()] == [2, 1]


def test_a_server_of_small_pages_can_fail_as_well() -> None:
    table = FaultTable()
    table.add("pages", size=1, count=None)
    table.add("code", position="later")
    first = document(table.spoil(*page(["a", "b"])))
    assert [item["id"] for item in first["features"]] == ["a"]
    assert first["links"][0]["body"]["next"] == "2022-01-01T00:00:00Z,a,c"
    assert table.spoil(*page(["b"], "token")).status == 503
    assert table.spoil(*page(["b"], "token")).status == 200


@pytest.mark.parametrize(
    "wrong", [{"position": "middle"}, {"kind": "next", "how": "up"}, {"kind": "item", "how": "id:none"}]
)
def test_what_the_table_does_not_know_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"middle|up|none"):
        FaultTable().add(**{"kind": "code", **wrong})


# ---- answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"), [(7, "7"), (1.5, "1.5"), (-5, "-5"), (1e9, "1000000000"), ("soon", "soon"), (0, "0")]
)
def test_retry_after_says_what_it_is_told(tmp_path: Path, given: float | str, sent: str) -> None:
    answer = spoilt(*part(tmp_path / "f", 0, 9), "code", status=429, retry_after=given)
    assert (answer.status, answer.headers["Retry-After"]) == (429, sent)


def test_retry_after_as_a_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1e9)
    date = parsedate_to_datetime(spoilt(*part(tmp_path / "f", 0, 9), "code", date=60).headers["Retry-After"])
    assert date.timestamp() == 1e9 + 60


def test_so_many_requests_a_second_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    fault = FAULTS["limited"](rate=10, burst=2, status=429)
    request = part(tmp_path / "f", 0, 9)
    assert [fault(*request).status for _ in range(3)] == [206, 206, 429]
    now = 100.15
    assert [fault(*request).status for _ in range(2)] == [206, 429]


def test_statuses_without_a_body_have_none(tmp_path: Path) -> None:
    for status in (204, 304):
        answer = spoilt(*part(tmp_path / "f", 0, 9), "code", status=status)
        assert (answer.status, content(answer.body)) == (status, b"")


def test_answers_to_another_question(tmp_path: Path) -> None:
    request = part(tmp_path / "f", 100, 199)
    disguised = spoilt(*request, "html", disguised=True)
    assert (disguised.status, disguised.headers, len(disguised.body)) == (206, request[1].headers, 100)
    assert content(disguised.body).startswith(b"<!DOCTYPE html>")
    packed = spoilt(*request, "packed")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(content(packed.body)) == DATA[100:200]
    parts = spoilt(*request, "multipart")
    assert "Content-Range" not in parts.headers
    assert parts.headers["Content-Type"].startswith("multipart/byteranges")
    assert f"bytes 100-199/{SIZE}\r\n\r\n".encode() + DATA[100:200] in content(parts.body)


@pytest.mark.parametrize(
    ("settings", "lost"),
    [({}, range(66, 100)), ({"at": 0.25, "size": 10}, range(25, 35)), ({"at": 0.99, "size": 50}, range(99, 100))],
)
def test_a_hole_has_its_place_and_size(tmp_path: Path, settings: dict[str, Any], lost: range) -> None:
    request = part(tmp_path / "f", 101, 200)
    answer = spoilt(*request, "hole", **settings)
    right = [0 if index in lost else byte for index, byte in enumerate(DATA[101:201])]
    assert (answer.status, answer.headers, list(content(answer.body))) == (206, request[1].headers, right)
    anything = content(spoilt(*request, "hole", **settings, zeros=False).body)
    differing = [index for index, byte in enumerate(DATA[101:201]) if anything[index] != byte]
    assert differing
    assert set(differing) <= set(lost)


@pytest.mark.parametrize("heeds", [True, False])
def test_another_edition_is_the_file_of_another_folder(tmp_path: Path, heeds: bool) -> None:
    later = tmp_path / "later" / "cogs" / "a"
    later.mkdir(parents=True)
    (later / "SCL.tif").write_bytes(bytes(500))
    asked, answer = part(tmp_path / "f", 100, 199)
    found = spoilt(asked, answer, "edition", folder=str(tmp_path / "later"))
    assert (found.headers["Content-Range"], content(found.body)) == ("bytes 100-199/500", bytes(100))
    asked = replace(asked, headers={**asked.headers, "If-Unmodified-Since": "Sat, 01 Jan 2022 00:00:00 GMT"})
    found = spoilt(asked, answer, "edition", folder=str(tmp_path / "later"), heeds=heeds)
    assert found.status == (412 if heeds else 206)


def test_ranges_that_are_not_what_was_asked_for(tmp_path: Path) -> None:
    request = part(tmp_path / "f", 100, 199)
    short = spoilt(*request, "short", by=8)
    assert (short.headers["Content-Range"], content(short.body)) == (f"bytes 100-191/{SIZE}", DATA[100:192])
    honest, lying = (spoilt(*request, "shift", by=8, honest=told) for told in (True, False))
    assert content(honest.body) == content(lying.body) == DATA[108:208]
    assert honest.headers["Content-Range"] == f"bytes 108-207/{SIZE}"
    assert lying.headers["Content-Range"] == f"bytes 100-199/{SIZE}"
    whole = spoilt(*request, "norange")
    assert (whole.status, content(whole.body)) == (200, DATA)
    assert "Content-Range" not in whole.headers
    ends = spoilt(*request, "truncated", share=150 / SIZE)
    assert (ends.headers["Content-Range"], content(ends.body)) == ("bytes 100-149/150", DATA[100:150])
    assert spoilt(*request, "truncated", share=50 / SIZE).status == 416


@pytest.mark.parametrize("seed", range(5))
def test_flips_and_noise_follow_from_their_seed(tmp_path: Path, seed: int) -> None:
    request = part(tmp_path / "f", 100, 199)
    one, same = (content(spoilt(*request, "flip", seed=seed).body) for _ in range(2))
    assert one == same
    turned = [a ^ b for a, b in zip(one, DATA[100:200], strict=True) if a != b]
    assert len(turned) == 1
    assert turned[0].bit_count() == 1
    noise = content(spoilt(*request, "noise", seed=seed).body)
    assert len(noise) == 100
    assert noise != DATA[100:200]


def test_another_version_has_another_etag_and_other_pixels(tmp_path: Path) -> None:
    header, tile = part(tmp_path / "f", 0, 99), part(tmp_path / "f", 100, 199)
    assert content(spoilt(*header, "swap").body) == DATA[:100]
    assert content(spoilt(*tile, "swap").body) != DATA[100:200]
    assert spoilt(*tile, "swap").headers["ETag"] == spoilt(*header, "swap").headers["ETag"] != '"a"'


def test_an_entry_of_a_header_says_something_else(tmp_path: Path) -> None:
    head = struct.pack("<2sHIHHHIIHHII", b"II", 42, 8, 2, 256, 3, 1, 512, 257, 3, 1, 512) + bytes(4)
    asked, answer = part(tmp_path / "f", 0, len(head) - 1)
    (tmp_path / "f").write_bytes(head)
    found = content(spoilt(asked, answer, "tag", number=257, value=2**31).body)
    assert found == head[:-16] + struct.pack("<HHII", 257, 4, 1, 2**31) + bytes(4)
    poked = content(spoilt(asked, answer, "poke", at=4, data="ffff").body)
    assert poked == head[:4] + b"\xff\xff" + head[6:]


# ---- pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_links_that_lead_astray(packed: bool) -> None:
    request = page(["a"], "mine", packed=packed)

    def link(how: str, **settings: Any) -> Any:
        links = document(spoilt(*request, "next", how=how, **settings))["links"]
        return next((link for link in links if link["rel"] == "next"), None)

    assert link("same")["body"]["next"] == "mine"
    assert "next" not in link("back")["body"]
    assert (link("retoken")["body"]["next"], link("retoken")["body"]["cursor"]) == ("mine", 1)
    assert link("lost") is None
    assert link("elsewhere", to="file:///x")["href"] == "file:///x"
    assert link("merge")["body"] == {"next": "further"}
    assert link("get")["method"] == "GET"
    assert "next=further" in link("get")["href"]


def test_searches_by_post_alone_are_refused() -> None:
    asked, answer = page(["a"], "mine")
    by_post = replace(asked, method="POST")
    assert spoilt(by_post, answer, "no_post", status=501).status == 501
    assert spoilt(replace(asked, method="GET"), answer, "no_post") == answer


def test_pages_without_items_without_end_and_with_too_many() -> None:
    request = page(["a", "b"], "mine")
    empty = document(spoilt(*request, "empty"))
    assert (empty["features"], empty["links"][0]["body"]["next"]) == ([], "mine")
    endless = document(spoilt(*request, "endless"))
    assert [item["id"] for item in endless["features"]] == ["a_1", "b_1"]
    assert endless["links"][0]["body"]["page"] == 1
    assert [item["id"] for item in document(spoilt(*request, "duplicates", times=2))["features"]] == [*"aabb"]
    shifted = document(spoilt(*request, "shifted"))
    assert [item["id"] for item in shifted["features"]] == ["b"]
    assert shifted["links"][0]["body"]["next"].split(",")[1] == "b"
    assert document(spoilt(*request, "matched", number="many"))["numberMatched"] == "many"
    assert document(spoilt(*request, "matched", factor=1.3))["numberMatched"] == 12


def test_odd_items() -> None:
    def item(how: str, **settings: Any) -> Any:
        return document(spoilt(*page(["a"]), "item", how=how, **settings))["features"][0]

    assert item("no_asset")["assets"] == {}
    assert item("no_href")["assets"] == {"scl": {}}
    assert item("href", to="file:///etc/passwd")["assets"]["scl"]["href"] == "file:///etc/passwd"
    assert item("null_geometry")["geometry"] is None
    assert item("cloud:text")["properties"]["eo:cloud_cover"] == "many"
    assert item("no_object") == "a"
    for name, identity in IDS.items():
        assert item(f"id:{name}")["id"] == identity


def test_a_bomb_is_small_and_unpacks_to_much() -> None:
    bomb = spoilt(*page(["a"]), "bomb", size=3_000_000)
    assert len(bomb.body) < 5000
    assert len(gzip.decompress(content(bomb.body))) == 3_000_000


# ---- the server -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    world = worlds.World(tmp_path_factory.mktemp("world"), [worlds.day(0)])
    with start(world.folder, forbidden=True) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.clear_faults()
    return shared


SCL = "/cogs/S2A_33UUU_20220101_0_L2A/SCL.tif"


def spoken(origin: str, *, wait: float = 2.0, path: str = SCL) -> tuple[bytes, str]:
    """What comes over a connection after one request, and how it ends: closed, reset or open.

    The first bytes may take long, on a busy machine; after any others it is open when nothing comes for ``wait``.
    """
    place = urlsplit(origin)
    got = b""
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99\r\n\r\n".encode())
        try:
            while more := connection.recv(1 << 16):
                got += more
                connection.settimeout(wait)
        except TimeoutError:
            return got, "open"
        except ConnectionResetError:
            return got, "reset"
    return got, "closed"


def test_connections_end_as_they_are_told(sandbox: Sandbox) -> None:
    sandbox.fault("close")
    assert spoken(sandbox.origin) == (b"", "closed")
    sandbox.fault("close", rudely=True)
    assert spoken(sandbox.origin) == (b"", "reset")
    sandbox.fault("reset")
    assert spoken(sandbox.origin)[1] == "reset"
    sandbox.fault("stall", after=10)
    got, end = spoken(sandbox.origin, wait=0.3)
    assert (len(got.partition(b"\r\n\r\n")[2]), end) == (10, "open")
    sandbox.fault("drip", rate=100)
    got, end = spoken(sandbox.origin, wait=0.7)
    assert len(got.partition(b"\r\n\r\n")[2]) == 100


@pytest.mark.parametrize("status", [204, 304])
def test_a_connection_goes_on_after_an_answer_without_a_body(sandbox: Sandbox, status: int) -> None:
    sandbox.fault("code", status=status)
    got, end = spoken(sandbox.origin, wait=0.3)
    assert got.startswith(f"HTTP/1.1 {status}".encode())
    assert got.endswith(b"\r\n\r\n")
    assert end == "open"


def test_whoever_asks_the_forbidden_origin_is_noted(sandbox: Sandbox) -> None:
    assert sandbox.intrusions() == (0, [])
    place = urlsplit(sandbox.forbidden)
    socket.create_connection((place.hostname or "", place.port or 0)).close()
    request = Request(sandbox.forbidden + SCL, headers={"X-Api-Key": "secret"})
    with build_opener(ProxyHandler({})).open(request) as answer:
        assert answer.status == 200
    connections, requests = sandbox.intrusions()
    assert connections == 2
    assert [(entry.method, entry.path) for entry in requests] == [("GET", SCL)]
    assert requests[0].headers["X-Api-Key"] == "secret"
    assert not [entry for entry in sandbox.log() if entry.path == SCL and not entry.range]


def test_a_fault_in_words_that_the_server_does_not_know(sandbox: Sandbox) -> None:
    with pytest.raises(HTTPError, match="400"):
        sandbox.fault("code", position="middle")
    sandbox.fault("code", position="tile")
    assert sandbox.faults() == [{"kind": "code", "path": "", "position": "tile", "left": 1, "met": 0}]
