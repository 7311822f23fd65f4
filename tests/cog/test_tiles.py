from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterioWindow

from s2async.cog import directories, gdal, headers, tiff, tiles
from s2async.cog.grid import Window
from s2async.cog.headers import subset
from s2async.cog.tiff import Layout
from s2async.cog.tiles import blocks_under, byte_ranges, covered
from s2async.errors import CorruptFile
from tests.support.examples import examples
from tests.support.lanes import few_quick
from tests.support.layouts import MADE, Made, by_name, entries
from tests.support.layouts import tiff as made_tiff

made_files = pytest.mark.parametrize("made", MADE, ids=str)


def layout_of(data: bytes) -> Layout:
    found = tiff.parse(data)
    assert isinstance(found, Layout)
    return found


def stored(data: bytes, layout: Layout, blocks: list[int]) -> dict[int, bytes]:
    """Compressed bytes of the blocks that the file has."""
    return {
        i: data[layout.block_offsets[i] : layout.block_offsets[i] + layout.block_counts[i]]
        for i in blocks
        if layout.block_counts[i]
    }


def by_gdal(data: bytes, windows: list[Window]) -> list[NDArray[np.generic]]:
    with MemoryFile(data) as file, file.open() as raster:
        return [raster.read(window=RasterioWindow(w.col, w.row, w.width, w.height)) for w in windows]


def same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """Bit for bit, NaN included."""
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@st.composite
def windows_in(draw: st.DrawFn, width: int, height: int) -> Window:
    col, row = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    across, down = draw(st.integers(1, width - col)), draw(st.integers(1, height - row))
    return Window(col=col, row=row, width=across, height=down)


def some_windows(made: Made, number: int) -> list[Window]:
    """Corners, the whole, one pixel, and random ones."""
    width, height = made.width, made.height
    generator = np.random.default_rng(number)
    found = [
        Window(col=0, row=0, width=width, height=height),
        Window(col=0, row=0, width=1, height=1),
        Window(col=width - 1, row=height - 1, width=1, height=1),
    ]
    while len(found) < number:
        (left, right), (top, bottom) = (np.sort(generator.integers(0, n, 2)) for n in (width, height))
        found.append(
            Window(col=int(left), row=int(top), width=int(right - left) + 1, height=int(bottom - top) + 1)
        )
    return found


# ---- which blocks ------------------------------------------------------------------------------------------


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """A layout of any size, in which only sizes and places matter."""
    width, height, bands = draw(st.integers(1, 90)), draw(st.integers(1, 90)), draw(st.integers(1, 3))
    tiled, planar = draw(st.booleans()), draw(st.booleans())
    base = layout_of(made_tiff(by_name("tiles")))
    across = draw(st.integers(1, 40)) if tiled else width
    down = draw(st.integers(1, 40))
    number = -(-width // across) * -(-height // down) * (bands if planar else 1)
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    most, end = draw(st.sampled_from([0, 2, 3000])), draw(st.sampled_from([20, 60_000]))
    counts, places = generator.integers(0, most + 1, number), generator.integers(16, end, number)
    return replace(
        base,
        grid=replace(base.grid, width=width, height=height),
        bands=bands,
        planar=planar,
        tiled=tiled,
        block_width=across,
        block_height=down,
        block_offsets=np.where(counts, places, 0),
        block_counts=counts,
    )


def owner(layout: Layout) -> NDArray[np.intp]:
    """(planes, rows, columns): the index of the block that holds each pixel, by counting blocks one by one."""
    planes = layout.bands if layout.planar else 1
    grid = np.full((planes, layout.grid.height, layout.grid.width), -1)
    numbers = itertools.count()
    for plane in range(planes):
        for top in range(0, layout.grid.height, layout.block_height):
            for left in range(0, layout.grid.width, layout.block_width):
                grid[plane, top : top + layout.block_height, left : left + layout.block_width] = next(numbers)
    return grid


@examples(150)
@given(st.data())
def test_the_blocks_under_windows_are_those_that_own_their_pixels(data: st.DataObject) -> None:
    layout = data.draw(layouts())
    grid = owner(layout)
    inside = windows_in(layout.grid.width, layout.grid.height)
    windows = data.draw(st.lists(inside, max_size=4))
    expected = {
        int(block)
        for w in windows
        for block in np.unique(grid[:, w.row : w.row + w.height, w.col : w.col + w.width])
    }
    assert blocks_under(layout, windows) == sorted(expected)
    assert len(layout.block_counts) == grid.max() + 1


# ---- which bytes -------------------------------------------------------------------------------------------


def whole(layout: Layout, blocks: Iterable[int]) -> dict[int, int]:
    return {block: int(layout.block_counts[block]) for block in blocks}


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8))
def test_covered_bytes_are_counted_once(parts: list[tuple[int, int]]) -> None:
    spans = [(start, start + count) for start, count in parts]
    assert covered(spans) == len({byte for start, stop in spans for byte in range(start, stop)})


