"""Scatter, calendar and bar, by their coordinates."""

from __future__ import annotations

from datetime import date, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.report import charts, data
from s2async.report.data import ORDER, Look, Saving, Scatter
from tests.support.looks import look, watched


def drawn(points: Scatter, *, max_scene: float = 100) -> ET.Element:
    return ET.fromstring(charts.scatter(points, max_scene=max_scene, max_area=2))


def of(*found: Look) -> Scatter:
    scatter = Scatter()
    scatter.add(watched(*found))
    return scatter


def number(of_: ET.Element, name: str) -> float:
    return float(of_.attrib[name])


def test_points_lie_where_their_per_cents_are() -> None:
    corners = [
        look(0, "saved", scene=0, area=0),
        look(1, "cloudy", scene=100, area=100),
        look(2, "cloudy", scene=50, area=25),
    ]
    circles = {(number(c, "cx"), number(c, "cy")) for c in drawn(of(*corners)).iter("circle")}
    (x0, y0), (x1, y1) = (min(circles), max(circles))
    assert x0 < x1
    assert y0 > y1, "0 per cent is below"
    assert circles == {(x0, y0), (x1, y1), ((x0 + x1) / 2, y0 + (y1 - y0) / 4)}


@given(st.floats(0, 100), st.floats(0, 100))
def test_every_point_is_seen_as_a_whole(scene: float, area: float) -> None:
    root = drawn(of(look(0, "cloudy", scene=scene, area=area)))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    (circle,) = root.iter("circle")
    r = number(circle, "r")
    assert r <= number(circle, "cx") <= width - r
    assert r <= number(circle, "cy") <= height - r


def test_clear_points_lie_on_top_and_say_what_they_are() -> None:
    circles = list(drawn(of(look(0, "saved"), look(1, "cloudy", scene=64.2, area=91.04))).iter("circle"))
    assert [circle.get("class") for circle in circles] == [None, "clear"]
    assert circles[0].findtext("title") == "a, 2022-01-02: scene 64.2 %, area 91.0 %"


def test_many_points_are_squares_of_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "POINTS", 4)
    many = [look(day, "cloudy", scene=11, area=51) for day in range(16)]
    root = drawn(of(*many, *(look(day, "cloudy", scene=91, area=51) for day in range(4))))
    squares = [rect for rect in root.iter("rect") if rect.find("title") is not None]
    assert not list(root.iter("circle"))
    assert [square.findtext("title") for square in squares] == [
        "16 jobs: scene 10 to 12 %, area 50 to 52 %",
        "4 jobs: scene 90 to 92 %, area 50 to 52 %",
    ]
    assert number(squares[0], "width") == pytest.approx(2 * number(squares[1], "width"), rel=0.01)


def test_scenes_that_were_not_looked_at_are_marked() -> None:
    at_80 = of(look(0, "saved", scene=80))
    root = drawn(at_80, max_scene=80)
    (beyond,) = [rect for rect in root.iter("rect") if rect.get("class") == "beyond"]
    assert number(beyond, "x") == number(next(root.iter("circle")), "cx")
    assert "beyond" not in ET.tostring(drawn(at_80)).decode()


# ---- calendar ---------------------------------------------------------------------------------------------


def calendar(year: int, *found: Look, first: date, last: date) -> ET.Element:
    return ET.fromstring(charts.calendar(year, watched(*found).days(), first, last))


def test_a_calendar_has_a_mark_for_each_day_of_its_year_only() -> None:
    found = [look(0, "saved"), look(0, "outside"), look(364, "cloudy"), look(365, "failed")]
    root = calendar(2022, *found, first=date(2022, 1, 1), last=date(2023, 12, 31))
    uses = [(use.get("href"), number(use, "x"), number(use, "y")) for use in root.iter("use")]
    assert [href for href, _, _ in uses] == ["#mark-saved", "#mark-cloudy"]
    assert uses[1][1] - uses[0][1] == 30 * 14, "the 31st is 30 columns right of the 1st"
    assert uses[1][2] - uses[0][2] == 11 * 14, "December is 11 rows below January"
    told = next(root.iter("use")).findtext("title")
    assert told == "2022-01-01\nclear, area 0.0 %, scene 0 % (i0saved)\noutside, area 0.0 %, scene 0 % (i0outside)"


@given(st.dates(date(2019, 1, 1), date(2021, 12, 31)), st.integers(0, 900))
def test_the_rows_are_as_long_as_the_period(first: date, days: int) -> None:
    last = first + timedelta(days=days)
    rows = [
        rect
        for year in range(first.year, last.year + 1)
        for rect in calendar(year, first=first, last=last).iter("rect")
    ]
    assert sum(number(row, "width") for row in rows) / 14 == days + 1


def test_every_status_has_a_mark_of_its_own() -> None:
    shapes = {group.get("id"): ET.tostring(group[0]) for group in ET.fromstring(charts.marks()).iter("g")}
    assert set(shapes) == {f"mark-{status}" for status in ORDER}
    assert len({(shape.split(b"class")[0]) for shape in shapes.values()}) == len(ORDER), (
        "told apart without colour"
    )
    assert set(charts.WORDS) == set(ORDER)


# ---- bar --------------------------------------------------------------------------------------------------


def test_the_bar_is_as_long_as_its_bytes() -> None:
    saved = Saving(whole=1000, skipped=600, moved=100, files=1, estimated=0, unknown=0)
    rects = list(ET.fromstring(charts.bar(saved)).iter("rect"))
    told = [(rect.get("class"), number(rect, "x"), number(rect, "width")) for rect in rects]
    assert told == [("skipped", 0, 600), ("window", 600, 300), ("moved", 900, 100)]


def test_what_was_moved_is_seen_however_little_it_is() -> None:
    saved = Saving(whole=10**12, skipped=0, moved=1, files=1, estimated=0, unknown=0)
    moved = list(ET.fromstring(charts.bar(saved)).iter("rect"))[-1]
    assert number(moved, "width") == 2
    assert number(moved, "x") + 2 <= 1000
