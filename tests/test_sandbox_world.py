from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from s2async.parks import PARKS
from s2async.sandbox.squares import TILES, squares_of
from s2async.sandbox.world import NEAR, World, make_world

PARK = shapely.Polygon(shapely.get_coordinates(shapely.from_wkt(dict(PARKS)["Tiergarten"])))
SQUARES = {square.name: square for square in squares_of([PARK])}
SANTIAGO = shapely.box(-70.68, -33.21, -70.66, -33.19)
DTYPES = {"scl": ("uint8",), "visual": ("uint8",) * 3, "red": ("uint16",)}
SIDES = {"scl": 5490, "visual": 10980, "red": 10980}

Pixels = NDArray[Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Eight passes over one park: the fewest with a twin, two halves, a swath's edge and a pass without COGs."""
    return make_world(tmp_path_factory.mktemp("world") / "made", areas=[("Tiergarten", PARK)], items=8)


@pytest.fixture(scope="module")
def items(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (world.folder / "items.jsonl").read_text("utf-8").splitlines()]


def local(world: World, href: str) -> Path:
    """The file of an address as it stands in the items."""
    return world.local(href.replace("{origin}", "http://127.0.0.1:5123"))


def square_of(item: dict[str, Any]) -> str:
    return str(item["properties"]["grid:code"]).removeprefix("MGRS-")


def cogs_of(world: World, items: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str, Path]]:
    for item in items:
        for key in SIDES:
            if key in item["assets"] and local(world, item["assets"][key]["href"]).exists():
                yield item, key, local(world, item["assets"][key]["href"])


def real_tiles(world: World, items: list[dict[str, Any]]) -> Iterator[tuple[Pixels, Pixels]]:
    """SCL (512 x 512 or less) and true colour (twice that, 3 bands) of every distinct generated tile."""
    files = {key: [path for _, found, path in cogs_of(world, items) if found == key] for key in ("scl", "visual")}
    by_folder = {path.parent: path for path in files["visual"]}
    pairs = {
        path.stat().st_ino: (path, by_folder[path.parent]) for path in files["scl"] if path.parent in by_folder
    }
    for scl, visual in pairs.values():
        square = SQUARES[scl.parent.name.split("_")[1]]
        with rasterio.open(scl) as coarse, rasterio.open(visual) as fine:
            for tile in square.tiles_near([PARK], NEAR):
                row, column = divmod(tile, TILES)
                classes = coarse.read(1, window=Window(column * 512, row * 512, 512, 512))
                yield classes, np.moveaxis(fine.read(window=Window(column * 1024, row * 1024, 1024, 1024)), 0, 2)


def hashes(folder: Path) -> dict[str, str]:
    """Of every file: its bytes that take room on disk, and where they lie (the holes are 100 MB each)."""
    found = {"items": hashlib.sha256((folder / "items.jsonl").read_bytes()).hexdigest()}
    for path in sorted(folder.rglob("*.tif")):
        whole = hashlib.sha256()
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                whole.update(piece if any(piece) else str(len(piece)).encode())
        found[str(path.relative_to(folder))] = whole.hexdigest()
    return found


def test_the_squares_of_berlin_lie_where_they_do() -> None:
    squares = squares_of([shapely.from_wkt(wkt) for _, wkt in PARKS])
    places = {square.name: (square.epsg, square.west, square.north) for square in squares}
    assert places == {
        "32UQD": (32632, 699960, 5900040),
        "33UUU": (32633, 300000, 5900040),
        "33UVU": (32633, 399960, 5900040),
    }


def test_items_parse_and_name_files_that_exist(world: World, items: list[dict[str, Any]]) -> None:
    assert len(items) == world.items
    assert len({item["id"] for item in items}) == len(items)
    missing = []
    for item in items:
        parsed = pystac.Item.from_dict(item, preserve_dict=True)
        assert parsed.datetime is not None
        assert shapely.geometry.shape(item["geometry"]).is_valid
        assert item["id"].split("_")[1] == square_of(item)
        square = SQUARES[square_of(item)]
        code = item["properties"].get("proj:epsg") or item["properties"].get("proj:code")
        assert code in (None, square.epsg, f"EPSG:{square.epsg}")
        for key in SIDES:
            if key in item["assets"]:
                assert item["assets"][key]["href"].startswith("{origin}/cogs/")
                if not local(world, item["assets"][key]["href"]).exists():
                    missing.append((item["id"], key))
    # At most one SCL and one TCI were never uploaded.
    assert len(missing) <= 2
    assert {item["properties"]["platform"] for item in items} == {"sentinel-2a", "sentinel-2b"}


