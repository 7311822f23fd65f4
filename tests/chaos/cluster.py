"""A run on a Dask cluster, whose processes are killed and come and go; then it must be as if nothing had happened.

Workers are killed three times, the process of the run twice, the scheduler once; one worker is added and one is
told to go. The oracle is `traces`: rasterio.mask on the local scenes, SQL on the state, the names in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from s2async.errors import ClusterError
from s2async.sandbox.server.process import start
from tests.chaos import kills
from tests.chaos.traces import Found, judge, query, unreadable
from tests.support import worlds

ITEMS: Final = 24
WORKERS: Final = 2
WAIT: Final = 120.0
"""Seconds for anything that another process does."""


class Cluster:
    """A scheduler and workers, each a process of its own, on loopback.

    Args:
        folder: for what they print and keep.
        prelude: Python that each worker runs first.
    """

    def __init__(self, folder: Path, prelude: str = "") -> None:
        self._folder = folder
        self._preload = folder / "prelude.py"
        self._preload.write_text(prelude)
        self._joined = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.address = ""
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.start_scheduler()

    def start_scheduler(self) -> None:
        """Start a scheduler, at an address of its own."""
        told = self._folder / "scheduler.json"
        told.unlink(missing_ok=True)
        command = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self.scheduler = self._start([*command, "--scheduler-file", str(told)])

        def tells() -> bool:
            with suppress(FileNotFoundError, ValueError):  # which may be there in part
                self.address = json.loads(told.read_text())["address"]
                return True
            return False

        until(tells)

    def add_workers(self, count: int = 1) -> None:
        """Start workers, which join some seconds later."""
        command = ["dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        command += ["--host", "127.0.0.1", "--local-directory", str(self._folder)]
        for _ in range(count):
            self.workers.append(self._start([*command, "--preload", str(self._preload)]))
        self._joined += count

    def wait(self) -> None:
        """Wait until all workers have joined."""
        until(lambda: (self._folder / "cluster.log").read_text().count("Registered to:") >= self._joined)

    def kill_worker(self) -> None:
        """Kill the worker that has been there longest."""
        worker = self.workers.pop(0)
        worker.kill()
        worker.wait()

    def remove_worker(self) -> None:
        """Tell the worker that has been there longest to go."""
        worker = self.workers.pop(0)
        worker.terminate()
        worker.wait()

    def kill_scheduler(self) -> None:
        """Kill the scheduler; its workers end by themselves."""
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()
        for worker in self.workers:
            worker.wait()
        self.workers.clear()

    def close(self) -> None:
        """End all processes."""
        for process in filter(None, (*self.workers, self.scheduler)):
            process.kill()
            process.wait()

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        with (self._folder / "cluster.log").open("ab") as said:
            program = [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]]
            return subprocess.Popen(program, env=environment, stdout=said, stderr=said, start_new_session=True)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("what another process does takes too long")
        time.sleep(0.05)


@contextmanager
def clustered(folder: Path, prelude: str = "", *, workers: int = WORKERS) -> Iterator[Cluster]:
    """A cluster for the length of a block."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(folder, prelude)
    try:
        cluster.add_workers(workers)
        cluster.wait()
        yield cluster
    finally:
        cluster.close()


class Driver:
    """The command line that runs a configuration on a cluster, in a process of its own."""

    def __init__(self, config: Path, cluster: Cluster, *more: str) -> None:
        self.state = config.parent / f"{config.stem}-data" / "state.sqlite"
        self._said = config.with_suffix(".said")
        command = [sys.executable, "-m", "s2async", "run", str(config), "--executor", "dask"]
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [*command, "--scheduler", cluster.address, *more], stdout=said, stderr=said, start_new_session=True
            )

    def answered(self) -> int:
        """Jobs that the state has answers for."""
        return len(query(self.state, "SELECT 1 FROM jobs WHERE status != 'open'"))

    def until_more(self, jobs: int) -> None:
        """Wait until so many more jobs have an answer, or the run has ended."""
        before = self.answered()
        until(lambda: self.answered() >= before + jobs or self.process.poll() is not None)

    def kill(self) -> int:
        """Kill the run; its exit code, negative for a signal."""
        self.process.kill()
        return self.process.wait()

    def end(self) -> int:
        """Wait for the end of the run; its exit code."""
        return self.process.wait(WAIT)

    @property
    def said(self) -> str:
        """All that runs of this configuration printed."""
        return self._said.read_text()


def main(arguments: list[str]) -> int:
    """Kill and look; 1 when there is a trace."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="of all kills (default: 10)")
    asked = parser.parse_args(arguments)
    begun, total = time.monotonic(), Found()
    with tempfile.TemporaryDirectory(prefix="s2async-cluster-") as name:
        for number in range(asked.rounds):
            total.add(campaign(Path(name) / f"round{number}", send_crops=number % 2 == 1))
    return kills.report(total, 6 * asked.rounds, time.monotonic() - begun)


def campaign(
    folder: Path, *, items: int = ITEMS, workers_killed: int = 3, runs_killed: int = 2, send_crops: bool = False
) -> Found:
    """One configuration, run by several processes, of which most are killed.

    Args:
        folder: for everything.
        items: scenes, each with a hundred areas.
        workers_killed: during the first run.
        runs_killed: the first of them, and more if there are.
        send_crops: workers send their crops.
    """
    found, world, areas = Found(), folder / "world", kills.grid()
    world.mkdir(parents=True)
    worlds.World(world, [kills.made_item(number) for number in range(items)])
    # the parts of the run between two kills
    step = items * kills.FIELDS**2 // (workers_killed + runs_killed + 4)
    more = ["--send-crops"] * send_crops
    with start(world, delay=100) as sandbox, clustered(folder / "cluster") as cluster:
        config = worlds.write_config(
            folder, sandbox, areas=areas, search={"datetime": kills.DATES}, network={"connections": 2}
        )

        def check(driver: Driver, code: int, wanted: int) -> None:
            if code != wanted:
                found.said.append(f"exit {code} instead of {wanted}: {driver.said[-300:]}")

        for number in range(runs_killed):
            driver = Driver(config, cluster, *more)
            for _ in range(0 if number else workers_killed):
                driver.until_more(step)
                cluster.kill_worker()
                found.kills["worker"] += 1
                cluster.add_workers()
            driver.until_more(step)
            check(driver, driver.kill(), -signal.SIGKILL)
            found.kills["run"] += 1

        driver = Driver(config, cluster, *more)
        driver.until_more(step)
        cluster.kill_scheduler()
        found.kills["scheduler"] += 1
        check(driver, driver.end(), ClusterError.exit_code)

        cluster.start_scheduler()
        cluster.add_workers()
        driver = Driver(config, cluster, *more)  # which waits for its first worker
        driver.until_more(step)
        cluster.add_workers()
        cluster.wait()
        cluster.remove_worker()
        check(driver, driver.end(), 0)

        before = kills.last(sandbox)
        driver = Driver(config, cluster, *more)  # which finds nothing to do
        check(driver, driver.end(), 0)
        found.again += sorted(kills.asked_for(sandbox, before))
    found.half += unreadable(folder / "config-data", {})
    judge(folder / "config-data", world, areas, found)
    return found
