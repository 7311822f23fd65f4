"""Curves, by their coordinates."""

from __future__ import annotations

import re
from datetime import date
from math import sqrt
from xml.etree import ElementTree as ET

import pytest

from s2async.report import curves
from s2async.report.series import Axis, Curve, Scale
from tests.support.curves import curve, value

YEAR = Axis(1, 12)
UNIT = Scale(0.0, 1.0, 0.5)


def drawn(found: Curve, axis: Axis = YEAR) -> ET.Element:
    return ET.fromstring(curves.chart(found, axis, label="x"))


def circles(root: ET.Element) -> list[tuple[float, float, float]]:
    """Per cent from the left, pixels from above, and radius of each point."""
    return [
        (float(found.attrib["cx"].rstrip("%")), float(found.attrib["cy"]), float(found.attrib["r"]))
        for found in root.iter("circle")
    ]


def paths(root: ET.Element, class_: str) -> list[list[list[tuple[float, float]]]]:
    """The pieces of the paths of a class, each a list of places."""
    return [
        [
            [(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", piece)]
            for piece in found.attrib["d"].split("M")[1:]
        ]
        for found in root.iter("path")
        if found.get("class") == class_
    ]


def test_points_lie_where_their_days_and_values_are() -> None:
    root = drawn(curve(value(0, 0.0, around=None), value(date(2022, 7, 1), 1.0, around=None, clear=25)))
    (x0, y0, r0), (x1, y1, r1) = circles(root)
    assert [x0, x1] == pytest.approx([100 * 0.5 / 366, 100 * 182.5 / 366], abs=0.01)
    assert (y0, y1) == (curves.HEIGHT, 0), "0 is below"
    assert r1 / r0 == pytest.approx(sqrt(0.25)), "its area is the share that is clear"
    (line,) = paths(root, "now")
    assert line == [[near(x0, y0)], [near(x1, y1)]], "half a year is a gap"


def near(x: float, y: float) -> tuple[object, float]:
    """A place of a line, from that of a point: units of the line are tenths of a per cent."""
    return pytest.approx(10 * x, abs=0.1), y


def test_the_line_is_broken_at_gaps_and_so_is_the_band() -> None:
    days = (0, 5, 10, 100, 110, 200)
    root = drawn(curve(*(value(day, 0.5) for day in days)))
    (line,), (band,) = paths(root, "now"), paths(root, "band")
    assert [len(piece) for piece in line] == [3, 2, 1]
    assert [len(piece) for piece in band] == [6, 4], "there and back; one date has no band"
    (_, upper), (_, lower) = band[0][0], band[0][-1]
    assert upper < line[0][0][1] < lower


def test_the_numbers_of_the_axis_are_those_of_the_points() -> None:
    """A point of 0.4 lies on the line of the tick 0.4, and one of the first of July between June and August."""
    root = drawn(curve(value(0, 0.2, around=None), value(date(2022, 7, 16), 0.4, around=None)))
    numbers = [found for found in root.iter("text") if found.get("text-anchor") == "end"]
    heights = {found.text: float(found.attrib["y"]) - 4 for found in numbers}
    months = {found.text: found.attrib["x"] for found in root.iter("text") if found not in numbers}
    x, y, _ = circles(root)[1]
    assert heights["0.40"] == pytest.approx(y)
    assert float(months["Jul"].rstrip("%")) == pytest.approx(x, abs=0.1)
    assert len(months) == 12


def test_other_years_lie_behind_on_the_same_days() -> None:
    past = [value(date(year, 3, day), 0.3) for year in (2020, 2021) for day in (1, 11)]
    root = drawn(curve(*past, value(date(2022, 3, 1), 0.6), value(date(2022, 3, 11), 0.7)))
    behind, (now,) = paths(root, "past"), paths(root, "now")
    assert [[x for x, _ in piece] for (piece,) in behind] == [[x for x, _ in now[0]]] * 2
    assert [found.findtext("title") for found in root.iter("path") if found.get("class") == "past"] == [
        "2020",
        "2021",
    ]
    assert len(circles(root)) == 2, "points of the newest year only"
    classes = [found.get("class") for found in root.iter("path")]
    assert classes == ["past", "past", "band", "now"], "later ones are on top"


def test_a_point_says_what_it_is_and_the_chart_says_what_it_shows() -> None:
    root = drawn(curve(value(4, 0.5124, clear=97.6), value(9, 0.25, around=None)))
    titles = [found.findtext("title") for found in root.iter("circle")]
    assert titles == ["2022-01-05: 0.512 (0.412 to 0.612), 98 % clear", "2022-01-10: 0.250, 100 % clear"]
    assert root.findtext("desc") == "NDVI in 2022: 2 dates, from 0.250 (2022-01-10) to 0.512 (2022-01-05)"
    assert (root.get("role"), root.get("aria-label")) == ("img", "x")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x>', "\u202egnp.exe"])
def test_names_are_texts(name: str) -> None:
    found = curve(value(0, 0.5), name=name)
    for markup in (
        curves.chart(found, YEAR, label=name),
        curves.small(found, YEAR, UNIT, label=name),
    ):
        root = ET.fromstring(markup)
        shown = name.replace("\u202e", "\\u202e")
        assert str(root.findtext("desc")).startswith(shown)
        assert root.get("aria-label") == shown
        assert not {"script", "img"} & {element.tag for element in root.iter()}


def test_small_curves_have_the_axes_that_they_are_told() -> None:
    root = ET.fromstring(curves.small(curve(value(0, 0.25), value(100, 0.75)), YEAR, UNIT, label="x"))
    (line,), (dots,) = paths(root, "now"), paths(root, "dots")
    assert [y for piece in line for _, y in piece] == [0.75 * curves.LOW, 0.25 * curves.LOW]
    assert [place for piece in dots for place in piece] == [place for piece in line for place in piece]
    texts = [found.text for found in root.iter("text")]
    assert texts == ["0.0", "0.5", "1.0", "Jan", "Apr", "Jul", "Oct"]
    assert not list(root.iter("circle"))
    many = ET.fromstring(curves.small(curve(value(0, 0.5)), YEAR, Scale(0.0, 1.0, 0.2), label="x"))
    assert [found.text for found in many.iter("text")][:3] == ["0.0", "0.4", "0.8"], "without overlap"
    assert len([found for found in many.iter("line") if found.get("x2") == "100%"]) == 6


def test_the_note_says_what_is_drawn() -> None:
    found = curves.note(curve(value(0, 1)), past=True)
    assert found.startswith("Line: mean of the area's clear pixels. Band: 10th to 90th percentile. ")
    assert found.endswith("paler lines are other years.")
    plain = curves.note(curve(value(0, 1), band=""), past=False)
    assert not {"Band", "paler"} & set(plain.replace(":", "").split())
