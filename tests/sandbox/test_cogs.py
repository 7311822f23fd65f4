from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from s2async.sandbox.world.cogs import Cog, Tile, compress, write
from tests.support.lanes import few_quick

METADATA = '<GDALMetadata>\n  <Item name="OVR_RESAMPLING_ALG">AVERAGE</Item>\n</GDALMetadata>\n'


def small(bands: int, bits: int = 8, **changes: Any) -> Cog:
    return Cog(
        **{
            "width": 600,
            "height": 500,
            "bands": bands,
            "bits": bits,
            "block": 256,
            "overview_block": 128,
            "overviews": 2,
            "epsg": 32633,
            "west": 300000,
            "north": 5900040,
            "pixel": 10,
            "metadata": METADATA,
            **changes,
        }
    )


def by_gdal(cog: Cog) -> bytes:
    """The same file from GDAL's COG driver, with random pixels."""
    dtype = f"uint{cog.bits}"
    pixels = np.random.default_rng(1).integers(1, 200, (cog.bands, cog.height, cog.width)).astype(dtype)
    with MemoryFile() as source, MemoryFile() as target:
        with source.open(
            driver="GTiff",
            width=cog.width,
            height=cog.height,
            count=cog.bands,
            dtype=dtype,
            crs=f"EPSG:{cog.epsg}",
            transform=Affine(cog.pixel, 0, cog.west, 0, -cog.pixel, cog.north),
            nodata=0,
            photometric="RGB" if cog.bands == 3 else "MINISBLACK",
        ) as file:
            file.write(pixels)
            if cog.metadata:
                file.update_tags(OVR_RESAMPLING_ALG="AVERAGE")
        with source.open() as file:
            copy(
                file,
                target.name,
                driver="COG",
                compress="DEFLATE",
                predictor=2,
                blocksize=cog.block,
                overview_resampling="AVERAGE",
                overview_count=cog.overviews,
            )
        return bytes(target.read())


def directories(data: bytes) -> list[tuple[int, dict[int, tuple[int, int, bytes]]]]:
    """Place of each directory, and its tags: type, count, raw values."""
    sizes = {2: 1, 3: 2, 4: 4, 12: 8}
    found = []
    (at,) = struct.unpack_from("<I", data, 4)
    while at:
        (number,) = struct.unpack_from("<H", data, at)
        tags = {}
        for entry in range(at + 2, at + 2 + 12 * number, 12):
            tag, kind, count = struct.unpack_from("<HHI", data, entry)
            size = sizes[kind] * count
            place = entry + 8 if size <= 4 else struct.unpack_from("<I", data, entry + 8)[0]
            tags[tag] = kind, count, data[place : place + size]
        found.append((at, tags))
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * number)
    return found


def metadata_of(data: bytes) -> str:
    _, _, text = directories(data)[0][1].get(42112, (2, 0, b""))
    return text.rstrip(b"\0").decode()


def tiles_of(data: bytes) -> list[list[Tile]]:
    levels = []
    for _, tags in directories(data):
        offsets, counts = (np.frombuffer(tags[tag][2], "<u4") for tag in (324, 325))
        levels.append([Tile(data[at : at + size]) for at, size in zip(offsets, counts, strict=True)])
    return levels


