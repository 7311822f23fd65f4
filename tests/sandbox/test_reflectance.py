"""The assets of generated scenes, and their numbers: those of recorded items, and in agreement with each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from s2async.sandbox.world.assets import ASSETS, NAMES, Scaling
from s2async.sandbox.world.fields import Ground, Plane
from s2async.sandbox.world.land import COVERS, SOIL, VEGETATION, WATER, Land
from s2async.sandbox.world.reflectance import numbers
from s2async.sandbox.world.sky import Skies, Sky, edge_through
from s2async.sandbox.world.squares import squares_of
from s2async.sandbox.world.views import View, Window

BERLIN = shapely.box(13.3, 52.45, 13.31, 52.46)
CLEAR = Sky(pattern=0, cover=0)
VISIBLE = {"red": 0, "green": 1, "blue": 2}


@pytest.fixture(scope="module")
def land() -> Land:
    return Land(2022)


def window(land: Land, month: float, *, metres: int = 10) -> Window:
    """A window of 5.12 km (or of 15.36 km in pixels of 60 m) in which towns, fields, woods and water lie."""
    square = next(square for square in squares_of([BERLIN]) if square.name == "33UUU")
    ground = Ground(square, Plane(longitude=13.3, latitude=52.45))
    if metres == 60:
        fine = coarse = ground.lattice(0, 0, 15_360, 256, 2)
    else:
        fine, coarse = (ground.lattice(40_000, 40_000, 5120, size, step) for size, step in ((512, 8), (256, 4)))
    return Window.of(land, fine, land.cover(fine), coarse, month)


def view(land: Land, month: float, sky: Sky = CLEAR, *, metres: int = 10) -> View:
    return window(land, month, metres=metres).under(Skies(2022), sky)


def test_assets_are_those_of_a_recorded_item(real_data: Path) -> None:
    page = json.loads(
        (real_data / "stac/exchanges/v1-search-two-collections-2-pages/01.response.json").read_bytes()
    )
    (item,) = [item for item in page["features"] if item["collection"] == "sentinel-2-l2a"][:1]
    rasters = {key: entry for key, entry in item["assets"].items() if entry["href"].endswith(".tif")}
    assert ASSETS.keys() == rasters.keys()
    for key, asset in ASSETS.items():
        told = rasters[key]
        assert told["href"].endswith(f"/{asset.file}.tif")
        assert (told["title"], told["proj:shape"]) == (asset.title, [asset.side, asset.side])
        assert told["proj:transform"][0] == asset.metres
        for band in told.get("raster:bands", []):
            assert (band["data_type"], band["spatial_resolution"]) == (asset.dtype, asset.metres)
            assert band.get("scale") == (asset.scale if asset.bits == 16 else None)


def test_both_names_of_an_asset_lead_to_it() -> None:
    assert (NAMES["red"], NAMES["B04"], NAMES["scl"], NAMES["SCL"], NAMES["B8A"]) == (
        "red",
        "red",
        "scl",
        "scl",
        "nir08",
    )


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (Scaling.PLAIN, [1, 1, 1, 1234, 0, 31767]),
        (Scaling.OFFSET, [1000, 1, 950, 2234, 0, 32767]),
        (Scaling.TAGGED, [1000, 1, 950, 2234, 0, 32767]),
    ],
)
def test_numbers_are_ten_thousandths_of_reflectance_and_0_is_no_data(
    scaling: Scaling, expected: list[int]
) -> None:
    reflectance = np.array([[0.0, -0.2, -0.005, 0.12345, 0.5, 9.0]], dtype=np.float32)
    classes = np.array([[4, 4, 4, 5, 0, 9]], dtype=np.uint8)
    found = numbers(reflectance, classes, scaling)
    assert found.dtype == np.uint16
    assert found.tolist() == [expected]


def test_numbers_of_pixels_half_as_large_as_those_of_the_classes() -> None:
    found = numbers(
        np.full((4, 4), 0.1, dtype=np.float32), np.array([[0, 4], [5, 6]], dtype=np.uint8), Scaling.PLAIN
    )
    assert found.tolist() == [[0, 0, 1000, 1000]] * 2 + [[1000] * 4] * 2


def test_numbers_without_the_offset_are_those_with_it_less_1000_and_at_least_1(land: Land) -> None:
    """Earth Search's formula, over land and over water that is so dark that some of it is below zero."""
    shown = view(land, 7.5, Sky(pattern=2, cover=0.48, edge=_through_the_middle(land)))
    for key in ("red", "swir22"):
        kept, taken = (shown.pixels(ASSETS[key], way) for way in (Scaling.OFFSET, Scaling.PLAIN))
        moved = np.maximum(kept.astype(int) - 1000, 1)
        assert (taken == np.where(kept == 0, 0, moved)).all()
    assert (shown.reflectance(ASSETS["swir22"]) < 0).any()


@pytest.mark.parametrize("sky", [CLEAR, Sky(pattern=1, cover=0.48), Sky(pattern=2, cover=0.48, edge=0.0)])
@pytest.mark.parametrize("month", [1.5, 7.5])
def test_true_colour_is_a_tenth_of_the_numbers_of_red_green_and_blue(land: Land, month: float, sky: Sky) -> None:
    shown = view(land, month, sky)
    colours = shown.pixels(ASSETS["visual"]).astype(float)
    for key, band in VISIBLE.items():
        found = shown.pixels(ASSETS[key])
        assert found.shape == colours.shape[:2]
        assert np.abs(np.clip(found * 0.1, 0, 255) - colours[..., band]).max() <= 2.5
        assert ((found == 0) == (colours == 0).all(axis=2)).all()


