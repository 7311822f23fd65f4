"""Two versions of s2async in turn on a grid square of dense small fields, or on the nine parks.

Each runs in its own processes, from its own checkout, on the same scenes and the same emulated link, and writes a
crop of each clear field. The results of a version are compared with rasterio on the local files.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from benchmarks import measure, ours, scenes
from benchmarks.contest import turns
from benchmarks.context import commit
from benchmarks.options import Options
from s2async import files
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.truth import oracle
from s2async.sandbox.truth import values as truth
from s2async.sandbox.world import dense
from s2async.sandbox.world.items import ORIGIN
from s2async.sandbox.world.make import World, default_folder, make_world

THIS: Final = "this"
OTHER: Final = "against"
_PROBE: Final = Path(__file__).with_name("probe.py")
_SETTLED: Final = 3.0
"""Seconds between the first request for a file and the command ``status``, which runs at the same time."""
_LOOK: Final = 0.5
"""Seconds between two queries of the server's totals."""
VALUES: Final = {
    "bands": ["red", "nir"],
    "indices": ["NDVI"],
    "statistics": ["mean", "stdev", "min", "max"],
}
"""Values that are computed; all dates up to the default limit have some."""
_COUNTS: Final = ("count", "data_count", "valid_count", "undefined")
_ROUNDING: Final = 0.00006
"""Tolerance: percentages are written with four decimals."""
FIGURES: Final = (
    *("jobs_per_cpu_second", "jobs_per_second", "cpu_seconds", "seconds", "bytes", "requests", "files"),
    *("first_cog_seconds", "peak_megabytes", "status_cpu_seconds"),
)
"""Figures whose ratios are reported."""
_NOT_SUMMED: Final = ("contender", "commit", "round", "megabytes_by_quarter", "differing")

Line = dict[str, Any]


def run(options: Options) -> Iterator[Line]:
    """Compare jobs per CPU second, memory, loop lag and `status` on --areas dense fields with another checkout."""
    place = Path(options.worlds) if options.worlds else dense.default_place()
    areas = dense.dataset(place, options.areas)
    whole = dense.scenes(place, progress=_tell)
    yield from _run(options, whole, [dense.PLACE], areas)


def values(options: Options) -> Iterator[Line]:
    """Compare like `fields`, but this version computes values of red, nir and NDVI, and the other cuts crops."""
    place = Path(options.worlds) if options.worlds else dense.default_place()
    areas = dense.dataset(place, options.areas)
    whole = dense.scenes(place / "bands", items=options.items, assets=("visual", "red", "nir"), progress=_tell)
    yield from _run(options, whole, [dense.PLACE], areas, values=VALUES)


def parks(options: Options) -> Iterator[Line]:
    """Compare like `fields`, over the nine parks."""
    whole = make_world(default_folder(), progress=_tell)
    with tempfile.TemporaryDirectory(prefix="s2async-") as folder:
        areas = ours.write_areas(Path(folder), scenes.parks())
        yield from _run(options, whole, list(scenes.parks().values()), areas)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _run(
    options: Options,
    whole: World,
    places: Sequence[BaseGeometry],
    areas: Path,
    *,
    values: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Line]:
    trees = {THIS: measure.REPOSITORY}
    if options.against:
        trees[OTHER] = Path(options.against).absolute()
    found: dict[str, list[Line]] = {name: [] for name in trees}
    with (
        scenes.world_of(whole, options.items, places=places) as world,
        start(world.folder, delay=options.delay, bandwidth=options.bandwidth) as sandbox,
        tempfile.TemporaryDirectory(prefix="s2async-") as folder,
    ):
        for number in range(1, options.rounds + 1):
            for name in turns(list(trees), number):
                place = Path(folder) / f"{name}-{number}"
                wanted = values if name == THIS else None
                trial = Trial(tree=trees[name], folder=place, sandbox=sandbox, areas=areas, values=wanted)
                line = {"contender": name, "commit": commit(trial.tree), "round": number, **trial.once(options)}
                line |= {"differing": list(Truth(world, areas).faults(trial, options.sample, seed=number))}
                found[name].append(line)
                yield line
                yield from ({"fault": f"{name}: {text}"} for text in line["differing"])
    yield from summary(found)


