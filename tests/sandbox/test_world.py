from __future__ import annotations

import filecmp
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.mask
import shapely
from filelock import FileLock
from numpy.typing import NDArray
from rasterio.windows import Window

from s2async.catalog.assets import ONLY_JP2
from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN
from s2async.catalog.reprocessing import are_editions
from s2async.errors import LocalError
from s2async.models import Scene
from s2async.sandbox.world import make as worlds
from s2async.sandbox.world import swaths
from s2async.sandbox.world.fields import Plane
from s2async.sandbox.world.make import World, make_world
from s2async.sandbox.world.parks import PARKS
from s2async.sandbox.world.sky import Sky
from s2async.sandbox.world.squares import TILES, Square, squares_of
from s2async.sandbox.world.wish import FORMAT, Wish

AREAS = {name: shapely.Polygon(shapely.get_coordinates(shapely.from_wkt(wkt))) for name, wkt in PARKS}
SQUARES = {square.name: square for square in squares_of([*AREAS.values()])}
TIERGARTEN = [("Tiergarten", AREAS["Tiergarten"])]
SEED = 573
"""Of eight passes with all that a year has: a swath's edge, twins, halves, JPEG 2000 only, two lacking files."""

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Made:
    """One item and its files."""

    item: dict[str, Any]
    world: World

    @cached_property
    def scene(self) -> Scene:
        return to_scene(self.item, KNOWN["earth-search"])

    @property
    def square(self) -> Square:
        return SQUARES[self.scene.grid]

    def path(self, key: str) -> Path:
        return self.world.local(self.scene.assets[key].href)

    @property
    def whole(self) -> bool:
        return all(key in self.scene.assets and self.path(key).exists() for key in ("scl", "visual"))

    def tile(self, key: str, index: int) -> Pixels:
        """A full-resolution tile: rows x columns, or bands x rows x columns."""
        row, column = divmod(index, TILES)
        with rasterio.open(self.path(key)) as file:
            side = file.block_shapes[0][0]
            pixels: Pixels = file.read(window=Window(column * side, row * side, side, side))
        return pixels[0] if len(pixels) == 1 else pixels

    def park(self, key: str, name: str) -> Pixels:
        """Crop of a park, bands x rows x columns; 0 outside of it."""
        with rasterio.open(self.path(key)) as file:
            pixels: Pixels = rasterio.mask.mask(file, [self.square.project(AREAS[name])], crop=True)[0]
        return pixels


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("made") / "world", items=8, seed=SEED)


@pytest.fixture(scope="module")
def made(world: World) -> list[Made]:
    text = (world.folder / "items.jsonl").read_text("utf-8").replace("{origin}", "http://127.0.0.1:8080")
    return [Made(json.loads(line), world) for line in text.splitlines()]


@pytest.fixture(scope="module")
def tiles(made: list[Made]) -> dict[str, dict[int, tuple[Pixels, Pixels]]]:
    """SCL in pixels of 10 m and true colour of three tiles with parks, by item and tile."""
    near = sorted(SQUARES["33UUU"].tiles_near([*AREAS.values()], 0))[:3]
    return {
        one.scene.id: {
            index: (one.tile("scl", index).repeat(2, 0).repeat(2, 1), one.tile("visual", index)) for index in near
        }
        for one in made
        if one.whole and one.scene.grid == "33UUU"
    }


# ---- items ------------------------------------------------------------------------------------------------


def test_every_item_is_stac_and_a_scene(world: World, made: list[Made]) -> None:
    assert len(made) == world.items == 30
    for one in made:
        item = pystac.Item.from_dict(one.item)
        assert item.datetime == one.scene.datetime
        assert item.collection_id == one.scene.collection == "sentinel-2-l2a"
        assert 0 <= (one.scene.cloud or 0) <= 100
        assert one.scene.footprint is not None
        assert one.scene.footprint.is_valid
        assert one.item["bbox"] == pytest.approx(one.scene.footprint.bounds)


