"""The calendar: when a satellite passed, under what sky, and what happened to the data. Pure, by seed."""

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
"""Number of looks of the land in a year, of three months each, if only true colour shows them."""
MONTHS: Final = 12
"""Number of looks of the land in a year, for NDVI that follows the season."""
COVERS: Final = (0.0, 0.04, 0.22, 0.48, 0.82, 1.0)
"""Cloud covers of the skies of a season."""
_CHANCES: Final = (0.12, 0.10, 0.15, 0.14, 0.12, 0.37)
"""Frequency of each cloud cover."""
_PASSES: Final = 146
"""Number of passes in a year."""
_LOST: Final = 14
"""Number of passes in a year of which nothing was archived."""
_PARTIAL: Final = 10
"""Number of passes in a year whose swath ends within the world."""
_TWINS: Final = 7
"""Number of passes in a year that were processed twice."""
_HALVES: Final = 2
"""Number of passes in a year that were cut into two datastrips."""
_BASELINES: Final = (
    (date(2015, 6, 23), "02.06"),
    (date(2018, 11, 6), "02.11"),
    (date(2019, 5, 6), "02.12"),
    (date(2019, 7, 8), "02.13"),
    (date(2020, 2, 4), "02.14"),
    (date(2021, 3, 30), "03.00"),
    (date(2021, 6, 30), "03.01"),
    (date(2022, 1, 25), "04.00"),
    (date(2022, 12, 6), "05.09"),
    (date(2023, 12, 13), "05.10"),
    (date(2024, 7, 23), "05.11"),
)
"""Processing baselines of products when they were new, by the first day of each; minor baselines are left out."""
FIRST_WITH_OFFSET: Final = "04.00"
"""First baseline whose numbers have ESA's offset."""
_APART: Final = timedelta(seconds=208.6)
"""Time between two editions of a pass before that baseline, as in a recorded granule of 2017-12-19."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The appearance of a scene: scenes of one square with the same look share their files."""

    season: int
    sky: Sky
    seasons: int = SEASONS
    """Number of seasons in a year."""

    @property
    def month(self) -> float:
        """Middle of the season, in months since the start of the year."""
        return (self.season + 0.5) * 12 / self.seasons


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """One datastrip of one pass in one processing, which gives an item in every square."""

    time: datetime
    """Sensing time, UTC."""
    platform: str
    """``sentinel-2a`` or ``sentinel-2b``."""
    orbit: int
    sequence: int
    """0 for the first take of a day, 1 for its second edition or other half."""
    look: Look
    baseline: str
    generated: datetime
    strip: datetime
    """Start of the datastrip."""
    datatake: datetime
    """Start of the datatake."""
    absolute: int
    """Absolute orbit."""
    only_jp2: bool = False
    """True if no COG was made."""
    edition: int = 0
    """1 for the second processing of a pass."""
    half: bool = False
    """Whether the pass was cut into two datastrips."""


def takes(
    seed: int,
    edges: Sequence[float],
    *,
    dates: int | None = None,
    period: tuple[date, date] = YEAR,
    covers: Sequence[float] = COVERS,
    seasons: int = SEASONS,
) -> list[Take]:
    """Return all takes of a period, oldest first; none if no satellite passes in it.

    Two satellites on two orbits: a pass every two or three days, about 146 a year, some of which were lost.

    Args:
        seed: seed of the world.
        edges: where swaths may end, see `sky.edge_through`; used in turn. If empty, all swaths are complete.
        dates: number of passes to keep, spread over the period. Every kind of pass occurs if 8 or more are kept.
        period: first and last day.
        covers: cloud covers of the skies of a season, some of COVERS.
        seasons: number of looks of the land in a year: SEASONS or MONTHS.
    """
    random = np.random.default_rng(seed + 50)
    skies = _skies(seed, covers, seasons)
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
        season = (time.month - 1) * seasons // 12
        sky = skies[season][int(random.choice(len(covers), p=np.divide(chances, sum(chances))))]
        platform = f"sentinel-2{'ab'[day // 5 % 2]}"
        take = Take(
            time=time,
            platform=platform,
            orbit=orbit,
            sequence=0,
            look=Look(season=season, sky=sky, seasons=seasons),
            baseline=_baseline(time.date()),
            generated=time.replace(microsecond=0) + timedelta(hours=5, minutes=int(random.integers(0, 200))),
            strip=(time - timedelta(minutes=5)).replace(microsecond=0),
            datatake=(time - timedelta(minutes=5)).replace(microsecond=0),
            absolute=40_000 + day * 14,
            only_jp2=groups.get(index) == "jp2",
        )
        found += _variants(take, groups.get(index, ""), edges[index % len(edges)] if edges else None)
    return found


def _variants(take: Take, kind: str, edge: float | None) -> list[Take]:
    """Return the takes of a pass: one or two."""
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
            half=True,
        )
        return [replace(take, look=first, half=True), later]
    if kind == "twin":
        old = take.baseline < FIRST_WITH_OFFSET
        again = reprocessed(take)
        return [take, replace(again, sequence=1, time=take.time + (_APART if old else timedelta(milliseconds=1)))]
    return [take]


def reprocessed(take: Take) -> Take:
    """Return the take in another processing: of baseline 05.00 if it is old, otherwise of the next baseline."""
    following = {"04.00": "05.10", "05.09": "05.10", "05.10": "05.11", "05.11": "05.12"}
    return replace(
        take,
        baseline=following.get(take.baseline, "05.00"),
        generated=datetime(take.time.year + 1, 10, 3, 4, 5, 6, tzinfo=UTC) + timedelta(hours=take.time.day),
        edition=1,
    )


def _baseline(day: date) -> str:
    return next((name for first, name in reversed(_BASELINES) if first <= day), _BASELINES[0][1])


def _skies(seed: int, covers: Sequence[float], seasons: int) -> list[list[Sky]]:
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
        for _ in range(seasons)
    ]
