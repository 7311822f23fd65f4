from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from shapely import Polygon

from s2async.cog.grid import Grid, Window
from s2async.cog.tiff import Layout
from s2async.masks import sweep
from s2async.masks.drawing import plan_of
from s2async.masks.gather import Gather, rows_under
from s2async.masks.plan import GridPlan
from s2async.masks.scanline import Shapes
from s2async.zonal.statistics import Pixels, measure
from s2async.zonal.wanted import Variable
from tests.support.hard_polygons import SIDE, plan, star
from tests.support.lanes import few_quick
from tests.support.layouts import Made
from tests.support.layouts import tiff as made_tiff
from tests.support.streams import layout_of

FACTORS = [1, 2, 6]
FINE = Grid(width=SIDE, height=SIDE + 6, transform=Affine(1, 0, 0, 0, 1, 0), epsg=32633)
SIZES = [(1000, 1000), (16, 16), (7, 11), (1, 1000), (5, 2)]


def coarse(factor: int) -> Grid:
    """The grid of a file whose pixels are `factor` x `factor` of the plan's."""
    grid = Grid(
        width=FINE.width // factor,
        height=FINE.height // factor,
        transform=Affine(factor, 0, 0, 0, factor, 0),
        epsg=32633,
    )
    assert grid.refined(factor) == FINE
    return grid


def blocks(grid: Grid, height: int, width: int) -> Iterator[Window]:
    for row in range(0, grid.height, height):
        for col in range(0, grid.width, width):
            rows, columns = min(height, grid.height - row), min(width, grid.width - col)
            yield Window(row=row, col=col, height=rows, width=columns)


def part(raster: NDArray[Any], block: Window) -> NDArray[Any]:
    return raster[block.row : block.row + block.height, block.col : block.col + block.width]


def repeated(raster: NDArray[Any], factor: int) -> NDArray[Any]:
    return raster.repeat(factor, axis=0).repeat(factor, axis=1)


def inside(fine: NDArray[Any], whole: GridPlan, index: int) -> NDArray[Any]:
    """The pixels of an area, by its mask."""
    window = whole.window(index)
    return part(fine, window)[whole.mask(index)] if window else fine[:0, 0]


def random_raster(grid: Grid) -> NDArray[np.uint16]:
    return np.random.default_rng(1).integers(1, 65_536, (grid.height, grid.width)).astype(np.uint16)


@pytest.mark.parametrize("factor", few_quick(FACTORS, 2))
@pytest.mark.parametrize(("height", "width"), few_quick(SIZES, 3))
@pytest.mark.parametrize("bound", [1 << 18, 50])
def test_pixels_are_those_of_the_masks(
    factor: int, height: int, width: int, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2async.masks.gather.PIXELS", bound)
    monkeypatch.setattr(sweep, "RUNS", bound)
    whole, grid = plan(grid=FINE), coarse(factor)
    raster = random_raster(grid)
    indices = np.random.default_rng(2).integers(0, len(whole), 100)  # some come twice
    gather = Gather(whole, indices, np.uint16, factor=factor)
    for block in blocks(grid, height, width):
        gather.take(block, part(raster, block))
    fine = repeated(raster, factor)
    assert gather.values.dtype == np.uint16
    assert gather.starts.shape == (101,)
    assert len(gather.values) == gather.starts[-1] > 1000
    for position, index in enumerate(indices.tolist()):
        found = gather.values[gather.starts[position] : gather.starts[position + 1]]
        assert np.array_equal(found, inside(fine, whole, index))


@pytest.mark.parametrize("factor", [1, 2])
def test_positions_beyond_255_do_not_overflow(factor: int) -> None:
    """Runs of windows of up to 255 pixels have 8 bits, while their positions on the raster need more."""
    fine, random = replace(FINE, width=1000, height=900), np.random.default_rng(7)
    shapes = [Polygon(star(random, random.uniform(120, 800, 2), random.uniform(60, 120))) for _ in range(40)]
    whole = plan_of(Shapes.of(np.array(shapes, np.object_)), fine, len(shapes))
    assert whole.rows.dtype == np.uint8
    assert whole.windows[:, 2:].max() > 200
    grid = Grid(
        width=fine.width // factor, height=fine.height // factor, transform=Affine.scale(factor), epsg=32633
    )
    raster = random_raster(grid)
    gather = Gather(whole, range(len(whole)), np.uint16, factor=factor)
    counts = np.zeros((len(whole), 12), np.int64)
    for block in blocks(grid, 300, 256):
        gather.take(block, part(raster, block))
    for block in blocks(fine, 300, 256):
        sweep.Sweep(whole, range(len(whole))).count(part(repeated(raster, factor), block) % 12, block, counts)
    for index, shape in enumerate(shapes):
        mask = geometry_mask([shape], (fine.height, fine.width), fine.transform, invert=True)
        expected = repeated(raster, factor)[mask]
        assert np.array_equal(gather.values[gather.starts[index] : gather.starts[index + 1]], expected)
        assert np.array_equal(counts[index], np.bincount(expected % 12, minlength=12))
        assert whole.totals[index] == mask.sum()


def test_blocks_may_come_in_several_threads_and_need_not_come() -> None:
    whole, grid = plan(grid=FINE), coarse(2)
    raster = random_raster(grid)
    gather = Gather(whole, np.arange(len(whole)), np.uint16, factor=2)
    some = list(blocks(grid, 3, 3))[::2]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda block: gather.take(block, part(raster, block)), some))
    brought = np.zeros_like(raster)
    for block in some:
        part(brought, block)[...] = part(raster, block)
    fine = repeated(brought, 2)
    for index in range(len(whole)):
        found = gather.values[gather.starts[index] : gather.starts[index + 1]]
        assert np.array_equal(found, inside(fine, whole, index))


