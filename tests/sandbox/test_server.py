from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil
import pystac_client
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from s2async.errors import LocalError
from s2async.sandbox.server.answers import Asked, Slice, pieces
from s2async.sandbox.server.api import LAMBDA_LIMIT, api_answer
from s2async.sandbox.server.files import Unsatisfiable, byte_range
from s2async.sandbox.server.journal import Journal
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.server.stac import Catalog, compact

TCI = "cogs/33/U/UU/2022/6/A/TCI.tif"
CONTENT = bytes(range(256)) * 4096
COUNT = 25


def item(number: int) -> dict[str, Any]:
    identity = f"S2A_33UUU_{number:03}"
    footprint = shapely.box(13, 52, 14, 53)
    here = f"{{origin}}/v1/collections/sentinel-2-l2a/items/{identity}"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": identity,
        "collection": "sentinel-2-l2a",
        # Two at a time share a moment.
        "properties": {"datetime": f"2022-06-{1 + number // 2:02}T10:00:00.000000Z", "eo:cloud_cover": number},
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "links": [{"rel": "self", "type": "application/geo+json", "href": here}],
        "assets": {"visual": {"href": f"{{origin}}/{TCI}", "title": "True colour " * 20}},
    }


def write_world(folder: Path, count: int = COUNT) -> Path:
    (folder / TCI).parent.mkdir(parents=True)
    (folder / TCI).write_bytes(CONTENT)
    (folder / "cogs" / "empty.tif").touch()
    (folder / "cogs" / "out.tif").symlink_to(folder.parent / "secret")
    (folder.parent / "secret").write_text("secret")
    (folder / "items.jsonl").write_text("".join(compact(item(n)) + "\n" for n in range(count)))
    (folder / "world.json").write_text(json.dumps({"format": 1, "key": "test", "items": count}))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("sandbox") / "world")


@pytest.fixture(scope="module")
def shared(world: Path) -> Iterator[Sandbox]:
    with start(world) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.clear_faults()
    shared.reset()
    return shared


class Got:
    """What came over one connection of its own, path and body as they are on the wire."""

    def __init__(
        self,
        sandbox: Sandbox,
        path: str,
        method: str = "GET",
        body: Any = None,
        timeout: float = 10,
        **headers: str,
    ) -> None:
        connection = http.client.HTTPConnection(sandbox.origin.removeprefix("http://"), timeout=timeout)
        try:
            data = None if body is None else json.dumps(body)
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=data, headers=names)
            response = connection.getresponse()
            self.status = response.status
            self.headers = response.headers
            self.cut = False
            try:
                self.body = response.read()
            except http.client.IncompleteRead as error:
                self.body, self.cut = error.partial, True
        finally:
            connection.close()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


# ---- files --------------------------------------------------------------------------------------------

SIZE = len(CONTENT)


@pytest.mark.parametrize(
    ("header", "start_at", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-299", 100, 200),
        (f"bytes=1000-{SIZE + 5}", 1000, SIZE - 1000),
        ("bytes=5-", 5, SIZE - 5),
        ("bytes=-7", SIZE - 7, 7),
        (f"bytes=-{SIZE + 1}", 0, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, 1),
    ],
)
def test_a_range_gives_exactly_its_bytes(sandbox: Sandbox, header: str, start_at: int, length: int) -> None:
    got = Got(sandbox, f"/{TCI}", Range=header)
    assert got.status == 206
    assert got.body == CONTENT[start_at : start_at + length]
    assert got.headers["Content-Range"] == f"bytes {start_at}-{start_at + length - 1}/{SIZE}"
    assert got.headers["Content-Length"] == str(length)
    (entry,) = sandbox.log()
    assert (entry.range, entry.status, entry.bytes) == (header, 206, length)


