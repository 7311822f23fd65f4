"""Values of an area as curves over the days of a year: which values are drawn, and where. Pure."""

from __future__ import annotations

from calendar import month_abbr, monthrange
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from math import ceil, floor, log10
from typing import Final

from s2async.zonal.wanted import Variable

GAP: Final = 45
"""Maximum number of days between two dates that are connected by a line."""
CURVES: Final = 6
"""Maximum number of variables for which an area shows curves."""
_LINES: Final = ("mean", "median", "p50")
"""Statistics that a line may show, in order of preference."""
_LARGEST: Final = 1e100
"""Numbers of this size are left out, like NaN, because they fit no axis."""
_LEAP: Final = 2000
"""A leap year, on whose days all years are drawn, so that each day of a year has one position."""
_TICKS: Final = 5
"""Maximum number of intervals of a vertical axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """One variable of an area on one date."""

    day: date
    """Sensing day, UTC."""
    value: float
    low: float | None = None
    """Lower edge of the band around the line; None if there is no band. Likewise `high`."""
    high: float | None = None
    clear: float
    """Per cent of the area's pixels with data that are clear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One variable of an area over time."""

    name: str
    """Name of the index, or key of the band."""
    unit: str = ""
    """``reflectance`` for bands; the empty string for indices."""
    line: str = "mean"
    """What the line shows, in words."""
    band: str = ""
    """What the band around the line shows, in words; the empty string if there is none."""
    values: tuple[Value, ...]
    """In chronological order."""

    @property
    def is_of_years(self) -> bool:
        """Whether the values are from several years."""
        return self.values[0].day.year < self.values[-1].day.year

    def edges(self) -> list[float]:
        """All values, and the edges of their bands."""
        found = ((value.value, value.low, value.high) for value in self.values)
        return [number for numbers in found for number in numbers if number is not None]

    def years(self, axis: Axis) -> dict[int, list[Value]]:
        """Group the values by the year of an axis, oldest first."""
        found: dict[int, list[Value]] = {}
        for value in self.values:
            found.setdefault(axis.year(value.day), []).append(value)
        return found


# ---- statistics ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which statistics of the table a curve shows."""

    line: str
    """What the line shows, in words, as in `Curve`."""
    band: str
    of: Callable[[Sequence[float]], tuple[float, float | None, float | None]]
    """Takes the statistics of one date; returns the value and the edges of the band."""


def choice(statistics: Sequence[str]) -> Choice:
    """Choose what a curve shows: the mean, or otherwise the median, and the range of most pixels.

    The band lies between the outermost two percentiles at equal distances from the median, or otherwise extends
    one standard deviation to both sides of the mean.

    Args:
        statistics: names of the statistics in the table, in column order; at least one.
    """
    line = next((name for name in _LINES if name in statistics), statistics[0])
    at = statistics.index(line)
    percents = {float(name[1:]): name for name in statistics if name[0] == "p" and name[1:2].isdigit()}
    outer = min((percent for percent in percents if percent < 50 and 100 - percent in percents), default=None)
    if outer is not None:
        low, high = (statistics.index(percents[percent]) for percent in (outer, 100 - outer))
        words = f"{ordinal(outer)} to {ordinal(100 - outer)} percentile"
        return Choice(line=line, band=words, of=lambda row: (row[at], row[low], row[high]))
    if line == "mean" and "stdev" in statistics:
        spread = statistics.index("stdev")
        words = "one standard deviation on both sides"
        return Choice(
            line=line, band=words, of=lambda row: (row[at], row[at] - row[spread], row[at] + row[spread])
        )
    return Choice(line=line, band="", of=lambda row: (row[at], None, None))


def ordinal(number: float) -> str:
    """Format a number as an ordinal: ``1st``, ``10th``, ``2.5th``."""
    ending = "th"
    if number % 1 == 0 and number % 100 not in (11, 12, 13):
        ending = {1: "st", 2: "nd", 3: "rd"}.get(int(number % 10), "th")
    return f"{number:g}{ending}"


@dataclass(frozen=True, slots=True)
class Reading:
    """The statistics of one variable of an area on one date."""

    name: str
    """Name of the variable."""
    day: date
    clear: float
    """Per cent of the area's pixels with data that are clear."""
    statistics: Sequence[float]
    """Values in the order of the table's statistics; NaN if no pixel is valid."""


