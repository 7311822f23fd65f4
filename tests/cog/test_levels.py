"""Overviews: every level of a COG is what GDAL says it is, and is read in part like the full resolution."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile
from rasterio.windows import Window

from s2async.cog import reader, source, tiff
from s2async.cog.memory import Budget
from s2async.cog.tiff import Layout, NeedMore
from s2async.errors import CorruptFile
from s2async.net.client import Transport
from tests.support.fault_server import FaultServer
from tests.support.layouts import MADE, Made
from tests.support.layouts import tiff as made_tiff
from tests.support.served import COG, asset, cutout, make, run, sound, spans


def levels_of(head: bytes) -> tuple[Layout, ...]:
    found = tiff.parse_levels(head)
    assert not isinstance(found, NeedMore)
    return found


def check_levels(data: bytes) -> int:
    """Compare with GDAL; tells how many overviews there are."""
    levels = levels_of(data)
    with MemoryFile(data) as file:
        with file.open() as whole:
            factors = whole.overviews(1)
            assert levels[0].grid.transform == whole.transform
        assert len(levels) == 1 + len(factors)
        for number, level in enumerate(levels[1:]):
            with file.open(overview_level=number) as overview:
                assert (level.grid.width, level.grid.height) == (overview.width, overview.height)
                assert level.grid.transform.almost_equals(overview.transform, 1e-6)
                assert level.grid.epsg == overview.crs.to_epsg()
                assert {(level.block_height, level.block_width)} == set(overview.block_shapes)
                assert (level.bands, level.dtype) == (overview.count, overview.dtypes[0])
                assert repr(level.nodata) == repr(overview.nodata)
    return len(factors)


@pytest.mark.parametrize("made", [made for made in MADE if made.cog], ids=str)
def test_levels_are_what_gdal_says(made: Made) -> None:
    assert check_levels(made_tiff(made)) == (made.width > 128) + (made.width > 256)


@pytest.mark.parametrize("made", [made for made in MADE if not made.cog][::6], ids=str)
def test_a_file_without_overviews_has_one_level(made: Made) -> None:
    data = made_tiff(made)
    (level,) = levels_of(data)
    alone = tiff.parse(data)
    assert isinstance(alone, Layout)
    assert repr(level.tags) == repr(alone.tags)
    assert (level.end, level.read_to) == (alone.end, alone.read_to)


def test_real_levels(real_data: Path) -> None:
    head = (real_data / "cog-header/c1-B04-S2B_T10TFR_20231223T190950.header-reconstructed.bin").read_bytes()
    assert [level.grid.width for level in levels_of(head)] == [10980, 5490, 2745, 1373, 687]
    checked = [check_levels(path.read_bytes()) for path in sorted((real_data / "raster").rglob("*.tif"))]
    assert sum(checked) >= 12


@pytest.mark.parametrize("made", [made for made in MADE if made.cog], ids=str)
def test_asking_for_what_it_needs_ends_in_the_same_levels(made: Made) -> None:
    data, size, asked = made_tiff(made), 16, 0
    while isinstance(found := tiff.parse_levels(data[:size]), NeedMore):
        assert found.size > size
        size, asked = found.size, asked + 1
    assert asked < 60
    assert [repr(level.grid) for level in found] == [repr(level.grid) for level in levels_of(data)]


def test_a_damaged_later_directory_is_told_as_damage() -> None:
    data = made_tiff(next(made for made in MADE if made.cog))
    first = tiff.parse(data)
    assert isinstance(first, Layout)
    for place in range(16, first.read_to, 7):
        spoilt = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        with suppress(CorruptFile):  # and nothing else
            tiff.parse_levels(spoilt)


@pytest.mark.parametrize("compress", ["DEFLATE", "LZW"])
def test_a_window_of_an_overview_is_read_as_gdal_reads_it(server: FaultServer, compress: str) -> None:
    path = server.folder / f"levels-{compress}.tif"
    make(path, **COG | {"compress": compress, "count": 3})

    async def work(transport: Transport, pool: ThreadPoolExecutor) -> list[Any]:
        levels = await source.open_levels(transport, asset(server, path.name))
        assert len(spans(server)) == 1, "one read tells all levels"
        found = []
        for level in levels:
            grid = level.layout.grid
            part = cutout(grid.width // 3, grid.height // 4, grid.width // 2, grid.height // 2)
            found += [(level, part, pixels) for pixels in sound(
                await reader.read(transport, level, [part], budget=Budget(1 << 20), pool=pool)
            )]  # fmt: skip
        return found

    found, meter = run(server, work)
    assert len(found) == 4
    assert (meter.requests, meter.bytes) == server.totals()
    for number, (_, part, pixels) in enumerate(found):
        more = {} if number == 0 else {"overview_level": number - 1}
        w = part.window
        with rasterio.open(path, **more) as local:
            np.testing.assert_array_equal(pixels, local.read(window=Window(w.col, w.row, w.width, w.height)))
