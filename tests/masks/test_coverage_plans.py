"""Plans with weights in memory: areas are drawn once, and found by their polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from affine import Affine

from s2async.cog.grid import Grid
from s2async.masks.coverage_plans import CoveragePlans
from tests.support.small_fields import fields

pytest.importorskip("exactextract", reason="the extra coverage is not installed")

from s2async.masks import coverage, keeper
from s2async.masks.coverage import CoveragePlan
from s2async.models import Area

GRID = Grid(width=200, height=200, transform=Affine(10, 0, 399_960, 0, -10, 5_800_020), epsg=32633)
OTHER = Grid(width=200, height=200, transform=Affine(10, 0, 409_960, 0, -10, 5_800_020), epsg=32633)
AREAS = fields(GRID, 30)


def test_areas_have_the_weights_that_they_have_alone() -> None:
    plans, alone = CoveragePlans(), coverage.draw(AREAS, GRID)
    for some in ([3, 4, 5], [9, 4, 8, 3], [*range(30)]):
        plan, indices = plans.of([AREAS[index] for index in some], GRID)
        np.testing.assert_array_equal(plan.weights_of(indices), alone.weights_of(some))
    assert len(plan) == 30


def test_areas_are_found_in_a_plan_of_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PIECE", 7)
    plans, alone = CoveragePlans(), coverage.draw(AREAS, GRID)
    for some in ([3, 4, 5], [9, 4, 8, 3], [*range(20)], [*range(29, 9, -1)], [20, 3, 20], []):
        plan, indices = plans.of([AREAS[index] for index in some], GRID)
        np.testing.assert_array_equal(plan.weights_of(indices), alone.weights_of(some))
        np.testing.assert_array_equal(plan.plan.take(indices).lengths, alone.plan.take(some).lengths)
    assert len(plans._keeper.plans[0].pieces) > 2


def test_an_area_is_drawn_once_unless_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = coverage.draw

    def noted(areas: Sequence[Area], grid: Grid) -> CoveragePlan:
        drawn.append(len(areas))
        return draw(areas, grid)

    monkeypatch.setattr(coverage, "draw", noted)
    plans = CoveragePlans()
    for some, grid in ((AREAS[:10], GRID), (AREAS[5:20], GRID), (AREAS[:20], GRID), (AREAS, OTHER), (AREAS, GRID)):
        plans.of(some, grid)
    assert drawn == [10, 10, 30, 10]
    small = CoveragePlans(memory=1)
    drawn.clear()
    for some, grid in ((AREAS[:10], GRID), (AREAS[:4], GRID), (AREAS[:4], OTHER), (AREAS[:4], GRID)):
        small.of(some, grid)
    assert drawn == [10, 4, 4, 4], "a plan that has grown too large begins anew"
