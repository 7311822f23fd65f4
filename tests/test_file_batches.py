"""Many files at once: all on the disk before the first gets its name, and none ever in part."""

from __future__ import annotations

import errno
import itertools
import os
import platform
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s2async import file_batches, files
from s2async.errors import LocalError
from s2async.file_batches import LEAST, MOST, NewFile, write_all

COUNT = 20
Steps = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def _nothing_learned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(file_batches, "_paused", {})
    file_batches._reports_errors.cache_clear()
    yield
    file_batches._reports_errors.cache_clear()


def some(folder: Path, count: int = COUNT, *, what: bytes = b"new", areas: int = 3) -> list[NewFile]:
    """Crops of some areas, each of another size."""
    for area in range(areas):
        (folder / f"area{area}").mkdir(exist_ok=True)
    return [NewFile(folder / f"area{n % areas}" / f"{n}.tif", what * (1000 + n)) for n in range(count)]


def there(folder: Path) -> dict[str, bytes]:
    """All files, temporary ones too."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected(contents: list[NewFile]) -> dict[str, bytes]:
    return {new.path.name: new.data for new in contents}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the file system, and how often a file or folder was synced."""
    found = Counter[str]()
    call, fsync = file_batches._call, os.fsync

    def noting_call(name: str, *arguments: Any) -> None:
        found[name] += 1
        call(name, *arguments)

    def noting_fsync(descriptor: int) -> None:
        found["fsync"] += 1
        fsync(descriptor)

    monkeypatch.setattr(file_batches, "_call", noting_call)
    monkeypatch.setattr(os, "fsync", noting_fsync)
    return found


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems sync files one by one")


@pytest.fixture(scope="module", autouse=True)
def _known_file_system(tmp_path_factory: pytest.TempPathFactory) -> None:
    if file_batches._type(tmp_path_factory.mktemp("disk")) not in file_batches._KNOWN:
        pytest.skip("the file system of temporary files is not one that is synced as a whole")


# ---- whole or not there -----------------------------------------------------------------------------------


def test_files_are_written_and_replaced(tmp_path: Path, calls: Counter[str]) -> None:
    for what in (b"one", b"", b"three" * 100):
        contents = some(tmp_path, what=what)
        write_all(contents, token="t")
        assert there(tmp_path) == expected(contents)
    assert calls["syncfs"] == calls["fsync"] == 2 * 3


def test_all_bytes_are_on_the_disk_before_the_first_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, call = some(tmp_path), file_batches._call
    seen: Steps = []

    def noting(name: str, *arguments: Any) -> None:
        if name == "syncfs":
            now = there(tmp_path)
            parts = sorted(len(data) for name, data in now.items() if name.endswith(files.SUFFIX))
            seen.append((parts, sum(name.endswith(".tif") for name in now)))
        call(name, *arguments)

    monkeypatch.setattr(file_batches, "_call", noting)
    write_all(contents, token="t")
    assert seen == [([len(new.data) for new in contents], 0), ([], COUNT)]


def test_files_get_their_names_in_the_order_of_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents, replace = some(tmp_path)[::-1], Path.replace
    renamed: Steps = []

    def noting(source: Path, target: Path) -> Path:
        renamed.append((source.parent, target))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", noting)
    write_all(contents, token="t")
    assert renamed == [(new.path.parent, new.path) for new in contents]


def test_new_files_have_the_mode_of_others(tmp_path: Path) -> None:
    contents = some(tmp_path)
    (tmp_path / "other").touch()
    write_all(contents, token="t")
    modes = {stat.S_IMODE(new.path.stat().st_mode) for new in contents}
    assert modes == {stat.S_IMODE((tmp_path / "other").stat().st_mode)}


def test_a_write_that_takes_only_a_part_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents, write = some(tmp_path), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:700]))
    write_all(contents, token="t")
    assert there(tmp_path) == expected(contents)


def test_many_files_are_written_in_bounded_batches(tmp_path: Path, calls: Counter[str]) -> None:
    contents = some(tmp_path, 2 * MOST + LEAST)
    write_all(contents, token="t")
    assert there(tmp_path) == expected(contents)
    assert calls["syncfs"] == 2 * 3


