"""Scenes for somebody's own areas: every asset at its resolution, in every zone, of the period, in little room."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.windows import from_bounds

from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN
from s2async.errors import AreaError, ConfigError
from s2async.models import Scene
from s2async.sandbox.world import wish as wishes
from s2async.sandbox.world.assets import ASSETS
from s2async.sandbox.world.fields import Plane
from s2async.sandbox.world.make import World, make_world
from s2async.sandbox.world.squares import TILE, squares_of

BOX = tuple[str, shapely.Polygon]
FIELDS: list[BOX] = [
    ("on the edge of two zones", shapely.box(11.99, 48.0, 12.01, 48.01)),
    ("south", shapely.box(18.85, -33.95, 18.87, -33.93)),
]
JUNE = (date(2024, 6, 1), date(2024, 6, 12))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("own") / "world"
    return make_world(folder, areas=FIELDS, assets=[*ASSETS], period=JUNE, items=3)


@pytest.fixture(scope="module")
def items(world: World) -> list[tuple[dict[str, Any], Scene]]:
    text = (world.folder / "items.jsonl").read_text("utf-8").replace("{origin}", "http://127.0.0.1:8080")
    found = [json.loads(line) for line in text.splitlines()]
    return [(item, to_scene(item, KNOWN["earth-search"])) for item in found]


def pixels(world: World, scene: Scene, key: str, field: shapely.Polygon) -> np.ndarray[Any, Any]:
    """Pixels of an asset over the bounds of a field, bands x rows x columns."""
    square = next(square for square in squares_of([field]) if square.name == scene.grid)
    with rasterio.open(world.local(scene.assets[key].href)) as file:
        # whole pixels of 60 m, so that all resolutions show the same place
        west, _, _, north = square.project(field).bounds
        step = 60
        left, top = (west - square.west) // step * step, (square.north - north) // step * step
        window = from_bounds(
            square.west + left,
            square.north - top - 600,
            square.west + left + 600,
            square.north - top,
            file.transform,
        )
        found: np.ndarray[Any, Any] = file.read(window=window)
        return found


def views(items: list[tuple[dict[str, Any], Scene]]) -> Iterator[tuple[Scene, shapely.Polygon]]:
    for _, scene in items:
        for _, field in FIELDS:
            if any(square.name == scene.grid for square in squares_of([field])):
                yield scene, field


def test_the_squares_of_all_areas_have_scenes_of_the_period(items: list[tuple[dict[str, Any], Scene]]) -> None:
    expected = {square.name for square in squares_of([field for _, field in FIELDS])}
    assert {scene.grid for _, scene in items} == expected
    assert {scene.epsg for _, scene in items} == {32632, 32633, 32734}, "each item tells it"
    days = {scene.datetime.date() for _, scene in items}
    assert len(days) == 3
    assert JUNE[0] <= min(days) <= max(days) <= JUNE[1]


def test_every_item_has_every_asset_as_its_files_are(
    world: World, items: list[tuple[dict[str, Any], Scene]]
) -> None:
    for item, scene in items:
        assert scene.assets.keys() == ASSETS.keys()
        for key, asset in ASSETS.items():
            told = item["assets"][key]
            with rasterio.open(world.local(scene.assets[key].href)) as file:
                assert file.shape == (asset.side, asset.side)
                assert list(file.shape) == told["proj:shape"]
                assert list(file.transform)[:6] == told["proj:transform"]
                assert (file.count, set(file.dtypes), file.nodata) == (asset.bands, {asset.dtype}, 0)
                assert file.block_shapes[0] == (asset.block, asset.block)
                assert (file.scales[0], file.offsets[0]) == (1.0, 0.0), "as in sentinel-cogs"


def test_all_assets_of_a_scene_show_the_same_place(
    world: World, items: list[tuple[dict[str, Any], Scene]]
) -> None:
    for scene, field in views(items):
        colours = pixels(world, scene, "visual", field).astype(float)
        classes = pixels(world, scene, "scl", field)[0]
        assert classes.shape == (30, 30)
        for band, key in enumerate(("red", "green", "blue")):
            numbers = pixels(world, scene, key, field)[0]
            assert np.abs(np.clip(numbers * 0.1, 0, 255) - colours[band]).max() <= 2.5
        for key, asset in ASSETS.items():
            found = pixels(world, scene, key, field)
            assert found.shape[1:] == (600 // asset.metres, 600 // asset.metres)
            if classes.all():
                assert found.all(), f"{key} has no data where SCL has"
            if not asset.is_reflectance:
                continue
            # texture, not the constant of tiles that no area needs, unless it is under a closed cover of clouds
            assert len(np.unique(found)) > 3 or (classes >= 8).mean() > 0.9
        ten, twenty = (pixels(world, scene, key, field)[0].mean() for key in ("nir", "nir08"))
        assert ten == pytest.approx(twenty, rel=0.12)


@pytest.mark.skipif(not hasattr(os.stat_result, "st_blocks"), reason="no count of blocks on this system")
def test_little_room_is_taken_for_files_as_long_as_real_ones(world: World) -> None:
    room, whole = {}, 0
    for path in (world.folder / "cogs").rglob("*.tif"):
        told = path.stat()
        room[told.st_ino] = told.st_blocks * 512
        whole += told.st_size
    assert sum(room.values()) < whole / 8
    wish = wishes.Wish(polygons=[field for _, field in FIELDS], items=3, assets=[*ASSETS], period=JUNE)
    squares = wish.squares
    _, expected = wishes.listing(wish, squares, wishes.tiles_near(wish, squares), wishes.plane_of(wish))
    assert expected == pytest.approx(sum(room.values()), rel=0.3), "it is told before they are made"


def test_scenes_of_too_many_areas_are_refused_before_any_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes, "MOST", 1_000_000)
    with pytest.raises(
        AreaError, match=r"2 areas in \d grid squares would take about [\d.]+ MB, .*1\.0 MB at most; give it"
    ):
        make_world(tmp_path / "world", areas=FIELDS, assets=["scl", "visual"], period=JUNE)
    assert not list((tmp_path / "world").rglob("*.tif"))


def test_a_period_without_a_pass_is_told(tmp_path: Path) -> None:
    day = date(2022, 1, 1)
    with pytest.raises(ConfigError, match="no satellite of the sandbox passes between 2022-01-01 and 2022-01-01"):
        make_world(tmp_path / "world", areas=FIELDS, assets=["scl"], period=(day, day))


def test_less_room_means_fewer_skies_not_fewer_dates() -> None:
    fields = [field for _, field in FIELDS]
    squares = squares_of(fields)
    near = {square.name: {TILE: square.tiles_near(fields, wishes.NEAR)} for square in squares}
    plane = Plane(longitude=12.0, latitude=48.0)
    wish = wishes.Wish(polygons=fields, assets=["scl", "visual"], period=(date(2024, 1, 1), date(2024, 12, 31)))
    every, room = wishes.listing(wish, squares, near, plane)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wishes, "MOST", room - 1)
        some, less = wishes.listing(wish, squares, near, plane)
    assert less < room
    year, fewer = [record.take for record in every], [record.take for record in some]
    assert len({take.time.date() for take in fewer}) == len({take.time.date() for take in year})
    assert len({take.look for take in fewer}) < len({take.look for take in year})


def test_a_world_can_be_of_some_squares_and_skies_only() -> None:
    field = shapely.box(13.4, 52.4, 13.42, 52.42)
    wish = wishes.Wish(polygons=[field], assets=["scl"], only=["33UUU"], covers=(0.0, 0.22))
    assert [square.name for square in wish.squares] == ["33UUU"]
    assert len(squares_of([field])) > 1
    skies = {record.take.look.sky for record in wishes.records_of(wish)}
    assert {sky.cover for sky in skies} == {0.0, 0.22}
    assert {sky.edge for sky in skies} == {None}
