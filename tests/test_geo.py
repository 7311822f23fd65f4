"""Places in degrees: boxes and shapes about 180 degrees, sizes on the ground, planes of rasters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from s2async import geo
from s2async.areas import loader
from s2async.config.sections import InlineArea
from s2async.models import Area
from s2async.sandbox.world.parks import PARKS

PLACE = Area(name="a", wkb=shapely.box(0, 0, 1, 1).wkb, fingerprint="0" * 16, folder="a")


def inline(*outlines: str) -> list[Area]:
    return loader.read([InlineArea(name=f"area {number}", wkt=wkt) for number, wkt in enumerate(outlines)])


def box(west: float, south: float, east: float, north: float) -> str:
    return str(shapely.box(west, south, east, north).wkt)


def test_bounds() -> None:
    square = box(13, 52, 14, 53)
    assert geo.bounds(inline(square, box(15, 52, 16, 53))) == (13, 52, 16, 53)
    assert geo.bounds(inline("POLYGON ((-60 -5, -50 -5, -50 5, -60 -5))", square)) == (-60, -5, 14, 53)
    both_sides = "MULTIPOLYGON (((179 1, 180 1, 180 2, 179 1)), ((-180 1, -179 1, -180 2, -180 1)))"
    assert geo.bounds(inline(both_sides)) == (179, 1, -179, 2)


def test_area_is_geodesic_without_holes() -> None:
    quarter, cut, hole = inline(
        box(0, 0, 1, 1),
        "POLYGON ((0.2 0.2, 0.4 0.2, 0.4 0.4, 0.2 0.4, 0.2 0.2))",
        "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0), (0.2 0.2, 0.4 0.2, 0.4 0.4, 0.2 0.4, 0.2 0.2))",
    )
    assert geo.area_km2(quarter) == pytest.approx(111.32 * 110.57, rel=1e-4), "km in a degree at the equator"
    assert geo.area_km2(hole) == pytest.approx(geo.area_km2(quarter) - geo.area_km2(cut), rel=1e-9)
    park = loader.read([InlineArea(name=n, wkt=w) for n, w in PARKS])[0]
    assert geo.area_km2(park) == pytest.approx(0.456, abs=0.001)


def test_the_smallest_and_the_largest_area_are_those_of_all_sizes() -> None:
    random = np.random.default_rng(30)
    for latitude in (0, 45, 79):
        corners = random.uniform(-2, 2, (200, 2)) + np.array([13, latitude])
        sides = 10 ** random.uniform(-5, 0.2, (200, 2))  # of metres and of degrees, some of them long and thin
        shapes = [shapely.box(*corner, *(corner + side)) for corner, side in zip(corners, sides, strict=True)]
        areas = [replace(PLACE, wkb=shape.wkb) for shape in shapes]
        sizes = [geo.area_km2(area) for area in areas]
        assert geo.sizes_km2(areas) == (min(sizes), max(sizes))
        assert geo.sizes_km2(areas[:1]) == (sizes[0], sizes[0])


@pytest.mark.parametrize(
    ("degrees", "same"), [(0, 0), (181, -179), (-181, 179), (360, 0), (179, 179), (540, -180)]
)
def test_angles_are_turned(degrees: float, same: float) -> None:
    assert geo.turned(float(degrees)) == same
    assert geo.turned(np.array([degrees, degrees], dtype=float)).tolist() == [same, same]


@pytest.mark.parametrize(
    ("west", "east", "wests"),
    [(10, 12, [10]), (179, 181, [179, -181]), (-181, -179, [-181, 179]), (-180, 180, [-180])],
)
def test_a_shape_beyond_180_degrees_has_a_copy_on_the_other_side(
    west: float, east: float, wests: list[float]
) -> None:
    assert [shape.bounds[0] for shape in geo.copies(shapely.box(west, 0, east, 1))] == wests


def test_points_go_to_a_plane_and_back() -> None:
    lonlat = np.array([[15.0, 52.0], [13.4, 52.5]])
    xy = geo.projected(lonlat, 32633)
    assert xy[0] == pytest.approx([500_000, 5_761_038], abs=1), "on the middle meridian of the zone"
    assert geo.unprojected(xy, 32633) == pytest.approx(lonlat, abs=1e-9)
    with pytest.raises(ValueError, match="EPSG:30000 is not a known CRS"):
        geo.projected(lonlat, 30000)