@pytest.mark.parametrize("metadata", ["", METADATA])
@pytest.mark.parametrize("epsg", few_quick([32633, 32705]))
@pytest.mark.parametrize(("bands", "bits"), [(3, 8), (1, 8), (1, 16)])
def test_same_bytes_as_gdal_from_the_same_tiles(
    tmp_path: Path, bands: int, bits: int, epsg: int, metadata: str
) -> None:
    # GDAL's COG driver has one block size for all levels, and since 3.12 adds an item of its own to the metadata.
    asked = small(bands, bits, epsg=epsg, metadata=metadata, overview_block=256)
    expected = by_gdal(asked)
    cog = replace(asked, metadata=metadata_of(expected))
    assert ("OVR_RESAMPLING_ALG" in cog.metadata) == bool(metadata)
    size = write(tmp_path / "a.tif", cog, tiles_of(expected))
    assert (tmp_path / "a.tif").read_bytes() == expected
    assert size == len(expected)


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize(("bands", "bits"), [(3, 8), (1, 8), (1, 16)])
def test_gdal_reads_every_level(tmp_path: Path, bands: int, bits: int, ghost: bool) -> None:
    cog = small(bands, bits, ghost=ghost)
    rng = np.random.default_rng(2)
    pixels = [
        rng.integers(0, 2**bits, (level.height, level.width, bands)).astype(f"u{bits // 8}")
        for level in cog.levels
    ]
    tiles = [
        [
            Tile(compress(full[row : row + level.block, column : column + level.block], level.block))
            for row in range(0, level.height, level.block)
            for column in range(0, level.width, level.block)
        ]
        for level, full in zip(cog.levels, pixels, strict=True)
    ]
    path = tmp_path / "a.tif"
    write(path, cog, tiles)
    with rasterio.open(path) as file:
        assert file.transform == Affine(10, 0, 300000, 0, -10, 5900040)
        assert file.crs.to_epsg() == 32633
        assert file.nodata == 0
        assert file.overviews(1) == [2, 4]
        assert file.block_shapes == [(256, 256)] * bands
        structure = file.tags(ns="IMAGE_STRUCTURE")
        assert structure["COMPRESSION"] == "DEFLATE"
        assert structure["PREDICTOR"] == "2"
        assert structure.get("LAYOUT") == ("COG" if ghost else None)
        assert file.tags()["OVR_RESAMPLING_ALG"] == "AVERAGE"
        assert np.array_equal(np.moveaxis(file.read(), 0, 2), pixels[0])
    for index in (0, 1):
        with rasterio.open(path, overview_level=index) as file:
            assert file.block_shapes == [(128, 128)] * bands
            assert np.array_equal(np.moveaxis(file.read(), 0, 2), pixels[index + 1])


@pytest.mark.parametrize("ghost", few_quick([True, False]))
def test_stand_ins_share_one_tile_and_leave_holes(tmp_path: Path, ghost: bool) -> None:
    cog = small(1, ghost=ghost, width=1024, height=1024, overviews=0)
    plain = compress(np.full((256, 256), 7, "u1"), 256)
    own = compress(np.random.default_rng(3).integers(1, 9, (256, 256)).astype("u1"), 256)
    tiles = [Tile(own) if index == 9 else Tile(plain, 10_000_000) for index in range(16)]
    path = tmp_path / "a.tif"
    size = write(path, cog, [tiles])
    assert path.stat().st_size == size
    assert 150_000_000 <= size <= 150_100_000
    assert path.stat().st_blocks * 512 < 300_000
    _, tags = directories(path.read_bytes())[0]
    offsets = np.frombuffer(tags[324][2], "<u4")
    assert len(set(np.delete(offsets, 9).tolist())) == 1
    assert 90_000_000 <= offsets[9] <= 90_100_000
    with rasterio.open(path) as file:
        image = file.read(1)
    assert (image[:512] == 7).all()
    assert (image[512:768, 256:512] != 7).any()


def test_wrong_number_of_tiles_and_too_large_a_file_are_refused(tmp_path: Path) -> None:
    cog = small(1, overviews=0)
    with pytest.raises(ValueError, match="5 tiles for 3 x 2"):
        write(tmp_path / "a.tif", cog, [[Tile(b"1234")] * 5])
    with pytest.raises(ValueError, match="classic TIFF"):
        write(tmp_path / "a.tif", cog, [[Tile(b"1234", 2**30)] * 6])
    assert not (tmp_path / "a.tif").exists()


@pytest.mark.slow
def test_the_recorded_header_of_a_real_file(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "cog-header"
    name = "c1-B04-S2B_T10TFR_20231223T190950"
    recorded = json.loads((folder / f"{name}.json").read_text())
    real = (folder / f"{name}.header-reconstructed.bin").read_bytes()
    cog = small(
        1,
        16,
        width=10980,
        height=10980,
        block=1024,
        overview_block=512,
        overviews=4,
        epsg=32610,
        west=600000,
        north=5100000,
        metadata=recorded["ifds"][0]["tags"]["42112"]["value"].rstrip("\0"),
    )
    tiles = [[Tile(bytes(size)) for size in ifd["tags"]["325"]["value"]] for ifd in recorded["ifds"]]
    size = write(tmp_path / "a.tif", cog, tiles)
    assert size == recorded["file_size"]
    with (tmp_path / "a.tif").open("rb") as file:
        head = file.read(len(real))
    assert len(real) == 4208
    assert head == real
