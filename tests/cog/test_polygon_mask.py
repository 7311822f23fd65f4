from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio import windows
from rasterio.features import geometry_mask
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from s2async import geo
from s2async.cog import polygon_mask
from s2async.cog.grid import Cutout, Grid, Window, shifted
from s2async.cog.polygon_mask import cutout, is_known
from s2async.models import Area
from s2async.sandbox.truth import oracle
from s2async.sandbox.truth.oracle import project
from tests.support.examples import examples

UTM = Grid(width=60, height=50, transform=Affine(10, 0, 399_960, 0, -10, 5_800_020), epsg=32633)
SOUTH = Grid(width=40, height=70, transform=Affine(20, 0, 500_000, 0, -20, 7_300_000), epsg=32723)
LONLAT = Grid(width=64, height=64, transform=Affine(2**-10, 0, 13.25, 0, -(2**-10), 52.5), epsg=4326)
TILTED = Grid(width=60, height=50, transform=Affine(8, 3, 399_960, 2, -9, 5_800_020), epsg=32633)
NORTH_DOWN = Grid(width=60, height=50, transform=Affine(10, 0, 399_960, 0, 10, 5_799_000), epsg=32633)
THIRDS = Grid(width=64, height=64, transform=Affine(1 / 3000, 0, 13.1, 0, -1 / 3000, 52.3), epsg=4326)
GRIDS = [UTM, SOUTH, LONLAT, TILTED, NORTH_DOWN, THIRDS]


def area_of(polygon: Polygon | MultiPolygon) -> Area:
    return Area(name="", wkb=polygon.wkb, fingerprint=polygon.wkb_hex, folder="")


def by_rasterio(polygon: Polygon | MultiPolygon, grid: Grid) -> tuple[Window, NDArray[np.bool_], Affine] | None:
    shape = project(polygon, f"EPSG:{grid.epsg}")
    window = oracle.window(shape, grid.transform, grid.width, grid.height)
    if window is None:
        return None
    col, row, width, height = window.flatten()
    transform = windows.transform(window, grid.transform)
    inside = geometry_mask([shape], out_shape=(height, width), transform=transform, invert=True)
    return Window(col=col, row=row, width=width, height=height), inside, transform


def unbounded_counts(polygon: Polygon | MultiPolygon, grid: Grid, margin: int = 300) -> set[int]:
    """Pixel centres inside the polygon on a canvas that goes on beyond every edge of the raster.

    One number, but where centres lie on the edge of the polygon: whether they are inside depends on the rounding
    of the canvas, so that every number is right between those of a polygon a hair smaller and a hair larger.
    """
    start = shifted(grid.transform, -margin, -margin)
    shape = (grid.height + 2 * margin, grid.width + 2 * margin)
    projected = project(polygon, f"EPSG:{grid.epsg}")
    hair = 1e-6 * abs(grid.transform.a)
    counts = []
    for moved in (-hair, hair):
        geometry = projected.buffer(moved, join_style="mitre")
        drawn = not geometry.is_empty
        counts.append(drawn and geometry_mask([geometry], out_shape=shape, transform=start, invert=True).sum())
    return set(range(int(counts[0]), int(counts[1]) + 1))


def assert_agrees(polygon: Polygon | MultiPolygon, grid: Grid) -> Cutout | None:
    expected, found = by_rasterio(polygon, grid), cutout(area_of(polygon), grid)
    if expected is None or found is None:
        assert found is None
        assert expected is None
        return None
    window, inside, transform = expected
    assert found.window == window
    assert grid.window_transform(found.window) == transform
    assert found.inside.dtype == bool
    assert np.array_equal(found.inside, inside)
    assert found.total in unbounded_counts(polygon, grid)
    return found


# ---- polygons in pixels of a grid --------------------------------------------------------------------------


def on_the_ground(polygon: BaseGeometry, grid: Grid) -> Polygon | MultiPolygon:
    """A polygon in pixels (column, row) of a grid, in lon/lat."""
    back = Transformer.from_crs(f"EPSG:{grid.epsg}", "OGC:CRS84", always_xy=True)
    a, b, c, d, e, f = grid.transform[:6]

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        columns, rows = points.T
        return np.column_stack(back.transform(a * columns + b * rows + c, d * columns + e * rows + f))

    moved = shapely.transform(polygon, place)
    assert isinstance(moved, Polygon | MultiPolygon)
    return moved


