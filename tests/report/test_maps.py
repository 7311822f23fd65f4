"""Maps, by their coordinates."""

from __future__ import annotations

import re
from math import cos, radians
from xml.etree import ElementTree as ET

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from s2async.cog.grid import Grid
from s2async.report import maps
from s2async.report.maps import Box, Outline, Spot

Points = list[tuple[float, float]]


def spot(polygon: BaseGeometry, name: str = "a") -> Spot:
    return Spot(name=name, polygon=polygon, label="told", href=f"#{name}")


def drawn(bounds: Box, *spots: Spot, outlines: tuple[Outline, ...] = (), names: bool = False) -> ET.Element:
    return ET.fromstring(maps.draw(bounds, spots, outlines, names=names, label="map"))


def points(path: ET.Element) -> Points:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path.attrib["d"])]


def paths(root: ET.Element) -> list[Points]:
    return [points(path) for path in root.iter("path") if "," in path.attrib["d"]]


def sides(found: Points) -> tuple[float, float]:
    xs, ys = zip(*found, strict=True)
    return max(xs) - min(xs), max(ys) - min(ys)


@given(st.floats(-170, 170), st.floats(-75, 80), st.floats(0.01, 2), st.floats(0.01, 2))
def test_a_kilometre_is_as_long_across_as_up(lon: float, lat: float, wide: float, high: float) -> None:
    area = box(lon, lat, lon + wide, lat + high)
    (found,) = paths(drawn(area.bounds, spot(area))) or [[]]
    if not found:  # too narrow to be a shape
        assert min(wide, high) < max(wide, high) / 20
        return
    across, up = sides(found)
    assert across / up == pytest.approx(wide * cos(radians(lat + high / 2)) / high, rel=0.05, abs=0.05)


@given(st.floats(-170, 170), st.floats(-70, 75), st.floats(0.001, 30), st.floats(0.001, 5))
def test_all_of_it_is_seen(lon: float, lat: float, wide: float, high: float) -> None:
    area = box(lon, lat, lon + wide, lat + high)
    root = drawn(area.bounds, spot(area))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for x, y in [point for path in paths(root) for point in path]:
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_north_is_up_and_east_is_right() -> None:
    west, north = box(13, 52, 13.1, 52.1), box(13.5, 52.5, 13.6, 52.6)
    low, high = paths(drawn((13, 52, 13.6, 52.6), spot(west), spot(north, "b")))
    assert max(y for _, y in high) < min(y for _, y in low)
    assert max(x for x, _ in low) < min(x for x, _ in high)


def test_an_area_across_180_degrees_is_in_one_place() -> None:
    area = MultiPolygon([box(179.9, -17, 180, -16.9), box(-180, -17, -179.9, -16.9)])
    bounds = maps.around([(179.9, -17, 180.1, -16.9)], 180)
    (found,) = paths(drawn(bounds, spot(area)))
    assert sides(found)[0] / sides(found)[1] == pytest.approx(2 * cos(radians(16.95)), rel=0.02)


def test_boxes_are_brought_together_across_180_degrees() -> None:
    assert maps.around([(179, -17, 181, -16), (-179.5, -18, -179, -17)], 180) == (179, -18, 181, -16)
    assert maps.around([(13, 52, 14, 53), (12, 50, 13, 51)], 13.5) == (12, 50, 14, 53)


def test_small_areas_are_dots_and_those_on_one_place_are_one() -> None:
    tiny = [spot(box(13 + x, 52, 13.0001 + x, 52.0001), f"a{x}") for x in (0, 0.0001, 1)]
    root = drawn((12, 51, 15, 54), *tiny)
    assert [link.get("href") for link in root.iter("a")] == ["#a0", "#a1"]
    assert len(list(root.iter("circle"))) == 2


def test_names_do_not_cover_each_other() -> None:
    near = [spot(box(14 + x, 52, 14.2 + x, 52.2), "Long name of an area") for x in (0, 0, 0, 0, 0, 0, 1)]
    found = [
        text for text in drawn((13, 52, 16, 53), *near, names=True).iter("text") if text.get("class") == "name"
    ]
    assert 2 <= len(found) < len(near)
    places = [(float(text.attrib["x"]), float(text.attrib["y"])) for text in found]
    for x, y in places:
        assert [abs(x - other) < 140 and abs(y - below) < 12 for other, below in places].count(True) == 1


def test_holes_stay_holes() -> None:
    ring = Polygon(
        [(13, 52), (14, 52), (14, 53), (13, 53)], [[(13.2, 52.2), (13.8, 52.2), (13.8, 52.8), (13.2, 52.8)]]
    )
    (path,) = [path for path in drawn(ring.bounds, spot(ring)).iter("path") if "," in path.attrib["d"]]
    assert path.attrib["d"].count("M") == 2


def test_the_outline_of_a_grid_square_is_that_of_its_raster() -> None:
    # tile 33UUU: 300000 to 409800 east, 5790240 to 5900040 north, of zone 33 (central meridian 15 E)
    grid = Grid(width=10980, height=10980, transform=Affine(10, 0, 300000, 0, -10, 5900040), epsg=32633)
    west, south, east, north = maps.outline(grid).bounds
    assert (west, south, east, north) == pytest.approx((12.00, 52.23, 13.67, 53.25), abs=0.02)


def test_an_outline_beyond_180_degrees_is_in_one_piece() -> None:
    grid = Grid(width=10980, height=10980, transform=Affine(10, 0, 790000, 0, -10, 8200040), epsg=32760)
    west, _, east, _ = maps.outline(grid).bounds
    assert west < -180 < east
    assert east - west < 2


@pytest.mark.parametrize("wide", [1e-3, 0.02, 1, 350])
def test_the_scale_is_a_round_number_that_fits(wide: float) -> None:
    root = drawn((-wide / 2, -wide / 6, wide / 2, wide / 6))
    (scale,) = [path for path in root.iter("path") if path.get("class") == "scale"]
    left, right = map(float, re.findall(r"[MH]([\d.]+)", scale.attrib["d"]))
    told = next(text.text for text in root.iter("text") if text.text and text.text.endswith(("km", " m")))
    value, unit = told.split(" ")
    assert value.rstrip("0").rstrip(".").lstrip("0.") in ("1", "2", "5")
    shown = 480 / (wide * 1.16) * float(value) / (111.32 if unit == "km" else 111_320)
    assert right - left == pytest.approx(shown, rel=0.25)
    assert 0 < left < right < 480
