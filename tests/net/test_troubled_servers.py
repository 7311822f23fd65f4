"""Servers that ask for patience, are down, or fail in part."""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import json
import math
import time
from collections import Counter
from typing import Any

import pytest

from s2async.errors import HostParked, TransientError
from s2async.net import breaker, limiter, retries
from s2async.net.client import Piece, Transport
from tests.support.fault_server import FaultServer
from tests.support.transports import CONTENT, NEVER, gathered, outcome, patiently, reader, run, until

pytestmark = pytest.mark.usefixtures("clean_environment")


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
