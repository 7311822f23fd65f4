from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.cog import deflate, prefix, tiles
from s2async.cog.prefix import Block, Margin, rows_of, typical_size
from s2async.models import Use
from tests.support.examples import examples
from tests.support.lanes import few_quick
from tests.support.layouts import Made, by_name
from tests.support.layouts import tiff as made_tiff
from tests.support.streams import Asking, File, by_gdal, files, layout_of, read, same, whole_of

HEIGHT = 1024


def tile(rows: int = 512, count: int = 1_800_000, typical: float = 1_900_000, place: int = 0) -> Block:
    return Block(place=(32633, place), rows=rows, count=count, share=rows / HEIGHT, typical=typical)


any_tile = st.builds(
    Block,
    place=st.tuples(st.integers(0, 3)),
    rows=st.integers(1, 100_000),
    count=st.integers(0, 1 << 27),
    share=st.floats(1e-6, 1),
    typical=st.floats(0, 1 << 27),
)

# ---- the rule ----------------------------------------------------------------------------------------------


@examples(300)
@given(st.lists(st.tuples(any_tile, st.floats(0, 1), st.floats(0, 1)), max_size=30), any_tile, st.floats(1, 5))
def test_a_size_is_of_the_tile_whatever_was_learned(
    past: list[tuple[Block, float, float]], wanted: Block, times: float
) -> None:
    margin = Margin()
    for known, used, asked in past:
        margin.learn(known, used=round(used * known.count), asked=round(asked * known.count))
    size = margin.size(wanted, times=times)
    assert min(1, wanted.count) <= size <= wanted.count
    assert size <= margin.size(wanted, times=times + 1)
    assert size == wanted.count or size <= wanted.count - prefix.REST
    assert all(prefix.RANGE[0] <= factor <= prefix.RANGE[1] for factor in margin.factors.values())
    assert 0 <= margin.short <= margin.asked <= len(past)


@given(st.integers(0, 1 << 27), st.floats(0, 1 << 27))
def test_more_rows_are_never_fewer_bytes_of_a_tile_that_was_never_seen(count: int, typical: float) -> None:
    usual = max(count, 4 * typical)  # of much smaller tiles than usual the margin is more than all
    sizes = [Margin().size(tile(rows, count, typical if 4 * count >= usual else 0)) for rows in range(1, 1025, 31)]
    assert sizes == sorted(sizes)
    assert Margin().size(tile(1024, count, typical)) == count


def test_what_is_asked_for_is_the_rows_share_and_a_margin() -> None:
    """At first, of a usual tile: 1.3 times 0.3 of ``x * (1 - x)`` of it, a KiB, and the stream's header."""
    assert Margin().size(tile(256, 1_000_000, 1_000_000)) == math.ceil(
        250_000 + 1.3 * 0.3 * 0.1875 * 1_000_000 + 1024 + prefix.HEAD
    )


def test_the_rest_of_a_tile_that_is_hardly_anything_is_asked_for_too() -> None:
    assert Margin().size(tile(10, prefix.REST, prefix.REST)) == prefix.REST
    assert Margin().size(tile(1, 100 * prefix.REST, 100 * prefix.REST)) < 10 * prefix.REST


def test_the_usual_size_of_a_files_tiles_leaves_out_what_is_left_out() -> None:
    layout = layout_of(made_tiff(by_name("tiles")))
    counts = np.zeros_like(layout.block_counts)
    assert typical_size(replace(layout, block_counts=counts)) == 0
    counts[:10] = np.arange(1, 11) * 1000
    assert typical_size(replace(layout, block_counts=counts)) == 10_000


def test_rows_beyond_the_raster_are_not_counted() -> None:
    for name in ("tiles", "tiles planar", "strips deflate", "exact blocks"):
        layout = layout_of(made_tiff(by_name(name)))
        rows = [rows_of(layout, block) for block in range(0, layout.across * layout.down, layout.across)]
        assert sum(rows) == layout.grid.height
        assert rows[:-1] == [layout.block_height] * (len(rows) - 1)