def test_large_files_are_written_in_bounded_batches(
    tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = some(tmp_path, 3 * LEAST)
    monkeypatch.setattr(file_batches, "MOST_BYTES", sum(len(new.data) for new in contents[:LEAST]))
    write_all(contents, token="t")
    assert there(tmp_path) == expected(contents)
    assert calls["syncfs"] == 2 * 3


# ---- where files are synced one by one --------------------------------------------------------------------


def one_by_one(calls: Counter[str], count: int = COUNT) -> bool:
    """Whether each file of one folder was synced, and the folder once for eight of them."""
    return calls["syncfs"] == 0 and calls["fsync"] == count + -(-count // 8)


def test_few_files_are_synced_one_by_one(tmp_path: Path, calls: Counter[str]) -> None:
    contents = some(tmp_path, LEAST - 1, areas=1)
    write_all(contents, token="t")
    assert one_by_one(calls, LEAST - 1)
    assert there(tmp_path) == expected(contents)
    write_all([], token="t")


@pytest.mark.parametrize(
    ("system", "release", "one"),
    [("linux", "5.7.19-generic", True), ("linux", "4.18.0-553.el8", True), ("linux", "2.6.60", True),
     ("darwin", "24.1.0", True), ("linux", "strange", True), ("linux", "5.8rc1", False),
     ("linux", "5.10.0-28-amd64", False), ("linux", "6.1", False), ("linux", "10.0.1", False)],
)  # fmt: skip
def test_so_are_those_of_a_system_whose_syncfs_reports_no_errors(
    tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch, system: str, release: str, one: bool
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "release", lambda: release)
    contents = some(tmp_path, areas=1)
    write_all(contents, token="t")
    assert one_by_one(calls) == one
    assert there(tmp_path) == expected(contents)


@pytest.mark.parametrize(
    "kind", [0x6969, 0xFE534D42, 0x65735546, 0x01021997, 0x794C7630], ids=["nfs", "smb", "fuse", "9p", "overlay"]
)
def test_so_are_those_of_other_file_systems(
    tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    monkeypatch.setattr(file_batches, "_type", lambda _: kind)
    contents = some(tmp_path, areas=1)
    write_all(contents, token="t")
    assert one_by_one(calls)
    assert there(tmp_path) == expected(contents)


def test_so_are_those_of_a_disk_to_which_others_write_much(
    tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_batches, "_PATIENCE", -1.0)
    write_all(some(tmp_path, areas=1), token="t")
    assert calls["syncfs"] == 2
    calls.clear()
    contents = some(tmp_path, what=b"other", areas=1)
    write_all(contents, token="t")
    assert one_by_one(calls)
    assert there(tmp_path) == expected(contents)
    monkeypatch.setattr(file_batches, "_PAUSE", -1.0)
    monkeypatch.setattr(file_batches, "_paused", {})
    write_all(some(tmp_path), token="t")
    calls.clear()
    write_all(some(tmp_path), token="t")
    assert calls["syncfs"] == 2, "the pause ends"


def test_each_disk_is_synced(tmp_path: Path, calls: Counter[str]) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system")
    contents = some(tmp_path, areas=2)
    other = memory / f"s2async-test-{os.getpid()}"
    try:
        other.mkdir()
        (tmp_path / "area1").rmdir()
        (tmp_path / "area1").symlink_to(other)
        contents += [NewFile(tmp_path / f"area{n % 2}" / f"more{n}.tif", b"x") for n in range(COUNT)]
        write_all(contents, token="t")
        assert {new.path.read_bytes() == new.data for new in contents} == {True}
        assert calls["syncfs"] == 2 * 2
        assert len(there(other)) == COUNT
    finally:
        for path in other.iterdir():
            path.unlink()
        other.rmdir()


# ---- faults -----------------------------------------------------------------------------------------------


def failing(plain: Any, nth: int, number: int, name: str = "") -> Any:
    """A function that fails at the n-th call."""
    visits = itertools.count()

    def sick(*args: Any, **kwargs: Any) -> Any:
        if name in ("", args[0]) and next(visits) == nth:
            raise OSError(number, os.strerror(number))
        return plain(*args, **kwargs)

    return sick


@pytest.mark.parametrize("nth", [0, 1, COUNT - 1])
@pytest.mark.parametrize(("step", "number"), [("write", errno.ENOSPC), ("open", errno.EMFILE)])
def test_a_write_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, nth: int
) -> None:
    before = some(tmp_path, what=b"old")
    write_all(before, token="t")
    monkeypatch.setattr(os, step, failing(getattr(os, step), nth, number))
    with pytest.raises(LocalError, match=rf"cannot write .*/{nth}\.tif: {os.strerror(number)}"):
        write_all(some(tmp_path), token="t")
    monkeypatch.undo()
    assert there(tmp_path) == expected(before)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["syncfs", "fsync"])
@pytest.mark.parametrize("nth", [0, 1])
def test_a_sync_that_fails_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, nth: int, number: int
) -> None:
    before, after = some(tmp_path, what=b"old"), some(tmp_path)
    write_all(before, token="t")
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", failing(os.fsync, nth, number))
    else:
        monkeypatch.setattr(file_batches, "_call", failing(file_batches._call, nth, number, "syncfs"))
    with pytest.raises(LocalError, match=f"cannot sync the file system of .*: {os.strerror(number)}; "):
        write_all(after, token="t")
    assert there(tmp_path) == expected(after if nth else before)


