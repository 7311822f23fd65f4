"""Requests and their answers: ranges of files, JSON of APIs, and what goes wrong with either."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys

import pytest

import s2async
from s2async.errors import (
    AccessDenied,
    BadAnswer,
    FileChanged,
    NotFound,
    RemoteError,
    TooSlow,
    TransientError,
    WrongKind,
)
from s2async.models import Traffic, Use
from s2async.net import client as transport_module
from s2async.net.client import Piece, Transport
from s2async.net.editions import Edition
from s2async.net.retries import Retries
from s2async.net.settings import ClientSettings
from tests.support.fault_server import FaultServer
from tests.support.transports import ATTEMPTS, CONTENT, NEVER, asker, counted, outcome, reader, run

pytestmark = pytest.mark.usefixtures("clean_environment")

STATUSES = (408, 425, 429, 500, 502, 503, 504)
BROKEN = ("stall", "stall-body", "cut", "reset", "close", "thin")


# ---- reading parts of files -------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "size"), [(0, 1), (0, 8192), (777, 50_000), (len(CONTENT) - 1, 1)])
def test_a_part_of_a_file(server: FaultServer, name: str, start: int, size: int) -> None:
    piece, transport = run(server, reader(server.url("well", 0, name), start, size, stage="tiles", asset="scl"))
    assert piece.data == CONTENT[start : start + size]
    assert piece.edition.size == len(CONTENT)
    assert transport.meter.drain() == [
        Traffic(stage="tiles", asset="scl", use=Use.USEFUL, requests=1, bytes=len(piece.data))
    ]
    assert server.totals() == (1, len(piece.data)) == (transport.meter.requests, transport.meter.bytes)


def test_a_part_ends_with_the_file_and_nothing_lies_beyond(server: FaultServer, name: str) -> None:
    url = server.url("well", 0, name)
    assert run(server, reader(url, len(CONTENT) - 10, 100))[0].data == CONTENT[-10:]
    with pytest.raises(BadAnswer, match="416 '<Error>InvalidRange</Error>'"):
        run(server, reader(url, len(CONTENT), 1))


def test_what_a_request_says_and_does_not_say(
    server: FaultServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = server.folder / "netrc"
    netrc.write_text("default login canary password canary\nmachine 127.0.0.1 login canary password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    async def work(transport: Transport) -> None:
        await transport.json("GET", server.url("well", 0, "cookie.json"))
        weak = Edition(size=len(CONTENT), etag='W/"weak"')
        await transport.read(server.url("well", 0, name), 0, 10, edition=weak)

    with pytest.raises(FileChanged):  # the server's ETag is another one, which only we can tell
        run(server, work)
    asked, read = (entry["headers"] for entry in server.log)
    assert read["range"] == "bytes=0-9"
    assert read["accept-encoding"] == "identity"
    assert asked["accept-encoding"] == "gzip"
    assert read["user-agent"] == asked["user-agent"] == f"s2async/{s2async.__version__}"
    assert not {"if-match", "cookie", "authorization", "referer"} & {*asked, *read}
    assert "canary" not in json.dumps(server.log)


def test_a_file_that_was_replaced_is_told_from_its_old_version(server: FaultServer) -> None:
    url = server.url("well", 0, "swap.bin")
    (server.folder / "swap.bin").write_bytes(b"old" * 1000)
    old = run(server, reader(url, 0, 10))[0]
    assert run(server, reader(url, 10, 10, edition=old.edition))[0].edition == old.edition
    assert server.log[-1]["headers"]["if-match"] == old.edition.etag
    (server.folder / "swap.bin").write_bytes(b"newer" * 1000)
    with pytest.raises(FileChanged, match=r"changed while it was read: .*swap\.bin"):
        run(server, reader(url, 10, 10, edition=old.edition))
    assert [entry["status"] for entry in server.log] == [206, 206, 412]


# ---- answers that are errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (410, NotFound), (412, FileChanged)],
)
def test_final_answers_are_not_asked_for_again(server: FaultServer, status: int, kind: type[RemoteError]) -> None:
    with pytest.raises(kind, match=str(status) if status != 412 else "changed"):
        run(server, reader(server.url("code", -1, "final.bin", status=status)))
    assert server.totals()[0] == 1


@pytest.mark.parametrize("status", STATUSES)
def test_a_transient_answer_is_asked_for_again_and_every_byte_is_booked(
    server: FaultServer, name: str, status: int
) -> None:
    piece, transport = run(server, reader(server.url("code", 2, name, status=status), 5, 100))
    assert piece.data == CONTENT[5:105]
    sorry = len(b"<b>sorry</b>")
    assert server.totals() == (3, 2 * sorry + 100) == (transport.meter.requests, transport.meter.bytes)
    assert counted(transport.meter) == {"retried": (2, 2 * sorry), "useful": (1, 100)}


def test_what_stays_transient_is_given_up(server: FaultServer) -> None:
    with pytest.raises(TransientError, match="the server answers 503") as caught:
        run(server, reader(server.url("code", -1, "busy.bin", status=503)))
    assert caught.value.status == 503
    assert server.totals()[0] == ATTEMPTS


def test_a_transient_answer_with_a_long_body_stays_transient(server: FaultServer, name: str) -> None:
    piece, transport = run(server, reader(server.url("code", 1, name, status=503, size=5_000_000)))
    assert piece.data == CONTENT[:1000]
    assert transport.meter.requests == 2
    assert transport.meter.bytes < 1_000_000  # the long body was not read to its end


@pytest.mark.parametrize("mode", BROKEN)
def test_a_broken_connection_is_healed_by_another_try(server: FaultServer, name: str, mode: str) -> None:
    piece, transport = run(
        server, reader(server.url(mode, 1, name), 0, 90_000), idle_timeout=1, total_timeout=NEVER
    )
    assert piece.data == CONTENT[:90_000]
    requests, sent = server.totals()
    assert requests == 2
    assert 1 <= transport.meter.requests <= requests
    assert 90_000 <= transport.meter.bytes <= sent
    assert counted(transport.meter)["useful"] == (1, 90_000)


@pytest.mark.parametrize("mode", BROKEN)
def test_a_connection_that_always_breaks_is_given_up(server: FaultServer, name: str, mode: str) -> None:
    work = reader(server.url(mode, -1, name), 0, 90_000)

    async def count(transport: Transport) -> tuple[object, int, int]:
        return await outcome(work(transport)), transport.meter.requests, transport.meter.bytes

    (error, requests, size), transport = run(server, count, idle_timeout=0.5, total_timeout=NEVER)
    assert isinstance(error, TransientError)
    assert name in str(error)
    # aiohttp asks once more by itself where a connection ends before the answer begins
    assert requests <= server.totals()[0] == ATTEMPTS * (2 if mode == "close" else 1)
    assert size <= server.totals()[1]
    assert set(counted(transport.meter)) <= {"retried"}


def test_a_drip_ends_with_the_total_time(server: FaultServer, name: str) -> None:
    with pytest.raises(TransientError, match="timed out"):
        run(server, reader(server.url("drip", -1, name)), idle_timeout=NEVER, total_timeout=0.5, attempts=2)
    assert server.totals()[0] == 2


@pytest.mark.parametrize(
    ("mode", "kind", "text"),
    [
        ("shifted", BadAnswer, "asked for bytes 8-107, got 16-115"),
        ("short", BadAnswer, "asked for bytes 8-107, got 8-99"),
        ("fat", BadAnswer, "a body of more than 100 bytes"),
        ("rangeless", BadAnswer, "no usable Content-Range"),
        ("packed", BadAnswer, "a compressed range"),
        ("html", WrongKind, "expected part of a file, got text/html"),
        ("whole", BadAnswer, "does not serve ranges, it sends the whole file"),
    ],
)
def test_answers_that_are_not_what_was_asked_for(
    server: FaultServer, name: str, mode: str, kind: type[RemoteError], text: str
) -> None:
    work = reader(server.url(mode, -1, name), 8, 100)

    async def count(transport: Transport) -> tuple[object, int]:
        return await outcome(work(transport)), transport.meter.bytes

    (error, size), _ = run(server, count)
    assert type(error) is kind
    assert text in str(error)
    requests, sent = server.totals()
    assert requests == 2, "once more, and no more than that where nothing says that it serves ranges"
    assert size <= sent < 64 << 20  # of 1 GiB, where the whole file was on its way
    assert size < 1000, "nothing of a whole file is read"


def test_a_server_that_is_not_there(server: FaultServer) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(TransientError, match=r"cannot connect \(.*refused.*\): http://127"):
            run(server, reader(f"{origin}/x.tif?sig=canary"), origins=[origin])


@pytest.mark.skipif(sys.platform != "linux", reason="a full queue of connections is silent on Linux only")
def test_a_server_that_does_not_even_accept(server: FaultServer) -> None:
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):
            knock = waiting.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex(deaf.getsockname())
        origin = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        limits = {"connect_timeout": 0.4, "idle_timeout": NEVER, "total_timeout": NEVER}
        with pytest.raises(TransientError, match="timed out"):
            run(server, reader(f"{origin}/x.tif"), origins=[origin], attempts=2, **limits)


def test_a_transport_works_inside_its_block_only(server: FaultServer, name: str) -> None:
    url = server.url("well", 0, name)
    _, transport = run(server, reader(url))
    with pytest.raises(RuntimeError, match="outside its 'async with'"):
        asyncio.run(transport.read(url, 0, 1))


# ---- odd answers ------------------------------------------------------------------------------------------

ODD = ("shifted", "short", "fat", "rangeless", "packed", "html", "whole", "multi")


@pytest.mark.parametrize("mode", ODD)
def test_one_odd_answer_is_asked_for_once_more_and_fresh(server: FaultServer, name: str, mode: str) -> None:
    piece, transport = run(server, reader(server.url(mode, 1, name), 8, 100), attempts=2)
    assert piece.data == CONTENT[8:108]
    once, again = server.log
    assert again["peer"] != once["peer"], "over a connection of its own"
    assert again["headers"]["cache-control"] == "no-cache"
    assert "cache-control" not in once["headers"]
    assert counted(transport.meter)["useful"] == (1, 100)


@pytest.mark.parametrize("status", [400, 401, 403, 204, 304, 405, 416, 451])
def test_one_odd_status_is_asked_for_once_more_and_may_pass(server: FaultServer, name: str, status: int) -> None:
    assert run(server, reader(server.url("code", 1, name, status=status), 8, 100))[0].data == CONTENT[8:108]
    with pytest.raises(RemoteError, match=str(status)) as caught:
        run(server, reader(server.url("code", -1, name, status=status), 8, 100))
    assert isinstance(caught.value, AccessDenied | BadAnswer)
    assert isinstance(caught.value, AccessDenied if status in (401, 403) else BadAnswer)
    assert len(server.log) == 2 + 2, "no more than once, whatever the tries"


@pytest.mark.parametrize("status", [400, 416])
def test_what_is_asked_for_once_more_has_no_conditions(server: FaultServer, name: str, status: int) -> None:
    async def work(transport: Transport) -> Piece:
        etag = (await transport.read(server.url("well", 0, name), 0, 10)).edition
        return await transport.read(server.url("code", 1, name, status=status), 8, 100, edition=etag)

    assert run(server, work)[0].data == CONTENT[8:108]
    _, once, again = (entry["headers"] for entry in server.log)
    assert "if-match" in once
    assert "if-match" not in again


def test_a_file_that_was_replaced_is_noticed_without_conditions_too(server: FaultServer, name: str) -> None:
    another = Edition(size=len(CONTENT), etag='"another"')
    with pytest.raises(FileChanged):
        run(server, reader(server.url("code", 1, name, status=400), 8, 100, edition=another))
    assert len(server.log) == 2


def test_a_server_that_ignores_ranges_now_and_then_loses_nothing(server: FaultServer, name: str) -> None:
    """Also where it does so again as it is asked once more: it is known to serve ranges."""

    async def work(transport: Transport) -> list[bytes | bytearray]:
        await transport.read(server.url("well", 0, name), 0, 10)
        urls = [server.url("whole", n % 4, name, n=n) for n in range(12)]
        # the counter of the server goes by path: one after the other
        return [(await transport.read(url.replace(name, f"{n}-{name}"), 5, 50)).data for n, url in enumerate(urls)]

    for n in range(12):
        (server.folder / f"{n}-{name}").write_bytes(CONTENT)
    found, transport = run(server, work, attempts=5)
    assert found == [CONTENT[5:55]] * 12
    assert transport.meter.bytes == 10 + 12 * 50


def test_odd_answers_park_nobody_and_cost_nothing(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> Piece:
        urls = [server.url("code", -1, name, status=400 + n % 2, n=n, delay=0.02) for n in range(60)]
        urls += [server.url("html", -1, name, n=n, delay=0.02) for n in range(60)]
        ended = await asyncio.gather(*(outcome(transport.read(url, 0, 100)) for url in urls))
        assert {type(end) for end in ended} == {AccessDenied, BadAnswer, WrongKind}
        return await transport.read(server.url("well", 0, name), 0, 100)

    assert run(server, work)[0].data == CONTENT[:100]
    assert len(server.log) == 2 * 120 + 1


# ---- slow answers -----------------------------------------------------------------------------------------


def test_a_few_bytes_a_second_are_not_waited_for(
    server: FaultServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "SPAN", 0.5)

    async def work(transport: Transport) -> list[object]:
        urls = [server.url("drip", -1, f"slow{n}.bin", n=n) for n in range(20)]
        return list(await asyncio.gather(*(outcome(transport.read(url, 0, 1000)) for url in urls)))

    for n in range(20):
        (server.folder / f"slow{n}.bin").write_bytes(CONTENT)
    ended, transport = run(server, work, attempts=2, total_timeout=NEVER)
    assert {type(end) for end in ended} == {TooSlow}
    assert "less than 100 bytes per second" in str(ended[0])
    log = sorted(server.log, key=lambda entry: entry["time"])
    assert len(log) == 40
    # the server notices late who is gone
    assert 8 <= max(entry["in_flight"] for entry in log[20:]) <= 16, "it is not asked for less at once"
    assert 0 < transport.meter.bytes <= server.totals()[1]


def test_a_slow_answer_that_is_faster_the_next_time_costs_a_moment(
    server: FaultServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "SPAN", 0.5)
    assert run(server, reader(server.url("drip", 1, name)))[0].data == CONTENT[:1000]
    assert len(server.log) == 2


# ---- APIs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"plain": 1}])
def test_json_is_asked_for_and_counted_as_it_came(server: FaultServer, more: dict[str, int]) -> None:
    url = server.url("well", 0, "search.json", **more)
    found, transport = run(
        server, lambda transport: transport.json("POST", url, {"bbox": [13.0, 52.0], "ü": None})
    )
    assert found["method"] == "POST"
    assert json.loads(found["body"]) == {"bbox": [13.0, 52.0], "ü": None}
    assert server.log[0]["headers"]["content-type"] == "application/json"
    requests, sent = server.totals()
    assert transport.meter.drain() == [Traffic(stage="search", asset="", use=Use.USEFUL, requests=1, bytes=sent)]
    assert requests == 1
    assert (sent < 500) == (not more)


def test_403_of_an_api_is_asked_for_again_and_again_and_401_once(server: FaultServer) -> None:
    assert run(server, asker(server.url("code", 2, "throttled.json", status=403)))[0]["method"] == "GET"
    with pytest.raises(AccessDenied, match="401"):
        run(server, asker(server.url("code", -1, "locked.json", status=401)))
    assert server.totals()[0] == 3 + 2, "but once"


def test_statuses_that_the_caller_handles_are_his(server: FaultServer) -> None:
    with pytest.raises(TransientError) as caught:
        run(server, asker(server.url("code", -1, "large.json", status=502), final=frozenset({502})))
    assert caught.value.status == 502
    assert server.totals()[0] == 1


@pytest.mark.parametrize(
    ("body", "more", "kind", "tries", "text"),
    [
        (b'{"features": [', {}, TransientError, ATTEMPTS, "not JSON at byte 14 of 14"),
        (b"\x1f\x8b\x08\x00cut", {"encoding": "gzip"}, TransientError, ATTEMPTS, "a (damaged )?gzip body"),
        (b"<html>Sign in", {"kind": "text/html"}, WrongKind, 2, "expected JSON, got text/html '<html>Sign in'"),
        (b"{}", {"status": 206}, BadAnswer, 2, "the server answers 206"),
        (b'{"detail": "no"}', {"status": 400}, BadAnswer, 2, 'the server answers 400 \'{"detail": "no"}\''),
        (b"[" * 20_000, {}, BadAnswer, 1, "nested too deeply"),
    ],
)
def test_json_that_is_none(
    server: FaultServer, body: bytes, more: dict[str, object], kind: type[RemoteError], tries: int, text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        run(server, asker(server.url("body", -1, "bad.json", hex=body.hex(), **more)))
    assert type(caught.value) is kind
    assert server.totals()[0] == tries


@pytest.mark.parametrize("mode", ["bomb", "endless"])
def test_json_without_end_is_refused(server: FaultServer, mode: str) -> None:
    with pytest.raises(BadAnswer, match="more than 67,108,864 bytes"):
        run(server, asker(server.url(mode, -1, "large.json")), idle_timeout=20, total_timeout=20)
    assert server.totals()[0] == 1


# ---- small parts ------------------------------------------------------------------------------------------


def test_the_tries_of_a_search_always_outlast_an_interruption_of_some_seconds() -> None:
    origin = "http://127.0.0.1:9"

    async def servers() -> tuple[Retries, Retries]:
        async with transport_module.open_client(ClientSettings(origins=(origin,))) as transport:
            return transport._apis[origin].retries, transport._files[origin].retries

    api, files = asyncio.run(servers())
    spans = [sum(map(api.wait, range(1, api.attempts))) for _ in range(1000)]
    assert api.attempts == 5
    assert 3.75 <= min(spans) < max(spans) <= 7.5
    assert min(map(files.wait, [1] * 1000)) < 0.25, "requests for files are spread from the start"


@pytest.mark.parametrize(("parts", "each"), [(1, 64), (2, 64), (32, 32), (4096, 1)])
def test_clients_that_share_connections_send_no_more_than_alone(parts: int, each: int) -> None:
    async def work() -> list[int]:
        async with Transport(origins=["http://127.0.0.1:9"], connections=64) as transport:
            transport.share(parts, 1024)
            return [server.gate.window.most for server in transport._files.values()]

    assert asyncio.run(work()) == [each]
