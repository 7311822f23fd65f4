"""Internal masks and alpha bands: pixels without data are those of rasterio on the local file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from s2async.cog import reader
from s2async.cog import source as sources
from s2async.cog.memory import Budget
from s2async.errors import CorruptFile
from s2async.models import Use
from s2async.net.client import Transport
from tests.support.fault_server import FaultServer
from tests.support.served import TILED, asset, cutout, make, run, sound, spans

pytestmark = pytest.mark.slow

SIDE = 700
PARTS = [cutout(10, 10, 90, 70), cutout(200, 240, 200, 60), cutout(0, 0, SIDE, SIDE), cutout(650, 650, 50, 50)]


def blobs(seed: int = 5) -> NDArray[np.uint8]:
    """A mask of large spots with ragged edges."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(seed)
    height = np.sin(rows / 60) * np.cos(columns / 90) + rng.normal(0, 0.1, (SIDE, SIDE))
    return np.where(height > -0.2, np.uint8(255), np.uint8(0))


def masked(path: Path, *, cog: str = "", **options: Any) -> None:
    """A file with an internal mask; a cloud-optimised one if ``cog`` names its compression."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        made = path.with_suffix(".made.tif") if cog else path
        make(made, side=SIDE, **TILED | {"nodata": None, "count": 3} | options)
        with rasterio.open(made, "r+") as file:
            file.write_mask(blobs())
        if cog:
            rasterio.shutil.copy(made, path, driver="COG", compress=cog, blocksize=256)
            made.unlink()
    with rasterio.open(path) as file:
        assert rasterio.enums.MaskFlags.per_dataset in file.mask_flag_enums[0]


def with_alpha(path: Path, bands: int = 4, **options: Any) -> None:
    """A file whose last band is its alpha band."""
    profile = {"photometric": "RGB"} if bands == 4 else {}
    make(path, side=SIDE, **TILED | {"nodata": None, "count": bands, "alpha": "YES"} | profile | options)
    with rasterio.open(path, "r+") as file:
        file.write(blobs().astype(file.dtypes[0]), bands)


FILES: dict[str, Any] = {
    "mask": masked,
    "mask in a COG": lambda path: masked(path, cog="DEFLATE"),
    "mask beside nodata": lambda path: masked(path, nodata=7),
    "mask of strips": lambda path: masked(path, tiled=False),
    "mask, LZW": lambda path: masked(path, compress="LZW"),
    "mask, planar": lambda path: masked(path, interleave="band"),
    "mask, BigTIFF": lambda path: masked(path, BIGTIFF="YES"),
    "mask, one band": lambda path: masked(path, count=1, dtype="uint16"),
    "alpha": with_alpha,
    "premultiplied alpha": lambda path: with_alpha(path, alpha="PREMULTIPLIED"),
    "alpha, LZW": lambda path: with_alpha(path, compress="LZW"),
    "grey and alpha": lambda path: with_alpha(path, 2),
    "16 bits and alpha": lambda path: with_alpha(path, 2, dtype="uint16"),
    "alpha beside nodata": lambda path: with_alpha(path, nodata=3),
}


@pytest.mark.filterwarnings("ignore:The dataset's nodata attribute is shadowing the alpha band")
@pytest.mark.parametrize("name", FILES)
def test_pixels_without_data_are_those_of_rasterio(server: FaultServer, name: str) -> None:
    path = server.folder / "file.tif"
    FILES[name](path)

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> tuple[list[NDArray[Any]], bytes]:
        source = await sources.open_source(transport, asset(server, "file.tif"))
        found = await reader.read(transport, source, PARTS, budget=Budget(1 << 24), pool=pool)
        return sound(found), source.fact.header

    (arrays, _), meter = run(server, work)
    hidden = 0
    with rasterio.open(path) as file:
        for part, array in zip(PARTS, arrays, strict=True):
            w = part.window
            window = RasterioWindow(w.col, w.row, w.width, w.height)
            expected = file.read(window=window, masked=True)
            np.testing.assert_array_equal(array, expected.filled(file.nodata or 0))
            hidden += int(expected.mask.sum())
    assert hidden > 10_000 or name == "alpha beside nodata"
    assert (meter.requests, meter.bytes) == server.totals()


def test_the_blocks_of_a_mask_are_fetched_for_the_window_alone_and_counted(server: FaultServer) -> None:
    path = server.folder / "file.tif"
    masked(path, cog="LZW")

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> Any:
        source = await sources.open_source(transport, asset(server, "file.tif"))
        await reader.read(transport, source, PARTS[:1], budget=Budget(1 << 24), pool=pool)
        return source

    source, meter = run(server, work)
    mask = source.layout.mask
    block = int(mask.block_offsets[0]), int(mask.block_offsets[0] + mask.block_counts[0])
    asked = spans(server)
    assert block in asked
    counts = {t.use: t.bytes for t in meter.drain() if t.stage == "tiles"}
    pixels = int(source.layout.block_counts[0])
    assert counts == {Use.USEFUL: block[1] - block[0] + pixels}


def test_a_header_with_a_mask_is_not_stored_and_one_with_alpha_is(server: FaultServer) -> None:
    masked(server.folder / "mask.tif")
    with_alpha(server.folder / "alpha.tif")

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> Any:
        return [await sources.open_source(transport, asset(server, f"{name}.tif")) for name in ("mask", "alpha")]

    (mask, alpha), _ = run(server, work)
    assert sources.recall(mask.asset, mask.fact) is None
    known = sources.recall(alpha.asset, alpha.fact)
    assert known is not None
    assert known.layout.alpha


def test_overviews_have_masks_of_their_own(server: FaultServer) -> None:
    path = server.folder / "file.tif"
    masked(path, cog="DEFLATE")

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> Any:
        levels = await sources.open_levels(transport, asset(server, "file.tif"))
        size = levels[1].layout.grid.width
        part = cutout(0, 0, size, size)
        return sound(await reader.read(transport, levels[1], [part], budget=Budget(1 << 24), pool=pool))[0]

    array, _ = run(server, work)
    with rasterio.open(path, overview_level=0) as file:
        np.testing.assert_array_equal(array, file.read(masked=True).filled(0))


def test_a_damaged_mask_takes_only_the_windows_that_touch_it(server: FaultServer) -> None:
    path = server.folder / "file.tif"
    masked(path)

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> Any:
        source = await sources.open_source(transport, asset(server, "file.tif"))
        mask = source.layout.mask
        assert mask is not None
        start = int(mask.block_offsets[0])
        with path.open("r+b") as file:
            file.seek(start)
            file.write(b"\xff" * int(mask.block_counts[0]))
        source = await sources.open_source(transport, asset(server, "file.tif"))
        return await reader.read(transport, source, PARTS, budget=Budget(1 << 24), pool=pool)

    found, _ = run(server, work)
    assert [isinstance(one, CorruptFile) for one in found] == [True, True, True, False]
    assert "mask" in str(found[0])