@pytest.mark.parametrize(
    "header", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=-0", "bytes=99999999999999999999-"]
)
def test_a_range_behind_the_end_is_refused(sandbox: Sandbox, header: str) -> None:
    got = Got(sandbox, f"/{TCI}", Range=header)
    assert (got.status, got.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
    assert b"<Code>InvalidRange</Code>" in got.body
    assert sandbox.log()[0].bytes == len(got.body)


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=9-3", "bytes=-", "bytes=a-b", "items=0-1", "0-1"])
def test_what_is_not_one_range_of_bytes_gives_the_whole_file(sandbox: Sandbox, header: str) -> None:
    got = Got(sandbox, f"/{TCI}", Range=header)
    assert got.status == 200
    assert got.body == CONTENT
    assert "Content-Range" not in got.headers


def test_any_range_of_an_empty_file_is_refused(sandbox: Sandbox) -> None:
    assert Got(sandbox, "/cogs/empty.tif", Range="bytes=0-0").status == 416
    assert Got(sandbox, "/cogs/empty.tif").body == b""


@given(st.integers(0, 50), st.none() | st.integers(0, 60), st.none() | st.integers(0, 60))
def test_ranges_are_python_slices(size: int, first: int | None, last: int | None) -> None:
    data = bytes(range(size))
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None:
        expected = None if last is None else data[max(size - last, 0) :]
    elif last is not None and last < first:
        expected = None
    else:
        expected = data[first : None if last is None else last + 1]
    if expected == b"":
        with pytest.raises(Unsatisfiable):
            byte_range(header, size)
        return
    span = byte_range(header, size)
    assert (span if span is None else data[span[0] : span[0] + span[1]]) == expected


@given(
    data=st.binary(max_size=200), start_at=st.integers(0, 200), length=st.integers(0, 250), size=st.integers(1, 90)
)
def test_pieces_are_the_bytes_in_order(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start_at: int, length: int, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces"
    path.write_bytes(data)
    parts = list(pieces(Slice(path=path, start=start_at, length=length), size))
    assert b"".join(parts) == data[start_at : start_at + length]
    assert all(0 < len(part) <= size for part in parts)
    assert b"".join(pieces(data, size)) == data


def test_head_has_the_headers_of_get_and_no_body(sandbox: Sandbox) -> None:
    head, whole = Got(sandbox, f"/{TCI}", "HEAD"), Got(sandbox, f"/{TCI}")
    for name in ("ETag", "Last-Modified", "Accept-Ranges", "Content-Length", "Content-Type"):
        assert head.headers[name] == whole.headers[name]
    assert head.headers["Content-Type"] == "image/tiff"
    assert head.headers["Accept-Ranges"] == "bytes"
    assert head.body == b""
    assert [entry.bytes for entry in sandbox.log()] == [0, SIZE]


def test_conditions_on_the_etag(sandbox: Sandbox) -> None:
    etag = Got(sandbox, f"/{TCI}", "HEAD").headers["ETag"]
    assert etag.startswith('"')
    assert etag.endswith('"')
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Match=etag).status == 206
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Match="*").status == 206
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Match=f'"other", {etag}').status == 206
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Match=f"W/{etag}").status == 412
    changed = Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Match='"other"')
    assert changed.status == 412
    assert b"<Code>PreconditionFailed</Code>" in changed.body
    assert sandbox.log()[-1].headers["If-Match"] == '"other"'
    same = Got(sandbox, f"/{TCI}", If_None_Match=etag)
    assert (same.status, same.body) == (304, b"")
    assert Got(sandbox, f"/{TCI}", If_None_Match='"other"').status == 200
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Range='"other"').body == CONTENT
    assert len(Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Range=etag).body) == 10


def test_conditions_on_the_time_of_the_last_change(sandbox: Sandbox) -> None:
    got = Got(sandbox, f"/{TCI}", "HEAD")
    modified, etag = got.headers["Last-Modified"], got.headers["ETag"]
    before = "Sat, 01 Jan 2000 00:00:00 GMT"
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Unmodified_Since=modified).status == 206
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Unmodified_Since="soon").status == 206
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Unmodified_Since=before).status == 412
    assert Got(sandbox, f"/{TCI}", Range="bytes=0-9", If_Unmodified_Since=before, If_Match=etag).status == 206