def test_ids_grids_times_and_products_say_the_same(made: list[Made]) -> None:
    for one in made:
        scene, properties = one.scene, one.item["properties"]
        name = re.fullmatch(r"(S2[AB])_(3[23]U[QUV][DU])_(\d{8})_([01])_L2A", scene.id)
        assert name
        mission, square, day, sequence = name.groups()
        assert (scene.platform, scene.grid) == (f"sentinel-2{mission[-1].lower()}", square)
        assert properties["s2:sequence"] == sequence
        assert f"{scene.datetime:%Y%m%d}" == day
        assert re.fullmatch(
            rf"{mission}_MSIL2A_{day}T\d{{6}}_N0(301|400|509|510|500)_R0(22|65)_T{square}_\d{{8}}T\d{{6}}\.SAFE",
            scene.version,
        )
        assert scene.datastrip[1:9] == day
    for values in zip(*((one.scene.id, one.scene.version) for one in made), strict=True):
        assert len(set(values)) == len(made)


def test_the_crs_is_written_in_both_ways_and_sometimes_not_at_all(made: list[Made]) -> None:
    ways: Counter[str] = Counter()
    for one in made:
        way = next((key for key in ("proj:epsg", "proj:code") if key in one.item["properties"]), "")
        ways[way] += 1
        assert one.scene.epsg == (one.square.epsg if way else None)
    assert ways.keys() == {"proj:epsg", "proj:code", ""}
    assert ways["proj:epsg"] > len(made) / 2


def test_twins_are_twins_and_halves_are_not(made: list[Made]) -> None:
    pairs = [
        (one, other)
        for one, other in combinations(made, 2)
        if one.scene.id.replace("_0_L2A", "_1_L2A") == other.scene.id
    ]
    twins = [pair for pair in pairs if are_editions(pair[0].scene, pair[1].scene)]
    halves = [pair for pair in pairs if pair not in twins]
    assert (len(twins), len(halves)) == (3, 3)
    for one, other in twins:
        assert one.scene.baseline < other.scene.baseline
        assert one.path("visual").samefile(other.path("visual"))
    for one, other in halves:
        if one.whole and other.whole:
            first, second = (classes_of(half) != 0 for half in (one, other))
            assert not (first & second).any()
            assert (first | second).all()


def test_an_item_may_be_jpeg_2000_only(world: World, made: list[Made]) -> None:
    alone = [one for one in made if not one.scene.assets]
    assert len(alone) == 3
    for one in alone:
        assert (one.scene.absent["scl"], one.scene.absent["visual"]) == (ONLY_JP2, ONLY_JP2)
        assert list((world.folder / "cogs").rglob(f"*{one.scene.id}*")) == []


def test_two_files_are_lacking_and_no_others(world: World, made: list[Made]) -> None:
    named = {one.path(key) for one in made for key in one.scene.assets}
    there = {path for path in (world.folder / "cogs").rglob("*") if path.is_file()}
    assert there < named
    assert sorted(path.name for path in named - there) == ["SCL.tif", "TCI.tif"]
    for one in made:
        for key in one.scene.assets:
            if not one.path(key).exists():
                assert (one.scene.cloud or 0) < 10


def test_one_square_has_a_red_band_in_summer(made: list[Made]) -> None:
    red = [one for one in made if "red" in one.scene.assets]
    assert {one.scene.grid for one in red} == {"33UUU"}
    assert {one.scene.datetime.month for one in red} <= {7, 8, 9}
    for one in red:
        index = min(one.square.tiles_near([AREAS["Tiergarten"]], 0))
        assert np.abs(one.tile("red", index) * 0.1 - one.tile("visual", index)[0]).max() <= 2.5


# ---- files ------------------------------------------------------------------------------------------------


def files_of(made: list[Made]) -> Iterator[tuple[Made, str, Path]]:
    """Different files only: many names share one."""
    seen = set()
    for one in made:
        for key in one.scene.assets:
            path = one.path(key)
            if path.exists() and path.stat().st_ino not in seen:
                seen.add(path.stat().st_ino)
                yield one, key, path


FORMS = {"scl": (5490, 512, 1, "uint8"), "visual": (10980, 1024, 3, "uint8"), "red": (10980, 1024, 1, "uint16")}


