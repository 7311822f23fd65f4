from __future__ import annotations

import os
import random
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.env
from rasterio.io import MemoryFile

from s2async.cog import gdal, headers, tiff, tiles
from s2async.cog.grid import Window
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile
from tests.support.lanes import few_quick
from tests.support.layouts import MADE, Made, bomb, by_name
from tests.support.layouts import tiff as made_tiff

CORNER = Window(col=0, row=0, width=5, height=4)


def whole(made: Made) -> Window:
    return Window(col=0, row=0, width=made.width, height=made.height)


@pytest.mark.parametrize("made", MADE, ids=str)
def test_pixels_are_those_of_the_file_nothing_masked(made: Made) -> None:
    data = made_tiff(made)
    with MemoryFile(data) as file, file.open() as raster:
        expected = raster.read()
    (found,) = gdal.read(data, [whole(made)])
    assert not isinstance(found, np.ma.MaskedArray)
    assert found.dtype == made.dtype
    assert found.tobytes() == expected.tobytes()
    if made.name != "jpeg" and not made.sparse:
        assert found.tobytes() == made.pixels.tobytes()


def test_no_windows_no_pixels() -> None:
    assert gdal.read(made_tiff(by_name("tiles")), []) == []


def vrt(name: str) -> bytes:
    return (
        f'<VRTDataset rasterXSize="5" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{name}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    ).encode()


def png() -> bytes:
    with MemoryFile() as file:
        with file.open(driver="PNG", width=5, height=4, count=1, dtype="uint8") as raster:
            raster.write(np.ones((1, 4, 5), np.uint8))
        return bytes(file.getbuffer())


def test_only_tiffs_are_opened(tmp_path: Path) -> None:
    """A file that GDAL knows by another driver could name any file of this machine, or any address."""
    local = tmp_path / "local.tif"
    local.write_bytes(made_tiff(by_name("tiles")))
    for data in (vrt(str(local)), vrt("/vsicurl/http://127.0.0.1:9/x.tif"), png(), b"II*\0", b"<html>"):
        with pytest.raises(CorruptFile, match="cannot be decoded"):
            gdal.read(data, [CORNER])


@pytest.mark.parametrize(
    ("size", "bands", "dtype", "interleave", "why"),
    [
        (32_768, 1, "uint8", "pixel", "32768 x 32768 x 1 uint8"),
        (16_384, 1, "uint8", "pixel", "blocks of 256 MiB are refused"),
        (4096, 5, "uint8", "pixel", "blocks of 80 MiB are refused"),
        (16, 1, "complex64", "pixel", "16 x 16 x 1 complex64"),
        (1024, 5, "uint8", "band", ""),
    ],
)
def test_bombs_are_refused_whatever_the_header_was_taken_for(
    size: int, bands: int, dtype: str, interleave: str, why: str
) -> None:
    """One block as large as the raster, in a file of a kilobyte: GDAL would take all of it for one pixel."""
    data = bomb(size, size, bands, dtype, INTERLEAVE=interleave)
    if why:
        with pytest.raises(CorruptFile, match=f"^cannot be decoded: {why}$"):
            gdal.read(data, [CORNER])
    else:
        assert not gdal.read(data, [CORNER])[0].any()


def test_the_message_is_one_line_that_tells_the_block() -> None:
    data = made_tiff(by_name("tiles three bands"))
    layout = tiff.parse(data)
    assert isinstance(layout, Layout)
    small = headers.subset(layout, {0: data[layout.block_offsets[0] :][: layout.block_counts[0]]})
    with pytest.raises(CorruptFile, match=r"^cannot be decoded: .*X offset 1, Y offset 2") as error:
        gdal.read(small, [Window(col=40, row=40, width=2, height=2)])
    assert "\n" not in str(error.value)


def test_a_missing_block_is_an_error_whatever_the_environment_says() -> None:
    data = made_tiff(by_name("tiles three bands"))
    layout = tiff.parse(data)
    assert isinstance(layout, Layout)
    with rasterio.Env(GTIFF_IGNORE_READ_ERRORS="YES"), pytest.raises(CorruptFile):
        gdal.read(headers.subset(layout, {}), [CORNER])


@pytest.mark.parametrize(
    "name", few_quick(["tiles three bands", "COG lzw scaled", "float64", "webp", "jpeg", "strips planar"], 2)
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_blocks_are_corrupt_files_or_pixels(name: str) -> None:
    """GDAL does not notice every flipped bit; what it notices is told as a CorruptFile, and nothing else comes."""
    made = by_name(name)
    data = made_tiff(made)
    layout = tiff.parse(data)
    assert isinstance(layout, Layout)
    generator = random.Random(name)
    noticed = 0
    for _ in range(60):
        damaged = bytearray(data)
        block = generator.randrange(len(layout.block_counts))
        start, count = int(layout.block_offsets[block]), int(layout.block_counts[block])
        for _ in range(generator.choice([1, 3, 40])):
            damaged[start + generator.randrange(count)] ^= 1 << generator.randrange(8)
        try:
            (found,) = gdal.read(bytes(damaged), [whole(made)])
        except CorruptFile:
            noticed += 1
        else:
            assert found.shape == (made.bands, made.height, made.width)
    assert noticed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_headers_that_parse_are_corrupt_files_or_pixels() -> None:
    generator = random.Random(2)
    read = refused = 0
    for _ in range(1200):
        made = by_name(generator.choice(["tiles", "COG", "float32 NaN", "tiles planar", "geographic", "jpeg"]))
        data = made_tiff(made)
        head = bytearray(data)
        reach = tiff.parse(data)
        assert isinstance(reach, Layout)
        for _ in range(generator.choice([1, 2])):
            head[generator.randrange(reach.end)] = generator.choice(
                [0, 1, 2, 127, 128, 255, generator.randrange(256)]
            )
        try:
            layout = tiff.parse(bytes(head))
        except CorruptFile:
            continue
        if not isinstance(layout, Layout) or len(layout.block_counts) > 500:
            continue
        grid = layout.grid
        window = Window(col=0, row=0, width=min(grid.width, 40), height=min(grid.height, 40))
        places = {
            i: data[layout.block_offsets[i] :][: layout.block_counts[i]]
            for i in tiles.blocks_under(layout, [window])
            if layout.block_counts[i]
        }
        try:
            (found,) = gdal.read(headers.subset(layout, places), [window])
        except CorruptFile:
            refused += 1
        else:
            read += 1
            assert found.dtype == layout.dtype
            assert found.shape == (layout.bands, window.height, window.width)
    assert read > 100
    assert refused > 10


def test_threads_read_side_by_side() -> None:
    names = ["tiles three bands", "COG picture", "float32 NaN", "strips planar", "tiles five bands, BigTIFF"]
    work = [(made_tiff(made), [whole(made), CORNER]) for made in map(by_name, names * 12)]
    expected = [[found.tobytes() for found in gdal.read(*one)] for one in work[: len(names)]] * 12
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda one: [pixels.tobytes() for pixels in gdal.read(*one)], work))
    assert found == expected