def test_a_file_written_anew_has_another_etag(sandbox: Sandbox) -> None:
    path = sandbox.folder / "cogs" / "changing.tif"
    path.write_bytes(b"before")
    before = Got(sandbox, "/cogs/changing.tif").headers["ETag"]
    assert Got(sandbox, "/cogs/changing.tif").headers["ETag"] == before
    path.write_bytes(b"after!")
    os.utime(path, ns=(0, 10**18))
    assert Got(sandbox, "/cogs/changing.tif", If_Match=before).status == 412


@pytest.mark.parametrize(
    "path",
    [
        "/cogs/33/none.tif",
        "/cogs/33",
        "/cogs/",
        "/cogs/../world.json",
        "/cogs/%2e%2e/world.json",
        "/cogs/..%2fworld.json",
        "/cogs/33/../../../secret",
        "/cogs/out.tif",
        "/cogs//empty.tif",
        "/cogs/empty.tif%00",
        "/cogs/" + "a" * 300,
        "/items.jsonl",
        "/",
    ],
)
def test_nothing_but_files_of_the_world(sandbox: Sandbox, path: str) -> None:
    got = Got(sandbox, path)
    assert got.status == 404
    assert got.headers["Content-Type"] == "application/xml"
    assert b"<Code>NoSuchKey</Code>" in got.body
    assert Got(sandbox, path, "HEAD").body == b""


def test_files_cannot_be_written(sandbox: Sandbox) -> None:
    assert Got(sandbox, f"/{TCI}", "PUT", body={}).status == 405


# ---- the API ------------------------------------------------------------------------------------------


def test_the_documents_of_the_api(sandbox: Sandbox) -> None:
    landing = Got(sandbox, "/v1").json
    assert landing["links"][0]["href"] == sandbox.api
    assert Got(sandbox, "/v1/conformance").json == {"conformsTo": landing["conformsTo"]}
    assert [document["id"] for document in Got(sandbox, "/v1/collections").json["collections"]] == [
        "sentinel-2-l2a"
    ]
    collection = Got(sandbox, "/v1/collections/sentinel-2-l2a").json
    assert collection["links"][0]["href"] == f"{sandbox.api}/collections/sentinel-2-l2a"
    found = Got(sandbox, "/v1/collections/sentinel-2-l2a/items/S2A_33UUU_007")
    assert found.json == json.loads(compact(item(7)).replace("{origin}", sandbox.origin))
    assert found.headers["Content-Type"] == "application/geo+json; charset=utf-8"
    for link in landing["links"]:
        path = link["href"].removeprefix(sandbox.origin)
        assert Got(sandbox, path, link.get("method", "GET"), body={}).status == 200


@pytest.mark.parametrize("path", ["/v1/collections/foo", "/v1/collections/sentinel-2-l2a/items/x", "/v1/nothing"])
def test_an_unknown_thing_of_the_api_is_refused_as_recorded(real_data: Path, sandbox: Sandbox, path: str) -> None:
    recorded = json.loads(
        (real_data / "stac/exchanges/v1-landing-and-404-collection/02.response.json").read_text()
    )
    got = Got(sandbox, path)
    assert (got.status, got.json) == (404, recorded)
    assert (len(got.body), got.headers["Content-Type"]) == (45, "application/json; charset=utf-8")


@pytest.mark.parametrize(
    "body", [[], {"limit": 0}, {"bbox": [1, 2, 3, 4], "intersects": {"type": "Point", "coordinates": [1, 2]}}]
)
def test_a_bad_search_is_refused(sandbox: Sandbox, body: Any) -> None:
    got = Got(sandbox, "/v1/search", "POST", body=body)
    assert (got.status, got.json["code"]) == (400, "BadRequest")
    assert got.json["description"]


