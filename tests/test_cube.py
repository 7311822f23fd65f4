"""Crops as xarray: every pixel where it lies on Earth, nothing resampled, gaps as nodata."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import s2async
from s2async import cube
from s2async.api.reading import CropArray
from s2async.errors import ConfigError
from tests.support import worlds
from tests.support.worlds import Stage

xarray = pytest.importorskip("xarray", reason="needs the extra xarray")

NOON = datetime(2022, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    items = [worlds.day(0), worlds.day(2), worlds.day(4, clouded=frozenset({"North"})), worlds.day(6)]
    yield from worlds.staged(tmp_path_factory.mktemp("world"), items)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Path:
    output = {"assets": ["visual", "red"]}
    made = worlds.write_config(tmp_path_factory.mktemp("ran"), stage.sandbox, output=output)
    worlds.run(made, stage.sandbox)
    return made


def crop(column: int, row: int, width: int, height: int, **other: object) -> CropArray:
    """A crop of a common grid of 10 m; each pixel tells its column and row on that."""
    rows, columns = np.meshgrid(np.arange(row, row + height), np.arange(column, column + width), indexing="ij")
    made = CropArray(
        pixels=(rows * 100 + columns + 1)[np.newaxis].astype(np.uint16),
        transform=Affine(10, 0, 300_000 + 10 * column, 0, -10, 5_900_040 - 10 * row),
        epsg=32633,
        nodata=0,
        area="a",
        item="i",
        asset="red",
        datetime=NOON,
        platform="sentinel-2a",
        grid="33UUU",
        scene_cloud=None,
        area_cloud=0.5,
        path=Path(f"{column}-{row}.tif"),
    )
    return replace(made, **other)  # type: ignore[arg-type]


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.5, 0.25)])
def test_floats_are_reflectance_itself_or_what_their_scale_says(scale: float, offset: float) -> None:
    pixels = np.array([[[0.0, 0.25, -1.0]]], np.float32)
    found = crop(0, 0, 3, 1, pixels=pixels, nodata=-1.0, scale=scale, offset=offset).reflectance
    assert np.array_equal(found, [[[offset, 0.25 * scale + offset, np.nan]]], equal_nan=True)


# ---- from a run -------------------------------------------------------------------------------------------


def test_an_area_of_a_run_is_time_by_band_by_y_by_x(ran: Path) -> None:
    (epsg, pictures), *more = s2async.open(ran, "North", asset="visual").items()
    assert (epsg, more) == (worlds.EPSG, [])
    crops = list(s2async.read(ran, area="North", asset="visual"))
    assert pictures.dims == ("time", "band", "y", "x")
    assert [str(time)[:10] for time in pictures.time.values] == ["2022-01-01", "2022-01-03", "2022-01-07"]
    assert list(pictures.item_id.values) == [crop.item for crop in crops]
    assert np.array_equal(pictures.values, np.stack([crop.pixels for crop in crops]))
    assert pictures.dtype == np.uint8
    assert (pictures.attrs["_FillValue"], pictures.name) == (0, "visual")


def test_a_pixel_is_found_at_its_place(ran: Path) -> None:
    pictures = s2async.open(ran, "Wide", asset="red")[worlds.EPSG]
    first = next(s2async.read(ran, area="Wide", asset="red"))
    with rasterio.open(first.path) as raster:
        x, y = raster.xy(31, 17)
        expected = raster.read()[:, 31, 17]
    assert np.array_equal(pictures.isel(time=0).sel(x=x, y=y).values, expected)
    assert pictures.spatial_ref.attrs["GeoTransform"].split()[0] == repr(first.transform.c)
    assert "UTM zone 33N" in pictures.spatial_ref.attrs["crs_wkt"]


def test_what_is_not_clear_is_asked_for(ran: Path, stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several assets are cut: say asset= one of visual, red"):
        s2async.open(ran, "North")
    with pytest.raises(ConfigError, match="there are 4 areas: say which, such as 'North'"):
        s2async.open(ran, asset="red")
    with pytest.raises(ConfigError, match="no area of the name 'Nowhere'; there are: 'North', "):
        s2async.open(ran, "Nowhere", asset="red")
    with pytest.raises(
        ConfigError, match=r"'ndvi' is neither .*; saved of area 'North' are crops of: red, visual"
    ):
        s2async.open(ran, "North", asset="ndvi")
    with pytest.raises(ConfigError, match=r"asset is \['red'\]: give one asset"):
        s2async.open(ran, "North", asset=["red"])  # type: ignore[arg-type]
    config = s2async.load_config(ran)
    further = config.model_copy(update={"output": config.output.model_copy(update={"assets": ("nir", "red")})})
    with pytest.raises(ConfigError, match="asset 'nir' was found: saved of area 'North' are crops of: red, vis"):
        s2async.open(further, "North", asset="nir")
    alone = worlds.write_config(tmp_path, stage.sandbox, areas={"North": worlds.polygon("North")})
    worlds.run(alone, stage.sandbox)
    assert s2async.open(alone)[worlds.EPSG].sizes["time"] == 3


def test_of_several_areas_no_crop_is_read(ran: Path) -> None:
    (first, *_) = s2async.read(ran, area="North", asset="red")
    hidden = first.path.rename(first.path.with_suffix(".hidden"))
    try:
        with pytest.raises(ConfigError, match="there are 4 areas: say which, such as 'North'"):
            s2async.open(ran, asset="red")
    finally:
        hidden.rename(first.path)


def test_without_xarray_it_says_what_to_install(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"pip install 's2async\[xarray\]'"):
        s2async.open(ran, "North", asset="visual")


# ---- one grid ---------------------------------------------------------------------------------------------


def test_crops_that_a_scenes_edge_cut_lie_on_one_grid_and_are_filled_up() -> None:
    parts = [crop(4, 2, 6, 5), crop(0, 0, 6, 4, datetime=NOON + timedelta(days=1)), crop(4, 2, 6, 5)]
    stacked = cube._stacked(parts)
    assert stacked.shape == (3, 1, 7, 10)
    whole = crop(0, 0, 10, 7).pixels
    assert set(np.unique(stacked.values[stacked.values != 0])) <= set(np.unique(whole))
    for layer, part in zip(stacked.values, parts, strict=True):
        held = layer != 0
        assert np.array_equal(layer[held], whole[held])
        assert held.sum() == part.pixels.size
    assert (stacked.x.values[0], stacked.y.values[0]) == (300_005, 5_900_035)
    assert stacked.x.values[-1] - stacked.x.values[0] == 90


@pytest.mark.parametrize(
    "other",
    [
        crop(0, 0, 5, 5, transform=Affine(10, 0, 300_005, 0, -10, 5_900_040)),
        crop(0, 0, 5, 5, transform=Affine(20, 0, 300_000, 0, -20, 5_900_040)),
        crop(0, 0, 5, 5, transform=Affine(10, 1, 300_000, 1, -10, 5_900_040)),
        crop(0, 0, 5, 5, pixels=np.zeros((1, 5, 5), np.uint8)),
        crop(0, 0, 5, 5, pixels=np.zeros((3, 5, 5), np.uint16)),
        crop(0, 0, 5, 5, nodata=7.0),
    ],
    ids=["half a pixel off", "coarser", "turned", "another type", "more bands", "another nodata"],
)
def test_crops_that_share_no_grid_are_refused_and_named(other: CropArray) -> None:
    with pytest.raises(ConfigError, match=r"^0-0\.tif and 1-1\.tif share no grid: read them one by one"):
        cube._stacked([crop(1, 1, 5, 5), other])


def test_an_unknown_scene_cloud_is_not_a_number_and_times_are_utc() -> None:
    stacked = cube._stacked([crop(0, 0, 2, 2)])
    assert np.isnan(stacked.scene_cloud.values[0])
    assert stacked.time.values[0] == np.datetime64("2022-06-01T12:00:00")
    assert stacked.area_cloud.values[0] == 0.5


def test_odc_geo_finds_the_place_of_the_array() -> None:
    pytest.importorskip("odc.geo.xr", reason="needs odc-geo, of the extra bench")
    stacked = cube._stacked([crop(3, 2, 6, 5)])
    box = stacked.odc.geobox
    assert (box.crs.epsg, box.shape) == (32633, (5, 6))
    assert tuple(box.transform)[:6] == pytest.approx(tuple(crop(3, 2, 6, 5).transform)[:6])


def test_nodata_of_a_crop_is_no_reflectance() -> None:
    """Also where it is not 0: archives other than ESA's have -9999."""
    pixels = np.array([[[0, 1500, -9999]]], "int16")
    found = crop(0, 0, 3, 1, pixels=pixels, nodata=-9999, scale=0.0001, offset=0.0).reflectance
    assert np.array_equal(found, [[[np.nan, 0.15, np.nan]]], equal_nan=True)