@st.composite
def stars(draw: st.DrawFn) -> Polygon:
    """Round, thin or jagged, from a hundredth of a pixel to larger than the raster; some with a hole."""
    x, y = draw(st.floats(-40, 110)), draw(st.floats(-40, 110))
    radius = draw(st.sampled_from([0.01, 0.3, 0.8, 3.0, 15.0, 60.0, 150.0]))
    number = draw(st.integers(3, 9))
    shares = np.array(draw(st.lists(st.floats(0.1, 1), min_size=number, max_size=number)))
    angles = np.linspace(0, 2 * np.pi, number, endpoint=False) + draw(st.floats(0, 6))
    ring = np.column_stack([x + radius * shares * np.cos(angles), y + radius * shares * np.sin(angles)])
    holes = [(ring - [x, y]) * 0.5 + [x, y]] if draw(st.booleans()) else []
    return Polygon(ring, holes)


@st.composite
def boxes(draw: st.DrawFn) -> Polygon:
    """Rectangles along the edges or through the centres of pixels, also exactly beside the raster."""
    halves = st.integers(-80, 280)
    (left, right), (top, bottom) = (
        sorted(draw(st.tuples(halves, halves).filter(lambda pair: pair[0] != pair[1]))) for _ in range(2)
    )
    return shapely.box(left / 2, top / 2, right / 2, bottom / 2)


@st.composite
def polygons(draw: st.DrawFn) -> Polygon | MultiPolygon:
    first = draw(st.one_of(stars(), boxes()))
    if draw(st.booleans()):
        return first
    other = draw(stars())
    assume(first.disjoint(other))
    return MultiPolygon([first, other])


@examples(200)
@given(polygons(), st.sampled_from(GRIDS))
def test_window_mask_and_total_are_those_of_rasterio(shape: Polygon | MultiPolygon, grid: Grid) -> None:
    assume(shape.is_valid)
    assert_agrees(on_the_ground(shape, grid), grid)


@pytest.mark.parametrize("grid", [UTM, LONLAT, TILTED], ids=["UTM", "lon/lat", "tilted"])
def test_all_these_cases_are_among_them(grid: Grid) -> None:
    width, height = grid.width, grid.height
    kinds = {
        "inside": shapely.box(10.2, 10.2, 20.7, 15.1),
        "partly": shapely.box(-10.3, 20.2, 8.4, 31.8),
        "around": shapely.box(-20.5, -20.5, width + 20.5, height + 20.5),
        "corner": shapely.box(width - 2.5, height - 1.5, width + 9.5, height + 7.5),
        "sub-pixel on a centre": shapely.box(7.45, 8.45, 7.55, 8.55),
        "sub-pixel beside the centre": shapely.box(7.1, 8.1, 7.2, 8.2),
        "two parts": MultiPolygon([shapely.box(2.2, 2.2, 5.7, 5.7), shapely.box(30.2, 30.2, 80.7, 40.7)]),
    }
    found = {name: assert_agrees(on_the_ground(shape, grid), grid) for name, shape in kinds.items()}
    totals = {name: cut.total for name, cut in found.items() if cut}
    counts = {name: int(cut.inside.sum()) for name, cut in found.items() if cut}
    assert set(totals) == set(kinds)
    assert totals["inside"] == counts["inside"] > 0
    assert totals["partly"] > counts["partly"] > 0
    assert (totals["around"], counts["around"]) == (
        (width + 41) * (height + 41) - 2 * (width + height) - 80,
        0,
    ) or (totals["around"] > counts["around"] == width * height)
    assert (totals["sub-pixel on a centre"], totals["sub-pixel beside the centre"]) == (1, 0)
    assert totals["two parts"] > counts["two parts"] > 0


