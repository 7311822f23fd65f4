"""What a disk must provide: writing and space. For locks, see `tests/state/test_database.py`."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from s2async import disk_checks
from s2async.errors import LocalError


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_folder_that_can_be_written_into_is_left_as_it_was(tmp_path: Path) -> None:
    disk_checks.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LocalError, match=r"cannot write into .*gone: No such file"):
        disk_checks.check_writable(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match=r"cannot write into .*file: Not a directory"):
        disk_checks.check_writable(tmp_path / "file")
    for number, text in ((errno.EROFS, "Read-only file system"), (errno.EACCES, "Permission denied")):
        monkeypatch.setattr(Path, "touch", failing(number))
        with pytest.raises(LocalError, match=rf"cannot write into .*: {text}"):
            disk_checks.check_writable(tmp_path)


Usage = namedtuple("Usage", "total used free")


def test_space_is_left_in_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, 300 << 20))
    disk_checks.check_space(tmp_path, 0)
    disk_checks.check_space(tmp_path, 300 << 20)
    with pytest.raises(LocalError) as error:
        disk_checks.check_space(tmp_path, (300 << 20) + 1)
    assert str(error.value) == (
        f"disk full at {tmp_path}: 300 MiB free, 300 MiB are kept in reserve; free some space and run again"
    )


def test_space_of_this_disk(tmp_path: Path) -> None:
    disk_checks.check_space(tmp_path, 1)
    with pytest.raises(LocalError, match="disk full"):
        disk_checks.check_space(tmp_path, 1 << 62)
    with pytest.raises(LocalError, match="cannot read the free space"):
        disk_checks.check_space(tmp_path / "gone", 1)


def test_a_share_that_does_not_tell_its_size_is_not_taken_for_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 0))
    disk_checks.check_space(tmp_path, 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 30, 1 << 30, 0))
    with pytest.raises(LocalError, match="disk full"):
        disk_checks.check_space(tmp_path, 1 << 20)
