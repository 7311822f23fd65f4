"""Signals that end a run: in order, after a while, or at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from s2async.config.model import Config
from tests.support import worlds
from tests.support.lanes import long
from tests.support.shell import COMMAND, Shell
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow


def started(path: Path, *arguments: str, script: str = "") -> subprocess.Popen[bytes]:
    command = (
        [sys.executable, "-c", script, "run", str(path)] if script else [*COMMAND, *arguments, "run", str(path)]
    )
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process; pytest's time limit ends what never happens."""
    while not condition():
        time.sleep(0.02)


def stopped(child: subprocess.Popen[bytes], number: int) -> str:
    child.send_signal(number)
    out, error = child.communicate(timeout=200)
    assert child.returncode == 128 + number
    assert not out
    assert b"Traceback" not in error
    return error.decode()


@pytest.mark.parametrize(
    ("number", "where"),
    [(signal.SIGINT, "/v1/search"), (signal.SIGTERM, "SCL"), *long((signal.SIGINT, "TCI"))],
)
def test_a_signal_ends_a_run_whose_server_says_nothing(
    s2: Shell, tmp_path: Path, stage: Stage, number: int, where: str
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.fault("stall", path=where, count=None)
    child = started(path)
    stage.wait_for({"/v1/search": 1, "SCL": 10, "TCI": 20}[where])
    time.sleep(0.2)
    error = stopped(child, number)
    assert error.count(f"stopped; finished work is kept. To go on: s2async run {path}") == 1
    stage.sandbox.clear_faults()
    assert s2("-q", "run", path).code == 0
    assert list(worlds.statuses(Config.load(path)).values()).count("saved") == 22
    assert not list(tmp_path.rglob("*.part"))


def test_a_signal_in_a_run_for_a_script_leaves_its_output_empty(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.fault("stall", path="SCL", count=None)
    child = subprocess.Popen(
        [*COMMAND, "-q", "run", str(path), "--json"], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    stage.wait_for(6)
    assert "To go on" in stopped(child, signal.SIGTERM)


HANGING = """
import time, threading, sys
from pathlib import Path
from s2async.cli import main as cli, signals as stopping; from s2async.engine import worker
stopping.PATIENCE = {patience}
def mark(name):
    Path(sys.argv[-1]).with_name(name).touch()
heed = stopping.Stop._on_signal
stopping.Stop._on_signal = lambda *args: (heed(*args), mark("heeded"))
async def hang(*_):
    mark("hanging")
    {how}
worker.process = hang
cli.main()
"""
"""A run that leaves marks beside its config: ``hanging`` when it has begun to hang, ``heeded`` after a signal."""


@pytest.mark.parametrize("twice", [False, True])
def test_a_run_that_cannot_stop_in_order_is_ended(s2: Shell, tmp_path: Path, stage: Stage, twice: bool) -> None:
    """A thread that hangs (a disk that is gone, a name server that says nothing): a second signal, or a while."""
    path = worlds.write_config(tmp_path, stage.sandbox)
    how = "import asyncio; await asyncio.to_thread(time.sleep, 600)"
    child = started(path, script=HANGING.format(how=how, patience=600 if twice else 0.5))
    until((tmp_path / "hanging").exists)
    if twice:
        child.send_signal(signal.SIGTERM)
        until((tmp_path / "heeded").exists)
        time.sleep(0.5)
        assert child.poll() is None
    error = stopped(child, signal.SIGTERM)
    assert error.count("To go on: s2async run") == 1
    assert s2("-q", "run", path).code == 0


def test_a_signal_comes_through_a_busy_loop(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    child = started(path, script=HANGING.format(how="time.sleep(600)", patience=0.5))
    until((tmp_path / "hanging").exists)
    assert "To go on" in stopped(child, signal.SIGINT)
