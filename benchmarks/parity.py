"""Every job of the year, compared with rasterio.mask on the local files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import year
from benchmarks.options import Options
from s2async.sandbox.truth import oracle
from s2async.sandbox.world.make import World


def run(_: Options) -> Iterator[dict[str, Any]]:
    """Compare all cloud shares and crops of the year with rasterio.mask on the local files, to the last bit."""
    with year.finished({"reprocessed": '"all"', "min_area_valid": "0"}) as made:
        jobs = list(oracle.recorded_jobs(made.state))
        statuses = Counter(job.status for job in jobs)
        crops = sum(len(job.products) for job in jobs)
        with ProcessPoolExecutor(2) as pool:
            checks = pool.map(_check, jobs, [made.world] * len(jobs), [made.output] * len(jobs), chunksize=16)
            faults = [fault for found in checks for fault in found]
        for fault in faults[:20]:
            yield {"fault": fault}
        yield {"jobs": len(jobs), "statuses": dict(statuses), "crops": crops, "faults": len(faults)}


def _check(job: oracle.RecordedJob, world: World, output: Path) -> list[str]:
    return oracle.check_job(job, world.local, output)
