"""Whole runs over files with an internal mask or an alpha band, judged by rasterio.mask on the local files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import from_bounds

from s2async.config.model import Config
from s2async.sandbox.truth import oracle
from tests.support import worlds
from tests.support.shell import Shell
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow


def rewrite(path: Path, kind: str) -> None:
    """Hide pixels of a file, in stripes of two pixels: by an internal mask, or by an alpha band."""
    with rasterio.open(path) as file:
        profile, pixels = dict(file.profile), file.read()
    stripes = np.where(np.arange(profile["width"]) % 4 < 2, 255, 0).astype("uint8")
    # A whole array: of a broadcast view, whose rows are one row, GDAL would read the memory behind that row.
    hidden = np.tile(stripes, (profile["height"], 1))
    profile |= {"driver": "GTiff", "nodata": None, "tiled": True, "blockxsize": 256, "blockysize": 256}
    if kind == "alpha":
        profile |= {"count": 4, "photometric": "RGB", "alpha": "YES"}
        pixels = np.concatenate([pixels, hidden[np.newaxis]])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
        if kind == "mask":
            file.write_mask(hidden)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.dataset_mask(), hidden)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path / "world", [worlds.day(number) for number in (1, 2)])


@pytest.mark.parametrize("kind", ["mask", "alpha"])
@pytest.mark.parametrize("mask", [True, False])
def test_crops_have_nodata_where_the_file_hides_pixels(
    tmp_path: Path, stage: Stage, s2: Shell, kind: str, mask: bool
) -> None:
    for path in stage.world.folder.rglob("TCI.tif"):
        rewrite(path, kind)
    stage.restart()
    path = worlds.write_config(tmp_path, stage.sandbox, output={"mask": mask, "quicklook": True})
    assert s2("run", path).code == 0
    config = Config.load(path)
    saved = [job for job in worlds.jobs(config).values() if job.status == "saved"]
    assert len(saved) > 2
    for job in saved:
        with (
            rasterio.open(config.output.folder / job.folder / job.products["visual"]) as crop,
            rasterio.open(stage.world.local(job.hrefs["visual"])) as scene,
        ):
            window = from_bounds(*crop.bounds, scene.transform).round_offsets().round_lengths()
            expected = scene.read(window=window, masked=True)
            assert crop.nodata == 0
            found = crop.read()
            if mask:
                plain = oracle.plain_crop(stage.world.local(job.hrefs["visual"]), job.polygon)
                assert plain is not None
                np.testing.assert_array_equal(found, plain.pixels)
            else:
                np.testing.assert_array_equal(found, expected.filled(0))
            assert not found[:3][:, expected.mask[0]].any()
            assert expected.mask[0].any()
    assert s2("verify", path).code == 0
    stage.sandbox.reset()
    assert s2("run", path).code == 0
    assert [entry for entry in stage.sandbox.log() if entry.kind == "cogs"] == [], "nothing is read twice"


def test_pixels_that_the_classification_hides_are_without_data(tmp_path: Path, stage: Stage, s2: Shell) -> None:
    calm = worlds.write_config(tmp_path, stage.sandbox, name="calm")
    assert s2("run", calm).code == 0
    for path in stage.world.folder.rglob("SCL.tif"):
        rewrite(path, "mask")
    stage.restart()
    path = worlds.write_config(tmp_path, stage.sandbox)
    assert s2("run", path).code == 0
    before, after = worlds.statuses(Config.load(calm)), worlds.statuses(Config.load(path))
    assert {after[key] for key, status in before.items() if status in ("saved", "cloudy")} == {"nodata"}