def test_a_search_is_compressed_for_those_who_take_it_and_logged_as_it_went(sandbox: Sandbox) -> None:
    plain = Got(sandbox, "/v1/search", "POST", body={"limit": 20})
    packed = Got(sandbox, "/v1/search", "POST", body={"limit": 20}, Accept_Encoding="gzip, deflate")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert "Content-Encoding" not in plain.headers
    empty = Got(sandbox, "/v1/search", "POST", body={"ids": ["x"]}, Accept_Encoding="gzip")
    assert "Content-Encoding" not in empty.headers
    assert empty.json["links"] == [{"rel": "root", "type": "application/json", "href": sandbox.api}]
    assert [entry.bytes for entry in sandbox.log()] == [len(plain.body), len(packed.body), len(empty.body)]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pystac_client_pages_through(sandbox: Sandbox, method: str) -> None:
    client = pystac_client.Client.open(sandbox.api)
    search = client.search(
        method=method,
        collections=["sentinel-2-l2a"],
        intersects={"type": "Point", "coordinates": [13.5, 52.5]},
        datetime="2022-06-01/2022-06-30",
        query={"eo:cloud_cover": {"lt": 24}},
        limit=5,
        max_items=None,
    )
    found = [found.id for found in search.items()]
    assert found == [f"S2A_33UUU_{n:03}" for n in reversed(range(24))]
    assert search.matched() == 24
    collection = client.get_collection("sentinel-2-l2a")
    assert collection is not None
    assert len(list(collection.get_items())) == COUNT


def test_the_items_of_a_collection_are_paged_too(sandbox: Sandbox) -> None:
    path, found = "/v1/collections/sentinel-2-l2a/items?limit=10", []
    while path:
        page = Got(sandbox, path).json
        found += [feature["id"] for feature in page["features"]]
        path = next(
            (link["href"].removeprefix(sandbox.origin) for link in page["links"] if link["rel"] == "next"), ""
        )
    assert len(set(found)) == len(found) == COUNT
    assert Got(sandbox, "/v1/collections/none/items").status == 404


def test_an_answer_that_lambda_could_not_give_is_a_502() -> None:
    big = [compact({**item(n), "assets": {"x": {"title": "x" * 1_000_000}}}) for n in range(7)]
    catalog = Catalog(big, "http://x/v1")
    for limit, status in ((6, 200), (7, 502)):
        body = json.dumps({"limit": limit}).encode()
        answer = api_answer(catalog, Asked(method="POST", path="/v1/search", headers={}, body=body))
        assert answer.status == status
        assert len(answer.body) <= LAMBDA_LIMIT
    assert answer.body == b'{"message":"Internal server error"}'


# ---- the log ------------------------------------------------------------------------------------------


def test_the_log_tells_every_request_with_the_bytes_that_came(sandbox: Sandbox) -> None:
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/{TCI}", {"Range": "bytes=0-16383", "User-Agent": "a test"}),
        ("GET", f"/{TCI}", {"Range": f"bytes=1000-{1000 + 777_777 - 1}"}),
        ("GET", "/cogs/none.tif", {}),
        ("HEAD", f"/{TCI}", {}),
        ("GET", "/v1/collections/none", {}),
        ("GET", "/stray", {}),
    ]
    got = [Got(sandbox, path, method, **headers) for method, path, headers in asked]
    log = sandbox.log()
    assert [(e.method, e.path, e.range, e.status, e.bytes, e.done) for e in log] == [
        (method, path, headers.get("Range", ""), answer.status, len(answer.body), True)
        for (method, path, headers), answer in zip(asked, got, strict=True)
    ]
    assert log[0].headers == {"User-Agent": "a test"}
    assert [e.n for e in log] == list(range(log[0].n, log[0].n + 6))
    times = [e.time for e in log]
    assert times == sorted(times)
    assert sandbox.log(since=log[3].n) == log[4:]
    totals = sandbox.totals()
    assert (totals["cogs"].requests, totals["cogs"].bytes) == (4, sum(len(a.body) for a in got[:4]))
    assert (totals["search"].requests, totals["search"].bytes) == (1, len(got[4].body))
    assert (totals["other"].requests, totals["all"].requests, totals["all"].in_flight) == (1, 6, 0)
    sandbox.reset()
    assert sandbox.log() == []
    assert sandbox.totals()["all"].requests == 0


