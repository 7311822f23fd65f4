from __future__ import annotations

import errno
import itertools
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from s2async import files
from s2async.errors import LocalError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(number: int):  # type: ignore[no-untyped-def]
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# ---- whole or not there ------------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "crop.tif"
    for data in (b"one", b"", b"three" * 100_000):
        files.replace(path, data)
        assert path.read_bytes() == data
    assert names(tmp_path) == ["crop.tif"]


def test_bytes_are_on_the_disk_before_the_name_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "crop.tif"
    steps = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        is_folder = os.path.samestat(os.fstat(descriptor), os.stat(tmp_path))  # noqa: PTH116
        steps.append(("fsync folder" if is_folder else "fsync file", path.exists()))
        fsync(descriptor)

    def noting_replace(source: Path, target: Path) -> Path:
        steps.append(("replace", source.read_bytes() == b"x" * 5000 and source.parent == target.parent))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    files.replace(path, b"x" * 5000)
    assert steps == [("fsync file", False), ("replace", True), ("fsync folder", True)]


def test_some_files_are_all_on_the_disk_before_the_first_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [(tmp_path / f"{name}.tif", name.encode() * 70_000) for name in ("b", "a", "area/c", "area/d")]
    (tmp_path / "area").mkdir()
    steps = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noting_replace(source: Path, target: Path) -> Path:
        steps.append(target.name)
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    files.replace_all(contents, token="t")
    assert steps == ["file"] * 4 + ["b.tif", "a.tif", "c.tif", "d.tif"] + ["folder"] * 2
    assert all(path.read_bytes() == data for path, data in contents)
    assert names(tmp_path) == ["a.tif", "area", "b.tif"]
    assert names(tmp_path / "area") == ["c.tif", "d.tif"]


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_one_of_some_files_that_fails_leaves_no_part_of_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, nth: int
) -> None:
    contents = [(tmp_path / f"{number}.tif", b"new" * 70_000) for number in range(3)]
    for path, _ in contents:
        path.write_bytes(b"old")
    where, calls = (os if step == "fsync" else Path), itertools.count()
    plain = getattr(where, step)

    def sick(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(*args, **kwargs)

    monkeypatch.setattr(where, step, sick)
    with pytest.raises(LocalError, match=rf"cannot write .*/{nth}\.tif: No space left"):
        files.replace_all(contents, token="t")
    monkeypatch.undo()
    assert names(tmp_path) == ["0.tif", "1.tif", "2.tif"]
    done = nth if step == "replace" else 0
    assert [path.read_bytes()[:3] for path, _ in contents] == [b"new"] * done + [b"old"] * (3 - done)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_disk_that_fails_leaves_the_name_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, old: bytes | None
) -> None:
    path = tmp_path / "crop.tif"
    if old is not None:
        path.write_bytes(old)
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(LocalError) as error:
        files.replace(path, b"new")
    assert str(error.value).startswith(f"cannot write {path}: {os.strerror(number)}; ")
    assert str(error.value).endswith(" and run again")
    assert names(tmp_path) == (["crop.tif"] if old is not None else [])
    assert old is None or path.read_bytes() == old


def test_a_rename_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "crop.tif"
    path.mkdir()
    with pytest.raises(LocalError, match="cannot write"):
        files.replace(path, b"new")
    assert names(tmp_path) == ["crop.tif"]


def test_being_interrupted_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.replace(tmp_path / "crop.tif", b"new")
    assert names(tmp_path) == []


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot write .*crop.tif: No such file"):
        files.replace(tmp_path / "gone" / "crop.tif", b"new")


