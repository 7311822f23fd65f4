"""Blocks under areas, computed from footprints only: the same ones as from the header of a file."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from shapely import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from s2async.areas.loader import fingerprint
from s2async.cog.grid import Grid
from s2async.cog.polygon_mask import cutout
from s2async.models import Area
from s2async.plan.block_layout import Rasters, blocks_under, covered_share

WEST, NORTH = 300_000.0, 5_900_040.0
SIDE = 109_800.0


def area(polygon: Polygon | MultiPolygon, name: str = "a") -> Area:
    return Area(name=name, wkb=polygon.wkb, fingerprint=fingerprint(polygon), folder=name)


def lonlat(flat: BaseGeometry, epsg: int = 32633) -> Polygon:
    back = Transformer.from_crs(f"EPSG:{epsg}", "OGC:CRS84", always_xy=True)
    moved: Polygon = shapely.transform(flat, lambda xy: np.column_stack(back.transform(xy[:, 0], xy[:, 1])))  # type: ignore[assignment]
    return moved


SCENE = lonlat(box(WEST, NORTH - SIDE, WEST + SIDE, NORTH))
EASTERN = lonlat(box(WEST + 60_000, NORTH - SIDE, WEST + SIDE, NORTH))
SOUTHERN = lonlat(box(WEST, NORTH - SIDE, WEST + SIDE, NORTH - 70_000))


@given(
    st.floats(1000, 90_000), st.floats(1000, 90_000), st.floats(30, 15_000), st.floats(30, 15_000)
)  # fmt: skip
def test_tiles_are_those_of_the_raster(east: float, south: float, wide: float, high: float) -> None:
    """As `cog.polygon_mask.cutout` has them, which is asked of the file's own grid: 10 m, 1024 x 1024 pixels."""
    place = area(lonlat(box(WEST + east, NORTH - south - high, WEST + east + wide, NORTH - south)))
    rasters = Rasters([place], mask=True)
    raster_key = rasters.add("33UUU", 32633, SCENE)
    found = rasters.blocks(raster_key, 10_240.0, np.array([0]))
    raster = Grid(width=10_980, height=10_980, transform=Affine(10, 0, WEST, 0, -10, NORTH), epsg=32633)
    part = cutout(place, raster)
    assert part is not None
    window = part.window
    columns = (window.col + window.width - 1) // 1024 - window.col // 1024 + 1
    rows = (window.row + window.height - 1) // 1024 - window.row // 1024 + 1
    edges = [
        (window.col % 1024),
        (window.col + window.width) % 1024,
        window.row % 1024,
        (window.row + window.height) % 1024,
    ]
    if min(min(edge, 1024 - edge) for edge in edges) > 1:  # a metre more or less is another tile there
        assert len(found.shares) == columns * rows
        assert found.runs == rows
        lowest = min(share for (share,) in found.shares)
        assert lowest == pytest.approx(((window.row + window.height) % 1024) / 1024, abs=3e-3)


def test_footprints_together_tell_the_corner_that_none_tells_alone() -> None:
    place = area(lonlat(box(WEST + 80_000, NORTH - 81_000, WEST + 81_000, NORTH - 80_000)))
    whole, parts = Rasters([place], mask=True), Rasters([place], mask=True)
    whole.add("33UUU", 32633, SCENE)
    parts.add("33UUU", 32633, EASTERN)
    raster_key = parts.add("33UUU", 32633, SOUTHERN)
    known, found = (rasters.blocks(raster_key, 10_240.0, np.array([0])) for rasters in (whole, parts))
    assert found.shares[0] == pytest.approx(known.shares[0], abs=0.05)


def test_a_zone_that_is_not_told_is_that_under_the_footprint() -> None:
    rasters = Rasters([], mask=True)
    assert rasters.add("33UUU", None, SCENE) == ("33UUU", 32633)
    assert rasters.add("33UUU", 4326, SCENE) == ("33UUU", 32633)
    assert rasters.add("x", None, box(-43.4, -23.0, -42.4, -22.0)) == ("x", 32723)
    assert rasters.add("x", None, box(179.5, 10.0, 180.5, 11.0))[1] in (32601, 32660)


def test_shares_are_of_the_lowest_row_and_shared_tiles_list_all() -> None:
    found = blocks_under([(100, -300, 200, -100), (150, -900, 1150, -850), (900, -80, 950, -20)], (0, 0), 1000)
    assert sorted(found.shares) == [(0.9,), (0.9, 0.3, 0.08)]
    assert found.runs == 1
    assert blocks_under([(0, -2500, 10, -500)], (0, 0), 1000).shares == ((1.0,), (1.0,), (0.5,))
    beyond = blocks_under([(-500, -300, 200, 400)], (0, 0), 1000)
    assert beyond.shares == ((0.3,),), "there is no tile beyond the corner"
    assert blocks_under([], (0, 0), 1000).runs == 0


def test_square_metres_are_those_that_are_written() -> None:
    flat = Polygon([(WEST + 1000, NORTH - 1000), (WEST + 2000, NORTH - 1000), (WEST + 1000, NORTH - 3000)])
    for mask, expected in ((True, 1e6), (False, 2e6)):
        rasters = Rasters([area(lonlat(flat))], mask=mask)
        raster_key = rasters.add("33UUU", 32633, SCENE)
        assert rasters.metres(raster_key, np.array([0, 0])) == pytest.approx(2 * expected, rel=1e-3)


def test_how_much_of_an_area_a_footprint_holds() -> None:
    polygons = np.array([box(1, 1, 2, 2), box(9, 1, 11, 2), box(20, 1, 21, 2), box(0, 0, 10, 10)], dtype=object)
    assert covered_share(polygons, box(0, 0, 10, 10)) == pytest.approx([1.0, 0.5, 0.0, 1.0])
    bowtie = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    assert 0 < covered_share(polygons, bowtie)[3] < 1


def test_a_footprint_beyond_180_degrees_holds_what_lies_on_both_sides() -> None:
    both = MultiPolygon([box(179.5, 0, 180, 1), box(-180, 0, -179.5, 1)])
    polygons = np.array([both, box(-179.9, 0.1, -179.8, 0.2), box(170, 0, 171, 1)], dtype=object)
    assert covered_share(polygons, box(179, -1, 181, 2)) == pytest.approx([1.0, 1.0, 0.0])
    assert covered_share(polygons, box(-181, -1, -179, 2)) == pytest.approx([1.0, 1.0, 0.0])
