"""A run may be killed at any instant: the next one goes on, and in the end nothing tells the difference."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import rasterio

from s2async import files
from s2async.config.model import Config
from s2async.sandbox.server.process import Sandbox
from s2async.state.records import OPEN
from tests.chaos.points import POINTS
from tests.support import worlds
from tests.support.worlds import Ran, Stage

pytestmark = pytest.mark.slow

NTH = {
    "after fetch": 9,
    "in decode": 12,
    "after write": 20,
    "after replace": 20,
    "before commit": 12,
    "in transaction": 12,
    "after commit": 12,
}
"""At which visit of each named point a run is killed."""
ASSETS = {"SCL.tif": "scl", "TCI.tif": "visual"}


@pytest.fixture(autouse=True)
def no_faults(slow: Stage) -> Iterator[None]:
    """What one test does to the server stays its own."""
    yield
    slow.sandbox.clear_faults()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Every kind of item and some plain ones, 20 ms away."""
    items = [*worlds.every_kind(), *(worlds.day(number) for number in range(40, 70))]
    yield from worlds.staged(tmp_path_factory.mktemp("world"), items, delay=20)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, slow: Stage) -> Ran:
    """The same job, done without a kill."""
    folder = tmp_path_factory.mktemp("calm")
    path = worlds.write_config(folder, slow.sandbox, name="calm", network={"connections": 16})
    ran = worlds.run(path, slow.sandbox)
    assert ran.summary.clean
    return ran


def start(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "s2async", "-q", "run", str(config)], stderr=subprocess.PIPE)


@dataclass
class Answered:
    """What a state knew at one time."""

    files: frozenset[str]
    """Files, such as ``S2A_.../SCL.tif``, all of whose jobs had an answer."""
    jobs: int


def answered(config: Config) -> Answered:
    """Read after a kill, before the next run."""
    if not config.run.state.exists():
        return Answered(frozenset(), 0)
    jobs = worlds.query(config.run.state, "SELECT i.item, j.status FROM jobs j JOIN items i ON i.id = j.item")
    unsettled = {item for item, status in jobs if status == OPEN}
    settled = {item for item, _ in jobs} - unsettled
    files = frozenset(f"{item}/{name}" for item in settled for name in ASSETS)
    return Answered(files, sum(status != OPEN for _, status in jobs))


def test_kills_at_the_named_points_leave_no_trace(tmp_path: Path, slow: Stage, calm: Ran) -> None:
    """As `python -m tests.chaos kills` does it five hundred times."""
    sandbox = slow.sandbox
    path = worlds.write_config(tmp_path, sandbox, network={"connections": 4}, run={"queue": 30})
    config = Config.load(path)
    assert NTH.keys() == POINTS.keys()
    for point, nth in NTH.items():
        known, before = answered(config), log_end(sandbox)
        command = [sys.executable, "-m", "tests.chaos.points", point, str(nth), "-q", "run", str(path)]
        child = subprocess.run(
            command, capture_output=True, timeout=200, check=False, cwd=Path(__file__).parents[2]
        )
        assert child.returncode == -signal.SIGKILL, (point, child.stderr)
        asked = {entry.path.removeprefix("/cogs/") for entry in sandbox.log(since=before) if entry.kind == "cogs"}
        assert not asked & known.files, point
        assert answered(config).jobs >= known.jobs, point
        for crop in config.output.folder.rglob("*.tif"):
            with rasterio.open(crop) as raster:
                assert raster.read().size, point
    last = worlds.run(path, sandbox)
    assert last.summary.clean
    assert worlds.result(config) == worlds.result(calm.config)
    assert not list(tmp_path.rglob("*.part"))


def log_end(sandbox: Sandbox) -> int:
    log = sandbox.log()
    return log[-1].n if log else 0


