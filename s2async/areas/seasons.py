"""Seasons of areas: the days on which they are valid, from two columns of their file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, TypeAlias

from s2async.areas.edits import season_words
from s2async.text import one_line

FIRST: Final = "valid_from"
"""Column with the first day of an area's season."""
LAST: Final = "valid_to"
"""Column with the last day of an area's season."""

Season: TypeAlias = tuple[date | None, date | None]
"""First and last day; both are included, and None stands for an open end."""

_DAY: Final = re.compile(r"([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})(?:[T ](.+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Seasons:
    """First and last days of n areas, in UTC; both are included, and None stands for an open end."""

    starts: Sequence[date | None]
    ends: Sequence[date | None]
    faults: Mapping[int, str] = field(default_factory=dict)
    """Which value of a record is wrong, and what to do; by number of the record from 0."""

    def of(self, number: int) -> Season:
        """Return the season of a record.

        Args:
            number: number of the record, from 0.
        """
        return self.starts[number], self.ends[number]


def read_seasons(columns: Mapping[str, Sequence[Any]], count: int) -> Seasons:
    """Read the seasons of areas from their columns ``valid_from`` and ``valid_to``, ignoring case.

    Args:
        columns: columns of the areas' file, as in `Table`.
        count: number of areas.
    """
    named = season_columns(columns)
    if not named:
        return Seasons(starts=[None] * count, ends=[None] * count)
    faults: dict[int, str] = {}
    found: dict[str, list[date | None]] = {FIRST: [None] * count, LAST: [None] * count}
    for key, name in named.items():
        days: dict[Any, date | None] = {}  # there are few different values
        for number, value in enumerate(columns[name]):
            try:
                known = days.get(value, value)
                found[key][number] = days[value] = _day(value) if known is value else known
            except (ValueError, TypeError, OverflowError):
                shown = f'"{one_line(value)}"' if isinstance(value, str) else one_line(value)
                faults.setdefault(
                    number, f'{name} is {shown}; write a day such as "2024-05-01", or leave it empty'
                )
    for number, (start, end) in enumerate(zip(found[FIRST], found[LAST], strict=True)):
        if start and end and end < start:
            faults.setdefault(number, f"{LAST} {end} is before {FIRST} {start}; correct one of them")
    return Seasons(starts=found[FIRST], ends=found[LAST], faults=faults)


def season_columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return the columns of a file that contain seasons, by `FIRST` and `LAST`."""
    by_case = {name.casefold(): name for name in reversed(list(columns))}
    return {key: by_case[key] for key in (FIRST, LAST) if key in by_case}


def overlap(one: Season, other: Season) -> bool:
    """Return whether two seasons have a day in common."""
    latest = max((start for start, _ in (one, other) if start), default=date.min)
    return latest <= min((end for _, end in (one, other) if end), default=date.max)


def clash_words(season: Season, other: Season, place: str) -> str:
    """Return why an area cannot have the name of another one whose season overlaps its own, and what to do.

    Args:
        season: season of the area.
        other: season of the other area.
        place: place of the other area within the file.
    """
    if season == other == (None, None):
        return f"there is another area of this name, {place}; give each its own"
    mine, theirs = season_words(*season) or "all days", season_words(*other) or "all days"
    return (
        f"its season ({mine}) overlaps that of {place} ({theirs}), which has the same name; "
        f"correct {FIRST} or {LAST}, or give each its own name"
    )


def _day(value: Any) -> date | None:
    """Convert a date, a datetime or a string to a day in UTC; None if it is empty.

    Raises:
        ValueError: the value is none of these.
    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).date()
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        raise ValueError
    text = value.strip()
    if not text:
        return None
    match = _DAY.fullmatch(text)
    if match is None:
        raise ValueError
    day = date(int(match[1]), int(match[2]), int(match[3]))
    return _day(datetime.fromisoformat(f"{day}T{match[4]}")) if match[4] else day
