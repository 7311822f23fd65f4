"""What is told of one area."""

from __future__ import annotations

import re
from datetime import date

from s2async.report import sheet
from s2async.report.sheet import Picture
from tests.support.looks import look, watched
from tests.support.pages import Page


def test_an_area_tells_its_looks() -> None:
    seen = watched(look(0, "saved"), look(30, "saved"), look(31, "cloudy"))
    found = Page(sheet.area(seen, [], km2=0.5, first=date(2022, 1, 1), last=date(2022, 12, 31)))
    assert "2 clear" in found.text
    assert "30 days, 2022-01-01 to 2022-01-31" in found.text
    assert "0.50 km\u00b2" in found.text
    assert found.values("id") == ["area-" + "0" * 16]


def test_calendars_come_newest_first_and_older_ones_are_folded() -> None:
    found = sheet.area(watched(), [], km2=100, first=date(2018, 5, 1), last=date(2022, 4, 1))
    years = re.findall("<figcaption>(.*?)</figcaption>", found)
    assert years == ["2022", "2021", "2020", "2019", "2018"]
    assert found.index("<details>") > found.index("2021")
    assert "2018 to 2020" in Page(found).text
    assert "no scene has been found yet" in Page(found).text


def test_pictures_have_date_and_cloud_and_those_that_are_gone_say_so() -> None:
    webp = Picture(look=look(0, "saved", area=1.26), data=b"RIFF....WEBP")
    png = Picture(look=look(1, "saved", area=0.0), data=b"\x89PNG")
    gone = Picture(look=look(2, "saved"), data=b"")
    seen = watched(*(picture.look for picture in (webp, png, gone)))
    found = Page(sheet.area(seen, [gone, png, webp], km2=1, first=date(2022, 1, 1), last=date(2022, 12, 31)))
    assert [source.split(";")[0] for source in found.values("src", "img")] == ["data:image/png", "data:image/webp"]
    assert "2022-01-01" in found.values("alt")[1]
    assert "1.3 % cloud" in found.text
    assert "cannot be read" in found.text
