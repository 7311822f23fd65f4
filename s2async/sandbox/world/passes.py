"""The calendar: when a satellite passed, under what sky, and what became of the data. Pure, by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np

from s2async.sandbox.world.sky import PATTERNS, Sky

YEAR: Final = (date(2022, 1, 1), date(2022, 12, 31))
"""First and last day of the demo."""
SEASONS: Final = 4
"""Looks of the land in a year, three months each."""
COVERS: Final = (0.0, 0.04, 0.22, 0.48, 0.82, 1.0)
"""Cloud covers of the skies of a season."""
_CHANCES: Final = (0.12, 0.10, 0.15, 0.14, 0.12, 0.37)
"""How often each occurs."""
_PASSES: Final = 146
"""Passes of a year."""
_LOST: Final = 14
"""Passes of a year of which nothing was archived."""
_PARTIAL: Final = 10
"""Passes of a year whose swath ends within the world."""
_TWINS: Final = 7
"""Passes of a year that were processed twice."""
_HALVES: Final = 2
"""Passes of a year that were cut into two datastrips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a picture shows: scenes of one square with the same look share their files."""

    season: int
    sky: Sky

    @property
    def month(self) -> float:
        """Middle of the season, in months since the start of the year."""
        return (self.season + 0.5) * 12 / SEASONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """One datastrip of one pass in one processing: it gives an item in every square."""

    time: datetime
    """Of sensing, UTC."""
    platform: str
    """``sentinel-2a`` or ``sentinel-2b``."""
    orbit: int
    sequence: int
    """0 for the first take of a day, 1 for its twin or other half."""
    look: Look
    baseline: str
    generated: datetime
    strip: datetime
    """Start of the datastrip."""
    only_jp2: bool = False
    """True when no COG was made."""


def takes(
    seed: int,
    edges: Sequence[float],
    *,
    dates: int | None = None,
    period: tuple[date, date] = YEAR,
    covers: Sequence[float] = COVERS,
) -> list[Take]:
    """All takes of a period, oldest first; none if no satellite passes in it.

    Two satellites on two orbits: a pass every two or three days, about 146 a year, of which some were lost.

    Args:
        seed: Of the world.
        edges: Where swaths may end, see `sky.edge_through`; taken in turn. Without any, all swaths are whole.
        dates: Keep only this many passes, spread over the period. Every kind of pass occurs if 8 or more are kept.
        period: First and last day.
        covers: Cloud covers of the skies of a season, some of COVERS.
    """
    random = np.random.default_rng(seed + 50)
    skies = _skies(seed, covers)
    chances = [chance for cover, chance in zip(COVERS, _CHANCES, strict=True) if cover in covers]
    first, last = ((day - YEAR[0]).days for day in period)
    days = [(day, 22 if day % 5 == 1 else 65) for day in range(first, last + 1) if day % 5 in (1, 3)]
    lost = (
        set(random.choice(len(days), round(_LOST * len(days) / _PASSES), replace=False).tolist()) if days else ()
    )
    days = [day for index, day in enumerate(days) if index not in lost]
    if dates is not None:
        days = [days[int(index)] for index in np.linspace(0, len(days) - 1, min(dates, len(days)))]
    special = [int(index) for index in random.permutation(len(days))]
    share = len(days) / (_PASSES - _LOST)
    groups: dict[int, str] = {}
    for kind, number in (("partial", _PARTIAL), ("twin", _TWINS), ("halves", _HALVES), ("jp2", 1)):
        for _ in range(max(1, round(number * share)) if len(days) >= 8 else 0):
            groups[special.pop()] = kind
    found: list[Take] = []
    for index, (day, orbit) in enumerate(days):
        time = datetime(2022, 1, 1, 10, 7 if orbit == 22 else 17, tzinfo=UTC) + timedelta(
            days=day, seconds=float(random.uniform(0, 50)), milliseconds=int(random.integers(0, 999))
        )
        time = time.replace(microsecond=time.microsecond // 1000 * 1000)
        season = (time.month - 1) * SEASONS // 12
        sky = skies[season][int(random.choice(len(covers), p=np.divide(chances, sum(chances))))]
        platform = f"sentinel-2{'ab'[day // 5 % 2]}"
        take = Take(
            time=time,
            platform=platform,
            orbit=orbit,
            sequence=0,
            look=Look(season=season, sky=sky),
            baseline="04.00",
            generated=time.replace(microsecond=0) + timedelta(hours=5, minutes=int(random.integers(0, 200))),
            strip=(time - timedelta(minutes=5)).replace(microsecond=0),
            only_jp2=groups.get(index) == "jp2",
        )
        found += _variants(take, groups.get(index, ""), edges[index % len(edges)] if edges else None)
    return found


def _variants(take: Take, kind: str, edge: float | None) -> list[Take]:
    """What became of a pass: one take, or two."""
    if kind == "partial" and edge is not None:
        sky = replace(take.look.sky, edge=edge, before=take.time.day % 2 == 0)
        return [replace(take, look=replace(take.look, sky=sky))]
    if kind == "halves" and edge is not None:
        first, second = (
            replace(take.look, sky=replace(take.look.sky, edge=edge, before=half)) for half in (True, False)
        )
        later = replace(
            take,
            sequence=1,
            look=second,
            time=take.time + timedelta(seconds=6.5),
            strip=take.strip + timedelta(minutes=12, seconds=34),
            generated=take.generated + timedelta(minutes=107),
        )
        return [replace(take, look=first), later]
    if kind == "twin":
        again = replace(
            take,
            sequence=1,
            time=take.time + timedelta(milliseconds=1),
            baseline="05.10",
            generated=datetime(take.time.year + 1, 10, 3, 4, 5, 6, tzinfo=UTC) + timedelta(hours=take.time.day),
        )
        return [take, again]
    return [take]


def _skies(seed: int, covers: Sequence[float]) -> list[list[Sky]]:
    random = np.random.default_rng(seed + 60)
    return [
        [
            Sky(
                pattern=int(random.integers(0, PATTERNS)),
                cover=cover,
                east=float(random.uniform(0, 300_000)) if 0 < cover < 1 else 0.0,
                north=float(random.uniform(0, 150_000)) if 0 < cover < 1 else 0.0,
            )
            for cover in covers
        ]
        for _ in range(SEASONS)
    ]
