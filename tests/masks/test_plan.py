from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from s2async.masks.plan import GridPlan
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
    assert whole.nbytes == 16 * 120 + 8 * 121 + 6 * int(whole.starts[-1]) + 8 * 120 + 120
