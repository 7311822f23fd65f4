"""Native code that ends the process: its jobs are found out, tried alone, and set aside; nobody else is."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.cog import deflate
from s2async.config.model import Config
from s2async.engine import crash_marker, start, worker
from s2async.engine.crash_marker import Left, Marks
from s2async.engine.cut import Cut
from s2async.engine.saving import Encoded
from s2async.errors import LocalError
from s2async.models import Batch, BatchResult
from s2async.state import jobs
from s2async.state.items import MOST_KILLS
from s2async.state.writer import State
from tests.support import worlds
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow

CRASHING = """
import ctypes, os, signal, sys
from pathlib import Path
from s2async.cog import deflate as inflate
from s2async.cli.main import main

how, poison, once, *arguments = sys.argv[1:]
start = bytes.fromhex(poison)
plain = inflate.read_rows

def read_rows(layout, data, rows, **options):
    if bytes(data[: len(start)]) == start and not Path(once).exists():
        if how == "once":
            Path(once).touch()
        {"segfault": lambda: ctypes.string_at(0), "abort": os.abort}.get(
            how, lambda: os.kill(os.getpid(), signal.SIGKILL)
        )()
    return plain(layout, data, rows, **options)

inflate.read_rows = read_rows
main(arguments)
"""
"""The command line, with a decoder that dies of one tile; ``once``: of its first reading only."""

ITEM = worlds.day(4).id
AREA = "North"
"""The only area that needs the first tile of the picture."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in (0, 2, 4, 6, 8)])


@dataclass
class Crasher:
    """Runs one config with a decoder that dies."""

    config: Path
    how: str
    poison: str

    def run(self, *, sane: bool = False, command: str = "run") -> tuple[int, str]:
        """The exit code, negative for a signal, and what was said."""
        once = self.config.with_suffix(".once")
        poison = "00" * 32 if sane else self.poison
        ended = subprocess.run(
            [sys.executable, "-c", CRASHING, self.how, poison, str(once), command, str(self.config)],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return ended.returncode, ended.stderr


def crasher(folder: Path, stage: Stage, how: str) -> Crasher:
    """A config, and the first bytes of the tile that is not survived."""
    layout_of = stage.world.folder / "cogs" / ITEM / "TCI.tif"
    data = layout_of.read_bytes()
    offset = tile_offset(layout_of, 0)
    path = worlds.write_config(folder, stage.sandbox, name=how, network={"connections": 4})
    return Crasher(path, how, data[offset : offset + 32].hex())


def tile_offset(path: Path, tile: int) -> int:
    """Where a tile begins, read from the directory of a little-endian TIFF by hand."""
    data = path.read_bytes()
    (place,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, place)
    for number in range(entries):
        tag, _, _, value = struct.unpack_from("<HHII", data, place + 2 + 12 * number)
        if tag == 324:  # TileOffsets
            return int(struct.unpack_from("<I", data, value + 4 * tile)[0])
    raise AssertionError("no tiles")


def failed(config: Path) -> dict[tuple[str, str], str]:
    return {key: job.reason for key, job in worlds.jobs(Config.load(config)).items() if job.status == "failed"}


def test_a_job_that_crashes_the_process_is_set_aside_and_can_be_brought_back(tmp_path: Path, stage: Stage) -> None:
    calm = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="calm"), stage.sandbox)
    crash = crasher(tmp_path, stage, "segfault")
    assert crash.run()[0] == -signal.SIGSEGV, "beside others"
    code, said = crash.run()
    assert code == -signal.SIGSEGV, "alone"
    assert "were being decoded when a run crashed: they are processed first" in said
    code, said = crash.run()
    assert code == 3
    assert "Traceback" not in said
    assert "Fatal" not in said
    reason = "set aside: decoding it crashed the program (Segmentation fault); retry brings it back"
    assert f"{AREA}  {ITEM}  {reason}" in said
    assert failed(crash.config) == {(AREA, ITEM): reason}
    others = {key: status for key, status in worlds.statuses(calm.config).items() if key != (AREA, ITEM)}
    found = worlds.statuses(Config.load(crash.config))
    assert found == others | {(AREA, ITEM): "failed"}

    crash.run(command="retry")
    assert crash.run()[0] == -signal.SIGSEGV, "brought back, it is tried alone at once"
    assert crash.run()[0] == 3
    assert list(failed(crash.config)) == [(AREA, ITEM)]

    crash.run(command="retry")
    assert crash.run(sane=True)[0] == 0
    assert worlds.result(Config.load(crash.config)) == worlds.result(calm.config)
    assert not list(tmp_path.rglob("*.decoding"))


