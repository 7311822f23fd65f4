"""Checks of slices give the polygons and messages of the checks one by one."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from s2async.areas import checks
from s2async.areas.checks import Checks, identified
from s2async.areas.datums import LONLAT
from s2async.areas.frames import Frame, known
from tests.support import one_by_one
from tests.support.lanes import few_quick

SHAPES = [
    "POLYGON ((13 52, 14 52, 14 53, 13 53, 13 52))",
    "POLYGON ((13 52, 14 52, 14 53, 13 53, 13 52), (13.2 52.2, 13.4 52.2, 13.4 52.4, 13.2 52.2))",
    "POLYGON ((13 52, 13 52, 14 52, 14 53, 14 53, 13 52))",
    "POLYGON Z ((13 52 1, 14 52 2, 14 53 3, 13 52 4))",
    "POLYGON ((13 52, 13 52, 13 52, 13 52))",
    "POLYGON ((13 52, 13.0000000001 52, 13 52.0000000001, 13 52))",
    "POLYGON ((13 52, 14 53, 14 52, 13 53, 13 52))",
    "POLYGON ((13 52, 15 52, 14 52, 13 52))",
    "POLYGON ((-0.0 0, 1 0, 1 1, -0.0 0))",
    "POLYGON ((-179 1, 179 1, 179 2, -179 2, -179 1))",
    "POLYGON ((190 1, 191 1, 191 2, 190 1))",
    "POLYGON ((10 84.1, 11 84.1, 11 83, 10 84.1))",
    "POLYGON ((39000 581000, 39100 581000, 39100 581100, 39000 581000))",
    "POLYGON ((13 52, 14 52, nan 53, 13 52))",
    "POLYGON EMPTY",
    "MULTIPOLYGON (((13 52, 14 52, 14 53, 13 53, 13 52)))",
    "MULTIPOLYGON (EMPTY, ((13 52, 14 52, 14 53, 13 53, 13 52)))",
    "MULTIPOLYGON (((179 1, 180 1, 180 2, 179 1)), ((-180 1, -179 1, -180 2, -180 1)))",
    "MULTIPOLYGON (((0 0, 2 0, 2 2, 0 0)), ((1 0.5, 3 0, 3 3, 1 0.5)))",
    "MULTIPOLYGON (EMPTY)",
    "POINT (13 52)",
    "LINESTRING (13 52, 14 53)",
    "GEOMETRYCOLLECTION (POLYGON ((13 52, 14 52, 14 53, 13 52)))",
]


def lonlat() -> Frame:
    return Frame(LONLAT, "here")


def parsed(wkts: list[str]) -> list[BaseGeometry]:
    with np.errstate(all="ignore"):
        return [shapely.from_wkt(wkt) for wkt in wkts]


def array(shapes: list[Any]) -> NDArray[np.object_]:
    found = np.empty(len(shapes), object)
    found[:] = shapes
    return found


def assert_as_one_by_one(shapes: list[BaseGeometry | None], frame: Frame) -> None:
    found = Checks(frame=frame).all(array(shapes))
    for number, shape in enumerate(shapes):
        with np.errstate(all="ignore"):
            identity, why = one_by_one.checked(shape, frame)
        said = found.faults.get(number, "").replace(", or set buffer in metres", "")
        assert said == why
        if identity:
            assert [key for _, key in identified(found.polygons[[number]])] == [identity]
        else:
            assert found.polygons[number] is None


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_slices_are_checked_as_single_geometries_were(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(checks, "SLICE", size)
    shapes = [None, *parsed(SHAPES)] * 2
    random.Random(3).shuffle(shapes)
    assert_as_one_by_one(shapes, lonlat())


numbers = st.one_of(
    st.integers(-400, 400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, 13, 52, 13.0000000001]),
)
rings = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=7).map(lambda ring: [*ring, ring[0]])
shells = st.lists(rings, min_size=1, max_size=2).map(lambda found: shapely.Polygon(found[0], found[1:]))
shapes = st.one_of(st.none(), shells, st.lists(shells, min_size=1, max_size=3).map(shapely.MultiPolygon))


@settings(deadline=None)
@given(st.lists(shapes, max_size=6))
def test_any_slice_is_checked_as_single_geometries_were(some: list[BaseGeometry | None]) -> None:
    assert_as_one_by_one(some, lonlat())


@pytest.mark.parametrize("code", few_quick([25833, 31468, 3857, 27700, 2180], 2))
def test_projected_slices_have_the_fingerprints_that_single_geometries_had(code: int) -> None:
    region = CRS.from_epsg(code).area_of_use
    assert region
    there = Transformer.from_crs("OGC:CRS84", f"EPSG:{code}", always_xy=True)
    centre = (region.west + region.east) / 2, (max(region.south, -70) + min(region.north, 70)) / 2
    chance = np.random.default_rng(code)
    points = centre + chance.uniform(-1, 1, (300, 2))
    circles: Any = shapely.buffer(shapely.points(points), 0.01, quad_segs=3)
    moved: Any = shapely.transform(array(list(circles)), lambda xy: np.column_stack(there.transform(*xy.T)))
    swapped = shapely.transform(array(list(moved[:5])), lambda xy: xy[:, ::-1])
    assert_as_one_by_one([*moved, *swapped], Frame(known(f"EPSG:{code}", "crs"), "here"))


def test_with_a_buffer_points_and_lines_are_areas_and_collections_are_not() -> None:
    shapes = parsed(SHAPES)
    found = Checks(frame=lonlat(), grow=lambda some: shapely.buffer(some, 0.1)).all(array(shapes))
    kinds = {shape.geom_type: number for number, shape in enumerate(shapes)}
    assert found.polygons[kinds["Point"]].equals_exact(
        shapely.buffer(shapely.Point(13, 52), 0.1).normalize(), 1e-9
    )
    assert found.polygons[kinds["LineString"]].bounds == pytest.approx((12.9, 51.9, 14.1, 53.1))
    assert "GeometryCollection" in found.faults[kinds["GeometryCollection"]]
    assert found.polygons[0].bounds == pytest.approx((12.9, 51.9, 14.1, 53.1))
    assert "crosses itself" in found.faults[6], "a buffer would hide it"


def test_what_a_buffer_makes_is_checked_too() -> None:
    point = array([shapely.Point(10, 83.95)])
    found = Checks(frame=lonlat(), grow=lambda some: shapely.buffer(some, 0.1)).all(point)
    assert found.faults[0].startswith("reaches latitude 84.05")


def test_only_what_is_not_valid_is_repaired_and_told() -> None:
    def repair(shape: BaseGeometry) -> tuple[BaseGeometry, str] | None:
        return (shape.buffer(0), "mended it") if "15" in shape.wkt else None

    bow = "POLYGON ((13 52, 14 53, 14 52, 13 53, 13 52))"
    shapes = [SHAPES[0], bow, "POLYGON ((15 52, 16 52, 16 53, 15 53, 15 52, 15.5 51.9, 15 52))"]
    found = Checks(frame=lonlat(), repair=repair).all(array(parsed(shapes)))
    assert found.repairs == {2: "mended it"}
    assert set(found.faults) == {1}
    assert found.polygons[2].is_valid
