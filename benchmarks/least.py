"""Bytes and requests of the year against the least that reading whole tiles, or their needed parts, can cost."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from shapely.geometry.base import BaseGeometry

from benchmarks import year
from benchmarks.options import Options
from s2async.cog import tiff
from tests.support import oracle

Block = tuple[int, int]
"""Row and column of a tile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Least:
    """What some files cost at least.

    Of every file its first directory up to the last needed byte, and each distinct full-resolution tile that a
    polygon touches: whole, or the part of its stream down to the last row that a polygon needs.
    """

    bytes: int
    """With whole tiles."""
    prefix_bytes: int
    """With the needed parts of tiles."""
    files: int
    runs: int
    """Tiles, but neighbours in a row count as one: they lie side by side in the file."""


def least(touching: Mapping[str, Sequence[BaseGeometry]], local: Callable[[str], Path]) -> Least:
    """What files cost at least.

    Args:
        touching: Polygons (lon/lat) that are wanted of each file, by its address.
        local: From address to file.
    """
    whole = prefixes = runs = 0
    for href, polygons in touching.items():
        path = local(href)
        with path.open("rb") as file:
            layout = tiff.parse(file.read(65536))
        if isinstance(layout, tiff.NeedMore):
            raise TypeError(f"{path} has a header of {layout.size} bytes")
        blocks = oracle.touched_blocks(path, polygons)
        whole += layout.end + sum(blocks.values())
        prefixes += layout.end + sum(needed_parts(path, polygons, frozenset(blocks)))
        runs += len(blocks) - sum((row, col + 1) in blocks for row, col in blocks)
    return Least(bytes=whole, prefix_bytes=prefixes, files=len(touching), runs=runs)


def needed_parts(path: Path, polygons: Sequence[BaseGeometry], blocks: frozenset[Block]) -> Iterator[int]:
    """Bytes of each tile's stream down to the last row whose pixel centres a polygon reaches."""
    with rasterio.open(path) as raster:
        height, width = raster.block_shapes[0]
        size, rows = raster.transform.a, dict.fromkeys(blocks, 1)
        for polygon in polygons:
            shape = oracle.project(polygon, raster.crs)
            for row, col in blocks:
                north = raster.transform.f - row * height * size
                west = raster.transform.c + col * width * size
                part = shape & shapely.box(west, north - height * size, west + width * size, north)
                if not part.is_empty:
                    needed = math.ceil((north - part.bounds[1]) / size - 0.5)
                    rows[row, col] = max(rows[row, col], min(needed, height))
        for (row, col), count in rows.items():
            start, stored = (
                int(raster.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1) or 0)
                for what in ("OFFSET", "SIZE")
            )
            wanted = count * width * raster.count * np.dtype(raster.dtypes[0]).itemsize
            yield _consumed(_Stream(path, path.stat().st_ino, start, stored), wanted) if stored else 0


@dataclass(frozen=True, slots=True)
class _Stream:
    """A tile of a file. Links to one file are the same stream."""

    path: Path = field(compare=False)
    inode: int
    start: int
    size: int


@lru_cache(maxsize=100_000)
def _consumed(stream: _Stream, wanted: int) -> int:
    with stream.path.open("rb") as file:
        file.seek(stream.start)
        return prefix_size(file.read(stream.size), wanted)


def prefix_size(data: bytes, wanted: int) -> int:
    """Bytes of a zlib stream that must be there to get so many bytes out of it."""
    unpacker = zlib.decompressobj()
    unpacker.decompress(data, wanted)
    return len(data) - len(unpacker.unconsumed_tail)


def run(_: Options) -> Iterator[dict[str, Any]]:
    """Bytes and requests of the nine parks' year against the least of whole tiles; memory; whole files."""
    with year.finished() as made:
        found = figures(made)
        if (found["bytes_counted"], found["requests_counted"]) != (found["bytes"], found["requests"]):
            yield {"fault": "the run's counts differ from the server's log"}
        yield found


def figures(made: year.Year) -> dict[str, Any]:
    """What a finished year moved, and the least that it could have: SCL for all jobs, the picture for clear ones.

    Searches count apart.
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
