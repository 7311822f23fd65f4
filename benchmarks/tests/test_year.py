"""The main job at full size: nine parks, a year, on the sandbox's own world (made once, and cached)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import least, year
from s2async.sandbox.truth import oracle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished() -> Iterator[year.Year]:
    with year.finished({"reprocessed": '"all"', "min_area_valid": "0"}) as made:
        yield made


@pytest.fixture(scope="module")
def figures(finished: year.Year) -> dict[str, Any]:
    """Return the bytes read, and the minimum, which takes half a minute to compute."""
    return least.figures(finished)


def test_every_kind_of_answer_occurs(finished: year.Year) -> None:
    counts = Counter(job.status for job in oracle.recorded_jobs(finished.state))
    assert set(counts) == {"saved", "cloudy", "nodata", "outside", "missing"}
    assert 1200 <= sum(counts.values()) <= 1800
    assert counts["saved"] >= 400


def test_a_sample_of_jobs_equals_rasterio_mask(finished: year.Year) -> None:
    jobs = list(oracle.recorded_jobs(finished.state))
    rare = [job for job in jobs if job.status in ("nodata", "outside", "missing")]
    sample = jobs[::11] + rare[::5]
    assert len(sample) > 120
    assert [
        fault for job in sample for fault in oracle.check_job(job, finished.world.local, finished.output)
    ] == []


@pytest.mark.long
def test_the_runs_counts_are_the_servers(finished: year.Year, figures: dict[str, Any]) -> None:
    assert figures["bytes_counted"] == figures["bytes"]
    assert figures["requests_counted"] == figures["requests"]
    totals = finished.sandbox.totals()["all"]
    assert finished.summary["run"]["requests"] == totals.requests
    assert finished.summary["run"]["bytes"] == totals.bytes


@pytest.mark.long
def test_hardly_more_is_read_than_the_needed_parts_of_tiles(figures: dict[str, Any]) -> None:
    # usually 1.08; the estimates of the first reads, before there are any sizes, depend on the machine's speed
    assert figures["bytes"] <= 1.15 * figures["least_prefix_bytes"]
    assert figures["bytes"] <= 0.70 * figures["least_bytes"]
    assert figures["requests"] <= 1.2 * figures["jobs"]


def test_memory_stays_small_with_64_connections(finished: year.Year) -> None:
    assert finished.peak_bytes < 300e6
