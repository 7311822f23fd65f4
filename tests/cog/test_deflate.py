from __future__ import annotations

import importlib.util
import sys
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from rasterio.errors import RasterioError

from s2async.cog import deflate, tiles
from s2async.errors import CorruptFile
from tests.support.examples import examples
from tests.support.lanes import few_quick
from tests.support.layouts import Made, by_name, entries, with_tag
from tests.support.layouts import tiff as made_tiff
from tests.support.streams import Asking, File, by_gdal, files, layout_of, read, same, whole_of

isal = pytest.importorskip("isal.isal_zlib")
engines = st.sampled_from([isal, zlib])
_TILED = {"TILED": "YES", "BLOCKXSIZE": 32, "BLOCKYSIZE": 16, "COMPRESS": "DEFLATE"}


# ---- pixels are those of GDAL ------------------------------------------------------------------------------


@examples(250)
@given(files(), engines, st.booleans(), st.booleans(), st.floats(0, 1), st.sampled_from([-1, 8192]))
def test_pixels_are_those_of_gdal(
    file: File, module: ModuleType, masked: bool, verify: bool, share: float, gap: int
) -> None:
    assert deflate.supported(file.layout)
    expected = by_gdal(file.data, [part.window for part in file.cutouts])
    with patch.multiple(deflate, fast=module, _SMALL=-1):
        found, _ = read(file, margin=Asking(share), masked=masked, verify=verify, gap=gap)
    assert same(file, found, expected, masked=masked)


def test_the_same_without_isal() -> None:
    """Where isal is not there, the module takes zlib, and says what was damaged all the same."""
    spec = importlib.util.spec_from_file_location("plain_inflate", Path(deflate.__file__))
    assert spec
    assert spec.loader
    plain = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"isal": None, "plain_inflate": plain}):
        spec.loader.exec_module(plain)
    assert plain.fast is zlib
    assert vars(deflate)["fast"] is isal
    layout = replace(layout_of(made_tiff(by_name("tiles three bands"))), block_width=1024, block_height=512)
    raw = np.random.default_rng(1).integers(0, 9, 512 * deflate.line_bytes(layout), np.uint8).tobytes()
    stream = zlib.compress(raw)
    for rows in (1, 40, 100, 300, 512):
        assert plain.read_rows(layout, stream, rows)[0] == deflate.read_rows(layout, stream, rows)[0]
        with pytest.raises(CorruptFile, match="is damaged"):
            plain.read_rows(layout, b"\xff" + stream[1:], rows)


