"""What is drawn of values, and where: statistics, years, gaps and axes."""

from __future__ import annotations

from datetime import date, timedelta
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.report.series import Axis, Reading, Scale, choice, curves, ordinal, pieces
from s2async.zonal.wanted import Variable
from tests.support.curves import curve, value

NDVI = Variable(name="NDVI", formula="(nir - red) / (nir + red)", bands=("nir", "red"))
RED = Variable(name="red", formula="red", bands=("red",))
YEAR = Axis(1, 12)


# ---- statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistics", "line", "band", "drawn"),
    [
        (("mean", "stdev", "median", "p10", "p90", "min", "max"), "mean", "10th to 90th percentile", (0, 3, 4)),
        (("max", "p25", "p2.5", "p97.5", "p75", "median"), "median", "2.5th to 97.5th percentile", (5, 2, 3)),
        (("p10", "p50", "min"), "p50", "", (1, None, None)),
        (("stdev", "mean"), "mean", "one standard deviation on both sides", (1, 1, 1)),
        (("max",), "max", "", (0, None, None)),
    ],
)  # fmt: skip
def test_the_line_and_the_band_are_the_statistics_that_there_are(
    statistics: tuple[str, ...], line: str, band: str, drawn: tuple[int | None, ...]
) -> None:
    chosen = choice(statistics)
    assert (chosen.line, chosen.band) == (line, band)
    row = [float(number) for number in range(len(statistics))]
    if "deviation" in band:
        assert chosen.of([0.1, 0.5]) == pytest.approx((0.5, 0.4, 0.6))
    else:
        assert chosen.of(row) == drawn


def test_ordinals() -> None:
    assert [ordinal(number) for number in (1, 2, 3, 11, 12, 13, 21, 2.5, 97.5, 90)] == (
        ["1st", "2nd", "3rd", "11th", "12th", "13th", "21st", "2.5th", "97.5th", "90th"]
    )


def test_indices_have_curves_or_else_bands_and_dates_without_a_number_are_left_out() -> None:
    days = [date(2022, 1, 1), date(2022, 2, 1)]
    readings = [Reading(variable.name, day, 50, (0.25, 0.5)) for day in days for variable in (RED, NDVI)]
    readings.append(Reading("NDVI", date(2022, 3, 1), 0, (nan, nan)))
    readings.append(Reading("NDVI", date(2022, 3, 2), 0, (0.5, -1e300)))
    (found,) = curves(readings, [RED, NDVI], ["max", "mean"])
    assert (found.name, found.unit, found.line) == ("NDVI", "", "mean")
    assert [(one.day, one.value, one.clear) for one in found.values] == [(day, 0.5, 50) for day in days]
    (band,) = curves(readings, [RED], ["mean"])
    assert (band.name, band.unit) == ("red", "reflectance")
    assert not curves([], [RED, NDVI], ["mean"])
    assert not curves(readings, [RED, NDVI], [])


# ---- horizontal -------------------------------------------------------------------------------------------


def test_a_year_has_all_its_days_beside_each_other() -> None:
    """Also the 29th of February, and each day has the same place in all years."""
    assert YEAR.place(date(2022, 1, 1)) == pytest.approx(0.5 / 366)
    assert YEAR.place(date(2022, 12, 31)) == pytest.approx(365.5 / 366)
    assert YEAR.place(date(2022, 7, 1)) == YEAR.place(date(2024, 7, 1)) == pytest.approx(182.5 / 366)
    place, name = YEAR.ticks()[6]
    assert name == "Jul"
    assert place == pytest.approx(182 / 366)


def test_a_short_period_fills_the_width_and_may_lie_in_two_years() -> None:
    summer = Axis.of(date(2022, 6, 10), date(2022, 7, 2))
    assert summer == Axis(6, 2)
    assert [name for _, name in summer.ticks()] == ["Jun", "Jul"]
    assert summer.place(date(2022, 7, 1)) == pytest.approx(30.5 / 61)
    wheat = Axis.of(date(2021, 9, 1), date(2022, 8, 31))
    assert wheat == Axis(9, 12)
    assert {wheat.year(date(2021, 9, 1)), wheat.year(date(2022, 8, 31))} == {2021}
    assert (wheat.words(2021), YEAR.words(2021)) == ("2021/22", "2021")
    assert wheat.place(date(2021, 12, 31)) < wheat.place(date(2022, 1, 1))
    assert Axis.of(date(2021, 9, 1), date(2022, 9, 1)) == YEAR


@given(st.dates(date(2015, 1, 1), date(2029, 12, 31)), st.integers(0, 400), st.integers(0, 400))
def test_every_day_of_a_period_has_its_place(start: date, days: int, day: int) -> None:
    end, when = start + timedelta(days=days), start + timedelta(days=min(day, days))
    axis = Axis.of(start, end)
    assert 0 < axis.place(when) < 1
    years = {axis.year(start), axis.year(end)}
    assert len(years) == 1 or axis == YEAR


def test_values_are_grouped_by_year() -> None:
    found = curve(value(date(2021, 12, 31), 1), value(0, 2), value(3, 3)).years(YEAR)
    assert {year: [one.value for one in values] for year, values in found.items()} == {2021: [1], 2022: [2, 3]}
    assert YEAR.span([2019, 2020, 2021]) == "2019 to 2021"
    assert (YEAR.span([2019]), YEAR.span([])) == ("2019", "")


def test_a_line_is_broken_where_a_gap_is_too_long() -> None:
    found = pieces([value(day, day) for day in (0, 45, 91, 92)])
    assert [[one.value for one in piece] for piece in found] == [[0, 45], [91, 92]]
    assert pieces([]) == []


# ---- vertical ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "ticks"),
    [
        ([0.21, 0.78], ["0.2", "0.4", "0.6", "0.8"]),
        ([-0.1, 0.9], ["-0.5", "0.0", "0.5", "1.0"]),
        ([0.013, 0.032], ["0.010", "0.015", "0.020", "0.025", "0.030", "0.035"]),
        ([120, 900], ["0", "200", "400", "600", "800", "1000"]),
        ([-2e7, 1e16], ["-5e+15", "0", "5e+15", "1e+16"]),
        ([0.5], ["0.46", "0.48", "0.50", "0.52", "0.54"]),
        ([], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)  # fmt: skip
def test_ticks_are_round(numbers: list[float], ticks: list[str]) -> None:
    assert [number for _, number in Scale.of(numbers).ticks()] == ticks


@given(st.lists(st.floats(-1e6, 1e6).filter(lambda number: number == 0 or abs(number) > 1e-6), min_size=1))
def test_every_value_lies_between_the_ends(numbers: list[float]) -> None:
    scale = Scale.of(numbers)
    assert all(-1e-6 <= scale.place(number) <= 1 + 1e-6 for number in numbers)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 6
    assert (ticks[0][0], ticks[-1][0]) == (0, 1)
    assert len({text for _, text in ticks}) == len(ticks)
