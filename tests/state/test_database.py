"""File systems as offices have them: folders that cannot be waited for, files that cannot be locked."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s2async import files
from s2async.config.model import Config
from s2async.errors import LocalError, StateInUse
from s2async.state import database
from s2async.state.lock import take_lock
from s2async.state.reader import Ledger
from s2async.state.writer import State
from tests.support import worlds
from tests.support.worlds import Ran, Stage

LOCAL_DISK = "put `state` under [run] on a local disk"
NO_SYNC = ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "EBADF", "ENOSYS")
NO_OPEN = (*NO_SYNC, "EACCES", "EISDIR", "EPERM")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in range(0, 12, 2)])


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Ran:
    return worlds.run(worlds.write_config(tmp_path_factory.mktemp("calm"), stage.sandbox), stage.sandbox)


# ---- folders that cannot be waited for --------------------------------------------------------------------


def refusing(number: int, where: str) -> Callable[..., Any]:
    """`os.fsync` or `os.open` on a file system that refuses it for folders."""
    plain = getattr(os, where)

    def call(first: Any, *more: Any, **named: Any) -> Any:
        if os.path.isdir(first):  # noqa: PTH112 - a descriptor or a path
            raise OSError(number, os.strerror(number))
        return plain(first, *more, **named)

    return call


@pytest.mark.parametrize(
    ("where", "name"), [*(("fsync", name) for name in NO_SYNC), *(("open", name) for name in NO_OPEN)]
)
def test_a_folder_that_cannot_be_waited_for_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    monkeypatch.setattr(os, where, refusing(getattr(errno, name), where))
    files.replace(tmp_path / "crop.tif", b"whole")
    assert (tmp_path / "crop.tif").read_bytes() == b"whole"
    with State.create_or_open(tmp_path / "state.sqlite") as state:
        assert state.id


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_folder_whose_disk_fails_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "fsync", refusing(number, "fsync"))
    with pytest.raises(LocalError, match=f"cannot write .*crop.tif: {os.strerror(number)}"):
        files.replace(tmp_path / "crop.tif", b"whole")
    with pytest.raises(LocalError, match=f"cannot make the state .*: {os.strerror(number)}"):
        State.create_or_open(tmp_path / "state.sqlite")


def test_a_file_that_cannot_be_waited_for_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LocalError, match="Invalid argument"):
        files.replace(tmp_path / "crop.tif", b"whole")
    assert not list(tmp_path.iterdir())


def test_a_whole_run_on_such_a_file_system(
    tmp_path: Path, stage: Stage, calm: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(errno.ENOTSUP, "fsync"))
        assert worlds.run(path, stage.sandbox).summary.clean
        assert worlds.run(path, stage.sandbox).cogs == [], "the second run has nothing left to do"
    assert worlds.result(Config.load(path)) == worlds.result(calm.config)


# ---- files that cannot be locked --------------------------------------------------------------------------


def unlockable(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    """`fcntl.flock` or `fcntl.lockf` on a file system without that kind of lock."""

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, call, fail)


@pytest.mark.parametrize("call", ["flock", "lockf"])
@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL"])
def test_where_locks_do_not_work_a_state_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str
) -> None:
    unlockable(monkeypatch, call, getattr(errno, name))
    path = tmp_path / "state.sqlite"
    with pytest.raises(LocalError, match="locks do not work on its file system") as caught:
        State.create_or_open(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(LOCAL_DISK)
    assert not path.exists()


def test_a_lock_that_somebody_has_is_still_in_use(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with State.create_or_open(path), pytest.raises(StateInUse, match=f"in use by pid {os.getpid()}"):
        take_lock(path)


def test_a_disk_that_fails_is_not_taken_for_one_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlockable(monkeypatch, "flock", errno.EIO)
    with pytest.raises(LocalError, match="cannot be locked: Input/output error"):
        take_lock(tmp_path / "state.sqlite")


@pytest.mark.parametrize(
    "name", ["SQLITE_PROTOCOL", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_RDLOCK", "SQLITE_IOERR_SHMMAP"]
)
def test_what_sqlite_says_of_such_a_place_is_told_with_what_to_do(tmp_path: Path, name: str) -> None:
    error = sqlite3.OperationalError("locking protocol")
    error.sqlite_errorcode = getattr(sqlite3, name)
    with (
        pytest.raises(LocalError, match="lacks what a state needs") as caught,
        database.state_errors(tmp_path / "s"),
    ):
        raise error
    assert str(caught.value).endswith(LOCAL_DISK)


def test_a_state_that_somebody_else_holds_is_not_taken_for_one_without_locks(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    State.create_or_open(path).close()
    before = sorted(path.name for path in tmp_path.iterdir())
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    with pytest.raises(StateInUse, match="held by another program"), database.state_errors(path):
        raise error
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_system_without_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite then stays with another kind of journal, and says no word of it."""
    connect = sqlite3.connect

    class Unshared(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            return super().execute(statement.replace("journal_mode = WAL", "journal_mode"), *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Unshared))
    with pytest.raises(LocalError, match="cannot share memory") as caught:
        State.create_or_open(tmp_path / "state.sqlite")
    assert str(caught.value).endswith(LOCAL_DISK)


