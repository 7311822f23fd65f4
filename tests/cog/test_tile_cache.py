"""What batches of one scene share: nothing is fetched twice, no pixel is another, and the waste is told."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2async.cog import deflate, reader, row_plan, tiles
from s2async.cog.memory import Budget
from s2async.cog.source import Source
from s2async.cog.tile_cache import HEADERS, Prefix, Shelf
from s2async.errors import CorruptFile, NotFound
from s2async.models import Asset, Traffic, Use
from s2async.net.accounting import Meter
from s2async.net.editions import Edition
from tests.support.examples import examples
from tests.support.served import booked, sound
from tests.support.streams import ASSET, POOL, SOURCE, Asking, File, Local, by_gdal, files, same

isal = pytest.importorskip("isal.isal_zlib")
engines = st.sampled_from([isal, zlib])


def read_apart(
    file: File, *, size: int, margin: Asking, budget: int = 1 << 20, **settings: Any
) -> tuple[list[NDArray[Any]], Local]:
    """Each cutout by a reader of its own, all at once, with one shelf of that size."""
    transport = Local(file.data)
    source = Source(asset=ASSET, layout=file.layout, edition=Edition(size=len(file.data), etag='"1"'))

    async def main() -> list[NDArray[Any]]:
        shelf, room = Shelf(size, transport.meter), Budget(budget)
        reading = partial(reader.read, transport, source, budget=room, pool=POOL, margin=margin, shelf=shelf)
        found = await asyncio.gather(*[reading([part], **settings) for part in file.cutouts])
        async with asyncio.timeout(60), room.hold(budget):
            pass
        shelf.clear()
        return [pixels for one in found for pixels in sound(one)]

    with patch.object(tiles, "byte_ranges", partial(tiles.byte_ranges, gap=-1)):
        return asyncio.run(main()), transport


def counts(meter: Meter) -> tuple[int, int]:
    """Useful bytes, and waste."""
    found = booked(meter, "tiles")
    return found.get("useful", (0, 0))[1], found.get("wasted", (0, 0))[1]


# ---- readers that share tiles ------------------------------------------------------------------------------


@examples(200)
@given(files(), engines, st.booleans(), st.booleans(), st.floats(0, 1), st.sampled_from([10, 1 << 20]))
def test_readers_that_share_get_the_pixels_of_gdal_and_fetch_no_byte_twice(
    file: File, module: ModuleType, masked: bool, verify: bool, share: float, budget: int
) -> None:
    expected = by_gdal(file.data, [part.window for part in file.cutouts])
    with patch.multiple(deflate, fast=module, _SMALL=-1), patch.multiple(row_plan, CHEAP=7):
        found, transport = read_apart(
            file, size=1 << 30, margin=Asking(share), budget=budget, masked=masked, verify=verify
        )
    assert same(file, found, expected, masked=masked)
    asked = sorted(transport.asked)
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(asked))
    useful, wasted = counts(transport.meter)
    assert useful + wasted == sum(stop - start for start, stop in asked)
    assert min(useful, wasted) >= 0


@examples(100)
@given(files(), st.floats(0, 1), st.sampled_from([0, 50, 500]), st.sampled_from([10, 1 << 20]))
def test_a_shelf_may_be_of_any_size(file: File, share: float, size: int, budget: int) -> None:
    expected = by_gdal(file.data, [part.window for part in file.cutouts])
    found, transport = read_apart(file, size=size, margin=Asking(share), budget=budget)
    assert same(file, found, expected, masked=False)
    useful, wasted = counts(transport.meter)
    assert useful + wasted == sum(stop - start for start, stop in transport.asked)
    assert min(useful, wasted) >= 0


@examples(60)
@given(files(sparse=False), st.floats(0, 1), st.data())
def test_where_a_shared_tile_is_damaged_no_reader_gets_other_pixels(
    file: File, share: float, data: st.DataObject
) -> None:
    block = data.draw(st.integers(0, len(file.layout.block_counts) - 1))
    start, count = int(file.layout.block_offsets[block]), int(file.layout.block_counts[block])
    damaged = bytearray(file.data)
    damaged[start + data.draw(st.integers(2, count - 1))] ^= 1 << data.draw(st.integers(0, 7))
    again = replace(file, data=bytes(damaged))
    alone: list[Any] = []
    for part in file.cutouts:
        try:
            alone += read_apart(replace(again, cutouts=[part]), size=0, margin=Asking(1), verify=True)[0]
        except CorruptFile:
            alone.append(None)
    try:
        found, _ = read_apart(again, size=1 << 30, margin=Asking(share), verify=True)
    except CorruptFile:
        assert any(one is None for one in alone)
    else:
        assert all(np.array_equal(one, other) for one, other in zip(found, alone, strict=True))


# ---- what stays --------------------------------------------------------------------------------------------


def put(shelf: Shelf, block: int, size: int, *, used: int = 0) -> None:
    with shelf.using(SOURCE, [block]) as found:
        found[block].append(memoryview(bytes(size)))
        found[block].used = used


def held(shelf: Shelf, blocks: Sequence[int]) -> list[int]:
    return [
        prefix.size for _, _, block in blocks_of(shelf) for prefix in [found_of(shelf, block)] if block in blocks
    ]


def blocks_of(shelf: Shelf) -> list[tuple[Asset, Edition, int]]:
    return list(shelf._blocks)


def found_of(shelf: Shelf, block: int) -> Prefix:
    return shelf._blocks[SOURCE.asset, SOURCE.edition, block]


def test_what_was_used_last_stays_and_what_leaves_is_told_as_waste() -> None:
    meter = Meter()
    meter.add("tiles", "visual", Use.USEFUL, requests=4, size=400)
    shelf = Shelf(250, meter)
    put(shelf, 1, 100, used=60)
    put(shelf, 2, 100, used=100)
    with shelf.using(SOURCE, [1]) as found:
        assert found[1].size == 100
    put(shelf, 3, 100)
    assert held(shelf, [1, 2, 3]) == [100, 100]
    assert [block for _, _, block in blocks_of(shelf)] == [1, 3]
    assert counts_of(meter.drain()) == {Use.USEFUL: 400}, "all of the one that left was used"
    put(shelf, 4, 100)
    assert [block for _, _, block in blocks_of(shelf)] == [3, 4]
    assert counts_of(meter.drain()) == {Use.USEFUL: -40, Use.WASTED: 40}
    shelf.clear()
    assert not blocks_of(shelf)
    assert counts_of(meter.drain()) == {Use.USEFUL: -200, Use.WASTED: 200}


def counts_of(traffic: Sequence[Traffic]) -> dict[Use, int]:
    found: Counter[Use] = Counter()
    for one in traffic:
        found[one.use] += one.bytes
    return {use: size for use, size in found.items() if size}


def test_what_somebody_uses_stays_whatever_its_size() -> None:
    shelf = Shelf(10, Meter())
    with shelf.using(SOURCE, [1]) as one:
        one[1].append(memoryview(bytes(100)))
        put(shelf, 2, 100)
        with shelf.using(SOURCE, [1]) as same:
            assert same[1] is one[1]
        assert [block for _, _, block in blocks_of(shelf)] == [1]
    assert not blocks_of(shelf)


def test_what_never_came_leaves_no_trace() -> None:
    shelf = Shelf(1000, Meter())
    with suppress(NotFound), shelf.using(SOURCE, [1, 2]) as found:
        found[1].append(memoryview(bytes(100)))
        raise NotFound("not there")
    assert [block for _, _, block in blocks_of(shelf)] == [1]


def test_another_version_of_a_file_shares_nothing() -> None:
    shelf = Shelf(1000, Meter())
    put(shelf, 1, 100)
    with shelf.using(replace(SOURCE, edition=replace(SOURCE.edition, etag='"2"')), [1]) as found:
        assert found[1].size == 0
        with shelf.using(SOURCE, [1]) as first:
            assert first[1].size == 100


# ---- headers -----------------------------------------------------------------------------------------------


def test_a_header_is_read_once_however_many_ask_and_again_when_that_failed() -> None:
    asked = list[str]()

    async def main() -> None:
        shelf = Shelf(0, Meter())

        async def read() -> Source:
            asked.append("read")
            await asyncio.sleep(0)
            if len(asked) == 1:
                raise NotFound("not there")
            return SOURCE

        found = await asyncio.gather(*[shelf.source(ASSET, read) for _ in range(5)], return_exceptions=True)
        assert isinstance(found[0], NotFound)
        assert found[1:] == [(SOURCE, False)] + [(SOURCE, True)] * 3
        shelf.forget(ASSET)
        assert await shelf.source(ASSET, read) == (SOURCE, False)
        assert len(asked) == 3

    asyncio.run(main())


def test_a_header_without_an_etag_is_read_by_everybody() -> None:
    async def main() -> None:
        shelf, plain = Shelf(0, Meter()), replace(SOURCE, edition=Edition(size=9999))

        async def read() -> Source:
            return plain

        assert [await shelf.source(ASSET, read) for _ in range(3)] == [(plain, False)] * 3

    asyncio.run(main())


def test_headers_are_not_kept_for_ever() -> None:
    async def main() -> None:
        shelf = Shelf(0, Meter())

        async def read() -> Source:
            return SOURCE

        for number in range(3 * HEADERS):
            await shelf.source(replace(ASSET, href=f"http://cogs.test/{number}.tif"), read)
        assert len(shelf._headers) == HEADERS

    asyncio.run(main())
