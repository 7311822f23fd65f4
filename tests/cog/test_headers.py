from __future__ import annotations

import itertools
import random
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from s2async.cog import directories, headers, tiff
from s2async.cog.tiff import Layout
from tests.support.layouts import MADE, NORTH_UP, Made, by_name
from tests.support.layouts import tiff as made_tiff


def layout_of(data: bytes) -> Layout:
    found = tiff.parse(data)
    assert isinstance(found, Layout)
    return found


def facts(layout: Layout) -> dict[str, str]:
    """All that counts of a layout, comparable (NaN as text)."""
    values = {name: getattr(layout, name) for name in layout.__slots__ if name not in ("end", "read_to")}
    return {key: repr(v.tolist()) if isinstance(v, np.ndarray) else repr(v) for key, v in values.items()}


@pytest.mark.parametrize("made", MADE, ids=str)
def test_a_header_comes_back_as_it_was(made: Made) -> None:
    layout = layout_of(made_tiff(made))
    again = headers.unpack(headers.pack(layout))
    assert again is not None
    assert facts(again) == facts(layout)
    assert again.block_offsets.dtype == layout.block_offsets.dtype


FOUR, EIGHT = layout_of(made_tiff(by_name("tiles"))), layout_of(made_tiff(by_name("sparse, BigTIFF")))
BLOCKS = len(FOUR.block_offsets)
counts = st.lists(st.integers(0, 60_000), min_size=BLOCKS, max_size=BLOCKS)


def places(most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, most), min_size=BLOCKS, max_size=BLOCKS)


@given(places((1 << 32) - 1), counts)
def test_blocks_may_lie_anywhere(offsets: list[int], sizes: list[int]) -> None:
    layout = replace(FOUR, block_offsets=np.array(offsets), block_counts=np.minimum(sizes, 60_000))
    again = headers.unpack(headers.pack(layout))
    assert again is not None
    assert facts(again) == facts(layout)


@given(places((1 << 62) - 1), counts, st.booleans())
def test_blocks_of_a_large_file_in_order_and_otherwise_it_is_not_kept(
    offsets: list[int], sizes: list[int], in_order: bool
) -> None:
    offsets = sorted(offsets) if in_order else offsets
    layout = replace(EIGHT, block_offsets=np.array(offsets), block_counts=np.array(sizes))
    again = headers.unpack(headers.pack(layout))
    present = [(place, size) for place, size in zip(offsets, sizes, strict=True) if size]
    apart = all(a + size <= b for (a, size), (b, _) in itertools.pairwise(present))
    assert (again is None) == (not apart)
    if again is not None:
        assert facts(again) == facts(layout)


# ---- damage ------------------------------------------------------------------------------------------------

PACKED = headers.pack(layout_of(made_tiff(by_name("COG picture"))))


@given(st.integers(0, len(PACKED) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_changes_nothing(place: int, change: int) -> None:
    damaged = bytearray(PACKED)
    damaged[place] ^= change
    again, whole = headers.unpack(bytes(damaged)), headers.unpack(PACKED)
    assert whole is not None
    assert again is None or facts(again) == facts(whole)


def test_a_cut_header_is_noticed() -> None:
    assert [size for size in range(len(PACKED)) if headers.unpack(PACKED[:size]) is not None] == []


@given(st.binary(max_size=200))
def test_whatever_is_compressed_is_parsed_anew(data: bytes) -> None:
    assert headers.unpack(data) is None
    assert headers.unpack(zlib.compress(data)) is None


def test_a_bomb_is_no_header() -> None:
    bomb = zlib.compress(bytes(20 << 20), 1)
    tracemalloc.start()
    assert headers.unpack(bomb) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * directories.MAX_HEADER


# ---- size --------------------------------------------------------------------------------------------------


def plain(layout: Layout) -> int:
    """What DEFLATE at its best makes of the header as it stands."""
    return len(zlib.compress(headers.rewritten(layout, layout.block_offsets, layout.block_counts), 9))


def test_places_of_blocks_in_a_row_need_hardly_any_bytes() -> None:
    """121 tiles as in a picture of Sentinel-2, of 1.2 to 1.9 MB."""
    profile = {"width": 10980, "height": 10980, "count": 3, "dtype": "uint8", "nodata": 0}
    with MemoryFile() as memory:
        how = {"TILED": "YES", "BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024, "COMPRESS": "DEFLATE", "SPARSE_OK": "YES"}
        memory.open(driver="GTiff", crs="EPSG:32633", transform=NORTH_UP, **profile, **how).close()
        empty = layout_of(memory.read())
    chance = random.Random(1)
    sizes = np.array([chance.randrange(1_200_000, 1_900_000) for _ in range(121)])
    starts = 1_000_000 + np.concatenate([[0], np.cumsum(sizes + 8)[:-1]])
    layout = replace(empty, block_offsets=starts, block_counts=sizes)
    assert len(headers.pack(layout)) < 0.6 * plain(layout)
    assert len(headers.pack(layout)) < 700


def test_a_real_header_takes_less_than_a_kilobyte(real_data: Path) -> None:
    (header,) = (real_data / "cog-header").glob("*.bin")
    head = header.read_bytes()
    layout = layout_of(head)
    packed = headers.pack(layout)
    again = headers.unpack(packed)
    assert again is not None
    assert facts(again) == facts(layout)
    assert len(packed) < 950
    assert len(packed) < 0.6 * len(zlib.compress(head[: layout.read_to], 9))


@given(st.binary(min_size=1, max_size=9), st.binary(min_size=1, max_size=9), st.booleans())
def test_a_form_gives_what_a_subset_of_the_only_block_is(block: bytes, text: bytes, tiled: bool) -> None:
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128} if tiled else {"blockysize": 61}
    layout = layout_of(made_tiff(Made(name="one block", options=options)))
    assert len(layout.block_offsets) == 1
    metadata = (directories.GDAL_METADATA, 2, len(text), text)
    entries = [next(entry for entry in layout.tags if entry[0] == directories.WIDTH), metadata]
    whole = replace(
        layout,
        tags=(*(entry for entry in layout.tags if entry[0] != directories.GDAL_METADATA), metadata),
        block_counts=np.array([len(block)]),
    )
    form = headers.Form(layout, [directories.WIDTH, directories.GDAL_METADATA])
    assert form.fill(block, entries) == headers.subset(whole, {0: block})