def test_beside_the_raster_is_outside_and_a_hair_into_it_is_not() -> None:
    for shape in (shapely.box(-5, 3, 0, 8), shapely.box(64, 3, 70, 8), shapely.box(3, 64, 8, 70)):
        beside = on_the_ground(shape, LONLAT)  # lon/lat in powers of two: nothing is rounded
        assert cutout(area_of(beside), LONLAT) is None
        assert by_rasterio(beside, LONLAT) is None
    found = assert_agrees(on_the_ground(shapely.box(-5, 3, 2**-20, 8), LONLAT), LONLAT)
    assert found is not None
    assert found.window == Window(col=0, row=3, width=1, height=5)
    assert (found.inside.sum(), found.total) == (0, 25)


# ---- several rasters, several threads ----------------------------------------------------------------------


def test_rasters_of_one_zone_share_a_mask_and_differ_in_it_rightly() -> None:
    shape = Polygon([(30.3, 5.2), (58.1, 12.4), (44.0, 33.3), (25.5, 20.2)])
    polygon = on_the_ground(shape, UTM)
    neighbours = [replace(UTM, transform=shifted(UTM.transform, *move)) for move in ((20, 4), (40, 0), (7, 15))]
    finer = replace(UTM, width=120, height=100, transform=UTM.transform * Affine.scale(0.5))
    off_phase = replace(UTM, transform=shifted(UTM.transform, 0.5, 0.25))
    found = [assert_agrees(polygon, grid) for grid in (UTM, *neighbours, finer, off_phase)]
    masks = [cut.inside for cut in found if cut]
    assert len(masks) == 6
    assert masks[0] is masks[1]  # whole in both
    assert masks[2].shape != masks[0].shape
    assert len({cut.total for cut in found[:4] if cut}) == 1


def test_a_cached_mask_cannot_be_changed() -> None:
    found = cutout(area_of(on_the_ground(shapely.box(3, 3, 9, 9), UTM)), UTM)
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found.inside[0, 0] = False


@pytest.mark.slow
def test_threads_get_what_one_thread_gets() -> None:
    generator = np.random.default_rng(1)
    shapes = [Polygon(generator.uniform(-10, 70, (3, 2))) for _ in range(40)]
    questions = [(area_of(on_the_ground(shape, grid)), grid) for shape in shapes for grid in (UTM, SOUTH, TILTED)]

    def ask(question: tuple[Area, Grid]) -> object:
        found = cutout(*question)
        return found and (found.window, found.inside.tobytes(), found.total)

    expected = [ask(question) for question in questions]
    assert sum(answer is not None for answer in expected) > 60
    polygon_mask._PLACES.clear()
    for memory in (
        polygon_mask._projected,
        geo._to_plane,
        polygon_mask._shared,
        polygon_mask._packed,
        polygon_mask._packed_large,
        polygon_mask._count,
        polygon_mask._whole,
    ):
        memory.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(ask, questions)) == expected


# ---- far away, and very large ------------------------------------------------------------------------------


@pytest.mark.slow
def test_areas_all_over_the_world_are_outside_but_for_those_that_are_not() -> None:
    inside = 0
    for lon, lat in itertools.product(range(-180, 180, 24), (-79, -45, -10, 0, 12, 52, 83)):
        polygon = shapely.box(lon + 0.01, lat, lon + 0.03, lat + 0.02)
        for grid in (UTM, SOUTH):
            projected = shapely.get_coordinates(shapely.transform(polygon, _to(grid.epsg)))
            expected = by_rasterio(polygon, grid) if np.isfinite(projected).all() else None
            assert (cutout(area_of(polygon), grid) is None) == (expected is None)
            inside += expected is not None
    assert inside == 0
    polar = [shapely.box(10, lat, 12, lat + 1) for lat in (88, 89)] + [shapely.box(-90, -90, 0, -89)]
    assert all(cutout(area_of(polygon), UTM) is None for polygon in polar)


@cache
def _to(epsg: int) -> Any:
    transformer = Transformer.from_crs("OGC:CRS84", f"EPSG:{epsg}", always_xy=True)
    return lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1]))


