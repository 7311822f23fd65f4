"""Polygons that are hard to draw, in columns and rows of a raster: vertices on centres, spikes, combs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from s2async.cog.grid import Grid
from s2async.masks.drawing import plan_of
from s2async.masks.plan import GridPlan
from s2async.masks.scanline import Shapes

SIDE = 60
"""The polygons lie on a raster of so many rows and columns, or across its edge."""
GRID = Grid(width=SIDE, height=SIDE + 5, transform=Affine(1, 0, 0, 0, 1, 0), epsg=32633)
Points = NDArray[np.float64]
Random = np.random.Generator


def random_polygon(random: Random) -> Polygon | MultiPolygon:
    """As fields are: a ring of 3 to 12 vertices, rarely with a hole or a second part."""
    middle = random.uniform(5, SIDE - 5, 2)
    outer = star(random, middle, random.uniform(1, 20))
    holes = [(outer - middle) * random.uniform(0.2, 0.6) + middle] if random.random() < 0.2 else []
    polygon = Polygon(outer, holes)
    if random.random() < 0.2:
        return MultiPolygon([polygon, Polygon(star(random, random.uniform(0, SIDE, 2), random.uniform(1, 10)))])
    return polygon


def hard_polygon(random: Random) -> Polygon | MultiPolygon:
    """One of all the kinds; some cross themselves, for which GDAL has a rule, too."""
    kind = KINDS[int(random.integers(len(KINDS)))]
    parts = [Polygon(ring, holes) for ring, *holes in _parts(random, kind)]
    if len(parts) > 1:
        return MultiPolygon(parts)
    return parts[0]


def plan(areas: int = 120, grid: Grid = GRID) -> GridPlan:
    """Random and hard polygons on a grid of the size of `GRID`, the same each time."""
    random = np.random.default_rng(3)
    shapes = [kind(random) for kind in (random_polygon, hard_polygon) for _ in range(areas // 2)]
    return plan_of(Shapes.of(np.array(shapes, np.object_)), grid, len(shapes))


def on_grid(polygon: Polygon | MultiPolygon, transform: Affine) -> Polygon | MultiPolygon:
    """The polygon in the plane of a raster."""
    a, b, c, d, e, f = transform[:6]

    def place(points: Points) -> Points:
        columns, rows = points.T
        return np.column_stack([a * columns + b * rows + c, d * columns + e * rows + f])

    moved = shapely.transform(polygon, place)
    assert isinstance(moved, Polygon | MultiPolygon)
    return moved


def _parts(random: Random, kind: Callable[[Random], list[Points]]) -> list[list[Points]]:
    parts = [kind(random)]
    if random.random() < 0.25:
        parts.append(KINDS[int(random.integers(len(KINDS)))](random))
    if random.random() < 0.1:
        parts.append([ring + random.integers(-2, 3, 2) for ring in parts[0]])  # overlaps or touches the first
    shift = np.zeros(2)
    if random.random() < 0.3:  # across the edge, or beyond it
        shift = random.choice([-1, 1], 2) * random.choice([0, 0.5, SIDE / 2, SIDE, 2 * SIDE], 2)
    return [[_mixed(random, ring + shift) for ring in part] for part in parts]


def _mixed(random: Random, ring: Points) -> Points:
    """Another first vertex and direction, and perhaps vertices twice or a spike."""
    ring = np.roll(ring, int(random.integers(len(ring))), axis=0)
    if random.random() < 0.5:
        ring = ring[::-1]
    at = int(random.integers(len(ring)))
    what = random.random()
    if what < 0.1:
        ring = np.insert(ring, at, ring[at], axis=0)
    elif what < 0.2:
        ring = np.insert(ring, [at, at], [ring[at], ring[at] + random.integers(-6, 7, 2)], axis=0)
    elif what < 0.25:
        ring = np.insert(ring, at, ring[at] + random.uniform(-1e-6, 1e-6, 2), axis=0)
    return ring


def star(random: Random, middle: Points, radius: float) -> Points:
    """A ring around a point, open."""
    number = int(random.integers(3, 13))
    angles = np.sort(random.uniform(0, 2 * np.pi, number))
    shares = random.uniform(0.2, 1, number) * radius
    return middle + np.column_stack([np.cos(angles) * shares, np.sin(angles) * shares])


def _star_with_holes(random: Random) -> list[Points]:
    middle = random.uniform(5, SIDE - 5, 2)
    outer = star(random, middle, random.choice([0.5, 2, 8, 30]))
    return [outer, *((outer - middle) * share + middle for share in (0.6, 0.3)[: random.integers(3)])]


def _box(random: Random) -> list[Points]:
    """Edges along the edges and centres of pixels, perhaps a hair beside them."""
    low = random.integers(0, 2 * SIDE, 2) / 2
    high = low + random.integers(1, 30, 2) / 2
    hair = random.choice([0, 0, 1e-9, -1e-9, 1e-14])
    ring = np.array([low, (high[0], low[1]), high, (low[0], high[1])]) + hair
    middle = ring.mean(axis=0)
    return [ring, np.round((ring - middle) + middle * 2) / 2] if random.random() < 0.3 else [ring]


def _on_centres(random: Random) -> list[Points]:
    """A ring whose vertices are centres or corners of pixels."""
    return [np.round(star(random, random.uniform(5, SIDE - 5, 2), random.uniform(2, 20)) * 2) / 2]


def _steps(random: Random) -> list[Points]:
    """A staircase along centres: every second edge is horizontal."""
    number = int(random.integers(1, 8))
    steps = np.repeat(np.cumsum(random.integers(1, 4, (number, 2)), axis=0), 2, axis=0)
    stairs = np.column_stack([steps[1:, 0], steps[:-1, 1]])
    start = random.integers(0, SIDE, 2) + 0.5
    return [start + np.vstack([[0, 0], stairs, [0, steps[-1, 1] + 1]])]


def _comb(random: Random) -> list[Points]:
    """Teeth of half a pixel and more, from a base."""
    number = int(random.integers(2, 12))
    x = np.cumsum(random.choice([0.5, 1, 1.25], 2 * number))
    y = np.where(np.arange(2 * number) % 2, 0.0, random.integers(1, 20, 2 * number) / 2)
    ring = np.column_stack([np.append(x, [x[-1], x[0]]), np.append(y, [-2, -2])])
    if random.random() < 0.5:
        ring = ring[:, ::-1]
    return [ring + random.integers(0, 2 * SIDE, 2) / 2]


def _sliver(random: Random) -> list[Points]:
    """Far thinner than a pixel, and long."""
    start, run = random.integers(0, 2 * SIDE, 2) / 2, random.integers(-40, 41, 2) / 2 + 0.5
    across = np.array([-run[1], run[0]]) * random.choice([1e-12, 1e-6, 1e-3, 0.01])
    return [np.array([start, start + run, start + run + across, start + across * random.choice([0, 1, -1])])]


def _tiny(random: Random) -> list[Points]:
    """Around a centre, on it or beside it."""
    middle = random.integers(0, SIDE, 2) + random.choice([0.5, 0.0, 0.25])
    return [star(random, middle, random.choice([1e-7, 1e-3, 0.1, 0.4]))]


def _crossed(random: Random) -> list[Points]:
    """Crosses itself."""
    return [random.integers(0, 40, (int(random.integers(4, 9)), 2)) / 2 + random.integers(0, SIDE, 2)]


def _lattice(random: Random) -> list[Points]:
    """Among a few centres: most edges coincide, or meet in vertices, or are horizontal."""
    ring = random.integers(0, 4, (int(random.integers(4, 11)), 2)).astype(np.float64)
    return [ring + random.integers(0, SIDE, 2) + 0.5]


def _pinched(random: Random) -> list[Points]:
    """Two loops that meet in one vertex, which may be the lowest."""
    loops = [np.vstack([[0, 0], random.integers(-6, 7, (3, 2)) * [1, 0.5]]) for _ in range(2)]
    ring = np.vstack(loops).astype(np.float64)
    ring[:, 1] = np.abs(ring[:, 1]) * random.choice([-1, 1])
    return [ring + random.integers(0, SIDE, 2) + 0.5]


KINDS = [
    _star_with_holes,
    _box,
    _on_centres,
    _steps,
    _comb,
    _sliver,
    _tiny,
    _crossed,
    _lattice,
    _pinched,
]
