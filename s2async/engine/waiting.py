"""Jobs that have no answer yet because other jobs of their overpass have none. Pure.

A server that fails for a while leaves thousands of them, and every batch looks up those of its overpasses. So they
are indexed by area and day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC

from s2async.catalog.reprocessing import LONGEST_DATATAKE
from s2async.models import Job, Outcome


def overpass_keys(job: Job) -> set[object]:
    """Return the keys of a job; jobs of the same area and overpass share at least one of them."""
    at, longest = job.scene.datetime.astimezone(UTC), LONGEST_DATATAKE
    return {(job.area.fingerprint, when.date()) for when in (at - longest, at + longest)}


class Waiting:
    """The outcomes of jobs that wait, by job number."""

    def __init__(self) -> None:
        self._outcomes: dict[int, Outcome] = {}
        self._jobs: dict[object, set[int]] = {}
        """Job numbers by key."""

    def __contains__(self, job: object) -> bool:
        return job in self._outcomes

    def __len__(self) -> int:
        return len(self._outcomes)

    def put(self, outcome: Outcome) -> None:
        """Add an outcome, or replace the former outcome of its job."""
        job = outcome.job
        self.drop(job.id)
        self._outcomes[job.id] = outcome
        for key in overpass_keys(job):
            self._jobs.setdefault(key, set()).add(job.id)

    def drop(self, job: int) -> None:
        """Remove the outcome of a job, if there is one."""
        outcome = self._outcomes.pop(job, None)
        for key in overpass_keys(outcome.job) if outcome else ():
            jobs = self._jobs[key]
            jobs.discard(job)
            if not jobs:
                del self._jobs[key]

    def beside(self, keys: Iterable[object]) -> dict[int, Outcome]:
        """Return the outcomes of jobs that have one of the keys: of these overpasses, or of others that day."""
        return {job: self._outcomes[job] for key in keys for job in self._jobs.get(key, ())}