WRITER = """
import sys
from pathlib import Path
from s2async import files
path, size = Path(sys.argv[1]), int(sys.argv[2])
number = 0
while True:
    number = (number + 1) % 256
    files.replace(path, bytes([number]) * size, token="mine")
    if number == 1:
        print("going", flush=True)
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_at_any_time_no_part_of_a_file_is_seen(tmp_path: Path) -> None:
    size, kills, left = 300_000, 20, 0
    path = tmp_path / "area" / "crop.tif"
    path.parent.mkdir()
    for round_ in range(0, kills, 4):
        writers = [child(WRITER, path.with_name(f"crop{i}.tif"), size) for i in range(4)]
        try:
            for writer in writers:
                assert writer.stdout is not None
                assert writer.stdout.readline() == "going\n"
            for i, writer in enumerate(writers):
                time.sleep(0.003 + 0.002 * (round_ + i) % 0.011)
                writer.kill()
        finally:
            for writer in writers:
                writer.kill()
                writer.communicate()
                assert writer.returncode == -signal.SIGKILL
        for i in range(4):
            data = path.with_name(f"crop{i}.tif").read_bytes()
            assert len(data) == size
            assert len(set(data)) == 1
        left += files.sweep(tmp_path, token="mine")
        assert names(path.parent) == [f"crop{i}.tif" for i in range(4)]
    assert left > 0  # some were killed half-way


def test_a_disk_with_too_little_room(tmp_path: Path) -> None:
    """A real write that the system cuts short: the limit of a file's size stands for a full disk."""
    code = """
        import resource, sys
        from pathlib import Path
        from s2async import files
        from s2async.errors import LocalError
        path = Path(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        files.replace(path, b"small" * 100)
        try:
            files.replace(path, b"large" * 100_000)
        except LocalError as error:
            print(error)
    """
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    path = tmp_path / "crop.tif"
    said, trouble = child(code, path).communicate(timeout=200)
    assert trouble == ""
    why = f"{os.strerror(errno.EFBIG)}; raise the limit on the size of files and run again"
    assert said == f"cannot write {path}: {why}\n"
    assert path.read_bytes() == b"small" * 100
    assert names(tmp_path) == ["crop.tif"]


# ---- before and after a run --------------------------------------------------------------------------------


def test_sweeping_takes_what_a_killed_run_left_and_nothing_else(tmp_path: Path) -> None:
    token = "s2async-0badcafe"
    mine = [
        f".{token}-0123456789ab.part",
        f"area/.{token}-ba9876543210.part",
        ".s2async-probe-0123456789ab.part",
    ]
    others = [
        f".{token}00-0123456789ab.part",
        f".{token}-more-0123456789ab.part",
        ".s2async-12345678-0123456789ab.part",
        f".{token}-0123456789ab.tif",
        f"{token}-0123456789ab.part",
        f"area/deeper/.{token}-0123456789ab.part",
        "area/crop.tif",
    ]
    for name in mine + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files.sweep(tmp_path, token=token) == 3
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(others)
    assert files.sweep(tmp_path, token=token) == 0


def test_sweeping_finds_what_replace_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "area").mkdir()

    def leave(token: str) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(Path, "unlink", lambda *_, **__: None)
            broken.setattr(os, "fsync", failing(errno.ENOSPC))
            with pytest.raises(LocalError):
                files.replace(tmp_path / "area" / "crop.tif", b"new", token=token)

    for token in ("a[b]*", "other"):
        leave(token)
    assert len(names(tmp_path / "area")) == 2
    assert files.sweep(tmp_path, token="a[b]*") == 1
    assert len(names(tmp_path / "area")) == 1
    leave("other")  # from now on, temporary files have a folder of their own
    assert len(names(tmp_path / "area")) == 1
    assert files.sweep(tmp_path, token="other") == 1
    assert names(tmp_path / files.PARTS) == []


def test_after_the_first_sweep_temporary_files_lie_together(tmp_path: Path) -> None:
    """The folders of areas are not looked into again, but for those that a link leads to."""
    output, elsewhere = tmp_path / "output", tmp_path / "elsewhere"
    (output / "area").mkdir(parents=True)
    elsewhere.mkdir()
    (output / "linked").symlink_to(elsewhere)
    assert files.temporary(output / "area" / "crop.tif", "x").parent == output / "area"
    assert files.sweep(output, token="x") == 0
    parts = output / files.PARTS
    part = files.temporary(output / "area" / "crop.tif", "x")
    assert part.parent == parts
    assert files.temporary(output / "overview.csv", "x").parent == output
    assert files.temporary(output / "gone" / "crop.tif", "x").parent == output / "gone"
    files.replace(output / "area" / "crop.tif", b"data", token="x")
    assert (output / "area" / "crop.tif").read_bytes() == b"data"
    assert names(parts) == []
    name = ".x-0123456789ab.part"
    for place in (parts, output, output / "linked", output / "area"):
        (place / name).touch()
    assert files.sweep(output, token="x") == 3
    assert names(output / "area") == [name, "crop.tif"], "nothing of this version can be there"
    parts.rmdir()
    assert files.sweep(output, token="x") == 1


