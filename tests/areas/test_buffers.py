"""Areas around geometries: the distance is true everywhere, and the antimeridian is no border."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from shapely.geometry.base import BaseGeometry

from s2async.areas.buffers import buffered
from s2async.geo import turned

GEOD = Geod(ellps="WGS84")
lons = st.floats(-180, 180)
lats = st.floats(-79, 83)
radii = st.floats(5, 50_000)


def one(shape: BaseGeometry, metres: float) -> BaseGeometry:
    (found,) = buffered(np.array([shape], object), metres)
    assert isinstance(found, BaseGeometry)
    return found


def points(xy: NDArray[np.float64]) -> NDArray[np.object_]:
    return np.asarray(shapely.points(xy), dtype=np.object_)


def square_metres(shape: BaseGeometry) -> float:
    """The geodesic area, part by part."""
    return sum(abs(GEOD.geometry_area_perimeter(part)[0]) for part in shapely.get_parts(shape))


def check_disc(disc: BaseGeometry, lon: float, lat: float, metres: float) -> None:
    assert disc.is_valid
    assert square_metres(disc) == pytest.approx(math.pi * metres**2, rel=1e-3)
    xy = shapely.get_coordinates(disc)
    assert np.abs(xy[:, 0]).max() <= 180
    outline = xy[np.abs(xy[:, 0]) < 180]  # the others are where it was cut
    _, _, away = GEOD.inv(np.full(len(outline), lon), np.full(len(outline), lat), *outline.T)
    assert away == pytest.approx(metres, rel=1e-9)


@pytest.mark.parametrize("lat", [0, 50, 80, -79.9])
@pytest.mark.parametrize("lon", [13.4, 179.999, -180, 180, -179.9999])
@pytest.mark.parametrize("metres", [5, 500, 20_000])
def test_discs(lon: float, lat: float, metres: float) -> None:
    disc = one(shapely.Point(lon, lat), metres)
    check_disc(disc, lon, lat, metres)
    beyond = metres / (math.cos(math.radians(lat)) * 111_320) > 180 - abs(lon)
    assert disc.geom_type == ("MultiPolygon" if beyond else "Polygon")


@given(lon=lons, lat=lats, metres=radii)
def test_any_disc(lon: float, lat: float, metres: float) -> None:
    check_disc(one(shapely.Point(lon, lat), metres), lon, lat, metres)


@pytest.mark.parametrize("lat", [0, 50, 80])
@pytest.mark.parametrize("lon", [13.4, 180, -179.99])
def test_a_line_has_a_strip_and_two_half_discs(lon: float, lat: float) -> None:
    metres, length = 300.0, 2_000.0
    ends = [GEOD.fwd(lon, lat, azimuth, length / 2)[:2] for azimuth in (30, 210)]
    line: BaseGeometry = shapely.LineString(ends)
    if abs(ends[0][0] - ends[1][0]) > 180:  # the line is split where it crosses 180 degrees
        (east, north), (west, south) = sorted(ends, reverse=True)
        there = north + (south - north) * (180 - east) / (360 + west - east)
        line = shapely.MultiLineString([[(east, north), (180, there)], [(-180, there), (west, south)]])
    strip = one(line, metres)
    assert strip.is_valid
    assert square_metres(strip) == pytest.approx(2 * metres * length + math.pi * metres**2, rel=1e-3)


def utm_square(lon: float, lat: float, side: float) -> BaseGeometry:
    """A square of some metres, by its corners' true distances from its centre."""
    corners = [GEOD.fwd(lon, lat, azimuth, side / math.sqrt(2))[:2] for azimuth in (45, 135, 225, 315)]
    return shapely.Polygon(corners)