def test_every_asset_has_data_where_scl_has_and_its_own_resolution(land: Land) -> None:
    sky = Sky(pattern=1, cover=0.48, edge=_through_the_middle(land))
    shown = view(land, 7.5, sky)
    classes = shown.pixels(ASSETS["scl"])
    assert 0.2 < np.mean(classes == 0) < 0.8
    for asset in ASSETS.values():
        if asset.metres == 60:
            continue
        found = shown.pixels(asset)
        assert found.dtype == asset.dtype
        assert len(found) * asset.metres == 5120
        times = 20 // asset.metres
        empty = (found == 0).all(axis=2) if asset.bands == 3 else found == 0
        assert (empty == (classes == 0).repeat(times, 0).repeat(times, 1)).all(), asset.key


def _through_the_middle(land: Land) -> float:
    east, north = window(land, 7.5).fine.places()
    return float(np.median(edge_through(east, north)))


def test_plants_are_bright_in_the_near_infrared_and_water_is_dark(land: Land) -> None:
    shown = view(land, 7.5)
    classes = shown.pixels(ASSETS["scl"]).repeat(2, 0).repeat(2, 1)
    red, nir = (shown.pixels(ASSETS[key]).astype(float) for key in ("red", "nir"))
    ndvi = (nir - red) / (nir + red)
    assert 0.5 < np.median(ndvi[classes == 4]) < 0.9
    assert 0.05 < np.median(ndvi[classes == 5]) < 0.35
    water = np.array([kind.scl == WATER for kind in COVERS])[shown.window.cover]
    if water.any():
        assert np.median(ndvi[water]) < 0
    swir, edge = (shown.pixels(ASSETS[key]).astype(float) for key in ("swir16", "rededge1"))
    half = classes[::2, ::2]
    assert np.median(swir[half == 5]) > np.median(swir[half == 4])
    assert np.median(red[classes == 4]) < np.median(edge[half == 4]) < np.median(nir[classes == 4])


def ndvi_of(land: Land, month: float) -> dict[int, float]:
    """Mean NDVI of each cover in a window, from the numbers of red and near infrared."""
    shown = view(land, month)
    red, nir = (shown.pixels(ASSETS[key]).astype(float) for key in ("red", "nir"))
    ndvi, cover = (nir - red) / (nir + red), shown.window.cover
    return {int(kind): float(ndvi[cover == kind].mean()) for kind in np.unique(cover)}


def test_ndvi_follows_the_season(land: Land) -> None:
    """Woods and meadows peak in early summer; wheat and rape drop when they are harvested; soil stays low."""
    year = [ndvi_of(land, month + 0.5) for month in range(12)]
    conifer, broadleaf, meadow, wheat, maize, rape, fallow, water = 1, 2, 3, 4, 5, 6, 7, 0
    for kind in (broadleaf, meadow, wheat, rape):
        course = [found[kind] for found in year]
        assert np.argmax(course) in (4, 5), "the peak is in May or June"
        assert max(course[11], course[0], course[1]) < max(course) - 0.15, "winter is low"
    for kind in (wheat, rape):
        assert year[5][kind] - year[6][kind] > 0.15, "the harvest in July"
    assert np.argmax([found[maize] for found in year]) == 6
    assert min(found[conifer] for found in year) > 0.6
    assert max(found[fallow] for found in year) < 0.35
    assert all(found.get(water, -1) < 0 for found in year)


def test_scl_is_vegetation_where_ndvi_says_so(land: Land) -> None:
    for month in range(12):
        shown = view(land, month + 0.5)
        classes, cover = shown.pixels(ASSETS["scl"]), shown.window.cover[::2, ::2]
        for kind, value in ndvi_of(land, month + 0.5).items():
            own = classes[cover == kind]
            if len(own) and COVERS[kind].scl == SOIL and abs(value - 0.35) > 0.02:
                assert (own == (VEGETATION if value > 0.35 else SOIL)).all(), (month, kind, value)


def test_clouds_are_bright_in_every_band(land: Land) -> None:
    sky = Sky(pattern=1, cover=0.48)
    shown = view(land, 7.5, sky)
    classes = shown.pixels(ASSETS["scl"])
    for key in ("blue", "nir", "swir16", "swir22"):
        found = shown.pixels(ASSETS[key])
        thick = (classes == 9).repeat(len(found) // len(classes), 0).repeat(len(found) // len(classes), 1)
        assert np.median(found[thick]) > 1300, key


def test_pixels_of_60_m_show_the_same_land(land: Land) -> None:
    """The mean reflectance of a wide window is the same at each resolution."""
    wide, fine = view(land, 7.5, metres=60), window(land, 7.5)
    coastal, nir09 = (wide.pixels(ASSETS[key]) for key in ("coastal", "nir09"))
    assert coastal.shape == nir09.shape == (256, 256)
    assert wide.window.at(60)[0].stride == 6
    kinds, small = wide.window.cover, fine.cover[::2, ::2]
    compared = [kind for kind in np.unique(small) if min((kinds == kind).sum(), (small == kind).sum()) > 500]
    assert len(compared) >= 5
    near = view(land, 7.5).pixels(ASSETS["nir08"])
    for kind in compared:
        if COVERS[kind].scl != WATER:
            assert nir09[kinds == kind].mean() == pytest.approx(near[small == kind].mean(), rel=0.1)