@examples(200)
@given(layouts(), st.integers(0, 9000), st.integers(1, 20_000), st.randoms())
def test_ranges_hold_every_block_once_and_little_else(layout: Layout, gap: int, longest: int, random) -> None:  # type: ignore[no-untyped-def]
    blocks = [i for i in range(len(layout.block_counts)) if random.random() < 0.7]
    ranges = byte_ranges(layout, whole(layout, blocks), gap=gap, longest=longest)
    present = [i for i in blocks if layout.block_counts[i]]
    assert sorted(i for found in ranges for i in found.blocks) == present
    for found in ranges:
        held = [(int(layout.block_offsets[i]), int(layout.block_counts[i])) for i in found.blocks]
        assert min(place for place, _ in held) == found.start
        assert max(place + count for place, count in held) == found.stop
        assert found.stop - found.start <= max(longest, *(count for _, count in held), 0)
        covered = {byte for place, count in held for byte in range(place, place + count)}
        holes = [b - a - 1 for a, b in itertools.pairwise(sorted(covered)) if b > a + 1]
        assert all(hole <= gap for hole in holes)
    # neighbours are separate only for a reason
    for one, other in itertools.pairwise(ranges):
        assert one.start <= other.start
        first = int(layout.block_counts[other.blocks[0]])
        assert other.start - one.stop > gap or other.start + first - one.start > longest


def test_neighbours_in_a_row_of_a_cog_share_a_request() -> None:
    data = made_tiff(by_name("COG picture"))
    layout = layout_of(data)
    assert (layout.across, layout.down) == (3, 3)
    ranges = byte_ranges(layout, whole(layout, range(9)), gap=8)
    assert len(ranges) == 1  # 8 bytes lie between two tiles of a COG
    assert len(byte_ranges(layout, whole(layout, range(9)), gap=7)) == 9
    assert [found.blocks for found in byte_ranges(layout, whole(layout, [0, 1, 4, 5]), gap=8)] == [(0, 1), (4, 5)]


def test_the_bytes_of_many_blocks_are_planned_in_no_time() -> None:
    base = layout_of(made_tiff(by_name("strips")))
    number = 100_000
    layout = replace(
        base,
        grid=replace(base.grid, width=1, height=number),
        block_width=1,
        block_height=1,
        block_offsets=np.arange(16, 16 + 8 * number, 8),
        block_counts=np.full(number, 8),
    )
    (found,) = byte_ranges(layout, whole(layout, range(number)))
    assert found.blocks == tuple(range(number))


# ---- the small TIFF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", few_quick(MADE, 15), ids=str)
def test_windows_of_a_subset_are_those_of_the_file(made: Made) -> None:
    data = made_tiff(made)
    layout = layout_of(data)
    windows = some_windows(made, 12)
    for window, expected in zip(windows, by_gdal(data, windows), strict=True):
        small = subset(layout, stored(data, layout, blocks_under(layout, [window])))
        (found,) = gdal.read(small, [window])
        assert same(found, expected), window