def summary(found: Mapping[str, Sequence[Line]]) -> Iterator[Line]:
    """Yield the median of each figure of each contender, then the ratios of this version to the other one."""
    middle = {
        name: {key: median(line[key] for line in lines) for key in lines[0] if key not in _NOT_SUMMED}
        for name, lines in found.items()
    }
    for name, figures in middle.items():
        yield {"contender": name, "median_of": len(found[name]), **figures}
    if OTHER in middle:
        ratios = {key: middle[THIS][key] / (middle[OTHER][key] or float("nan")) for key in FIGURES}
        yield {
            "ratios": {key: round(ratio, 3) for key, ratio in ratios.items()},
            "says": "this version to the other: "
            + ", ".join(f"{key.replace('_', ' ')} {ratio:.2f} x" for key, ratio in ratios.items()),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run of one checkout, in a separate folder."""

    tree: Path
    folder: Path
    sandbox: Sandbox
    areas: Path
    values: Mapping[str, Sequence[str]] | None = None
    """Section of the configuration, if it computes values instead of cutting crops."""

    @property
    def config(self) -> Path:
        """Path of its configuration."""
        return self.folder / "config.toml"

    @property
    def output(self) -> Path:
        """Folder of its crops."""
        return self.folder / "data"

    def once(self, options: Options) -> Line:
        """Run it, and return the cost."""
        self.folder.mkdir()
        ours.configured(
            self.folder, self.sandbox, self.areas, options.connections, tree=self.tree, values=self.values
        )
        files.sync_all()
        self.sandbox.reset()
        memory, notes = Memory(), self.folder / "late.bin"
        status = Status(self)
        command = [sys.executable, "-P", str(_PROBE), str(notes), "-q", "run", str(self.config), "--json"]
        if options.jobs is not None:
            command += ["--limit", str(options.jobs)]
        with (self.folder / "summary.json").open("w+b") as out, closing(status):
            usage = measure.run(command, stdout=out, tree=self.tree, watch=memory.look)
        told = json.loads((self.folder / "summary.json").read_bytes())
        log, totals = self.sandbox.log(), self.sandbox.totals()
        first = min(entry.time for entry in log if entry.kind == "cogs")
        jobs = sum(told["jobs"].values())
        return {
            "jobs": jobs,
            "saved": told["jobs"].get("saved", 0),
            "seconds": round(usage.seconds, 2),
            "jobs_per_second": round(jobs / usage.seconds, 1),
            "cpu_seconds": round(usage.cpu_seconds, 2),
            "jobs_per_cpu_second": round(jobs / usage.cpu_seconds, 1),
            "first_cog_seconds": round(first - usage.began, 2),
            "requests": totals["cogs"].requests,
            "searches": totals["search"].requests,
            "bytes": totals["cogs"].bytes,
            "files": ours.files_in(self.output),
            "peak_megabytes": round(usage.peak_bytes / 1e6, 1),
            "megabytes_by_quarter": memory.quarters(since=first),
            **lateness(notes, since=first),
            **status.figures,
        }


@dataclass
class Memory:
    """Resident size of a process over time."""

    looks: list[tuple[float, int]] = field(default_factory=list)

    def look(self, pid: int) -> None:
        """Record the size, at most ten times a second."""
        now = measure.now()
        if not self.looks or now - self.looks[-1][0] > 0.1:
            self.looks.append((now, measure.resident(pid)))

    def quarters(self, *, since: float) -> list[float]:
        """Return the maximum in each quarter of the time since then, in MB."""
        sizes = [size for time, size in self.looks if time >= since]
        return [round(max(part.tolist(), default=0) / 1e6, 1) for part in np.array_split(np.array(sizes), 4)]


class Status:
    """``s2async status`` during a run, once; a thread waits for the right moment.

    Args:
        trial: the run.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._ended = threading.Event()
        self.figures: Line = {}
        """Wall and CPU time, and whether the run was still in progress."""
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def close(self) -> None:
        """Wait for the command; if the run was too short, the command runs after it."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK):
            if self._trial.sandbox.totals()["cogs"].requests:
                self._ended.wait(_SETTLED)
                break
        beside = not self._ended.is_set()
        command = [sys.executable, "-m", "s2async", "status", str(self._trial.config)]
        with (self._trial.folder / "status.txt").open("wb") as out:
            usage = measure.run(command, stdout=out, tree=self._trial.tree)
        self.figures = {
            "status_seconds": round(usage.seconds, 2),
            "status_cpu_seconds": round(usage.cpu_seconds, 2),
            "status_beside_run": beside and not self._ended.is_set(),
        }


def lateness(notes: Path, *, since: float) -> Line:
    """Return how late the event loop was after a time, in seconds: 99.9th percentile and maximum."""
    looks = array("d")
    looks.frombytes(notes.read_bytes())
    late = sorted(late for time, late in zip(looks[::2], looks[1::2], strict=True) if time >= since) or [0.0]
    return {"late_p999": round(late[int(len(late) * 0.999)], 4), "late_most": round(late[-1], 4)}


class Truth:
    """The results of rasterio on the local files.

    Args:
        world: the scenes.
        areas: GeoJSON with names.
    """

    def __init__(self, world: World, areas: Path) -> None:
        with (world.folder / "items.jsonl").open() as lines:
            items = [json.loads(line.replace(ORIGIN, "http://sandbox")) for line in lines]
        self.files = {
            item["id"]: {key: world.local(asset["href"]) for key, asset in item["assets"].items()}
            for item in items
        }
        self._areas = areas

    def faults(self, trial: Trial, sample: int, *, seed: int) -> Iterator[str]:
        """Yield what is wrong with a sample of a trial's jobs, in words: their status, cloud share and crop."""
        if not sample:
            return
        if trial.values is not None:
            yield from self._wrong_values(trial, sample, seed=seed)
            return
        table = trial.folder / "all.csv"
        command = [sys.executable, "-m", "s2async", "-q", "export", str(trial.config), "--all"]
        measure.run([*command, "--format", "csv", "--output", str(table)], tree=trial.tree)
        collection = json.loads(self._areas.read_text())
        shapes = {feature["properties"]["name"]: feature["geometry"] for feature in collection["features"]}
        for row in some_rows(table, sample, seed=seed):
            yield from self._faults(row, shapely.geometry.shape(shapes[row["area"]]), trial.output)

    def _wrong_values(self, trial: Trial, sample: int, *, seed: int) -> Iterator[str]:
        """Yield what is wrong with a sample of rows of the table of values."""
        collection = json.loads(self._areas.read_text())
        shapes = {feature["properties"]["name"]: feature["geometry"] for feature in collection["features"]}
        for row in some_rows(trial.output / "values.csv", sample, seed=seed):
            assets = self.files[row["item"]]
            bands, formula = (["nir", "red"], truth.ndvi) if row["name"] == "NDVI" else ([row["name"]], None)
            look = truth.look(
                assets["scl"], {band: assets[band] for band in bands}, shapely.geometry.shape(shapes[row["area"]])
            )
            if look is None:
                yield f"{row['area']} {row['item']} {row['name']}: has values outside of the scene"
                continue
            counts, statistics = truth.summary(look, oracle.BAD_CLASSES, bands, formula, VALUES["statistics"])
            found = [float(row[key] or "nan") for key in (*_COUNTS, *VALUES["statistics"])]
            expected = [counts[0], counts[1], counts[3], counts[4], *statistics]
            if not np.allclose(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True):
                yield f"{row['area']} {row['item']} {row['name']}: {found}, but numpy finds {expected}"

    def _faults(self, row: Mapping[str, str], polygon: BaseGeometry, folder: Path) -> Iterator[str]:
        label, assets = f"{row['area']} {row['item_id']}", self.files[row["item_id"]]
        percent = oracle.plain_cloud_percent(assets["scl"], polygon)
        if percent is None or np.isnan(percent):
            if row["status"] not in ("outside", "nodata"):
                yield f"{label}: {row['status']}, but it has no data"
            return
        if abs(float(row["area_cloud_percent"] or "nan") - percent) > _ROUNDING:
            yield f"{label}: {row['area_cloud_percent']} % of cloud, but rasterio finds {percent:.4f} %"
        expected = "cloudy" if percent > oracle.MAX_CLOUD else "saved"
        if row["status"] != expected:
            yield f"{label}: {row['status']}, but rasterio finds {expected}"
        elif expected == "saved":
            fault = oracle.crop_differs(folder / row["path"], assets["visual"], polygon)
            if fault:
                yield f"{label}: {fault}"


def some_rows(table: Path, count: int, *, seed: int) -> list[dict[str, str]]:
    """Return random rows of a CSV file, in their order; all rows if it has fewer."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = sum(1 for _ in csv.DictReader(file))
    chosen = set(np.random.default_rng(seed).choice(rows, min(count, rows), replace=False).tolist())
    with table.open(newline="", encoding="utf-8") as file:
        return [row for index, row in enumerate(csv.DictReader(file)) if index in chosen]
