"""Bytes and requests of the year, compared with the minimum for whole tiles, or for their needed parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from shapely.geometry.base import BaseGeometry

from benchmarks import year
from benchmarks.options import Options
from s2async.sandbox.truth import oracle
from s2async.sandbox.truth.least import least


def run(_: Options) -> Iterator[dict[str, Any]]:
    """Compare bytes and requests of the parks' year with the minimum for whole tiles, and with whole files."""
    with year.finished() as made:
        found = figures(made)
        if (found["bytes_counted"], found["requests_counted"]) != (found["bytes"], found["requests"]):
            yield {"fault": "the run's counts differ from the server's log"}
        yield found


def figures(made: year.Year) -> dict[str, Any]:
    """Return the traffic of a finished year, and the minimum: SCL for all jobs, true colour for clear ones.

    Searches are counted separately.
    """
    touching: dict[str, list[BaseGeometry]] = defaultdict(list)
    for job in oracle.recorded_jobs(made.state):
        if job.status in ("saved", "cloudy", "nodata", "outside"):
            touching[job.hrefs["scl"]].append(job.polygon)
        if job.status == "saved":
            touching[job.hrefs["visual"]].append(job.polygon)
    bound = least(touching, made.world.local)
    log = [entry for entry in made.sandbox.log() if entry.path.startswith("/cogs/")]
    counted = [line for line in made.summary["traffic"] if line["stage"] != "search"]
    sent, jobs = sum(entry.bytes for entry in log), sum(made.summary["jobs"].values())
    return {
        "jobs": jobs,
        "statuses": made.summary["jobs"],
        "seconds": made.summary["run"]["seconds"],
        "bytes": sent,
        "bytes_counted": sum(line["bytes"] for line in counted),
        "least_bytes": bound.bytes,
        "bytes_over_least": round(sent / bound.bytes, 4),
        "least_prefix_bytes": bound.prefix_bytes,
        "bytes_over_least_prefix": round(sent / bound.prefix_bytes, 4),
        "requests": len(log),
        "requests_counted": sum(line["requests"] for line in counted),
        "requests_per_job": round(len(log) / jobs, 4),
        "files_opened": bound.files,
        "runs_of_tiles": bound.runs,
        "requests_over_least": round(len(log) / (bound.files + bound.runs), 4),
        "searches": sum(line["requests"] for line in made.summary["traffic"] if line["stage"] == "search"),
        "whole_files": made.summary["whole_files"],
        "peak_megabytes": round(made.peak_bytes / 1e6, 1),
        "cpu_ms_per_job": round(made.cpu_seconds / jobs * 1000, 2),
    }
