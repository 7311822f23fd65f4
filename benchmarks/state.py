"""What a state of a million answers costs: its file, recording, a start, status, and judging again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import export, measure
from benchmarks.options import Options
from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.models import BatchResult, CloudMeasure, Job, Outcome, Product, Status
from s2async.state.writer import State

AREAS: Final = 1000
"""Fields, each with all scenes."""
_OPEN: Final = 0.1
"""Share of the scenes of which no job is answered."""
_START: Final = """
import json, resource, sys, time
from pathlib import Path
from s2async.areas import loader
from s2async.config.model import Config
from s2async.state.writer import State
config = Config.load(Path(sys.argv[1]))
areas, rule, selection = loader.load(config), config.cloud_rule(), config.selection()
begun, cpu = time.perf_counter(), time.process_time()
with State.create_or_open(config.run.state) as state:
    state.sync_areas(areas)
    judged = state.update_statuses(rule.verdicts, selection, sys.argv[2] and repr(rule) + sys.argv[2])
    state.begin_run("{}", "benchmark")
    jobs, _ = state.open_jobs(selection)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    state.end_run("stopped")
print(json.dumps([seconds, cpu, peak, len(jobs), sum(judged.values())]))
"""


def run(options: Options) -> Iterator[dict[str, Any]]:
    """A state of 1,000 fields and --items scenes (1,000 by default), nine tenths of them answered, half saved."""
    with tempfile.TemporaryDirectory(prefix="s2async-") as name:
        begun = time.process_time()
        config = fill(Path(name), AREAS, options.items)
        seconds = time.process_time() - begun
        path = Config.load(config).run.state
        jobs = AREAS * options.items
        yield {
            "what": "record",
            "jobs": jobs,
            "cpu_microseconds_a_job": round(seconds / jobs * 1e6, 1),
            "file_megabytes": round(path.stat().st_size / 1e6, 1),
        }
        for number in range(options.rounds):
            for what, settings in (("judge", f"other {number}"), ("start", f"other {number}")):
                said = subprocess.check_output([sys.executable, "-c", _START, str(config), settings])
                wall, cpu, peak, found, _ = json.loads(said)
                line = {"what": what, "seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}
                line["peak_megabytes"] = round(peak / 1e6, 1)
                yield line if found else {**line, "fault": "no job is open"}
            with (Path(name) / "said").open("wb") as table:
                usage = measure.run([sys.executable, "-m", "s2async", "status", str(config)], stdout=table)
            yield {
                "what": "status",
                "seconds": round(usage.seconds, 2),
                "cpu_seconds": round(usage.cpu_seconds, 2),
                "peak_megabytes": round(usage.peak_bytes / 1e6, 1),
            }


def fill(folder: Path, areas: int, items: int) -> Path:
    """Make a state in which nine tenths of the scenes are answered for each area; tells the config."""
    path = export.fill(folder, areas, 0)
    config, chance = Config.load(path), random.Random(1)
    places, wanted = area_files.load(config), config.selection()
    with State.create_or_open(config.run.state) as state:
        state.sync_areas(places)
        state.begin_run("{}", "benchmark")
        for number in range(items):
            jobs = state.add_scene(export.scene(number), places, wanted)
            if number < items * (1 - _OPEN):
                outcomes = tuple(_outcome(job, chance) for job in jobs)
                state.record(BatchResult(outcomes=outcomes), [])
        state.end_run("stopped")
    return path


def _outcome(job: Job, chance: random.Random) -> Outcome:
    """A clear or a cloudy field of 900 pixels."""
    clouds, water = chance.choice((0, chance.randrange(3), chance.randrange(880))), chance.randrange(5)
    histogram = (
        0,
        0,
        chance.randrange(9),
        0,
        880 - clouds,
        20,
        water,
        0,
        clouds // 2,
        clouds - clouds // 2,
        0,
        0,
        0,
    )
    measured = CloudMeasure(histogram=histogram, total=sum(histogram))
    if clouds > 9:
        return Outcome(job=job, status=Status.CLOUDY, measure=measured)
    product = Product(
        asset="visual",
        file=f"{job.scene.id}_visual.tif",
        bytes=3000 + water,
        sha256=f"{chance.getrandbits(256):064x}",
        mask=True,
        format="gtiff",
        epsg=32633,
    )
    return replace(Outcome(job=job, status=Status.SAVED, measure=measured), products=(product,))