@pytest.mark.parametrize("kills", [4, pytest.param(12, marks=pytest.mark.long)])
def test_kills_at_any_time_leave_no_trace(tmp_path: Path, slow: Stage, calm: Ran, kills: int) -> None:
    """Every other one while the run does its first requests, the rest once it has recorded more than the last one.

    By requests and jobs, not by time: on a loaded machine a run may take longer to start than for all of its work.
    """
    sandbox, chance = slow.sandbox, random.Random(2022)
    path = worlds.write_config(tmp_path, sandbox, name="killed", network={"connections": 4}, run={"queue": 30})
    config = Config.load(path)

    steps, interrupted = list[int](), 0
    for number in range(kills):
        known, before = answered(config), log_end(sandbox)
        # where this process is slow to notice how far the run is, the run comes to a standstill before its end
        sandbox.clear_faults()
        sandbox.fault("stall", path=r"\.tif$", skip=60, count=None)
        child = start(path)
        if number % 2:
            wait_for_jobs(config, child, known.jobs + chance.randrange(1, 9))
        else:  # from its first instant on
            wait_for_requests(sandbox, child, before, more=chance.randrange(30))
        time.sleep(chance.uniform(0, 0.03))
        interrupted += child.poll() is None
        child.kill()
        child.communicate()
        asked = {entry.path.removeprefix("/cogs/") for entry in sandbox.log(since=before) if entry.kind == "cogs"}
        assert not asked & known.files, "a file was asked for again whose jobs were all recorded"
        steps.append(answered(config).jobs)
    assert interrupted == kills, "all were killed while they worked"
    assert steps == sorted(steps), "what was recorded stays"
    assert len(set(steps)) >= kills // 2, "kills met different stages"

    sandbox.clear_faults()
    known, before = answered(config), log_end(sandbox)
    last = worlds.run(path, sandbox)
    assert last.summary.clean
    assert not {entry.path.removeprefix("/cogs/") for entry in last.cogs} & known.files
    assert worlds.result(config) == worlds.result(calm.config)
    assert not worlds.faults_of(config, slow.world)
    assert not list(tmp_path.rglob("*.part"))
    assert Counter(worlds.statuses(config).values())[OPEN] == 0


def wait_for_requests(sandbox: Sandbox, child: subprocess.Popen[bytes], before: int, *, more: int) -> None:
    """Wait until a child has made so many requests; its start takes a second, and many on a loaded machine."""
    end = time.monotonic() + 200
    while more and child.poll() is None and time.monotonic() < end:
        if len(sandbox.log(since=before)) >= more:
            return
        time.sleep(0.01)


def wait_for_jobs(config: Config, child: subprocess.Popen[bytes], jobs: int) -> None:
    """Wait until a child has recorded answers of so many jobs, those of earlier runs included."""
    end = time.monotonic() + 200
    while child.poll() is None and time.monotonic() < end:
        with contextlib.suppress(sqlite3.OperationalError):  # it is being made
            if answered(config).jobs >= jobs:
                return
        time.sleep(0.01)


