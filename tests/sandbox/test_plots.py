"""Dense fields: as many as asked for, as small as real ones, beside each other and never on each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from s2async.areas import loader
from s2async.sandbox.world import dense, plots
from s2async.sandbox.world.plots import Plots
from tests.support.lanes import slow


@pytest.fixture(scope="module")
def fields() -> Plots:
    return dense.fields(4000)


def projected(fields: Plots) -> NDArray[np.object_]:
    return np.array([dense.square().project(polygon) for polygon in fields.polygons], dtype=object)


def test_fields_are_as_large_as_real_ones(fields: Plots) -> None:
    found = projected(fields)
    hectares = shapely.area(found) / 10_000
    assert 8.5 < hectares.mean() < 9.5  # 900 pixels of 10 m
    west, south, east, north = shapely.bounds(found).T
    assert np.percentile(east - west, [1, 99]) == pytest.approx([100, 530], abs=60)
    assert np.percentile(north - south, [1, 99]) == pytest.approx([100, 530], abs=60)
    assert fields.columns["hectares"] == pytest.approx(hectares, rel=0.25)


def test_fields_are_valid_and_lie_beside_each_other(fields: Plots) -> None:
    assert shapely.is_valid(fields.polygons).all()
    tree = shapely.STRtree(fields.polygons)
    first, second = tree.query(fields.polygons, predicate="intersects")
    assert (first == second).all()
    assert len(first) == 4000
    whole = shapely.area(projected(fields)).sum() / shapely.area(
        shapely.convex_hull(shapely.union_all(projected(fields)))
    )
    assert whole > 0.7


def test_some_fields_have_a_hole(fields: Plots) -> None:
    holes = shapely.get_num_interior_rings(fields.polygons)
    assert (holes == (np.arange(4000) % 40 == 39)).all()


@pytest.mark.parametrize(("count", "reach"), [(1, 600), (100, 2200), *slow((plots.MOST, 54_900))])
def test_fewer_fields_lie_closer_to_the_middle(count: int, reach: int) -> None:
    square = dense.square()
    found = np.array(
        [square.project(polygon) for polygon in dense.fields(count).polygons[:: max(1, count // 500)]],
        dtype=object,
    )
    west, south, east, north = shapely.bounds(found).T
    assert square.box.contains(shapely.box(west.min(), south.min(), east.max(), north.max()))
    middle = square.box.centroid
    assert max(middle.x - west.min(), east.max() - middle.x, north.max() - middle.y) < reach


@pytest.mark.parametrize("count", [0, -1, plots.MOST + 1])
def test_more_fields_than_the_square_holds_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} fields"):
        dense.fields(count)


def test_the_file_of_fields_is_read_as_areas(fields: Plots, tmp_path: Path) -> None:
    path = dense.dataset(tmp_path / "place", 60)
    areas = loader.read(path)
    made = dense.fields(60)
    assert [area.name for area in areas] == made.columns["name"]
    assert all(
        area.polygon.normalize().equals_exact(shape.normalize(), 1e-12)
        for area, shape in zip(areas, made.polygons, strict=True)
    )
    collection = json.loads(path.read_text())
    assert [feature["properties"]["code"] for feature in collection["features"]] == made.columns["code"]
    path.write_text("kept")
    assert dense.dataset(tmp_path / "place", 60).read_text() == "kept"
