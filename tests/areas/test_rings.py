"""Rings in arrays have the normal form that GEOS gives them, vertex by vertex."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2async.areas import rings
from tests.support import hard_polygons, one_by_one

DECIMALS = 9


def array(wkts: list[str]) -> NDArray[np.object_]:
    return np.array([shapely.from_wkt(wkt) for wkt in wkts], object)


def bytes_of(polygons: Any) -> list[bytes]:
    return list(shapely.to_wkb(np.asarray(polygons, object)))


def assert_as_geos(polygons: NDArray[np.object_]) -> int:
    """Check the valid ones; returns how many were not left to GEOS."""
    found = rings.canonical(polygons, DECIMALS)
    done = [number for number, polygon in enumerate(found) if polygon is not None and polygon.is_valid]
    wanted = [one_by_one._canonical(polygons[number]) for number in done]
    assert bytes_of(found[done]) == bytes_of(wanted)
    return len(done)


def test_polygons_without_holes_are_plain() -> None:
    square = "(13 52, 14 52, 14 53, 13 53, 13 52)"
    shapes = array(
        [
            f"POLYGON ({square})",
            f"POLYGON ({square}, (13.2 52.2, 13.4 52.2, 13.4 52.4, 13.2 52.2))",
            f"MULTIPOLYGON (({square}))",
            "POLYGON EMPTY",
            "POINT (13 52)",
        ]
    )
    assert rings.are_plain(np.array([*shapes, None], object)).tolist() == [True, *[False] * 5]


def test_a_ring_begins_in_the_west_and_goes_clockwise() -> None:
    square = [(13, 52), (13, 53), (14, 53), (14, 52), (13, 52)]
    for shift in range(4):
        for step in (1, -1):
            ring = [square[(shift + step * number) % 4] for number in range(5)]
            (found,) = rings.canonical(np.array([shapely.Polygon(ring)], object), DECIMALS)
            assert list(found.exterior.coords) == square


@pytest.mark.parametrize(
    "left",
    [
        "POLYGON ((13 52, 13 52, 14 52, 14 53, 13 52))",
        "POLYGON ((13 52, 13.0000000001 52, 14 52, 14 53, 13 52))",
        "POLYGON ((13 52, 14 52, 14 53, 13 52, 13 52))",
        "POLYGON ((13 52, 15 54, 14 53, 13 52))",
        "POLYGON ((13 52, 14 52, 14 52.0000000001, 13 52))",
    ],
)
def test_repeated_points_and_rings_without_size_are_left_to_geos(left: str) -> None:
    plain = "POLYGON ((-0.0 0, 1 0, 1 1, -0.0 0))"
    found = rings.canonical(array([plain, left, plain]), DECIMALS)
    assert [polygon is None for polygon in found] == [False, True, False]
    assert found[0].wkt == found[2].wkt == "POLYGON ((0 0, 1 1, 1 0, 0 0))", "no negative zero"


def test_no_polygons_have_no_normal_form() -> None:
    assert len(rings.canonical(np.empty(0, object), DECIMALS)) == 0
    two = rings.canonical(array(["POLYGON ((13 52, 13 52, 14 52, 14 53, 13 52))"] * 2), DECIMALS)
    assert two.tolist() == [None, None]


@pytest.mark.parametrize("kind", ["Z", "M", "ZM"])
def test_heights_and_measures_are_dropped(kind: str) -> None:
    more = " 7" * len(kind)
    (found,) = rings.canonical(
        array([f"POLYGON {kind} ((13 52{more}, 14 52{more}, 14 53{more}, 13 52{more}))"]), DECIMALS
    )
    assert found.wkt == "POLYGON ((13 52, 14 53, 14 52, 13 52))"


def test_hard_polygons_have_the_normal_form_of_geos() -> None:
    random = np.random.default_rng(30)
    kinds = (hard_polygons.random_polygon, hard_polygons.hard_polygon)
    shapes = np.array([kind(random) for kind in kinds for _ in range(600)], object)
    assert assert_as_geos(shapes[rings.are_plain(shapes)]) > 500


numbers = st.one_of(st.integers(-180, 180), st.floats(-180, 180), st.sampled_from([0, 1, 13, 13.0000000001]))
outlines = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=9).map(lambda ring: [*ring, ring[0]])


@settings(deadline=None)
@given(st.lists(outlines.map(shapely.Polygon), min_size=1, max_size=6))
def test_any_valid_polygon_has_the_normal_form_of_geos(some: list[shapely.Polygon]) -> None:
    assert_as_geos(np.array(some, object))
