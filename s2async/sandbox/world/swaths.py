"""Where swaths end, and the footprints of items with such an end. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.world.fields import METRES, Plane
from s2async.sandbox.world.sky import Sky, edge_through
from s2async.sandbox.world.squares import EXTENT, Square


def edges(polygons: Sequence[Polygon | MultiPolygon], plane: Plane) -> list[float]:
    """Return edges of swaths that separate the areas: through one of them, and midway between two neighbours."""
    centres = shapely.get_coordinates([polygon.centroid for polygon in polygons])
    ranked = np.sort(edge_through(plane.unwrapped(centres[:, 0]) * plane.degree, centres[:, 1] * METRES))
    between = (ranked[1:] + ranked[:-1]) / 2
    return [
        float(value) for value in (*ranked[:: max(1, len(ranked) // 3)], *between[:: max(1, len(between) // 3)])
    ]


def footprint(square: Square, sky: Sky | None, plane: Plane) -> BaseGeometry:
    """Return the raster's outline in lon/lat, cut at the swath's edge if the sky is given."""
    edge = sky.edge if sky else None
    corners = square.box if edge is None else shapely.segmentize(square.box, EXTENT / 4)
    ring = shapely.get_coordinates(square.unproject(corners))
    outline = Polygon(np.c_[plane.unwrapped(ring[:, 0]), ring[:, 1]])
    if sky is None or edge is None:
        return _cut_at_180(outline)
    west, south, east, north = outline.bounds
    low, high = ((edge - edge_through(0.0, at * METRES)) / plane.degree for at in (south - 1, north + 1))
    far = west - 5 if sky.before else east + 5
    part = outline & Polygon([(far, south - 1), (low, south - 1), (high, north + 1), (far, north + 1)])
    return _cut_at_180(outline if part.is_empty else part)


def _cut_at_180(outline: BaseGeometry) -> BaseGeometry:
    """Split an outline that continues beyond 180 degrees into parts from -180 to 180 (RFC 7946, 3.1.9)."""
    west, _, east, _ = outline.bounds
    if west >= -180 and east <= 180:
        return outline
    turns = ((shapely.box(turn - 180, -90, turn + 180, 90) & outline, -turn) for turn in (-360, 0, 360))
    return MultiPolygon([translate(part, turn) for part, turn in turns if isinstance(part, Polygon) and part.area])
