"""The same jobs by several programs over one emulated link: every contender runs once a round; medians.

All save the crops as GeoTIFFs. s2async has two handicaps: it searches, while the others are given the items; and
it maintains a state and waits until the disk has stored the data. Times are of whole processes, from start to end.

If the disk is ext4, wait six minutes between two contests: the files that the first one deletes make writing the
crops of the second one slow (see `ours.once`).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final

from shapely.geometry.base import BaseGeometry

from benchmarks import measure, ours, scenes
from benchmarks.answers import Answer, answer_of
from benchmarks.options import Options
from benchmarks.peers.rules import Found
from benchmarks.scenes import Order
from s2async import files
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.truth.least import Least, least
from s2async.sandbox.world.make import World, default_folder, make_world

OURS: Final = "s2async"
SAMPLED: Final = "sequential"
SAMPLE: Final = 100
"""Number of jobs of the sequential program, which would take too long with all."""
PEERS: Final = {
    SAMPLED: ("rasterio", (3, 11)),
    "gdal_threads": ("rasterio", (3, 11)),
    "odc_stac": ("odc", (3, 11)),
    "rasteret": ("rasteret", (3, 12)),
    "geotiff": ("async_geotiff", (3, 11)),
    "geotiff_shared": ("async_geotiff", (3, 11)),
}
"""Modules in ``benchmarks.peers``: the package that they import, and the oldest Python version that it
supports."""

_NO_FIGURES: Final = ("contender", "round", "differing")

Line = dict[str, Any]


@dataclass(kw_only=True)
class Contest:
    """The data that all contenders share, and their results so far."""

    world: World
    sandbox: Sandbox
    order: Order
    options: Options
    folder: Path
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    """The first answer to each job; those of the other contenders must be equal."""
    _least: dict[int, Least] = field(default_factory=dict)

    def once(self, name: str, number: int) -> Line:
        """Run one contender once."""
        files.sync_all()  # otherwise a contender that waits for the disk would wait for writes of earlier ones
        self.sandbox.reset()
        before = measure.cpu_seconds(self.sandbox.pid)
        place = self.folder / f"{name}-{number}"
        usage, answers = self._ours(place) if name == OURS else self._peer(name, place)
        server = measure.cpu_seconds(self.sandbox.pid) - before
        log = self.sandbox.log()
        cogs = [entry for entry in log if entry.kind == "cogs"]
        bound = self._bound(answers)
        sent, jobs = sum(entry.bytes for entry in cogs), len(answers)
        limit = self.options.bandwidth * 1e6 / 8
        return {
            "contender": name,
            "round": number,
            "jobs": jobs,
            "clear": sum(answer.clear for answer in answers),
            "seconds": round(usage.seconds, 3),
            "startup_seconds": round(min(entry.time for entry in log) - usage.began, 3),
            "jobs_per_second": round(jobs / usage.seconds, 2),
            "requests": len(cogs),
            "requests_per_job": round(len(cogs) / jobs, 3),
            "bytes": sent,
            "kilobytes_per_job": round(sent / jobs / 1000, 1),
            "bytes_over_least": round(sent / bound.bytes, 4),
            "bytes_over_least_prefix": round(sent / bound.prefix_bytes, 4),
            "cpu_ms_per_job": round(usage.cpu_seconds / jobs * 1000, 2),
            "peak_megabytes": round(usage.peak_bytes / 1e6, 1),
            "link_share": round(sent / usage.seconds / limit, 4),
            "server_cpu_share": round(server / usage.seconds, 3),
            "differing": self._differing(answers),
        }

    def _ours(self, place: Path) -> tuple[measure.Usage, list[Answer]]:
        areas = scenes.parks()
        ran = ours.run(place, self.sandbox, areas, connections=self.options.connections)
        return ran.usage, ran.answers()

    def _peer(self, name: str, place: Path) -> tuple[measure.Usage, list[Answer]]:
        order = self.order.sample(SAMPLE) if name == SAMPLED else self.order
        place.mkdir()
        order.save(place / "order.json")
        files = [str(place / "order.json"), str(place / "answers.jsonl"), str(place)]
        command = [sys.executable, "-m", "benchmarks.peers", name, *files, str(self.options.connections)]
        usage = measure.run(command)
        lines = (place / "answers.jsonl").read_text().splitlines()
        found = [Found(**json.loads(line)) for line in lines]
        return usage, [answer_of(one.item, one.area, one.bad, one.valid, one.file) for one in found]

    def _bound(self, answers: Sequence[Answer]) -> Least:
        """Return the minimum cost of these jobs."""
        if len(answers) not in self._least:
            known = {scene.id: scene for scene in self.order.scenes}
            parks = scenes.parks()
            touching: dict[str, list[BaseGeometry]] = defaultdict(list)
            for answer in answers:
                scene, polygon = known[answer.item], parks[answer.area]
                touching[scene.scl].append(polygon)
                if answer.clear:
                    touching[scene.visual].append(polygon)
            self._least[len(answers)] = least(touching, self.world.local)
        return self._least[len(answers)]

    def _differing(self, answers: Sequence[Answer]) -> list[str]:
        return [
            f"{found.area} {found.item}"
            for found in answers
            if self.answers.setdefault((found.item, found.area), found) != found
        ]


def run(options: Options) -> Iterator[Line]:
    """Compare speed, bytes, requests, CPU and memory of s2async and other readers, interleaved, and all pixels."""
    yield from _run(options, single=False)


def narrow(options: Options) -> Iterator[Line]:
    """Compare like `throughput`, on a link of 200 Mbit/s."""
    yield from _run(options, single=False)


def single(options: Options) -> Iterator[Line]:
    """Compare like `throughput`, with items that are wanted by one area only, so that nothing can be shared."""
    yield from _run(options, single=True)


def _run(options: Options, *, single: bool) -> Iterator[Line]:
    names, left_out = _contenders(options)
    yield from left_out
    whole = make_world(default_folder(), progress=lambda text: print(text, file=sys.stderr))
    with (
        scenes.world_of(whole, options.items, single=single) as world,
        start(world.folder, delay=options.delay, bandwidth=options.bandwidth) as sandbox,
        tempfile.TemporaryDirectory(prefix="s2async-") as folder,
    ):
        order = scenes.order(world, sandbox.origin, scenes.parks())
        contest = Contest(world=world, sandbox=sandbox, order=order, options=options, folder=Path(folder))
        found: dict[str, list[Line]] = {name: [] for name in names}
        for number in range(1, options.rounds + 1):
            for name in turns(names, number):
                line = contest.once(name, number)
                found[name].append(line)
                yield line
                yield from _faults(line, contest.order)
        yield from medians(found)
        yield {"contender": "whole files", **_whole_files(contest)}


def turns(names: Sequence[str], number: int) -> Sequence[str]:
    """Return the order in a round: every other one is reversed, to be fair if the machine slows down."""
    return names if number % 2 else names[::-1]


def medians(found: dict[str, list[Line]]) -> Iterator[Line]:
    """Yield the median of every figure of each contender over its rounds, and how s2async compares."""
    middle = {
        name: {key: median(line[key] for line in lines) for key in lines[0] if key not in _NO_FIGURES}
        for name, lines in found.items()
        if lines
    }
    own = middle.get(OURS)
    for name, figures in middle.items():
        ratios = {}
        if own and name != OURS:
            ratios = {
                "times_faster": round(own["jobs_per_second"] / figures["jobs_per_second"], 2),
                "times_the_bytes": round(own["bytes"] / own["jobs"] / (figures["bytes"] / figures["jobs"]), 3),
            }
        yield {"contender": name, "median_of": len(found[name]), **figures, **ratios}


def _contenders(options: Options) -> tuple[list[str], list[Line]]:
    """Return the contenders that can run here, and notes on the others."""
    names, notes = [], []
    for name in options.contenders or (*PEERS, OURS):
        package, oldest = PEERS.get(name, ("s2async", (3, 11)))
        if sys.version_info < oldest:
            notes.append({"left_out": name, "why": f"needs Python {'.'.join(map(str, oldest))} or later"})
        elif find_spec(package) is None:
            notes.append({"left_out": name, "why": f"{package} is not installed: pip install 's2async[bench]'"})
        else:
            names.append(name)
    return names, notes


def _faults(line: Line, order: Order) -> Iterator[Line]:
    wanted = min(SAMPLE, order.jobs) if line["contender"] == SAMPLED else order.jobs
    if line["jobs"] != wanted:
        yield {"fault": f"{line['contender']} answered {line['jobs']} jobs of {wanted}"}
    for job in line["differing"]:
        yield {"fault": f"{line['contender']} has another answer to {job} than the first contender"}


def _whole_files(contest: Contest) -> Line:
    """Return what downloading each needed file would cost, computed from sizes."""
    clear = {item for (item, _), answer in contest.answers.items() if answer.clear}
    total = 0
    for item in contest.order.scenes:
        total += contest.world.local(item.scl).stat().st_size
        if item.id in clear:
            total += contest.world.local(item.visual).stat().st_size
    limit = contest.options.bandwidth * 1e6 / 8
    jobs = contest.order.jobs
    return {
        "computed": True,
        "jobs": jobs,
        "bytes": total,
        "kilobytes_per_job": round(total / jobs / 1000, 1),
        "seconds": round(total / limit, 1),
        "jobs_per_second": round(jobs * limit / total, 2),
    }