@pytest.mark.parametrize("nth", [0, 7, COUNT - 1])
def test_a_rename_that_fails_leaves_whole_files(tmp_path: Path, nth: int) -> None:
    before, after = some(tmp_path, what=b"old"), some(tmp_path)
    write_all(before, token="t")
    after[nth].path.unlink()
    after[nth].path.mkdir()
    with pytest.raises(LocalError, match=rf"cannot write .*/{nth}\.tif"):
        write_all(after, token="t")
    assert there(tmp_path) == expected(before[nth + 1 :]) | expected(after[:nth])


def test_a_missing_folder_is_made_but_not_its_parents(tmp_path: Path) -> None:
    contents = [*some(tmp_path), NewFile(tmp_path / "gone" / "below" / "x.tif", b"x")]
    with pytest.raises(LocalError, match=r"cannot make the folder .*/gone/below: No such file"):
        write_all(contents, token="t")
    assert there(tmp_path) == {}
    (tmp_path / "gone").mkdir()
    write_all(contents, token="t")
    assert (tmp_path / "gone" / "below" / "x.tif").read_bytes() == b"x"


def test_a_file_where_a_folder_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    contents = [*some(tmp_path), NewFile(tmp_path / "file" / "x.tif", b"x")]
    with pytest.raises(LocalError, match=r"cannot make the folder .*/file: File exists; move that file away"):
        write_all(contents, token="t")
    assert there(tmp_path) == {"file": b""}


def test_temporary_names_of_many_files_are_those_that_a_sweep_finds(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.tif" for number in range(20)]
    parts = files.temporaries(paths, "t", tmp_path.stat().st_dev)
    assert len(set(parts)) == len(paths)
    for part in parts:
        part.touch()
    assert files.sweep(tmp_path, token="t") == len(paths)


def test_being_interrupted_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(name: str, *_: Any) -> None:
        if name == "syncfs":
            raise KeyboardInterrupt

    monkeypatch.setattr(file_batches, "_call", interrupt)
    monkeypatch.setattr(file_batches, "_type", lambda _: 0xEF53)
    with pytest.raises(KeyboardInterrupt):
        write_all(some(tmp_path), token="t")
    assert there(tmp_path) == {}


# ---- kill -9 ----------------------------------------------------------------------------------------------

KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from s2async import file_batches
from s2async.file_batches import NewFile, write_all

folder, step, nth = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
visits = itertools.count()

def dying(plain, name=None):
    def call(*args):
        if name not in (None, args[0]):
            return plain(*args)
        if next(visits) == 2 * nth:
            os.kill(os.getpid(), signal.SIGKILL)
        result = plain(*args)
        if next(visits) == 2 * nth + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

if step == "syncfs":
    file_batches._call = dying(file_batches._call, "syncfs")
elif step == "replace":
    Path.replace = dying(Path.replace)
else:
    os.write = dying(os.write)
write_all([NewFile(folder / f"area{n % 3}" / f"{n}.tif", b"new" * (1000 + n)) for n in range(20)], token="t")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "nth", "renamed"),
    [("write", 0, 0), ("write", 11, 0), ("syncfs", 0, 0), ("replace", 0, 0), ("replace", 11, 11),
     ("syncfs", 1, COUNT)],
)  # fmt: skip
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_never_leaves_a_part_under_a_final_name(
    tmp_path: Path, step: str, nth: int, renamed: int, after: bool
) -> None:
    before, contents = some(tmp_path, what=b"old"), some(tmp_path)
    write_all(before, token="t")
    # a step counts as two visits: one before and one after it
    script = KILLED.replace("2 * nth:", "-1:") if after else KILLED.replace("2 * nth + 1:", "-1:")
    command = [sys.executable, "-c", script, str(tmp_path), step, str(nth)]
    killed = subprocess.run(command, timeout=200, check=False)
    assert killed.returncode == -signal.SIGKILL
    renamed += after and step == "replace"
    assert {name: data for name, data in there(tmp_path).items() if name.endswith(".tif")} == expected(
        contents[:renamed]
    ) | expected(before[renamed:])
    files.sweep(tmp_path, token="t")
    write_all(contents, token="t")
    assert there(tmp_path) == expected(contents)