def test_areas_without_pixels_have_none() -> None:
    whole = plan(grid=FINE)
    none_of_its_own = np.array([0, 0, whole.starts[1]])
    skipped = replace(whole.take([0, 1]), skipped=np.array([True, False]), starts=none_of_its_own)
    gather = Gather(skipped, [0, 0], np.uint8)
    assert gather.starts.tolist() == [0, 0, 0]
    none = Gather(whole, [], np.uint8)
    none.take(Window(row=0, col=0, height=66, width=60), np.ones((66, 60), np.uint8))
    assert (none.starts.tolist(), none.values.tolist()) == ([0], [])


@pytest.mark.parametrize("factor", FACTORS)
def test_touching_are_the_areas_with_pixels_of_their_window_in_a_block(factor: int) -> None:
    whole, grid = plan(grid=FINE), coarse(factor)
    gather = Gather(whole, np.arange(len(whole)), np.uint8, factor=factor)
    for block in blocks(grid, 3, 4):
        marks = np.zeros((grid.height, grid.width), np.bool_)
        part(marks, block)[...] = True
        fine = repeated(marks, factor)
        windows = [whole.window(index) for index in range(len(whole))]
        expected = [index for index, window in enumerate(windows) if window and part(fine, window).any()]
        assert sorted(gather.touching(block).tolist()) == expected


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("size", [(16, 16), (32, 16), (16, 48)])
def test_the_rows_of_blocks_that_pixels_need(factor: int, size: tuple[int, int]) -> None:
    whole, grid = plan(grid=FINE), coarse(factor)
    layout = layout_with(grid, *size)
    indices = [index for index in range(len(whole)) if index % 3]
    needed = np.zeros((FINE.height, FINE.width), np.bool_)
    for index in indices:
        if window := whole.window(index):
            part(needed, window)[...] |= whole.mask(index)
    expected = {}
    for block, window in enumerate(blocks(grid, layout.block_height, layout.block_width)):
        scaled = Window(
            row=window.row * factor,
            col=window.col * factor,
            height=window.height * factor,
            width=window.width * factor,
        )
        rows = np.flatnonzero(part(needed, scaled).any(axis=1))
        if len(rows):
            expected[block] = int(rows[-1]) // factor + 1
    assert rows_under(whole, indices, layout, factor=factor) == expected
    assert rows_under(whole, [], layout, factor=factor) == {}


def layout_with(grid: Grid, height: int, width: int) -> Layout:
    options = {"tiled": True, "blockxsize": width, "blockysize": height}
    made = Made(name="gather", width=grid.width, height=grid.height, options=options)
    return layout_of(made_tiff(made))


def test_bands_of_10_and_60_m_and_classes_of_20_m_on_one_grid() -> None:
    whole, random = plan(grid=FINE), np.random.default_rng(5)
    rasters = {factor: random.integers(0, 50, (FINE.height // factor, FINE.width // factor)) for factor in FACTORS}
    flat = {}
    for factor, raster in rasters.items():
        gather = Gather(whole, np.arange(len(whole)), np.uint16, factor=factor)
        for block in blocks(coarse(factor), 8, 8):
            gather.take(block, part(raster.astype(np.uint16), block))
        flat[factor], starts = gather.values, gather.starts
    index = Variable(name="x", formula="(nir - nir09) / (nir + nir09 - 0.004)", bands=("nir", "nir09"))
    counts, found = measure(
        index,
        {"nir": flat[1], "nir09": flat[6]},
        flat[2] > 10,
        flat[2] > 0,
        Pixels(starts=starts),
        ("mean", "stdev", "median", "p10", "min", "max"),
    )
    fine = {factor: repeated(raster, factor) for factor, raster in rasters.items()}
    for area in range(len(whole)):
        nir, scl, nir09 = (inside(fine[factor], whole, area) for factor in FACTORS)
        valid = (scl > 10) & (nir > 0) & (nir09 > 0)
        a, b = nir[valid] / 10_000, nir09[valid] / 10_000
        below = a + b - 0.004
        values = ((a - b)[below != 0]) / below[below != 0]
        expected = [nir.size, np.sum(scl > 0), np.sum(scl > 10), len(values), np.sum(below == 0)]
        assert counts[area].tolist() == expected
        if len(values):
            statistics = [values.mean(), values.std(), np.median(values), np.percentile(values, 10)]
            assert np.allclose(found[area, :4], statistics, rtol=1e-9, atol=1e-9 * np.abs(values).max())
            assert found[area, 2] == np.median(values)
            assert found[area, 4:].tolist() == [values.min(), values.max()]
        else:
            assert np.isnan(found[area]).all()
    assert counts[:, 4].sum() > 0
    assert (counts[:, 3] == 0).any()
