"""Hints: the likely reason why a search found no scene, or why an area can have no crop. Text only."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from datetime import date, datetime, timedelta
from typing import Final

from s2async.areas.edits import season_words
from s2async.catalog.periods import LAUNCH
from s2async.config.model import Config
from s2async.config.sections import CustomCatalog
from s2async.state.records import Unheld

SHOWN: Final = 10
"""Maximum number of areas that a hint lists."""
DAY: Final = timedelta(days=1)
SHORT: Final = 10 * DAY
"""Maximum length of a period in which there may be no overpass of Sentinel-2."""


def nothing_found(
    config: Config,
    where: str,
    bounds: tuple[float, float, float, float],
    *,
    now: datetime,
    seasons: tuple[date | None, date | None] = (None, None),
) -> str:
    """Return the most likely reason why no search found an item.

    Args:
        config: settings.
        where: the position of the areas in words.
        bounds: west, south, east and north of the areas, in degrees.
        now: current time, timezone-aware.
        seasons: first and last day of all seasons; None stands for an open end.
    """
    period, catalog = config.search.period, config.search.resolve()
    begin, end = max(period.start or LAUNCH, LAUNCH), min(period.end or now, now)
    first, last = seasons
    if (first and (end - timedelta(microseconds=1)).date() < first) or (last and last < begin.date()):
        return (
            f"No scene was found: the seasons of the areas ({season_words(first, last)}) lie outside the period "
            f"so far ({config.search.datetime}). Correct valid_from and valid_to, or the period."
        )
    searched = end - begin
    if searched < SHORT:
        return (
            f"No scene was found: the period ({config.search.datetime}) has {max(searched / DAY, 0):.1f} days so "
            "far, while Sentinel-2 passes every 3 to 5 days (every 10 before 2017), and a scene is listed up to a "
            "day later. Run again later, or widen the period."
        )
    text = (
        f"No scene was found. Check the position of the areas ({where}) and the dates ({config.search.datetime})."
    )
    if isinstance(config.search.catalog, CustomCatalog):
        text += f' Check that the catalogue has a collection "{catalog.collection}".'
    if max(-bounds[0], bounds[2]) <= 90:  # the longitudes could be latitudes
        text += " Longitude comes before latitude in WKT and GeoJSON."
    return text


def unheld(areas: Sequence[Unheld], least: float) -> list[str]:
    """Return lines about areas for which no date can give a crop: one for each reason, with what to do.

    Args:
        areas: the areas without crops.
        least: minimum part of an area that a scene must cover, in per cent.
    """
    partly = [f"{area.name} (at most {floored(area.share):g} %)" for area in areas if area.share > 0]
    beyond = [area.name for area in areas if not area.share]
    lines = []
    if partly:
        lines.append(
            f"no scene so far covers enough of {_counted(partly)}: {_first(partly)}; min_area_valid is "
            f"{least:g} %, and other dates do not help: lower it under [clouds], or split the areas"
        )
    if beyond:
        lines.append(
            f"no scene so far covers any part of {_counted(beyond)}: {_first(beyond)}; other dates do not "
            "help: correct or remove these areas"
        )
    return lines


def floored(share: float) -> float:
    """Return a share in per cent with two decimals, rounded down to be a valid value for min_area_valid."""
    return math.floor(share * 10_000) / 100


def _counted(areas: Sized) -> str:
    return "1 area" if len(areas) == 1 else f"{len(areas):,} areas"


def _first(texts: Sequence[str]) -> str:
    more = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