def test_a_second_run_of_a_finished_job_costs_search_requests_only(tmp_path: Path, slow: Stage) -> None:
    path = worlds.write_config(tmp_path, slow.sandbox)
    first = worlds.run(path, slow.sandbox)
    folder = first.config.output.folder
    before = {crop: crop.stat().st_mtime_ns for crop in folder.rglob("*.tif")}
    worlds.settle(first.config)
    second = worlds.run(path, slow.sandbox)
    assert not second.cogs
    assert second.log
    assert not second.summary.done
    assert second.summary.clean
    assert {crop: crop.stat().st_mtime_ns for crop in folder.rglob("*.tif")} == before
    assert len(before) > 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_goes_on(tmp_path: Path, slow: Stage, number: int) -> None:
    sandbox = slow.sandbox
    path = worlds.write_config(tmp_path, sandbox, network={"connections": 16})
    before = log_end(sandbox)
    sandbox.fault("stall", path=f"{worlds.day(60).id}/TCI", count=None)  # so that it cannot end before the signal
    child = subprocess.Popen([sys.executable, "-m", "s2async", "run", str(path)], stderr=subprocess.PIPE)
    wait_for_requests(sandbox, child, before, more=40)
    child.send_signal(number)
    _, error = child.communicate(timeout=200)
    assert child.returncode == 128 + number
    assert f"To go on: s2async run {path}" in error.decode()
    assert "Traceback" not in error.decode()
    config = Config.load(path)
    assert not list(tmp_path.rglob("*.part"))
    known = answered(config)
    assert 0 < known.jobs < len(worlds.jobs(config)) or sum(s == OPEN for s in worlds.statuses(config).values())
    rows = worlds.query(config.run.state, "SELECT how, ended != '' FROM runs")
    assert rows == [("stopped", 1)]
    requests, size = worlds.query(config.run.state, "SELECT sum(requests), sum(bytes) FROM traffic")[0]
    log = sandbox.log(since=before)
    assert 0 < requests <= len(log)
    assert 0 < size <= sum(entry.bytes for entry in log)
    sandbox.clear_faults()
    last = worlds.run(path, sandbox)
    assert last.summary.clean
    assert not {entry.path.removeprefix("/cogs/") for entry in last.cogs} & known.files


def test_what_an_interrupted_run_has_measured_and_cut_is_not_read_again(tmp_path: Path, slow: Stage) -> None:
    """Few scenes are done when a run with several assets is stopped early, but parts of many are."""
    sandbox = slow.sandbox
    path = worlds.write_config(
        tmp_path, sandbox, network={"connections": 16}, output={"assets": ["visual", "red"], "folder": "data"}
    )
    before = log_end(sandbox)
    sandbox.fault("stall", path="/B04", count=None)
    child = subprocess.Popen([sys.executable, "-m", "s2async", "-q", "run", str(path)], stderr=subprocess.PIPE)
    end = time.monotonic() + 200
    while child.poll() is None and time.monotonic() < end:
        if sum(entry.path.endswith("/B04.tif") for entry in sandbox.log(since=before)) >= 4:
            break
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=200)
    assert child.returncode == 130
    state = Config.load(path).run.state
    open_crops = "products p JOIN jobs j ON j.id = p.job AND j.status = 'open' JOIN items i ON i.id = j.item"
    halves = {item for (item,) in worlds.query(state, f"SELECT i.item FROM {open_crops} WHERE p.asset = 'visual'")}
    assert halves, "scenes with crops of one asset, but not of the other"
    known = {f"{item}/{name}.tif" for item in halves for name in ("SCL", "TCI")}
    sandbox.clear_faults()
    last = worlds.run(path, sandbox)
    assert last.summary.clean
    assert not known & {entry.path.removeprefix("/cogs/") for entry in last.cogs}


def test_half_written_files_of_a_killed_run_are_removed_and_told(tmp_path: Path, slow: Stage) -> None:
    path = worlds.write_config(tmp_path, slow.sandbox)
    first = worlds.run(path, slow.sandbox, limit=6)
    folder = first.config.output.folder
    (token,) = worlds.query(first.config.run.state, "SELECT value FROM meta WHERE key = 'id'")[0]
    left = [
        folder / files.PARTS / f".s2async-{token}-0123456789ab.part",
        folder / f".s2async-{token}-ba9876543210.part",
        folder / ".s2async-probe-0123456789ab.part",
        folder / ".overview.csv.part",
    ]
    others = [folder / "North" / ".s2async-ffffffff-0123456789ab.part", folder / "notes.part"]
    for part in left + others:
        part.parent.mkdir(exist_ok=True)
        part.write_text("half")
    second = worlds.run(path, slow.sandbox)
    assert not [part for part in left if part.exists()]
    assert all(part.exists() for part in others), "they belong to somebody else"
    assert "removed 3 half-written files of a run that was killed" in [
        event.text for event in second.events if hasattr(event, "text")
    ]
