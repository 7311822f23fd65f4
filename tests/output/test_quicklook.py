"""Quicklooks and thumbnails: what is seen is what the crop holds, in few bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from s2async.cli.commands import cli
from s2async.errors import CorruptFile, LocalError
from s2async.output import geotiff, quicklook
from tests.support import worlds
from tests.support.layouts import NORTH_UP, crop_of

RGB = np.random.default_rng(1).integers(1, 256, (3, 60, 50), dtype=np.uint8)
RGB[:, :20, :10] = 0


def seen(data: bytes, driver: str) -> NDArray[Any]:
    """Pixels of an encoded picture, read by GDAL."""
    with MemoryFile(data) as file, file.open(driver=driver) as raster:
        return np.asarray(raster.read())


def test_a_picture_of_8_bits_is_kept_as_it_is_and_nodata_is_transparent() -> None:
    found = seen(quicklook.encode(RGB, 0), "PNG")
    assert np.array_equal(found[:3], RGB)
    assert np.array_equal(found[3] == 0, (RGB == 0).all(axis=0))
    assert set(np.unique(found[3])) == {0, 255}


def test_black_in_one_band_is_no_hole() -> None:
    pixels = RGB.copy()
    pixels[0] = 0
    assert (quicklook.paint(pixels, 0)[3] == 0).sum() == 200


def test_without_nodata_there_is_no_alpha() -> None:
    found = seen(quicklook.encode(RGB, None), "PNG")
    assert found.shape == RGB.shape
    assert np.array_equal(found, RGB)


def test_16_bits_are_stretched_from_the_2nd_to_the_98th_percentile_of_what_has_data() -> None:
    pixels = np.arange(1, 2501, dtype=np.uint16).reshape(1, 50, 50) * 4
    pixels[0, 0, :] = 0
    painted = quicklook.paint(pixels, 0)
    low, high = np.percentile(pixels[pixels > 0], (2, 98))
    wanted = np.clip(np.rint((pixels[0].astype(float) - low) / (high - low) * 255), 0, 255)
    wanted[0] = 0
    assert (painted[:3] == wanted).all()
    assert (painted[3] == np.where(pixels[0] > 0, 255, 0)).all()
    assert painted[:3].min() == 0
    assert painted[:3].max() == 255


def test_bands_are_stretched_together_and_the_first_three_are_the_colours() -> None:
    ramp = np.arange(10_000, dtype=np.uint16).reshape(100, 100) + 1
    painted = quicklook.paint(np.stack([ramp, ramp // 2, ramp // 4 + 1, ramp * 0 + 60_000]), 0)
    middle = painted[:3, 50, 50].astype(int)
    assert middle[0] > 1.8 * middle[1] > 3 * middle[2], "a common stretch keeps the balance"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_any_crop_becomes_a_picture(dtype: str, bands: int) -> None:
    pixels = np.random.default_rng(bands).integers(1, 90, (bands, 31, 33)).astype(dtype)
    pixels[:, :4] = 0
    found = seen(quicklook.encode(pixels, 0), "PNG")
    assert found.shape == (4, 31, 33)
    assert (found[3, :4] == 0).all()
    assert (found[3, 4:] == 255).all()


def test_flat_empty_and_infinite_crops_become_pictures() -> None:
    flat = quicklook.paint(np.full((1, 5, 5), 7, np.uint16), 0)
    assert (flat[:3] == 128).all()
    assert not quicklook.paint(np.zeros((1, 5, 5), np.uint16), 0).any()
    wild = np.array([[[1.0, 2.0, np.nan, np.inf]]], np.float32)
    assert quicklook.paint(wild, None)[3].tolist() == [[255, 255, 0, 0]]
    assert quicklook.paint(wild, float("nan"))[3].tolist() == [[255, 255, 0, 0]]


def test_a_large_crop_is_shrunk_to_the_mean_of_what_has_data() -> None:
    pixels = np.full((3, 1024, 700), 40, np.uint8)
    pixels[:, :, 350:] = 0
    found = seen(quicklook.encode(pixels, 0), "PNG")
    assert found.shape == (4, 512, 350)
    assert (found[:3, :, :175] == 40).all(), "nodata does not darken the edge"
    assert not found[:, :, 175:].any()


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_shrinking_keeps_the_shape(rows: int, columns: int, size: int) -> None:
    picture = np.full((4, rows, columns), 255, np.uint8)
    small = quicklook.shrunk(picture, size)
    assert small.min() == 255
    assert max(small.shape[1:]) == min(size, max(rows, columns))
    scale = min(1.0, size / max(rows, columns))
    for found, before in zip(small.shape[1:], (rows, columns), strict=True):
        assert found == 1 or abs(found - before * scale) <= 0.5


def test_a_quicklook_tells_that_it_was_made_here() -> None:
    assert quicklook.is_own(quicklook.encode(RGB, 0))
    with MemoryFile() as memory:
        with memory.open(driver="PNG", count=3, width=50, height=60, dtype="uint8", transform=NORTH_UP) as f:
            f.write(RGB)
        assert not quicklook.is_own(bytes(memory.getbuffer()))
    assert not quicklook.is_own(b"")


def test_a_thumbnail_of_a_crop_on_disk(tmp_path: Path) -> None:
    pixels = np.zeros((3, 300, 200), np.uint8)
    pixels[0, :, 40:], pixels[1, :, 40:], pixels[2, :, 40:] = 180, 90, 60
    path = tmp_path / "a.tif"
    path.write_bytes(geotiff.encode(crop_of(pixels, nodata=0)))
    data = quicklook.thumbnail(path, size=120)
    found = seen(data, "WEBP")
    assert found.shape == (4, 120, 80)
    assert (found[3, :, :15] == 0).all()
    assert (found[3, :, 17:] == 255).all()
    assert np.abs(found[:3, 60, 50].astype(int) - (180, 90, 60)).max() <= 6
    assert len(data) < 2000


def test_three_bands_become_one_image_with_a_fixed_stretch(tmp_path: Path) -> None:
    paths = []
    for name, number in (("red", 600), ("green", 1500), ("blue", 4000)):
        pixels = np.full((1, 40, 60), number, np.uint16)
        pixels[:, :, :20] = 0
        paths.append(tmp_path / f"{name}.tif")
        paths[-1].write_bytes(geotiff.encode(crop_of(pixels, nodata=0)))
    found = seen(quicklook.true_colour(paths, size=120), "WEBP")
    assert found.shape == (4, 40, 60)
    assert np.abs(found[:3, 20, 45].astype(int) - (51, 128, 255)).max() <= 6
    assert (found[3, :, :18] == 0).all()
    assert (found[3, :, 22:] == 255).all()
    raised = np.full((1, 40, 60), 1600, np.uint16)
    paths[0].write_bytes(geotiff.encode(replace(crop_of(raised, nodata=0), scales=(0.0001,), offsets=(-0.1,))))
    same = seen(quicklook.true_colour(paths, size=120), "WEBP")
    assert np.abs(same[:3, 20, 45].astype(int) - (51, 128, 255)).max() <= 6
    paths[0].write_bytes(geotiff.encode(crop_of(raised[:, :20], nodata=0)))
    with pytest.raises(CorruptFile, match="differ in size"):
        quicklook.true_colour(paths, size=120)


def test_a_thumbnail_of_a_crop_that_is_gone_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot read .*gone\.tif"):
        quicklook.thumbnail(tmp_path / "gone.tif", size=100)
    path = tmp_path / "bad.tif"
    whole = geotiff.encode(crop_of(RGB, nodata=0))
    for data in (b"", b"no TIFF at all, but long", whole[:40], whole[:2000]):
        path.write_bytes(data)
        with pytest.raises(CorruptFile):
            quicklook.thumbnail(path, size=100)


# ---- beside the crops of a run ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_writes_one_beside_each_crop_and_prune_removes_both(tmp_path: Path) -> None:
    days = [worlds.day(0), worlds.day(2, clouded=frozenset({"North", "Tall"}))]
    with worlds.Stage(worlds.World(tmp_path / "world", days)) as stage:
        output = {"quicklook": True, "assets": ["visual", "red"]}
        all_clear = {"max_area_cloud": 100, "min_area_valid": 0}
        config = worlds.run(
            worlds.write_config(tmp_path, stage.sandbox, output=output | {"folder": "data"}, clouds=all_clear),
            stage.sandbox,
        ).config
        path = worlds.write_config(
            tmp_path, stage.sandbox, output=output | {"folder": "data"}, clouds={"min_area_valid": 0}
        )
        crops = sorted(config.output.folder.rglob("*.tif"))
        pictures = sorted(config.output.folder.rglob("*.png"))
        assert [crop.with_suffix(".png") for crop in crops] == pictures
        assert len(crops) == 2 * 2 * 5
        for crop in crops:
            with rasterio.open(crop) as raster:
                pixels = raster.read()
            found = seen(crop.with_suffix(".png").read_bytes(), "PNG")
            assert np.array_equal(found, quicklook.paint(pixels, 0)), crop.name
            assert crop.name.endswith("_red.tif") or np.array_equal(found[:3], pixels)

        worlds.run(path, stage.sandbox)
        gone = [
            crop for crop in crops if "20220103" in crop.name and crop.parent.name.lower() in ("north", "tall")
        ]
        assert len(gone) == 4
        strange = gone[0].with_suffix(".png")
        strange.write_bytes(b"\x89PNG of somebody else")
        result = CliRunner().invoke(cli, ["prune", str(path)], standalone_mode=False)
        assert result.return_value == 0, result.output
        left = {crop.with_suffix(".png") for crop in crops if crop not in gone} | {strange}
        assert set(config.output.folder.rglob("*.png")) == left


@pytest.mark.slow
def test_a_run_writes_none_unless_told(tmp_path: Path) -> None:
    with worlds.Stage(worlds.World(tmp_path / "world", [worlds.day(0)])) as stage:
        config = worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox).config
        assert list(config.output.folder.rglob("*.tif"))
        assert not list(config.output.folder.rglob("*.png"))
