"""So many small fields on the scenes of `worlds` that batches of files and kept plans are used."""

from __future__ import annotations

from functools import cache
from typing import Final

import shapely
from shapely import Polygon, affinity
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.world import plots
from s2async.sandbox.world.squares import EXTENT, Square
from tests.support import worlds

_PLANTED: Final = 700
"""Fields around the middle of a scene, of which the outer ones lie beyond its edge."""
_SCALE: Final = 0.7
"""Fields are so much smaller than those of `plots`: a plan of those that are clear on one date is kept, too."""


@cache
def fields() -> dict[str, Polygon]:
    """By name, in lon/lat: all that touch a scene, some five hundred; some reach beyond its edge."""
    middle = worlds.WEST + worlds.SIDE / 2, worlds.NORTH - worlds.SIDE / 2
    square = Square(
        name="33UUU", epsg=worlds.EPSG, west=int(middle[0] - EXTENT / 2), north=int(middle[1] + EXTENT / 2)
    )
    planted = plots.dense(_PLANTED, square)
    scene = shapely.box(worlds.WEST, worlds.NORTH - worlds.SIDE, worlds.WEST + worlds.SIDE, worlds.NORTH)
    found = dict[str, Polygon]()
    for name, polygon in zip(planted.columns["name"], planted.polygons.tolist(), strict=True):
        shape = affinity.scale(square.project(polygon), _SCALE, _SCALE, origin=middle)
        if scene.intersects(shape):
            found[name] = _polygon(square.unproject(shape))
    return found


def _polygon(shape: BaseGeometry) -> Polygon:
    if not isinstance(shape, Polygon):
        raise TypeError(f"a field is a {shape.geom_type}")
    return shape
