"""Small, closely packed fields, as in a national field register. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.world.squares import EXTENT, Square

SIDES: Final = (120.0, 530.0)
"""Shortest and longest side of a plot in metres, including its margins."""
MARGIN: Final = 9.0
"""Distance in metres between a field and the edge of its plot: neighbours are separated by a track."""
_WAVES: Final = ((350.0, 3100.0), (280.0, 2300.0))
"""Amplitude, and length divided by 2 pi, in metres, of the waves that bend the rows of plots, east and north."""
_SHAPES: Final = 500
"""Number of different outlines, which are stretched to the sides of their plots."""
_INWARDS: Final = 0.06
"""Maximum displacement of a corner towards the middle, as a share of the distance."""
_HOLED: Final = 40
"""One field in this many has a hole: a pond or a wood."""
_CROPS: Final = ("winter wheat", "maize", "grassland", "sugar beet", "rapeseed")
MOST: Final = 110_000
"""Maximum number of fields in one grid square."""

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plots:
    """Fields and their attributes in a register."""

    polygons: NDArray[np.object_]
    """Lon/lat, seven decimals."""
    columns: dict[str, list[Any]]
    """Attributes by name: ``name``, ``crop``, ``code`` (an integer or None) and ``hectares``."""

    def lines(self) -> Iterator[str]:
        """Yield the fields as GeoJSON, one feature per line."""
        yield '{"type": "FeatureCollection", "features": [\n'
        rows = zip(*self.columns.values(), strict=True)
        shapes = shapely.to_geojson(self.polygons).tolist()
        for number, (row, shape) in enumerate(zip(rows, shapes, strict=True)):
            properties = json.dumps(dict(zip(self.columns, row, strict=True)))
            comma = "," if number else ""
            yield f'{comma}{{"type": "Feature", "properties": {properties}, "geometry": {shape}}}\n'
        yield "]}\n"


def dense(count: int, square: Square, *, seed: int = 2022) -> Plots:
    """Return fields of 100 to 500 m in rows, around the middle of a grid square; more fields extend farther out.

    A field has 9 hectares on average: 900 pixels of 10 m. Fields do not overlap.

    Args:
        count: number of fields, at most MOST.
        square: the grid square.
        seed: seed of the random numbers.

    Raises:
        ValueError: the square has no room for so many fields.
    """
    if not 0 < count <= MOST:
        raise ValueError(f"{count} fields: a grid square holds 1 to {MOST:,}")
    random = np.random.default_rng(seed + 70)
    boxes = _boxes(count, random)
    shapes = [_shape(corners, random) for corners in random.integers(5, 10, _SHAPES).tolist()]
    holed = np.arange(count) % _HOLED == _HOLED - 1
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    holes = np.tile(middles[holed], 2) + (boxes[holed] - np.tile(middles[holed], 2)) / 6
    points, ends = _rings(np.concatenate([boxes, holes]), shapes, random)
    middle = np.array([square.west + EXTENT / 2, square.north - EXTENT / 2])
    whole: BaseGeometry = square.unproject(shapely.MultiPoint(middle + _bent(points)))
    lonlat = np.round(shapely.get_coordinates(whole), 7)
    rings: NDArray[np.object_] = np.asarray(
        shapely.linearrings(lonlat, indices=np.repeat(np.arange(len(ends)), ends))
    )
    # shapely uses the first ring of a polygon as its outline, and needs the rings of a polygon to be adjacent
    owners = np.r_[np.arange(count), np.flatnonzero(holed)]
    order = np.argsort(owners, kind="stable")
    polygons = np.asarray(shapely.polygons(rings[order], indices=owners[order]))
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    columns: dict[str, list[Any]] = {
        "name": [f"DEBBLI{number:08}" for number in range(count)],
        "crop": [_CROPS[number] for number in random.integers(0, len(_CROPS), count).tolist()],
        "code": [int(code) if code % 9 else None for code in random.integers(100, 999, count).tolist()],
        "hectares": np.round(area / 10_000, 4).tolist(),
    }
    return Plots(polygons=polygons, columns=columns)


def _boxes(count: int, random: np.random.Generator) -> Points:
    """Return west, south, east and north of fields in rows, in metres from their common middle."""
    low, high = SIDES
    side = np.sqrt(count) * (low + high) / 2
    rows: list[Points] = []
    found, north = 0, 0.0
    while found < count:
        height = random.uniform(low, high)
        ends = np.cumsum(random.uniform(low, high, int(side / low) + 2))
        ends = ends[: max(1, int(np.searchsorted(ends, side)))]
        starts = np.r_[0.0, ends[:-1]]
        rows.append(np.c_[starts, np.full(len(ends), north), ends, np.full(len(ends), north + height)])
        found += len(ends)
        north += height
    plots: Points = np.concatenate(rows)[:count] - np.array([side / 2, north / 2] * 2)
    plots += np.array([MARGIN, MARGIN, -MARGIN, -MARGIN])
    return plots


def _rings(
    boxes: Points, shapes: Sequence[Points], random: np.random.Generator
) -> tuple[Points, NDArray[np.int64]]:
    """Return a shape in each box: all points, and the number of points of each ring."""
    sizes = np.array([len(shape) for shape in shapes])
    starts = np.cumsum(sizes) - sizes
    chosen = random.integers(0, len(shapes), len(boxes))
    counts = sizes[chosen]
    firsts = np.cumsum(counts) - counts
    at = np.arange(counts.sum()) + np.repeat(starts[chosen] - firsts, counts)
    low, high = np.repeat(boxes[:, :2], counts, axis=0), np.repeat(boxes[:, 2:], counts, axis=0)
    return low + np.concatenate(shapes)[at] * (high - low), counts


def _shape(corners: int, random: np.random.Generator) -> Points:
    """Return a closed ring in the unit square: its corners and points of its sides, all moved inwards a little."""
    places = (np.arange(corners) + random.uniform(0, 0.5, corners)) / corners * 4
    between = places[np.abs(places - np.round(places)) > 0.15][: corners - 4]
    places = np.sort(np.r_[np.arange(4), between])
    side = np.minimum(places.astype(int), 3)
    along = places - side
    x = np.choose(side, [along, 1.0, 1 - along, 0.0])
    y = np.choose(side, [0.0, along, 1.0, 1 - along])
    ring = np.c_[x, y]
    ring += random.uniform(0, _INWARDS, ring.shape) * (0.5 - ring)
    return np.concatenate([ring, ring[:1]])


def _bent(points: Points) -> Points:
    """Return points moved by long waves: the rows of plots are not straight, but do not cross each other."""
    (east, long), (north, wide) = _WAVES
    moved: Points = points + np.c_[east * np.sin(points[:, 1] / long), north * np.sin(points[:, 0] / wide)]
    return moved