# ---- the same below Python --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_locks(tmp_path_factory: pytest.TempPathFactory, bug_cases: Path) -> Path:
    """A library that makes system calls on files of a folder fail as such file systems do."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler or sys.platform != "linux":
        pytest.skip("no C compiler on Linux at hand")
    made = tmp_path_factory.mktemp("preload") / "nolock.so"
    source = bug_cases / "_harness" / "nolock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True, capture_output=True)
    return made


def on_share(library: Path, mode: str, folder: Path, *arguments: object) -> tuple[int, str, str]:
    environment = {"LD_PRELOAD": str(library), "NOLOCK_DIR": str(folder), "NOLOCK_MODE": mode}
    done = subprocess.run(
        [sys.executable, "-m", "s2async", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "state", [pytest.param("local/state.sqlite", marks=pytest.mark.long), "share/state.sqlite"]
)
def test_crops_on_a_share_that_does_not_wait_for_folders(
    tmp_path: Path, stage: Stage, calm: Ran, without_locks: Path, state: str
) -> None:
    share = tmp_path / "share"
    path = worlds.write_config(tmp_path, stage.sandbox, output={"folder": "share/crops"}, run={"state": state})
    for _ in range(2):
        code, _, said = on_share(without_locks, "dirsync", share, "-q", "run", path)
        assert (code, said) == (0, "")
    found = worlds.result(Config.load(path))
    assert found == worlds.result(calm.config)


@pytest.mark.parametrize(
    "mode", [*(pytest.param(mode, marks=pytest.mark.long) for mode in ("flock", "fcntl")), "flock,fcntl,dirsync"]
)
def test_a_state_on_a_share_without_locks(
    tmp_path: Path, stage: Stage, calm: Ran, without_locks: Path, mode: str
) -> None:
    share = tmp_path / "share"
    path = worlds.write_config(tmp_path, stage.sandbox, run={"state": "share/state.sqlite"})
    code, out, said = on_share(without_locks, mode, share, "-q", "run", path)
    assert (code, out) == (6, "")
    (line,) = said.splitlines()
    assert line.startswith(f"s2async: the state {share / 'state.sqlite'} cannot be locked: ")
    assert line.endswith(LOCAL_DISK)
    if "fcntl" in mode:  # who only reads needs SQLite's locks as well
        worlds.run(path, stage.sandbox)
        code, _, said = on_share(without_locks, mode, share, "status", path)
        assert (code, said.strip().endswith(LOCAL_DISK)) == (6, True)
    # what the advice says
    path = worlds.write_config(tmp_path, stage.sandbox, name="moved", output={"folder": "share/crops"})
    assert on_share(without_locks, mode, share, "-q", "run", path) == (0, "", "")
    config = Config.load(path)
    with Ledger.read(config.run.state) as ledger:
        assert ledger.counts(config.selection()).open == 0


def test_what_a_check_says_of_a_share(tmp_path: Path, stage: Stage, without_locks: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    path = worlds.write_config(
        tmp_path, stage.sandbox, output={"folder": "share/crops"}, run={"state": "share/state.sqlite"}
    )

    def told(mode: str) -> tuple[int, dict[str, str]]:
        code, out, _ = on_share(without_locks, mode, share, "check", path, "--json")
        found = [one for one in json.loads(out)["findings"] if one["verdict"] in ("odd", "wrong")]
        return code, {one["check"]: f"{one['verdict']}: {one['found']}" for one in found}

    code, found = told("dirsync")
    assert (code, found.keys() - {"item fields"}) == (0, {"output"})
    assert "odd: " in found["output"]
    assert "a power cut may undo the newest crops" in found["output"]
    for mode in ("flock", "fcntl"):
        code, found = told(mode)
        assert (code, found.keys() - {"item fields"}) == (6, {"locks"})
        assert "put `state` under [run] on a local disk" in found["locks"]
    assert [file.name for file in share.iterdir()] == []


def test_a_place_is_checked_without_a_trace(tmp_path: Path) -> None:
    database.check_place(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LocalError, match="unable to open database file"):
        database.check_place(tmp_path / "nowhere")