@pytest.mark.parametrize("epsg", [32660, 32601])
def test_on_both_sides_of_180_degrees(epsg: int) -> None:
    west, east = shapely.box(179.98, -17, 180, -16.98), shapely.box(-180, -17, -179.98, -16.98)
    x, y = _to(epsg)(np.array([[180.0, -16.97]]))[0]
    grid = Grid(
        width=500, height=500, transform=Affine(10, 0, x // 10 * 10 - 2500, 0, -10, y // 10 * 10), epsg=epsg
    )
    totals = []
    for polygon in (west, east, MultiPolygon([west, east])):
        found = assert_agrees(polygon, grid)
        assert found is not None
        totals.append(found.total)
    assert abs(totals[0] + totals[1] - totals[2]) <= 1
    assert totals[0] > 40_000


@examples(60)
@given(polygons(), st.sampled_from([UTM, LONLAT, TILTED]), st.integers(1, 3000))
def test_counting_in_stripes_changes_nothing(shape: Polygon | MultiPolygon, grid: Grid, stripe: int) -> None:
    assume(shape.is_valid)
    area = area_of(on_the_ground(shape, grid))
    _forget_counts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(polygon_mask, "STRIPE_PIXELS", stripe)
        found = cutout(area, grid)
    _forget_counts()
    expected = cutout(area, grid)
    assert (found and found.total) == (expected and expected.total)


def _forget_counts() -> None:
    polygon_mask._PLACES.clear()
    polygon_mask._count.cache_clear()


def test_two_places_far_apart_in_one_area() -> None:
    here = on_the_ground(shapely.box(10.2, 10.2, 20.7, 15.1), UTM)
    there = shapely.box(2.35, 48.85, 2.36, 48.86)  # a raster of both would have 10,000 megapixels
    both = shapely.union(here, there)
    assert isinstance(both, MultiPolygon)
    found = cutout(area_of(both), UTM)
    alone = cutout(area_of(here), UTM)
    assert found is not None
    assert alone is not None
    zone = project(there, "EPSG:32633")
    assert found.inside.sum() == alone.total
    assert found.total - alone.total == pytest.approx(zone.area / 100, rel=0.02)


def test_polygons_of_many_vertices_are_not_kept() -> None:
    before = polygon_mask._projected.cache_info().currsize
    area = area_of(on_the_ground(shapely.Point(30, 25).buffer(20, quad_segs=1000), UTM))
    for _ in range(2):
        assert not is_known(area, UTM)
        assert cutout(area, UTM) is not None
    assert polygon_mask._projected.cache_info().currsize == before


@pytest.mark.parametrize(("side", "kept"), [(500, "_packed"), (900, "_packed_large"), (1600, None)])
def test_the_larger_a_mask_the_less_of_it_is_kept(side: int, kept: str | None) -> None:
    memories = {name: getattr(polygon_mask, name) for name in ("_shared", "_packed", "_packed_large")}
    for memory in memories.values():
        memory.cache_clear()
    wide = replace(UTM, width=2000, height=2000)
    polygon = on_the_ground(shapely.box(0.2, 0.2, side - 0.2, side - 0.2), wide)
    polygon_mask._PLACES.clear()
    first = assert_agrees(polygon, wide)
    assert is_known(area_of(polygon), wide) == (kept is not None)
    again = cutout(area_of(polygon), wide)
    assert first is not None
    assert again is not None
    assert not again.inside.flags.writeable
    np.testing.assert_array_equal(again.inside, first.inside)
    found = {name: memory.cache_info() for name, memory in memories.items()}
    assert {name for name, info in found.items() if info.currsize} == ({kept} if kept else set()) | (
        {"_shared"} if kept == "_packed" else set()
    )
    assert kept is None or found[kept].misses == 1


def test_where_an_area_lies_on_a_grid_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    area = area_of(on_the_ground(shapely.box(3.3, 4.4, 20.5, 30.6), UTM))
    away = area_of(on_the_ground(shapely.box(300, 4.4, 320, 30.6), UTM))
    polygon_mask._PLACES.clear()
    assert not is_known(area, UTM)
    first = cutout(area, UTM)
    assert cutout(away, UTM) is None
    assert is_known(area, UTM)
    assert is_known(away, UTM)
    assert not is_known(area, SOUTH)
    monkeypatch.setattr(polygon_mask, "_computed", lambda *_: pytest.fail("once more"))
    again = cutout(replace(area, name="by another name"), UTM)
    assert cutout(away, UTM) is None
    assert first is not None
    assert again is not None
    assert (again.window, again.total) == (first.window, first.total)
    assert again.inside is first.inside


def test_where_masks_are_forgotten_nobody_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    polygon_mask._PLACES.clear()
    polygon_mask._shared.cache_clear()
    monkeypatch.setattr(polygon_mask, "_packed", lru_cache(maxsize=2)(polygon_mask._packed.__wrapped__))
    areas = [area_of(on_the_ground(shapely.box(left, 4, left + 3, 9), UTM)) for left in (5, 20, 35)]
    away = area_of(on_the_ground(shapely.box(300, 4, 320, 9), UTM))
    assert cutout(away, UTM) is None
    known = []
    for area in areas:
        assert cutout(area, UTM) is not None
        known.append(is_known(areas[0], UTM))
    assert known == [True, False, False]
    assert is_known(away, UTM), "it has no mask"


def test_of_more_places_than_are_kept_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polygon_mask, "KEPT_PLACES", 3)
    areas = [area_of(on_the_ground(shapely.box(left, 4, left + 2, 9), UTM)) for left in range(0, 50, 10)]
    expected = [found and (found.window, found.total) for found in (cutout(area, UTM) for area in areas)]
    assert [is_known(area, UTM) for area in areas] == [False, False, True, True, True]
    assert [found and (found.window, found.total) for found in (cutout(area, UTM) for area in areas)] == expected