def test_the_log_is_exact_as_soon_as_the_client_has_its_answer(sandbox: Sandbox) -> None:
    def read(number: int) -> int:
        size = 1000 + number * 37_000
        got = Got(sandbox, f"/{TCI}", Range=f"bytes={number}-{number + size - 1}")
        assert got.body == CONTENT[number : number + size]
        return size

    for _ in range(5):
        sandbox.reset()
        with ThreadPoolExecutor(4) as pool:
            sizes = sum(pool.map(read, range(20)))
        totals = sandbox.totals()["cogs"]
        assert (totals.requests, totals.bytes, totals.in_flight) == (20, sizes, 0)
        assert totals.max_in_flight <= 4


def test_the_log_forgets_the_oldest_but_the_sums_do_not() -> None:
    journal = Journal(kept=3)
    for number in range(5):
        entry = journal.begin("GET", f"/cogs/{number}", {})
        journal.wrote(entry, 10)
        journal.end(entry)
    assert [entry.path for entry in journal.since(0)] == ["/cogs/2", "/cogs/3", "/cogs/4"]
    assert [entry.path for entry in journal.since(4)] == ["/cogs/4"]
    assert [entry.path for entry in journal.since(9)] == []
    assert journal.totals()["cogs"] == {"requests": 5, "bytes": 50, "in_flight": 0, "max_in_flight": 1}


def test_a_reset_while_a_request_is_open() -> None:
    journal = Journal()
    old = journal.begin("GET", "/v1/search", {})
    journal.reset()
    journal.wrote(old, 10)
    assert journal.totals()["search"] == {"requests": 0, "bytes": 0, "in_flight": 1, "max_in_flight": 1}
    journal.end(old)
    journal.end(old)
    assert journal.totals()["all"]["in_flight"] == 0


# ---- faults, delay, bandwidth -------------------------------------------------------------------------


def test_a_status_for_the_first_requests_that_fit(sandbox: Sandbox) -> None:
    sandbox.fault("code", path=r"TCI\.tif$", count=2, status=503, retry_after=1.5)
    assert Got(sandbox, "/cogs/empty.tif").status == 200
    slow = Got(sandbox, f"/{TCI}")
    assert (slow.status, slow.headers["Retry-After"]) == (503, "1.5")
    assert b"<Code>SlowDown</Code>" in slow.body
    assert [Got(sandbox, f"/{TCI}").status for _ in range(3)] == [503, 200, 200]
    assert [entry.status for entry in sandbox.log()] == [200, 503, 503, 200, 200]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"message": "Forbidden"}),
        (429, {"message": "Too Many Requests"}),
        (500, {"code": "InternalServerError", "description": "Internal Server Error"}),
        (502, {"message": "Internal server error"}),
    ],
)
def test_a_status_of_the_api_in_its_own_words(sandbox: Sandbox, status: int, body: dict[str, str]) -> None:
    sandbox.fault("code", path="^/v1/search", count=None, status=status)
    for _ in range(3):
        got = Got(sandbox, "/v1/search", "POST", body={})
        assert (got.status, got.json) == (status, body)
    sandbox.clear_faults()
    assert Got(sandbox, "/v1/search", "POST", body={}).status == 200


