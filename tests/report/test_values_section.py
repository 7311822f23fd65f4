"""Small curves of many areas: which, and with which axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from s2async.report import page
from s2async.report.values_section import AREAS, Valued, ValuesSection, values_section
from tests.support.curves import curve, value
from tests.support.looks import watched
from tests.support.pages import Page

FIRST, LAST = date(2022, 1, 1), date(2022, 12, 31)


@dataclass(frozen=True)
class Variables:
    """What the template needs."""

    values: ValuesSection


def test_counts_are_of_all_areas_and_curves_of_the_first_ones() -> None:
    valued = Valued()
    for number in range(AREAS + 5):
        ndvi = curve(value(number, 0.5), value(number + 9, 0.6), name="NDVI")
        bands = curve(value(number, 1.0), value(number + 1, 1.0), value(number + 2, 1.0), name="EVI")
        valued.add(replace(watched(), curves=(ndvi, bands)), name=f"a{number}", href=f"#{number}")
    valued.add(watched(), name="without")
    section = values_section(valued, FIRST, LAST)
    assert section
    assert (section.name, section.areas, section.year) == ("NDVI", AREAS + 5, "2022")
    assert section.dates == sum(len({n, n + 9, n + 1, n + 2}) for n in range(AREAS + 5))
    assert [(tile.name, tile.href) for tile in section.tiles] == [(f"a{n}", f"#{n}") for n in range(AREAS)]
    found = Page(page.fragment("values.html.j2", Variables(section)))
    assert "of 60 of 65 areas in 2022" in found.text
    assert found.values("href")[-1] == "#areas"
    assert found.tags.count("figure") == AREAS


def test_the_page_stays_small_however_many_areas_and_years_there_are() -> None:
    """Two months of three years for each of 60 areas: some 2 kB a curve."""
    valued = Valued()
    values = [
        value(date(year, month, day), 0.5)
        for year in (2020, 2021, 2022)
        for month in (5, 6)
        for day in range(1, 31)
    ]
    for number in range(200):
        valued.add(replace(watched(), curves=(curve(*values),)), name=f"a{number}", href="#x")
    section = values_section(valued, FIRST, LAST)
    assert section
    assert len(page.fragment("values.html.j2", Variables(section))) < AREAS * 6000


def test_an_area_that_lacks_the_variable_shows_no_other_one() -> None:
    valued = Valued()
    for name in ("NDVI", "EVI", "NDVI"):
        valued.add(replace(watched(), curves=(curve(value(0, 0.5), name=name),)), name=name, href="#x")
    section = values_section(valued, FIRST, LAST)
    assert section
    assert [tile.name for tile in section.tiles] == ["NDVI", "NDVI"]
    assert values_section(Valued(), FIRST, LAST) is None