def test_files_are_cogs_of_full_size(made: list[Made]) -> None:
    layouts: Counter[str | None] = Counter()
    for one, key, path in files_of(made):
        side, block, bands, dtype = FORMS[key]
        asset = one.item["assets"][key]
        with rasterio.open(path) as file:
            structure = file.tags(ns="IMAGE_STRUCTURE")
            layouts[structure.get("LAYOUT")] += 1
            assert (file.width, file.height, file.count, set(file.dtypes)) == (side, side, bands, {dtype})
            assert (file.crs.to_epsg(), file.nodata) == (one.square.epsg, 0)
            assert list(file.transform)[:6] == asset["proj:transform"]
            assert list(file.shape) == asset["proj:shape"]
            assert set(file.block_shapes) == {(block, block)}
            assert [file.overviews(band) for band in file.indexes] == [[2, 4, 8, 16]] * bands
            assert (structure["COMPRESSION"], structure["PREDICTOR"]) == ("DEFLATE", "2")
            first = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=3))
            last = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
            assert first < 8192 < last < path.stat().st_size
        with rasterio.open(path, OVERVIEW_LEVEL=0) as overview:
            assert set(overview.block_shapes) == {(block // 2, block // 2)}
    assert set(layouts) == {"COG", None}


@pytest.mark.skipif(not hasattr(os.stat_result, "st_blocks"), reason="no count of blocks on this system")
def test_files_are_as_long_as_real_ones_and_take_little_room(made: list[Made]) -> None:
    sizes, room = Counter[str](), 0
    number = Counter[str]()
    for _, key, path in files_of(made):
        sizes[key] += path.stat().st_size
        number[key] += 1
        room += path.stat().st_blocks * 512
    assert 60e6 < sizes["visual"] / number["visual"] < 250e6
    assert 1e6 < sizes["scl"] / number["scl"] < 8e6
    assert room < sum(sizes.values()) / 8


# ---- pixels -----------------------------------------------------------------------------------------------


def classes_of(one: Made) -> Pixels:
    """SCL of the whole scene from the coarsest overview."""
    with rasterio.open(one.path("scl"), OVERVIEW_LEVEL=3) as file:
        pixels: Pixels = file.read(1)
    return pixels


def test_nodata_is_the_same_in_both_pictures(made: list[Made]) -> None:
    kinds = set()
    for one in made:
        if not one.whole:
            continue
        for name in ("Tiergarten", "Grunewald"):
            if one.square.box.contains(one.square.project(AREAS[name])):
                index = min(one.square.tiles_near([AREAS[name]], 0))
                nothing = one.tile("scl", index).repeat(2, 0).repeat(2, 1) == 0
                assert (nothing == (one.tile("visual", index) == 0)).all()
                kinds.add("edge" if 0 < nothing.mean() < 1 else f"{nothing.mean():.0f}")
    assert kinds == {"edge", "0", "1"}


def test_classes_look_like_what_they_are(tiles: dict[str, dict[int, tuple[Pixels, Pixels]]]) -> None:
    brightness: dict[int, list[Pixels]] = {}
    for scene in tiles.values():
        for classes, picture in scene.values():
            grey = picture.mean(axis=0)
            for value in np.unique(classes):
                brightness.setdefault(int(value), []).append(grey[classes == value])
    middle = {value: float(np.median(np.concatenate(parts))) for value, parts in brightness.items()}
    assert middle.keys() >= {0, 3, 4, 5, 6, 8, 9, 10}
    assert middle[0] == 0
    assert middle[9] > 180 > middle[8] > middle[10]
    assert middle[6] < 50 < min(middle[4], middle[5])


def test_a_shadow_is_darker_than_the_same_ground_in_the_sun(
    made: list[Made], tiles: dict[str, dict[int, tuple[Pixels, Pixels]]]
) -> None:
    def season(name: str) -> int:
        return (int(name[14:16]) - 1) // 3  # in another one the ground itself looks different

    sunny = {
        season(one.scene.id): one
        for one in made
        if one.scene.grid == "33UUU" and one.scene.cloud == 0 and "visual" in one.scene.assets
        if one.path("visual").exists() and one.item["properties"]["s2:nodata_pixel_percentage"] == 0
    }
    shares = []
    for name, scene in tiles.items():
        for index, (classes, picture) in scene.items():
            if season(name) in sunny and np.count_nonzero(classes == 3) > 1000:
                shaded, clear = (
                    picture[:, classes == 3],
                    sunny[season(name)].tile("visual", index)[:, classes == 3],
                )
                shares.append(float(shaded.mean() / clear.mean()))
    assert shares
    assert all(0.4 < share < 0.9 for share in shares)


def test_the_cloud_cover_of_an_item_is_that_of_its_pixels(made: list[Made]) -> None:
    clouds = set()
    for one in made:
        if not one.whole:
            continue
        classes = classes_of(one)
        valid = np.count_nonzero(classes)
        assert one.scene.cloud == pytest.approx(np.isin(classes, (8, 9, 10)).sum() / valid * 100, abs=2)
        nodata = one.item["properties"]["s2:nodata_pixel_percentage"]
        assert nodata == pytest.approx((1 - valid / classes.size) * 100, abs=2)
        clouds.add(round(one.scene.cloud or 0, -1))
    assert len(clouds) >= 3


def test_both_zones_see_the_same_sky_over_a_park(made: list[Made]) -> None:
    scenes = {one.scene.id: one for one in made if one.whole}
    shares = []
    for name, western in scenes.items():
        eastern = scenes.get(name.replace("32UQD", "33UUU"))
        if western.scene.grid != "32UQD" or eastern is None:
            continue
        for park in AREAS:
            if park != "GaertenDerWelt":
                counts = [np.bincount(one.park("scl", park).ravel(), minlength=12) for one in (western, eastern)]
                if all(count[1:].sum() for count in counts):
                    cloudy = [count[8:11].sum() / count[1:].sum() * 100 for count in counts]
                    assert cloudy[0] == pytest.approx(cloudy[1], abs=4)
                    shares.append(cloudy[0])
    assert len(shares) > 30
    assert min(shares) < 1 < 20 < max(shares)


def test_exact_footprints_end_where_the_data_ends(made: list[Made]) -> None:
    kinds = set()
    for one in made:
        assert one.scene.footprint is not None
        share = one.square.project(one.scene.footprint).area / one.square.box.area * 100
        data = 100 - one.item["properties"]["s2:nodata_pixel_percentage"]
        if one.scene.datetime.day % 2 == 0:
            assert share == pytest.approx(data, abs=1)
            kinds.add("exact" if data < 99 else "whole")
        else:
            assert share == pytest.approx(100, abs=1)
            kinds.add("wider" if data < 99 else "whole")
    assert {"exact", "whole"} <= kinds


def test_a_footprint_over_180_degrees_is_in_two_parts() -> None:
    area = shapely.box(179.93, -17.02, 179.97, -17.0)
    plane = Plane(longitude=179.95, latitude=-17)
    edge = swaths.edges([area], plane)[0]
    for square in squares_of([area]):
        for sky in (None, Sky(pattern=0, cover=0, edge=edge), Sky(pattern=0, cover=0, edge=edge, before=False)):
            footprint = swaths.footprint(square, sky, plane)
            west, _, east, _ = footprint.bounds
            assert footprint.is_valid
            assert -180 <= west < east <= 180
            assert footprint.contains(area) if sky is None else footprint.crosses(area.boundary)
            if square.name == "1KAB" and sky is None:
                assert footprint.geom_type == "MultiPolygon"


# ---- making -----------------------------------------------------------------------------------------------


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


@pytest.mark.slow
def test_a_world_is_made_once_and_always_the_same_whatever_was_in_its_folder(tmp_path: Path) -> None:
    told: list[str] = []
    first = make_world(tmp_path / "a", areas=TIERGARTEN, items=2, progress=told.append)
    assert told[0].startswith("making the scenes")
    assert told[-1] == "100 % of the scenes are made"
    assert first.items == 4

    told.clear()
    before = stamps(first.folder)
    assert make_world(first.folder, areas=TIERGARTEN, items=2, progress=told.append) == first
    assert told == []
    assert stamps(first.folder) == before

    # what another world, or a killed process, left is no part of it
    half = tmp_path / "b"
    (half / "looks").mkdir(parents=True)
    (half / "cogs" / "33").mkdir(parents=True)
    for name in ("looks/half.npy", "cogs/33/half.tif", "items.jsonl"):
        (half / name).write_text("half")
    another = Wish(polygons=[AREAS["Tiergarten"]], items=1).key
    (half / "world.json").write_text(json.dumps({"format": FORMAT, "key": another, "items": 2}))
    assert worlds._made(half, another)
    make_world(half, areas=TIERGARTEN, items=2)
    names = contents(first.folder)
    assert contents(half) == names
    assert len([name for name in names if name.endswith(".tif")]) >= 8
    assert filecmp.cmpfiles(first.folder, half, names, shallow=False)[0] == names


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "key": "another", "items": 3}', "null"])
def test_a_description_that_is_not_this_worlds_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "world.json").write_text(text)
    assert worlds._made(tmp_path, "key") is None