@pytest.mark.parametrize("side", [30, 900])
def test_a_mask_that_was_forgotten_is_drawn_again(side: int) -> None:
    wide = replace(UTM, width=1000, height=1000)
    area = area_of(on_the_ground(Polygon([(3, 2), (side, 9), (side - 4, side), (7, side - 9)]), wide))
    first = cutout(area, wide)
    masks = (polygon_mask._shared, polygon_mask._packed, polygon_mask._packed_large, polygon_mask._projected)
    for memory in masks:
        memory.cache_clear()
    assert is_known(area, wide)
    again = cutout(area, wide)
    assert first is not None
    assert again is not None
    assert (again.window, again.total) == (first.window, first.total)
    np.testing.assert_array_equal(again.inside, first.inside)


@given(polygons())
def test_a_mask_that_is_unpacked_again_is_the_same(shape: Polygon | MultiPolygon) -> None:
    assume(shape.is_valid)
    area = area_of(on_the_ground(shape, UTM))
    first = cutout(area, UTM)
    drawn = polygon_mask._packed.cache_info().misses
    polygon_mask._shared.cache_clear()
    again = cutout(area, UTM)
    assert polygon_mask._packed.cache_info().misses == drawn
    assert (first is None) == (again is None)
    if first is not None and again is not None:
        assert not again.inside.flags.writeable
        np.testing.assert_array_equal(again.inside, first.inside)


def test_an_unknown_crs_is_said() -> None:
    polygon = on_the_ground(shapely.box(1, 1, 5, 5), UTM)
    with pytest.raises(ValueError, match="EPSG:30000 is not a known CRS"):
        cutout(area_of(polygon), replace(UTM, epsg=30000))


# ---- windows -----------------------------------------------------------------------------------------------


@given(*[st.integers(-50, 50)] * 2, *[st.integers(1, 60)] * 4)
def test_clipping_keeps_the_pixels_of_both(
    col: int, row: int, width: int, height: int, right: int, low: int
) -> None:
    window = Window(col=col, row=row, width=width, height=height)
    both = {
        (x, y)
        for x in range(max(col, 0), min(col + width, right))
        for y in range(max(row, 0), min(row + height, low))
    }
    clipped = window.clip(right, low)
    if clipped is None:
        assert not both
    else:
        assert clipped.pixels == len(both)
        assert {
            (clipped.col, clipped.row),
            (clipped.col + clipped.width - 1, clipped.row + clipped.height - 1),
        } <= both
        assert clipped.shape == (clipped.height, clipped.width)


@pytest.mark.parametrize("grid", GRIDS)
def test_bounds_are_the_corners(grid: Grid) -> None:
    x0, y0, x1, y1 = grid.bounds
    assert (x0, y0) == grid.transform @ (0, 0)
    assert (x1, y1) == pytest.approx(grid.transform @ (grid.width, grid.height), rel=1e-15)