# ---- what is learned ---------------------------------------------------------------------------------------


def scenes(kind: str, seed: int) -> Iterator[tuple[Block, int]]:
    """Tiles of 40 places, again and again: what is wanted of each, and the bytes that its rows take.

    A row takes what its land takes (it differs by place, and stays) times what the sky leaves of it.
    """
    generator = np.random.default_rng(seed)
    land = generator.uniform(0.7, 1.3, (40, 8)).repeat(HEIGHT // 8, axis=1)
    wanted = generator.integers(1, HEIGHT, (40, 3))
    while True:
        sky = np.ones((40, HEIGHT))
        for place in range(40):
            edge = int(generator.integers(0, HEIGHT))
            if kind == "half cloud" and generator.random() < 0.5:
                sky[place, edge : edge + 400] = generator.uniform(0.2, 0.9)
            elif kind == "flat water":
                sky[place, 600:] = 0.15 * generator.uniform(0.8, 1.2)
            elif kind == "swath edge" and generator.random() < 0.3:
                sky[place, :edge] = np.linspace(0.02, 1, edge)
            elif kind == "saturated" and generator.random() < 0.3:
                sky[place, edge:] = 0.01
        sizes = 1800 * land * sky * generator.normal(1, 0.03, land.shape).clip(0.8, 1.2)
        typical = float(np.quantile(sizes.sum(axis=1), 0.9))
        for place in range(40):
            rows = int(generator.choice(wanted[place]))
            used = int(sizes[place, :rows].sum()) + prefix.HEAD
            count = int(sizes[place].sum()) + prefix.HEAD + 4
            yield tile(rows, count, typical, place), min(used, count)


@pytest.mark.parametrize("kind", few_quick(["clear", "half cloud", "flat water", "swath edge", "saturated"], 2))
def test_at_most_two_of_a_hundred_prefixes_are_short_once_it_has_learned(kind: str) -> None:
    margin, short, asked, needed, count = Margin(), 0, 0, 0, 0
    for number, (wanted, used) in zip(range(6000), scenes(kind, 1), strict=False):
        size = margin.size(wanted)
        margin.learn(wanted, used=used, asked=size)
        if number >= 2000:
            short += used > size
            asked, needed, count = asked + max(size, used), needed + used, count + wanted.count
    assert short <= 0.02 * 4000
    assert asked / needed < {"clear": 1.05, "flat water": 1.1}.get(kind, 1.25)
    assert asked < 0.8 * count


def test_factors_fall_on_even_tiles_and_rise_with_each_short_one() -> None:
    margin = Margin()
    for number in range(400):
        wanted = tile(512, place=number)
        margin.learn(wanted, used=900_000 + prefix.HEAD, asked=margin.size(wanted))
    assert margin.factors[False] < prefix.START[False]
    assert margin.factors[True] == prefix.START[True]
    before, wanted = margin.factors[False], tile(512, place=1000)
    margin.learn(wanted, used=wanted.count, asked=margin.size(wanted))
    assert margin.factors[False] == pytest.approx(before + prefix.STEP)
    assert (margin.asked, margin.short) == (401, 1)


def test_a_place_that_lies_uneven_is_known_the_next_time() -> None:
    margin = Margin()
    wanted = tile(512)
    for _ in range(20):
        margin.learn(wanted, used=600_000, asked=margin.size(wanted))
    again, elsewhere = margin.size(wanted), margin.size(tile(512, place=1))
    assert 600_000 < again < 800_000 < elsewhere


def test_places_are_forgotten_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "PLACES", 10)
    margin = Margin()
    for number in [*range(10), 0, 10]:
        margin.learn(tile(place=number), used=700_000, asked=1_000_000)
    assert [place[1] for place in margin._places] == [2, 3, 4, 5, 6, 7, 8, 9, 0, 10]


