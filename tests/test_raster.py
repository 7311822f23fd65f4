from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from s2async import raster, sources, tiff
from s2async.budget import Budget
from s2async.errors import (
    BadAnswer,
    CorruptFile,
    FileChanged,
    NotFound,
    RemoteError,
    TransientError,
    UnsupportedLayout,
)
from s2async.grid import Cutout, Window
from s2async.models import Asset, Use
from s2async.sources import FIRST_READ, Source
from s2async.transport import Meter, Piece, Transport
from tests.fault_server import FaultServer

T = TypeVar("T")
SIDE = 1500
GAP = 8192
COG: dict[str, Any] = {"driver": "COG", "blocksize": 256, "compress": "DEFLATE", "predictor": "YES"}
LZW = COG | {"compress": "LZW"}
"""Tiles that are read whole, and decoded by GDAL."""
TILED: dict[str, Any] = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": 256,
    "blockysize": 256,
    "compress": "DEFLATE",
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "cog": COG,
    "cog-of-three-bands": COG | {"count": 3},
    "cog-of-16-bits": COG | {"dtype": "uint16", "compress": "LZW"},
    "bigtiff": COG | {"BIGTIFF": "YES", "count": 3},
    "planar": TILED | {"interleave": "band", "count": 3},
    "sparse": TILED | {"SPARSE_OK": True},
    "strips": {"driver": "GTiff", "compress": "DEFLATE", "blockysize": 32},
    "uncompressed": TILED | {"compress": "NONE"},
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


def read_all(
    server: FaultServer, name: str, groups: Sequence[Sequence[Cutout]], **more: Any
) -> tuple[list[list[NDArray[Any]]], Meter]:
    """Pixels of groups of cutouts, the header read once, the groups one after another."""

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> list[list[NDArray[Any]]]:
        source = await sources.open_source(transport, asset(server, name, **more))
        budget = Budget(1 << 20)
        return [await raster.read(transport, source, group, budget=budget, pool=pool) for group in groups]

    return run(server, work)


def spans(server: FaultServer) -> list[tuple[int, int]]:
    """The ranges that were asked for: first byte and the one past the last."""
    pairs = [entry["range"].removeprefix("bytes=").split("-") for entry in server.log]
    return [(int(first), int(last) + 1) for first, last in pairs]


def places(path: Path, groups: Iterable[Cutout]) -> set[tuple[int, int]]:
    """Where GDAL says that the tiles under some windows lie: first byte and the one past the last."""
    found = set()
    with rasterio.open(path) as file:
        high, wide = file.block_shapes[0]
        for part in groups:
            w = part.window
            for row in range(w.row // high, (w.row + w.height - 1) // high + 1):
                for col in range(w.col // wide, (w.col + w.width - 1) // wide + 1):
                    offset = file.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1)
                    size = file.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1)
                    if offset:
                        found.add((int(offset), int(offset) + int(size)))
    return found


def merged(found: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for start, stop in sorted(found):
        if ranges and start - ranges[-1][1] <= GAP:
            ranges[-1] = ranges[-1][0], max(stop, ranges[-1][1])
        else:
            ranges.append((start, stop))
    return ranges


def booked(meter: Meter, stage: str) -> dict[str, tuple[int, int]]:
    return {t.use: (t.requests, t.bytes) for t in meter.drain() if t.stage == stage}


# ---- pixels, requests, bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_are_those_of_the_whole_file(server: FaultServer, layout: str) -> None:
    pixels = make(server.folder / f"{layout}.tif", **LAYOUTS[layout])
    rng = np.random.default_rng(7)
    groups = []
    for _ in range(12):
        count = int(rng.integers(1, 6))
        corners, sizes = rng.integers(0, SIDE - 1, (count, 2)), rng.integers(1, 400, (count, 2))
        sizes = np.minimum(sizes, SIDE - corners)
        groups.append([cutout(*map(int, (*c, *s))) for c, s in zip(corners, sizes, strict=True)])
    groups += [[cutout(0, 0, 1, 1)], [cutout(SIDE - 1, SIDE - 1, 1, 1)], [cutout(0, 0, SIDE, SIDE)]]
    found, meter = read_all(server, f"{layout}.tif", groups)
    for group, arrays in zip(groups, found, strict=True):
        assert len(arrays) == len(group)
        for part, array in zip(group, arrays, strict=True):
            w = part.window
            expected = pixels[:, w.row : w.row + w.height, w.col : w.col + w.width]
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)
    assert (meter.requests, meter.bytes) == server.totals()


