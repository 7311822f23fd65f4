"""Clear pixels: packed by area and unpacked again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from s2async.engine import clear_pixels


@pytest.mark.parametrize("sizes", [[], [0], [1, 0, 8, 9], [300, 17, 0, 64]])
def test_what_is_packed_is_unpacked(sizes: list[int]) -> None:
    generator = np.random.default_rng(len(sizes))
    classes = generator.integers(0, 14, sum(sizes), dtype=np.uint8)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    found = clear_pixels.packed(classes, starts, (3, 8))
    assert [len(one) for one in found] == [clear_pixels.size(size) for size in sizes]
    clear, data = clear_pixels.unpacked(found, np.array(sizes, np.int64))
    np.testing.assert_array_equal(clear, ~np.isin(classes, [0, 3, 8]))
    np.testing.assert_array_equal(data, classes != 0)
    for one, (start, end) in zip(found, pairwise(starts.tolist()), strict=True):
        assert clear_pixels.seen(one) == sum({1 << min(int(value), 15) for value in classes[start:end]})


def test_pixels_of_another_grid_are_refused() -> None:
    (found,) = clear_pixels.packed(np.ones(9, np.uint8), np.array([0, 9]), ())
    with pytest.raises(ValueError, match="of another grid"):
        clear_pixels.unpacked([found], np.array([25]))
