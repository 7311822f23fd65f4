"""The cost of a state with a million answers: file, recording, judging again, a start, status, and resuming."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import export, ours, resume, scenes
from benchmarks.options import Options
from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.models import Asset, BatchResult, CloudMeasure, Job, Outcome, Product, Scene, Status
from s2async.sandbox.settings import toml
from s2async.state.writer import State

AREAS: Final = 1000
"""Number of fields, each with all scenes."""
OPEN: Final = 0.1
"""Share of the scenes of which no job is answered."""
SQUARES: Final = ("33UUU", "33UVU")
"""Grid squares that overlap: each overpass has a scene of each of them."""
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
    state.choose_for_all(rule, selection)
    state.begin_run("{}", "benchmark")
    jobs, _ = state.open_jobs(selection)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    state.end_run("stopped")
print(json.dumps([seconds, cpu, peak, len(jobs), sum(judged.values())]))
"""


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure a state of 1,000 fields and --items scenes (by default 1,000), 90 % of them answered, most saved."""
    for overlaps in ("all", "one"):
        with tempfile.TemporaryDirectory(prefix="s2async-") as name, resume.FarArchive() as archive:
            begun = time.process_time()
            config = fill(Path(name) / "made", AREAS, options.items, archive, overlaps)
            seconds = time.process_time() - begun
            jobs = AREAS * options.items
            yield {
                "what": "record",
                "overlaps": overlaps,
                "jobs": jobs,
                "cpu_microseconds_a_job": round(seconds / jobs * 1e6, 1),
                "file_megabytes": round(Config.load(config).run.state.stat().st_size / 1e6, 1),
            }
            copy = shutil.copytree(config.parent, Path(name) / "copy") / config.name
            for line in (*_parts(copy, options.rounds), *resume.run(config, archive)):
                yield {"overlaps": overlaps, **line}


def _parts(config: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure the cost of the parts of a start."""
    for number in range(rounds):
        for what, settings in (("judge", f"other {number}"), ("start", f"other {number}")):
            said = subprocess.check_output([sys.executable, "-c", _START, str(config), settings])
            wall, cpu, peak, found, judged = json.loads(said)
            line = {"what": what, "seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}
            line["peak_megabytes"] = round(peak / 1e6, 1)
            yield (
                line if found and not judged else {**line, "fault": f"{found} jobs are open, {judged} were judged"}
            )


def fill(folder: Path, areas: int, items: int, archive: resume.FarArchive, overlaps: str) -> Path:
    """Make a state like that of a run that is killed when 90 % of the scenes are answered for each area.

    Only one crop exists: a start looks for no other.

    Args:
        folder: a new folder.
        areas: number of fields.
        items: number of scenes.
        archive: server for searches and files.
        overlaps: the setting of that name.

    Returns:
        The path of the configuration.
    """
    folder.mkdir()
    path = folder / "config.toml"
    assets = {"scl": "scl", "visual": "visual"}
    path.write_text(
        toml(
            areas=str(ours.write_areas(folder, scenes.parks_and_more(areas)).name),
            search={
                "catalog": {"url": archive.origin, "collection": "sentinel-2-l2a", "assets": assets},
                "datetime": "2015-07-01/2018-06-30",
                "reprocessed": "all",
                "overlaps": overlaps,
            },
            output={"folder": "data"},
            network={"origins": [archive.origin]},
            run={"state": "state.sqlite"},
        )
    )
    resume.run_once(path)  # it finds nothing, and writes what a start needs
    config, chance = Config.load(path), random.Random(1)
    places, wanted, rule = area_files.load(config), config.selection(), config.cloud_rule()
    with State.create_or_open(config.run.state) as state:
        state.sync_areas(places)
        state.begin_run("{}", "benchmark")
        measures: list[CloudMeasure] = []
        for number in range(items):
            jobs = state.add_scene(scene(number, archive.origin), places, wanted)
            if number >= round(items * (1 - OPEN)):
                continue
            is_second = number % len(SQUARES) > 0
            if is_second:  # it has fewer of the same pixels
                measures = [replace(known, total=known.total + 9) for known in measures]
            else:
                measures = [_measure(chance) for _ in jobs]
            outcomes = tuple(
                Outcome(job=job, status=Status.DUPLICATE, measure=measured)
                if is_second and overlaps == "one"
                else _outcome(job, measured, rule.verdict(measured))
                for job, measured in zip(jobs, measures, strict=True)
            )
            state.record(BatchResult(outcomes=outcomes), [])
        crop = config.output.folder / next(state.crop_paths())
    crop.parent.mkdir(parents=True)
    crop.touch()
    return path


def scene(number: int, origin: str) -> Scene:
    """Return a scene; those of `SQUARES` follow one another, and each overpass has a different day."""
    plain, square = export.scene(number // len(SQUARES)), SQUARES[number % len(SQUARES)]
    name = plain.id.replace(plain.grid, square)
    return replace(
        plain,
        id=name,
        grid=square,
        datatake=f"S2A_{plain.datetime:%Y%m%dT%H%M%S}",
        assets={key: Asset(key=key, href=f"{origin}/{name}/{key}.tif") for key in plain.assets},
    )


def _measure(chance: random.Random) -> CloudMeasure:
    """Return the measurement of a clear or a cloudy field of 900 pixels."""
    clouds, water = chance.choice((0, chance.randrange(3), chance.randrange(880))), chance.randrange(5)
    shadows, haze = chance.randrange(9), clouds // 2
    histogram = (0, 0, shadows, 0, 880 - clouds, 20, water, 0, haze, clouds - haze, 0, 0, 0)
    return CloudMeasure(histogram=histogram, total=sum(histogram))


def _outcome(job: Job, measured: CloudMeasure, verdict: Status | None) -> Outcome:
    if verdict is not None:
        return Outcome(job=job, status=verdict, measure=measured)
    product = Product(
        asset="visual",
        file=f"{job.scene.id}_visual.tif",
        bytes=3000 + job.id % 5,
        sha256=f"{hash((job.id, 'visual')) & (1 << 64) - 1:064x}",
        mask=True,
        format="gtiff",
        epsg=32633,
    )
    return Outcome(job=job, status=Status.SAVED, measure=measured, products=(product,))
