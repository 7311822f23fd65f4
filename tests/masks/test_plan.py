from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import shapely
from affine import Affine

from s2async.cog.grid import Grid
from s2async.masks.drawing import plan_of
from s2async.masks.plan import GridPlan
from s2async.masks.scanline import Shapes
from tests.support.hard_polygons import GRID, plan


def assert_same(found: GridPlan, expected: GridPlan) -> None:
    for field in fields(GridPlan):
        mine, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            assert mine.dtype == other.dtype
            assert np.array_equal(mine, other), field.name
        else:
            assert mine == other


def test_some_areas_are_taken_in_any_order() -> None:
    whole = plan()
    indices = [7, 3, 3, 80, 0]
    some = whole.take(indices)
    assert len(some) == 5
    assert sum(some.totals) > 0
    for place, index in enumerate(indices):
        assert some.window(place) == whole.window(index)
        assert np.array_equal(some.mask(place), whole.mask(index))
        assert some.totals[place] == whole.totals[index]
    assert_same(whole.take(range(len(whole))), whole)
    assert_same(whole.take([]), GridPlan.empty(GRID))


def test_plans_are_joined_in_order() -> None:
    whole = plan()
    parts = [whole.take(range(start, stop)) for start, stop in ((0, 50), (50, 50), (50, 51), (51, 120))]
    assert_same(GridPlan.joined(parts), whole)
    assert_same(GridPlan.joined([GridPlan.empty(GRID)]), GridPlan.empty(GRID))


def test_masks_have_the_pixels_of_the_runs() -> None:
    whole = plan()
    for index, mask in enumerate(whole.masks(range(len(whole)))):
        expected = np.zeros(whole.windows[index, 2:], np.bool_)
        for run in range(whole.starts[index], whole.starts[index + 1]):
            row, column = int(whole.rows[run]), int(whole.columns[run])
            assert not expected[row, max(column - 1, 0) : column + int(whole.lengths[run]) + 1].any(), "a gap"
            expected[row, column : column + int(whole.lengths[run])] = True
        assert np.array_equal(mask, expected)
        assert whole.totals[index] >= expected.sum()


def test_a_cutout_is_read_only_and_large_areas_have_none() -> None:
    whole = plan()
    place = next(found for index in range(len(whole)) if (found := whole.cutout(index)) and found.total)
    with pytest.raises(ValueError, match="read-only"):
        place.inside[0, 0] = True
    whole.skipped[1] = True
    with pytest.raises(ValueError, match="too large"):
        whole.cutout(1)


def test_its_size_is_that_of_its_arrays() -> None:
    whole = plan()
    assert whole.nbytes == 8 * 120 + 4 * 121 + 3 * int(whole.starts[-1]) + 4 * 120 + 120


RASTER = Grid(width=900, height=800, transform=Affine(1, 0, 0, 0, 1, 0), epsg=32633)


def test_types_are_the_smallest_that_hold_windows_of_255_and_of_256_pixels() -> None:
    across, small, down = (
        plan_of(Shapes.of(np.array([shapely.box(600, 500, 600 + width, 500 + height)])), RASTER, 1)
        for width, height in ((256, 3), (255, 255), (3, 256))
    )
    whole = GridPlan.joined([across, small, down])
    for part, kind in ((across, np.uint16), (small, np.uint8), (down, np.uint16), (whole, np.uint16)):
        assert {array.dtype for array in (part.rows, part.columns, part.lengths)} == {np.dtype(kind)}
        assert part.windows.dtype == np.uint16
        assert part.starts.dtype == part.totals.dtype == np.int32
    assert small.windows.tolist() == [[500, 600, 255, 255]]
    assert small.mask(0).all()
    assert [mask.sum() for mask in whole.masks([2, 0, 1])] == [3 * 256, 256 * 3, 255 * 255]
    assert_same(whole.take([1]), small)


def test_values_beyond_the_small_types_are_kept() -> None:
    wide = replace(RASTER, width=1 << 16)
    one = plan_of(Shapes.of(np.array([shapely.box(65_530, 0, 65_536, 2)])), wide, 1)
    assert one.windows.tolist() == [[0, 65_530, 2, 6]]
    assert replace(one, totals=np.array([1 << 31])).totals.tolist() == [1 << 31]
