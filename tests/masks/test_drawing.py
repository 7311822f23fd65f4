from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from shapely import MultiPolygon, Polygon

from s2async import geo
from s2async.cog import polygon_mask
from s2async.cog.grid import Grid, Window
from s2async.cog.polygon_mask import cutout
from s2async.masks import drawing, scanline
from s2async.masks.drawing import draw, plan_of
from s2async.masks.plan import GridPlan
from s2async.masks.scanline import Shapes
from s2async.models import Area
from s2async.sandbox.truth import oracle
from tests.support.hard_polygons import SIDE, hard_polygon, on_grid, random_polygon
from tests.support.lanes import few_quick

Shape = Polygon | MultiPolygon

TRANSFORMS = {
    "10 m": Affine(10, 0, 399_960, 0, -10, 5_800_020),
    "20 m, southern": Affine(20, 0, 500_000, 0, -20, 7_300_000),
    "powers of two": Affine(2**-10, 0, 13.25, 0, -(2**-10), 52.5),
    "degrees": Affine(1 / 3000, 0, 13.1, 0, -1 / 3000, 52.3),
    "small": Affine(1e-6, 0, 13.1, 0, -1e-6, 52.3),
    "tilted": Affine(8, 3, 399_960, 2, -9, 5_800_020),
    "north down": Affine(10, 0, 399_960, 0, 10, 5_799_000),
}
GRIDS = [Grid(width=SIDE, height=SIDE + 5, transform=value, epsg=32633) for value in TRANSFORMS.values()]


def plan_in_plane(shapes: list[Shape], grid: Grid) -> GridPlan:
    return plan_of(Shapes.of(np.array(shapes, np.object_)), grid, len(shapes))


def by_rasterio(shape: Shape, grid: Grid) -> tuple[Window, NDArray[np.bool_], int] | None:
    """Window, mask and total of a shape in the plane: the mask is rasterio's in the oracle's window."""
    left, top, right, bottom = oracle.outermost(shape, grid.transform)
    whole = Window(col=left, row=top, width=right - left, height=bottom - top)
    window = whole.clip(grid.width, grid.height)
    if window is None:
        return None

    def mask(window: Window) -> NDArray[np.bool_]:
        start = grid.window_transform(window)
        drawn: NDArray[np.bool_] = geometry_mask([shape], window.shape, transform=start, invert=True)
        return drawn

    inside = mask(window)
    total = int(inside.sum())
    return window, inside, total if window == whole else max(total, int(mask(whole).sum()))


def assert_is_rasterios(plan: GridPlan, shapes: list[Shape]) -> int:
    """Compare each shape of a plan; the number of those that the raster touches."""
    for index, shape in enumerate(shapes):
        expected, found = by_rasterio(shape, plan.grid), plan.cutout(index)
        if expected is None:
            assert found is None
            assert plan.totals[index] == 0
            continue
        assert found is not None
        assert found.window == expected[0]
        assert np.array_equal(found.inside, expected[1]), shape.wkt
        assert found.total == expected[2]
    return int(plan.touched.sum())


