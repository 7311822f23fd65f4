"""The same run on one, two and four workers of a Dask cluster, each with its own emulated link.

Everything is on this machine, so the link of each worker must be so narrow that the cores are not the limit.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from shapely.geometry.base import BaseGeometry

from benchmarks import measure, ours, scenes
from benchmarks.options import Options
from benchmarks.source_address import VARIABLE
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.truth import oracle
from s2async.sandbox.world import dense
from s2async.sandbox.world.make import World, default_folder, make_world

WORKERS: Final = (1, 2, 4)
READY: Final = 200.0
"""Seconds within which a scheduler and its workers start."""

Line = dict[str, Any]


def parks(options: Options) -> Iterator[Line]:
    """Compare jobs per second of 1, 2 and 4 Dask workers with a link each.

    All results must equal a local run's.
    """
    whole = make_world(default_folder(), progress=_tell)
    with tempfile.TemporaryDirectory(prefix="s2async-") as folder:
        areas = ours.write_areas(Path(folder), scenes.parks())
        yield from _run(options, whole, list(scenes.parks().values()), areas, WORKERS)


def fields(options: Options) -> Iterator[Line]:
    """Measure the cost per job of the process that feeds four Dask workers, for --areas dense fields."""
    place = Path(options.worlds) if options.worlds else dense.default_place()
    areas = dense.dataset(place, options.areas)
    yield from _run(options, dense.scenes(place, progress=_tell), [dense.PLACE], areas, (4,))


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _run(
    options: Options, whole: World, places: Sequence[BaseGeometry], areas: Path, counts: Sequence[int]
) -> Iterator[Line]:
    found: list[Line] = []
    with (
        scenes.world_of(whole, options.items, places=places) as world,
        start(world.folder, delay=options.delay, bandwidth=options.bandwidth, per_client=True) as sandbox,
        tempfile.TemporaryDirectory(prefix="s2async-") as name,
    ):
        for number in range(1, options.rounds + 1):
            for workers in (0, *counts):
                folder = Path(name) / f"{workers}-{number}"
                line = {"workers": workers, "round": number, **_once(folder, sandbox, areas, workers, options)}
                found.append(line)
                yield line
                if line["outcome"] != found[0]["outcome"]:
                    yield {"fault": f"{workers} workers leave other crops or another state than a run here"}
    yield from _summary(found, counts)


def _summary(found: Sequence[Line], counts: Sequence[int]) -> Iterator[Line]:
    """Yield medians by number of workers, in words."""
    middle = {workers: _median(found, workers) for workers in (0, *counts)}
    for workers, line in middle.items():
        ratio, here = middle[counts[0]]["seconds"] / line["seconds"], line["driver_cpu_ms_per_job"]
        told = [
            f"{workers or 'no'} workers: {line['seconds']:.1f} s, {line['jobs_per_second']:.0f} jobs/s",
            f"{ratio:.2f} x {counts[0]} worker(s), {line['megabytes']:.1f} MB, {line['requests']:,} requests",
            f"CPU ms a job: {here:.3f} here",
        ]
        if workers:
            there = line["worker_cpu_seconds"] / line["jobs"] * 1000
            told.append(f"{there:.3f} in workers, so that this process feeds {there / here:.1f} busy cores")
            told.append(f"bytes a job: {line['sent_per_job']:.0f} there, {line['received_per_job']:.0f} back")
        yield {"says": ", ".join(told)}


def _median(found: Sequence[Line], workers: int) -> Line:
    lines = [line for line in found if line["workers"] == workers]
    lines.sort(key=lambda line: float(line["seconds"]))
    return lines[len(lines) // 2]


def _once(folder: Path, sandbox: Sandbox, areas: Path, workers: int, options: Options) -> Line:
    """Return the cost of one run; without workers, it is a run in one process with one link."""
    folder.mkdir()
    config = ours.configured(folder, sandbox, areas, options.connections)
    log = folder / "s2async.log"
    command = [sys.executable, "-m", "s2async", "-q", "run", str(config), "--yes", "--json", "--log", str(log)]
    sandbox.reset()
    with _cluster(folder, workers) as (address, pids):
        if workers:
            command += ["--executor", "dask", "--scheduler", address]
        before = sum(map(measure.cpu_seconds, pids))
        with (folder / "summary.json").open("w+b") as out:
            usage = measure.run(command, stdout=out)
        used = sum(map(measure.cpu_seconds, pids)) - before
        totals = sandbox.totals()["cogs"]
        with Path(os.devnull).open("wb") as nowhere:
            again = measure.run(command, stdout=nowhere)  # it has nothing to do except start and search
    told = json.loads((folder / "summary.json").read_bytes())
    jobs, driver = sum(told["jobs"].values()), usage.cpu_seconds - again.cpu_seconds
    line = {
        "jobs": jobs,
        "seconds": round(usage.seconds, 2),
        "jobs_per_second": round(jobs / usage.seconds, 1),
        "driver_cpu_seconds": round(usage.cpu_seconds, 2),
        "start_cpu_seconds": round(again.cpu_seconds, 2),
        "driver_cpu_ms_per_job": round(driver / jobs * 1000, 4),
        "driver_peak_megabytes": round(usage.peak_bytes / 1e6, 1),
        "worker_cpu_seconds": round(used, 2),
        "requests": totals.requests,
        "megabytes": round(totals.bytes / 1e6, 2),
        "outcome": outcome(folder),
    }
    if workers:
        events = [json.loads(text) for text in log.read_text().splitlines() if '"cluster_left"' in text]
        line |= {f"{key}_per_job": round(events[0][key] / jobs, 1) for key in ("sent", "received")}
        line["batches"] = events[0]["batches"]
    return line


def outcome(folder: Path) -> str:
    """Return a hash of all crops, byte for byte, and of the state's record of each job."""
    found = hashlib.sha256()
    for path in sorted((folder / "data").rglob("*.tif")):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    for job in sorted(oracle.recorded_jobs(folder / "state.sqlite"), key=lambda job: (job.area, job.item)):
        products = sorted(job.products.items())
        found.update(repr((job.area, job.item, job.status, job.histogram, job.total, products)).encode())
    return found.hexdigest()[:16]


@contextmanager
def _cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[int]]]:
    """Start a scheduler and its workers in separate processes; yield its address, and the workers' process ids."""
    if not workers:
        yield "", []
        return
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    processes = [
        _started(["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], {}, folder)
    ]
    try:
        for number in range(workers):
            command = ["dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            command += ["--host", "127.0.0.1", "--local-directory", str(folder / f"worker-{number}")]
            command += ["--preload", "benchmarks.source_address"]
            processes.append(_started(command, {VARIABLE: f"127.0.0.{number + 2}"}, folder))
        _wait_for(folder, workers)
        yield address, [process.pid for process in processes[1:]]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def _started(command: Sequence[str], more: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"PYTHONPATH": str(measure.REPOSITORY), **more}
    with (folder / "dask.log").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]],
            cwd=measure.REPOSITORY,
            env=environment,
            stdout=said,
            stderr=said,
        )


def _wait_for(folder: Path, workers: int) -> None:
    until = time.monotonic() + READY
    while (folder / "dask.log").read_text().count("Registered to:") < workers:
        if time.monotonic() > until:
            raise RuntimeError(f"the cluster did not start: {(folder / 'dask.log').read_text()[-500:]}")
        time.sleep(0.2)
