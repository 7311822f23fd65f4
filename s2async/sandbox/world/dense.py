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
"""A place inside the square."""
PERIOD: Final = (date(2022, 7, 1), date(2022, 9, 30))
"""First and last day of the scenes."""
_INSET: Final = 2500.0
"""Distance in metres from the raster's edge at which all tiles of the square are near enough to be real."""
_COVERS: Final = (0.0, 0.04, 0.22)
"""Cloud covers of the skies: most fields are clear, and some parts of the square are not."""
_ITEMS: Final = 24


def default_place() -> Path:
    """Return the folder where scenes and fields are stored for later starts."""
    return default_folder().with_name("sandbox-dense")


@cache
def square() -> Square:
    """Return the grid square."""
    return next(square for square in squares_of([PLACE]) if square.name == SQUARE)


def scenes(
    place: Path,
    *,
    items: int | None = None,
    assets: Sequence[str] = ("visual",),
    progress: Callable[[str], None] = lambda _: None,
) -> World:
    """Return scenes of the square in which every full-resolution tile has its own pixels.

    Args:
        place: folder for everything that is stored.
        items: number of passes; None for about two dozen.
        assets: keys of `assets.ASSETS` that every item has, in addition to ``scl``. With more assets, fewer skies
            differ.
        progress: called with messages about progress.

    Raises:
        LocalError: the folder cannot be written, or contains something else.
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
    """Return the given number of fields around the middle of the square."""
    return plots.dense(count, square())


def dataset(place: Path, count: int) -> Path:
    """Return a GeoJSON file of fields with their attributes, which is made if it does not exist.

    Args:
        place: folder for everything that is stored.
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
