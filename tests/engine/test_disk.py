"""Disks that are full, read-only or gone: a run stops, told as this machine's fault, and goes on later."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s2async import file_batches
from s2async.config.model import Config
from s2async.errors import LocalError
from s2async.events import Event, JobDone
from s2async.models import Status
from tests.support import worlds
from tests.support.worlds import Ran, Stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in range(0, 24, 2)])


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Ran:
    return worlds.run(config_in(tmp_path_factory.mktemp("calm"), stage), stage.sandbox)


def config_in(folder: Path, stage: Stage) -> Path:
    return worlds.write_config(
        folder, stage.sandbox, run={"state": "memory/state.sqlite"}, network={"connections": 2}
    )


def fail_once_saved(path: Path, stage: Stage, spoil: Any) -> str:
    """Run, spoil something when the first crop has been recorded, and tell what the run then said."""
    spoilt: list[bool] = []

    def on_event(event: Event) -> None:
        if isinstance(event, JobDone) and event.outcome.status is Status.SAVED and not spoilt:
            spoilt.append(True)
            spoil()

    with pytest.raises(LocalError) as error:
        worlds.run(path, stage.sandbox, on_event=on_event)
    assert spoilt
    assert "\n" not in str(error.value)
    return str(error.value)


def goes_on(path: Path, stage: Stage, calm: Ran) -> None:
    """Jobs are open, none has failed; and the next run does what is left of them."""
    config = Config.load(path)
    statuses = list(worlds.statuses(config).values())
    assert "open" in statuses
    assert "failed" not in statuses
    assert not worlds.faults_of(config, stage.world)
    assert worlds.run(path, stage.sandbox).summary.clean
    assert worlds.result(config) == worlds.result(calm.config)
    assert not list(path.parent.rglob("*.part"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_no_more_stops_the_run(
    tmp_path: Path, stage: Stage, calm: Ran, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = config_in(tmp_path, stage)

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    said = fail_once_saved(path, stage, lambda: monkeypatch.setattr(os, "fsync", fail))
    monkeypatch.undo()
    assert os.strerror(number) in said
    assert said.endswith(" and run again")
    goes_on(path, stage, calm)


# ---- many crops at once -----------------------------------------------------------------------------------

together = pytest.mark.skipif(not file_batches.syncs_whole(Path.home()), reason="files are synced one by one here")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a slow sync, which another test may have seen, files are synced one by one for a while."""
    monkeypatch.setattr(file_batches, "_paused", {})


def many_in(folder: Path, stage: Stage) -> Path:
    """As many fields in a row as are saved by two syncs of the file system."""
    corners = [(1, 3), (251, 7), (233, 261), (17, 247)]
    fields = {
        f"Field{number}": worlds.lonlat([(number * 300 + x, 900 + y) for x, y in corners])
        for number in range(file_batches.LEAST)
    }
    return worlds.write_config(folder, stage.sandbox, areas=fields, network={"connections": 1})


def all_is_done(path: Path, stage: Stage) -> None:
    """The next run does what is left, and all is right then."""
    config = Config.load(path)
    assert worlds.run(path, stage.sandbox).summary.clean
    assert list(worlds.statuses(config).values()).count("saved") >= file_batches.LEAST
    assert not worlds.faults_of(config, stage.world)
    assert not list(path.parent.rglob("*.part"))


@together
@pytest.mark.parametrize("nth", [0, 1], ids=["before the names", "after the names"])
def test_a_file_system_that_cannot_be_synced_stops_the_run(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    path = many_in(tmp_path, stage)
    call, visits = file_batches._call, itertools.count()

    def sick(name: str, *arguments: Any) -> None:
        if name == "syncfs" and next(visits) >= nth:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        call(name, *arguments)

    monkeypatch.setattr(file_batches, "_call", sick)
    with pytest.raises(LocalError, match=r"cannot sync the file system of .*; check the disk and run again"):
        worlds.run(path, stage.sandbox)
    monkeypatch.undo()
    config = Config.load(path)
    assert "saved" not in worlds.statuses(config).values()
    assert len(worlds.crops(config)) == nth * file_batches.LEAST
    assert not list(tmp_path.rglob("*.part"))
    all_is_done(path, stage)


@together
@pytest.mark.parametrize(("point", "nth"), [("after sync", 1), ("before sync", 2)])
def test_a_kill_between_two_syncs_leaves_no_trace(tmp_path: Path, stage: Stage, point: str, nth: int) -> None:
    path = many_in(tmp_path, stage)
    command = [sys.executable, "-m", "tests.chaos.points", point, str(nth), "-q", "run", str(path)]
    killed = subprocess.run(command, capture_output=True, timeout=200, check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    config = Config.load(path)
    assert "saved" not in worlds.statuses(config).values()
    assert len(worlds.crops(config)) == (nth - 1) * file_batches.LEAST
    assert not worlds.faults_of(config, stage.world)
    all_is_done(path, stage)


@pytest.mark.parametrize("what", ["config-data", "memory"])
def test_a_folder_that_vanishes_stops_the_run_and_is_not_made_anew(
    tmp_path: Path, stage: Stage, calm: Ran, what: str
) -> None:
    """As when a disk is unmounted: what came after would be put under its mount point."""
    path, folder, away = config_in(tmp_path, stage), tmp_path / what, tmp_path / "away"
    said = fail_once_saved(path, stage, lambda: folder.rename(away))
    assert str(folder) in said
    assert "run again" in said
    assert not folder.exists()
    away.rename(folder)
    goes_on(path, stage, calm)


def test_a_limit_on_the_size_of_files_ends_with_6(tmp_path: Path, stage: Stage, calm: Ran) -> None:
    resource = pytest.importorskip("resource", reason="this system has no such limit")
    path = config_in(tmp_path, stage)
    worlds.run(path, stage.sandbox, limit=1)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "s2async", "-q", "run", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, preexec_fn=limit)
    assert ended.returncode == 6
    assert ended.stderr.startswith("s2async: cannot ")
    assert ended.stderr.count("\n") == 1
    goes_on(path, stage, calm)
