"""Crops on disk against the state: verify and prune, on crops that a run wrote."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio

from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.maintenance import verify
from s2async.output import tags
from s2async.state.reader import Ledger
from s2async.state.writer import State
from tests.support import worlds
from tests.support.shell import ask
from tests.support.worlds import Stage, crops

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"))


def asked(ran: worlds.Ran) -> set[str]:
    return {entry.path for entry in ran.log if entry.kind == "cogs"}


def test_tags_are_read_as_gdal_reads_them(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    worlds.run(path, stage.sandbox)
    for crop in crops(Config.load(path)):
        with rasterio.open(crop) as raster:
            told = raster.tags()
        ours = tags.read(crop.read_bytes())
        assert ours
        assert ours.items() <= told.items()
    assert tags.read(b"") == tags.read(b"no crop at all") == {}


def test_what_is_gone_or_wrong_is_opened_again_and_nothing_else(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "PAGE", 2)
    path = worlds.write_config(tmp_path, stage.sandbox)
    before = worlds.run(path, stage.sandbox)
    result, config = worlds.result(before.config), before.config
    worlds.settle(config)
    assert ask("verify", path).return_value == 0
    gone, cut, flipped, *_ = crops(config)
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 1
    flipped.write_bytes(data)
    known = worlds.statuses(config)

    tried = ask("verify", path, "--dry-run")
    assert tried.return_value == 3
    for crop, why in ((gone, "is gone"), (cut, "bytes instead of"), (flipped, "was changed")):
        assert any(crop.name in line and why in line for line in tried.output.splitlines())
    assert worlds.statuses(config) == known

    assert ask("verify", path).return_value == 3
    opened = {key for key, status in worlds.statuses(config).items() if status != known[key]}
    assert len(opened) == 3
    again = worlds.run(path, stage.sandbox)
    assert worlds.result(config) == result
    assert asked(again)
    assert all(any(item in address for _, item in opened) for address in asked(again))
    assert ask("verify", path).return_value == 0


def test_a_crop_of_another_kind_than_recorded_is_told(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    with Ledger.read(config.run.state) as state:
        crop = next(state.stored_crops(config.selection()))
    assert not verify.fault(crop, config.output.folder)
    for change in ({"mask": False}, {"asset": "red"}, {"item": "other"}, {"fingerprint": "0" * 16}):
        fields = {name: getattr(crop, name) for name in crop.__slots__} | change
        assert "recorded was" in verify.fault(type(crop)(**fields), config.output.folder)


def test_an_output_folder_that_is_away_opens_nothing(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, run={"state": "state.sqlite"})
    config = worlds.run(path, stage.sandbox).config
    known = worlds.statuses(config)
    config.output.folder.rename(tmp_path / "elsewhere")
    assert "mount the disk" in str(ask("verify", path).exception)
    assert worlds.statuses(config) == known


@pytest.mark.parametrize("noted", [True, False])
def test_a_run_refuses_an_output_folder_that_vanished(tmp_path: Path, stage: Stage, noted: bool) -> None:
    """As when a disk is not mounted: the index would list files that are not there."""
    path = worlds.write_config(tmp_path, stage.sandbox, run={"state": "state.sqlite"})
    config = worlds.run(path, stage.sandbox).config
    folder, away = config.output.folder, tmp_path / "away"
    forget(config, noted=noted)
    worlds.settle(config)
    folder.rename(away)
    for made in (False, True):
        with pytest.raises(ConfigError, match="mount the disk or put the folder back") as error:
            worlds.run(path, stage.sandbox)
        assert str(folder) in str(error.value)
        assert error.value.exit_code == 2
        assert folder.exists() == made, "not made anew"
        if not made:
            folder.mkdir()
    folder.rmdir()
    away.rename(folder)
    assert not asked(worlds.run(path, stage.sandbox))
    assert ask("verify", path).return_value == 0


def test_a_run_refuses_another_output_folder_and_says_what_to_do(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, run={"state": "state.sqlite"})
    first = worlds.run(path, stage.sandbox).config
    index = (first.output.folder / "overview.csv").read_text()
    other: dict[str, Any] = {"output": {"folder": "other"}, "run": {"state": "state.sqlite"}}
    path = worlds.write_config(tmp_path, stage.sandbox, **other)
    with pytest.raises(ConfigError, match="or name a state of its own for the new folder") as error:
        worlds.run(path, stage.sandbox)
    assert f"are in {first.output.folder.resolve()}" in str(error.value)
    assert not (tmp_path / "other").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(ConfigError):
        worlds.run(path, stage.sandbox)
    assert ask("verify", path).return_value == 3
    again = worlds.run(path, stage.sandbox)
    assert again.summary.clean
    assert again.summary.index.read_text() == index
    assert ask("verify", path).return_value == 0
    assert not asked(worlds.run(path, stage.sandbox))


@pytest.mark.parametrize("noted", [True, False])
def test_an_output_folder_that_was_moved_with_its_crops_is_the_new_one(
    tmp_path: Path, stage: Stage, noted: bool
) -> None:
    first = worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox)
    forget(first.config, noted=noted)
    worlds.settle(first.config)
    first.config.output.folder.rename(tmp_path / "moved")
    moved: dict[str, Any] = {"output": {"folder": "moved"}, "run": {"state": "moved/state.sqlite"}}
    path = worlds.write_config(tmp_path, stage.sandbox, **moved)
    for _ in range(2):
        assert not asked(worlds.run(path, stage.sandbox))
    with Ledger.read(tmp_path / "moved" / "state.sqlite") as state:
        assert state.output() == (tmp_path / "moved").resolve()
    assert ask("verify", path).return_value == 0


@pytest.mark.parametrize("noted", [True, False])
def test_crops_that_somebody_deleted_stop_no_run(tmp_path: Path, stage: Stage, noted: bool) -> None:
    path = worlds.write_config(
        tmp_path, stage.sandbox, areas={"North": worlds.polygon("North")}, run={"state": "state.sqlite"}
    )
    config = worlds.run(path, stage.sandbox).config
    forget(config, noted=noted)
    shutil.rmtree(config.output.folder / "North")
    assert worlds.run(path, stage.sandbox).summary.clean
    assert ask("verify", path).return_value == 3
    assert worlds.run(path, stage.sandbox).summary.done == {"saved": len(crops(config))}
    assert crops(config)


def forget(config: Config, *, noted: bool) -> None:
    """Make a state one of those that do not tell their output folder."""
    if not noted:
        with State.create_or_open(config.run.state) as state:
            state._db.execute("DELETE FROM meta WHERE key = 'output'")


def test_crops_that_count_no_more_are_removed_and_strange_files_stay(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, clouds={"max_area_cloud": 100, "min_area_valid": 0})
    worlds.run(path, stage.sandbox)
    path = worlds.write_config(tmp_path, stage.sandbox, clouds={"max_area_cloud": 2})
    config = worlds.run(path, stage.sandbox).config
    before, index = crops(config), (config.output.folder / "overview.csv").read_text()
    saved = {line.split(",")[10] for line in index.splitlines()[1:]}
    unwanted = [crop for crop in before if str(crop.relative_to(config.output.folder)) not in saved]
    assert len(unwanted) > 1
    unwanted[0].write_bytes(b"the user's own")
    stranger = unwanted[1].with_name("notes.tif")
    stranger.write_bytes(b"also")

    tried = ask("prune", path, "--dry-run", "-v")
    assert all(crop.name in tried.output for crop in unwanted)
    assert crops(config) == sorted([*before, stranger])
    assert ask("prune", path).return_value == 0
    assert set(crops(config)) == set(before) - set(unwanted[1:]) | {stranger}
    assert (config.output.folder / "overview.csv").read_text() == index
    assert "nothing to remove" in ask("prune", path).output
    assert not asked(worlds.run(path, stage.sandbox))
