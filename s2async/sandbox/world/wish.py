"""What a world is made for, and the resulting scenes: which are listed, and how much space they take."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
from shapely import MultiPolygon, Polygon

from s2async.errors import AreaError, ConfigError
from s2async.sandbox.world import swaths
from s2async.sandbox.world.archives import L2A, Record, records
from s2async.sandbox.world.assets import ASSETS, SCL, VISUAL
from s2async.sandbox.world.fields import Plane
from s2async.sandbox.world.passes import COVERS, MONTHS, SEASONS, YEAR, Look, takes
from s2async.sandbox.world.squares import Square, squares_of
from s2async.text import size

FORMAT: Final = 1
"""Format of the folder, as read by the server."""
_MAKERS: Final = (
    *("archives", "assets", "cogs", "fields", "items", "land", "passes"),
    *("reflectance", "render", "sky", "squares", "swaths", "views", "wish", "make"),
)
"""Modules that determine the scenes: when one of them changes, the scenes are made again."""
NEAR: Final = 2000.0
"""Distance in metres from an area within which full-resolution tiles are real."""
MOST: Final = 2_000_000_000
"""Approximate maximum of bytes on disk for the scenes of a world."""
_ITEMS_MOST: Final = 10_000
"""Maximum number of items in a world; if there are more passes, only some of them are made."""
_VARIETIES: Final = ((MONTHS, COVERS), (SEASONS, COVERS), (SEASONS, (0.0, 0.22, 1.0)), (SEASONS, (0.0, 1.0)))
"""Number of looks of the land in a year, and cloud covers of the skies of each: as many as there is room for."""
_OVERVIEWS: Final = 0.4
"""Approximate number of full-resolution tiles whose bytes equal those of a file's overviews and headers."""
_HALF: Final = 0.45
"""Approximate share of its tiles that a swath covers if it ends within the world."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a world is made for."""

    polygons: Sequence[Polygon | MultiPolygon]
    """Areas, in lon/lat."""
    items: int | None = None
    """Number of passes to make, spread over the period, instead of all."""
    seed: int = 2022
    """Seed of all random numbers."""
    assets: Sequence[str] | None = None
    """Keys of `assets.ASSETS` that every item has; None for SCL, true colour and occasionally red."""
    period: tuple[date, date] = YEAR
    """First and last day of sensing."""
    collections: Sequence[str] = (L2A,)
    """Some of `archives.COLLECTIONS`, which all have the same datatakes."""
    lying: bool = False
    """Whether flags in ``sentinel-2-l2a`` may be wrong, see `archives.records`."""
    only: Sequence[str] | None = None
    """Names of grid squares, such as ``33UUU``; None for all that an area touches."""
    covers: Sequence[float] | None = None
    """Some of `passes.COVERS`; None for as many as there is room for."""

    @property
    def squares(self) -> tuple[Square, ...]:
        """The grid squares that have scenes."""
        found = squares_of(self.polygons)
        return found if self.only is None else tuple(square for square in found if square.name in self.only)

    @property
    def follows_seasons(self) -> bool:
        """Whether the scenes show how NDVI changes from month to month."""
        return self.assets is not None and any(ASSETS[key].is_reflectance for key in self.assets)

    @property
    def key(self) -> str:
        """Identifies the world that is made from it, by this version of the program."""
        wkt = [polygon.wkt for polygon in self.polygons]
        days = [day.isoformat() for day in self.period]
        assets = self.assets and sorted(self.assets)
        kept = [sorted(self.collections), self.lying, self.only and sorted(self.only), self.covers]
        spec = json.dumps([FORMAT, self.items, self.seed, wkt, assets, days, kept])
        sources = [(Path(__file__).parent / f"{name}.py").read_bytes() for name in _MAKERS]
        return hashlib.sha256(b"".join([spec.encode(), *sources])).hexdigest()[:16]


Near = Mapping[int, frozenset[int]]
"""Full-resolution tiles of a square near areas, by the side of a tile in metres."""


def plane_of(wish: Wish) -> Plane:
    """Return the plane of a world's land and clouds."""
    latitude = float(np.mean([polygon.centroid.y for polygon in wish.polygons]))
    return Plane(longitude=wish.polygons[0].centroid.x, latitude=latitude)


def tiles_near(wish: Wish, squares: Sequence[Square]) -> dict[str, Near]:
    """Return the tiles of the squares that are near areas, by name of the square, for all assets of the world."""
    sides = {ASSETS[key].tile for key in wish.assets or (SCL, VISUAL)}
    return {
        square.name: {side: square.tiles_near(wish.polygons, NEAR, side) for side in sides} for square in squares
    }


def records_of(wish: Wish) -> list[Record]:
    """Return what the collections of a world list, without making the world."""
    squares = wish.squares
    return listing(wish, squares, tiles_near(wish, squares), plane_of(wish))[0]


def listing(
    wish: Wish, squares: Sequence[Square], near: Mapping[str, Near], plane: Plane
) -> tuple[list[Record], int]:
    """Return the listed records, under as many different skies as there is room for, and the approximate bytes.

    Args:
        wish: what the world is made for.
        squares: squares of the wish.
        near: tiles near areas in these squares, see `tiles_near`.
        plane: plane of the wish, see `plane_of`.

    Raises:
        AreaError: the scenes would take too much space, even under the fewest skies.
        ConfigError: no satellite passes in the period.
    """
    keys = wish.assets or (SCL, VISUAL)
    once, by_scaling = (
        sum(
            ASSETS[key].usual * (len(near[square.name][ASSETS[key].tile]) + _OVERVIEWS)
            for square in squares
            for key in keys
            if ASSETS[key].is_reflectance is is_band
        )
        for is_band in (False, True)
    )
    dates = _ITEMS_MOST // len(squares) // len(wish.collections) if wish.items is None else wish.items
    for seasons, covers in _varieties(wish):
        edges = swaths.edges(wish.polygons, plane) if covers == COVERS else ()
        year = takes(wish.seed, edges, dates=dates, period=wish.period, covers=covers, seasons=seasons)
        if not year:
            first, last = wish.period
            raise ConfigError(
                f"no satellite of the sandbox passes between {first} and {last}; "
                "they come every two or three days: choose a longer period"
            )
        if wish.assets is None:
            # The footprints of the demo do not always end with the data: halves would count as editions.
            year = [replace(take, datatake=take.strip) for take in year]
        listed = records(year, wish.collections, lying=wish.lying)
        looks = {record.take.look for record in listed}
        scaled = {(record.take.look, record.scaling) for record in listed}
        room = once * sum(map(_seen, looks)) + by_scaling * sum(_seen(look) for look, _ in scaled)
        if room <= MOST:
            return listed, round(room)
    raise AreaError(
        f"the scenes of {len(wish.polygons):,} areas in {len(squares):,} grid squares would take "
        f"about {size(round(room))}, and the sandbox makes {size(MOST)} at most; "
        "give it fewer areas or assets, or a shorter period"
    )


def _seen(look: Look) -> float:
    """Return the approximate bytes of a tile under the sky of a look, relative to those of a clear tile.

    Of the demo's scenes, those with a cover of 0.22, 0.48, 0.82 and 1 have 92, 78, 42 and 2 % of the bytes of
    clear scenes.
    """
    return (1 - look.sky.cover**2) * (1 if look.sky.edge is None else _HALF)


def _varieties(wish: Wish) -> Sequence[tuple[int, Sequence[float]]]:
    found = _VARIETIES[0 if wish.follows_seasons else 1 :]
    return found if wish.covers is None else [(seasons, wish.covers) for seasons in (MONTHS, SEASONS)]