@pytest.mark.parametrize("lat", [0, 50, 80])
def test_a_polygon_grows_and_shrinks_by_the_distance(lat: float) -> None:
    square = utm_square(13.4, lat, 1_000)
    grown = one(square, 100)
    assert square_metres(grown) == pytest.approx(1e6 + 4 * 1e5 + math.pi * 1e4, rel=1e-3)
    assert shapely.contains(grown, square)
    shrunk = one(square, -100)
    assert square_metres(shrunk) == pytest.approx(800**2, rel=1e-3)
    assert one(square, -600).is_empty
    assert one(shapely.Point(13.4, lat), -1).is_empty
    assert one(shapely.LineString([(13.4, lat), (13.5, lat)]), -1).is_empty


def test_the_outline_of_a_large_polygon_is_at_the_distance_in_another_projection() -> None:
    """At 60 degrees, 60 km from its centre."""
    square = utm_square(15, 60, 80_000)
    there = Transformer.from_crs("EPSG:4326", "+proj=laea +lat_0=60 +lon_0=15 +ellps=WGS84", always_xy=True)
    plane = [
        shapely.transform(shape, lambda xy: np.column_stack(there.transform(*xy.T)))
        for shape in (square, one(square, 1_000))
    ]
    away = shapely.distance(shapely.points(shapely.get_coordinates(plane[1])), plane[0])
    assert np.abs(away - 1_000).max() < 1.5  # of which 0.5 m is the edge that is straight in each plane


def test_a_polygon_that_is_split_at_180_grows_as_one() -> None:
    east, west = shapely.box(179.99, 10, 180, 10.01), shapely.box(-180, 10, -179.99, 10.01)
    both = shapely.MultiPolygon([east, west])
    elsewhere = one(shapely.box(12.99, 10, 13.01, 10.01), 500)
    grown = one(both, 500)
    assert grown.is_valid
    assert grown.geom_type == "MultiPolygon"
    assert shapely.get_num_geometries(grown) == 2
    assert square_metres(grown) == pytest.approx(square_metres(elsewhere), rel=1e-6)
    assert sorted(grown.bounds[::2]) == [-180, 180]


@settings(max_examples=50)
@given(
    lon=lons,
    lat=lats,
    offsets=st.lists(st.tuples(st.floats(-0.01, 0.01), st.floats(-0.01, 0.01)), min_size=2, max_size=6),
    metres=st.floats(10, 5_000),
)
def test_everything_within_the_distance_is_inside(
    lon: float, lat: float, offsets: list[tuple[float, float]], metres: float
) -> None:
    """Discs about the points of a multipoint are within the area around it."""
    xy = np.array([[turned(lon + x), lat + y] for x, y in offsets])
    grown = one(shapely.MultiPoint(xy), metres)
    assert grown.is_valid
    discs = buffered(points(xy), metres * 0.999)
    for disc in discs:
        inner = points(shapely.get_coordinates(disc))
        inner = inner[np.abs(shapely.get_x(inner)) < 180]
        assert shapely.distance(inner, grown).max() < 1e-7


def test_empty_and_missing_geometries_stay() -> None:
    shapes = np.array([None, shapely.Point(), shapely.Point(13, 52), shapely.Polygon()], object)
    found = buffered(shapes, 100)
    assert found[0] is None
    assert [shape.is_empty for shape in found[1:]] == [True, False, True]
    assert len(buffered(np.array([], object), 5)) == 0
    assert shapes[2] == shapely.Point(13, 52), "arguments are not changed"


@pytest.mark.slow
def test_points_are_drawn_alike_alone_and_among_many() -> None:
    rng = np.random.default_rng(20)
    xy = np.column_stack([rng.uniform(-180, 180, 12_000), rng.uniform(-80, 84, 12_000)])
    shapes = points(xy)
    many = buffered(shapes, 250)
    for number in (0, 4_999, 5_000, 11_999):
        assert many[number] == one(shapes[number], 250)
    areas = shapely.area(many) * np.cos(np.radians(xy[:, 1]))
    assert areas == pytest.approx(math.pi * 250**2 / 111_320**2, rel=0.02)
