"""Periods: the calendar quarters that are searched, and which period cannot hold a scene."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.catalog.periods import LAUNCH, TOLERANCE, spans, why_empty
from s2async.config.types import parse_period

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
DEAD_BATTERY = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)

FUTURE = "begins in the future: this machine's clock says 2026-11-30; correct the year, or the clock"
CASES = {
    ("2027-01-01/2027-12-31", NOON): FUTURE,
    ("2026-12-02/..", NOON): FUTURE,
    ("2026-12-01T12:00Z/2026-12-31", NOON): FUTURE,
    ("2026-12-01T11:59Z/2026-12-31", NOON): "",  # clocks differ
    ("2026-12-01", NOON): "",
    ("2026-11-30/2027-12-31", NOON): "",  # it ends in the future
    ("2022-01-01/2022-12-31", NOON): "",
    ("2022-01-01/..", NOON): "",
    ("../2022-12-31", NOON): "",
    ("2010-01-01/2015-06-23", NOON): "",
    ("2010-01-01/2015-06-22", NOON): "ends before the launch of Sentinel-2 (2015-06-23); correct the year",
    ("../2014-12-31", NOON): "ends before the launch",
    ("2022-01-01/2022-12-31", DEAD_BATTERY): "cannot be searched: this machine's clock says 1970-01-01, which is",
    ("../2022-12-31", DEAD_BATTERY): "set the clock",
    ("2014-01-01/2014-12-31", DEAD_BATTERY): "ends before the launch",
    ("2022-01-01/2022-12-31", datetime(2020, 5, 1, tzinfo=UTC)): "this machine's clock says 2020-05-01; correct",
    # by the zone of the machine it is tomorrow
    ("2027-01-01/..", NOON.astimezone(timezone(timedelta(hours=14)))): "clock says 2026-11-30;",
}


@pytest.mark.parametrize(("text", "now"), CASES)
def test_a_period_that_cannot_hold_a_scene(text: str, now: datetime) -> None:
    period, expected = parse_period(text), CASES[text, now]
    why = why_empty(period.start, period.end, now=now)
    assert expected in why
    assert bool(why) is bool(expected)
    assert bool(why) is (spans(period.start, period.end, now=now + TOLERANCE) == []), (
        "what is not searched is told"
    )


def test_no_span_is_older_than_the_first_scene() -> None:
    assert spans(None, LAUNCH + timedelta(days=1), now=NOON) == [(LAUNCH, LAUNCH + timedelta(days=1))]


MOMENTS = st.datetimes(datetime(2014, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS, MOMENTS, MOMENTS)
def test_spans_tile_the_period(start: datetime, end: datetime, now: datetime) -> None:
    cuts = spans(start, end, now=now)
    first = max(start, LAUNCH)
    if first >= end or first >= now:
        assert cuts == []
        return
    assert cuts[0][0] == first
    assert all(a[1] == b[0] for a, b in itertools.pairwise(cuts))
    assert all(timedelta(0) < last - first <= timedelta(days=92) for first, last in cuts)
    assert cuts[-1][1] <= end
    assert cuts[-1][1] == end or (cuts[-1][0] < now <= cuts[-1][1])
    assert all(cut[1].month in (1, 4, 7, 10) and cut[1].day == 1 for cut in cuts[:-1])


def test_open_ends() -> None:
    now = datetime(2026, 11, 5, 17, tzinfo=UTC)
    cuts = spans(None, None, now=now)
    assert cuts[0] == (LAUNCH, datetime(2015, 7, 1, tzinfo=UTC))
    assert cuts[-1] == (datetime(2026, 10, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert spans(None, None, now=now + timedelta(days=30)) == cuts  # a later run asks the same
    assert len(cuts) == 47