def curves(
    readings: Iterable[Reading], variables: Sequence[Variable], statistics: Sequence[str]
) -> tuple[Curve, ...]:
    """Make the curves of an area: of its indices, or of its bands if no index is wanted.

    Args:
        readings: statistics of one area, in chronological order.
        variables: all wanted variables, in order.
        statistics: names of the statistics in the table, in column order.
    """
    if not statistics:  # counts only
        return ()
    chosen = choice(statistics)
    found: dict[str, list[Value]] = {}
    for reading in readings:
        value, low, high = chosen.of(reading.statistics)
        if all(abs(number) < _LARGEST for number in (value, low, high) if number is not None):
            point = Value(day=reading.day, value=value, low=low, high=high, clear=reading.clear)
            found.setdefault(reading.name, []).append(point)
    return tuple(
        Curve(
            name=variable.name,
            unit="reflectance" if is_band(variable) else "",
            line=chosen.line,
            band=chosen.band,
            values=tuple(found[variable.name]),
        )
        for variable in shown(variables)
        if variable.name in found
    )


def shown(variables: Sequence[Variable]) -> tuple[Variable, ...]:
    """Choose the variables that have curves: the indices, or the bands if there is no index."""
    return tuple(variable for variable in variables if not is_band(variable)) or tuple(variables)


def is_band(variable: Variable) -> bool:
    """Return whether a variable is a band: the formula of a band is its own key."""
    return variable.bands == (variable.formula,)


# ---- axes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Axis:
    """The horizontal axis: months of a year, which may begin with any month."""

    first: int
    """Number of the first month, 1 to 12."""
    months: int
    """Number of months, 1 to 12."""

    @classmethod
    def of(cls, start: date, end: date) -> Axis:
        """Choose the axis for a period: its months if there are at most twelve, otherwise the calendar year.

        Args:
            start: first day.
            end: last day, inclusive.
        """
        months = 12 * (end.year - start.year) + end.month - start.month + 1
        return cls(start.month, months) if months <= 12 else cls(1, 12)

    def year(self, day: date) -> int:
        """Return the year of the axis that a day belongs to: the one in which that year begins."""
        return day.year - (day.month < self.first)

    def words(self, year: int) -> str:
        """Name a year of the axis: ``2022``, or ``2021/22`` if its months lie in two years."""
        return f"{year}/{(year + 1) % 100:02}" if self.first + self.months > 13 else str(year)

    def span(self, years: Sequence[int]) -> str:
        """Name a range of years: ``2021``, or ``2019 to 2021``; the empty string if there are none."""
        return " to ".join(dict.fromkeys(self.words(year) for year in (*years[:1], *years[-1:])))

    def place(self, day: date) -> float:
        """Return the position of a day: 0 is the beginning of the first month, 1 the end of the last one."""
        gone = sum(map(_length, self._numbers[: (day.month - self.first) % 12]))
        return (gone + day.day - 0.5) / self._days

    def ticks(self) -> list[tuple[float, str]]:
        """Return the position of the beginning of each month, and its name."""
        lengths = [_length(month) for month in self._numbers]
        return [
            (sum(lengths[:number]) / self._days, month_abbr[month]) for number, month in enumerate(self._numbers)
        ]

    @property
    def _numbers(self) -> list[int]:
        return [(self.first - 1 + number) % 12 + 1 for number in range(self.months)]

    @property
    def _days(self) -> int:
        return sum(map(_length, self._numbers))


def _length(month: int) -> int:
    return monthrange(_LEAP, month)[1]


@dataclass(frozen=True, slots=True)
class Scale:
    """The vertical axis."""

    low: float
    high: float
    step: float
    """Distance between two ticks; both ends are ticks."""

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Scale:
        """Choose the axis for the given numbers: at most six ticks at round numbers."""
        found = list(numbers)
        low, high = min(found, default=0.0), max(found, default=1.0)
        if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
            low, high = low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1)
        size = 10.0 ** floor(log10((high - low) / _TICKS))
        steps = (factor * size for factor in (1, 2, 5, 10, 20))
        # another tick may be needed if neither end is a round number: the next step has room for both
        step = next(step for step in steps if ceil(high / step) - floor(low / step) <= _TICKS)
        return cls(floor(low / step) * step, ceil(high / step) * step, step)

    def place(self, value: float) -> float:
        """Return the position of a value: 0 is the lower end, 1 the upper one."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the positions of the ticks, and their numbers."""
        count = round((self.high - self.low) / self.step)
        decimals = max(0, -floor(log10(self.step) + 1e-9))
        values = [self.low + number * self.step for number in range(count + 1)]
        form = f".{decimals}f" if self.step < 10_000 else "g"
        return [(number / count, f"{value + 0:{form}}") for number, value in enumerate(values)]


# ---- lines --------------------------------------------------------------------------------------------------


def pieces(values: Sequence[Value]) -> list[list[Value]]:
    """Split values, which are in chronological order, where the line is broken: see `GAP`."""
    found = [list(values[:1])] if values else []
    for before, after in pairwise(values):
        if (after.day - before.day).days > GAP:
            found.append([])
        found[-1].append(after)
    return found
