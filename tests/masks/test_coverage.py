from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from s2async import geo
from s2async.cog.grid import Grid, Window
from s2async.masks.gather import Gather
from s2async.models import Area
from s2async.zonal.statistics import Pixels, measure
from s2async.zonal.wanted import Variable
from tests.support.hard_polygons import SIDE, hard_polygon, on_grid, random_polygon

exactextract = pytest.importorskip("exactextract", reason="the extra coverage is not installed")

from s2async.masks import coverage  # noqa: E402
from s2async.masks.coverage import CoveragePlan, draw, plan_of  # noqa: E402

GRID = Grid(width=SIDE, height=SIDE + 5, transform=Affine(10, 0, 399_960, 0, -10, 5_800_020), epsg=32633)
NAMES = ("mean", "stdev", "min", "max", "median", "p10", "p90", "p2.5")
NDVI = Variable(name="NDVI", formula="(nir - red) / (nir + red)", bands=("nir", "red"))
NIR = Variable(name="nir", formula="nir", bands=("nir",))


def shapes(number: int, seed: int = 7) -> NDArray[np.object_]:
    """Fields with holes and several parts, slivers and combs, some across the raster's edge: valid ones."""
    random = np.random.default_rng(seed)
    found: list[Any] = []
    while len(found) < number:
        polygon = random_polygon(random) if len(found) % 2 else hard_polygon(random)
        if polygon.is_valid and polygon.area > 1e-4:
            found.append(on_grid(polygon, GRID.transform))
    array = np.empty(number, np.object_)
    array[:] = found
    return array


def rasters(seed: int = 1) -> dict[str, NDArray[np.uint16]]:
    random = np.random.default_rng(seed)
    found = {band: random.integers(1, 300, (GRID.height, GRID.width)).astype(np.uint16) for band in ("red", "nir")}
    found["nir"][random.random(found["nir"].shape) < 0.1] = 0
    return found


def measured(
    plan: CoveragePlan, variable: Variable, bands: dict[str, NDArray[np.uint16]], clear: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    indices = np.arange(len(plan.plan))
    flat = {}
    for name, raster in {**bands, "clear": clear}.items():
        gather = Gather(plan.plan, indices, raster.dtype)
        for row in range(0, GRID.height, 16):
            height = min(16, GRID.height - row)
            gather.take(Window(row=row, col=0, height=height, width=GRID.width), raster[row : row + height])
        flat[name] = gather.values
    pixels = Pixels(starts=gather.starts, weights=plan.weights_of(indices))
    return measure(variable, flat, flat["clear"], np.ones_like(flat["clear"]), pixels, NAMES)


def by_exactextract(values: NDArray[np.float64], polygons: NDArray[np.object_]) -> list[list[float]]:
    """Count and statistics; the values are NaN where they do not count."""
    west, north, east, south = GRID.bounds
    raster = exactextract.raster.NumPyRasterSource(
        values, xmin=west, ymin=south, xmax=east, ymax=north, nodata=float("nan")
    )
    percentiles = [float(name[1:]) for name in NAMES[5:]]
    quantiles = [f"q{index}=quantile(q={value / 100})" for index, value in enumerate(percentiles)]
    operations = ["count", *NAMES[:5], *quantiles]
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in polygons
    ]
    found = exactextract.exact_extract(raster, features, operations)
    keys = ["count", *NAMES[:5], *(f"q{index}_{int(value)}" for index, value in enumerate(percentiles))]
    return [[feature["properties"][key] for key in keys] for feature in found]


@pytest.mark.parametrize("variable", [NIR, NDVI])
def test_statistics_are_those_of_exactextract(variable: Variable) -> None:
    polygons, bands = shapes(150), rasters()
    clear = np.random.default_rng(3).random((GRID.height, GRID.width)) < 0.8
    plan = plan_of(polygons, GRID)
    counts, found = measured(plan, variable, bands, clear)
    red, nir = bands["red"] / 10_000, bands["nir"] / 10_000
    with np.errstate(invalid="ignore"):
        values = np.where(clear & (nir > 0), nir if variable is NIR else (nir - red) / (nir + red), np.nan)
    for own, ours, theirs in zip(counts, found, by_exactextract(values, polygons), strict=True):
        assert own[3] == pytest.approx(theirs[0], abs=1e-6)
        if theirs[0] == 0:
            assert np.isnan(ours).all()
        else:
            assert np.allclose(ours, theirs[1:], rtol=0, atol=1e-6)
    assert (counts[:, 3] == 0).any()
    assert (counts[:, 3] > 100).any()


