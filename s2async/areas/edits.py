"""Describes in words what has changed in the areas since the last run. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from datetime import date
from typing import Final, NamedTuple, Protocol

from s2async.models import Area

NAMED: Final = 10
"""Maximum number of areas that a line names."""
_STAY: Final = "stay on disk without a row in the index until `s2async prune --removed` removes them"


class Place(NamedTuple):
    """An area of a configuration."""

    name: str
    fingerprint: str
    start: date | None = None
    """First day of its season."""
    end: date | None = None
    """Last day of its season."""


_Key = tuple[str, str]
"""Name and fingerprint."""
_Season = tuple[date | None, date | None]


def edits(former: Sequence[Place], areas: Sequence[Area], recolumned: int = 0) -> list[str]:
    """Return lines about areas that are new, moved, renamed or removed, or have another season or other columns.

    There are none before the first run.

    Args:
        former: the areas of the last run.
        areas: the areas of this run.
        recolumned: number of areas that have only changed the values of their own columns.
    """
    if not former:
        return []
    present = [Place(area.name, area.fingerprint, area.start, area.end) for area in areas]
    old, new = _seasons(former), _seasons(present)
    gone, came = [key for key in old if key not in new], [key for key in new if key not in old]
    moved, gone, came = _paired(gone, came, by=0)
    renamed, gone, came = _paired(gone, came, by=1)
    changed = [key for key in new if key in old and old[key] != new[key]]
    lines = (
        _line([name for name, _ in came], "is new", "are new"),
        _line(
            [name for (name, _), _ in moved],
            f"has another outline: it is read anew, and crops of the former outline {_STAY}",
            f"have other outlines: they are read anew, and crops of the former outlines {_STAY}",
        ),
        _line(
            [f"{before} is now {after}" for (before, _), (after, _) in renamed],
            "has another name: its folder, tags and rows follow, and nothing is read again",
            "have other names: their folders, tags and rows follow, and nothing is read again",
        ),
        _line(
            [f"{key[0]} ({_told(new[key])})" for key in changed],
            f"has another season: crops outside it {_STAY}",
            f"have other seasons: crops outside them {_STAY}",
        ),
        _line(
            [name for name, _ in gone],
            f"of the last run is no longer in the configuration: its crops {_STAY}",
            f"of the last run are no longer in the configuration: their crops {_STAY}",
        ),
    )
    columns = f"the columns of {'1 area' if recolumned == 1 else f'{recolumned:,} areas'} have changed"
    told = f"{columns}: the tables follow, and nothing is read again" if recolumned else ""
    return [line for line in (*lines, told) if line]


def season_words(start: date | None, end: date | None) -> str:
    """Return a season in words; empty if it includes all days."""
    if start and end:
        return f"{start} to {end}" if start != end else f"{start}"
    return f"from {start}" if start else f"until {end}" if end else ""


def season_days(start: date | None, end: date | None) -> dict[str, str]:
    """Return the first and last day of a season for JSON, if it has any."""
    return {key: str(day) for key, day in (("start", start), ("end", end)) if day}


def named_season(name: str, start: date | None, end: date | None) -> str:
    """Return a name with its season, if it has one."""
    season = season_words(start, end)
    return f"{name} ({season})" if season else name


class Seasonal(Protocol):
    """An object with a name and a season."""

    @property
    def name(self) -> str:
        """Name of the area."""

    @property
    def start(self) -> date | None:
        """First day of its season."""

    @property
    def end(self) -> date | None:
        """Last day of its season."""


def told_apart(areas: Sequence[Seasonal]) -> list[str]:
    """Return the names of areas, each with its season if other areas have the same name."""
    counts = Counter(area.name for area in areas)
    return [
        named_season(area.name, area.start, area.end) if counts[area.name] > 1 else area.name for area in areas
    ]


def _seasons(places: Sequence[Place]) -> dict[_Key, set[_Season]]:
    """Return the seasons of each name and polygon, in the order of the configuration."""
    found: dict[_Key, set[_Season]] = {}
    for place in places:
        found.setdefault((place.name, place.fingerprint), set()).add((place.start, place.end))
    return found


def _paired(
    gone: Sequence[_Key], came: Sequence[_Key], *, by: int
) -> tuple[list[tuple[_Key, _Key]], list[_Key], list[_Key]]:
    """Pair removed and added areas by name (0) or polygon (1); return the pairs, and the rest of both."""
    waiting: dict[str, list[_Key]] = defaultdict(list)
    for key in gone:
        waiting[key[by]].append(key)
    pairs = [(waiting[key[by]].pop(0), key) for key in came if waiting[key[by]]]
    before, after = {one for one, _ in pairs}, {other for _, other in pairs}
    return pairs, [key for key in gone if key not in before], [key for key in came if key not in after]


def _line(names: Sequence[str], one: str, more: str) -> str:
    """Return a line that counts and names areas; empty if there are none."""
    if not names:
        return ""
    left = len(names) - NAMED
    named = ", ".join(names[:NAMED]) + (f" and {left:,} more" if left > 0 else "")
    return f"1 area {one}: {named}" if len(names) == 1 else f"{len(names):,} areas {more}: {named}"


def _told(seasons: Collection[_Season]) -> str:
    ordered = sorted(seasons, key=lambda season: season[0] or date.min)
    return ", ".join(season_words(*season) or "all days" for season in ordered)
