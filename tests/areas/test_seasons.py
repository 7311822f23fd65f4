"""Seasons: which days two columns say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.areas.seasons import overlap, read_seasons

MAY = date(2024, 5, 1)


@pytest.mark.parametrize(
    "value",
    [
        MAY,
        "2024-05-01",
        " 2024-05-01 ",
        "2024/05/01",
        "2024-05-01T23:59:59Z",
        "2024-05-02T00:30:00+02:00",
        "2024/05/01 12:00:00",
        datetime(2024, 5, 1, 23, 59),  # noqa: DTZ001 - as files without a time zone give it
        datetime(2024, 5, 1, 22, tzinfo=UTC),
        datetime(2024, 5, 2, 1, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_days_of_any_kind_are_days_in_utc(value: Any) -> None:
    found = read_seasons({"valid_from": [value, value], "valid_to": [value, None]}, 2)
    assert (found.starts, found.ends, found.faults) == ([MAY, MAY], [MAY, None], {})


@pytest.mark.parametrize("value", [None, "", "  ", float("nan")])
def test_nothing_is_an_open_end(value: Any) -> None:
    found = read_seasons({"VALID_TO": [value]}, 1)
    assert (found.starts, found.ends, found.faults) == ([None], [None], {})


@pytest.mark.parametrize(
    "value", [20240501, 45413.0, True, "May", "2024-5-1", "01.05.2024", "2024-02-30", "2024-05-01T25:00", ["2024"]]
)
def test_what_is_no_day_is_a_fault_of_its_record(value: Any) -> None:
    found = read_seasons({"valid_from": ["2024-05-01", value]}, 2)
    assert set(found.faults) == {1}
    assert found.faults[1].startswith("valid_from is ")
    assert "; write a day" in found.faults[1]


def test_a_season_that_ends_before_it_starts_is_a_fault() -> None:
    found = read_seasons({"valid_from": ["2024-05-02", MAY], "valid_to": [MAY, MAY]}, 2)
    assert found.faults == {0: "valid_to 2024-05-01 is before valid_from 2024-05-02; correct one of them"}


def test_files_without_these_columns_have_no_seasons() -> None:
    found = read_seasons({"name": ["a", "b"]}, 2)
    assert (found.starts, found.ends, found.faults) == ([None, None], [None, None], {})


days = st.one_of(st.none(), st.integers(1, 9).map(lambda day: date(2024, 5, day)))


@given(days, days, days, days)
def test_seasons_overlap_if_they_share_a_day(
    a: date | None, b: date | None, c: date | None, d: date | None
) -> None:
    if (a and b and b < a) or (c and d and d < c):
        return
    every = [date(2024, 4, 30) + timedelta(days=n) for n in range(12)]
    shared = any((not s or s <= day) and (not e or day <= e) and (not t or t <= day) and (not f or day <= f)
                 for day in every for s, e, t, f in [(a, b, c, d)])  # fmt: skip
    assert overlap((a, b), (c, d)) == overlap((c, d), (a, b)) == shared