def test_every_tile_is_fetched_once_and_neighbours_share_a_request(server: FaultServer) -> None:
    path = server.folder / "cog.tif"
    pixels = make(path, **LZW)
    parts = [
        cutout(10, 10, 20, 20),
        cutout(250, 10, 20, 20),  # over the edge of the first tile
        cutout(12, 12, 5, 5),  # in the first tile again
        cutout(900, 900, 100, 10),
        cutout(1400, 1400, 50, 50),
    ]
    [arrays], meter = read_all(server, "cog.tif", [parts])
    for part, array in zip(parts, arrays, strict=True):
        w = part.window
        np.testing.assert_array_equal(array, pixels[:, w.row : w.row + w.height, w.col : w.col + w.width])

    tiles = places(path, parts)
    header, *asked = spans(server)
    assert header == (0, FIRST_READ)
    assert len(tiles) == 4
    assert sorted(asked) == merged(tiles)
    assert len(asked) == 3
    assert {entry["headers"].get("if-match") for entry in server.log[1:]} == {server_etag(path)}
    useful, whole = sum(b - a for a, b in tiles), sum(b - a for a, b in asked)
    counts = meter.drain()
    by = {(t.stage, t.use): (t.requests, t.bytes) for t in counts}
    end = header_end(path)
    assert by == {
        ("header", Use.USEFUL): (1, end),
        ("header", Use.WASTED): (0, FIRST_READ - end),
        ("tiles", Use.USEFUL): (3, useful),
        ("tiles", Use.WASTED): (0, whole - useful),
    }
    assert whole - useful > 0  # GDAL puts 8 bytes between neighbouring tiles


def server_etag(path: Path) -> str:
    return f'"{path.stat().st_mtime_ns:x}-{path.stat().st_size:x}"'


def header_end(path: Path) -> int:
    found = tiff.parse(path.read_bytes())
    assert isinstance(found, tiff.Layout)
    return found.end


def test_retried_tiles_are_booked_apart(server: FaultServer) -> None:
    make(server.folder / "cog.tif", **LZW)
    parts = [cutout(10, 10, 20, 20)]

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        source = await sources.open_source(transport, asset(server, "cog.tif"))
        transport.meter.drain()
        busy = replace(source, asset=asset(server, "cog.tif", "code", 1, status=503))
        await raster.read(transport, busy, parts, budget=Budget(1 << 20), pool=pool)

    _, meter = run(server, work)
    [(start, stop)] = places(server.folder / "cog.tif", parts)
    assert booked(meter, "tiles") == {"retried": (1, len("<b>sorry</b>")), "useful": (1, stop - start)}
    assert (meter.requests, meter.bytes) == server.totals()


def test_tiles_that_the_file_leaves_out_need_no_request(server: FaultServer) -> None:
    make(server.folder / "sparse.tif", **LAYOUTS["sparse"])
    [[array]], _ = read_all(server, "sparse.tif", [[cutout(600, 550, 50, 50)]])
    assert array.shape == (1, 50, 50)
    assert not array.any()
    assert len(server.log) == 1


# ---- headers ----------------------------------------------------------------------------------------------


def test_a_long_header_is_read_on_and_nothing_twice(server: FaultServer) -> None:
    path = server.folder / "long.tif"
    pixels = make(path, **TILED | {"blockxsize": 16, "blockysize": 16})
    end = header_end(path)
    assert end > 6 * FIRST_READ
    [[array]], meter = read_all(server, "long.tif", [[cutout(700, 700, 40, 40)]])
    np.testing.assert_array_equal(array, pixels[:, 700:740, 700:740])
    header = [span for span in spans(server) if span[0] < end]
    assert header[0] == (0, FIRST_READ)
    assert [a for a, _ in header[1:]] == [b for _, b in header[:-1]]
    assert header[-1][1] >= end
    assert len(header) <= 4
    assert all("if-match" in entry["headers"] for entry in server.log[1:])
    counts = booked(meter, "header")
    assert counts.pop("useful") == (len(header), end)
    assert sum(size for _, size in counts.values()) == header[-1][1] - end