def test_no_options_outlive_a_call_and_no_files_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []

    def work() -> None:
        gdal.read(made_tiff(by_name("tiles")), [CORNER])
        seen.append(rasterio.env.hasenv())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@pytest.mark.parametrize("name", ["tiles three bands", "strips deflate", "int16 scaled"])
def test_the_checksum_notices_every_flipped_bit(name: str) -> None:
    """Only a bit that changes no pixel (padding at the end of a stream) may pass."""
    data = made_tiff(by_name(name))
    layout = tiff.parse(data)
    assert isinstance(layout, Layout)
    start, count = int(layout.block_offsets[0]), int(layout.block_counts[0])
    stream = data[start : start + count]
    gdal.check_streams(layout, {0: stream})
    generator = random.Random(name)
    noticed = 0
    for place in generator.sample(range(8 * count), 300):
        damaged = bytearray(stream)
        damaged[place // 8] ^= 1 << place % 8
        try:
            gdal.check_streams(layout, {0: bytes(damaged)})
        except CorruptFile:
            noticed += 1
        else:
            assert zlib.decompress(damaged) == zlib.decompress(stream)
    assert noticed >= 298


def test_a_stream_that_ends_before_its_tile_is_noticed() -> None:
    """It is sound, and libtiff fills up the tile with what is in its memory."""
    data = made_tiff(by_name("tiles three bands"))
    layout = tiff.parse(data)
    assert isinstance(layout, Layout)
    start, count = int(layout.block_offsets[0]), int(layout.block_counts[0])
    pixels = zlib.decompress(data[start : start + count])
    gdal.check_streams(layout, {0: zlib.compress(pixels)})
    with pytest.raises(CorruptFile, match=r"block 0 ends after \d+ of \d+ rows"):
        gdal.check_streams(layout, {0: zlib.compress(pixels[:-1])})
    with pytest.raises(CorruptFile, match="block 0 is longer than it may be"):
        gdal.check_streams(layout, {0: zlib.compress(pixels + b"1")})


def test_a_cut_stream_is_noticed_and_other_codecs_are_left_alone() -> None:
    data = made_tiff(by_name("tiles three bands"))
    layout = tiff.parse(data)
    assert isinstance(layout, Layout)
    start, count = int(layout.block_offsets[0]), int(layout.block_counts[0])
    with pytest.raises(CorruptFile, match="block 0 is cut off"):
        gdal.check_streams(layout, {0: data[start : start + count - 3]})
    other = tiff.parse(made_tiff(by_name("uint16 lzw predictor")))
    assert isinstance(other, Layout)
    gdal.check_streams(other, {0: b"not a zlib stream"})
