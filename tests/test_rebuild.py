"""A state from the crops alone: the next run reads nothing for those that are there."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from s2async import rebuild
from s2async.cli import exit_code
from s2async.errors import ConfigError, LocalError, StateError, StateInUse
from s2async.ledger import Ledger
from s2async.state import State
from tests import worlds
from tests.test_upkeep import ask, crops
from tests.worlds import Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage"])
def test_nothing_is_read_again_for_crops_that_are_there(tmp_path: Path, stage: Stage, damage: str) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, output={"assets": ["visual"]})
    config = worlds.run(path, stage.sandbox).config
    result, state = worlds.result(config), config.run.state
    with Ledger.read(state) as ledger:
        saved = {(crop.folder, crop.item) for crop in ledger.stored_crops(twins_newest=True)}
    times = {crop: crop.stat().st_mtime_ns for crop in crops(config)}
    for name in (f"{state.name}-wal", f"{state.name}-shm"):
        state.with_name(name).unlink(missing_ok=True)
    strange = crops(config)[0].with_name("strange.tif")
    strange.write_bytes(b"not a crop")
    old = {"gone": None, "empty": b"", "garbage": random.Random(4).randbytes(5000)}[damage]
    state.unlink()
    if old is not None:
        state.write_bytes(old)

    made = ask("rebuild", path)
    assert made.exception is None, made.exception
    assert strange.name in made.output
    if old is not None:
        assert state.with_name(f"{state.name}.damaged1").read_bytes() == old
    strange.unlink()
    again = worlds.run(path, stage.sandbox)
    assert worlds.result(config) == result
    assert {crop: crop.stat().st_mtime_ns for crop in crops(config)} == times
    pictures = {entry.path.split("/")[-2] for entry in again.log if entry.path.endswith("TCI.tif")}
    assert not pictures & {item for _, item in saved}
    assert saved


KILLED = """
import os, sys
from s2async import cli, {module}

plain, calls = {module}.{step}, []

def dying(*values):
    calls.append(values)
    if len(calls) > {after}:
        os._exit(9)
    return plain(*values)

{module}.{step} = dying
cli.main(["rebuild", sys.argv[1]])
"""


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize(("module", "step", "after"), [("rebuild", "_record", 2), ("schema", "move_aside", 0)])
def test_a_rebuild_that_is_killed_leaves_nothing_half(
    tmp_path: Path, stage: Stage, module: str, step: str, after: int, damaged: bool
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    before, state = worlds.statuses(config), config.run.state
    state.unlink()
    if damaged or module == "schema":
        state.write_bytes(b"damaged")
    command = [sys.executable, "-c", KILLED.format(module=module, step=step, after=after), str(path)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    assert not state.exists() or state.read_bytes() == b"damaged"
    assert not list(state.parent.glob("*.damaged*"))
    made = ask("rebuild", path)
    assert made.exception is None, made.exception
    known = worlds.statuses(config)
    assert known == {key: status for key, status in before.items() if status == "saved"}
    assert known
    assert not list(state.parent.glob("*.rebuilt*"))


def test_a_rebuild_that_fails_leaves_what_was_there(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    config.run.state.write_bytes(b"damaged")
    before = sorted(config.run.state.parent.iterdir())

    def full(*_: object) -> None:
        raise LocalError("disk full")

    monkeypatch.setattr(rebuild, "_record", full)
    assert isinstance(ask("rebuild", path).exception, LocalError)
    assert config.run.state.read_bytes() == b"damaged"
    assert sorted(config.run.state.parent.iterdir()) == before


def test_a_state_is_not_rebuilt_while_somebody_has_it(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    state = worlds.run(path, stage.sandbox).config.run.state
    with State.create_or_open(state):
        assert isinstance(ask("rebuild", path).exception, StateInUse)


def test_a_state_that_can_be_read_is_not_replaced(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    before = worlds.statuses(config)
    assert isinstance(ask("rebuild", path).exception, ConfigError)
    assert worlds.statuses(config) == before


def test_a_newer_or_foreign_state_is_neither_used_nor_moved(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    state = worlds.run(path, stage.sandbox).config.run.state
    for pragma in ("user_version = 99", "application_id = 7"):
        with closing(sqlite3.connect(state)) as db:
            db.execute(f"PRAGMA {pragma}")
        error = ask("rebuild", path).exception
        assert isinstance(error, StateError)
        assert exit_code(error) == 5
        assert state.exists()
        assert not list(tmp_path.rglob("*.damaged*"))