def test_the_areas_own_columns_are_coordinates_along_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"crop": "rye", "plot": 7, "yield": 2.5, "sown": date(2022, 4, 1), "time": 1, "organic": True},
        {"crop": "oats", "plot": None, "yield": None, "sown": None, "time": 2, "organic": False},
    ]
    crops = [crop(0, 0, 3, 3, datetime=NOON + timedelta(days=day), attributes=row) for day, row in enumerate(rows)]
    monkeypatch.setattr(cube, "read", lambda *_args, **_kwargs: iter(crops))
    (stacked,) = cube.open_crops(
        {
            "areas": [{"name": "a", "wkt": "POLYGON ((13 52, 13.1 52, 13.1 52.1, 13 52))"}],
            "output": {"assets": ["red"]},
        },
        "a",
    ).values()
    assert stacked["crop"].dims == stacked["plot"].dims == ("time",)
    assert list(stacked["crop"].values) == ["rye", "oats"]
    assert list(stacked["plot"].values) == [7, None], "integers stay integers"
    assert stacked["yield"].dtype == float
    assert np.isnan(stacked["yield"].values[1])
    assert stacked.sown.values[0] == np.datetime64("2022-04-01")
    assert np.isnat(stacked.sown.values[1])
    assert list(stacked.area_time.values) == [1, 2]
    assert stacked.organic.dtype == bool
    assert stacked.sel(time=stacked["crop"] == "oats").sizes["time"] == 1


@pytest.mark.parametrize("day", [date(9999, 12, 31), date(1, 1, 1), date(2262, 4, 12)])
def test_days_beyond_the_range_of_numpys_nanoseconds_are_kept(day: date) -> None:
    """Such as the end of fields that have none."""
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    rows = [{"end": day, "seen": moment, "sown": date(2022, 4, 1)}, {"end": None, "seen": moment, "sown": None}]
    crops = [
        crop(0, 0, 3, 3, datetime=NOON + timedelta(days=number), attributes=row) for number, row in enumerate(rows)
    ]
    stacked = cube._stacked(crops)
    assert [str(end)[:10] for end in stacked.end.values] == [str(day), "None"]
    assert [str(seen)[:10] for seen in stacked.seen.values] == [str(day)] * 2
    assert stacked.sown.values[0] == np.datetime64("2022-04-01")
