"""Which areas share a search, what surrounds them, and which lie in a scene."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from s2async.catalog.planning import GROUP_DEGREES, Matcher, groups, is_near_180, seasons, surround, within
from s2async.models import Area
from s2async.sandbox.world.parks import PARKS
from tests.support.examples import examples
from tests.support.items import a_scene, an_area


def square(lon: float, lat: float, size: float) -> Polygon:
    return box(lon - size / 2, lat - size / 2, lon + size / 2, lat + size / 2)


def parks() -> dict[str, Polygon]:
    found = {name: shapely.from_wkt(wkt) for name, wkt in PARKS}
    return {name: park for name, park in found.items() if isinstance(park, Polygon)}


LONS = st.floats(-179, 179)
LATS = st.floats(-78, 82)
SQUARES = st.builds(square, LONS, LATS, st.floats(1e-4, 1.9))
CLUSTERED = st.builds(square, st.floats(9, 13), st.floats(50, 53), st.floats(1e-4, 0.2))


# ---- groups -----------------------------------------------------------------------------------------------


@given(st.lists(SQUARES | CLUSTERED, min_size=1, max_size=40))
@examples(60)
def test_groups_hold_every_part_once_and_stay_small(parts: list[Polygon]) -> None:
    found = groups(parts)
    assert sorted(int(i) for members in found for i in members) == list(range(len(parts)))
    for members in found:
        if len(members) > 1:
            west, south, east, north = shapely.total_bounds([parts[i] for i in members])
            assert max(east - west, north - south) <= 2 * GROUP_DEGREES
            assert all(np.ptp(parts[i].bounds[::2]) <= GROUP_DEGREES * (1 + 1e-9) for i in members)


@given(st.lists(CLUSTERED, min_size=2, max_size=20), st.randoms(use_true_random=False))
@examples(30)
def test_groups_do_not_depend_on_the_order(parts: list[Polygon], random: Any) -> None:
    shuffled = random.sample(parts, len(parts))

    def as_sets(these: list[Polygon]) -> set[frozenset[str]]:
        return {frozenset(these[i].wkt for i in members) for members in groups(these)}

    assert as_sets(parts) == as_sets(shuffled)


def test_the_parks_of_berlin_share_one_search_and_clusters_stay_whole() -> None:
    berlin = list(parks().values())
    assert [members.tolist() for members in groups(berlin)] == [list(range(9))]
    far = [translate(park, 1.6, 0) for park in berlin]  # another town, less than two degrees away
    assert [members.tolist() for members in groups(berlin + far)] == [list(range(9)), list(range(9, 18))]


def test_a_large_area_is_asked_for_alone() -> None:
    small = [square(10, 50, 0.01), square(10.1, 50, 0.01)]
    assert [m.tolist() for m in groups([small[0], square(10, 50, 3), small[1]])] == [[0, 2], [1]]


def test_many_areas_are_grouped_quickly() -> None:
    random = np.random.default_rng(5)
    parts = [square(lon, lat, 0.01) for lon, lat in random.uniform((6, 47), (15, 55), (5000, 2))]
    found = groups(parts)
    assert 72 <= len(found) <= 3 * 72  # 9 x 8 degrees


# ---- what surrounds them ----------------------------------------------------------------------------------


def metres_between(a: BaseGeometry, lon: float, lat: float) -> float:
    """Distance on the ellipsoid from a point to the nearest vertex of a densified outline; 0 inside."""
    if a.covers(shapely.Point(lon, lat)):
        return 0.0
    outline = shapely.get_coordinates(shapely.segmentize(a, 0.002))
    _, _, metres = pyproj.Geod(ellps="WGS84").inv(
        np.full(len(outline), lon), np.full(len(outline), lat), outline[:, 0], outline[:, 1]
    )
    return float(metres.min())


@given(st.lists(CLUSTERED, min_size=1, max_size=12) | st.lists(SQUARES, min_size=1, max_size=1))
@example([square(0, 81, 1.9)])
@example(
    [
        square(9, 51.625, 0.125),
        square(12, 51, 0.125),
        square(10.96875, 50.53125, 0.0078125),
        square(11.4375, 50.375, 0.0625),
    ]
)
@example([Polygon([(5 * math.cos(a), 5 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 5000)])])
@examples(60)
def test_the_surroundings_hold_the_areas_and_a_kilometre_around_them(parts: list[Polygon]) -> None:
    around = surround(parts)
    assert around.is_valid
    assert around.geom_type == "Polygon"
    assert shapely.is_ccw(around.exterior)
    assert len(around.exterior.coords) <= 100
    assert all(around.contains(part) for part in parts)
    hull = shapely.convex_hull(shapely.union_all(parts))
    for lon, lat in shapely.get_coordinates(around)[::7]:
        if abs(lon) < 180:
            assert metres_between(hull, lon, lat) >= 1000


@pytest.mark.parametrize(
    "polygon", [box(179.5, -17, 180, -16), box(-180, 60, -179.9, 61), box(10, 82, 11, 83), box(-180, -80, 180, 84)]
)
def test_the_surroundings_end_where_the_map_ends(polygon: Polygon) -> None:
    around = surround([polygon])
    assert around.is_valid
    assert around.covers(polygon)
    assert box(-180, -90, 180, 90).covers(around)


# ---- areas of a scene -------------------------------------------------------------------------------------


def utm_tile(epsg: int, west: float, north: float, steps: int = 1) -> Polygon:
    """A tile of 109.8 km in lon/lat: its four corners, or its true outline with points on its edges."""
    outline = shapely.segmentize(box(west, north - 109_800, west + 109_800, north), 109_800 / steps)
    to_lonlat = pyproj.Transformer.from_crs(epsg, "OGC:CRS84", always_xy=True)
    corners = np.column_stack(to_lonlat.transform(*shapely.get_coordinates(outline).T))
    return Polygon(corners)


def test_berlin_on_its_three_tiles() -> None:
    matcher = Matcher([an_area(name, park) for name, park in parks().items()])
    found = {
        grid: {area.name for area in matcher.areas_for(a_scene(footprint=utm_tile(epsg, west, 5_900_040)))}
        for grid, epsg, west in (("33UUU", 32633, 300_000), ("32UQD", 32632, 699_960), ("33UVU", 32633, 399_960))
    }
    names = set(parks())
    assert len(names) == 9
    assert found["33UUU"] == names
    assert found["32UQD"] == names  # Gaerten der Welt lies 49 m outside: found, and judged on the pixels
    assert found["33UVU"] == {name for name in names if "Welt" in name}


@pytest.mark.parametrize(
    ("epsg", "west", "north"),
    [
        (32632, 300_000, 200_040),
        (32633, 300_000, 5_900_040),
        (32633, 699_960, 7_800_000),
        (32633, 300_000, 9_100_020),
        (32733, 300_000, 1_200_000),
    ],
)
def test_areas_at_the_true_edge_of_a_tile_are_found(epsg: int, west: float, north: float) -> None:
    edge = shapely.get_coordinates(utm_tile(epsg, west, north, steps=40))
    areas = [an_area(f"{n}", shapely.Point(point).buffer(1e-5)) for n, point in enumerate(edge[:-1])]
    found = Matcher(areas).areas_for(a_scene(footprint=utm_tile(epsg, west, north)))
    assert {area.name for area in found} == {area.name for area in areas}


@given(LONS, LATS, st.floats(0, 360), st.floats(0, 5000))
@examples(60)
def test_a_kilometre_around_the_footprint_counts(lon: float, lat: float, azimuth: float, metres: float) -> None:
    footprint = square(lon, lat, 0.5)
    x, y = shapely.get_coordinates(
        shapely.line_interpolate_point(footprint.exterior, azimuth / 360, normalized=True)
    )[0]
    east, north, _ = pyproj.Geod(ellps="WGS84").fwd(x, y, azimuth, metres)
    distance = metres_between(footprint, east, north)
    areas = [an_area("a", shapely.Point(east, north).buffer(1e-6))]
    found = Matcher(areas).areas_for(a_scene(footprint=footprint))
    if distance < 980:
        assert found
    if distance > 1000 * max(1, 0.24 * math.tan(math.radians(abs(lat) + 0.25))) + 300:
        assert not found


@given(st.lists(CLUSTERED | SQUARES, min_size=1, max_size=30, unique_by=lambda one: one.wkb), CLUSTERED | SQUARES)
@examples(60)
def test_matching_all_at_once_is_matching_one_by_one(polygons: list[Polygon], footprint: Polygon) -> None:
    areas = [an_area(f"{n}", polygon) for n, polygon in enumerate(polygons)]
    scene = a_scene(footprint=footprint)
    found = Matcher(areas).areas_for(scene)
    assert len(found) == len({area.name for area in found})
    assert {area.name for area in found} == {area.name for area in areas if Matcher([area]).areas_for(scene)}
    touched = {area.name for area in areas if area.polygon.intersects(footprint)}
    assert touched <= {area.name for area in found}


BOTH_SIDES = MultiPolygon([box(179.9, -17, 180, -16.9), box(-180, -17, -179.9, -16.9)])


@pytest.mark.parametrize(
    ("footprint", "names"),
    [
        (box(179.5, -17.5, 180.5, -16.5), {"both", "east", "west"}),  # as catalogs unwraps it
        (box(179.0, -17.5, 179.995, -16.5), {"both", "east", "west"}),  # its margin reaches across
        (box(-179.995, -17.5, -179, -16.5), {"both", "east", "west"}),
        (box(179.0, -17.5, 179.97, -16.5), {"both", "east"}),
        (box(10, 50, 11, 51), {"berlin"}),
        (box(-1, -17, 1, -16), set()),
    ],
)
def test_both_sides_of_180_degrees(footprint: Polygon, names: set[str]) -> None:
    areas = [
        an_area("both", BOTH_SIDES),
        an_area("east", box(179.95, -17, 180, -16.9)),
        an_area("west", box(-180, -17, -179.999, -16.9)),
        an_area("berlin", box(10.5, 50.5, 10.6, 50.6)),
    ]
    assert {area.name for area in Matcher(areas).areas_for(a_scene(footprint=footprint))} == names


@pytest.mark.parametrize(
    ("footprint", "near"),
    [
        (box(179.5, -17.5, 180.5, -16.5), True),
        (box(-180.6, -17.5, -179.6, -16.5), True),
        (box(178.8, -17.5, 179.995, -16.5), True),
        (box(-179.995, 70, -177, 71), True),
        (box(177.5, -17.5, 178.5, -16.5), False),
        (box(10, 50, 11, 51), False),
        (None, False),
    ],
)
def test_a_scene_near_180_degrees_may_be_of_areas_on_the_other_side(footprint: Polygon | None, near: bool) -> None:
    assert is_near_180(a_scene(footprint=footprint)) is near


def test_neighbours_follow_one_another() -> None:
    random = np.random.default_rng(3)
    areas = [an_area(f"{lon} {lat}", square(lon, lat, 0.001)) for lon, lat in random.uniform(10, 11, (400, 2))]
    found = Matcher(areas).areas_for(a_scene(footprint=box(9, 9, 12, 12)))
    assert len(found) == 400

    def way(these: list[Area]) -> float:
        points = shapely.get_coordinates([area.polygon.centroid for area in these])
        return float(np.hypot(*np.diff(points, axis=0).T).sum())

    assert way(found) < way(areas) / 5
    assert found == Matcher(areas[::-1]).areas_for(a_scene(footprint=box(9, 9, 12, 12)))


def test_a_scene_without_a_footprint_cannot_be_matched() -> None:
    with pytest.raises(ValueError, match="has no footprint"):
        Matcher([an_area("a", box(0, 0, 1, 1))]).areas_for(a_scene(footprint=None))


# ---- seasons ----------------------------------------------------------------------------------------------


def test_a_scene_makes_jobs_in_the_season_only_and_of_its_utc_day() -> None:
    here = box(12.5, 52.5, 12.51, 52.51)
    areas = [
        replace(an_area("all", here), fingerprint="0"),
        replace(an_area("june", here), fingerprint="1", start=date(2022, 6, 1), end=date(2022, 6, 30)),
        replace(an_area("later", here), fingerprint="2", start=date(2022, 6, 11)),
        replace(an_area("before", here), fingerprint="3", end=date(2022, 6, 9)),
        replace(an_area("that day", here), fingerprint="4", start=date(2022, 6, 10), end=date(2022, 6, 10)),
    ]
    matcher = Matcher(areas)
    east = timezone(timedelta(hours=9))
    for when, names in (
        (datetime(2022, 6, 10, tzinfo=UTC), {"all", "june", "that day"}),
        (datetime(2022, 6, 10, 23, 59, 59, 999999, tzinfo=UTC), {"all", "june", "that day"}),
        (datetime(2022, 6, 11, 8, tzinfo=east), {"all", "june", "that day"}),
        (datetime(2022, 6, 11, 9, tzinfo=east), {"all", "june", "later"}),
        (datetime(2022, 6, 9, 23, 59, 59, tzinfo=UTC), {"all", "june", "before"}),
        (datetime(2022, 7, 1, tzinfo=UTC), {"all", "later"}),
    ):
        assert {area.name for area in matcher.areas_for(a_scene(datetime=when))} == names


def test_of_areas_with_one_polygon_the_first_that_wants_the_day_gets_it() -> None:
    here, there = box(12.5, 52.5, 12.51, 52.51), box(12.6, 52.6, 12.61, 52.61)
    areas = [
        replace(an_area("wheat", here), end=date(2022, 6, 8)),
        an_area("other", there),
        an_area("field", here),
        an_area("twin", here),
    ]
    matcher = Matcher(areas)
    scenes = {day: a_scene(datetime=datetime(2022, 6, day, tzinfo=UTC)) for day in (8, 9)}
    found = {day: {area.name for area in matcher.areas_for(scene)} for day, scene in scenes.items()}
    assert found == {8: {"wheat", "other"}, 9: {"field", "other"}}


def test_spans_are_shortened_to_the_seasons_that_touch_them() -> None:
    quarters = [
        (datetime(2022, 1, 1, tzinfo=UTC), datetime(2022, 4, 1, tzinfo=UTC)),
        (datetime(2022, 4, 1, tzinfo=UTC), datetime(2022, 6, 15, 12, tzinfo=UTC)),
    ]
    for seasons_, expected in (
        ([(None, None)], quarters),
        ([(None, date(2021, 12, 31)), (date(2022, 6, 16), None)], []),
        ([(date(2022, 6, 15), date(2022, 9, 1))], [(datetime(2022, 6, 15, tzinfo=UTC), quarters[1][1])]),
        (
            [(date(2022, 2, 1), date(2022, 2, 3)), (date(2022, 3, 30), date(2022, 4, 2))],
            [
                (datetime(2022, 2, 1, tzinfo=UTC), quarters[0][1]),
                (quarters[1][0], datetime(2022, 4, 3, tzinfo=UTC)),
            ],
        ),
        ([(date(2022, 2, 1), date(2022, 2, 3)), (None, None)], quarters),
    ):
        areas = [replace(an_area("a", box(0, 0, 1, 1)), start=start, end=end) for start, end in seasons_]
        assert within(quarters, *seasons(areas)) == expected
