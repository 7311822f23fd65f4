"""Offsets of reflectance bands in whole runs: crops, their tags, what the state says, and what comes later."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rich.console import Console

import s2async
from s2async.cli import export, maintenance, run_summary, status
from s2async.config.model import Config
from s2async.errors import ConfigError, LocalError
from s2async.maintenance.guards import opened
from s2async.output import band_tags, geotiff, tags
from s2async.sandbox.truth import oracle
from s2async.state.records import Doubt
from s2async.state.writer import State
from tests.support import worlds

pytestmark = pytest.mark.slow

EARLY, OLD, FLAGGED = (
    worlds.day(40, baseline="04.00", subtracted=False),  # 2022-02-10
    worlds.day(42, baseline="02.14", subtracted=False),
    worlds.day(70, baseline="05.09", subtracted=True),
)
ONE = {"One": worlds.lonlat([(104, 104), (1003, 104), (1003, 953), (104, 953)])}
TWO = ONE | {"Two": worlds.lonlat([(3004, 3004), (3903, 3004), (3903, 3853), (3004, 3853)])}
"""Two areas of 90 x 85 pixels: one alone is too small to prove anything."""


def truth(seed: int) -> NDArray[np.int64]:
    """Reflectance in units of 0.0001, partly below zero."""
    generator = np.random.default_rng(seed)
    return generator.integers(-40, 4000, (1, 512, 512))


def put_red(world: worlds.World, item: worlds.Item, dn: NDArray[Any], *, states: bool = False) -> None:
    """Replace the red band of an item by these DN."""
    data = worlds._cog(dn.astype(np.uint16), 10)
    path = world.folder / "cogs" / item.id / "B04.tif"
    path.write_bytes(data)
    if states:  # as in the files of sentinel-2-c1-l2a
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
            raster.scales, raster.offsets = (0.0001,), (-0.1,)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[worlds.Stage]:
    """Three items: dark pixels without an offset, an old baseline, and ESA's offset under a new baseline."""
    world = worlds.World(tmp_path_factory.mktemp("world"), [EARLY, OLD, FLAGGED])
    put_red(world, EARLY, np.maximum(truth(1), 1))
    put_red(world, OLD, np.maximum(truth(2), 1))
    put_red(world, FLAGGED, truth(3) + 1000)
    with worlds.Stage(world) as running:
        yield running


def configured(
    folder: Path,
    stage: worlds.Stage,
    *,
    offsets: str | None = "esa",
    areas: Any = ONE,
    name: str = "config",
    days: str = "2022-01-01/2022-03-31",
    **output: Any,
) -> Path:
    catalog = {"url": stage.sandbox.api, "collection": "sentinel-2-l2a", "assets": {"scl": "scl"}}
    catalog |= {"offsets": offsets} if offsets else {}
    output = {"folder": f"{name}-data", "assets": ["red"]} | output
    search = {"catalog": catalog, "datetime": days}
    return worlds.write_config(folder, stage.sandbox, areas=areas, name=name, search=search, output=output)


def bytes_of(config: Config) -> dict[str, bytes]:
    return {str(path.relative_to(config.output.folder)): path.read_bytes() for path in worlds.crops(config)}


def published(stage: worlds.Stage, item: worlds.Item, area: str = "One") -> NDArray[Any]:
    """The pixels of a crop by rasterio alone."""
    plain = oracle.plain_crop(stage.world.folder / "cogs" / item.id / "B04.tif", TWO[area])
    assert plain is not None
    return plain.pixels


def crop_of(config: Config, item: worlds.Item, area: str = "One") -> Path:
    return config.output.folder / area / f"{item.id}_red.tif"


def rows_of(config: Config) -> dict[str, tuple[str, str, str]]:
    """Offset, its basis and the baseline by item, from the index."""
    with (config.output.folder / "overview.csv").open(newline="") as file:
        return {
            row["item_id"]: (row["offset"], row["offset_basis"], row["processing_baseline"])
            for row in csv.DictReader(file)
        }


def doubts(config: Config) -> tuple[Doubt, ...]:
    with opened(config) as state:
        return state.doubts(config.selection())


# ---- what crops say -----------------------------------------------------------------------------------------


