"""Bytes and requests of the year against the least that reading whole tiles can cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from benchmarks import year
from s2async import tiff
from tests import oracle


def run() -> Iterator[dict[str, Any]]:
    """Bytes and requests of the nine parks' year against the least of whole tiles; memory; whole files."""
    with year.finished() as made:
        found = figures(made)
        if (found["bytes_counted"], found["requests_counted"]) != (found["bytes"], found["requests"]):
            yield {"fault": "the run's counts differ from the server's log"}
        yield found


def figures(made: year.Year) -> dict[str, Any]:
    """What a finished year moved, and the least that it could have.

    The least: of every file that was needed, its first directory up to the last needed byte, and each distinct
    full-resolution tile that a polygon touches; SCL for all jobs, the picture for the clear ones; searches apart.
    """
    touching: dict[str, list[oracle.RecordedJob]] = defaultdict(list)
    for job in oracle.recorded_jobs(made.state):
        if job.status in ("saved", "cloudy", "nodata", "outside"):
            touching[job.hrefs["scl"]].append(job)
        if job.status == "saved":
            touching[job.hrefs["visual"]].append(job)
    least = runs = 0
    for href, jobs in touching.items():
        path = made.world.local(href)
        with path.open("rb") as file:
            layout = tiff.parse(file.read(65536))
        if isinstance(layout, tiff.NeedMore):
            raise TypeError(f"{path} has a header of {layout.size} bytes")
        blocks = oracle.touched_blocks(path, [job.polygon for job in jobs])
        least += layout.end + sum(blocks.values())
        runs += len(blocks) - sum((row, col + 1) in blocks for row, col in blocks)
    log = [entry for entry in made.sandbox.log() if entry.path.startswith("/cogs/")]
    counted = [line for line in made.summary["traffic"] if line["stage"] != "search"]
    sent = sum(entry.bytes for entry in log)
    return {
        "jobs": sum(made.summary["jobs"].values()),
        "statuses": made.summary["jobs"],
        "seconds": made.summary["run"]["seconds"],
        "bytes": sent,
        "bytes_counted": sum(line["bytes"] for line in counted),
        "least_bytes": least,
        "bytes_over_least": round(sent / least, 4),
        "requests": len(log),
        "requests_counted": sum(line["requests"] for line in counted),
        "files_opened": len(touching),
        "runs_of_tiles": runs,
        "requests_over_least": round(len(log) / (len(touching) + runs), 4),
        "searches": sum(line["requests"] for line in made.summary["traffic"] if line["stage"] == "search"),
        "whole_files": made.summary["whole_files"],
        "peak_megabytes": round(made.peak_bytes / 1e6, 1),
    }
