"""Curves of an area, for tests of a report."""

from __future__ import annotations

from datetime import date, timedelta

from s2async.report.series import Curve, Value


def value(day: date | int, number: float, *, around: float | None = 0.1, clear: float = 100) -> Value:
    """A value on a day, or so many days after the beginning of 2022."""
    when = day if isinstance(day, date) else date(2022, 1, 1) + timedelta(days=day)
    low, high = (None, None) if around is None else (number - around, number + around)
    return Value(day=when, value=number, low=low, high=high, clear=clear)


def curve(*values: Value, name: str = "NDVI", unit: str = "", band: str = "10th to 90th percentile") -> Curve:
    return Curve(name=name, unit=unit, line="mean", band=band, values=values)
