from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from s2async.cog import deflate, reader, tiff, tiles
from s2async.cog import source as sources
from s2async.cog.grid import Cutout, Window
from s2async.cog.memory import Budget
from s2async.cog.request import Pixels
from s2async.cog.source import FIRST_READ, Source
from s2async.errors import (
    CorruptFile,
    FileChanged,
    TransientError,
)
from s2async.models import Asset, Use
from s2async.net.client import Meter, Piece, Transport
from s2async.net.editions import Edition
from tests.support.fault_server import FaultServer
from tests.support.served import (
    COG,
    SIDE,
    TILED,
    asset,
    booked,
    cutout,
    header_end,
    make,
    read_all,
    run,
    server_etag,
    sound,
    spans,
)
from tests.support.streams import Asking

T = TypeVar("T")
GAP = 8192
LZW = COG | {"compress": "LZW"}
"""Tiles that are read whole, and decoded by GDAL."""
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


def test_retried_tiles_are_booked_apart(server: FaultServer) -> None:
    make(server.folder / "cog.tif", **LZW)
    parts = [cutout(10, 10, 20, 20)]

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        source = await sources.open_source(transport, asset(server, "cog.tif"))
        transport.meter.drain()
        busy = replace(source, asset=asset(server, "cog.tif", "code", 1, status=503))
        sound(await reader.read(transport, busy, parts, budget=Budget(1 << 20), pool=pool))

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


# ---- tiles that are damaged -------------------------------------------------------------------------------

NEAR = [cutout(300, 300, 10, 10), cutout(700, 700, 20, 20), cutout(250, 300, 20, 9), cutout(700, 705, 5, 5)]
"""The first and the third touch tile 7."""


def read_torn(
    server: FaultServer, layout: dict[str, Any], times: int, **settings: Any
) -> tuple[list[Pixels], Meter, tuple[int, int]]:
    """What is read of :data:`NEAR` when tile 7 comes damaged so many times; the place of that tile."""
    path = server.folder / "torn.tif"
    make(path, **layout)
    [(start, stop)] = places(path, NEAR[:1])

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> list[Pixels]:
        source = await sources.open_source(transport, asset(server, "torn.tif"))
        transport.meter.drain()
        spoilt = replace(source, asset=asset(server, "torn.tif", "torn", times, at=start))
        return await reader.read(transport, spoilt, NEAR, budget=Budget(1 << 20), pool=pool, **settings)

    found, meter = run(server, work)
    return found, meter, (start, stop)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("layout", [COG, LZW, COG | {"compress": "ZSTD", "count": 3}], ids=["rows", "lzw", "zstd"])
def test_a_tile_that_came_damaged_is_fetched_once_more_over_a_new_connection(
    server: FaultServer, layout: dict[str, Any], verify: bool
) -> None:
    pixels = make(server.folder / "torn.tif", **layout)
    once = 2  # two requests are made at once, and both are counted: whichever holds tile 7 is damaged
    found, meter, (start, stop) = read_torn(server, layout, once, verify=verify)
    for part, array in zip(NEAR, sound(found), strict=True):
        w = part.window
        np.testing.assert_array_equal(array, pixels[:, w.row : w.row + w.height, w.col : w.col + w.width])
    asked = list(zip(server.log, spans(server), strict=True))[1:]
    before, again = [x for x in asked if "cache-control" not in x[0]["headers"]], asked[-1]
    assert again[0]["headers"]["cache-control"] == "no-cache"
    assert "if-match" not in again[0]["headers"]  # what was odd may have been the answer to a condition
    assert len(before) == len(asked) - 1
    assert again[1][0] <= start
    assert again[1][1] >= stop
    assert again[0]["peer"] not in {entry["peer"] for entry, _ in before}
    assert (meter.requests, meter.bytes) == server.totals()
    assert booked(meter, "tiles")["wasted"][1] > 0


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("layout", [COG, LZW], ids=["rows", "lzw"])
def test_a_damaged_tile_is_the_fault_of_those_that_touch_it_and_of_nobody_else(
    server: FaultServer, layout: dict[str, Any], verify: bool
) -> None:
    pixels = make(server.folder / "torn.tif", **layout)
    found, meter, (start, _) = read_torn(server, layout, -1, verify=verify)
    for index, (part, one) in enumerate(zip(NEAR, found, strict=True)):
        if index in (0, 2):
            assert isinstance(one, CorruptFile)
            assert str(one).endswith("/torn.tif"), "the query may hold secrets"
            assert "block 7 is damaged" in str(one) or "cannot be decoded" in str(one)
        else:
            w = part.window
            assert not isinstance(one, CorruptFile)
            np.testing.assert_array_equal(one, pixels[:, w.row : w.row + w.height, w.col : w.col + w.width])
    over = [span for span in spans(server)[1:] if span[0] <= start < span[1]]
    assert len(over) == 2, "once, and once more"
    assert (meter.requests, meter.bytes) == server.totals()


