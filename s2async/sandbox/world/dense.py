"""A grid square of dense small fields: its scenes, made once, and files of any number of fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final

import shapely
from shapely import Polygon

from s2async import files
from s2async.sandbox.world import plots
from s2async.sandbox.world.make import World, default_folder, make_world
from s2async.sandbox.world.plots import Plots
from s2async.sandbox.world.squares import EXTENT, Square, squares_of

SQUARE: Final = "33UUU"
PLACE: Final = shapely.Point(13.4, 52.8)
"""A place within the square."""
PERIOD: Final = (date(2022, 7, 1), date(2022, 9, 30))
"""First and last day of the scenes."""
_INSET: Final = 2500.0
"""Metres inside the raster's edge, from which all tiles of the square are near enough to be real."""
_COVERS: Final = (0.0, 0.04, 0.22)
"""Of the skies: most fields are clear, and some parts of the square are not."""
_ITEMS: Final = 24


def default_place() -> Path:
    """Where scenes and fields are kept for later starts."""
    return default_folder().with_name("sandbox-dense")


@cache
def square() -> Square:
    """The grid square."""
    return next(square for square in squares_of([PLACE]) if square.name == SQUARE)


def scenes(
    place: Path,
    *,
    items: int | None = None,
    assets: Sequence[str] = ("visual",),
    progress: Callable[[str], None] = lambda _: None,
) -> World:
    """Scenes of the square in which every tile of the full resolution has pixels of its own.

    Args:
        place: folder for all that is kept.
        items: passes to make; None for some two dozen.
        assets: keys of `assets.ASSETS` that every item has, beside ``scl``. With more of them, fewer skies differ.
        progress: told what is going on, a line at a time.

    Raises:
        LocalError: the folder cannot be written, or holds something else.
    """
    west, south, east, north = square().box.buffer(-_INSET, join_style="mitre").bounds
    inside = shapely.segmentize(shapely.box(west, south, east, north), EXTENT / 4)
    corners = shapely.get_coordinates(square().unproject(inside))
    return make_world(
        place / "scenes",
        areas=[(SQUARE, Polygon(corners))],
        items=_ITEMS if items is None else items,
        assets=assets,
        period=PERIOD,
        only=(SQUARE,),
        covers=_COVERS,
        progress=progress,
    )


def fields(count: int) -> Plots:
    """So many fields around the middle of the square."""
    return plots.dense(count, square())


def dataset(place: Path, count: int) -> Path:
    """A GeoJSON file of so many fields with their attributes, made if it is not there.

    Args:
        place: folder for all that is kept.
        count: number of fields.

    Raises:
        LocalError: the folder cannot be written.
    """
    path = place / f"fields-{count}.geojson"
    if not path.exists():
        with files.local_errors("write the fields to", path):
            place.mkdir(parents=True, exist_ok=True)
            files.replace(path, "".join(fields(count).lines()).encode())
    return path