@pytest.mark.parametrize("grid", few_quick(GRIDS, 2), ids=TRANSFORMS)
@pytest.mark.parametrize("kind", [random_polygon, hard_polygon])
def test_windows_masks_and_totals_are_those_of_rasterio(
    kind: Callable[[np.random.Generator], Shape], grid: Grid
) -> None:
    _compare(kind, grid, 150, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("grid", GRIDS, ids=TRANSFORMS)
@pytest.mark.parametrize(("kind", "number"), [(random_polygon, 360), (hard_polygon, 720)])
def test_so_they_are_for_thirty_thousand(
    kind: Callable[[np.random.Generator], Shape], number: int, grid: Grid, seed: int
) -> None:
    _compare(kind, grid, number, seed=seed)


def _compare(kind: Callable[[np.random.Generator], Shape], grid: Grid, number: int, *, seed: int) -> None:
    random = np.random.default_rng(seed)
    shapes = [on_grid(kind(random), grid.transform) for _ in range(number)]
    touched = assert_is_rasterios(plan_in_plane(shapes, grid), shapes)
    assert touched > number / 2


# ---- areas in lon/lat --------------------------------------------------------------------------------------

UTM = Grid(width=500, height=400, transform=Affine(10, 0, 399_960, 0, -10, 5_800_020), epsg=32633)


def areas_near(grid: Grid, number: int, *, seed: int = 1) -> list[Area]:
    random = np.random.default_rng(seed)
    shapes = []
    for _ in range(number):
        polygon = random_polygon(random) if random.random() < 0.5 else hard_polygon(random)
        moved = shapely.transform(polygon, lambda points: points + random.uniform(-50, 450, 2))
        xy = on_grid(moved, grid.transform)
        shapes.append(shapely.transform(xy, lambda points: geo.unprojected(points, grid.epsg)))
    return [area_of(shape) for shape in shapes]


def area_of(shape: Shape) -> Area:
    return Area(name="", wkb=shape.wkb, fingerprint=shape.wkb_hex, folder="")


def assert_is_todays(areas: list[Area], grid: Grid) -> GridPlan:
    plan = draw(areas, grid)
    assert len(plan) == len(areas)
    for index, area in enumerate(areas):
        expected, found = cutout(area, grid), plan.cutout(index)
        assert (found and (found.window, found.total)) == (expected and (expected.window, expected.total))
        if found and expected:
            assert np.array_equal(found.inside, expected.inside)
    return plan


@pytest.mark.parametrize("bound", [1 << 17, 100])
@pytest.mark.slow
def test_areas_are_drawn_as_one_by_one(bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "VERTICES", bound)
    monkeypatch.setattr(scanline, "CROSSINGS", bound)
    plan = assert_is_todays(areas_near(UTM, 300), UTM)
    assert 150 < plan.touched.sum() < 300
    assert not plan.skipped.any()


def test_vertices_are_projected_as_those_of_one_polygon() -> None:
    """Not nearly: centres on an edge would fall on another side of it."""
    areas = areas_near(UTM, 100)
    shapes = drawing._projected(np.array([area.polygon for area in areas], np.object_), 32633)
    one_by_one = [
        shapely.get_coordinates(polygon_mask._project(area.fingerprint, area.polygon, 32633)) for area in areas
    ]
    assert np.array_equal(np.column_stack([shapes.x, shapes.y]), np.concatenate(one_by_one))


def test_an_area_that_cannot_be_projected_is_outside() -> None:
    near = areas_near(UTM, 20)
    pole = area_of(shapely.box(10, 89, 12, 90))
    endless = area_of(Polygon([(13, 52), (14, 52), (105, 0)]))  # its last vertex is infinitely far
    plan = assert_is_todays([near[0], pole, *near[1:], endless], UTM)
    assert not plan.touched[[1, -1]].any()
    assert not plan.skipped.any()
    assert plan.totals[[1, -1]].tolist() == [0, 0]


def test_too_large_areas_are_left_to_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    around = shapely.box(-1000, -1000, 4000, 4000)
    strip = shapely.box(-70_000, 5, 70_000, 6)
    comb = Polygon([(x, 0 if x % 2 else 30) for x in range(300)] + [(300, -5), (0, -5)])
    beyond = shapely.box(2.0**60, 5, 2.0**61, 9)
    endless = shapely.box(-(2.0**60), 5, 2.0**60, 9)
    away = shapely.box(1000, 1000, 9000, 9000)
    small = shapely.box(1, 1, 5, 5)
    shapes: list[Shape] = [
        on_grid(shape, UTM.transform) for shape in (around, strip, endless, comb, beyond, away, small)
    ]
    monkeypatch.setattr(drawing, "LARGEST_CROSSINGS", 5000)
    plan = plan_in_plane(shapes, UTM)
    assert plan.skipped.tolist() == [True, True, True, True, False, False, False]
    assert plan.touched.tolist() == [False] * 6 + [True]
    assert np.diff(plan.starts).tolist() == [0] * 6 + [4]
    monkeypatch.setattr(drawing, "LARGEST_CROSSINGS", 10_000)
    assert plan_in_plane(shapes, UTM).skipped.tolist() == [True, True, True, False, False, False, False]


def test_the_largest_window_that_runs_can_describe() -> None:
    wide = Grid(width=1 << 17, height=4, transform=Affine(1, 0, 0, 0, 1, 0), epsg=32633)
    side = (1 << 16) - 1
    shapes: list[Shape] = [shapely.box(7, 1, 7 + side, 3), shapely.box(7, 1, 8 + side, 3)]
    plan = plan_in_plane(shapes, wide)
    assert plan.skipped.tolist() == [False, True]
    assert plan.lengths.tolist() == [side, side]
    assert_is_rasterios(plan.take([0]), shapes[:1])


def test_no_areas_have_a_plan_without_areas() -> None:
    plan = draw([], UTM)
    assert (len(plan), plan.starts.tolist(), plan.windows.shape) == (0, [0], (0, 4))


def test_an_unknown_crs_is_said() -> None:
    with pytest.raises(ValueError, match="EPSG:30000 is not a known CRS"):
        draw(areas_near(UTM, 1), replace(UTM, epsg=30000))