def test_crops_show_reflectance_to_gdal(tmp_path: Path, stage: worlds.Stage) -> None:
    ran = worlds.run(configured(tmp_path, stage), stage.sandbox)
    for item, offset, basis in ((OLD, 0.0, "baseline"), (FLAGGED, -0.1, "source")):
        with rasterio.open(crop_of(ran.config, item)) as raster:
            assert (raster.scales, raster.offsets) == ((0.0001,), (offset,))
            told = raster.tags()
            assert (told["OFFSET_DN"], told["OFFSET_BASIS"]) == (str(round(offset * 10_000)), basis)
            assert told["PROCESSING_BASELINE"] == item.baseline
            assert np.array_equal(raster.read(), published(stage, item))
    assert rows_of(ran.config) == {
        EARLY.id: ("-1000", "source", "04.00"),
        OLD.id: ("0", "baseline", "02.14"),
        FLAGGED.id: ("-1000", "source", "05.09"),
    }


def test_reflectance_from_tags_alone_is_the_truth(tmp_path: Path, stage: worlds.Stage) -> None:
    ran = worlds.run(configured(tmp_path, stage), stage.sandbox)
    for item, seed, least in ((OLD, 2, 1), (FLAGGED, 3, -1000)):
        with rasterio.open(crop_of(ran.config, item)) as raster:
            dn = raster.read().astype(float)
            found = np.where(dn == raster.nodata, np.nan, dn * raster.scales[0] + raster.offsets[0])
            column = round((raster.transform.c - worlds.WEST) / 10)
            row = round((worlds.NORTH - raster.transform.f) / 10)
        height, width = found.shape[1:]
        true = np.maximum(truth(seed), least)[:, row : row + height, column : column + width] / 10_000
        inside = ~np.isnan(found)
        assert inside.sum() > 7000
        assert np.abs(found - true)[inside].max() < 1e-9


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed")
def test_gdalinfo_shows_scale_and_offset(tmp_path: Path, stage: worlds.Stage) -> None:
    ran = worlds.run(configured(tmp_path, stage), stage.sandbox)
    told = subprocess.run(
        ["gdalinfo", "-json", str(crop_of(ran.config, FLAGGED))],
        capture_output=True,
        check=True,
    )
    (band,) = json.loads(told.stdout)["bands"]
    assert (band["scale"], band["offset"]) == (0.0001, -0.1)


def test_other_assets_are_as_before(tmp_path: Path, stage: worlds.Stage) -> None:
    ran = worlds.run(configured(tmp_path, stage, assets=["visual"]), stage.sandbox)
    (path, *_) = worlds.crops(ran.config)
    assert not band_tags.NAMES & tags.of_file(path).keys()
    assert set(rows_of(ran.config).values()) == {("0", "rule", item.baseline) for item in (EARLY, OLD, FLAGGED)}
    assert doubts(ran.config) == ()


def test_a_file_that_states_its_offset_is_believed_where_the_archive_is_unknown(tmp_path: Path) -> None:
    item = worlds.day(70)
    world = worlds.World(tmp_path / "world", [item])
    put_red(world, item, truth(5) + 1000, states=True)
    with worlds.Stage(world) as stage:
        ran = worlds.run(configured(tmp_path, stage, offsets=None), stage.sandbox)
        assert rows_of(ran.config) == {item.id: ("-1000", "tag", "05.09")}
        assert doubts(ran.config) == ()
        with rasterio.open(crop_of(ran.config, item)) as raster:
            assert (raster.scales, raster.offsets) == ((0.0001,), (-0.1,))


def test_an_unknown_offset_gives_no_scale_and_is_named(tmp_path: Path, stage: worlds.Stage) -> None:
    path = configured(tmp_path, stage, offsets=None, days="2022-03-01/2022-03-31")
    ran = worlds.run(path, stage.sandbox)
    with rasterio.open(crop_of(ran.config, FLAGGED)) as raster:
        assert (raster.scales, raster.offsets) == ((1.0,), (0.0,))
        assert (raster.tags()["OFFSET_DN"], raster.tags()["OFFSET_BASIS"]) == ("unknown", "unknown")
    assert rows_of(ran.config) == {FLAGGED.id: ("", "unknown", "05.09")}
    (doubt,) = doubts(ran.config)
    assert (doubt.crops, doubt.scenes, doubt.item, doubt.basis) == (1, 1, FLAGGED.id, "unknown")
    with opened(ran.config) as state:
        (told,) = status.to_json(state, ran.config)["offsets"]
    assert "offsets" in told["reason"]
    with pytest.raises(ConfigError, match="is unknown, so its pixels"):
        s2async.open(path, reflectance=True)
    # what the user says later corrects tags and tables without a request
    again = worlds.run(configured(tmp_path, stage, days="2022-03-01/2022-03-31"), stage.sandbox)
    assert again.cogs == []
    assert rows_of(again.config) == {FLAGGED.id: ("-1000", "source", "05.09")}
    with rasterio.open(crop_of(again.config, FLAGGED)) as raster:
        assert (raster.scales, raster.offsets) == ((0.0001,), (-0.1,))
    assert doubts(again.config) == ()


