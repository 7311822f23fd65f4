"""Repairs: what is smaller than a pixel is mended, and the rest is refused."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from s2async.areas.repair import repair

Plane = NDArray[np.float64]
THERE = Transformer.from_crs("EPSG:32633", "OGC:CRS84", always_xy=True)
BACK = Transformer.from_crs("OGC:CRS84", "EPSG:32633", always_xy=True)
ORIGIN = np.array([500_000.0, 5_800_000.0])


def lonlat(shape: BaseGeometry) -> BaseGeometry:
    """A shape that is drawn in metres, in lon/lat at 52 degrees north."""
    moved: BaseGeometry = shapely.transform(shape, lambda xy: np.column_stack(THERE.transform(*(xy + ORIGIN).T)))
    return moved


def metric(shape: BaseGeometry) -> BaseGeometry:
    moved: BaseGeometry = shapely.transform(shape, lambda xy: np.column_stack(BACK.transform(*xy.T)) - ORIGIN)
    return moved


def mended(shape: BaseGeometry) -> BaseGeometry | None:
    """The repaired shape in metres."""
    found = repair(lonlat(shape))
    if found is None:
        return None
    assert found.polygon.is_valid
    assert isinstance(found.polygon, Polygon | MultiPolygon)
    xy = shapely.get_coordinates(found.polygon)
    assert np.array_equal(xy, np.round(xy, 9) + 0.0), "it stays valid when it is rounded"
    assert found.what.isprintable()
    return metric(found.polygon)


# ---- what must be mended, and what must not -----------------------------------------------------------------

FIELD = [(0, 0), (200, 0), (200, 200), (0, 200)]


def bow_tie(side: float) -> Polygon:
    return Polygon([(0, 0), (side, side), (side, 0), (0, side)])


def overlapping(width: float, length: float = 100) -> MultiPolygon:
    return MultiPolygon([shapely.box(0, 0, 100, length), shapely.box(100 - width, 0, 200, length)])


TOUCHING = [*FIELD[:3], (100, 200), (120, 100), (80, 100), (100, 200), FIELD[3]]
LOOPS = [(0, 0), (100, 0), (100, 100), (200, 100), (200, 200), (100, 200), (100, 100), (0, 100)]
SMALL = [*FIELD[:3], (101, 200), (99, 201), (101, 201), (99, 200), FIELD[3]]
HOLE = [(100, 50), (200.1, 50), (200.1, 60), (100, 60)]
MENDED: list[tuple[str, BaseGeometry, float]] = [
    # what, the faulty polygon, square metres that a person would expect
    ("spike outwards", Polygon([*FIELD[:2], (500, 0), *FIELD[1:]]), 40_000),
    ("spike inwards", Polygon([*FIELD[:3], (100, 100), *FIELD[2:]]), 40_000),
    ("doubled points", Polygon([FIELD[0], *FIELD, FIELD[3]]), 40_000),
    ("ring touches itself", Polygon(TOUCHING), 38_000),
    ("two loops at a point", Polygon(LOOPS), 20_000),
    ("a part that is a point", MultiPolygon([Polygon(FIELD), Polygon([(300, 0)] * 4)]), 40_000),
    ("small loop", Polygon(SMALL), 40_000),
    ("parts side by side", overlapping(0), 20_000),
    ("a sliver of overlap", overlapping(0.9), 20_000),
    ("slivers of three parts", MultiPolygon([*overlapping(0.4).geoms, shapely.box(50, 99.8, 150, 200)]), 30_000),
    ("hole that is a line", Polygon(FIELD, [[(50, 50), (60, 60), (50, 50), (50, 50)]]), 40_000),
    ("hole that crosses the outline by 10 cm", Polygon(FIELD, [HOLE]), 39_000),
    ("a part that is a line", MultiPolygon([Polygon(FIELD), Polygon([(300, 0), (400, 0), (300, 0)])]), 40_000),
]


@pytest.mark.parametrize(("shape", "wanted"), [case[1:] for case in MENDED], ids=[case[0] for case in MENDED])
def test_faults_below_a_pixel_are_mended(shape: BaseGeometry, wanted: float) -> None:
    found = mended(shape)
    assert found is not None
    assert found.area == pytest.approx(wanted, abs=3)


STAR = [(100 * math.cos(angle), 100 * math.sin(angle)) for angle in np.arange(5) * 4 * np.pi / 5]
REFUSED: list[tuple[str, BaseGeometry]] = [
    ("bow tie", bow_tie(200)),
    ("bow tie of just over a pixel", bow_tie(21)),
    ("parts that overlap by a metre, 101 m long", overlapping(1, 101)),
    ("slivers of three parts", MultiPolygon([*overlapping(0.6).geoms, shapely.box(50, 99.2, 150, 200)])),
    ("one part in the other", MultiPolygon([shapely.box(0, 0, 100, 100), shapely.box(20, 20, 50, 50)])),
    ("the same part twice", MultiPolygon([shapely.box(0, 0, 100, 100), shapely.box(0, 0, 100, 100)])),
    ("hole beside the outline", Polygon(FIELD, [[(300, 0), (320, 0), (320, 20)]])),
    ("outline that winds twice around its middle", Polygon(STAR)),
    ("a line", Polygon([(0, 0), (100, 0), (0, 0)])),
    ("a point", Polygon([(1, 1), (1, 1), (1, 1), (1, 1)])),
    ("a hole in a point", Polygon([(1, 1)] * 4, [FIELD])),
    ("not finite", Polygon([(0, 0), (math.inf, 0), (1, 1)])),
    ("nothing", Polygon()),
]


@pytest.mark.parametrize("shape", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_all_else_is_refused(shape: BaseGeometry) -> None:
    with np.errstate(invalid="ignore"):
        assert mended(shape) is None


def test_what_was_mended_is_told_with_its_place_and_size() -> None:
    found = repair(lonlat(overlapping(0.9)))
    assert found is not None
    assert found.what.startswith("mended an outline that crosses itself, or parts that overlap, at 15.00")
    assert found.what.endswith(" (lon lat); the area changed by 90.1 m2")


@pytest.mark.parametrize("lat", [0, 50, 80, -79])
def test_a_pixel_has_the_same_size_everywhere(lat: float) -> None:
    """Parts that overlap by a strip of 100 m; 0.9 m of width are mended, and 1.1 m are not."""
    east, north = 1 / (111_320 * math.cos(math.radians(lat))), 1 / 111_000
    for width, able in ((0.9, True), (1.1, False)):
        shape = shapely.transform(overlapping(width), lambda xy: xy * (east, north) + (170, lat))
        assert (repair(shape) is not None) is able


# ---- any faulty polygon -------------------------------------------------------------------------------------


def even_odd(shape: BaseGeometry) -> BaseGeometry:
    """What is inside by the even-odd rule: each edge toggles the triangle between it and a fixed point."""
    inside: BaseGeometry = Polygon()
    for ring in shapely.get_rings(shapely.get_parts(shape)):
        corners = shapely.get_coordinates(ring)
        for one, other in itertools.pairwise(corners):
            triangle = Polygon([corners[0], one, other])
            if triangle.area:
                inside = flat(shapely.symmetric_difference(inside, triangle, grid_size=1e-6))
    return inside


def flat(shape: BaseGeometry) -> BaseGeometry:
    """The polygons of a shape, without lines that may come with them."""
    return MultiPolygon([part for part in shapely.get_parts(shape) if isinstance(part, Polygon) and part.area])


def differing(found: BaseGeometry, shape: BaseGeometry) -> float:
    """Square metres between a repaired shape and what the faulty one is by the even-odd rule."""
    plain = flat(shapely.make_valid(found))  # it was projected, and may be off by the last digit
    return float(shapely.symmetric_difference(plain, even_odd(shape), grid_size=1e-6).area)


def winds(shape: BaseGeometry, points: Plane) -> NDArray[np.bool_]:
    """Whether points are inside by the non-zero rule, by the sum of the angles under which edges are seen."""
    inside = np.zeros(len(points), bool)
    for part in shapely.get_parts(shape):
        turns = []
        for ring in (part.exterior, *part.interiors):
            rays = shapely.get_coordinates(ring)[None] - points[:, None]
            one, other = rays[:, :-1], rays[:, 1:]
            cross = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
            turns.append(np.rint(np.arctan2(cross, (one * other).sum(axis=2)).sum(axis=1) / (2 * np.pi)) != 0)
        inside |= turns[0] & ~np.any(turns[1:], axis=0) if len(turns) > 1 else turns[0]
    return inside


def faulty(rng: np.random.Generator) -> tuple[str, BaseGeometry]:
    """A random polygon with one kind of fault, of any size."""
    kind = str(rng.choice(["bow tie", "loop", "spike", "doubled", "overlap", "scribble", "hole", "touch"]))
    size = float(10 ** rng.uniform(-2, 2.3))
    n = int(rng.integers(4, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, n))
    ring: list[Any] = [
        (float(x), float(y))
        for x, y in np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(60, 150, (n, 1))
    ]
    at = int(rng.integers(1, n))
    (x, y), (x2, y2) = ring[at - 1], ring[at]
    along = np.array([x2 - x, y2 - y]) / math.hypot(x2 - x, y2 - y)
    across = np.array([-along[1], along[0]])
    middle = np.array([(x + x2) / 2, (y + y2) / 2])
    if kind == "bow tie":
        return kind, bow_tie(5 * size)
    if kind == "loop":  # two edges cross, and so there is a loop the other way round
        turn = float(rng.uniform(0.05, 1)) * size
        new = [
            middle + along * turn + across * size,
            middle + along * turn - across * size,
            middle - along * turn + across * size,
        ]
        return kind, Polygon([*ring[:at], *new, *ring[at:]])
    if kind == "spike":
        tip = middle + across * size * float(rng.choice([-1, 1]))
        return kind, Polygon([*ring[:at], middle, tip, middle, *ring[at:]])
    if kind == "doubled":
        return kind, Polygon([*ring[:at], middle, middle, middle + along * size, middle, *ring[at:]])
    if kind == "overlap":
        return kind, overlapping(size, float(rng.uniform(5, 300)))
    if kind == "scribble":
        return kind, Polygon(rng.uniform(0, 5 * size, (n, 2)))
    if kind == "hole":
        hole = shapely.box(*(middle - size / 2), *(middle + size / 2))
        return kind, Polygon(ring, [hole.exterior])
    return kind, Polygon(
        [
            *ring[:at],
            middle,
            middle + across * size + along * size,
            middle + across * size - along * size,
            middle,
            *ring[at:],
        ]
    )


@pytest.mark.slow
def test_500_faulty_polygons_are_mended_by_less_than_a_pixel_or_refused() -> None:
    rng = np.random.default_rng(20)
    count: Counter[tuple[str, bool]] = Counter()
    while count.total() < 500:
        kind, shape = faulty(rng)
        if shape.is_valid:
            continue
        found = mended(shape)
        count[kind, found is not None] += 1
        if found is None:
            continue
        assert differing(found, shape) < 100.1, shape.wkt
        west, south, east, north = shape.buffer(1).bounds
        grid = np.stack(np.meshgrid(np.linspace(west, east, 80), np.linspace(south, north, 80)), axis=2).reshape(
            -1, 2
        )
        differ = winds(shape, grid) != shapely.contains_xy(found, *grid.T)
        cell = (east - west) * (north - south) / 80**2
        assert differ.sum() * cell < 100 + 4 * cell * math.sqrt(differ.sum() + 1), shape.wkt
    kinds = {kind for kind, _ in count}
    assert len(kinds) == 8
    assert all(count[kind, True] > 5 for kind in kinds), count
    assert all(count[kind, False] > 5 for kind in kinds - {"spike", "doubled"}), count


@settings(max_examples=100)
@given(size=st.floats(0.001, 60), turn=st.floats(0.1, 1))
def test_a_loop_is_mended_exactly_if_it_is_smaller_than_a_pixel(size: float, turn: float) -> None:
    """A loop of which the size is known: a triangle of base 2 turn and height size, beyond the crossing."""
    shape = bow_tie(size)
    found = mended(shape)
    lobe = size**2 / 4
    if abs(lobe - 100) > 0.5:
        assert (found is not None) == (lobe < 100)


@settings(max_examples=100)
@given(
    data=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=9),
    metres=st.sampled_from([0.01, 1, 20]),
)
def test_any_ring_on_a_grid(data: list[tuple[int, int]], metres: float) -> None:
    """Points on a coarse grid: edges that coincide, points on edges, rings that go back on themselves."""
    shape = Polygon([(x * metres, y * metres) for x, y in data])
    found = mended(shape)
    if found is not None:
        assert differing(found, shape) < 100.1