def test_a_local_file_is_found_from_the_address_of_any_server(world: World, items: list[dict[str, Any]]) -> None:
    item, key, path = next(cogs_of(world, items))
    place = item["assets"][key]["href"].removeprefix("{origin}/")
    assert path == world.folder / place
    for origin in ("http://127.0.0.1:1", "https://localhost:65535", "http://[::1]:8080"):
        assert world.local(f"{origin}/{place}") == path


def test_twins_halves_and_jp2_are_there(items: list[dict[str, Any]]) -> None:
    passes = defaultdict(list)
    for item in items:
        properties = item["properties"]
        start = properties["s2:datastrip_id"].rsplit("_S", 1)[1].split("_N")[0]
        time = datetime.fromisoformat(properties["datetime"])
        passes[square_of(item), time.date()].append((time, start, properties["s2:processing_baseline"]))
    twins, halves = [], []
    for pair in (sorted(found) for found in passes.values() if len(found) == 2):
        (first, start, baseline), (second, other_start, other_baseline) = pair
        if second - first <= timedelta(milliseconds=1):
            twins.append(start == other_start and baseline != other_baseline)
        else:
            halves.append(
                second - first == timedelta(seconds=6.5) and start != other_start and baseline == other_baseline
            )
    assert twins
    assert all(twins)
    assert halves
    assert all(halves)
    only_jp2 = [item for item in items if "visual" not in item["assets"]]
    assert only_jp2
    for item in only_jp2:
        assert all(asset["href"].startswith("s3://") for asset in item["assets"].values())


