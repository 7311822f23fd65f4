from __future__ import annotations

import asyncio
import contextlib
import email.utils
import itertools
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

import s2async
from s2async.errors import (
    AccessDenied,
    BadAnswer,
    Diverted,
    FileChanged,
    HostParked,
    NotFound,
    Refused,
    RemoteError,
    TooSlow,
    TransientError,
    WrongKind,
)
from s2async.models import Traffic, Use
from s2async.net import breaker, limiter, retries
from s2async.net import client as transport_module
from s2async.net.client import Meter, Piece, Transport
from s2async.net.connections import BUNDLES
from s2async.net.editions import Edition
from s2async.net.limiter import TURN, Turnstile
from s2async.net.retries import Retries
from s2async.net.sender import MAX_REDIRECTS
from s2async.net.settings import ClientSettings
from tests.support.fault_server import FaultServer
from tests.support.lanes import long

T = TypeVar("T")
ATTEMPTS = 3
NEVER = 3600
"""Seconds beyond the limit of pytest: a test that ends was ended by something else."""
CONTENT = bytes(range(256)) * 400
STATUSES = (408, 425, 429, 500, 502, 503, 504)
BROKEN = ("stall", "stall-body", "cut", "reset", "close", "thin")


@pytest.fixture(autouse=True)
def clean_environment(no_proxies: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def name(server: FaultServer) -> str:
    (server.folder / "data.bin").write_bytes(CONTENT)
    return "data.bin"


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which servers were left alone because they asked for it, as they are asked for."""
    asked: list[float] = []
    plain = Turnstile.pause

    def noted(self: Turnstile, seconds: float) -> None:
        asked.append(seconds)
        plain(self, seconds)

    monkeypatch.setattr(Turnstile, "pause", noted)
    return asked


def run(
    server: FaultServer, work: Callable[[Transport], Coroutine[Any, Any, T]], **settings: Any
) -> tuple[T, Transport]:
    """Do some work with a transport of short patience; the transport for its counts."""
    quick: dict[str, Any] = {
        "origins": [server.origin],
        "connect_timeout": 2,
        "idle_timeout": 5,
        "total_timeout": 20,
        "attempts": ATTEMPTS,
        "wait": lambda number: 0.0,
    }

    async def main() -> tuple[T, Transport]:
        async with Transport(**quick | settings) as transport:
            try:
                return await work(transport), transport
            finally:
                assert transport.in_flight == 0

    return asyncio.run(main())


def reader(
    url: str, start: int = 0, size: int = 1000, **more: Any
) -> Callable[[Transport], Coroutine[Any, Any, Piece]]:
    return lambda transport: transport.read(url, start, size, **more)


def asker(url: str, **more: Any) -> Callable[[Transport], Coroutine[Any, Any, Any]]:
    return lambda transport: transport.json("GET", url, **more)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def outcome(work: Awaitable[object]) -> object:
    """The result of some work, or its error."""
    try:
        return await work
    except RemoteError as error:
        return error


async def gathered(transport: Transport, urls: list[str]) -> None:
    """Read a little of each, all at once."""
    for piece in await asyncio.gather(*(transport.read(url, 0, 100) for url in urls)):
        assert piece.data == CONTENT[:100]


async def in_rounds(server: FaultServer, transport: Transport, urls: list[str]) -> list[int]:
    """Read a little of each; the server answers when it has all requests that may be under way together.

    Args:
        server: it holds the requests back (``held``), whose number thus does not depend on how fast anybody is.
        transport: no one else uses it.
        urls: of one origin.

    Returns:
        How many requests were under way together, before each time the server answered.
    """
    tasks = [asyncio.create_task(transport.read(url, 0, 100)) for url in urls]
    origin, rounds = "/".join(urls[0].split("/")[:3]), list[int]()
    gate = transport._files[origin].gate

    def all_came() -> bool:
        # What has just been sent, and answers that have not been read yet, are under way for the client alone.
        left = sum(not task.done() for task in tasks)
        came: int = server.ask("/__now")
        return came == gate.in_flight == min(gate.window.size, left)

    async with asyncio.timeout(100):
        while True:
            await until(all_came)
            if not gate.in_flight:
                break
            rounds.append(gate.in_flight)
            server.ask("/__release")
    for task in tasks:
        assert (await task).data == CONTENT[:100]
    return rounds


def counted(meter: Meter) -> dict[str, tuple[int, int]]:
    """Requests and bytes by use."""
    sums: dict[str, tuple[int, int]] = {}
    for traffic in meter.drain():
        requests, size = sums.get(traffic.use, (0, 0))
        sums[traffic.use] = requests + traffic.requests, size + traffic.bytes
    return sums


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


# ---- whom we ask ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "text"),
    [
        ("{other}/well/0/data.bin", 'add "{other}" to origins in [network]'),
        ("http://2130706433:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://0x7f.1:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://127.1:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://127.0.0.1.:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://127.0.0%2e1:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://[::ffff:127.0.0.1]:{port}/well/0/data.bin", 'add "http://[::ffff:'),  # the rest is ipaddress's
        ("http://169.254.169.254/latest/meta-data", 'add "http://169.254.169.254"'),
        ("https://127.0.0.1:{port}/well/0/data.bin", "not an allowed origin"),
        ("http://me:canary@127.0.0.1:{port}/well/0/data.bin", "a user name in it"),
        ("http://me@127.0.0.1:{port}/well/0/data.bin", "a user name in it"),
        ("http://:canary@127.0.0.1:{port}/well/0/data.bin", "a user name in it"),
        ("http://127.0.0.1:{port}@evil.test/well/0/data.bin", "a user name in it"),
        ("http://127.0.0.1:{port}\\@evil.test/well/0/data.bin", " URL"),  # to older yarl, a user name
        ("http://127.0.0.1:{port}\r\nX-Evil: 1/", "not a full http(s) URL"),
        ("http://127.0.0.1:99999/", "not a full http(s) URL"),
        ("http://[::1/", "not a full http(s) URL"),
        ("//127.0.0.1:{port}/well/0/data.bin", "not a full http(s) URL"),
        ("/well/0/data.bin", "not a full http(s) URL"),
        ("http:///well/0/data.bin", "not a full http(s) URL"),
        ("file:///etc/passwd", "not a full http(s) URL"),
        ("/vsicurl/http://127.0.0.1:{port}/well/0/data.bin", "not a full http(s) URL"),
        ("", "not a full http(s) URL"),
        ("ftp://127.0.0.1:{port}/well/0/data.bin", "only http and https"),
        ("s3://sentinel-cogs/well/0/data.bin", "only http and https"),
        ("zip+http://127.0.0.1:{port}/well/0/data.bin", "only http and https"),
    ],
)
def test_an_address_that_was_not_allowed_is_not_asked(
    server: FaultServer, name: str, href: str, text: str
) -> None:
    known = {"other": server.other, "port": server.ports["port"]}
    with pytest.raises(Refused) as caught:
        run(server, reader(href.format(**known)))
    assert text.format(**known) in str(caught.value)
    assert "canary" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert server.totals() == (0, 0)


def test_an_address_is_compared_as_it_is_meant(server: FaultServer, name: str) -> None:
    port = server.ports["port"]
    url = f"HTTP://LocalHost:{port}/well/0/{name}"
    assert run(server, reader(url), origins=[f"http://LOCALHOST:{port}/"])[0].data == CONTENT[:1000]
    # allowed, and only then found to be no server: port 1 of a loopback address that nobody uses
    for origin, href in [
        ("http://127.0.0.9:80", "http://127.0.0.9/x"),
        ("http://127.0.0.9", "http://127.0.0.9:80/x"),
    ]:
        error, _ = run(server, lambda transport, href=href: outcome(transport.read(href, 0, 1)), origins=[origin])  # type: ignore[misc]
        assert not isinstance(error, Refused)


# ---- redirects --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_and_its_body_is_counted_but_no_data(
    server: FaultServer, name: str, status: int
) -> None:
    url = server.url("redirect", -1, "moved.bin", status=status, to=f"/well/0/{name}")
    piece, transport = run(server, reader(url, 10, 20))
    assert piece.data == CONTENT[10:30]
    assert server.totals() == (2, len(b"over there") + 20) == (transport.meter.requests, transport.meter.bytes)
    assert [entry["range"] for entry in server.log] == ["bytes=10-29"] * 2


def test_headers_of_an_api_go_to_its_origin_alone(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> None:
        await transport.json("POST", server.url("well", 0, "search.json"), {"limit": 5})
        await transport.json("GET", server.url("redirect", -1, "here", to="/well/0/here.json"))
        there = f"{server.other}/well/0/there.json"
        await transport.json("GET", server.url("redirect", -1, "moved", to=there))
        await transport.json("GET", there)
        await transport.read(server.url("well", 0, name), 0, 10)
        await transport.read(server.url("redirect", -1, "file", to=f"/well/0/{name}"), 0, 10)

    headers = {server.origin: {"X-Api-Key": "canary", "Authorization": "Bearer canary"}}
    run(server, work, origins=[server.origin, server.other], api_headers=headers)
    sent = {entry["path"].rpartition("/")[2]: entry["headers"].get("x-api-key") for entry in server.log}
    assert sent == {
        "search.json": "canary", "here": "canary", "here.json": "canary", "moved": "canary",
        "there.json": None, name: None, "file": None,
    }  # fmt: skip
    for entry in server.log:
        assert ("authorization" in entry["headers"]) == ("x-api-key" in entry["headers"])
        assert (entry["port"] == server.ports["other"]) <= ("x-api-key" not in entry["headers"])


@pytest.mark.parametrize("status", [400, 200, 301])
def test_an_answer_that_repeats_a_header_does_not_tell_it(
    server: FaultServer, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    said = b"key canary-123 is unknown".hex()
    url = server.url("body", -1, "search", status=status, kind="text/plain", hex=said)
    caplog.set_level("DEBUG", "s2async")
    with pytest.raises(RemoteError) as caught:
        run(server, asker(url), api_headers={server.origin: {"x-api-key": "canary-123"}})
    assert server.log[0]["headers"]["x-api-key"] == "canary-123"
    assert "canary" not in str(caught.value)
    assert not any("canary" in str(record.__dict__) for record in caplog.records)


def test_a_post_stays_a_post(server: FaultServer) -> None:
    url = server.url("redirect", -1, "search", status=308, to="/well/0/search.json")
    found, _ = run(server, lambda transport: transport.json("POST", url, {"limit": 5}))
    assert found["method"] == "POST"
    assert json.loads(found["body"]) == {"limit": 5}


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("{other}/well/0/data.bin", "not an allowed origin"),
        ("//localhost:{port}/well/0/data.bin", "not an allowed origin"),
        ("file:///etc/passwd", "not a full http(s) URL"),
        ("http://me:canary@127.0.0.1:{port}/well/0/data.bin", "a user name in it"),
        ("http://[bad", "not a URL"),
        ("http://169.254.169.254/", "not an allowed origin"),
    ],
)
def test_a_redirect_to_elsewhere_is_refused(server: FaultServer, name: str, target: str, text: str) -> None:
    to = target.format(other=server.other, port=server.ports["port"])
    with pytest.raises(Refused) as caught:
        run(server, reader(server.url("redirect", -1, "moved.bin", to=to)))
    assert type(caught.value) is Diverted
    assert text in str(caught.value)
    assert "canary" not in str(caught.value)
    assert [entry["path"] for entry in server.log] == ["/redirect/-1/moved.bin"] * 2, "once more, and nobody else"


@pytest.mark.parametrize("target", ["{other}/well/0/data.bin", "/html/-1/portal.html", "file:///etc/passwd"])
def test_a_redirect_to_a_page_to_sign_in_to_is_asked_for_once_more_and_fresh(
    server: FaultServer, name: str, target: str
) -> None:
    """As somebody on the way answers who wants the user to sign in first, or to sign in again."""
    to = target.format(other=server.other)
    urls = [server.url("redirect", 1, f"{n}-{name}", to=to) for n in range(20)]

    async def work(transport: Transport) -> list[object]:
        pieces = await asyncio.gather(*(transport.read(url, 8, 100) for url in urls))
        found = await transport.json("GET", server.url("redirect", 1, "search.json", to=to))
        return [*(piece.data for piece in pieces), found["method"]]

    for n in range(20):
        (server.folder / f"{n}-{name}").write_bytes(CONTENT)
    assert run(server, work)[0] == [*[CONTENT[8:108]] * 20, "GET"]
    asked = [entry for entry in server.log if entry["path"].startswith("/redirect")]
    assert len(asked) == 2 * 21
    assert sum("cache-control" in entry["headers"] for entry in asked) == 21
    assert not [entry for entry in server.log if entry["port"] == server.ports["other"]]


def test_redirects_in_a_circle_end(server: FaultServer) -> None:
    url = server.url("redirect", -1, "circle.bin", to="/redirect/-1/circle.bin?to=%2Fredirect%2F-1%2Fcircle.bin")
    with pytest.raises((Refused, BadAnswer), match="redirect"):
        run(server, reader(url))
    assert server.totals()[0] <= 2 * (MAX_REDIRECTS + 1)
    chain = "/well/0/data.bin"
    for _ in range(MAX_REDIRECTS + 1):
        chain = server.url("redirect", -1, "chain.bin", to=chain)
    with pytest.raises(BadAnswer, match=f"more than {MAX_REDIRECTS} redirects"):
        run(server, reader(chain))


def test_a_redirect_to_nowhere(server: FaultServer) -> None:
    with pytest.raises(BadAnswer, match="a redirect without a target"):
        run(server, reader(server.url("redirect", -1, "moved.bin")))


# ---- Retry-After ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["0", "-7", "soon", "1.5", "Mon, 01 Jan 2001 00:00:00 GMT"])
def test_a_retry_after_of_nothing_or_nonsense_does_not_delay(
    server: FaultServer, name: str, shut: list[float], after: str
) -> None:
    run(server, reader(server.url("code", 2, name, status=429, after=after)))
    assert shut == []
    assert server.totals()[0] == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_asks_for_patience_gets_it_from_every_task(
    server: FaultServer, name: str, form: str
) -> None:
    # A date has whole seconds. Both clocks are those of this machine: the server's log tells the monotonic one.
    date = math.ceil(time.time()) + 1
    end = time.monotonic() + date - time.time()
    after = "1" if form == "seconds" else email.utils.formatdate(date, usegmt=True)
    busy = server.url("code", 1, name, status=503, after=after)
    slow, *quick = (server.url("well", 0, name, n=n, delay=0 if n else 0.9) for n in range(6))

    async def work(transport: Transport) -> None:
        async with asyncio.TaskGroup() as group:
            for url in [busy, slow, *quick]:  # two at once: most wait for their places when the server complains
                group.create_task(transport.read(url, 0, 10))

    run(server, work, connections=2)
    log = sorted(server.log, key=lambda entry: entry["time"])
    complaint = next(entry["time"] for entry in log if entry["status"] == 503)
    opens = complaint + 1 if form == "seconds" else end
    assert len(log) == 8
    assert sorted(entry["path"] for entry in log[:2]) == [f"/code/1/{name}", f"/well/0/{name}"]
    assert min(entry["time"] for entry in log[2:]) >= opens - 0.02


def test_patience_is_kept_for_the_one_server(server: FaultServer, name: str, shut: list[float]) -> None:

    async def work(transport: Transport) -> None:
        first = asyncio.create_task(transport.read(server.url("code", 1, name, status=503, after=200), 0, 10))
        await until(lambda: transport.meter.requests > 0)
        await transport.read(f"{server.other}/well/0/{name}", 0, 10)
        assert not first.done()
        first.cancel()
        await asyncio.wait([first])

    run(server, work, origins=[server.origin, server.other])
    assert shut == [200]


@pytest.mark.parametrize("after", ["301", "1000000000", "9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_server_that_asks_for_too_much_is_not_asked_for_now(
    server: FaultServer, name: str, shut: list[float], after: str
) -> None:

    async def work(transport: Transport) -> list[object]:
        error = await outcome(transport.read(server.url("code", -1, name, status=503, after=after), 0, 10))
        parked = await outcome(transport.read(server.url("well", 0, name), 0, 10))
        return [error, parked, await transport.read(f"{server.other}/well/0/{name}", 0, 10)]

    (error, parked, _), _ = run(server, work, origins=[server.origin, server.other])
    for left in (error, parked):
        assert isinstance(left, HostParked), "it says nothing of the file: what needs it stays open"
        assert left.origin == server.origin
    assert isinstance(error, HostParked)
    assert error.retry_after is not None
    assert error.retry_after > 300
    assert "asks to wait" in str(error)
    assert server.totals()[0] == 2
    assert shut == []


# ---- servers in trouble -----------------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parked server is tried again soon."""
    monkeypatch.setattr(breaker, "PERIOD", 0.2)


async def patiently(transport: Transport, url: str) -> Piece:
    """Read as a worker does: what could not be asked for stays open until the server is tried again."""
    while True:
        try:
            return await transport.read(url, 0, 100)
        except HostParked as parked:
            await transport.reopened(parked.origin)


@pytest.mark.usefixtures("hurried")
def test_a_server_that_is_down_for_long_is_asked_little_more_than_needed(server: FaultServer, name: str) -> None:
    down = server.url("down", -1, name, until=time.time() + 1.6)
    left = iter(range(600))

    async def worker(transport: Transport) -> None:
        for _ in left:
            assert (await patiently(transport, down)).data == CONTENT[:100]

    async def work(transport: Transport) -> None:
        await asyncio.gather(*(worker(transport) for _ in range(16)))

    run(server, work, attempts=5)
    log = server.log
    failed = sum(entry["status"] == 503 for entry in log)
    assert len(log) - failed == 600, "each is asked for once, and all are answered"
    assert 8 <= failed <= 16 + 10 + 9, "what was under way, until it was parked, and a probe a period"
    assert len(log) <= 1.10 * 600


def test_a_server_that_fails_in_part_is_asked_for_every_try(
    server: FaultServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other file is out of order, for good: their tries are not made at once, but they are all made."""
    monkeypatch.setattr(breaker, "FAILURES", 10_000)
    monkeypatch.setattr(retries, "MOST", 30.0)
    monkeypatch.setattr(retries, "FLOOR", 50.0)
    urls = [
        server.url("code", -1, name, status=500, n=n) if n % 2 else server.url("well", 0, name) for n in range(120)
    ]
    left = iter(urls)

    async def worker(transport: Transport) -> list[object]:
        return [await outcome(transport.read(url, 0, 100)) for url in left]

    async def work(transport: Transport) -> list[object]:
        done = await asyncio.gather(*(worker(transport) for _ in range(4)))
        return list(itertools.chain.from_iterable(done))

    ended, _ = run(server, work, attempts=5)
    assert sum(isinstance(end, Piece) for end in ended) == 60
    assert {type(end) for end in ended} == {Piece, TransientError}
    counts = Counter(entry["target"] for entry in server.log if entry["status"] == 500)
    assert set(counts.values()) == {5}, "each fails by its own tries"
    assert len(counts) == 60
    assert server.totals()[0] == 60 + 300


@pytest.mark.usefixtures("hurried")
def test_an_api_that_is_parked_is_waited_for(server: FaultServer, name: str) -> None:
    until = time.time() + 2

    async def work(transport: Transport) -> list[Any]:
        asked = [server.url("down", -1, f"search{n}.json", until=until) for n in range(30)]
        return await asyncio.gather(*(transport.json("POST", url, {"limit": 5}) for url in asked))

    found, _ = run(server, work)
    assert [json.loads(page["body"]) for page in found] == [{"limit": 5}] * 30
    assert sum(entry["status"] == 503 for entry in server.log) <= 8 + 12 + 9, "and hardly asked meanwhile"


@pytest.mark.usefixtures("hurried")
def test_a_server_that_stays_down_is_given_up_by_all_who_wait(server: FaultServer, name: str) -> None:
    url = server.url("code", -1, name, status=503)

    async def work(transport: Transport) -> list[object]:
        waiting = [outcome(patiently(transport, url)) for _ in range(30)]
        return [*await asyncio.gather(*waiting), await outcome(transport.json("GET", url))]

    ended, _ = run(server, work, patience=0.6, attempts=20)
    assert {type(end) for end in ended} == {HostParked}
    assert all("gave no good answer for" in str(end) for end in ended)
    # the probes of one moment set out together, and three such moments fit into the patience
    assert server.totals()[0] <= 8 + 10 + 3 * breaker.PROBES, "until it was parked, and the probes"


@pytest.mark.usefixtures("hurried")
def test_a_probe_that_is_cancelled_makes_room_for_another(
    server: FaultServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (breaker, limiter):
        monkeypatch.setattr(module, "PROBES", 1)

    async def work(transport: Transport) -> Piece:
        busy = server.url("code", -1, name, status=503)
        while not transport.is_parked(server.origin):
            await asyncio.gather(*(outcome(transport.read(busy, 0, 100)) for _ in range(30)))
        await transport.reopened(server.origin)
        probe = asyncio.create_task(transport.read(server.url("stall", -1, name), 0, 100))
        await until(lambda: server.log[-1]["path"].startswith("/stall"))
        others = [asyncio.create_task(patiently(transport, server.url("well", 0, name))) for _ in range(5)]
        await asyncio.sleep(0.5)  # longer than any pause
        assert not any(task.done() for task in others)
        assert server.log[-1]["path"].startswith("/stall"), "the probe is the only request"
        probe.cancel()
        return (await asyncio.wait_for(asyncio.gather(*others), 100))[0]

    limits = dict.fromkeys(("connect_timeout", "idle_timeout", "total_timeout"), NEVER)
    assert run(server, work, **limits)[0].data == CONTENT[:100]


def test_what_a_server_does_not_have_is_no_sign_of_trouble(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> Piece:
        for n in range(40):
            url = server.url("code", -1, name, status=404 if n % 4 == 3 else 500, delay=0.1)
            await outcome(transport.read(url, 0, 100))
        return await transport.read(server.url("well", 0, name), 0, 100)

    assert run(server, work, attempts=1)[0].data == CONTENT[:100]


@pytest.mark.usefixtures("hurried")
def test_trouble_of_one_server_is_none_of_the_others(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> Piece:
        busy = server.url("code", -1, name, status=503)
        await asyncio.gather(*(outcome(transport.read(busy, 0, 100)) for _ in range(30)))
        return await transport.read(f"{server.other}/well/0/{name}", 0, 100)

    assert run(server, work, origins=[server.origin, server.other])[0].data == CONTENT[:100]


def test_a_server_that_another_leads_to_is_parked_as_it_asks(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> None:
        to = f"{server.other}/code/-1/{name}?status=503&after=1"
        await outcome(transport.read(server.url("redirect", -1, "moved.bin", to=to), 0, 100))
        await transport.read(f"{server.other}/well/0/{name}", 0, 100)

    run(server, work, origins=[server.origin, server.other], attempts=1)
    asked, last = [entry["time"] for entry in server.log if entry["port"] == server.ports["other"]]
    assert last - asked >= 0.99


# ---- many at once -----------------------------------------------------------------------------------------


def test_no_more_requests_are_under_way_than_allowed(server: FaultServer, name: str) -> None:
    held = {"held": 1}

    async def work(transport: Transport) -> list[int]:
        urls = [server.url("code", 1, name, status=503, n=n, **held) for n in range(10)]
        to = f"/well/0/{name}?held=1"
        urls += [server.url("redirect", -1, "moved.bin", to=to, n=n, **held) for n in range(10)]
        urls += [server.url("close", 1, name, n=n, **held) for n in range(10)]
        return await in_rounds(server, transport, urls)

    rounds, _ = run(server, work, connections=5)
    assert max(rounds) == server.ask("/__log")["peak"] == 5


def test_a_server_that_answers_is_soon_asked_as_much_as_allowed(server: FaultServer, name: str) -> None:
    urls = [server.url("well", 0, name, n=n, held=1) for n in range(300)]
    rounds, _ = run(server, lambda transport: in_rounds(server, transport, urls), connections=64)
    assert rounds == [8, 16, 32, 64, 64, 64, 52]
    under_way = [entry["in_flight"] for entry in server.log]
    assert max(under_way) == 64
    # 8 at first, and then two for each that was answered
    assert all(2 * now <= 8 + number for number, now in enumerate(under_way, start=1))


def test_a_server_is_not_thought_to_bear_more_than_it_was_asked_for(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> list[int]:
        for _ in range(20):
            await gathered(transport, [server.url("well", 0, name)] * 10)
        server.ask("/__reset")
        return await in_rounds(server, transport, [server.url("well", 0, name, held=1)] * 100)

    rounds, _ = run(server, work)
    first = rounds[0]
    assert 10 <= first <= 11
    assert rounds == [first, 2 * first, 4 * first, 100 - 7 * first]
    under_way = [entry["in_flight"] for entry in server.log]
    assert all(2 * now <= first + number for number, now in enumerate(under_way, start=1))


@pytest.mark.parametrize(
    ("mode", "more", "expected"),
    [
        ("code", {"status": 429}, 4),
        ("code", {"status": 503}, 4),
        ("stall", {}, 4),
        ("stall-body", {}, 4),
        ("code", {"status": 500}, 8),
        ("code", {"status": 404}, 8),
        ("cut", {}, 8),
    ],
)
def test_a_server_that_has_too_much_to_do_is_asked_for_half(
    server: FaultServer, name: str, mode: str, more: dict[str, int], expected: int
) -> None:
    async def work(transport: Transport) -> list[int]:
        await outcome(transport.read(server.url(mode, 1, name, **more), 0, 1000))
        server.ask("/__reset")
        return await in_rounds(server, transport, [server.url("well", 0, name, held=1)] * 8)

    rounds, _ = run(server, work, idle_timeout=1.5 if mode.startswith("stall") else 5)
    assert rounds == [expected] * (8 // expected)
    assert max(entry["in_flight"] for entry in server.log) == expected


def test_many_complaints_of_one_moment_count_as_one(server: FaultServer, name: str) -> None:
    urls = [server.url("code", 1, f"{n}-{name}", status=503, held=1) for n in range(8)]
    for n in range(8):
        (server.folder / f"{n}-{name}").write_bytes(CONTENT)
    rounds, _ = run(server, lambda transport: in_rounds(server, transport, urls))
    assert rounds == [8, 4, 4]
    assert [entry["status"] for entry in server.log] == [503] * 8 + [206] * 8


def test_each_server_has_a_measure_of_its_own(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> list[list[int]]:
        await transport.read(server.url("code", 3, name, status=429), 0, 10)
        return [
            await in_rounds(server, transport, [f"{origin}/well/0/{name}?held=1"] * 8)
            for origin in (server.origin, server.other)
        ]

    (busy, free), _ = run(server, work, origins=[server.origin, server.other], attempts=4)
    assert max(busy) <= 4
    assert free == [8]


def test_a_crowded_server_is_asked_for_about_as_much_as_it_has_room_for(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> None:
        await gathered(transport, [server.url("crowded", -1, name, room=20, n=n) for n in range(600)])

    run(server, work, attempts=8)
    log = server.log
    refused = [entry for entry in log if entry["status"] == 503]
    assert len(log) == 600 + len(refused)
    assert 1 <= len(refused) <= 60  # without a measure, 64 at once, it turns most away
    assert max(entry["in_flight"] for entry in log[200:]) <= 22
    settled = [entry["in_flight"] for entry in log[200:580]]
    # refusals are first taken for a limit of requests per second, so the room is not used up: 4 to 5 on average
    assert sum(settled) / len(settled) > 3


def test_stalled_reads_are_cancelled_at_once_and_leave_nothing(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> None:
        await gathered(transport, [server.url("well", 0, name)] * 200)  # so that it may be asked 64 at once
        stalled = [
            asyncio.create_task(transport.read(server.url(mode, -1, name, n=n), 0, 1000))
            for n in range(32)
            for mode in ("stall", "stall-body")
        ]
        await until(lambda: len(server.log) == 200 + 64)
        for task in stalled:
            task.cancel()
        ended = await asyncio.gather(*stalled, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        assert transport.in_flight == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert (await transport.read(server.url("well", 0, name), 0, 1000)).data == CONTENT[:1000]

    _, transport = run(server, work, connections=64, idle_timeout=NEVER, total_timeout=NEVER)
    assert transport.meter.bytes <= server.totals()[1]
    assert server.ask("/__log")["now"] == 0


def test_waiting_for_patience_or_for_a_place_can_be_cancelled(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> None:
        stalled = server.url("stall", -1, name).replace(server.origin, server.other)
        urls = [server.url("code", -1, name, status=503, after=NEVER), stalled]
        tasks = [asyncio.create_task(transport.read(url, 0, 10)) for url in urls * 3]
        await until(lambda: len(server.log) == 2)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*tasks, return_exceptions=True)
        )

    origins = [server.origin, server.other]
    run(server, work, origins=origins, connections=1, patience=NEVER, idle_timeout=NEVER, total_timeout=NEVER)


def test_orderly_answers_keep_their_connection_and_errors_leave_a_working_transport(
    server: FaultServer, name: str
) -> None:
    async def work(transport: Transport) -> None:
        await transport.read(server.url("code", 2, name, status=503), 0, 100)
        await outcome(transport.read(server.url("well", 0, "missing.bin"), 0, 100))
        await transport.read(server.url("redirect", 1, "moved.bin", to=f"/well/0/{name}"), 0, 100)
        await transport.json("GET", server.url("well", 0, "answer.json"))
        await transport.read(server.url("well", 0, name), 0, 100_000)
        for mode in ("whole", "fat", "cut", "reset", "close", "html", "shifted"):
            await outcome(transport.read(server.url(mode, -1, name), 0, 100))
            piece = await transport.read(server.url("well", 0, name), 50, 100)
            assert piece.data == CONTENT[50:150]

    run(server, work, connections=1)
    assert len({entry["peer"] for entry in server.log[:8]}) == 1
    assert len({entry["peer"] for entry in server.log}) > 1


def test_counts_equal_the_servers_log_where_connections_hold(server: FaultServer, name: str) -> None:
    async def work(transport: Transport) -> None:
        jobs: list[Awaitable[object]] = []
        for n in range(8):
            jobs += [
                transport.read(server.url("well", 0, name, n=n), 100 * n, 1000 + n, stage="header", asset="scl"),
                transport.read(
                    server.url("code", n % 3, f"{name}", status=500 + n % 5, n=n), n, 3000, asset="visual"
                ),
                transport.read(server.url("code", -1, f"gone{n}.bin", status=404), 0, 10, asset="visual"),
                transport.read(
                    server.url("redirect", 1, f"moved{n}.bin", to=f"/well/0/{name}"), 0, 999, asset="scl"
                ),
                transport.json("POST", server.url("code", 1, f"search{n}.json", status=429), {"page": n}),
                transport.json("GET", server.url("well", 0, f"plain{n}.json", plain=1)),
                transport.json("GET", server.url("code", -1, f"never{n}.json", status=502)),
            ]
        await asyncio.gather(*map(outcome, jobs))

    # those that never come may look like a server that is down: then it is not waited for
    _, transport = run(server, work, connections=6, patience=1)
    assert (transport.meter.requests, transport.meter.bytes) == server.totals()
    booked = transport.meter.drain()
    assert sum(t.requests for t in booked) == transport.meter.requests
    assert sum(t.bytes for t in booked) == transport.meter.bytes
    assert {(t.stage, t.asset) for t in booked} == {
        ("header", "scl"),
        ("tiles", "visual"),
        ("tiles", "scl"),
        ("search", ""),
    }


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


# ---- retries without budget -------------------------------------------------------------------------------


def test_tries_that_help_never_run_out(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each range is cut off twice: ten times the retries that can be saved up, and those earned are too few."""
    monkeypatch.setattr(retries, "MOST", 20.0)
    monkeypatch.setattr(retries, "SHARE", 0.0)

    async def work(transport: Transport) -> None:
        await gathered(transport, [server.url("cut", 2, f"{n}.bin") for n in range(100)])

    for n in range(100):
        (server.folder / f"{n}.bin").write_bytes(CONTENT)
    run(server, work)
    assert server.totals()[0] == 300


def test_whoever_waits_for_the_budget_can_be_cancelled_and_others_go_on(
    server: FaultServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "MOST", 3.0)
    monkeypatch.setattr(retries, "FLOOR", 1e-9)
    monkeypatch.setattr(retries, "SHARE", 0.0)

    async def work(transport: Transport) -> None:
        broken = [server.url("code", -1, name, status=500, n=n) for n in range(6)]
        waiting = [asyncio.create_task(outcome(transport.read(url, 0, 100))) for url in broken]
        await until(lambda: len(server.log) == 6 + 3)
        await asyncio.sleep(0.1)
        assert sum(task.done() for task in waiting) <= 1
        await gathered(transport, [server.url("well", 0, name, n=n) for n in range(20)])
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    run(server, work)
    assert server.totals()[0] == 6 + 3 + 20


def test_an_api_that_asks_for_too_much_patience_is_not_waited_for_and_its_files_are_read(
    server: FaultServer, name: str, shut: list[float]
) -> None:

    async def work(transport: Transport) -> tuple[object, object, Piece]:
        first = await outcome(
            transport.json("POST", server.url("code", -1, "search", status=429, after=86_400), {})
        )
        second = await outcome(transport.json("GET", server.url("well", 0, "other.json")))
        return first, second, await transport.read(server.url("well", 0, name), 0, 100)

    (first, second, piece), _ = run(server, work)
    assert "the server answers 429 and asks to wait 86,400 s" in str(first)
    assert f"{server.origin} asks to wait 86,400 s" in str(second)
    assert piece.data == CONTENT[:100]
    assert server.totals()[0] == 2
    assert shut == []


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


# ---- servers that allow so many requests a second ---------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "burst", "status"),
    [
        (40, 40, 429),
        (150, 10, 503),
        pytest.param(40, 40, 503, marks=pytest.mark.long),
        pytest.param(150, 10, 429, marks=pytest.mark.long),
    ],
)
def test_a_rate_limit_is_found_and_kept(
    server: FaultServer, name: str, status: int, rate: int, burst: int
) -> None:
    requests = 5 * rate
    left = iter(range(requests))
    url = server.url("limited", -1, name, rate=rate, burst=burst, status=status)

    async def worker(transport: Transport) -> None:
        for n in left:
            assert (await transport.read(f"{url}&n={n}", 0, 100)).data == CONTENT[:100]

    async def work(transport: Transport) -> None:
        await asyncio.gather(*(worker(transport) for _ in range(96)))

    run(server, work, attempts=5, wait=None)
    log = server.log
    refused = sum(entry["status"] == status for entry in log)
    assert len(log) == requests + refused
    assert 1 <= refused <= 64 + 0.2 * requests


@pytest.mark.parametrize(
    ("kinds", "every"),
    [
        ([429], 1),
        (["reset"], 1),
        ([503, 429, 500, "cut"], 1),
        ([503], 3),
        *long(([503], 1), ([500], 1), (["cut"], 1)),
    ],
)
def test_what_fails_once_wherever_it_is_asked_for_is_asked_for_once_more(
    server: FaultServer, name: str, kinds: list[int | str], every: int
) -> None:
    """No limit of requests a second, though it looks like one: at a lower rate all is refused the same."""

    def url(n: int) -> str:
        kind = kinds[n // every % len(kinds)]
        if n % every:
            return server.url("well", 0, f"{n}-{name}")
        return (
            server.url(kind, 1, f"{n}-{name}")
            if isinstance(kind, str)
            else server.url("code", 1, f"{n}-{name}", status=kind)
        )

    left = iter(range(240))

    async def worker(transport: Transport) -> None:
        for n in left:
            TURN.set(n)  # as batches of a run have their turns
            assert (await patiently(transport, url(n))).data == CONTENT[:100]

    async def work(transport: Transport) -> None:
        await asyncio.gather(*(worker(transport) for _ in range(48)))

    for n in range(240):
        (server.folder / f"{n}-{name}").write_bytes(CONTENT)
    run(server, work, attempts=5, wait=None)
    assert len(server.log) == 240 + 240 // every, "each is asked for as often as needed"


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


# ---- proxies, certificates --------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used_and_its_password_kept(
    server: FaultServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = server.origin.replace("//", "//me:canary@")
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    origins = ["http://cogs.test", "https://cogs.test", server.origin]

    async def work(transport: Transport) -> list[object]:
        return [
            await transport.read(f"http://cogs.test/well/0/{name}", 0, 10),
            await outcome(transport.read(f"https://cogs.test/well/0/{name}", 0, 10)),
            await transport.read(server.url("well", 0, name), 0, 10),
        ]

    (plain, secure, direct), _ = run(server, work, origins=origins, attempts=1)
    assert plain == direct
    assert isinstance(secure, TransientError)
    assert "the proxy answers 407" in str(secure)
    assert "canary" not in str(secure)
    through, tunnel, straight = server.log
    assert through["target"] == f"http://cogs.test/well/0/{name}"
    assert (tunnel["method"], tunnel["target"]) == ("CONNECT", "cogs.test:443")
    assert {e["headers"]["proxy-authorization"] for e in (through, tunnel)} == {"Basic bWU6Y2FuYXJ5"}
    assert "proxy-authorization" not in straight["headers"]


def test_a_proxy_that_is_not_there_is_named_as_the_cause(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"me:canary@127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(TransientError, match="cannot connect to the proxy") as caught:
            run(server, reader("https://cogs.test/x.tif"), origins=["https://cogs.test"])
    assert "canary" not in str(caught.value)


CLIENT = """
import asyncio, sys
from s2async.errors import RemoteError
from s2async.net.client import Transport

async def main(origin):
    async with Transport(origins=[origin], wait=lambda n: 0) as transport:
        try:
            print(len((await transport.read(f"{origin}/well/0/data.bin", 0, 10)).data))
        except RemoteError as error:
            print(type(error).__name__, error)

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_is_checked_against_those_of_the_environment(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *curve, *files, *subject], check=True, capture_output=True)
    (tmp_path / "data.bin").write_bytes(CONTENT)
    server = FaultServer(tmp_path, certificate, key)
    try:
        origin = f"https://127.0.0.1:{server.ports['tls']}"
        clean = {key: value for key, value in os.environ.items() if key not in BUNDLES}
        folder = tmp_path / "folder"
        folder.mkdir()
        shutil.copy(certificate, folder / "a.pem")
        subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)
        variables = [{}, *({variable: str(certificate)} for variable in BUNDLES), {"CURL_CA_BUNDLE": str(folder)}]
        said = [
            subprocess.run(
                [sys.executable, "-c", CLIENT, origin],
                env=clean | more,
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
            for more in variables
        ]
        assert said[0].startswith("Refused TLS failed (")
        assert "certificate verify failed" in said[0]
        assert "SSL_CERT_FILE" in said[0], "what to do"
        assert said[1:] == ["10"] * 4
        assert server.totals() == (4, 40)
    finally:
        server.stop()


def test_a_server_that_speaks_no_tls_is_never_asked_without(server: FaultServer) -> None:
    origin = server.origin.replace("http:", "https:")
    with pytest.raises(Refused, match=r"TLS failed \(.*SSL") as caught:
        run(server, reader(f"{origin}/well/0/data.bin"), origins=[origin, server.origin])
    assert "\n" not in str(caught.value)
    assert server.totals() == (0, 0)


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