def test_an_abort_is_told_as_what_it_is(tmp_path: Path, stage: Stage) -> None:
    crash = crasher(tmp_path, stage, "abort")
    assert crash.run()[0] == -signal.SIGABRT
    left = crash_marker.take(tmp_path / "abort-data" / "state.sqlite.decoding")
    assert left.crash == "Aborted"
    assert not left.alone
    names = "SELECT l.name, i.item FROM jobs j JOIN places l ON l.area = j.area JOIN items i ON i.id = j.item"
    found = [
        worlds.query(Config.load(crash.config).run.state, f"{names} WHERE j.id = ?", job) for job in left.jobs
    ]
    assert [(AREA, ITEM)] in found
    assert len(found) <= 2 * len(worlds.SHAPES), "those of two scenes at most: there are two threads"


def test_a_kill_from_outside_makes_suspects_but_sets_nobody_aside(tmp_path: Path, stage: Stage) -> None:
    killed = crasher(tmp_path, stage, "once")
    assert killed.run()[0] == -signal.SIGKILL
    assert (tmp_path / "once-data" / "state.sqlite.decoding").exists()
    code, said = killed.run()
    assert code == 0
    assert "jobs were being decoded when a run crashed: they are processed first" in said
    assert not failed(killed.config)
    assert not worlds.query(Config.load(killed.config).run.state, "SELECT * FROM suspects"), "all are acquitted"


def test_a_job_that_the_system_kills_for_again_and_again_is_set_aside(tmp_path: Path, stage: Stage) -> None:
    config = Config.load(worlds.write_config(tmp_path, stage.sandbox))
    worlds.run(tmp_path / "config.toml", stage.sandbox)
    with State.create_or_open(config.run.state) as state:
        first, second, third, other = [
            job for (job,) in state._db.execute("SELECT id FROM jobs ORDER BY id LIMIT 4")
        ]
        jobs.reopen(state._db, [first, second, third])
        assert not state.mark_crashed(Left(jobs=frozenset({first, second, third}))), "beside others it says little"
        for _ in range(MOST_KILLS - 1):
            assert not state.mark_crashed(Left(jobs=frozenset({second}), alone=True))
        assert not state.mark_crashed(Left(jobs=frozenset({other}), alone=True, crash="Aborted")), (
            "it has its answer"
        )
        ((_, _, reason),) = state.mark_crashed(Left(jobs=frozenset({second}), alone=True))
        assert reason == f"set aside: decoding it saw the program killed {MOST_KILLS} times; retry brings it back"
        assert state._db.execute("SELECT id, reason FROM jobs WHERE status = 'failed'").fetchall() == [
            (second, reason)
        ]
        assert state.retry() == 1
        assert not state.mark_crashed(Left(jobs=frozenset({second}), alone=True)), "brought back, it begins anew"


