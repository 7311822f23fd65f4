from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2async.cog import directories, headers, reader
from s2async.cog import source as sources
from s2async.cog.memory import Budget
from s2async.cog.source import FIRST_READ, FirstRead, Source, first_read
from s2async.errors import BadAnswer, CorruptFile, NotFound, RemoteError, UnsupportedLayout
from s2async.models import Asset
from s2async.net.client import Meter, Piece, Transport
from s2async.net.editions import Edition
from tests.support.fault_server import FaultServer
from tests.support.layouts import by_name
from tests.support.layouts import tiff as made_tiff
from tests.support.served import (
    COG,
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
        found = await reader.read(transport, source, [cutout(0, 0, 40, 40)], budget=Budget(1), pool=pool)
        return source, sound(found)

    (source, [array]), meter = run(server, work)
    np.testing.assert_array_equal(array, pixels)
    assert source.fact.size == source.edition.size == size
    assert source.fact.etag == source.edition.etag == server_etag(path)
    assert booked(meter, "header") == {"useful": (1, header_end(path)), "wasted": (0, size - header_end(path))}


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
        (lambda path: path.write_bytes(b"II*\0"), CorruptFile, "extends beyond the end of the file"),
        (lambda path: path.write_bytes(b"II*\0" + b"\xff" * 9000), UnsupportedLayout, "not a cloud-optimised"),
        (lambda path: path.write_bytes(b""), BadAnswer, "416"),
        (lambda path: make(path, side=64, driver="GTiff", crs=None), UnsupportedLayout, "no EPSG code"),
        (beyond, CorruptFile, "extends beyond the end of the file at"),
        (cut_header, CorruptFile, "its header extends beyond the end of the file"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_named(
    server: FaultServer, write: Callable[[Path], object], kind: type[RemoteError], text: str
) -> None:
    write(server.folder / "strange.tif")
    meter = Meter()

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        nonlocal meter
        meter = transport.meter
        await sources.open_source(transport, asset(server, "strange.tif", sig="canary"))

    with pytest.raises(kind, match=text) as caught:
        run(server, work)
    assert type(caught.value) is kind
    once, again = server.log
    assert once["range"] == again["range"]
    assert "cache-control" not in once["headers"]
    assert again["headers"]["cache-control"] == "no-cache"
    assert again["peer"] != once["peer"], "over a connection of its own"
    assert booked(meter, "header").get("useful", (0, 0))[1] == 0
    assert meter.bytes == server.totals()[1]
    assert str(caught.value).endswith("/strange.tif")
    assert "canary" not in str(caught.value)


def test_a_file_that_is_not_there(server: FaultServer) -> None:
    with pytest.raises(NotFound, match=r"absent\.tif"):
        run(server, lambda transport, pool: sources.open_source(transport, asset(server, "absent.tif")))
    assert server.totals()[0] == 1


# ---- how much to ask for first ----------------------------------------------------------------------------


def test_the_first_read_is_learned_by_origin_and_asset(server: FaultServer) -> None:
    path = server.folder / "cog.tif"
    make(path, **COG)
    end, long_end = header_end(path), 0
    assert end < 2048 - 2048 // 8

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> None:
        nonlocal long_end
        first = FirstRead()
        here = asset(server, "cog.tif")
        for _ in range(2):
            await sources.open_source(transport, here, first)
        await sources.open_source(transport, replace(here, key="scl"), first)
        make(path, **TILED | {"blockxsize": 16, "blockysize": 16})
        long_end = header_end(path)
        for _ in range(3):
            await sources.open_source(transport, here, first)
        assert first.size(replace(here, href=here.href.replace("127.0.0.1", "127.0.0.2"))) == FIRST_READ

    _, meter = run(server, work)
    first, second, scl, *long = spans(server)
    assert (first, second, scl) == ((0, 8192), (0, 2048), (0, 8192))
    assert long[:2] == [(0, 2048), (2048, long_end)], "one more request, for the first long one"
    assert long[2:4] == [(0, 2048), (2048, long_end)], "one of them may be an odd one"
    assert len(long) == 5
    assert long_end < long[4][1] < 1.13 * long_end + 1024, "the third one in a single request"
    assert (meter.requests, meter.bytes) == server.totals()


@given(st.lists(st.integers(1, 2 << 20), max_size=40))
def test_the_rule_of_the_first_read(lengths: list[int]) -> None:
    first, here = FirstRead(), Asset(key="scl", href="https://cogs.example/a/b.tif?sig=1")
    for length in lengths:
        first.learn(here, length)
    size = first.size(replace(here, href="https://cogs.example/c/d.tif"))
    assert size == first_read(lengths[-16:])
    assert first.size(replace(here, key="visual")) == FIRST_READ
    assert first.size(replace(here, href="http://cogs.example/a/b.tif")) == FIRST_READ
    if not lengths:
        assert size == FIRST_READ
        return
    assert 2048 <= size <= 1 << 20
    assert size % 1024 == 0
    shorter = sum(min(length, 1 << 20) > size for length in lengths[-16:])
    assert shorter <= 1, "but one odd one, the last headers would all have come in one request"
    longest = sorted(lengths[-16:])[-2:][0]
    assert size <= max(2048, 1.125 * longest + 1024)


class Served:
    """Stands for the transport: one file, and what was asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.meter, self.asked = data, Meter(), list[tuple[int, int]]()

    async def read(
        self,
        href: str,
        start: int,
        size: int,
        *,
        edition: Edition | None = None,
        stage: str = "",
        asset: str = "",
        fresh: bool = False,
    ) -> Piece:
        assert size > 0
        assert not fresh
        self.asked.append((start, min(start + size, len(self.data))))
        return Piece(data=self.data[start : start + size], edition=Edition(size=len(self.data), etag='"1"'))

    def open(self, first: FirstRead | None = None) -> Source:
        here = Asset(key="scl", href="https://cogs.example/scl.tif")
        return asyncio.run(sources.open_source(cast("Transport", self), here, first))


def chained(data: bytes, gaps: Sequence[int]) -> bytes:
    """A little-endian classic TIFF with a directory of one tag (of an overview) after each of some gaps."""
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    place, changed = start + 2 + 12 * number, bytearray(data)
    for gap in gaps:
        changed += bytes(gap + len(changed) % 2)
        struct.pack_into("<I", changed, place, len(changed))
        changed += struct.pack("<HHHIII", 1, directories.SUBFILE, 4, 1, 1, 0)
        place = len(changed) - 4
    return bytes(changed)


LENGTHS = [1, 2000, 2049, 4000, 8192, 9000, 30_000, 300_000, 1 << 20]


@given(
    st.lists(st.integers(0, 3000) | st.integers(0, 60_000), max_size=12),
    st.sampled_from(LENGTHS) | st.integers(1, 1 << 20),
)
def test_what_was_learned_never_costs_more_than_one_request_and_never_another_header(
    gaps: list[int], learned: int
) -> None:
    data = chained(made_tiff(by_name("tiles")), gaps)
    plain, ours, first = Served(data), Served(data), FirstRead()
    expected = plain.open()
    first.learn(Asset(key="scl", href="https://cogs.example/other.tif"), learned)
    size = first.size(expected.asset)
    found = ours.open(first)
    assert headers.pack(found.layout) == headers.pack(expected.layout)
    assert found.layout.read_to == expected.layout.read_to == (len(data) if gaps else expected.layout.end)
    assert len(ours.asked) <= len(plain.asked) + 1
    if size >= FIRST_READ:
        assert len(ours.asked) <= len(plain.asked)
    if size >= found.layout.read_to:
        assert len(ours.asked) == 1
    for served in (plain, ours):
        assert [stop for _, stop in served.asked[:-1]] == [start for start, _ in served.asked[1:]]


# ---- headers that were read before ------------------------------------------------------------------------


def test_a_source_is_recalled_without_a_request(server: FaultServer) -> None:
    pixels = make(server.folder / "cog.tif", **COG)

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> list[NDArray[Any]]:
        source = await sources.open_source(transport, asset(server, "cog.tif"))
        again = sources.recall(source.asset, source.fact)
        assert again is not None
        assert again.edition == source.edition
        assert again.layout.grid == source.layout.grid
        part = cutout(700, 700, 40, 40)
        return sound(await reader.read(transport, again, [part], budget=Budget(1 << 20), pool=pool))

    [array], _ = run(server, work)
    np.testing.assert_array_equal(array, pixels[:, 700:740, 700:740])
    assert len([span for span in spans(server) if span[0] == 0]) == 1
    assert server.log[-1]["headers"]["if-match"] == server_etag(server.folder / "cog.tif")


def test_only_a_strong_etag_tells_that_a_header_of_another_day_still_holds() -> None:
    tagged = Served(made_tiff(by_name("COG"))).open()
    whole, date = tagged.fact, "Sun, 01 May 2022 10:00:00 GMT"
    assert sources.recall(tagged.asset, whole) is not None
    for etag, modified in (("", ""), ("", date), ('W/"1"', ""), ('W/"1"', date)):
        edition = Edition(size=tagged.edition.size, etag=etag, modified=modified)
        source = replace(tagged, edition=edition)
        assert source.fact.header == b"", "tomorrow nothing would tell whether it still holds"
        assert sources.recall(source.asset, source.fact) is None
        assert sources.recall(source.asset, replace(whole, etag=etag)) is None


def test_only_a_sound_header_of_the_same_address_and_a_fitting_size_is_recalled() -> None:
    source = Served(made_tiff(by_name("COG"))).open()
    here, fact = source.asset, source.fact
    assert sources.recall(here, fact) is not None
    last = int((source.layout.block_offsets + source.layout.block_counts).max())
    assert sources.recall(here, replace(fact, size=last)) is not None
    assert sources.recall(here, replace(fact, size=last - 1)) is None
    assert sources.recall(replace(here, href=here.href + "?"), fact) is None
    assert sources.recall(here, replace(fact, header=fact.header[:-1])) is None
