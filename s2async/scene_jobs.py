"""The jobs of one scene as a sequence that takes little memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import overload

from s2async.models import Area, Job, Scene


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SceneJobs(Sequence[Job]):
    """Jobs of one scene, first those about which something is known, then new ones.

    New jobs are made when they are asked for: the 100,000 jobs of a scene with as many areas wait in the queue as
    16 bytes each, and take about 150 as objects.
    """

    scene: Scene
    known: Sequence[Job]
    """Jobs with what earlier runs have found out."""
    ids: array[int]
    """Rows of the new jobs in the state, as 64-bit integers."""
    new_areas: Sequence[Area]
    """Areas of the new jobs."""
    alias: str
    """See `Job.alias`; the same for all new jobs."""

    @property
    def areas(self) -> list[Area]:
        """The area of each job."""
        return [*(job.area for job in self.known), *self.new_areas]

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self.known) + len(self.ids)

    @overload
    def __getitem__(self, at: int) -> Job: ...
    @overload
    def __getitem__(self, at: slice) -> SceneJobs: ...
    def __getitem__(self, at: int | slice) -> Job | SceneJobs:
        """Return a job, or the jobs of a slice without a step."""
        first = len(self.known)
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            new = slice(max(0, start - first), max(0, stop - first))
            return SceneJobs(
                scene=self.scene,
                known=self.known[start:stop],
                ids=self.ids[new],
                new_areas=self.new_areas[new],
                alias=self.alias,
            )
        at = range(len(self))[at]
        if at < first:
            return self.known[at]
        return Job(id=self.ids[at - first], area=self.new_areas[at - first], scene=self.scene, alias=self.alias)


def counted(jobs: Sequence[Job]) -> list[tuple[Scene, int]]:
    """Return the scenes of jobs, each with the number of its jobs; repeated if they are not together."""
    if isinstance(jobs, SceneJobs):
        return [(jobs.scene, len(jobs))] if jobs else []
    return [(scene, len(list(some))) for scene, some in groupby(jobs, key=attrgetter("scene"))]


def areas_of(jobs: Sequence[Job]) -> list[Area]:
    """Return the area of each job."""
    return jobs.areas if isinstance(jobs, SceneJobs) else [job.area for job in jobs]