def test_suspects_are_worked_on_before_all_others_and_one_thread_computes_for_all(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    worlds.run(path, stage.sandbox)
    with State.create_or_open(config.run.state) as state:
        worlds.forget_answers(state._db)
        rows = state._db.execute("SELECT id, item FROM jobs ORDER BY id DESC LIMIT 8").fetchall()
        last = [job for job, _ in rows]
        scenes = {frozenset(job for job, item in rows if item == scene) for _, scene in rows}
        assert not state.mark_crashed(Left(jobs=frozenset([*last, 10**9])))
    seen = list[tuple[list[int], int]]()
    plain = worker.process

    async def watched(batch: Batch, settings: worker.Settings, tools: worker.Tools) -> BatchResult:
        threads = tools.pool._pool._max_workers  # type: ignore[attr-defined]
        assert tools.writers is tools.pool._pool or threads > 1  # type: ignore[attr-defined]
        assert tools.alone == (threads == 1)
        seen.append(([job.id for job in batch.jobs], threads))
        return await plain(batch, settings, tools)

    monkeypatch.setattr(worker, "process", watched)
    monkeypatch.setattr(start, "THREADS", 3)
    assert worlds.run(path, stage.sandbox).summary.clean
    first, others = seen[: len(scenes)], seen[len(scenes) :]
    assert len(scenes) > 1
    assert {frozenset(batch) for batch, _ in first} == scenes
    assert all(threads == 1 for _, threads in first)
    assert all(threads == 3 for _, threads in others)
    rest = [job for batch, _ in others for job in batch]
    assert len(rest) == len(set(rest)) == len(worlds.jobs(config)) - len(last)
    assert not set(rest) & set(last)


def test_alone_each_call_marks_one_job_or_those_over_one_block(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    worlds.run(path, stage.sandbox)
    with State.create_or_open(config.run.state) as state:
        worlds.forget_answers(state._db)
        suspects = frozenset(job for (job,) in state._db.execute("SELECT id FROM jobs"))
        assert not state.mark_crashed(Left(jobs=suspects))
    decoded, encoded = list[int](), list[int]()
    marked, plain, encode = list[bytes](), deflate.read_rows, Cut._encode
    run = Marks.run

    def watched(self: Marks, jobs: bytes, *args: Any, **kwargs: Any) -> Any:
        marked[:] = [jobs]
        return run(self, jobs, *args, **kwargs)

    def read_rows(*args: Any, **kwargs: Any) -> tuple[bytes, int]:
        decoded.append(len(marked[0]) // 8 - 1)
        return plain(*args, **kwargs)

    def encoding(*args: Any, **kwargs: Any) -> Encoded:
        encoded.append(len(marked[0]) // 8 - 1)
        return encode(*args, **kwargs)

    monkeypatch.setattr(Marks, "run", watched)
    monkeypatch.setattr(deflate, "read_rows", read_rows)
    monkeypatch.setattr(Cut, "_encode", encoding)
    assert worlds.run(path, stage.sandbox).summary.clean
    assert encoded
    assert set(encoded) == {1}
    assert 1 in decoded
    assert max(decoded) < len(worlds.SHAPES), "no block lies under all areas"


# ---- the marks -------------------------------------------------------------------------------------------


def test_marks_tell_who_is_being_decoded(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    entered, leave = threading.Barrier(3), threading.Event()

    def work() -> int:
        entered.wait(10)
        leave.wait(10)
        return 5

    with Marks(path, threads=2, jobs=4) as made, ThreadPoolExecutor(2) as pool:
        assert crash_marker.parse(path.read_bytes()) == Left()
        first = made.during(pool, [7, 8, 9, 10]).submit(work)
        second = made.during(pool, [3]).submit(work)
        entered.wait(10)
        assert crash_marker.parse(path.read_bytes()) == Left(jobs=frozenset({3, 7, 8, 9, 10}))
        leave.set()
        assert first.result() == second.result() == 5
        assert crash_marker.parse(path.read_bytes()) == Left()
        with pytest.raises(ZeroDivisionError):
            made.during(pool, [1]).submit(lambda: 1 / 0).result()
        assert crash_marker.parse(path.read_bytes()) == Left()
        made.alone(True)
        made.during(pool, [6, 2]).submit(lambda: made.run(b"", list)).result()
        assert crash_marker.parse(path.read_bytes()).alone
    assert not path.exists()
    made.close()


def test_what_was_left_behind_is_taken_once(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    assert crash_marker.take(path) == Left()
    path.write_bytes(
        struct.pack("<8sIIIqqqq", b"s2marks1", 2, 1, 1, 0, 5, 12, 0) + b"Fatal Python error: Bus error\n\n"
    )
    assert crash_marker.take(path) == Left(jobs=frozenset({12}), alone=True, crash="Bus error")
    assert not path.exists()
    path.mkdir()
    with pytest.raises(LocalError, match="cannot read"):
        crash_marker.take(path)


@given(st.binary(max_size=200), st.booleans())
def test_damaged_marks_accuse_nobody_by_accident(data: bytes, ours: bool) -> None:
    left = crash_marker.parse((b"s2marks1" if ours else b"") + data)
    assert all(job > 0 for job in left.jobs)
    assert ours or not left.jobs
