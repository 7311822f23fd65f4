from __future__ import annotations

import numpy as np
import pytest
import shapely

from s2async.errors import AreaError
from s2async.sandbox.world.fields import Ground, Plane
from s2async.sandbox.world.parks import PARKS
from s2async.sandbox.world.squares import EXTENT, TILE, TILES, Square, squares_of
from tests.support.lanes import few_quick

AREAS = {name: shapely.from_wkt(wkt) for name, wkt in PARKS}


def near(longitude: float, latitude: float) -> shapely.Polygon:
    return shapely.box(longitude - 0.005, latitude - 0.005, longitude + 0.005, latitude + 0.005)


def test_the_parks_lie_in_three_squares_at_their_true_places() -> None:
    found = [(square.name, square.epsg, square.west, square.north) for square in squares_of([*AREAS.values()])]
    assert found == [
        ("32UQD", 32632, 699960, 5900040),
        ("33UUU", 32633, 300000, 5900040),
        ("33UVU", 32633, 399960, 5900040),
    ]


def test_one_park_lies_just_outside_the_square_of_the_western_zone() -> None:
    western = next(square for square in squares_of([*AREAS.values()]) if square.name == "32UQD")
    distances = {name: western.project(area).distance(western.box) for name, area in AREAS.items()}
    assert distances.pop("GaertenDerWelt") == pytest.approx(49, abs=0.5)
    assert set(distances.values()) == {0.0}


@pytest.mark.parametrize(
    ("longitude", "latitude", "squares"),
    [
        (24.9, 60.2, {"35VLG": (32635, 300000, 6700020)}),
        (151.2, -33.9, {"56HLH": (32756, 300000, 6300040)}),
        (179.5, -17.0, {"1KAB": (32701, 99960, 8200000), "60KYG": (32760, 699960, 8200000)}),
    ],
)
def test_squares_elsewhere(longitude: float, latitude: float, squares: dict[str, tuple[int, int, int]]) -> None:
    area = near(longitude, latitude)
    found = squares_of([area])
    assert {square.name: (square.epsg, square.west, square.north) for square in found} == squares
    for square in found:
        assert square.box.contains(square.project(area))
        assert square.unproject(square.project(area)).equals_exact(area, 1e-7)


@pytest.mark.parametrize("latitude", [-79.0, -55.5, -0.004, 0.0, 33.3, 71.0, 79.0])
@pytest.mark.parametrize("longitude", [-179.999, -120.01, 5.99, 66.0, 179.999])
def test_some_square_holds_any_small_area(longitude: float, latitude: float) -> None:
    area = near(longitude, latitude)
    squares = squares_of([area])
    assert any(square.box.contains(square.project(area)) for square in squares)
    assert len({square.name for square in squares}) == len(squares)


def test_there_are_no_squares_at_the_poles() -> None:
    with pytest.raises(AreaError, match="between 80 S and 80 N only"):
        squares_of([near(10, 82)])


def test_tiles_near_an_area_are_those_within_the_distance() -> None:
    square = Square(name="33UUU", epsg=32633, west=300000, north=5900040)
    west, north = square.west + 3.5 * TILE, square.north - 2.5 * TILE
    area = square.unproject(shapely.box(west - 50, north - 50, west + 50, north + 50))
    assert square.tiles_near([area], 2000) == {2 * TILES + 3}
    assert square.tiles_near([area], TILE / 2 + 100) == {row * TILES + column for row, column in (
        (1, 3), (2, 2), (2, 3), (2, 4), (3, 3),
    )}  # fmt: skip
    assert len(square.tiles_near([area], 2 * EXTENT)) == TILES**2


@pytest.mark.parametrize("latitude", [-17.0, 52.0])
@pytest.mark.parametrize("middle", few_quick([179.995, -179.995, 0.0]))
def test_a_place_near_180_degrees_is_the_same_in_the_planes_of_all_its_squares(
    latitude: float, middle: float
) -> None:
    plane = Plane(longitude=middle, latitude=latitude)
    place = shapely.Point(179.996, latitude)
    found = []
    for square in squares_of([place.buffer(0.003)]):
        x, y = shapely.get_coordinates(square.project(place))[0]
        window = Ground(square, plane).lattice(square.north - y - 10, x - square.west - 10, 20, 2, 1)
        found.append([float(values.mean()) for values in window.places()])
    assert len(found) >= 2
    assert np.ptp(found, axis=0).max() < 1.0


def test_areas_on_the_other_side_of_the_globe_are_near_no_tile() -> None:
    square = Square(name="33UUU", epsg=32633, west=300000, north=5900040)
    park = AREAS["Tiergarten"]
    far = [near(-165.0, -52.0), near(193.0 - 360, 52.5), near(105.0, 0.0), near(-75.0, 45.0), near(179.9, -17.0)]
    assert square.tiles_near([*far, park], 0) == square.tiles_near([park], 0) != frozenset()
    assert square.tiles_near(far, 2000) == frozenset()


def test_tiles_of_60_m_are_larger() -> None:
    square = Square(name="33UUU", epsg=32633, west=300000, north=5900040)
    west, north = square.west + 7.1 * 15_360, square.north - 0.5 * 15_360
    area = square.unproject(shapely.box(west - 50, north - 50, west + 50, north + 50))
    assert square.tiles_near([area], 100, 15_360) == {7}
    assert len(square.tiles_near([area], 2 * EXTENT, 15_360)) == 8 * 8


@pytest.mark.slow
def test_squares_of_many_areas_are_those_of_each() -> None:
    random = np.random.default_rng(7)
    places = np.column_stack([random.uniform(-180, 180, 300), random.uniform(-79, 79, 300)])
    areas = [
        shapely.box(x, y, min(x + size, 180), y + size)
        for (x, y), size in zip(places, random.exponential(0.2, 300), strict=True)
        if y + size < 80
    ]
    one_by_one = {square.name: square for area in areas for square in squares_of([area])}
    assert squares_of(areas) == tuple(one_by_one[name] for name in sorted(one_by_one))
    assert len(one_by_one) > 300
