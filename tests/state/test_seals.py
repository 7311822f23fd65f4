"""A state that a run has closed is not read as a whole again; any other one is."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from s2async.errors import LocalError, StateDamaged
from s2async.events import SearchReport
from s2async.models import Traffic, Use
from s2async.state import seals
from s2async.state.writer import State
from tests.support.states import VISUAL, add, make_area, make_scene, open_jobs, record, saved, start

AREAS = [make_area("North"), make_area("South")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state after its first run."""
    path = tmp_path / "state.sqlite"
    with State.create_or_open(path) as state:
        start(state, AREAS)
        add(state, make_scene(), AREAS)
        state.end_run("finished")
    return path


def seal(path: Path) -> Path:
    return path.with_name(path.name + ".sealed")


def damage(path: Path) -> None:
    """Overwrite the page of a table that opening a state does not read; its size and time stay the same."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'searches'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    times = path.stat()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_sealed_state_is_not_read_as_a_whole(path: Path) -> None:
    damage(path)
    State.create_or_open(path).close()
    assert not seal(path).exists(), "what opened it has run nothing"
    with pytest.raises(StateDamaged):
        State.create_or_open(path)


def write_a_byte(path: Path) -> None:
    """As many bytes as before, a moment after the run has ended."""
    with path.open("r+b") as file:
        start = file.read(1)
        file.seek(0)
        file.write(start)


def copy(path: Path) -> None:
    """With its time, as backups are put back."""
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def journal(path: Path) -> None:
    path.with_name(path.name + "-wal").write_bytes(b"some commits")


CHANGES: list[Callable[[Path], object]] = [
    write_a_byte,
    copy,
    journal,
    lambda path: seal(path).unlink(),
    lambda path: seal(path).write_bytes(b"\xff\xfe"),
    lambda path: seal(path).write_text(""),
    lambda path: path.unlink(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_seal_is_broken_by_any_change(path: Path, change: Callable[[Path], object]) -> None:
    assert seal(path).exists()
    change(path)
    assert seals.is_broken(path)
    assert not seal(path).exists()
    assert seals.is_broken(path), "it is gone for good"


def test_only_the_end_of_a_run_seals(path: Path, tmp_path: Path) -> None:
    with State.create_or_open(path) as state:
        assert not seal(path).exists(), "while the state is open, a kill leaves it without a seal"
        state.begin_run("{}", "1")
    assert not seal(path).exists()
    with State.create_or_open(path) as state:
        state.begin_run("{}", "1")
        state.end_run("stopped")
    assert seal(path).exists()
    assert not seals.is_broken(path)
    assert seals.is_broken(tmp_path / "none")


def test_a_state_that_cannot_be_sealed_is_checked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    with State.create_or_open(path) as state:
        state.begin_run("{}", "1")
        state.end_run("finished")
    assert not seal(path).exists()
    seal(path).mkdir()  # the folder of an area of this name
    monkeypatch.undo()
    with State.create_or_open(path) as state:
        state.begin_run("{}", "1")
        state.end_run("finished")
    assert seals.is_broken(path)
    assert seal(path).is_dir()


def test_a_seal_that_cannot_be_removed_stops_a_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(LocalError, match=r"cannot remove .*sealed"):
        State.create_or_open(path)


# ---- the table of crops -------------------------------------------------------------------------------------


def test_a_table_is_that_of_the_state_until_what_it_shows_changes(path: Path) -> None:
    scene = make_scene()
    with State.create_or_open(path) as state:
        start(state, AREAS)
        assert not state.shows("")
        state.note_table("a")
        assert state.shows("a")
        assert not state.shows("b")
        state.end_run("finished")
    with State.create_or_open(path) as state:
        state.begin_run("{}", "1")
        state.sync_areas(AREAS)
        state.add_scene(scene, AREAS, VISUAL)
        state.record_search(SearchReport(label="a", key="k", complete=True, items=1))
        state.add_traffic([Traffic(stage="search", asset="", use=Use.USEFUL, requests=1, bytes=1)])
        assert state.shows("a"), "a run that finds nothing new changes nothing"
        state.end_run("finished")


def another_name(state: State) -> None:
    state.sync_areas([replace(AREAS[0], name="Nord", folder="Nord"), AREAS[1]])


def another_column(state: State) -> None:
    state.sync_areas([replace(AREAS[0], attributes={"crop": "rye"}), AREAS[1]])


def another_crop(state: State) -> None:
    record(state, saved(open_jobs(state)[0]))


def a_crop_less(state: State) -> None:
    another_crop(state)
    state.note_table("a")
    state.forget_crops(list(state.stored_crops(VISUAL)))


def another_edition(state: State) -> None:
    state.add_scene(make_scene(version="v2", updated="2022-03-01T00:00:00Z"), AREAS, VISUAL)


def another_scene(state: State) -> None:
    state.add_scene(make_scene("S2A_33UUU_20220111_0_L2A", minutes=14400), AREAS, VISUAL)


@pytest.mark.parametrize(
    "change", [another_name, another_column, another_crop, a_crop_less, another_edition, another_scene]
)
def test_a_change_makes_a_table_void_for_all_later_runs(path: Path, change: Callable[[State], None]) -> None:
    with State.create_or_open(path) as state:
        start(state, AREAS)
        state.note_table("a")
        change(state)
        assert not state.shows("a")
        state.end_run("finished")
    with State.create_or_open(path) as state:
        assert not state.shows("a")


def test_a_state_without_a_seal_shows_no_table(path: Path) -> None:
    """An earlier version of the program may have written it, which does not note changes."""
    with State.create_or_open(path) as state:
        start(state, AREAS)
        state.note_table("a")
        state.end_run("finished")
    with State.create_or_open(path) as state:
        assert state.shows("a")
    with State.create_or_open(path) as state:
        assert not state.shows("a"), "no run has ended in between"