@pytest.mark.parametrize("layout", [COG, TILED | {"count": 3}, TILED | {"dtype": "uint16"}], ids=str)
def test_a_scan_hands_on_the_rows_of_each_block_once(server: FaultServer, layout: dict[str, Any]) -> None:
    pixels = make(server.folder / "scan.tif", **layout)
    wanted = {0: 256, 3: 20, 7: 256, 35: SIDE - 5 * 256}
    taken = list[tuple[Window, NDArray[Any]]]()

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> Mapping[int, CorruptFile]:
        source = await sources.open_source(transport, asset(server, "scan.tif"))
        assert reader.scans(source)

        def take(window: Window, some: NDArray[Any]) -> None:
            taken.append((window, some))

        return await reader.scan(transport, source, wanted, take, budget=Budget(1 << 20), pool=pool)

    damaged, meter = run(server, work)
    assert not damaged
    assert len(taken) == len(wanted)
    found = {window.row // 256 * 6 + window.col // 256: window for window, _ in taken}
    assert {block: window.height for block, window in found.items()} == wanted
    assert found[35].width == SIDE - 5 * 256, "without fill"
    for w, some in taken:
        np.testing.assert_array_equal(some, pixels[:, w.row : w.row + w.height, w.col : w.col + w.width])
    assert (meter.requests, meter.bytes) == server.totals()


def test_a_scan_hands_on_blocks_that_were_left_out_of_the_file(server: FaultServer) -> None:
    path, taken = server.folder / "holes.tif", list[tuple[Window, NDArray[Any]]]()
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 300_000, 0, -10, 5_800_020)}
    kind = {"count": 1, "dtype": "uint8", "nodata": 3, "SPARSE_OK": True}
    with rasterio.open(path, "w", height=512, width=768, **TILED, **place, **kind) as file:
        file.write(np.full((1, 256, 256), 9, np.uint8), window=((0, 256), (256, 512)))

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> Mapping[int, CorruptFile]:
        source = await sources.open_source(transport, asset(server, path.name))
        rows, budget = {0: 256, 1: 256, 5: 40}, Budget(1 << 20)
        return await reader.scan(
            transport, source, rows, lambda *found: taken.append(found), budget=budget, pool=pool
        )

    assert not run(server, work)[0]
    with rasterio.open(path) as file:
        pixels = file.read()
    assert {(w.row, w.col, w.height) for w, _ in taken} == {(0, 0, 256), (0, 256, 256), (256, 512, 40)}
    for w, some in taken:
        np.testing.assert_array_equal(some, pixels[:, w.row : w.row + w.height, w.col : w.col + w.width])


def test_a_scan_names_damaged_blocks_and_hands_on_all_others(server: FaultServer) -> None:
    path = server.folder / "torn.tif"
    make(path, **COG)
    layout = tiff.parse(path.read_bytes())
    assert isinstance(layout, tiff.Layout)
    at = int(layout.block_offsets[7] + layout.block_counts[7] // 2)
    taken = list[int]()

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> Mapping[int, CorruptFile]:
        torn = asset(server, "torn.tif", "torn", -1, at=at)
        source = await sources.open_source(transport, torn)

        def take(window: Window, _: NDArray[Any]) -> None:
            taken.append(window.row // 256 * 6 + window.col // 256)

        wanted = dict.fromkeys((0, 1, 7, 20), 256)
        budget = Budget(1 << 20)
        return await reader.scan(transport, source, wanted, take, budget=budget, pool=pool, verify=True)

    damaged, meter = run(server, work)
    assert damaged.keys() == {7}
    assert str(damaged[7]).startswith("block 7 ")
    assert str(damaged[7]).endswith("/torn.tif"), "the query may hold secrets"
    assert sorted(taken) == [0, 1, 20]
    assert (meter.requests, meter.bytes) == server.totals()


def test_blocks_are_decoded_alone_where_that_is_wanted(server: FaultServer) -> None:
    """Each by the pool of the windows that hold pixels of it; other files window by window."""
    for name, layout in {"rows": COG, "lzw": LZW}.items():
        pixels = make(server.folder / f"{name}.tif", **layout)
        parts = [cutout(10, 10, 20, 20), cutout(250, 10, 20, 20), cutout(900, 900, 20, 20)]
        asked = list[list[int]]()

        async def work(
            transport: Transport,
            pool: ThreadPoolExecutor,
            name: str = name,
            asked: list[list[int]] = asked,
            parts: Sequence[Cutout] = parts,
        ) -> list[Pixels]:
            source = await sources.open_source(transport, asset(server, f"{name}.tif"))

            def pool_over(windows: Sequence[int]) -> ThreadPoolExecutor:
                asked.append([*windows])
                return pool

            budget = Budget(1 << 20)
            return await reader.read(transport, source, parts, budget=budget, pool=pool, pool_over=pool_over)

        found, _ = run(server, work)
        assert sorted(asked) == ([[0], [1], [2]] if name == "lzw" else [[0, 1], [1], [2]])
        for part, array in zip(parts, sound(found), strict=True):
            w = part.window
            np.testing.assert_array_equal(array, pixels[:, w.row : w.row + w.height, w.col : w.col + w.width])


def test_a_window_larger_than_any_picture_is_refused_before_a_byte_is_fetched(
    opened: tuple[Source, bytes, list[Cutout], list[int]],
) -> None:
    """2 kB of a header may declare 64 bands of 64 bits, and blocks that were left out."""
    source, content, *_ = opened
    grid = replace(source.layout.grid, width=20_000, height=20_000)
    wide = replace(source, layout=replace(source.layout, grid=grid, bands=64, dtype="float64"))
    part = cutout(0, 0, 1, 1)
    part = replace(part, window=replace(part.window, width=1025, height=1025))
    transport = Scripted({}, content)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(CorruptFile, match=r"a window of 513 MiB is refused: .*a\.tif"),
    ):
        asyncio.run(reader.read(transport, wide, [part], budget=Budget(1000), pool=pool))
    assert transport.ended == []


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
        await reader.read(transport, source, [cutout(0, 0, 10, 10)], budget=Budget(1 << 20), pool=pool)

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
        self,
        href: str,
        start: int,
        size: int,
        *,
        edition: Edition | None = None,
        stage: str = "tiles",
        asset: str = "",
        fresh: bool = False,
    ) -> Piece:
        try:
            await self.plan[start]()
        except BaseException as error:
            self.ended.append((start, type(error).__name__))
            raise
        self.meter.add(stage, asset, Use.USEFUL, requests=1, size=size)
        return Piece(data=self.content[start : start + size], edition=Edition(size=len(self.content)))


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
        Source(
            asset=Asset(key="scl", href="http://cogs.test/a.tif"),
            layout=layout,
            edition=Edition(size=len(content)),
        ),
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
                await reader.read(transport, source, parts, budget=budget, pool=pool)
            finally:
                assert asyncio.all_tasks() == {asyncio.current_task()}
                async with asyncio.timeout(60), budget.hold(1000):
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
            reading = asyncio.create_task(reader.read(transport, source, parts, budget=Budget(1000), pool=pool))
            await asyncio.wait([reading])
        return reading.cancelled(), any(kind == "TransientError" for _, kind in transport.ended)

    assert asyncio.run(main()) == (True, True)


