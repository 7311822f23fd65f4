"""The section of a report about values: a small curve for each area, all with the same axes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from s2async.report import curves
from s2async.report.data import Watched
from s2async.report.markup import Markup
from s2async.report.series import Axis, Curve, Scale

AREAS: Final = 60
"""Maximum number of small curves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """The first curve of an area."""

    name: str
    """Name of the area, with its season if several areas have this name."""
    href: str
    """URL of the area's section or page; the empty string on a plot."""
    curve: Curve


@dataclass(kw_only=True, slots=True)
class Valued:
    """The first curves of the first areas that have any, and counts of all areas."""

    first: list[Candidate] = field(default_factory=list)
    """At most `AREAS` curves."""
    areas: int = 0
    """Number of areas with values."""
    dates: int = 0
    """Number of days with a value, added up over the areas."""

    def add(self, watched: Watched, *, name: str, href: str = "") -> None:
        """Add an area; arguments as in `Candidate`."""
        if not watched.curves:
            return
        self.areas += 1
        self.dates += watched.valued_days
        if len(self.first) < AREAS:
            self.first.append(Candidate(name=name, href=href, curve=watched.curves[0]))

    def alike(self) -> list[Candidate]:
        """Return the curves of the variable that the first area shows.

        An area without it shows another variable.
        """
        return [one for one in self.first if one.curve.name == self.first[0].curve.name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """The small curve of one area."""

    name: str
    href: str
    svg: Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class ValuesSection:
    """Small curves of many areas."""

    name: str
    """Name of the variable."""
    unit: str
    """Unit of the values; the empty string if they have none."""
    year: str
    """The newest year that is shown."""
    dates: int
    """Number of days with a value, added up over all areas."""
    areas: int
    """Number of areas with values, including those that are not shown."""
    tiles: tuple[Tile, ...]
    note: str
    """How to read the curves."""


def values_section(valued: Valued, first: date, last: date) -> ValuesSection | None:
    """Prepare the section on values; None if no area has values.

    Args:
        valued: all areas.
        first: first day of the period.
        last: last day of the period, inclusive.
    """
    alike = valued.alike()
    if not alike:
        return None
    one, axis, scale = alike[0].curve, *axes(alike, first, last)
    return ValuesSection(
        name=one.name,
        unit=one.unit,
        year=axis.words(max(axis.year(found.curve.values[-1].day) for found in alike)),
        dates=valued.dates,
        areas=valued.areas,
        tiles=tuple(
            Tile(
                name=found.name,
                href=found.href,
                svg=curves.small(found.curve, axis, scale, label=f"{one.name} of {found.name} over time"),
            )
            for found in alike
        ),
        note=curves.small_note(one, past=any(found.curve.is_of_years for found in alike)),
    )


def axes(alike: Sequence[Candidate], first: date, last: date) -> tuple[Axis, Scale]:
    """Choose the axes that all curves have; without bands, because small curves show none."""
    lines = (value.value for found in alike for value in found.curve.values)
    return Axis.of(first, last), Scale.of(lines)