def test_the_folder_of_temporary_files_is_on_the_same_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounted").mkdir()
    files.sweep(tmp_path, token="x")
    plain = os.stat

    def stat(path: Any, *more: Any, **named: Any) -> Any:
        found = plain(path, *more, **named)
        if Path(path).name != "mounted":
            return found
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:]))

    monkeypatch.setattr(os, "stat", stat)
    assert files.temporary(tmp_path / "mounted" / "crop.tif", "x").parent == tmp_path / "mounted"


def test_sweeping_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert files.sweep(tmp_path / "none", token="x") == 0
    assert names(tmp_path) == []


def test_sweeping_says_what_it_cannot_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".x-0123456789ab.part").touch()
    monkeypatch.setattr(Path, "unlink", failing(errno.EACCES))
    with pytest.raises(LocalError, match=r"cannot remove .*: Permission denied"):
        files.sweep(tmp_path, token="x")


def test_making_folders(tmp_path: Path) -> None:
    files.make_folder(tmp_path / "a" / "b", parents=True)
    files.make_folder(tmp_path / "a" / "b")
    with pytest.raises(LocalError, match=r"No such file or directory; put the folder back"):
        files.make_folder(tmp_path / "gone" / "b")
    assert not (tmp_path / "gone").exists()
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for below in ("file", "file/deeper"):
        with pytest.raises(LocalError, match=rf"cannot make the folder .*{below}: "):
            files.make_folder(tmp_path / below)


def test_what_is_in_the_way_is_told_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(
        LocalError, match=r"folder .*file: File exists; move that file away, or name another folder"
    ):
        files.make_folder(file, parents=True)
    with pytest.raises(LocalError, match=r"file/x: Not a directory; move away the file where a folder should be"):
        files.make_folder(file / "x", parents=True)
    advice = "name a file, or move that folder away"
    with pytest.raises(LocalError, match=f"Is a directory; {advice}"), files.local_errors("read", tmp_path):
        tmp_path.read_bytes()


# ---- a file that is nobody's yet --------------------------------------------------------------------------


@pytest.mark.parametrize("links", [True, False])
def test_of_those_who_create_a_file_the_first_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:  # as on FAT
        monkeypatch.setattr(Path, "hardlink_to", failing(errno.EPERM))
    path = tmp_path / "mark"
    assert files.create(path, b"mine", token="one")
    assert not files.create(path, b"yours", token="two")
    assert path.read_bytes() == b"mine"
    assert names(tmp_path) == ["mark"]
    with pytest.raises(LocalError, match="cannot write"):
        files.create(tmp_path / "none" / "mark", b"mine", token="one")


@pytest.mark.slow
def test_many_processes_that_create_a_file_at_once(tmp_path: Path) -> None:
    code = """
    import sys, time
    from pathlib import Path
    from s2async import files
    folder, name = Path(sys.argv[1]), sys.argv[2]
    while not (folder / "go").exists():
        time.sleep(0.001)
    print(files.create(folder / "mark", name.encode() * 1000, token=name))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    tried = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(4)]
    time.sleep(1)
    (tmp_path / "go").touch()
    said = [process.communicate(timeout=200)[0].strip() for process in tried]
    assert sorted(said) == ["False", "False", "False", "True"]
    assert (tmp_path / "mark").read_bytes() == str(said.index("True")).encode() * 1000
    assert names(tmp_path) == ["go", "mark"]