# ---- tiles that are read row by row ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_byte_of_prefixes_is_booked_as_the_server_counts_it(server: FaultServer, share: float) -> None:
    """Useful are the bytes that the pixels took, waste is what came beyond them; failed tries are apart."""
    pixels = make(server.folder / "prefix.tif", **COG | {"count": 3, "blocksize": 512})
    parts = [cutout(20, 20, 30, 40), cutout(500, 300, 60, 20), cutout(1200, 1250, 200, 100), cutout(30, 50, 9, 9)]

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> tuple[Source, list[Any]]:
        source = await sources.open_source(transport, asset(server, "prefix.tif"))
        transport.meter.drain()
        busy = replace(source, asset=asset(server, "prefix.tif", "code", 1, status=503))
        found = await reader.read(transport, busy, parts, budget=Budget(1 << 20), pool=pool, margin=Asking(share))
        return source, sound(found)

    (source, arrays), meter = run(server, work)
    for part, array in zip(parts, arrays, strict=True):
        w = part.window
        np.testing.assert_array_equal(array, pixels[:, w.row : w.row + w.height, w.col : w.col + w.width])
    assert (meter.requests, meter.bytes) == server.totals()
    _, *asked = spans(server)
    counts = booked(meter, "tiles")
    failed = counts["retried"][0]
    assert failed >= 1
    assert sum(requests for requests, _ in counts.values()) == len(asked)
    content = (server.folder / "prefix.tif").read_bytes()
    needed = 0
    for block, rows in tiles.rows_under(
        source.layout, [part.window for part in parts], [None] * len(parts)
    ).items():
        start, count = int(source.layout.block_offsets[block]), int(source.layout.block_counts[block])
        needed += deflate.read_rows(source.layout, content[start : start + count], rows)[1]
    useful, wasted = counts["useful"][1], counts.get("wasted", (0, 0))[1]
    assert abs(useful - needed) <= 8 * 9 + (65536 if share < 1 else 0)
    assert useful + wasted == server.totals()[1] - FIRST_READ - counts["retried"][1]


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
                group.create_task(reader.read(transport, source, [part], budget=budget, pool=pool))

    run(server, work)
    assert 0 < budget.peak <= 100_000
    assert budget._free == 100_000


@pytest.mark.parametrize("kind", [COG, LZW], ids=["by rows", "whole tiles"])
def test_pixels_are_in_the_budget_until_nobody_needs_them(server: FaultServer, kind: dict[str, Any]) -> None:
    make(server.folder / "cog.tif", **kind)
    budget = Budget(1 << 20)

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> int:
        source = await sources.open_source(transport, asset(server, "cog.tif"))
        parts = [cutout(0, 0, 100, 50), cutout(300, 300, 20, 20)]
        async with reader.reading(transport, source, parts, budget=budget, pool=pool) as found:
            assert (1 << 20) - budget._free == sum(array.nbytes for array in sound(found))
        return budget._free

    left, _ = run(server, work)
    assert left == 1 << 20