@made_files
def test_several_windows_share_one_subset(made: Made) -> None:
    data = made_tiff(made)
    layout = layout_of(data)
    windows = some_windows(made, 6)[1:]
    small = subset(layout, stored(data, layout, blocks_under(layout, windows)))
    for found, expected in zip(gdal.read(small, windows), by_gdal(data, windows), strict=True):
        assert same(found, expected)


@made_files
def test_a_subset_says_the_same_of_itself(made: Made) -> None:
    data = made_tiff(made)
    layout = layout_of(data)
    some = stored(data, layout, [0])
    with (
        MemoryFile(data) as one,
        one.open() as whole,
        MemoryFile(subset(layout, some)) as other,
        other.open() as small,
    ):
        for name in ("crs", "transform", "shape", "dtypes", "scales", "offsets", "block_shapes", "colorinterp"):
            assert getattr(small, name) == getattr(whole, name), name
        assert repr(small.nodatavals) == repr(whole.nodatavals)
        assert small.tags() == whole.tags()
        assert small.mask_flag_enums == whole.mask_flag_enums
    again = layout_of(subset(layout, some))
    assert again.grid == layout.grid
    assert (again.order, again.big, again.tags) == (layout.order, layout.big, layout.tags)
    assert ((again.block_counts == 0) == (layout.block_counts == 0)).all()


