"""Tests the emulated link: parallel range requests, compared with delay + bytes / bandwidth."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks import measure, scenes
from benchmarks.options import Options
from s2async.sandbox.server.process import start
from s2async.sandbox.world.make import default_folder, make_world

LOADS: Final = (
    (1, 1, 1_000),
    (1, 5, 16_384),
    (64, 10, 16_384),
    (8, 2, 8_000_000),
    (64, 5, 500_000),
    (256, 1, 500_000),
)
"""Number of connections, number of successive requests on each, bytes of each request."""


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Compare the time of requests on the emulated link with the expected time; measure the server's CPU time."""
    whole = make_world(default_folder(), progress=lambda text: print(text, file=sys.stderr))
    with (
        scenes.world_of(whole, 1) as world,
        start(world.folder, delay=options.delay, bandwidth=options.bandwidth) as sandbox,
    ):
        href = scenes.order(world, sandbox.origin, scenes.parks()).scenes[0].visual
        _warm(world.local(href))
        for connections, requests, size in LOADS:
            before = measure.cpu_seconds(sandbox.pid)
            seconds = asyncio.run(_load(href, connections, requests, size))
            server = measure.cpu_seconds(sandbox.pid) - before
            sent = connections * requests * size
            limit = options.bandwidth * 1e6 / 8
            expected = max(requests * options.delay / 1000, options.delay / 1000 + sent / limit)
            yield {
                "connections": connections,
                "requests": connections * requests,
                "bytes_each": size,
                "seconds": round(seconds, 3),
                "expected_seconds": round(expected, 3),
                "megabit_per_second": round(sent * 8 / 1e6 / seconds, 1),
                "server_cpu_share": round(server / seconds, 3),
                "server_cpu_ms_per_request": round(server / (connections * requests) * 1000, 3),
                "server_cpu_ms_per_megabyte": round(server / sent * 1e9, 3),
            }


def _warm(path: Path) -> None:
    with path.open("rb") as file:
        file.read(16_000_000)


async def _load(href: str, connections: int, requests: int, size: int) -> float:
    """Return the seconds that the requests take, without connecting."""
    address = urlsplit(href)
    opened = [
        await asyncio.open_connection(address.hostname, address.port, limit=1 << 22) for _ in range(connections)
    ]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(requests):
            writer.write(
                f"GET {address.path} HTTP/1.1\r\nHost: link\r\nRange: bytes=0-{size - 1}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 206 " not in head:
                raise RuntimeError(f"the server answered {head[:40]!r}")
            await reader.readexactly(size)

    began = time.perf_counter()
    await asyncio.gather(*(ask(*pair) for pair in opened))
    seconds = time.perf_counter() - began
    for _, writer in opened:
        writer.close()
    return seconds
