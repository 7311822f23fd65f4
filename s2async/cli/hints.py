"""Hints: what most likely explains that nothing was found, or that nothing of an area is ever kept. Text only."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from datetime import datetime, timedelta
from typing import Final

from s2async.catalog.periods import LAUNCH
from s2async.config.model import Config, CustomCatalog
from s2async.state.records import Unheld

SHOWN: Final = 10
"""Areas that are named."""
DAY: Final = timedelta(days=1)
SHORT: Final = 10 * DAY
"""A period in which Sentinel-2 may not pass at all."""


def nothing_found(config: Config, where: str, bounds: tuple[float, float, float, float], *, now: datetime) -> str:
    """What most likely explains that no search brought an item.

    Args:
        config: Settings.
        where: The areas' place in words.
        bounds: West, south, east and north of them, degrees.
        now: The time, aware.
    """
    period, catalog = config.search.period, config.search.resolve()
    searched = min(period.end or now, now) - max(period.start or LAUNCH, LAUNCH)
    if searched < SHORT:
        return (
            f"No scene was found: the period ({config.search.datetime}) has {max(searched / DAY, 0):.1f} days so "
            "far, while Sentinel-2 passes every 3 to 5 days (every 10 before 2017), and a scene is listed up to a "
            "day later. Run again later, or widen the period."
        )
    text = (
        f"No scene was found at all. Are the areas where they should be ({where}), and the dates "
        f"({config.search.datetime})?"
    )
    if isinstance(config.search.catalog, CustomCatalog):
        text += f' Does the catalogue have a collection "{catalog.collection}"?'
    if max(-bounds[0], bounds[2]) <= 90:  # what stands for longitude could be a latitude
        text += " Longitude comes before latitude in WKT and GeoJSON."
    return text


def unheld(areas: Sequence[Unheld], least: float) -> list[str]:
    """The areas of which no date will ever give a picture: a line for each kind, with what can be done.

    Args:
        areas: All of them.
        least: Per cent of an area that a scene must hold.
    """
    partly = [f"{area.name} (at most {floored(area.share):g} %)" for area in areas if area.share > 0]
    beyond = [area.name for area in areas if not area.share]
    lines = []
    if partly:
        lines.append(
            f"no scene that was read holds enough of {_counted(partly)}: {_first(partly)}; min_area_valid is "
            f"{least:g} %, and other dates do not help: lower it in [clouds], or split the areas"
        )
    if beyond:
        lines.append(
            f"no scene that was read reaches {_counted(beyond)}: {_first(beyond)}; other dates do not help: move "
            "the areas, or leave them out"
        )
    return lines


def floored(share: float) -> float:
    """A share in per cent with two decimals, never rounded up: min_area_valid can be lowered to it."""
    return math.floor(share * 10_000) / 100


def _counted(areas: Sized) -> str:
    return "1 area" if len(areas) == 1 else f"{len(areas):,} areas"


def _first(texts: Sequence[str]) -> str:
    more = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