@pytest.mark.parametrize("colours", few_quick([256, 40, 2]))
def test_bytes_needed_are_told_by_isal_as_by_zlib(colours: int) -> None:
    layout = replace(layout_of(made_tiff(by_name("tiles three bands"))), block_width=1024, block_height=1024)
    line = deflate.line_bytes(layout)
    raw = np.random.default_rng(1).integers(0, colours, 1024 * line, np.uint8).tobytes()
    stream = zlib.compress(raw, 6)
    for rows in (1, 2, 20, 40, 42, 43, 60, 86, 100, 171, 200, 342, 500, 683, 800, 1000, 1024):
        with patch.multiple(deflate, fast=zlib):
            pixels, exact = deflate.read_rows(layout, stream, rows)
        found, used = deflate.read_rows(layout, stream, rows)
        assert found == pixels == raw[: rows * line]
        assert deflate.read_rows(layout, stream[:exact], rows)[0] == pixels
        ahead = deflate.read_rows(layout, stream, min(rows + 65536 // line + 1, 1024))[1]
        assert exact <= used <= (exact if rows * line <= deflate._SMALL else ahead + 8)
    beyond = [
        deflate.read_rows(layout, stream, rows)[1] - len(stream) * rows / 1024
        for rows in range(250, 340, 10)  # away from the sizes to which isal's buffer grows
    ]
    assert max(map(abs, beyond)) < 0.01 * len(stream) + 64


# ---- cut and damaged streams -------------------------------------------------------------------------------


@examples(60)
@given(files(sparse=False), engines, st.data())
def test_of_a_cut_stream_come_right_pixels_or_none(file: File, module: ModuleType, data: st.DataObject) -> None:
    """The file says that a block is shorter than it is: at the end of what is there, its stream has not ended."""
    expected = by_gdal(file.data, [part.window for part in file.cutouts])
    counts = file.layout.block_counts.copy()
    block = data.draw(st.integers(0, len(counts) - 1))
    counts[block] = data.draw(st.integers(1, max(int(counts[block]) - 1, 1)))
    cut = replace(file.layout, block_counts=counts)
    masked, verify = data.draw(st.booleans()), data.draw(st.booleans())
    with patch.multiple(deflate, fast=module, _SMALL=-1):
        try:
            found, _ = read(
                file, layout=cut, margin=Asking(data.draw(st.floats(0, 1))), masked=masked, verify=verify
            )
        except CorruptFile:
            event("refused")
        else:
            event("read")
            assert same(file, found, expected, masked=masked)


def sound(stream: bytes) -> bool:
    """What zlib says of a whole stream, its checksum included."""
    plain = zlib.decompressobj()
    try:
        plain.decompress(stream)
    except zlib.error:
        return False
    return plain.eof


@examples(150)
@given(files(sparse=False), engines, st.booleans(), st.booleans(), st.data())
def test_of_damaged_streams_come_the_pixels_that_are_there_or_none(
    file: File, module: ModuleType, verify: bool, masked: bool, data: st.DataObject
) -> None:
    """With ``verify`` what zlib refuses is refused. Without it, what comes is what zlib finds, if anything."""
    damaged = bytearray(file.data)
    for _ in range(data.draw(st.sampled_from([1, 1, 1, 3, 40]))):
        block = data.draw(st.integers(0, len(file.layout.block_counts) - 1))
        start, count = int(file.layout.block_offsets[block]), int(file.layout.block_counts[block])
        damaged[start + data.draw(st.integers(2, count - 1))] ^= 1 << data.draw(st.integers(0, 7))
    again = replace(file, data=bytes(damaged))
    margin = Asking(data.draw(st.floats(0, 1)))
    windows = [part.window for part in file.cutouts]
    insides = [part.inside if masked else None for part in file.cutouts]
    wanted = tiles.rows_under(file.layout, windows, insides)
    intact = all(sound(stream) for stream in tiles_of(again, wanted))
    with patch.multiple(deflate, fast=module, _SMALL=-1):
        try:
            found, _ = read(again, margin=margin, masked=masked, verify=verify)
        except CorruptFile:
            event("refused")
            assert not intact
            return
    event("read")
    if verify:
        assert intact
    with patch.multiple(deflate, fast=zlib, _SMALL=-1), suppress(CorruptFile):  # it may look further ahead
        assert same(file, found, read(again, masked=masked)[0], masked=masked)
    if intact:  # of damaged streams GDAL may make other pixels up, and it looks at those that nobody wants, too
        with suppress(RasterioError):
            assert same(file, found, by_gdal(again.data, windows), masked=masked)


def tiles_of(file: File, blocks: Iterable[int]) -> list[bytes]:
    places, counts = file.layout.block_offsets, file.layout.block_counts
    return [file.data[places[block] : places[block] + counts[block]] for block in blocks]


@pytest.mark.parametrize("module", [isal, zlib], ids=["isal", "zlib"])
def test_every_cut_gives_the_start_of_the_pixels_and_every_flip_is_noticed(module: ModuleType) -> None:
    layout = layout_of(made_tiff(by_name("tiles three bands")))
    rows, size = layout.block_height, layout.block_height * deflate.line_bytes(layout)
    raw = np.random.default_rng(1).integers(0, 40, size, np.uint8).tobytes()  # of few values, Adler-32 misses some
    stream = zlib.compress(raw)
    with patch.multiple(deflate, fast=module, _SMALL=-1):
        for end in range(len(stream) + 1):
            found, used = deflate.read_rows(layout, stream[:end], rows)
            assert raw.startswith(found)
            assert used <= end
            if end < len(stream):
                with pytest.raises(CorruptFile, match="is cut off"):
                    deflate.read_rows(layout, stream[:end], rows, whole=True)
        assert deflate.read_rows(layout, stream + b"more", rows, whole=True) == (raw, len(stream))
        for bit in range(8 * len(stream)):
            damaged = bytearray(stream)
            damaged[bit // 8] ^= 1 << bit % 8
            try:
                found, _ = deflate.read_rows(layout, bytes(damaged), rows, whole=True)
            except CorruptFile:
                continue
            assert found == raw, f"bit {bit}"


@pytest.mark.parametrize("module", [isal, zlib], ids=["isal", "zlib"])
def test_no_start_of_a_stream_gives_anything_but_pixels_or_a_corrupt_file(module: ModuleType) -> None:
    """Preset dictionaries, other windows, other methods: all pairs of first bytes."""
    layout = layout_of(made_tiff(by_name("tiles three bands")))
    raw = bytes(range(96)) * layout.block_height
    stream = zlib.compress(raw)
    with patch.multiple(deflate, fast=module, _SMALL=-1):
        for first in (*range(0x08, 0x100, 0x10), 0, 0x1F, 0xFF):
            for second in range(256):
                try:
                    found, _ = deflate.read_rows(layout, bytes([first, second]) + stream[2:], 5)
                except CorruptFile:
                    continue
                assert found == raw[: 5 * deflate.line_bytes(layout)]


def test_a_stream_may_hold_more_rows_than_are_wanted_but_no_more_than_a_block() -> None:
    """A last strip may be written whole: libtiff takes what it needs of it. A bomb is stopped."""
    layout = layout_of(made_tiff(by_name("strips deflate")))
    raw = bytes(range(7)) * (layout.block_height * deflate.line_bytes(layout) // 7)
    assert len(raw) == 7 * 75
    assert deflate.read_rows(layout, zlib.compress(raw), 5, whole=True)[0] == raw
    with pytest.raises(CorruptFile, match="ends after 5 of 6 rows"):
        deflate.read_rows(layout, zlib.compress(raw[: 5 * 75]), 6, whole=True)
    with pytest.raises(CorruptFile, match="is longer than it may be"):
        deflate.read_rows(layout, zlib.compress(raw + bytes(1 << 24)), 5, whole=True)


# ---- what only GDAL may read -------------------------------------------------------------------------------


def supported(made: Made, tag: int, kind: int, value: bytes, *, at: int | None = None) -> bool:
    data = with_tag(made_tiff(made), tag, kind, len(value) if kind in (1, 2) else 1, value, at=at)
    return deflate.supported(layout_of(data))


def test_a_colour_space_is_seen_however_it_is_written() -> None:
    """libtiff takes any type of integer for it, and GDAL makes RGB of YCbCr."""
    made = Made(name="rgb", bands=3, options=_TILED | {"PHOTOMETRIC": "RGB"})
    grey = Made(name="grey", options=_TILED)
    assert supported(made, 262, 3, b"\2\0\0\0")
    assert not supported(made, 262, 3, b"\6\0\0\0")
    assert not supported(made, 262, 4, b"\6\0\0\0")
    assert not supported(made, 262, 1, b"\6")
    for kind in (1, 3, 4):
        assert not supported(grey, 266, kind, b"\2" if kind == 1 else b"\2\0\0\0", at=284)
    data = made_tiff(made)
    for kind in (1, 4):
        strange = with_tag(data, 262, kind, 1, b"\6\0\0\0")
        corner = File(data=strange, layout=layout_of(strange), cutouts=[], how="")
        whole = by_gdal(strange, [whole_of(corner.layout).window])
        assert whole[0].tobytes() != by_gdal(data, [whole_of(corner.layout).window])[0].tobytes()
        found, _ = read(replace(corner, cutouts=[whole_of(corner.layout)]))
        assert found[0].tobytes() == whole[0].tobytes()


def test_one_tile_whose_place_is_told_as_that_of_a_strip() -> None:
    """libtiff takes one for the other: what counts is that the file tells the width of tiles."""
    data = made_tiff(Made(name="a tile", width=20, height=10, options=_TILED))
    place, size = entries(data)[324][2], entries(data)[325][2]
    strange = with_tag(data, 273, 4, 1, place.to_bytes(4, "little"), at=324)
    strange = with_tag(strange, 279, 4, 1, size.to_bytes(4, "little"), at=325)
    layout = layout_of(strange)
    file = File(data=strange, layout=layout, cutouts=[whole_of(layout)], how="")
    assert read(file)[0][0].tobytes() == by_gdal(data, [whole_of(layout).window])[0].tobytes()


@pytest.mark.parametrize("nodata", ["300", "-5", "1.5", "nan", "2.4", "7", "0"])
def test_blocks_left_out_are_full_of_nodata_as_gdal_rounds_it(nodata: str) -> None:
    text = f"{nodata}\0".encode()
    data = with_tag(
        made_tiff(Made(name="sparse", sparse=True, nodata=7, options=_TILED)), 42113, 2, len(text), text
    )
    layout = layout_of(data)
    file = File(data=data, layout=layout, cutouts=[whole_of(layout)], how="")
    assert read(file)[0][0].tobytes() == by_gdal(data, [whole_of(layout).window])[0].tobytes()
