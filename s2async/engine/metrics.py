"""A run as metrics in the text format of Prometheus. This module makes the text; `metrics_file` writes it.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/, "Text-based format". Names follow
https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from s2async._version import __version__
from s2async.engine.progress import Progress
from s2async.models import Status

Sample = tuple[Mapping[str, str], float]
"""Labels and value."""

_LAST_RUN: Final = re.compile(
    r"^s2async_last_run_(exit_code|end_time_seconds|success_time_seconds)\{.*\} ([0-9.]+)$", re.MULTILINE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LastRun:
    """How the last run that has ended went; None if there was none. Times are seconds since 1970."""

    exit_code: float | None = None
    ended: float | None = None
    succeeded: float | None = None
    """End of the last run with exit code 0."""

    @classmethod
    def of(cls, text: str) -> LastRun:
        """Parse the metrics of an earlier run."""
        values = {name: float(value) for name, value in _LAST_RUN.findall(text)}
        return cls(
            exit_code=values.get("exit_code"),
            ended=values.get("end_time_seconds"),
            succeeded=values.get("success_time_seconds"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What the metrics need in addition to the progress of a run."""

    began: float
    """Seconds since 1970."""
    active: bool
    jobs_per_second: float
    memory: int | None
    """Bytes of memory that the process uses; None if the system does not report it."""
    lag: float
    """Longest recent delay of the event loop, in seconds."""
    last: LastRun


def exposition(progress: Progress, moment: Moment, *, config: str) -> str:
    """Return the metrics of a run.

    Args:
        progress: progress of the run.
        moment: the other values.
        config: label of all samples, so that the files of several configurations can share a folder.
    """
    lines = []
    for name, kind, text, samples in _families(progress, moment):
        values = [f"{name}{_labels({'config': config, **labels})} {_number(value)}" for labels, value in samples]
        if values:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *values]
    return "\n".join(lines) + "\n"


def _families(progress: Progress, moment: Moment) -> Iterator[tuple[str, str, str, Iterable[Sample]]]:
    """Yield name, type, help text and samples of each metric; metrics without samples are omitted later."""
    yield "s2async_info", "gauge", "Version of s2async.", [({"version": __version__}, 1)]
    done = [({"status": status}, progress.done[status]) for status in Status]
    yield "s2async_jobs_total", "counter", "Jobs that the run has processed, by status.", done
    causes = [
        ({"status": status, "cause": cause}, jobs) for (status, cause), jobs in sorted(progress.causes.items())
    ]
    yield "s2async_jobs_without_file_total", "counter", "Missing and failed jobs of the run, by cause.", causes
    parked = [({"host": host}, 1) for host in (progress.network.parked if progress.network else ())]
    yield "s2async_host_parked", "gauge", "Which servers are left alone.", parked
    for kind, metrics in (("counter", _counters(progress)), ("gauge", _gauges(progress, moment))):
        for name, text, value in metrics:
            yield f"s2async_{name}", kind, text, [] if value is None else [({}, value)]


def _counters(progress: Progress) -> list[tuple[str, str, float | None]]:
    """Return name, help text and value (None if unknown) of the counters without labels of their own."""
    network, meter = progress.network, progress.meter
    return [
        ("jobs_found_total", "Jobs that have entered the queue of the run.", progress.found),
        ("valued_jobs_total", "Jobs of which the run has computed values.", progress.valued),
        ("values_total", "Values of the run: of a job, one for each band and index.", progress.values),
        ("scenes_total", "Scenes of which all jobs are done.", int(progress.outlook.tally.done.scenes)),
        ("searches_done_total", "Searches that have ended, complete or not.", progress.searches_done),
        ("searches_incomplete_total", "Searches that have ended incomplete.", progress.searches_incomplete),
        ("requests_total", "Requests that were answered.", meter.requests),
        ("received_bytes_total", "Bytes received, without headers.", meter.bytes),
        ("retries_total", "Requests that were sent again.", network.retries if network else None),
    ]


def _gauges(progress: Progress, moment: Moment) -> list[tuple[str, str, float | None]]:
    """Return name, help text and value (None if unknown) of the gauges without labels of their own."""
    left = progress.time_left() if moment.active else None
    network, ended, last = progress.network, progress.ended, moment.last
    return [
        ("run_active", "Whether a run is in progress.", moment.active),
        ("run_start_time_seconds", "Start of the run, since 1970.", moment.began),
        ("run_duration_seconds", "Time since the start of the run.", progress.seconds),
        ("jobs_open", "Jobs in the queue or under way.", progress.open),
        ("searches", "Searches of the run.", progress.searches),
        ("parked_hosts", "Number of servers that are left alone.", len(network.parked) if network else None),
        ("jobs_per_second", "Jobs per second of late.", moment.jobs_per_second),
        ("time_left_seconds", "Estimated time left; absent while unknown.", left.likely if left else None),
        ("time_left_least_seconds", "Lower bound of the time left.", left.least if left else None),
        ("time_left_most_seconds", "Upper bound of the time left.", left.most if left else None),
        ("resident_memory_bytes", "Memory of the process.", moment.memory),
        ("event_loop_lag_seconds", "Longest delay of the event loop of late.", moment.lag),
        ("state_open_jobs", "Jobs that the last run left open.", ended.left if ended else None),
        ("state_failed_jobs", "Jobs of all runs that have failed so far.", ended.failed if ended else None),
        ("last_run_exit_code", "Exit code of the last run that has ended.", last.exit_code),
        ("last_run_end_time_seconds", "End of that run, since 1970.", last.ended),
        ("last_run_success_time_seconds", "End of the last run with exit code 0.", last.succeeded),
    ]


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"
