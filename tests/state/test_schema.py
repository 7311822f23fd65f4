from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from s2async.areas.edits import Place
from s2async.catalog.assets import NO_TIFF, ONLY_JP2
from s2async.causes import Cause
from s2async.errors import LocalError, StateError, StateInUse
from s2async.models import BatchResult, FileFact
from s2async.state import schema
from s2async.state.packed import job_number
from s2async.state.reader import Ledger
from s2async.state.records import OPEN
from s2async.state.writer import State
from tests.support.states import (
    VISUAL,
    A,
    B,
    C,
    add,
    each,
    judge,
    make_area,
    make_scene,
    open_jobs,
    record,
    saved,
    start,
)


def test_a_new_state_is_made_with_its_folder_and_keeps_its_id(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "a? state #1 %41.sqlite"
    with State.create_or_open(path) as first:
        name = first.id
    assert re.fullmatch("[0-9a-f]{8}", name)
    with State.create_or_open(path) as again:
        assert again.id == name
    with State.read(path) as view:
        assert view.id == name
    with State.create_or_open(tmp_path / "other.sqlite") as other:
        assert other.id != name


def test_the_file_is_wal_normal_with_foreign_keys(state: State) -> None:
    found = [
        state._db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    assert found == ["wal", 1, 1]


@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\0" + bytes(5000)])
def test_an_empty_or_damaged_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for opener in (State.create_or_open, State.read):
        with pytest.raises(StateError, match=re.escape(str(path))) as caught:
            opener(path)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE jobs (id)")
    db.close()
    content = path.read_bytes()
    for opener in (State.create_or_open, State.read):
        with pytest.raises(StateError, match="another program"):
            opener(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_found_when_the_file_is_opened(path: Path) -> None:
    with State.create_or_open(path) as state:
        areas = [make_area(f"area {i}") for i in range(300)]
        start(state, areas)
        add(state, make_scene(), areas)
    content = bytearray(path.read_bytes())
    for offset in range(3 * 4096, len(content), 4096):
        content[offset : offset + 200] = b"\xa5" * 200
    path.write_bytes(content)
    with pytest.raises(StateError, match="rebuild"):
        State.create_or_open(path)
    assert path.read_bytes() == content
    with pytest.raises(StateError, match="malformed"), State.read(path) as view:
        view.counts(VISUAL)


def test_damage_that_breaks_no_statement_yet_is_found_as_well(path: Path) -> None:
    with State.create_or_open(path) as state:
        areas = [make_area(f"area {i}") for i in range(300)]
        start(state, areas)
        add(state, make_scene(), areas)
        root = state._db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'asked'").fetchone()[0]
    content = bytearray(path.read_bytes())
    content[root * 4096 - 8 : root * 4096] = b"\xff" * 8
    page = (root - 1) * 4096
    content[page + 3 : page + 5] = b"\0\1"  # number of cells in the page
    path.write_bytes(content)
    with pytest.raises(StateError, match="rebuild") as caught:
        State.create_or_open(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_truncated_file_is_refused(path: Path) -> None:
    with State.create_or_open(path) as state:
        start(state, [A])
    path.write_bytes(path.read_bytes()[: 5 * 4096])
    with pytest.raises(StateError):
        State.create_or_open(path)


def test_the_journal_of_a_lost_file_is_not_played_into_a_new_one(path: Path) -> None:
    journal = path.with_name(path.name + "-wal")
    journal.write_bytes(b"frames")
    with pytest.raises(StateError, match="journal"):
        State.create_or_open(path)
    assert not path.exists()
    assert journal.read_bytes() == b"frames"


def test_nothing_is_left_of_a_creation_that_was_killed(path: Path) -> None:
    path.with_name(path.name + ".new").write_bytes(b"half")
    State.create_or_open(path).close()
    assert {file.name for file in path.parent.iterdir()} == {path.name, path.name + ".lock"}


def test_a_newer_file_is_refused(path: Path) -> None:
    State.create_or_open(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    db.close()
    for opener in (State.create_or_open, State.read):
        with pytest.raises(StateError, match="newer version"):
            opener(path)


def test_an_older_file_is_copied_and_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with State.create_or_open(path) as state:
        start(state, [A])
        record(state, saved(add(state, make_scene(), [A])[0]))

    def widen(db: sqlite3.Connection) -> None:
        db.execute("ALTER TABLE runs ADD COLUMN host TEXT NOT NULL DEFAULT ''")

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, widen])
    with pytest.raises(StateError, match="older version"):
        State.read(path)
    with State.create_or_open(path) as state:
        assert state.counts(VISUAL).total == {"saved": 1}
        assert state._db.execute("SELECT host FROM runs").fetchall() == [("",)]
    monkeypatch.undo()
    with State.create_or_open(path.with_name(path.name + f".v{len(schema.MIGRATIONS)}")) as old:
        assert old.counts(VISUAL).total == {"saved": 1}


def load(path: Path, name: str, *statements: str) -> None:
    """Make a state of an older version from its fixture, changed by some statements."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(Path(__file__).with_name(name).read_text())
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_a_state_of_the_first_version_goes_on(path: Path) -> None:
    """That had no headers: all else is as it was, and from now on headers are kept."""
    load(path, "state_v3.sql", "DROP TABLE headers", "DROP TABLE suspects", "PRAGMA user_version = 1")
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        before = db.execute("SELECT item, area, status FROM jobs").fetchall()
    with State.create_or_open(path) as state:
        later = {name for (name,) in state._db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        new = {"headers", "suspects", "absences", "places", "shelves", "superseded", "bands", "evidence"}
        assert later - tables == new | {"asked", "answers", "troubles", "slots"}
        assert tables - later == {"jobs", "measures"}
        assert state._db.execute("SELECT item, area, status FROM jobs ORDER BY 1, 2").fetchall() == sorted(before)
        assert state._db.execute("PRAGMA foreign_key_check").fetchall() == []
        scene = make_scene("S5", minutes=40)
        assert state.known_files(scene) == ()
        start(state, [A, B, C])
        job = next(job for job in open_jobs(state) if job.scene.id == "S5")
        fact = FileFact(asset="scl", href=job.scene.assets["scl"].href, size=500, etag="tag", header=b"header")
        state.record(BatchResult(outcomes=(saved(job),), files=(fact,)), [])
        assert state.known_files(job.scene) == (fact,)
        assert state.counts(VISUAL).total["saved"] == 2
    assert path.with_name(path.name + ".v1").exists()


def test_bands_of_a_state_without_offsets_wait_for_verify(path: Path) -> None:
    """They are published and their tags say nothing; other crops are of no kind of reflectance."""
    load(path, "state_v4.sql")
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        (job, item, area) = db.execute(
            "SELECT min(p.job), j.item, j.area FROM products p JOIN jobs j ON j.id = p.job"
        ).fetchone()
        db.execute("UPDATE products SET asset = 'B04_10m' WHERE job = ?", (job,))
    with State.create_or_open(path) as state:
        rows = state._db.execute("SELECT DISTINCT asset, harmonised, says FROM products ORDER BY asset").fetchall()
        assert rows == [("B04_10m", 0, None), ("visual", None, None)]
        (doubt,) = state.doubts(VISUAL)
        assert (doubt.crops, doubt.untold) == (1, True)
        assert state.band_crops(harmonised=False) == []
        (crop,) = state.band_crops(harmonised=False, untold=True)
        assert (crop.job, crop.numbers, crop.subtracted, crop.untold) == (job_number(item, area), None, 0, True)


def test_a_state_of_areas_with_one_name_and_folder_each_goes_on(path: Path) -> None:
    """b had left, and the folder of c, which is d now, was on the way to its new name when the run was killed."""
    load(path, "state_v4.sql")
    parked = f".moving-{C.fingerprint}"
    with State.create_or_open(path) as state:
        assert state._db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert state.counts(VISUAL).total == {"saved": 3, OPEN: 1}
        assert [(area.name, dict(area.by_status)) for area in state.counts(VISUAL).areas] == [
            ("a", {"saved": 2}),
            ("d", {"saved": 1, OPEN: 1}),
        ]
        assert [str(crop) for crop in state.crop_paths()] == [
            "a/S1_visual.tif", f"{parked}/S1_visual.tif", "a/S2_visual.tif"
        ]  # fmt: skip
        assert state.places() == [Place("a", A.fingerprint), Place("d", C.fingerprint)]
        renamed = make_area("d", key="c")
        state.sync_areas([A, renamed])
        assert [(move.old, move.new) for move in state.folder_moves()] == [(parked, "d")]
        state.commit_folders()
        season = {"valid_from": date(2022, 1, 2), "valid_to": date(2022, 1, 2)}
        summer = replace(B, start=date(2022, 1, 2), end=date(2022, 1, 2), attributes={"crop": "rye"})
        state.sync_areas([renamed, A, summer])
        assert not state.is_moving()
        state.update_statuses(each(judge), VISUAL)
        state.begin_run("{}", "1.0")
        assert state.reopen_transient() == 1
        assert [(job.area.name, job.scene.id) for job in open_jobs(state)] == [("b", "S2"), ("d", "S2")]
        record(state, *map(saved, open_jobs(state)))
        assert [(row.area, row.item, row.folder, dict(row.attributes)) for row in state.saved_rows(VISUAL)] == [
            ("a", "S1", "a", {}), ("a", "S2", "a", {}), ("b", "S2", "b", {"crop": "rye", **season}),
            ("d", "S1", "d", {}), ("d", "S2", "d", {}),
        ]  # fmt: skip
    assert path.with_name(path.name + ".v4").exists()


def test_a_state_that_told_reasons_in_words_only_goes_on(path: Path) -> None:
    """Nothing is lost, what may pass is tried again, and files that were not there are asked for again."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(Path(__file__).with_name("state_v3.sql").read_text())
    with State.create_or_open(path) as state:
        assert state.counts(VISUAL).total == {"saved": 1, "cloudy": 2, "missing": 4, "failed": 6, OPEN: 2}
        causes = state.without(VISUAL).by_status
        assert causes["missing"] == {Cause.JPEG2000: 2, Cause.NOT_THERE: 2}
        assert causes["failed"] == dict.fromkeys(
            (Cause.NETWORK, Cause.DENIED, Cause.DAMAGED, Cause.LAYOUT, Cause.CRASH, Cause.ORIGIN), 1
        )
        scene = state.scene("sentinel-2-l2a", "S2")
        assert scene is not None
        assert scene.absent == {"visual": ONLY_JP2, "thumbnail": NO_TIFF}
        assert len(list(state.saved_rows(VISUAL))) == 1
        told = {(p.item, p.area): (p.status, p.reason) for p in state.problems()}
        assert told["S2", "a"] == ("missing", "visual: only as JPEG 2000")

        state.sync_areas([A, B, C])
        state.commit_folders()
        assert state.update_statuses(each(judge), VISUAL) == {}
        assert state.reopen_transient() == 4, "not the one of an unsupported layout, nor the one that crashed"
        assert state.reopen_due(VISUAL) == 2
        state.begin_run("{}", "1.0")
        assert {(job.scene.id, job.area.name) for job in open_jobs(state)} == {
            ("S1", "c"), ("S3", "a"), ("S3", "b"), ("S3", "c"), ("S4", "a"), ("S5", "a"), ("S5", "b"), ("S6", "a"),
        }  # fmt: skip
        assert add(state, scene, [A, B, C]) == [], "the same item opens nothing"
        again = add(state, make_scene("S2", minutes=10), [A, B, C])
        assert [job.area.name for job in again] == ["a", "c"], "the picture is there now"
        record(state, *map(saved, open_jobs(state)), *map(saved, again))
        assert state.counts(VISUAL).total == {"saved": 11, "cloudy": 2, "failed": 2}
        assert state._db.execute("SELECT count(*) FROM absences").fetchone() == (0,)
    assert path.with_name(path.name + ".v3").exists()


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    State.create_or_open(path).close()

    def fail(db: sqlite3.Connection) -> None:
        db.execute("DROP TABLE searches")
        raise RuntimeError("stop")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, fail])
        with pytest.raises(RuntimeError, match="stop"):
            State.create_or_open(path)
    with State.create_or_open(path) as state:
        assert state.searches() == ()


def test_reading_needs_a_file(path: Path) -> None:
    with pytest.raises(StateError, match="no state"):
        State.read(path)
    assert not path.exists()


def test_reading_while_a_run_writes(state: State) -> None:
    with State.read(state.path) as view:
        assert view.counts(VISUAL).total == {}
        start(state, [A, B])
        jobs = add(state, make_scene(), [A, B])
        assert view.counts(VISUAL).total == {OPEN: 2}
        rows_while_writing = view.saved_rows(VISUAL)
        record(state, saved(jobs[0]))
        assert view.counts(VISUAL).total == {OPEN: 1, "saved": 1}
        assert [row.area for row in rows_while_writing] == ["a"]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            view._db.execute("DELETE FROM asked")


HOLD = """
import sys, time
from pathlib import Path
from s2async.state.writer import State
state = State.create_or_open(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_second_process_is_told_who_holds_it_and_a_killed_one_frees_it(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            with pytest.raises(
                StateInUse, match=rf"in use by pid {child.pid} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
            ):
                State.create_or_open(path)
            with State.read(path) as view:
                assert view.counts(VISUAL).total == {}
        finally:
            child.kill()
    State.create_or_open(path).close()


def test_the_lock_is_freed_by_close_and_by_a_failed_opening(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(StateError):
        State.create_or_open(path)
    path.unlink()
    first = State.create_or_open(path)
    with pytest.raises(StateInUse, match=f"pid {os.getpid()}"):
        State.create_or_open(path)
    first.close()
    first.close()
    State.create_or_open(path).close()


def test_a_full_disk_is_one_line_and_nothing_of_the_batch_is_kept(state: State) -> None:
    start(state, [A])
    job = add(state, make_scene(), [A])[0]
    pages = state._db.execute("PRAGMA page_count").fetchone()[0]
    state._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [FileFact(asset=f"asset {i} {'x' * 400}", href="", size=1, etag="") for i in range(200)]
    with pytest.raises(LocalError, match=rf"{re.escape(str(state.path))}.*full"):
        state.record(BatchResult(outcomes=(saved(job),), files=tuple(many)), [])
    state._db.execute("PRAGMA max_page_count = 1000000")
    assert state.counts(VISUAL).total == {OPEN: 1}
    record(state, saved(job))
    assert state.counts(VISUAL).total == {"saved": 1}


def test_a_read_only_disk_is_one_line(state: State) -> None:
    state._db.execute("PRAGMA query_only = 1")
    with pytest.raises(LocalError, match=re.escape(str(state.path))):
        state.begin_run("{}", "1.0")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError):
        State.create_or_open(tmp_path / "file" / "state.sqlite")
    with pytest.raises(LocalError):
        State.create_or_open(tmp_path)


def test_a_database_viewer_that_holds_the_file_is_named(state: State) -> None:
    other = sqlite3.connect(state.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateInUse, match="another program"):
        state.begin_run("{}", "1.0")
    other.close()
    assert state.begin_run("{}", "1.0") == 1


RECORD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.support.states import A, B, C, add, make_scene, saved, start
from s2async.models import BatchResult
from s2async.state.writer import State
state = State.create_or_open(Path(sys.argv[1]))
start(state, [A, B, C])
n = int(sys.argv[3])
while True:
    jobs = add(state, make_scene(f"item {n}", minutes=n), [A, B, C])
    print("found", *[job.id for job in jobs], flush=True)
    for job in jobs[:2]:
        state.record(BatchResult(outcomes=(saved(job),)), [])
        print("saved", job.id, flush=True)
    n += 1
"""


@pytest.mark.slow
def test_no_acknowledged_commit_is_lost_by_kill_9(path: Path) -> None:
    found: set[int] = set()
    done: set[int] = set()
    chance = random.Random(1)
    for round_ in range(4):
        command = [sys.executable, "-c", RECORD, str(path), str(Path(__file__).parents[2]), str(round_ * 100_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = "".join(child.stdout.readline() for _ in range(chance.randrange(20, 100)))
            time.sleep(chance.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
            said += child.stdout.read()
        for line in said.splitlines(keepends=True):
            if line.endswith("\n"):
                what, *numbers = line.split()
                (found if what == "found" else done).update(map(int, numbers))
        with State.create_or_open(path) as state:
            kept = dict(state._db.execute("SELECT id, status FROM jobs"))
            assert found <= kept.keys()
            assert {kept[job] for job in done} == {"saved"}
            assert state._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            start(state, [A, B, C])
            assert {job.id for job in open_jobs(state, 7)} == {
                job for job, status in kept.items() if status == OPEN
            }
    assert len(done) > 40


# ---- a process that is killed outside the write-ahead log ---------------------------------------------------

HALF_WRITTEN = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
assert db.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("CREATE TABLE half AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000)"
           " SELECT i, hex(randomblob(100)) FROM n")
os._exit(1)
"""


def test_a_new_state_has_its_mode_before_it_has_its_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bytes] = []
    rename = Path.replace

    def noted(self: Path, target: Path) -> Path:
        if target == path:
            modes.append(self.read_bytes()[18:20])
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    with State.create_or_open(path):
        pass
    assert modes == [b"\2\2"], (
        "2 is the write-ahead log: https://sqlite.org/fileformat.html#file_format_version_numbers"
    )


def test_what_a_killed_process_left_half_written_is_undone_by_readers(path: Path) -> None:
    with State.create_or_open(path) as state:
        identity = state.id
    assert subprocess.run([sys.executable, "-c", HALF_WRITTEN, str(path)], check=False).returncode == 1
    journal = path.with_name(path.name + "-journal")
    assert journal.stat().st_size > 0
    with Ledger.read(path) as read:
        assert read.id == identity
    assert not journal.exists() or journal.stat().st_size == 0