def test_a_header_that_tells_its_length_bit_by_bit_is_read_in_few_requests(server: FaultServer) -> None:
    path = server.folder / "chain.tif"
    make(path, side=512, **TILED | {"compress": "NONE"})
    with rasterio.open(path, "r+") as file:  # the directories of overviews come behind all tiles
        file.build_overviews([2, 4, 8, 16], rasterio.enums.Resampling.nearest)
    run(server, lambda transport, pool: sources.open_source(transport, asset(server, "chain.tif")))
    assert spans(server)[-1][1] > 16 * FIRST_READ
    assert len(server.log) <= 3


def test_a_file_smaller_than_the_first_read(server: FaultServer) -> None:
    path = server.folder / "tiny.tif"
    pixels = make(path, side=40, driver="GTiff", compress="DEFLATE")
    size = path.stat().st_size
    assert size < FIRST_READ

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> tuple[Source, list[NDArray[Any]]]:
        source = await sources.open_source(transport, asset(server, "tiny.tif"))
        return source, await raster.read(transport, source, [cutout(0, 0, 40, 40)], budget=Budget(1), pool=pool)

    (source, [array]), meter = run(server, work)
    np.testing.assert_array_equal(array, pixels)
    assert source.fact.size == source.size == size
    assert source.fact.etag == source.etag == server_etag(path)
    assert booked(meter, "header") == {"useful": (1, header_end(path)), "wasted": (0, size - header_end(path))}