def test_weights_are_shares_and_runs_are_the_pixels_touched() -> None:
    polygons = shapes(150)
    plan = plan_of(polygons, GRID)
    whole = plan.weights
    assert whole.min() > 0
    assert whole.max() == 1
    assert 0 < plan.shares.min() <= plan.shares.max() < 1
    ends = np.concatenate([[0], np.cumsum(plan.plan.totals)])
    raster = shapely.box(*np.array(GRID.bounds)[[0, 3, 2, 1]])
    for index, polygon in enumerate(polygons):
        weights = whole[ends[index] : ends[index + 1]]
        assert weights.sum() * 100 == pytest.approx(shapely.area(polygon & raster), rel=1e-5, abs=1e-3)
        window, mask = plan.plan.window(index), plan.plan.mask(index)
        if window is None:
            assert not len(weights)
            continue
        edges = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
        assert all(edge.any() for edge in edges), "the window is no larger than the pixels"
        transform = GRID.window_transform(window)
        for (row, column), weight in list(zip(np.argwhere(mask).tolist(), weights, strict=True))[:20]:
            x, y = transform.c + 10 * column, transform.f - 10 * row
            pixel = shapely.box(x, y - 10, x + 10, y)
            assert weight * 100 == pytest.approx(shapely.area(polygon & pixel), abs=2e-3)


def test_some_areas_of_a_plan() -> None:
    polygons = shapes(20)
    whole = plan_of(polygons, GRID)
    indices = [3, 0, 7, 3]
    alone = plan_of(polygons[indices], GRID)
    assert np.array_equal(whole.weights_of(indices), alone.weights_of([0, 1, 2, 3]))
    assert len(whole.weights_of([])) == 0
    taken = whole.plan.take(indices)
    for name in ("windows", "starts", "rows", "columns", "lengths", "totals"):
        assert np.array_equal(getattr(taken, name), getattr(alone.plan, name)), name


def in_lon_lat(polygons: NDArray[np.object_]) -> list[Area]:
    moved = shapely.transform(polygons, lambda points: geo.unprojected(points, GRID.epsg))
    return [Area(name="", wkb=shape.wkb, fingerprint=shape.wkb_hex, folder="") for shape in moved]


def test_areas_in_lon_lat_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    polygons = shapes(30)
    areas = in_lon_lat(polygons)
    whole = draw(areas, GRID)
    monkeypatch.setattr(coverage, "VERTICES", 40)
    monkeypatch.setattr(coverage, "PIXELS", 500)
    sliced = draw(areas, GRID)
    assert np.array_equal(whole.weights, sliced.weights)
    for name in ("windows", "starts", "rows", "columns", "lengths", "totals"):
        assert np.array_equal(getattr(whole.plan, name), getattr(sliced.plan, name)), name
    assert whole.weights.sum() == pytest.approx(plan_of(polygons, GRID).weights.sum(), rel=1e-6)
    assert len(draw([], GRID).weights) == 0


def test_areas_outside_and_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "LARGEST_PIXELS", 1000)
    far = Polygon([(0, 0), (1, 0), (0, 1)])
    lost = Polygon([(np.inf, np.inf), (400_000, 5_800_000), (400_100, 5_800_000)])
    large = shapely.box(399_970, 5_799_400, 400_500, 5_800_000)
    small = shapely.box(399_975, 5_799_995, 399_995, 5_800_010)
    two = MultiPolygon([small, shapely.box(399_900, 5_800_000, 399_950, 5_800_010)])
    polygons = np.array([far, lost, large, small, two], np.object_)
    plan = plan_of(polygons, GRID)
    assert plan.plan.skipped.tolist() == [False, False, True, False, False]
    assert plan.plan.totals.tolist() == [0, 0, 0, 6, 6]
    assert plan.weights.tolist() == [0.5, 1, 0.5, 0.25, 0.5, 0.25] * 2
    assert plan.plan.windows[3].tolist() == plan.plan.windows[4].tolist() == [1, 1, 2, 3]


@pytest.mark.parametrize("transform", [Affine(8, 3, 0, 2, -9, 0), Affine(10, 0, 0, 0, 10, 0)])
def test_turned_rasters_are_refused(transform: Affine) -> None:
    with pytest.raises(ValueError, match="first row is the northernmost"):
        draw([], Grid(width=10, height=10, transform=transform, epsg=32633))
