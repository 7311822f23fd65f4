"""s2async as its users start it: ``s2async run`` with a new folder and state, crops written to disk."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapely.geometry.base import BaseGeometry

from benchmarks import measure, scenes
from benchmarks.answers import Answer, answer_of
from benchmarks.options import Options
from benchmarks.peers.rules import BAD_CLASSES
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.settings import toml
from s2async.sandbox.truth import oracle
from s2async.sandbox.world.make import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A finished run."""

    folder: Path
    usage: measure.Usage
    summary: dict[str, Any]
    """The output of ``--json``."""

    def answers(self) -> list[Answer]:
        """Return the result of each job, from the state and the crops on disk."""
        return [_answer(job, self.folder) for job in oracle.recorded_jobs(self.folder / "state.sqlite")]


def once(
    folder: Path,
    whole: World,
    items: int,
    areas: Mapping[str, BaseGeometry],
    options: Options,
    *,
    places: Sequence[BaseGeometry] | None = None,
) -> dict[str, Any]:
    """Run a number of items over the given areas, on a separate server, and return the figures of the run.

    Args:
        folder: folder for the run's files.
        whole: the world that contains the items.
        items: number of items.
        areas: polygons by name, in lon/lat.
        options: settings of the link.
        places: the places that each item contains completely; the nine parks by default.

    Delete the folder's files only after the last of many runs: for minutes, ext4 skips every recently freed inode
    whenever it creates a file (``recently_deleted`` in Linux' fs/ext4/ialloc.c), which took 0.7 ms per crop here,
    a tenth of a run's CPU time.
    """
    with (
        scenes.world_of(whole, items, places=places) as world,
        start(world.folder, delay=options.delay, bandwidth=options.bandwidth) as sandbox,
    ):
        place = Path(tempfile.mkdtemp(dir=folder)) / "run"
        ran = run(place, sandbox, areas, connections=options.connections)
        totals = sandbox.totals()
    return {
        "areas": len(areas),
        "items": items,
        "jobs": sum(ran.summary["jobs"].values()),
        "requests": totals["cogs"].requests,
        "searches": totals["search"].requests,
        "bytes": totals["cogs"].bytes,
        "seconds": round(ran.usage.seconds, 2),
        "cpu_seconds": round(ran.usage.cpu_seconds, 2),
        "peak_megabytes": round(ran.usage.peak_bytes / 1e6, 1),
        "files": files_in(place),
    }


def run(
    folder: Path, sandbox: Sandbox, areas: Mapping[str, BaseGeometry], *, connections: int | None = None
) -> Ran:
    """Run all items of a sandbox over the given areas.

    Args:
        folder: a new folder, for configuration, state and crops.
        sandbox: a sandbox that has been started.
        areas: polygons by name, in lon/lat.
        connections: the setting of that name; None for its default.

    Raises:
        RuntimeError: the run failed.
    """
    folder.mkdir(parents=True)
    config = configured(folder, sandbox, write_areas(folder, areas), connections)
    command = [sys.executable, "-m", "s2async", "-q", "run", str(config), "--json"]
    with (folder / "summary.json").open("w+b") as out:
        usage = measure.run(command, stdout=out)
    return Ran(folder=folder, usage=usage, summary=json.loads((folder / "summary.json").read_bytes()))


def write_areas(folder: Path, areas: Mapping[str, BaseGeometry]) -> Path:
    """Write areas (polygons by name, in lon/lat) into a folder, as GeoJSON."""
    path = folder / "areas.geojson"
    path.write_text(json.dumps(_collection(areas)))
    return path


def configured(
    folder: Path,
    sandbox: Sandbox,
    areas: Path,
    connections: int | None = None,
    *,
    tree: Path = measure.REPOSITORY,
    values: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a configuration into a folder, for all items of a sandbox.

    Args:
        folder: an existing folder, which also gets the crops and the state.
        sandbox: a sandbox that has been started.
        areas: file of areas.
        connections: the setting of that name; None for its default.
        tree: the checkout that reads it; the setting for reprocessed scenes had another name in the past.
        values: section of that name, for values of all items instead of crops.
    """
    bands = {"red": "red", "nir": "nir"} if values else {"visual": "visual"}
    network = {"origins": [sandbox.origin]} | ({} if connections is None else {"connections": connections})
    known = "reprocessed" in (tree / "config.example.toml").read_text("utf-8")
    config = folder / "config.toml"
    config.write_text(
        toml(
            areas=str(areas),
            search={
                "catalog": {
                    "url": sandbox.api,
                    "collection": "sentinel-2-l2a",
                    "assets": {"scl": "scl", **bands},
                },
                "datetime": "2022-01-01/2022-12-31",
                "reprocessed" if known else "twins": "all",
                **({"overlaps": "all"} if values else {}),
            },
            clouds={"min_area_valid": 0},
            output={"folder": "data"} | ({"assets": []} if values else {}),
            **({"values": values} if values else {}),
            network=network,
            run={"state": "state.sqlite"},
        )
    )
    return config


def files_in(folder: Path) -> int:
    """Return how many files a run left in its folder: crops, tables, and all others."""
    return sum(len(names) for _, _, names in os.walk(folder))


def _collection(areas: Mapping[str, BaseGeometry]) -> dict[str, Any]:
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": polygon.__geo_interface__}
        for name, polygon in areas.items()
    ]
    return {"type": "FeatureCollection", "features": features}


def _answer(job: oracle.RecordedJob, folder: Path) -> Answer:
    counts = job.histogram or (0,) * 13
    file = folder / "data" / job.folder / job.products["visual"] if job.status == "saved" else None
    bad = sum(counts[number] for number in BAD_CLASSES)
    return answer_of(job.item, job.area, bad, sum(counts[1:12]), file)