def masked(path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        make(path, side=64, **TILED | {"nodata": None})
        with rasterio.open(path, "r+") as file:
            file.write_mask(np.eye(64, dtype="uint8") * 255)


def with_alpha(path: Path) -> None:
    make(path, side=64, driver="GTiff", count=4, photometric="RGB", alpha="YES", nodata=None)
    with rasterio.open(path) as file:
        assert file.colorinterp[3] is ColorInterp.alpha


def beyond(path: Path) -> None:
    make(path, **COG)
    os.truncate(path, path.stat().st_size - 20)


def cut_header(path: Path) -> None:
    make(path, **COG)
    os.truncate(path, 200)


@pytest.mark.parametrize(
    ("write", "kind", "text"),
    [
        (lambda path: path.write_text("<html>" * 99), CorruptFile, "not a TIFF: it starts with '<html>"),
        (lambda path: path.write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99)), CorruptFile, "not a TIFF"),
        (lambda path: path.write_bytes(b"II*\0"), CorruptFile, "goes on beyond its end"),
        (lambda path: path.write_bytes(b"II*\0" + b"\xff" * 9000), UnsupportedLayout, "not a cloud-optimised"),
        (lambda path: path.write_bytes(b""), BadAnswer, "416"),
        (masked, UnsupportedLayout, "unsupported layout: an internal mask"),
        (with_alpha, UnsupportedLayout, "unsupported layout: an alpha band"),
        (lambda path: make(path, side=64, driver="GTiff", crs=None), UnsupportedLayout, "no EPSG code"),
        (beyond, CorruptFile, "beyond its end at"),
        (cut_header, CorruptFile, "its header goes on beyond its end"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_named(
    server: FaultServer, write: Callable[[Path], object], kind: type[RemoteError], text: str
) -> None:
    write(server.folder / "strange.tif")
    with pytest.raises(kind, match=text) as caught:
        run(
            server,
            lambda transport, pool: sources.open_source(transport, asset(server, "strange.tif", sig="canary")),
        )
    assert type(caught.value) is kind
    assert str(caught.value).endswith("/strange.tif")
    assert "canary" not in str(caught.value)


def test_a_file_that_is_not_there(server: FaultServer) -> None:
    with pytest.raises(NotFound, match=r"absent\.tif"):
        run(server, lambda transport, pool: sources.open_source(transport, asset(server, "absent.tif")))
    assert server.totals()[0] == 1


@pytest.mark.parametrize(
    ("layout", "text"), [(LZW, r"cannot be decoded: .*torn\.tif"), (COG, r"block 7 is damaged \(.*torn\.tif")]
)
def test_tiles_that_cannot_be_decoded_are_an_error_that_names_the_file(
    server: FaultServer, layout: dict[str, Any], text: str
) -> None:
    path = server.folder / "torn.tif"
    make(path, **layout)
    parts = [cutout(300, 300, 10, 10)]
    [(start, stop)] = places(path, parts)
    raw = bytearray(path.read_bytes())
    raw[start:stop] = bytes(stop - start)
    path.write_bytes(raw)
    with pytest.raises(CorruptFile, match=text):
        read_all(server, "torn.tif", [parts])


# ---- files that change ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "statuses"), [({}, [206, 412]), ({"noetag": 1}, [206, 206])])
def test_a_file_replaced_after_its_header_was_read(
    server: FaultServer, more: dict[str, Any], statuses: list[int]
) -> None:
    path = server.folder / "swap.tif"
    make(path, **COG)

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        source = await sources.open_source(transport, asset(server, "swap.tif", **more))
        make(path, seed=2, side=SIDE + 100, **COG)
        await raster.read(transport, source, [cutout(0, 0, 10, 10)], budget=Budget(1 << 20), pool=pool)

    with pytest.raises(FileChanged, match=r"swap\.tif"):
        run(server, work)
    assert [entry["status"] for entry in server.log] == statuses


class Scripted(Transport):
    """A transport whose reads do as they are told, by the first byte that is asked for."""

    def __init__(self, plan: dict[int, Callable[[], Coroutine[Any, Any, None]]], content: bytes) -> None:
        super().__init__(origins=[])
        self.plan, self.content = plan, content
        self.ended: list[tuple[int, str]] = []

    async def read(
        self, href: str, start: int, size: int, *, etag: str = "", stage: str = "tiles", asset: str = ""
    ) -> Piece:
        try:
            await self.plan[start]()
        except BaseException as error:
            self.ended.append((start, type(error).__name__))
            raise
        self.meter.add(stage, asset, Use.USEFUL, requests=1, size=size)
        return Piece(data=self.content[start : start + size], size=len(self.content), etag=etag)


async def well() -> None:
    pass


async def stall() -> None:
    await asyncio.sleep(60)


async def break_down() -> None:
    await asyncio.sleep(0.02)
    raise TransientError("timed out")


@pytest.fixture
def opened(tmp_path: Path) -> tuple[Source, bytes, list[Cutout], list[int]]:
    """A COG, cutouts on four tiles that lie far from one another, and where those begin."""
    make(tmp_path / "cog.tif", **LZW)
    content = (tmp_path / "cog.tif").read_bytes()
    layout = tiff.parse(content)
    assert isinstance(layout, tiff.Layout)
    parts = [cutout(i * 300, i * 300, 10, 10) for i in range(4)]
    starts = sorted(start for start, _ in places(tmp_path / "cog.tif", parts))
    assert len(merged(places(tmp_path / "cog.tif", parts))) == 4
    return (
        Source(asset=Asset(key="scl", href="http://cogs.test/a.tif"), layout=layout, size=len(content), etag=""),
        content,
        parts,
        starts,
    )


def test_the_first_failure_cancels_the_other_requests_and_is_the_one_that_is_told(
    opened: tuple[Source, bytes, list[Cutout], list[int]],
) -> None:
    source, content, parts, starts = opened
    transport = Scripted(dict(zip(starts, [stall, well, break_down, stall], strict=True)), content)
    budget = Budget(1000)

    async def work() -> None:
        with ThreadPoolExecutor(1) as pool:
            try:
                await raster.read(transport, source, parts, budget=budget, pool=pool)
            finally:
                assert asyncio.all_tasks() == {asyncio.current_task()}
                async with asyncio.timeout(1), budget.hold(1000):
                    pass

    with pytest.raises(TransientError, match="timed out"):
        asyncio.run(work())
    assert sorted(transport.ended) == sorted([
        (starts[0], "CancelledError"), (starts[2], "TransientError"), (starts[3], "CancelledError")
    ])  # fmt: skip
    size = int(source.layout.block_counts[list(source.layout.block_offsets).index(starts[1])])
    assert booked(transport.meter, "tiles") == {"useful": (1, 0), "wasted": (0, size)}


def test_a_reader_that_is_cancelled_while_a_request_fails_stays_cancelled(
    opened: tuple[Source, bytes, list[Cutout], list[int]],
) -> None:
    source, content, parts, starts = opened

    async def main() -> tuple[bool, bool]:
        async def die_slowly() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                reading.cancel()  # while the others are being cancelled, because one has failed
                await asyncio.sleep(0.01)

        transport = Scripted(dict(zip(starts, [die_slowly, well, break_down, stall], strict=True)), content)
        with ThreadPoolExecutor(1) as pool:
            reading = asyncio.create_task(raster.read(transport, source, parts, budget=Budget(1000), pool=pool))
            await asyncio.wait([reading])
        return reading.cancelled(), any(kind == "TransientError" for _, kind in transport.ended)

    assert asyncio.run(main()) == (True, True)


# ---- the budget -------------------------------------------------------------------------------------------


def test_a_budget_is_given_first_come_first_served() -> None:
    async def main() -> list[str]:
        budget, order = Budget(10), []

        async def hold(name: str, size: int) -> None:
            async with budget.hold(size):
                order.append(name)
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for name, size in [("a", 6), ("large", 8), ("small", 1), ("more than all", 99), ("last", 1)]:
                group.create_task(hold(name, size))
                await asyncio.sleep(0)
        return order

    assert asyncio.run(main()) == ["a", "large", "small", "more than all", "last"]


def test_one_that_gives_up_waiting_lets_the_next_one_through() -> None:
    async def main() -> None:
        budget = Budget(10)

        async def hold(size: int) -> None:
            async with budget.hold(size):
                pass

        async with budget.hold(5):
            large = asyncio.create_task(hold(9))
            await asyncio.sleep(0)
            small = asyncio.create_task(hold(2))
            await asyncio.sleep(0)
            large.cancel()
            async with asyncio.timeout(1):
                await small

    asyncio.run(main())


steps = st.tuples(
    st.integers(0, 15),  # bytes
    st.integers(0, 4),  # turns of the loop before it asks
    st.integers(0, 4),  # turns that it holds them
    st.none() | st.integers(0, 8),  # turns until it is cancelled
)


@settings(max_examples=200)
@given(st.integers(1, 10), st.lists(steps, max_size=12))
def test_a_budget_is_never_overdrawn_never_lost_and_never_stuck(
    size: int, plans: list[tuple[int, int, int, int | None]]
) -> None:
    async def main() -> None:
        budget, held, waiting = Budget(size), 0, deque[int]()

        async def turns(number: int) -> None:
            for _ in range(number):
                await asyncio.sleep(0)

        async def hold(index: int, wanted: int, before: int, during: int) -> None:
            nonlocal held
            await turns(before)
            waiting.append(index)
            try:
                async with budget.hold(wanted):
                    waiting.remove(index)
                    mine = min(wanted, size)
                    held += mine
                    try:
                        assert held <= size
                        if wanted >= size:
                            assert held == size == mine
                        await turns(during)
                    finally:
                        held -= mine
            finally:
                if index in waiting:
                    waiting.remove(index)

        async def cancel(task: asyncio.Task[None], after: int) -> None:
            await turns(after)
            task.cancel()

        async with asyncio.timeout(5):
            tasks = [asyncio.create_task(hold(i, *plan[:3])) for i, plan in enumerate(plans)]
            cancels = [
                asyncio.create_task(cancel(task, plan[3]))
                for task, plan in zip(tasks, plans, strict=True)
                if plan[3] is not None
            ]
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*cancels)
            assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ended), ended
            assert not waiting
            async with budget.hold(size):  # all of it is there again
                pass

    asyncio.run(main())


def test_reading_keeps_within_the_budget(server: FaultServer) -> None:
    make(server.folder / "cog.tif", **COG)

    class Watched(Budget):
        now = peak = 0

        def _give(self, back: int) -> None:
            super()._give(back)
            self.peak = max(self.peak, self._size - self._free)

    budget = Watched(100_000)

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        source = await sources.open_source(transport, asset(server, "cog.tif"))
        async with asyncio.TaskGroup() as group:
            for i in range(40):
                part = cutout(30 * i, 30 * i, 50, 50)
                group.create_task(raster.read(transport, source, [part], budget=budget, pool=pool))

    run(server, work)
    assert 0 < budget.peak <= 100_000
    assert budget._free == 100_000
