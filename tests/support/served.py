"""Rasters that the fault server serves, and reading them with a transport of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from s2async.cog import reader, tiff
from s2async.cog import source as sources
from s2async.cog.grid import Cutout, Window
from s2async.cog.memory import Budget
from s2async.cog.request import Pixels
from s2async.errors import CorruptFile
from s2async.models import Asset
from s2async.net.client import Meter, Transport
from tests.support.fault_server import FaultServer

T = TypeVar("T")
SIDE = 1500
COG: dict[str, Any] = {"driver": "COG", "blocksize": 256, "compress": "DEFLATE", "predictor": "YES"}
TILED: dict[str, Any] = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": 256,
    "blockysize": 256,
    "compress": "DEFLATE",
}


def make(path: Path, *, side: int = SIDE, seed: int = 1, **more: Any) -> NDArray[Any]:
    """Write a raster of blotches; its pixels."""
    profile: dict[str, Any] = {"count": 1, "dtype": "uint8", "nodata": 0, "crs": "EPSG:32633"} | more
    rng = np.random.default_rng(seed)
    blotches = rng.integers(1, 250, (profile["count"], -(-side // 4), -(-side // 4)), dtype=profile["dtype"])
    pixels: NDArray[Any] = np.ascontiguousarray(blotches.repeat(4, axis=1).repeat(4, axis=2)[:, :side, :side])
    if "SPARSE_OK" in profile:
        pixels[:, 300:900, :] = 0
    transform = Affine(10, 0, 300_000, 0, -10, 5_800_020)
    with rasterio.open(path, "w", width=side, height=side, transform=transform, **profile) as file:
        file.write(pixels)
    return pixels


def cutout(col: int, row: int, width: int, height: int) -> Cutout:
    inside = np.ones((height, width), dtype=bool)
    return Cutout(window=Window(col=col, row=row, width=width, height=height), inside=inside, total=width * height)


def run(
    server: FaultServer, work: Callable[[Transport, ThreadPoolExecutor], Coroutine[Any, Any, T]]
) -> tuple[T, Meter]:
    meter = Meter()

    async def main() -> T:
        settings: dict[str, Any] = {"idle_timeout": 10, "attempts": 2, "wait": lambda number: 0.0}
        async with Transport(origins=[server.origin], meter=meter, **settings) as transport:
            with ThreadPoolExecutor(2) as pool:
                return await work(transport, pool)

    return asyncio.run(main()), meter


def asset(server: FaultServer, name: str, mode: str = "well", times: int = 0, **more: Any) -> Asset:
    return Asset(key="visual", href=server.url(mode, times, name, **more))


def sound(found: Sequence[Pixels]) -> list[NDArray[Any]]:
    """The pixels, where all could be read; else the first error is raised."""
    arrays = []
    for one in found:
        if isinstance(one, CorruptFile):
            raise one
        arrays.append(one)
    return arrays


def read_all(
    server: FaultServer, name: str, groups: Sequence[Sequence[Cutout]], **more: Any
) -> tuple[list[list[NDArray[Any]]], Meter]:
    """Pixels of groups of cutouts, the header read once, the groups one after another."""

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> list[list[NDArray[Any]]]:
        source = await sources.open_source(transport, asset(server, name, **more))
        budget = Budget(1 << 20)
        return [sound(await reader.read(transport, source, group, budget=budget, pool=pool)) for group in groups]

    return run(server, work)


def spans(server: FaultServer) -> list[tuple[int, int]]:
    """The ranges that were asked for: first byte and the one past the last."""
    pairs = [entry["range"].removeprefix("bytes=").split("-") for entry in server.log]
    return [(int(first), int(last) + 1) for first, last in pairs]


def booked(meter: Meter, stage: str) -> dict[str, tuple[int, int]]:
    return {t.use: (t.requests, t.bytes) for t in meter.drain() if t.stage == stage}


def server_etag(path: Path) -> str:
    return f'"{path.stat().st_mtime_ns:x}-{path.stat().st_size:x}"'


def header_end(path: Path) -> int:
    found = tiff.parse(path.read_bytes())
    assert isinstance(found, tiff.Layout)
    return found.end