def test_status_and_summary_name_what_is_unknown(
    tmp_path: Path, stage: worlds.Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configured(tmp_path, stage, offsets=None, days="2022-03-01/2022-03-31")
    ran = worlds.run(path, stage.sandbox)
    status.show(path, as_json=False)
    told = " ".join(capsys.readouterr().out.split())
    assert f"offset of 1 crop of 1 scene ({FLAGGED.id}) unknown: neither bucket nor baseline" in told
    text = io.StringIO()
    with opened(ran.config) as state:
        run_summary.show_run(Console(file=text, width=300), state, ran.config, (), ran.summary)
    assert "unknown: neither bucket nor baseline" in text.getvalue()


def test_a_stac_item_has_scale_offset_and_basis(tmp_path: Path, stage: worlds.Stage) -> None:
    path = configured(tmp_path, stage, days="2022-03-01/2022-03-31")
    worlds.run(path, stage.sandbox)
    folder = tmp_path / "stac"
    export.write(path, "stac", everything=False, target=folder)
    (item,) = folder.glob(f"*/{FLAGGED.id}.json")
    asset = json.loads(item.read_text("utf-8"))["assets"]["red"]
    (band,) = asset["raster:bands"]
    assert (band["scale"], band["offset"], band["nodata"], band["data_type"]) == (0.0001, -0.1, 0, "uint16")
    assert (asset["s2async:offset_dn"], asset["s2async:offset_basis"]) == (-1000, "source")


# ---- evidence -----------------------------------------------------------------------------------------------


def early(folder: Path, stage: worlds.Stage, **settings: Any) -> Path:
    return configured(folder, stage, offsets="earth-search", days="2022-02-01/2022-02-11", **settings)


def test_evidence_of_two_areas_settles_a_doubt_and_corrects_the_first_crop(
    tmp_path: Path, stage: worlds.Stage
) -> None:
    first = worlds.run(early(tmp_path, stage), stage.sandbox)
    assert rows_of(first.config) == {EARLY.id: ("-1000", "doubtful", "04.00")}
    (doubt,) = doubts(first.config)
    assert (doubt.crops, doubt.basis) == (1, "doubtful")
    second = worlds.run(early(tmp_path, stage, areas=TWO), stage.sandbox)
    assert rows_of(second.config) == {EARLY.id: ("0", "pixels", "04.00")}
    assert doubts(second.config) == ()
    for area in TWO:
        with rasterio.open(crop_of(second.config, EARLY, area)) as raster:
            assert (raster.scales, raster.offsets) == ((0.0001,), (0.0,))
            assert raster.tags()["OFFSET_BASIS"] == "pixels"
    # the same as if both had been cut at once, to the last byte; and the state knows the files
    fresh = worlds.run(early(tmp_path, stage, areas=TWO, name="fresh"), stage.sandbox)
    assert bytes_of(second.config) == bytes_of(fresh.config)
    assert maintenance.verify(tmp_path / "config.toml", dry_run=True) == 0


@pytest.mark.parametrize("kind", ["published", "harmonised"])
def test_what_is_said_of_one_archive_does_not_hold_for_items_of_another(tmp_path: Path, kind: str) -> None:
    """One state has items of two catalogues, one after the other."""
    former, latter = worlds.day(70, subtracted=False), worlds.day(72)
    world = worlds.World(tmp_path / "world", [former, latter])
    put_red(world, former, np.maximum(truth(4), 1500))
    put_red(world, latter, np.maximum(truth(5), 500) + 1000)
    listed = world.folder / "items.jsonl"
    items = [json.loads(line) for line in listed.read_text().splitlines()]
    items[1]["collection"] = "other"
    listed.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    with worlds.Stage(world) as stage:
        for name, offsets in [
            ("sentinel-2-l2a", "earth-search"),
            ("other", "esa"),
            ("sentinel-2-l2a", None),
        ]:
            catalog = {"url": stage.sandbox.api, "collection": name, "assets": {"scl": "scl"}}
            catalog |= {"offsets": offsets} if offsets else {}
            output = {"assets": ["red"], "reflectance": kind}
            search = {"catalog": catalog}
            path = worlds.write_config(tmp_path, stage.sandbox, areas=ONE, search=search, output=output)
            config = worlds.run(path, stage.sandbox).config
            if offsets == "esa":
                left = "-1000" if kind == "published" else "0"
                assert rows_of(config) == {
                    former.id: ("0", "bucket", former.baseline),
                    latter.id: (left, "source", latter.baseline),
                }
                assert doubts(config) == ()
        assert rows_of(config)[former.id] == ("", "unknown", former.baseline)
        assert rows_of(config)[latter.id] == (left, "source", latter.baseline)


def test_evidence_costs_no_request_and_no_byte(tmp_path: Path, stage: worlds.Stage) -> None:
    doubtful = worlds.run(early(tmp_path, stage, areas=TWO, name="a"), stage.sandbox)
    known = worlds.run(
        configured(tmp_path, stage, areas=TWO, name="b", days="2022-02-01/2022-02-11"), stage.sandbox
    )
    assert doubtful.paths == known.paths
    assert sum(entry.bytes for entry in doubtful.cogs) == sum(entry.bytes for entry in known.cogs)


def test_dark_pixels_against_a_rule_raise_a_doubt(tmp_path: Path, stage: worlds.Stage) -> None:
    ran = worlds.run(configured(tmp_path, stage, areas=TWO, days="2022-02-01/2022-02-11"), stage.sandbox)
    assert rows_of(ran.config) == {EARLY.id: ("-1000", "source", "04.00")}
    (doubt,) = doubts(ran.config)
    assert (doubt.crops, doubt.scenes, doubt.basis) == (2, 1, "source")
    assert "darker" in doubt.text


# ---- harmonised ---------------------------------------------------------------------------------------------


def harmonised(folder: Path, stage: worlds.Stage, **settings: Any) -> Path:
    return configured(folder, stage, reflectance="harmonised", **settings)


def test_harmonised_is_the_formula_from_either_convention(tmp_path: Path, stage: worlds.Stage) -> None:
    ran = worlds.run(harmonised(tmp_path, stage), stage.sandbox)
    for item, offset in ((OLD, 0), (FLAGGED, -1000)):
        before = published(stage, item).astype(int)
        with rasterio.open(crop_of(ran.config, item)) as raster:
            expected = np.where(before == 0, 0, np.maximum(before + offset, 1)) if offset else before
            assert np.array_equal(raster.read(), expected)
            assert (raster.scales, raster.offsets) == ((0.0001,), (0.0,))
            assert raster.tags()["OFFSET_DN"] == "0"
            assert raster.tags()["OFFSET_REMOVED"] == str(offset)
    assert rows_of(ran.config)[FLAGGED.id] == ("0", "source", "05.09")


def test_a_converted_crop_equals_one_freshly_read(tmp_path: Path, stage: worlds.Stage) -> None:
    settings: dict[str, Any] = {"areas": TWO, "quicklook": True}
    first = worlds.run(configured(tmp_path, stage, **settings), stage.sandbox)
    before = bytes_of(first.config)
    second = worlds.run(harmonised(tmp_path, stage, **settings), stage.sandbox)
    assert second.cogs == []
    fresh = worlds.run(harmonised(tmp_path, stage, name="fresh", **settings), stage.sandbox)
    assert bytes_of(second.config) == bytes_of(fresh.config)
    images = [
        {str(path.relative_to(ran.config.output.folder)): path.read_bytes()
         for path in ran.config.output.folder.rglob("*.png")}
        for ran in (second, fresh)
    ]  # fmt: skip
    assert images[0] == images[1]
    assert len(images[0]) == 6
    assert maintenance.verify(tmp_path / "config.toml", dry_run=True) == 0
    # the way back reads those anew that had an offset, and no classification
    back = worlds.run(configured(tmp_path, stage, **settings), stage.sandbox)
    assert set(back.paths) == {f"{EARLY.id}/B04.tif", f"{FLAGGED.id}/B04.tif"}
    assert bytes_of(back.config) == before


def test_a_doubtful_band_is_harmonised_when_all_evidence_is_there(tmp_path: Path, stage: worlds.Stage) -> None:
    first = worlds.run(early(tmp_path, stage, reflectance="harmonised"), stage.sandbox)
    with rasterio.open(crop_of(first.config, EARLY)) as raster:
        assert raster.tags()["OFFSET_REMOVED"] == "-1000"
    assert rows_of(first.config) == {EARLY.id: ("0", "doubtful", "04.00")}
    # the other area proves that there was none: what was lost is read again
    second = worlds.run(early(tmp_path, stage, areas=TWO, reflectance="harmonised"), stage.sandbox)
    third = worlds.run(early(tmp_path, stage, areas=TWO, reflectance="harmonised"), stage.sandbox)
    assert (second.summary.left, third.summary.left) == (1, 0)
    for area in TWO:
        with rasterio.open(crop_of(third.config, EARLY, area)) as raster:
            assert np.array_equal(raster.read(), published(stage, EARLY, area))
    assert rows_of(third.config) == {EARLY.id: ("0", "pixels", "04.00")}


def test_an_unknown_offset_leaves_harmonised_pixels_as_they_are(tmp_path: Path, stage: worlds.Stage) -> None:
    days = "2022-03-01/2022-03-31"
    ran = worlds.run(harmonised(tmp_path, stage, offsets=None, days=days), stage.sandbox)
    with rasterio.open(crop_of(ran.config, FLAGGED)) as raster:
        assert np.array_equal(raster.read(), published(stage, FLAGGED))
        assert raster.tags()["OFFSET_DN"] == "unknown"
    assert rows_of(ran.config) == {FLAGGED.id: ("", "unknown", "05.09")}
    told = worlds.run(harmonised(tmp_path, stage, days=days), stage.sandbox)
    assert told.cogs == []
    fresh = worlds.run(harmonised(tmp_path, stage, name="fresh", days=days), stage.sandbox)
    assert bytes_of(told.config) == bytes_of(fresh.config)


def test_a_kill_amid_the_conversion_loses_and_converts_nothing_twice(
    tmp_path: Path, stage: worlds.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    worlds.run(configured(tmp_path, stage, areas=TWO), stage.sandbox)
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise LocalError("the disk is full")

        patch.setattr(State, "note_rewritten", full)  # crops are on disk, and not recorded
        with pytest.raises(LocalError, match="full"):
            worlds.run(harmonised(tmp_path, stage, areas=TWO), stage.sandbox)
    fresh = worlds.run(harmonised(tmp_path, stage, areas=TWO, name="fresh"), stage.sandbox)
    config = Config.load(tmp_path / "config.toml")
    assert bytes_of(config) == bytes_of(fresh.config)
    # even if the configuration says something else by then, what was begun is finished first
    back = worlds.run(configured(tmp_path, stage, areas=TWO), stage.sandbox)
    assert set(back.paths) == {f"{EARLY.id}/B04.tif", f"{FLAGGED.id}/B04.tif"}
    assert maintenance.verify(tmp_path / "config.toml", dry_run=True) == 0
    with rasterio.open(crop_of(back.config, FLAGGED)) as raster:
        assert np.array_equal(raster.read(), published(stage, FLAGGED))


# ---- crops of earlier versions, and lost states -------------------------------------------------------------


def age(config: Config) -> None:
    """Make the crops of a run those of an earlier version: without tags of their offset, in files and state."""
    with worlds.writing(config) as db:
        db.execute("DELETE FROM bands")
        db.execute("DELETE FROM evidence")
        for job, asset, file, folder in db.execute(
            "SELECT p.job, p.asset, p.file, s.folder FROM products p JOIN jobs j ON j.id = p.job "
            "JOIN shelves s ON s.area = j.area"
        ).fetchall():
            path = config.output.folder / folder / file
            kept = {key: text for key, text in tags.of_file(path).items() if key not in band_tags.NAMES}
            data = geotiff.retagged(path.read_bytes(), (1.0,), (0.0,), kept)
            assert data is not None
            path.write_bytes(data)
            what = (len(data), hashlib.sha256(data).digest(), job, asset)
            db.execute("UPDATE products SET says = NULL, bytes = ?, sha256 = ? WHERE job = ? AND asset = ?", what)


def test_crops_of_earlier_versions_are_named_until_verify_has_tagged_them(
    tmp_path: Path, stage: worlds.Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configured(tmp_path, stage, offsets="earth-search", areas=TWO)
    ran = worlds.run(path, stage.sandbox)
    before, index = bytes_of(ran.config), rows_of(ran.config)
    age(ran.config)
    again = worlds.run(path, stage.sandbox)
    assert again.cogs == []
    (doubt,) = doubts(ran.config)
    assert (doubt.crops, doubt.scenes, doubt.untold) == (6, 3, True)
    assert "verify" in doubt.text
    assert set(rows_of(ran.config).values()) == {("", "", item.baseline) for item in (EARLY, OLD, FLAGGED)}
    assert maintenance.verify(path, dry_run=True) == 0
    assert doubts(ran.config) == (doubt,)
    assert maintenance.verify(path, dry_run=False) == 0
    assert "6 crops" in capsys.readouterr().out
    assert bytes_of(ran.config) == before
    assert rows_of(ran.config) == index
    assert not any(doubt.untold for doubt in doubts(ran.config))


def test_crops_of_earlier_versions_are_harmonised_too(tmp_path: Path, stage: worlds.Stage) -> None:
    ran = worlds.run(configured(tmp_path, stage, areas=TWO), stage.sandbox)
    age(ran.config)
    again = worlds.run(harmonised(tmp_path, stage, areas=TWO), stage.sandbox)
    assert again.cogs == []
    fresh = worlds.run(harmonised(tmp_path, stage, areas=TWO, name="fresh"), stage.sandbox)
    assert bytes_of(again.config) == bytes_of(fresh.config)


def assert_a_rebuilt_state_needs_nothing(path: Path, stage: worlds.Stage) -> None:
    """Run, lose the state, rebuild it and run again: no request for files, and the same crops and index."""
    ran = worlds.run(path, stage.sandbox)
    before, index = bytes_of(ran.config), rows_of(ran.config)
    for part in ran.config.run.state.parent.glob(f"{ran.config.run.state.name}*"):
        part.unlink()
    assert maintenance.rebuild(path) == 0
    again = worlds.run(path, stage.sandbox)
    assert again.cogs == []
    assert rows_of(again.config) == index
    assert bytes_of(again.config) == before


@pytest.mark.parametrize("kind", ["published", "harmonised"])
def test_a_lost_state_learns_offsets_from_the_tags(tmp_path: Path, stage: worlds.Stage, kind: str) -> None:
    path = configured(tmp_path, stage, areas=TWO, reflectance=kind)
    assert_a_rebuilt_state_needs_nothing(path, stage)


@pytest.mark.parametrize("kind", ["published", "harmonised"])
def test_a_lost_state_learns_what_files_state(tmp_path: Path, kind: str) -> None:
    """No pixel of a harmonised crop proves anything, but its tags say that its file stated the offset."""
    item = worlds.day(70)
    world = worlds.World(tmp_path / "world", [item])
    put_red(world, item, truth(5) + 1000, states=True)
    with worlds.Stage(world) as stage:
        path = configured(tmp_path, stage, offsets=None, reflectance=kind)
        assert_a_rebuilt_state_needs_nothing(path, stage)


# ---- from Python --------------------------------------------------------------------------------------------


def test_crops_from_python_have_scale_offset_and_basis(tmp_path: Path, stage: worlds.Stage) -> None:
    path = configured(tmp_path, stage)
    worlds.run(path, stage.sandbox)
    found = {crop.item: crop for crop in s2async.read(path)}
    crop = found[FLAGGED.id]
    assert (crop.scale, crop.offset, crop.offset_basis, crop.offset_doubt) == (0.0001, -0.1, "source", "")
    assert (found[OLD.id].offset, found[OLD.id].offset_basis) == (0.0, "baseline")
    expected = np.where(crop.pixels == 0, np.nan, (crop.pixels.astype(float) - 1000) / 10_000)
    assert np.array_equal(crop.reflectance, expected, equal_nan=True)


def test_stacks_are_pixels_by_default_and_reflectance_on_demand(tmp_path: Path, stage: worlds.Stage) -> None:
    pytest.importorskip("xarray")
    path = configured(tmp_path, stage)
    worlds.run(path, stage.sandbox)
    (plain,) = s2async.open(path).values()
    (floats,) = s2async.open(path, reflectance=True).values()
    assert plain.dtype == np.uint16
    assert plain["offset"].values.tolist() == [-0.1, 0.0, -0.1]
    assert plain["offset_basis"].values.tolist() == ["source", "baseline", "source"]
    dn, added = plain.values.astype(float), np.array([-1000, 0, -1000])[:, None, None, None]
    assert np.array_equal(floats.values, np.where(dn == 0, np.nan, (dn + added) / 10_000), equal_nan=True)


def test_a_true_colour_image_is_no_reflectance(tmp_path: Path, stage: worlds.Stage) -> None:
    pytest.importorskip("xarray")
    path = configured(tmp_path, stage, assets=["visual"])
    worlds.run(path, stage.sandbox)
    with pytest.raises(ConfigError, match="visual is no reflectance band"):
        s2async.open(path, reflectance=True)