def test_the_key_tells_worlds_apart() -> None:
    area, other = AREAS["Tiergarten"], AREAS["Grunewald"]
    june = (date(2024, 6, 1), date(2024, 6, 30))
    wishes = [
        Wish(polygons=[area]),
        Wish(polygons=[area], items=1),
        Wish(polygons=[area], seed=2),
        Wish(polygons=[other]),
        Wish(polygons=[area, other]),
        Wish(polygons=[area], assets=["scl", "red"]),
        Wish(polygons=[area], assets=["scl", "nir"]),
        Wish(polygons=[area], period=june),
        Wish(polygons=[area], only=["33UUU"]),
        Wish(polygons=[area], covers=(0.0, 0.22)),
    ]
    assert len({wish.key for wish in wishes}) == len(wishes)
    assert wishes[5].key == Wish(polygons=[area], assets=["red", "scl"]).key


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cogs").mkdir()
    (tmp_path / "world.json").write_text("{}")
    (tmp_path / "thesis.txt").write_text("years of work")
    before = stamps(tmp_path)
    with pytest.raises(LocalError, match=r"holds thesis\.txt, which is no part of a sandbox: name another folder"):
        make_world(tmp_path, areas=TIERGARTEN, items=1)
    assert stamps(tmp_path) == before


@pytest.mark.parametrize("name", ["cogs/thesis.tif", "looks/thesis.npy", "items.jsonl"])
def test_what_only_has_the_name_of_a_worlds_part_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("years of work")
    before = stamps(tmp_path)
    first = name.split("/")[0]
    with pytest.raises(LocalError, match=rf"holds {first}, which is no part of a sandbox: name another folder"):
        make_world(tmp_path, areas=TIERGARTEN, items=1)
    assert stamps(tmp_path) == before


