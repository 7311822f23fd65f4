"""Many requests to one server at once: how many are under way, and how many are sent in a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from s2async.net.client import Transport
from s2async.net.limiter import TURN
from tests.support.fault_server import FaultServer
from tests.support.lanes import long
from tests.support.transports import CONTENT, NEVER, gathered, in_rounds, outcome, patiently, run, until

pytestmark = pytest.mark.usefixtures("clean_environment")


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
