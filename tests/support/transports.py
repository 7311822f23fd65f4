"""Transports of short patience for tests against the fault server, and what to do with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from s2async.errors import HostParked, RemoteError
from s2async.net.client import Meter, Piece, Transport
from tests.support.fault_server import FaultServer

T = TypeVar("T")
ATTEMPTS = 3
NEVER = 3600
"""Seconds beyond the limit of pytest: a test that ends was ended by something else."""
CONTENT = bytes(range(256)) * 400
"""Content of the file that most tests read."""


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


async def patiently(transport: Transport, url: str) -> Piece:
    """Read as a worker does: what could not be asked for stays open until the server is tried again."""
    while True:
        try:
            return await transport.read(url, 0, 100)
        except HostParked as parked:
            await transport.reopened(parked.origin)