# ---- prefixes that are too short ---------------------------------------------------------------------------


class Lacking(Margin):
    """A margin that knows what a tile takes, and always asks for some bytes less."""

    def __init__(self, file: File, rows: dict[int, int], less: int) -> None:
        super().__init__()
        self.less = less
        self.needed = {block: needed(file, block, number) for block, number in rows.items()}

    def size(self, block: Block, *, times: float = 1) -> int:
        return max(self.needed[int(str(block.place[-1]))] - self.less, 1)


def needed(file: File, block: int, rows: int) -> int:
    """The fewest bytes of a block that its first rows can be told from."""
    start, count = int(file.layout.block_offsets[block]), int(file.layout.block_counts[block])
    stream, size = file.data[start : start + count], rows * deflate.line_bytes(file.layout)
    plain = zlib.decompressobj()
    plain.decompress(stream, size)
    end = count - len(plain.unconsumed_tail)
    while len(zlib.decompressobj().decompress(stream[: end - 1], size)) == size:
        end -= 1
    return end


@examples(120)
@given(files(sparse=False), st.booleans(), st.sampled_from([1, 2, 9]) | st.floats(0, 1))
def test_pixels_are_right_however_little_was_asked_for(file: File, masked: bool, less: float) -> None:
    layout = file.layout
    windows = [part.window for part in file.cutouts]
    insides = [part.inside if masked else None for part in file.cutouts]
    rows = tiles.rows_under(layout, windows, insides)
    margin = Lacking(file, rows, less) if isinstance(less, int) else Asking(less)
    found, transport = read(file, margin=margin, masked=masked)
    assert same(file, found, by_gdal(file.data, windows), masked=masked)
    for block in rows:
        start, count = int(layout.block_offsets[block]), int(layout.block_counts[block])
        asked = [(a, b) for a, b in transport.asked if start <= a < start + count]
        assert 1 <= len(asked) <= 3
        assert asked[0][0] == start
        assert [b for _, b in asked[:-1]] == [a for a, _ in asked[1:]]
        assert asked[-1][1] <= start + count
    assert transport.meter.requests == len(transport.asked)
    counts = {t.use: t.bytes for t in transport.meter.drain()}
    assert sum(counts.values()) == sum(stop - start for start, stop in transport.asked)
    used = sum(needed(file, block, number) for block, number in rows.items())
    assert 0 <= counts.get(Use.USEFUL, 0) - used <= 16 * len(rows)  # inflating looks some bytes ahead


@pytest.mark.parametrize("less", [1, 1000, 70_000])
def test_a_second_range_is_long_enough_for_most_and_a_third_for_all(less: int) -> None:
    """Of a tile of 500 kB: one byte too little costs one more request, of 64 KiB, and far too little two."""
    made = Made(name="noise", width=1024, height=1024, options={
        "TILED": "YES", "BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024, "COMPRESS": "DEFLATE"})  # fmt: skip
    data = made_tiff(made)
    layout = layout_of(data)
    part = whole_of(layout)
    part = replace(part, window=replace(part.window, height=600), inside=part.inside[:600])
    file = File(data=data, layout=layout, cutouts=[part], how="")
    found, transport = read(file, margin=Lacking(file, {0: 600}, less))
    np.testing.assert_array_equal(found[0], made.pixels[:, :600])
    assert len(transport.asked) == (2 if less < 65536 else 3)


def test_what_is_remembered_of_a_place_is_bounded_and_what_was_used_last_stays() -> None:
    margin = Margin()
    for rows in range(1, 1024):
        margin.learn(tile(7), used=20_000, asked=30_000)
        margin.learn(tile(rows), used=1_000 * rows, asked=1_500 * rows)
    (place,) = margin._places.values()
    assert len(place.leans) == prefix.ROWS
    assert {7, 1023} <= place.leans.keys()
