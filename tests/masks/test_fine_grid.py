"""The grid of 10 m, and the parts of coarser files that lie under its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from s2async.cog.grid import Cutout, Grid, Window
from s2async.masks.fine_grid import covering, fine_grid, fine_pixels, joined, part_of


def grid(size: float, pixels: int) -> Grid:
    return Grid(width=pixels, height=pixels, transform=Affine(size, 0, 399960, 0, -size, 5700000), epsg=32633)


@pytest.mark.parametrize(("size", "pixels", "factor"), [(10, 10980, 1), (20, 5490, 2), (60, 1830, 6)])
def test_the_files_of_a_scene_have_one_fine_grid(size: float, pixels: int, factor: int) -> None:
    assert fine_grid(grid(size, pixels)) == (grid(10, 10980), factor)


@pytest.mark.parametrize("size", [5, 15, 25.5])
def test_pixels_that_do_not_consist_of_whole_ones_are_left_alone(size: float) -> None:
    assert fine_grid(grid(size, 100)) == (grid(size, 100), 1)


def cutouts() -> st.SearchStrategy[Cutout]:
    def make(row: int, col: int, height: int, width: int, seed: int) -> Cutout:
        inside = np.random.default_rng(seed).random((height, width)) < 0.3
        window = Window(row=row, col=col, height=height, width=width)
        return Cutout(window=window, inside=inside, total=int(inside.sum()))

    side = st.integers(1, 12)
    return st.builds(make, st.integers(0, 20), st.integers(0, 20), side, side, st.integers(0, 99))


@given(cutouts(), st.sampled_from([1, 2, 6]))
def test_a_covering_has_all_pixels_that_are_needed_and_no_other(fine: Cutout, factor: int) -> None:
    size = 40 // factor + 1
    raster = np.arange(size * size, dtype=np.uint16).reshape(size, size)
    whole = raster.repeat(factor, axis=0).repeat(factor, axis=1)
    expected = part_of(whole, Window(row=0, col=0, height=len(whole), width=len(whole)), fine.window)[fine.inside]
    part = covering(fine, factor)
    window = part.window
    read = raster[window.row : window.row + window.height, window.col : window.col + window.width]
    assert set(read[part.inside].tolist()) == set(expected.tolist())
    read = np.where(part.inside, read, 0)
    np.testing.assert_array_equal(fine_pixels(read, window, fine, factor), expected)


@given(cutouts(), cutouts())
def test_joined_parts_hold_the_pixels_of_both(one: Cutout, other: Cutout) -> None:
    whole = np.zeros((40, 40), bool)
    for part in (one, other):
        window = part.window
        whole[window.row : window.row + window.height, window.col : window.col + window.width] |= part.inside
    both = joined(one, other)
    window = both.window
    shown = np.zeros((40, 40), bool)
    shown[window.row : window.row + window.height, window.col : window.col + window.width] = both.inside
    np.testing.assert_array_equal(shown, whole)
    assert both.total == whole.sum()