@pytest.mark.slow
def test_what_an_interrupted_start_left_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        (tmp_path / "cogs").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(worlds, "_build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_world(tmp_path, areas=TIERGARTEN, items=1)
    (tmp_path / "making.lock").unlink()  # as on systems where who lets go of it removes it
    assert make_world(tmp_path, areas=TIERGARTEN, items=1).items


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="cannot make the scenes in"):
        make_world(tmp_path / "file" / "world", areas=TIERGARTEN, items=1)


def test_who_comes_second_waits_and_finds_the_world_made(tmp_path: Path) -> None:
    waiting = threading.Event()
    lock = FileLock(tmp_path / "making.lock")
    with ThreadPoolExecutor(1) as pool:
        with lock:
            second = pool.submit(
                make_world, tmp_path, areas=TIERGARTEN, items=1, seed=3, progress=lambda _: waiting.set()
            )
            assert waiting.wait(200)
            key = Wish(polygons=[AREAS["Tiergarten"]], items=1, seed=3).key
            (tmp_path / "world.json").write_text(json.dumps({"format": FORMAT, "key": key, "items": 77}))
        assert second.result(20) == World(tmp_path, 77)


def test_processes_have_one_thread_each_and_this_one_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with worlds._processes() as pool:
        assert pool.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.slow
def test_after_an_error_nothing_more_is_begun() -> None:
    waits: list[Future[None]] = []

    def fail() -> None:
        with worlds._processes() as pool:
            waits.extend(pool.submit(time.sleep, 0.5) for _ in range(100))
            waits[0].result()
            raise LocalError("disk full")

    with pytest.raises(LocalError, match="disk full"):
        fail()
    assert sum(wait.cancelled() for wait in waits) > 50


def test_an_address_names_a_file_of_the_world() -> None:
    made = World(Path("folder"), 1)
    assert made.local("http://127.0.0.1:1/cogs/33/U/UU/a%20b/TCI.tif?x=1") == Path(
        "folder/cogs/33/U/UU/a b/TCI.tif"
    )