def test_files_are_full_size_cogs_of_real_length(world: World, items: list[dict[str, Any]]) -> None:
    ghosts = set()
    for item, key, path in cogs_of(world, items):
        square = SQUARES[square_of(item)]
        with rasterio.open(path) as file:
            metres = 109_800 // SIDES[key]
            assert file.shape == (SIDES[key], SIDES[key])
            assert file.crs.to_epsg() == square.epsg
            assert file.transform == Affine(metres, 0, square.west, 0, -metres, square.north)
            assert file.transform.to_gdal() == pytest.approx(_gdal(item["assets"][key]["proj:transform"]))
            assert item["assets"][key]["proj:shape"] == list(file.shape)
            assert file.nodata == 0
            assert file.overviews(1) == [2, 4, 8, 16]
            assert file.block_shapes[0] == ((512, 512) if key == "scl" else (1024, 1024))
            assert file.dtypes == DTYPES[key]
            ghosts.add(file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT"))
        size, used = path.stat().st_size, path.stat().st_blocks * 512
        assert 2e6 < size < 4e6 if key == "scl" else 3e7 < size < 3.1e8
        assert used < size / 3
    assert ghosts == {"COG", None}


def _gdal(transform: list[float]) -> tuple[float, ...]:
    return Affine(*transform).to_gdal()


def test_every_level_decodes(world: World, items: list[dict[str, Any]]) -> None:
    distinct = {path.stat().st_ino: path for _, key, path in cogs_of(world, items) if key == "scl"}
    for path in distinct.values():
        for level in range(4):
            with rasterio.open(path, overview_level=level) as file:
                assert set(np.unique(file.read(1)).tolist()) <= set(range(12))
    _, _, visual = next(found for found in cogs_of(world, items) if found[1] == "visual")
    with rasterio.open(visual) as file:
        far = file.read(window=Window(0, 0, 1024, 1024))
    assert far.min() > 0


def test_classes_and_colours_agree(world: World, items: list[dict[str, Any]]) -> None:
    colours = defaultdict(list)
    for classes, picture in real_tiles(world, items):
        big = classes.repeat(2, axis=0).repeat(2, axis=1)
        assert big.shape == picture.shape[:2]
        assert np.array_equal(big == 0, (picture == 0).all(axis=2))
        assert (picture[big > 0] > 0).all()
        thin, thinned = classes[::2, ::2], picture[::4, ::4]
        for value in np.unique(thin):
            colours[int(value)].append(thinned[thin == value])
    seen = {value: np.concatenate(found) for value, found in colours.items()}
    assert {0, 3, 4, 5, 6, 8, 9, 10} <= set(seen)
    brightness = {value: float(pixels.mean()) for value, pixels in seen.items()}
    assert brightness[9] > 220
    assert (seen[9].max(axis=1).astype(int) - seen[9].min(axis=1) < 60).mean() > 0.99
    assert brightness[10] < brightness[8] < brightness[9]
    assert brightness[3] < 0.85 * min(brightness[4], brightness[5])
    red, green, blue = seen[6].mean(axis=0)
    assert blue > green > red
    red, green, blue = seen[4].mean(axis=0)
    assert green > max(red, blue)


def test_scene_percentages_are_those_of_the_scene(world: World, items: list[dict[str, Any]]) -> None:
    covers = []
    for item, key, path in cogs_of(world, items):
        if key != "scl":
            continue
        with rasterio.open(path, overview_level=3) as file:
            counts = np.bincount(file.read(1).ravel(), minlength=12)
        properties = item["properties"]
        valid = counts[1:].sum()
        cover = properties["eo:cloud_cover"]
        covers.append(cover)
        assert counts[8:11].sum() / valid * 100 == pytest.approx(cover, abs=0.5)
        assert counts[3] / valid * 100 == pytest.approx(properties["s2:cloud_shadow_percentage"], abs=0.5)
        assert counts[0] / counts.sum() * 100 == pytest.approx(properties["s2:nodata_pixel_percentage"], abs=0.5)
        parts = sum(properties[f"s2:{name}_proba_clouds_percentage"] for name in ("medium", "high"))
        assert parts + properties["s2:thin_cirrus_percentage"] == pytest.approx(cover, abs=1e-4)
    assert min(covers) < 20
    assert max(covers) > 80


def test_full_resolution_and_overview_show_the_same_clouds(world: World, items: list[dict[str, Any]]) -> None:
    differences = []
    for item, key, path in cogs_of(world, items):
        if key != "scl":
            continue
        tiles = SQUARES[square_of(item)].tiles_near([PARK], NEAR)
        with rasterio.open(path) as full, rasterio.open(path, overview_level=3) as coarse:
            for row, column in (divmod(tile, TILES) for tile in tiles):
                fine = full.read(1, window=Window(column * 512, row * 512, 512, 512))
                rough = coarse.read(1)[row * 32 : row * 32 + 32, column * 32 : column * 32 + fine.shape[1] // 16]
                differences.append(abs(float((fine >= 8).mean() - (rough >= 8).mean())))
    assert max(differences) < 0.1
    assert float(np.mean(differences)) < 0.02


def test_two_zones_see_the_same_sky(world: World, items: list[dict[str, Any]]) -> None:
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for item, key, path in cogs_of(world, items):
        square = SQUARES[square_of(item)]
        if key != "scl":
            continue
        west, south, east, north = square.project(PARK).bounds
        column, row = int(((west + east) / 2 - square.west) / 20), int((square.north - (south + north) / 2) / 20)
        with rasterio.open(path) as file:
            pixels = file.read(1, window=Window(column - 40, row - 40, 80, 80))
        shares[item["id"].replace(square.name, "")][square.name] = float((pixels >= 8).mean())
    both = [(found["33UUU"], found["32UQD"]) for found in shares.values() if len(found) == 2]
    assert len(both) >= 5
    assert max(abs(one - other) for one, other in both) < 0.05


def test_a_world_elsewhere_is_made_again_when_half_made_and_only_then(tmp_path: Path) -> None:
    folder, areas = tmp_path / "santiago", [("Santiago", SANTIAGO)]
    (square,) = squares_of([SANTIAGO])
    told: list[str] = []
    first = make_world(folder, areas=areas, items=1, progress=told.append)
    assert told
    before, about = hashes(folder), (folder / "world.json").read_bytes()
    assert first.items == json.loads(about)["items"] == 1
    assert {name.split("/")[0] for name in before} == {"items", "cogs"}
    with rasterio.open(next(folder.rglob("TCI.tif"))) as file:
        assert (file.crs.to_epsg(), square.name) == (32719, "19HCD")
        assert shapely.box(*file.bounds).contains(square.project(SANTIAGO))

    told.clear()
    next(folder.rglob("SCL.tif")).unlink()
    assert make_world(folder, areas=areas, items=1, progress=told.append) == first
    assert not list(folder.rglob("SCL.tif"))
    assert told == []

    (folder / "world.json").unlink()
    assert make_world(folder, areas=areas, items=1, progress=told.append) == first
    assert told
    assert hashes(folder) == before
    assert (folder / "world.json").read_bytes() == about
