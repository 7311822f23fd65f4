"""Periods: calendar quarters are tested with the searches; here, which period cannot hold a scene."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

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
