"""Folders of areas that are renamed, leave and come back, in the state and on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2async.errors import AreaError
from s2async.maintenance import moving
from s2async.models import FolderMove
from s2async.state.records import OPEN
from s2async.state.writer import State
from tests.support.states import (
    VISUAL,
    A,
    B,
    C,
    add,
    each,
    failed,
    judge,
    make_area,
    make_scene,
    open_jobs,
    record,
    saved,
    start,
)


def folders(state: State) -> dict[str, str]:
    statement = "SELECT a.fingerprint, s.folder FROM areas a JOIN shelves s ON s.area = a.id"
    return dict(state._db.execute(statement))


def test_areas_that_left_the_configuration_keep_their_jobs_which_are_not_counted(state: State) -> None:
    start(state, [A, B])
    jobs = add(state, make_scene(), [A, B])
    record(state, failed(jobs[0], transient=True), saved(jobs[1]))
    add(state, make_scene("S2", minutes=10), [A, B])
    start(state, [A])
    assert [area.name for area in state.counts(VISUAL).areas] == ["a"]
    assert state.counts(VISUAL).total == {"failed": 1, OPEN: 1}
    assert {job.area.name for job in open_jobs(state)} == {"a"}
    assert not list(state.saved_rows(VISUAL))
    start(state, [B])
    assert state.problems() == ()
    assert state.reopen_transient() == 0
    assert state.retry() == 0
    start(state, [A, B])
    assert state.counts(VISUAL).total == {"failed": 1, "saved": 1, OPEN: 2}


def test_an_area_of_the_run_is_needed(state: State) -> None:
    start(state, [A])
    with pytest.raises(ValueError, match="sync_areas"):
        add(state, make_scene(), [A, B])
    assert state.counts(VISUAL).total == {}


def test_two_areas_of_one_folder_are_refused(state: State) -> None:
    with pytest.raises(AreaError, match=r"'a' and 'twin'"):
        state.sync_areas([A, make_area("twin", folder="a")])
    assert folders(state) == {}


def test_a_renamed_area_keeps_its_answers_and_its_folder_moves(state: State) -> None:
    start(state, [A])
    record(state, saved(add(state, make_scene(), [A])[0]))
    renamed = make_area("new name", folder="new-name", key="a")
    state.sync_areas([renamed])
    assert state.folder_moves() == [FolderMove(fingerprint=A.fingerprint, old="a", new="new-name", files=(FILE,))]
    assert folders(state) == {A.fingerprint: "a"}
    with pytest.raises(RuntimeError, match="moves are left"):
        state.sync_areas([renamed])
    state.commit_folders()
    assert folders(state) == {A.fingerprint: "new-name"}
    state.sync_areas([renamed])
    assert not state.is_moving()
    state.update_statuses(each(judge), VISUAL)
    state.begin_run("{}", "1.0")
    assert add(state, make_scene(), [renamed]) == []
    assert [(row.area, row.folder) for row in state.saved_rows(VISUAL)] == [("new name", "new-name")]


def test_an_inactive_area_makes_room_for_another_of_its_folder(state: State) -> None:
    start(state, [A])
    other = make_area("a", key="another polygon")
    state.sync_areas([other])
    assert [(move.old, move.new) for move in state.folder_moves()] == [("a", f"a-{A.fingerprint[:10]}")]
    state.commit_folders()
    assert folders(state) == {A.fingerprint: f"a-{A.fingerprint[:10]}", other.fingerprint: "a"}
    state.sync_areas([other])
    assert not state.is_moving()
    state.sync_areas([make_area("a"), make_area("b", key="another polygon")])
    state.commit_folders()
    assert folders(state) == {A.fingerprint: "a", other.fingerprint: "b"}


def test_folders_that_differ_in_case_only_clash(state: State) -> None:
    start(state, [make_area("Park")])
    state.sync_areas([make_area("park")])
    assert [move.new for move in state.folder_moves()] == [f"Park-{make_area('Park').fingerprint[:10]}"]


FILE = f"{make_scene().id}_visual.tif"


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("survived", range(9))
def test_folders_in_a_ring_survive_a_kill_between_any_two_steps(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    output = tmp_path / "data"
    for area in (A, B, C):
        (output / area.folder).mkdir(parents=True)
        (output / area.folder / f"of {area.name}").touch()
    start(state, [A, B, C])
    ring = [make_area("b", key="a"), make_area("c", key="b"), make_area("a", key="c")]

    def bring_in_line() -> None:
        moving.finish(state, output, token="test")
        state.sync_areas(ring)
        step()
        moving.finish(state, output, token="test")

    left = survived
    rename = Path.replace

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    def counted(self: Path, target: Path) -> Path:
        step()
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted)
        try:
            bring_in_line()
        except Killed:
            assert survived < 7
        left = 1000
        bring_in_line()
    assert {path.relative_to(output).as_posix() for path in output.rglob("of *")} == {"b/of a", "c/of b", "a/of c"}
    assert not state.is_moving()
    assert folders(state) == {A.fingerprint: "b", B.fingerprint: "c", C.fingerprint: "a"}
    assert not list(output.glob(".moving*"))
