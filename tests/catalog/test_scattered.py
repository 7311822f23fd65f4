"""Searches of many areas, dense or scattered: how many, and what they return in a world of grid squares."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon

from s2async.catalog import planning, scattered, search
from s2async.catalog.providers import KNOWN
from s2async.catalog.scattered import Boxes
from s2async.catalog.search import Search, first_request
from s2async.catalog.yields import Yield
from s2async.models import Area
from s2async.sandbox.world.parks import PARKS
from tests.support.examples import examples
from tests.support.items import a_scene, an_area
from tests.support.lanes import slow

EARTH_SEARCH = KNOWN["earth-search"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = datetime(2022, 3, 15, tzinfo=UTC), datetime(2023, 3, 15, tzinfo=UTC)
"""A year that touches five calendar quarters."""
EUROPE = (-10.0, 36.0, 30.0, 60.0)
WORLD = (-180.0, -80.0, 179.99, 83.0)
MEGA = (12.0, 52.0, 13.4, 52.9)


def fields(count: int, where: tuple[float, ...], *, size: float = 0.003) -> Boxes:
    corners = np.random.default_rng(7).uniform(where[:2], where[2:], (count, 2))
    return np.hstack([corners, corners + size])


def areas_of(boxes: Boxes) -> list[Area]:
    return [
        Area(name=f"field {n}", wkb=shapely.box(*box).wkb, fingerprint=f"{n:016x}", folder=f"field_{n}")
        for n, box in enumerate(boxes.tolist())
    ]


def planned(areas: list[Area]) -> list[Search]:
    return search.plan(areas, *YEAR, EARTH_SEARCH, now=NOW)


@dataclass(frozen=True)
class Squares:
    """Scenes of one overpass of everything: squares of 110 km that are 100 km apart."""

    tree: shapely.STRtree

    @classmethod
    def over(cls, where: tuple[float, ...]) -> Squares:
        west, south, east, north = where
        found = []
        for row in np.arange(south - 1, north + 1, 0.9):
            wide = 0.9 / np.cos(np.radians(min(max(abs(row), abs(row + 0.9)), 88)))
            columns = np.arange(west - wide, east + wide, wide)
            found.append(shapely.box(columns, row - 0.045, columns + wide * 1.1, row + 0.945))
        return cls(shapely.STRtree(np.concatenate(found)))

    def returned(self, searches: list[Search]) -> int:
        """Scenes that the searches return; one that two of them return counts twice."""
        shapes = {one.geometry.wkb: one.geometry for one in searches}
        return sum(len(self.tree.query(shape, predicate="intersects")) for shape in shapes.values())

    def needed(self, areas: list[Area]) -> int:
        """Scenes that cover an area."""
        return len(np.unique(self.tree.query([area.polygon for area in areas], predicate="intersects")[1]))


@pytest.mark.parametrize(
    ("count", "where", "most", "share"),
    [
        (1_000, MEGA, 10, 4.0),  # few scenes, so that those on the border between two groups count
        (300, EUROPE, 200, 1.2),
        *slow((100_000, MEGA, 10, 4.0), (10_000, EUROPE, 200, 1.5), (10_000, WORLD, 200, 1.6)),
        pytest.param(40_000, WORLD, 200, 1.7, marks=pytest.mark.long),
    ],
)
def test_a_year_of_many_areas_takes_few_short_searches_that_return_little_else(
    count: int, where: tuple[float, ...], most: int, share: float
) -> None:
    areas = areas_of(fields(count, where))
    searches = planned(areas)
    assert len(searches) <= most
    for one in searches:
        assert len(json.dumps(first_request(one, EARTH_SEARCH, 100).body).encode()) < 16 << 10
        assert one.geometry.is_valid
    assert frozenset().union(*(one.areas for one in searches)) == {area.fingerprint for area in areas}
    shapes = {one.areas: one.geometry for one in searches}
    assert sum(map(len, shapes)) == count, "each area is in one group"
    polygons = {area.fingerprint: area.polygon for area in areas}
    for names, shape in shapes.items():
        shapely.prepare(shape)
        assert shapely.covers(shape, [polygons[name] for name in names]).all()
    squares = Squares.over(where)
    assert squares.needed(areas) <= squares.returned(searches) <= share * squares.needed(areas)


def test_few_areas_are_searched_as_ever() -> None:
    """Their keys are those of earlier versions: keys are hashes of what is asked."""
    parks = [an_area(name, shapely.from_wkt(wkt)) for name, wkt in PARKS]  # type: ignore[arg-type]
    searches = search.plan(
        parks, datetime(2022, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC), EARTH_SEARCH, now=NOW
    )
    assert [one.key for one in searches] == [
        "2ee15d2b2115c464",
        "835633bf859f7004",
        "7f0c31b80d8a26df",
        "9c385c3d49eeeb4c",
    ]
    assert searches[0].label == f"{parks[0].name} and 8 more, 2022-01-01/2022-03-31"


def test_towns_far_apart_are_searched_without_what_lies_between() -> None:
    towns = np.random.default_rng(3).uniform((-10, 36), (30, 60), (60, 2))
    corners = np.repeat(towns, 30, axis=0) + np.random.default_rng(4).normal(0, 0.1, (1800, 2))
    areas = areas_of(np.hstack([corners, corners + 0.003]))
    squares = Squares.over(EUROPE)
    assert squares.returned(planned(areas)) <= 1.15 * squares.needed(areas)


def test_seasons_shorten_the_searches_of_scattered_areas() -> None:
    areas = areas_of(fields(500, EUROPE))
    summer = [replace(area, start=date(2022, 6, 1), end=date(2022, 6, 30)) for area in areas]
    searches = planned(summer)
    assert len(searches) <= scattered.MOST
    assert {(one.start, one.end) for one in searches} == {
        (datetime(2022, 6, 1, tzinfo=UTC), datetime(2022, 7, 1, tzinfo=UTC))
    }
    mixed = planned([*summer[:250], *areas[250:]])
    assert len(mixed) <= 200


PARTS = st.builds(
    lambda lon, lat, size: shapely.box(lon, lat, min(lon + size, 180), min(lat + size, 90)),
    st.floats(-180, 180, exclude_max=True),
    st.floats(-80, 84),
    st.floats(1e-4, 3),
)


@given(st.lists(PARTS, min_size=scattered.MOST + 1, max_size=120))
@examples(40)
def test_every_area_and_a_kilometre_around_it_lie_in_the_geometry_of_its_group(parts: list[Polygon]) -> None:
    boxes = scattered.around(parts)
    found = scattered.groups(boxes)
    assert len(found) <= scattered.MOST
    assert sorted(int(i) for members in found for i in members) == list(range(len(parts)))
    for members in found:
        shape = scattered.geometry(boxes[members], planning.widened)
        assert shape.is_valid
        assert shapely.box(-180, -90, 180, 90).covers(shape)
        assert len(json.dumps(json.loads(shapely.to_geojson(shape)))) <= scattered.LONGEST
        for member in members:
            south = np.radians(np.abs(boxes[member, 1::2]).max())
            km = 1 / 111.2
            wide = boxes[member] + np.array([-km / np.cos(south), -km, km / np.cos(south), km])
            assert shape.covers(shapely.box(*np.clip(wide, [-180, -90] * 2, [180, 90] * 2)))


def test_both_sides_of_180_degrees_and_the_north_are_searched() -> None:
    corners = np.array([(lon, lat) for lon in (*range(-180, -169), *range(169, 179)) for lat in (-17, 0, 70, 83)])
    areas = areas_of(np.hstack([corners, corners + 0.9]))
    assert len(planning.groups([area.polygon for area in areas])) > scattered.MOST  # type: ignore[misc]
    for one in planned(areas):
        west, south, east, north = one.geometry.bounds
        assert west >= -180
        assert east <= 180
        assert one.geometry.area < 0.5 * (east - west) * (north - south)


def test_a_group_that_is_split_is_cut_at_a_gap_or_in_the_middle() -> None:
    left, right = fields(4000, (0, 40, 12, 50)), fields(3000, (14, 40, 26, 50))
    found = scattered.groups(np.concatenate([left, right]))
    assert all(members.max() < 4000 or members.min() >= 4000 for members in found)
    dense = scattered.groups(fields(20_000, (0, 40, 24, 50)))
    sizes = sorted(map(len, dense))
    assert sizes[-1] <= 2 * sizes[0] + 2


def test_a_geometry_that_would_be_too_long_gets_fewer_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = fields(500, EUROPE)
    whole = scattered.geometry(boxes, planning.widened)
    monkeypatch.setattr(scattered, "LONGEST", 2000)
    short = scattered.geometry(boxes, planning.widened)
    assert len(shapely.to_geojson(short)) < 2000 < len(shapely.to_geojson(whole))
    assert all(short.covers(shapely.box(*box)) for box in boxes)


def test_a_notice_tells_of_many_scenes_that_nobody_needs() -> None:
    found = Yield()
    for number in range(1000):
        found.add(a_scene(id=f"{number % 950}"), needed=number % 950 < 900)
    assert (found.scenes, found.needed) == (1000, 900)
    assert "returned 1,000 scenes, of which 900 are needed" in found.told
    found.add(a_scene(id="900"), needed=True)
    assert found.told == ""
    small = Yield()
    small.add(a_scene(), needed=False)
    assert small.told == ""
