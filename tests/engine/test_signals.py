"""What stops a run and what does not: signals, a terminal that goes away, a reader that leaves, a stuck disk."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s2async.cli import heartbeat
from s2async.config.model import Config
from tests.support import worlds
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "s2async"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(
        tmp_path_factory.mktemp("world"), [worlds.day(number) for number in range(24)], delay=20
    )


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process; pytest's time limit ends what never happens."""
    while not condition():
        time.sleep(0.02)


def wait_for(stage: Stage, reads: int) -> None:
    until(lambda: stage.sandbox.totals()["cogs"].requests >= reads)


def in_order(folder: Path) -> None:
    """The run let go of all that it held."""
    assert not list(folder.rglob("*.part"))
    assert not list(folder.rglob("*.decoding")), "it ended on purpose: nobody is a suspect"


STUCK = """
import sys, time
from pathlib import Path
from s2async.cli import run_view, signals; from s2async import files; from s2async.engine import worker
from s2async.cli.main import main
heed = signals.Stop._on_signal
signals.Stop._on_signal = lambda *args: (heed(*args), Path("heeded").touch())
{how}
main()
"""
"""A run that leaves marks in its current folder: ``heeded`` after a signal, ``writing`` before it is stuck."""
STUCK_WRITES = "files.replace_all = lambda *_, **__: (Path('writing').touch(), time.sleep(600))"
STUCK_LAST_LINE = "run_view.RunView.tell = lambda *_: time.sleep(600)"


Start = Callable[[str, Path], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a run of a config with some functions replaced, in a process whose current folder is ``tmp_path``."""
    children: list[subprocess.Popen[bytes]] = []

    def started(how: str, path: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", STUCK.format(how=how), "run", str(path)]
        children.append(subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE))
        return children[-1]

    yield started
    for child in children:
        child.kill()
        child.wait()


@pytest.mark.parametrize("stuck", ["", STUCK_WRITES, STUCK_WRITES + "\n" + STUCK_LAST_LINE])
def test_a_second_signal_ends_a_run_at_once(tmp_path: Path, stage: Stage, start: Start, stuck: str) -> None:
    """Every read stalls, or a disk takes nothing; and the terminal may not take the last line."""
    path = worlds.write_config(tmp_path, stage.sandbox)
    if not stuck:
        stage.sandbox.fault("stall", path=r"\.tif$", count=None)
    # Without its timers nothing but the second signal ends it, and a busy machine has time to close the state.
    words = 0.5 if STUCK_LAST_LINE in stuck else 60
    child = start(f"signals._timer, signals.LAST_WORDS = (lambda *_: None), {words}\n{stuck}", path)
    if stuck:
        until((tmp_path / "writing").exists)
        child.send_signal(signal.SIGTERM)
        until((tmp_path / "heeded").exists)
        time.sleep(0.3)
        assert child.poll() is None, "a thread that writes cannot be cancelled"
        child.send_signal(signal.SIGINT)
    else:
        wait_for(stage, 8)
        # Both signals wait for the process when it goes on: one after the other, it might end in between.
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            child.send_signal(number)
    _, error = child.communicate(timeout=200)
    assert child.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert error.count(b"To go on: s2async run") == (STUCK_LAST_LINE not in stuck)
    assert b"Traceback" not in error
    in_order(tmp_path)
    state = Config.load(path).run.state
    assert not state.with_name(state.name + "-wal").exists(), "it was closed"
    stage.sandbox.clear_faults()
    assert worlds.run(path, stage.sandbox).summary.clean


def test_a_run_that_cannot_stop_in_order_ends_all_the_same(tmp_path: Path, stage: Stage, start: Start) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    hasty = "signals.PATIENCE, signals.LAST_WORDS = 1, 3"
    child = start(f"{hasty}\n{STUCK_WRITES}\n{STUCK_LAST_LINE}", path)
    until((tmp_path / "writing").exists)
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate(timeout=200)
    assert child.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in error
    in_order(tmp_path)


def test_a_terminal_that_goes_away_stops_nothing(tmp_path: Path, stage: Stage) -> None:
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    path = worlds.write_config(tmp_path, stage.sandbox, network={"connections": 2})
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*COMMAND, "run", str(path)], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    wait_for(stage, 20)
    assert os.read(ours, 10)
    os.close(ours)
    child.send_signal(signal.SIGHUP)
    assert child.wait(200) == 0
    assert "open" not in worlds.statuses(Config.load(path)).values()
    in_order(tmp_path)


def test_a_reader_that_leaves_while_the_run_goes_on_stops_nothing(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, network={"connections": 2})
    command = " ".join([*COMMAND, "run", "-v", str(path)])
    ended = subprocess.run(
        ["bash", "-c", f"{command} 2>&1 | head -3; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ended.returncode == 0
    assert len(ended.stdout.splitlines()) == 3
    assert "open" not in worlds.statuses(Config.load(path)).values()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_log_that_cannot_be_written_stops_nothing_but_a_result_must_not_end_half_way(
    tmp_path: Path, stage: Stage
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    with Path("/dev/full").open("w") as full:
        assert (
            subprocess.run([*COMMAND, "run", "-v", str(path)], stderr=full, timeout=200, check=False).returncode
            == 0
        )
        for command in (["run", "--json"], ["status", "--json"], ["status"]):
            ended = subprocess.run(
                [*COMMAND, "-q", *command, str(path)], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
            assert ended.returncode == 6
            assert ended.stderr == "s2async: cannot write the output: No space left on device\n"


# ---- the heartbeat ----------------------------------------------------------------------------------------


def test_beats_tell_how_late_the_loop_is() -> None:
    late: list[float] = []

    async def beats(number: int) -> None:
        while len(late) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def main() -> None:
        watching = asyncio.create_task(heartbeat.watch(late.append))
        await beats(3)
        before = len(late)
        time.sleep(0.4)  # noqa: ASYNC251 - what is to be found out
        await beats(before + 3)
        watching.cancel()
        assert late[before] > 0.3

    asyncio.run(main())
    assert min(late) >= 0


def test_a_late_beat_is_told_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    on_beat = heartbeat.warning(told.append)
    for late in (0.0, 0.25, 0.3, 5.0):
        on_beat(late)
    assert told == ["this machine is slow: the event loop was blocked for 0.3 s (processor or disk too busy)"]
    clock[0] += heartbeat.QUIET
    on_beat(0.2)
    on_beat(1.26)
    assert len(told) == 2
    assert "1.3 s" in told[1]


def test_a_run_whose_loop_stands_still_says_so(tmp_path: Path, stage: Stage, start: Start) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    slow = "from s2async.engine.progress import Progress\nplain, pauses = Progress.add, [0.6]\n"
    slow += "Progress.add = lambda *a: (time.sleep(pauses.pop() if pauses else 0), plain(*a))[1]"
    child = start(slow, path)
    _, error = child.communicate(timeout=200)
    assert child.returncode == 0
    assert error.count(b"the event loop was blocked for ") == 1
