"""Splits a period into searches, and explains why a period cannot contain scenes. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

LAUNCH: Final = datetime(2015, 6, 23, tzinfo=UTC)
"""Launch of Sentinel-2A: no scene is older."""
TOLERANCE: Final = timedelta(days=1)
"""Maximum time by which a catalogue's clock may be ahead of this machine's clock."""


def spans(start: datetime | None, end: datetime | None, *, now: datetime) -> list[tuple[datetime, datetime]]:
    """Split a half-open period at calendar quarters (UTC), so that later runs repeat the same searches.

    A period without an end is searched to the end of the quarter that contains ``now``.
    """
    cuts = []
    first = max((start or LAUNCH).astimezone(UTC), LAUNCH)
    while first < now and (end is None or first < end):
        months = first.year * 12 + (first.month - 1) // 3 * 3 + 3
        last = datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
        cuts.append((first, last if end is None else min(last, end.astimezone(UTC))))
        first = last
    return cuts


def why_empty(start: datetime | None, end: datetime | None, *, now: datetime) -> str:
    """Return why a half-open period cannot contain scenes, and what to do; the empty string if it can.

    Args:
        start: first instant, aware; None if the period has no start.
        end: first instant after the period, aware; None if the period has no end.
        now: this machine's time, aware.
    """
    if end is not None and end <= LAUNCH:
        return f"ends before the launch of Sentinel-2 ({LAUNCH:%Y-%m-%d}); correct the year"
    if max(start or LAUNCH, LAUNCH) < now + TOLERANCE:
        return ""
    today = f"this machine's clock says {now.astimezone(UTC):%Y-%m-%d}"
    if now < LAUNCH:
        return f"cannot be searched: {today}, which is before the launch of Sentinel-2; set the clock"
    return f"begins in the future: {today}; correct the year, or the clock if that is wrong"
