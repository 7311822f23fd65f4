"""Folders of areas are renamed whatever they swap, and whenever the program is killed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from s2async import files
from s2async.areas.folders import FIRST, LAST, Shelf, arrange, parking
from s2async.errors import LocalError
from s2async.models import Area, FolderMove
from s2async.output import folder_moves


class Killed(BaseException):
    """Stands for a kill."""


def move_all(output: Path, moves: Sequence[FolderMove]) -> None:
    folder_moves.park(output, moves)
    folder_moves.place(output, moves)


def parked_at(move: FolderMove) -> str:
    return parking(move.fingerprint, move.old, move.new)


def contents(output: Path) -> dict[str, set[str]]:
    return {folder.name: {path.name for path in folder.iterdir()} for folder in output.iterdir()}


def killed_after(renames: int, work: Callable[[], None]) -> bool:
    """Do the work, but be killed before a rename after so many; tells whether it was."""
    left = renames
    rename = Path.replace

    def counted(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", counted)
        try:
            work()
        except Killed:
            return True
    return False


@settings(max_examples=80, deadline=None)
@given(st.permutations("abcd"), st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcdx")), st.data())
@pytest.mark.slow
def test_any_exchange_of_names_survives_kills(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    crops_of: set[str],
    foreign: set[str],
    data: st.DataObject,
) -> None:
    """Areas 0 to 3 had the folders a to d and get others: rings, chains, and e or x that nobody had."""
    names = [data.draw(st.sampled_from([name, name, "e", "x"])) if name == "d" else name for name in names]
    output = tmp_path_factory.mktemp("output")
    keys = [f"{index}" * 16 for index in range(4)]
    for key, old in zip(keys, "abcd", strict=True):
        if old in crops_of:
            (output / old).mkdir()
            (output / old / f"crop of {key}").touch()
    if "x" in foreign:
        (output / "x").mkdir()
        (output / "x" / "foreign").touch()
    known = dict(zip(keys, "abcd", strict=True))
    shelves = {
        key: [Shelf(since=FIRST, until=LAST, wanted=True, folder=old, name=old, new_folder=old, new_name=old)]
        for key, old in known.items()
    }
    wanted = {
        key: Area(name=name, wkb=shapely.box(0, 0, 1, 1).wkb, fingerprint=key, folder=name)
        for key, name in zip(keys, names, strict=True)
    }
    arranged = {key: shelf for key, (shelf,) in arrange(shelves, wanted.values()).items()}
    moves = [
        FolderMove(fingerprint=key, old=shelf.folder, new=shelf.new_folder)
        for key, shelf in arranged.items()
        if shelf.folder != shelf.new_folder
    ]

    # the state notes the end of the first half, so that a kill repeats one half only
    while killed_after(data.draw(st.integers(0, 6)), lambda: folder_moves.park(output, moves)):
        pass
    parked = [replace(move, parked=True) for move in moves]
    while killed_after(data.draw(st.integers(0, 6)), lambda: move_all(output, parked)):
        pass

    expected = {wanted[key].folder: {f"crop of {key}"} for key, old in known.items() if old in crops_of}
    if "x" in foreign:
        expected.setdefault("x", set()).add("foreign")
    assert contents(output) == expected


@pytest.mark.parametrize("renames", range(8))
def test_files_join_those_of_a_folder_that_is_there(tmp_path: Path, renames: int) -> None:
    move = FolderMove(fingerprint="f" * 16, old="old", new="new", files=("1.tif", "2.tif", "3.tif"))
    for name in ("old/1.tif", "old/2.tif", "old/3.tif", "new/notes.txt", "new/2.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    killed = killed_after(renames, lambda: move_all(tmp_path, [move]))
    assert killed == (renames < 4)
    move_all(tmp_path, [move])
    assert contents(tmp_path) == {"new": {"1.tif", "2.tif", "3.tif", "notes.txt"}}
    assert (tmp_path / "new/2.tif").read_text() == "old/2.tif"  # the area's own crop wins


def test_moves_are_on_the_disk_before_they_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    for name in ("old/1.tif", "new/notes.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    folder_moves.park(tmp_path, [move])
    assert synced == [tmp_path]
    folder_moves.place(tmp_path, [move])
    assert synced == [tmp_path, tmp_path / "new", tmp_path]


def test_a_parking_place_that_was_left_is_joined(tmp_path: Path) -> None:
    """Killed after parking, run with the old config, then moved again: crops lie in both places."""
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    for name in (f"{parked_at(move)}/1.tif", "old/2.tif"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    move_all(tmp_path, [move])
    assert contents(tmp_path) == {"new": {"1.tif", "2.tif"}}


def test_moves_without_folders_do_nothing(tmp_path: Path) -> None:
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    move_all(tmp_path, [move])
    move_all(tmp_path / "no output yet", [move])
    move_all(tmp_path / "no output yet", [])
    assert contents(tmp_path) == {}


def test_a_move_that_is_not_possible_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = FolderMove(fingerprint="f" * 16, old="old", new="new")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "1.tif").touch()
    (tmp_path / "new").touch()
    with pytest.raises(LocalError, match=r"^cannot move to .*new: Not a directory; move away the file "):
        move_all(tmp_path, [move])
    assert (tmp_path / parked_at(move) / "1.tif").exists()
    (tmp_path / "new").unlink()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(LocalError, match=r"^cannot move folders in .*: Input/output error"):
        move_all(tmp_path, [move])


def test_single_crops_are_taken_out_with_their_quicklooks(tmp_path: Path) -> None:
    """Two areas share a folder, and one of them gets a name of its own: nothing of the other one moves."""
    move = FolderMove(
        fingerprint="f" * 16, old="old", new="new", files=("1.tif", "3.tif", "gone.tif"), whole=False
    )
    for name in ("old/1.tif", "old/1.png", "old/2.tif", "old/2.png", "old/3.tif", "old/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for renames in range(4):
        assert killed_after(renames, lambda: folder_moves.park(tmp_path, [move])) == (renames < 2)
    parked = replace(move, parked=True)
    while killed_after(1, lambda: move_all(tmp_path, [parked])):
        pass
    assert contents(tmp_path) == {"new": {"1.tif", "1.png", "3.tif"}, "old": {"2.tif", "2.png", "notes.txt"}}


def test_a_folder_that_is_empty_then_is_removed(tmp_path: Path) -> None:
    moves = [
        FolderMove(fingerprint="f" * 16, old="old", new=name[0], files=(name,), whole=False)
        for name in ("a.tif", "b.tif")
    ]
    (tmp_path / "old").mkdir()
    for name in ("a.tif", "b.tif"):
        (tmp_path / "old" / name).touch()
    move_all(tmp_path, moves)
    assert contents(tmp_path) == {"a": {"a.tif"}, "b": {"b.tif"}}


def test_what_is_not_recorded_overwrites_nothing(tmp_path: Path) -> None:
    """A killed run has left 2.tif unrecorded, and the folder that it moves to has a recorded crop of this name."""
    move = FolderMove(fingerprint="f" * 16, old="old", new="new", files=("1.tif",))
    for name in ("old/1.tif", "old/2.tif", "old/notes.txt", "new/2.tif", "new/notes.txt", "new/notes.txt.old"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    move_all(tmp_path, [move])
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {
        "1.tif": "old/1.tif",
        "2.tif": "new/2.tif",
        "2.tif.old": "old/2.tif",
        "notes.txt": "new/notes.txt",
        "notes.txt.old": "new/notes.txt.old",
        "notes.txt.old.old": "old/notes.txt",
    }
