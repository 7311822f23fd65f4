"""The section of a report about one area: its calendars, facts and newest crops, as values for its template."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from s2async.areas.edits import season_words
from s2async.models import Area
from s2async.report import charts, curves
from s2async.report.data import ORDER, Look, Watched
from s2async.report.markup import Markup
from s2async.report.series import CURVES, Axis, Curve
from s2async.text import surface

YEARS: Final = 2
"""Number of calendars that are shown at first; older ones are folded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A small image of a crop."""

    look: Look
    data: bytes
    """PNG or WebP; empty if the crop cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    """The calendar of one year."""

    year: int
    svg: Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownCurve:
    """The curve of one variable."""

    name: str
    unit: str
    """Unit of its values; the empty string if they have none."""
    year: str
    """Year whose values are drawn as points."""
    past: str
    """Earlier years drawn in the background, such as ``2019 to 2021``; the empty string if there are none."""
    svg: Markup


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A line of the facts."""

    label: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownCrop:
    """A crop in the row of the newest crops."""

    day: date
    item: str
    source: str
    """Its image as a data URI; the empty string if the crop cannot be read."""
    facts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaSection:
    """One area."""

    name: str
    anchor: str
    """Id of the section."""
    heading: str
    """Element of its heading: ``h1`` or ``h3``."""
    counts: tuple[tuple[str, int], ...]
    """Number of days by status, without statuses that do not occur."""
    calendars: tuple[Calendar, ...]
    """Newest first."""
    older: tuple[Calendar, ...]
    """Folded calendars, newest first."""
    facts: tuple[Fact, ...]
    curves: tuple[ShownCurve, ...]
    """Empty if no values were requested, or none are known."""
    more_curves: tuple[str, ...]
    """Names of other variables with values, which are not shown."""
    crops: tuple[ShownCrop, ...]
    """Newest first."""
    more_crops: int
    """Number of older crops that are not shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AreaPage:
    """A page about one area; each field is a variable of ``area_page.html.j2``."""

    area: AreaSection
    note: str
    """How to read the curves; the empty string if there are no curves."""
    back: str
    """URL of the page about all areas."""
    credits: tuple[str, ...]


def area_section(
    watched: Watched,
    thumbnails: Sequence[Thumbnail],
    *,
    km2: float,
    first: date,
    last: date,
    heading: str = "h3",
    key: str = "",
    label: str = "",
) -> AreaSection:
    """Prepare the section about one area.

    Args:
        watched: the area and its observations.
        thumbnails: images of its newest crops, newest first.
        km2: size of the area in square kilometres.
        first: first day of the period.
        last: last day of the period, inclusive.
        heading: element of the heading.
        key: distinguishes the area from others with the same polygon; by default its fingerprint.
        label: the name, with the season if several areas have this name; by default the name.
    """
    counts, days = watched.days_by_status, watched.days()
    calendars = tuple(
        Calendar(year=year, svg=charts.calendar(year, days, first, last))
        for year in range(last.year, first.year - 1, -1)
    )
    return AreaSection(
        name=label or watched.area.name,
        anchor=anchor(key or watched.area.fingerprint),
        heading=heading,
        counts=tuple((status, counts[status]) for status in ORDER if counts[status]),
        calendars=calendars[:YEARS],
        older=calendars[YEARS:],
        facts=tuple(_facts(watched, km2)),
        curves=tuple(_curve(curve, Axis.of(first, last), watched.area.name) for curve in watched.curves[:CURVES]),
        more_curves=tuple(curve.name for curve in watched.curves[CURVES:]),
        crops=tuple(map(_shown, thumbnails)),
        more_crops=sum(bool(look.path) for look in watched.looks) - len(thumbnails) if thumbnails else 0,
    )


def anchor(key: str) -> str:
    """Return the id of an area's section, from its key; see `keys`."""
    return f"area-{key}"


def keys(areas: Sequence[Area]) -> list[str]:
    """Return a key for each area: its fingerprint, with a number if another area has the same polygon."""
    seen = Counter[str]()
    found = []
    for area in areas:
        seen[area.fingerprint] += 1
        number = seen[area.fingerprint]
        found.append(area.fingerprint if number == 1 else f"{area.fingerprint}-{number}")
    return found


def stems(areas: Sequence[Area]) -> list[str]:
    """Return the names of the files about each area, without suffix.

    Areas with the same name share a folder, so the first day is added to the names of all but the first of them.
    """
    seen = set[str]()
    names = []
    for area in areas:
        again = area.folder in seen
        seen.add(area.folder)
        # no area's folder has a tilde in its name
        names.append(f"{area.folder}{f'~{area.start}' * again}")
    return names


def _facts(watched: Watched, km2: float) -> Iterator[Fact]:
    days, area = watched.clear_days, watched.area
    if season := season_words(area.start, area.end):
        yield Fact(label="season", value=season)
    yield Fact(label="size", value=surface(km2, digits=3, squared="\u00b2"))
    yield Fact(label="clear days", value=f"{len(days):,}")
    if days:
        yield Fact(label="first and last", value=f"{days[0]} to {days[-1]}" if len(days) > 1 else str(days[0]))
    if gap := watched.longest_gap:
        length = (gap[1] - gap[0]).days
        yield Fact(label="longest gap", value=f"{length:,} day{'s' * (length != 1)}, {gap[0]} to {gap[1]}")
    if dates := watched.valued_days:
        yield Fact(label="values", value=f"{dates:,} date{'s' * (dates != 1)}")
    for column, value in area.attributes.items():
        if value is not None:
            yield Fact(label=column, value=value.isoformat() if isinstance(value, date) else str(value))


def _curve(curve: Curve, axis: Axis, area: str) -> ShownCurve:
    years = list(curve.years(axis))
    return ShownCurve(
        name=curve.name,
        unit=curve.unit,
        year=axis.words(years[-1]),
        past=axis.span(years[:-1]),
        svg=curves.chart(curve, axis, label=f"{curve.name} of {area} over time"),
    )


def _shown(thumbnail: Thumbnail) -> ShownCrop:
    look = thumbnail.look
    facts = [fact for fact in (look.asset, look.grid) if fact]
    if look.area_cloud is not None:
        facts.append(f"{look.area_cloud:.1f}\u00a0% cloud")
    source = _data_uri(thumbnail.data) if thumbnail.data else ""
    return ShownCrop(day=look.day, item=look.item, source=source, facts=tuple(facts))


def _data_uri(data: bytes) -> str:
    media = "image/webp" if data.startswith(b"RIFF") else "image/png"
    return f"data:{media};base64,{base64.b64encode(data).decode()}"
