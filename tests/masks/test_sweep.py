from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from s2async.clouds import scl
from s2async.cog.grid import Window
from s2async.masks import sweep as module
from s2async.masks.sweep import Sweep, blank
from s2async.output import crops
from tests.support.hard_polygons import GRID, plan


def blocks(height: int, width: int) -> Iterator[Window]:
    for row in range(0, GRID.height, height):
        for col in range(0, GRID.width, width):
            rows, columns = min(height, GRID.height - row), min(width, GRID.width - col)
            yield Window(row=row, col=col, height=rows, width=columns)


def part(raster: NDArray[np.generic], block: Window) -> NDArray[np.generic]:
    return raster[..., block.row : block.row + block.height, block.col : block.col + block.width]


SIZES = [(GRID.height, GRID.width), (16, GRID.width), (16, 16), (7, 11), (1, GRID.width)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("bound", [1 << 18, 50])
def test_histograms_are_those_of_the_masks(
    height: int, width: int, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIXELS", bound)
    monkeypatch.setattr(module, "RUNS", bound)
    whole = plan()
    raster = np.random.default_rng(1).integers(0, 16, (GRID.height, GRID.width)).astype(np.uint8)
    indices = np.random.default_rng(2).permutation(len(whole))[:100]
    sweep, counts = Sweep(whole, indices), np.zeros((100, scl.BINS), np.int64)
    for block in blocks(height, width):
        sweep.count(part(raster, block), block, counts)  # type: ignore[arg-type]
    assert counts.sum() > 1000
    for index, found in zip(indices.tolist(), counts.tolist(), strict=True):
        place = whole.cutout(index)
        expected: tuple[int, ...] = (0,) * scl.BINS
        if place:
            expected = scl.measure(part(raster, place.window), place.inside, place.total).histogram
        assert tuple(found) == expected


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_windows_are_cut_out_of_blocks(height: int, width: int) -> None:
    whole = plan()
    raster = np.random.default_rng(1).integers(1, 999, (3, GRID.height, GRID.width)).astype(np.uint16)
    indices = np.random.default_rng(2).permutation(len(whole))[:100]
    sweep = Sweep(whole, indices)
    places = {position: whole.cutout(index) for position, index in enumerate(indices.tolist())}
    open_windows: dict[int, NDArray[np.generic]] = {}
    closed: list[int] = []
    for block in blocks(height, width):
        for position in sweep.touching(block).tolist():
            place = places[position]
            assert place is not None
            open_windows.setdefault(position, np.zeros((3, *place.window.shape), np.uint16))
        sweep.scatter(part(raster, block), block, open_windows)
        if block.col + block.width < GRID.width:
            continue
        for position in sweep.ending(block.row, block.row + block.height).tolist():
            place, found = places[position], open_windows.pop(position)
            assert place is not None
            expected = part(raster, place.window)
            assert np.array_equal(found, expected)
            for nodata in (None, 7.0):
                masked = found.copy()
                blank(masked, place.inside, nodata)
                assert np.array_equal(masked, crops.cut(expected, place.inside, nodata))
            closed.append(position)
    assert not open_windows
    assert sorted(closed) == [position for position, place in places.items() if place]


def test_windows_that_nobody_wants_are_passed_over() -> None:
    whole = plan()
    sweep, block = Sweep(whole, np.arange(len(whole))), next(blocks(GRID.height, GRID.width))
    first, *_ = sweep.touching(block).tolist()
    height, width = whole.windows[first, 2:].tolist()
    wanted: dict[int, NDArray[np.generic]] = {first: np.zeros((height, width), np.uint8)}
    sweep.scatter(np.ones((GRID.height, GRID.width), np.uint8), block, wanted)
    assert wanted.keys() == {first}
    assert wanted[first].all()


def test_touching_are_those_whose_windows_share_a_pixel() -> None:
    whole = plan()
    sweep = Sweep(whole, np.arange(len(whole)))
    for block in blocks(9, 13):
        expected = []
        for index in range(len(whole)):
            window = whole.window(index)
            moved = window and Window(
                row=window.row - block.row, col=window.col - block.col, height=window.height, width=window.width
            )
            if moved and moved.clip(block.width, block.height):
                expected.append(index)
        found = sweep.touching(block).tolist()
        assert sorted(found) == expected
        assert whole.windows[found, 0].tolist() == sorted(whole.windows[found, 0].tolist())


def test_a_sweep_of_nothing_does_nothing() -> None:
    sweep, block = Sweep(plan(2), []), next(blocks(GRID.height, GRID.width))
    counts = np.zeros((0, scl.BINS), np.int64)
    sweep.count(np.zeros((GRID.height, GRID.width), np.uint8), block, counts)
    sweep.scatter(np.zeros((GRID.height, GRID.width), np.uint8), block, {})
    assert sweep.touching(block).tolist() == sweep.ending(0, GRID.height).tolist() == []