@made_files
def test_a_block_that_was_not_given_is_an_error_and_never_zeros(made: Made) -> None:
    data = made_tiff(made)
    layout = layout_of(data)
    present = np.flatnonzero(layout.block_counts)
    for missing in {int(present[0]), int(present[-1]), int(present[len(present) // 2])}:
        given_ = [i for i in range(len(layout.block_counts)) if i != missing]
        small = subset(layout, stored(data, layout, given_))
        place = missing % (layout.across * layout.down)
        window = Window(
            col=place % layout.across * layout.block_width,
            row=place // layout.across * layout.block_height,
            width=1,
            height=1,
        )
        with pytest.raises(CorruptFile, match="cannot be decoded"):
            gdal.read(small, [window])


@pytest.mark.parametrize("name", ["sparse", "sparse planar", "sparse strips", "sparse, BigTIFF", "COG sparse"])
def test_blocks_left_out_read_as_nodata_from_no_bytes(name: str) -> None:
    made = by_name(name)
    data = made_tiff(made)
    layout = layout_of(data)
    corner = Window(col=made.width - 3, row=made.height - 2, width=3, height=2)
    blocks = blocks_under(layout, [corner])
    assert byte_ranges(layout, whole(layout, blocks)) == []
    (found,) = gdal.read(subset(layout, {}), [corner])
    assert same(found, np.full((made.bands, 2, 3), made.nodata or 0, dtype=made.dtype))


@pytest.mark.parametrize("name", ["tiles", "strips deflate", "uint16 lzw predictor", "COG picture"])
def test_values_begin_at_even_bytes_as_the_standard_wants(name: str) -> None:
    data = made_tiff(by_name(name))
    layout = layout_of(data)
    odd = replace(layout, tags=(*layout.tags, (65000, 2, 7, b"seven.\0"), (65001, 2, 5, b"five\0")))
    for blocks in (stored(data, layout, [0]), stored(data, layout, [0, 1]), {}):
        small = subset(odd, blocks)
        start = int.from_bytes(small[4:8], "little")
        far = [
            value
            for kind, count, value, _ in entries(small).values()
            if {2: 1, 3: 2, 4: 4, 12: 8}[kind] * count > 4
        ]
        assert len(far) > 5
        assert not [place for place in (start, *far) if place % 2]


def test_blocks_of_a_wrong_length_are_refused() -> None:
    data = made_tiff(by_name("tiles"))
    layout = layout_of(data)
    blocks = stored(data, layout, [0, 1])
    for wrong in (b"", blocks[0][:-1], blocks[0] + b"\0"):
        with pytest.raises(CorruptFile, match="block 0 has"):
            subset(layout, {**blocks, 0: wrong})
    sparse = layout_of(made_tiff(by_name("sparse")))
    with pytest.raises(CorruptFile, match="block 11 has"):
        subset(sparse, {11: b"x"})


def test_blocks_that_no_classic_tiff_can_hold_are_refused() -> None:
    data = made_tiff(by_name("tiles"))
    huge = bytes(1 << 29)
    layout = layout_of(data)
    layout = replace(layout, block_counts=np.full_like(layout.block_counts, len(huge)))
    with pytest.raises(CorruptFile, match="4 GiB"):
        subset(layout, dict.fromkeys(range(len(layout.block_counts)), huge))


@examples(60)
@given(st.data())
def test_any_blocks_of_any_layout_give_its_pixels_or_an_error(data: st.DataObject) -> None:
    made = data.draw(st.sampled_from([m for m in MADE if m.width * m.height < 6000]))
    source = made_tiff(made)
    layout = layout_of(source)
    window = data.draw(windows_in(made.width, made.height))
    given_ = data.draw(st.sets(st.integers(0, len(layout.block_counts) - 1)))
    blocks = stored(source, layout, sorted(given_))
    shuffled = dict(data.draw(st.permutations(list(blocks.items()))))
    small = subset(layout, shuffled)
    needed = {i for i in blocks_under(layout, [window]) if layout.block_counts[i]}
    if needed <= given_:
        assert same(gdal.read(small, [window])[0], by_gdal(source, [window])[0])
    else:
        with pytest.raises(CorruptFile):
            gdal.read(small, [window])


def test_a_subset_is_hardly_longer_than_its_blocks() -> None:
    data = made_tiff(by_name("COG picture"))
    layout = layout_of(data)
    blocks = stored(data, layout, [4])
    assert len(subset(layout, blocks)) < len(blocks[4]) + layout.end
    assert headers._FAR > directories.MAX_HEADER


# ---- rows and windows of blocks ----------------------------------------------------------------------------


@examples(150)
@given(st.data())
def test_rows_under_windows_reach_to_the_lowest_pixel_that_matters(data: st.DataObject) -> None:
    layout = replace(data.draw(layouts()), planar=False)
    owned = owner(layout)[0]
    windows = data.draw(st.lists(windows_in(layout.grid.width, layout.grid.height), max_size=4))
    generator = np.random.default_rng(data.draw(st.integers(0, 999)))
    insides = [
        None
        if data.draw(st.booleans())
        else generator.random(w.shape) < data.draw(st.sampled_from([0, 0.01, 0.5]))
        for w in windows
    ]
    matters = np.zeros(owned.shape, dtype=bool)
    for w, inside in zip(windows, insides, strict=True):
        matters[w.row : w.row + w.height, w.col : w.col + w.width] |= True if inside is None else inside
    lowest = {
        int(block): int(np.nonzero(matters & (owned == block))[0].max()) % layout.block_height + 1
        for block in np.unique(owned[matters])
    }
    assert tiles.rows_under(layout, windows, insides) == lowest


@examples(100)
@given(st.data())
def test_the_windows_over_a_block_are_those_that_hold_pixels_of_it(data: st.DataObject) -> None:
    layout = replace(data.draw(layouts()), planar=False)
    owned = owner(layout)[0]
    windows = data.draw(st.lists(windows_in(layout.grid.width, layout.grid.height), max_size=6))
    found: dict[int, list[int]] = {}
    for index, w in enumerate(windows):
        for block in np.unique(owned[w.row : w.row + w.height, w.col : w.col + w.width]):
            found.setdefault(int(block), []).append(index)
    assert tiles.windows_over(layout, windows) == found