@pytest.mark.parametrize(
    ("settings", "arrives"), [({}, SIZE // 2), ({"after": 700_001}, 700_001), ({"after": 0}, 0)]
)
def test_a_body_that_is_cut(sandbox: Sandbox, settings: dict[str, Any], arrives: int) -> None:
    sandbox.fault("cut", path="TCI", **settings)
    got = Got(sandbox, f"/{TCI}")
    assert got.cut
    assert got.headers["Content-Length"] == str(SIZE)
    assert got.body == CONTENT[:arrives]
    assert [(entry.status, entry.bytes, entry.done) for entry in sandbox.log()] == [(200, arrives, True)]
    assert not Got(sandbox, f"/{TCI}").cut


def test_an_answer_that_never_comes(sandbox: Sandbox) -> None:
    sandbox.fault("stall")
    with pytest.raises(TimeoutError):
        Got(sandbox, f"/{TCI}", timeout=0.2)
    assert len(Got(sandbox, f"/{TCI}").body) == SIZE
    stalled = sandbox.log()[0]
    assert (stalled.status, stalled.bytes, stalled.done) == (None, 0, True)
    assert sandbox.totals()["all"].in_flight == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "nonsense"},
        {"kind": "cut", "speed": 3},
        {"kind": "code", "status": 99},
        {"kind": "stall", "path": "("},
    ],
)
def test_a_fault_that_there_is_not(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    with pytest.raises(HTTPError, match="400"):
        sandbox.fault(**fault)


def test_requests_over_a_slow_link_are_under_way_together(world: Path) -> None:
    with start(world, delay=300, bandwidth=8) as slow, ThreadPoolExecutor(4) as pool:
        assert Got(slow, "/cogs/empty.tif").status == 200
        sizes = [
            len(got.body) for got in pool.map(lambda _: Got(slow, f"/{TCI}", Range="bytes=0-99999"), range(4))
        ]
        assert sizes == [100_000] * 4
        assert slow.totals()["cogs"].max_in_flight == 4


# ---- the process --------------------------------------------------------------------------------------


def test_the_server_listens_on_loopback_only_and_ends_with_the_block(world: Path) -> None:
    with start(world) as sandbox:
        process = psutil.Process(sandbox.pid)
        listening = [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert [address.ip for address in listening] == ["127.0.0.1"]
        assert sandbox.origin == f"http://127.0.0.1:{listening[0].port}"
    assert not process.is_running()


def test_a_second_server_gives_the_same_etags(sandbox: Sandbox, world: Path) -> None:
    with start(world) as other:
        assert Got(other, f"/{TCI}", "HEAD").headers["ETag"] == Got(sandbox, f"/{TCI}", "HEAD").headers["ETag"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly_even_with_a_request_open(world: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "s2async.sandbox.server.serving", "--folder", str(world)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        greeting = json.loads(process.stdout.readline())
        assert greeting["pid"] == process.pid
        assert greeting["api"] == greeting["origin"] + "/v1"
        sandbox = Sandbox(origin=greeting["origin"], api=greeting["api"], pid=process.pid, folder=world)
        sandbox.fault("stall")
        host, port = sandbox.origin.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as open_request:
            open_request.sendall(f"GET /{TCI} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while not sandbox.totals()["cogs"].in_flight:
                time.sleep(0.01)
            process.send_signal(number)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_nothing_is_left_when_the_parent_is_killed(world: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from s2async.sandbox.server.process import start\n"
        "with start(pathlib.Path(sys.argv[1])) as sandbox:\n"
        "    print(sandbox.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(world)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    server.wait(timeout=10)


@pytest.mark.slow
def test_a_folder_without_a_world_is_one_clear_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(LocalError, match=r"the sandbox did not start: no sandbox world in .*world\.json"),
        start(tmp_path),
    ):
        pass
    (tmp_path / "world.json").write_text('{"format": 2}')
    with pytest.raises(LocalError, match="has format 2, not 1: make it anew"), start(tmp_path):
        pass
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_one_clear_line(sandbox: Sandbox, world: Path) -> None:
    port = int(sandbox.origin.rpartition(":")[2])
    with (
        pytest.raises(LocalError, match=f"cannot listen on 127.0.0.1:{port}: .*; choose another"),
        start(world, port=port),
    ):
        pass


def test_a_server_that_stops_by_itself_does_not_hang_the_block(world: Path) -> None:
    with start(world) as sandbox:
        server = psutil.Process(sandbox.pid)
        server.kill()
    assert not server.is_running()
