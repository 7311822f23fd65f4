"""The buffer between the feeder and the workers."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from s2async.models import LONGEST_BATCH, Area, Job

BATCH_PIXELS: Final = 1 << 21
"""Pixels of 10 m under the jobs of a batch at which it takes no further job: 6 MiB of three bands. With larger
batches, memory holds so few of them that all wait for the network at the same time."""
_PIXELS_PER_DEGREE: Final = 11_132.0
"""Pixels of 10 m per degree of latitude."""


class JobQueue:
    """Holds a bounded number of jobs, grouped by scene, so that a worker takes those of one scene together.

    When it is full, `put_run` waits.

    Args:
        capacity: maximum number of jobs in it.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._jobs: deque[Job] = deque()
        lock = asyncio.Lock()
        self._filled = asyncio.Condition(lock)
        self._emptied = asyncio.Condition(lock)
        self._one_at_a_time = asyncio.Lock()
        self._going_in: tuple[object, ...] | None = None
        """The scene of which more jobs are about to be put in."""
        self._last: tuple[object, ...] | None = None
        """The scene whose jobs were taken last."""
        self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    async def put_run(self, jobs: Sequence[Job]) -> None:
        """Put in the jobs of one scene, and wait for room.

        The jobs of a batch go in together. If they went into a full queue one by one, workers would take them one
        by one, and each worker would fetch the header and the blocks again.
        """
        step = min(self.capacity, LONGEST_BATCH)
        async with self._one_at_a_time:
            for start in range(0, len(jobs), step):
                part = jobs[start : start + step]
                self._going_in = scene_of(jobs[0]) if start + step < len(jobs) else None
                async with self._emptied:
                    await self._emptied.wait_for(lambda: len(self._jobs) + len(part) <= self.capacity)  # noqa: B023
                    self._jobs.extend(part)
                    self._filled.notify()  # one waiter: to wake all of them for one batch takes a millisecond

    async def take_run(self, most: int) -> tuple[list[Job], bool]:
        """Wait for jobs, and take those of the first scene.

        Args:
            most: maximum number of jobs to take; fewer are taken when they have more than :data:`BATCH_PIXELS`.

        Returns:
            The jobs, none when the queue is closed and empty; and whether other batches have jobs of the scene.
        """
        async with self._filled:
            try:
                await self._filled.wait_for(lambda: self._jobs or self._closed)
            except asyncio.CancelledError:
                # this worker may have been woken before it was cancelled: wake another one in its place
                self._filled.notify()
                raise
            taken: list[Job] = []
            scene = scene_of(self._jobs[0]) if self._jobs else None
            pixels = 0.0
            while self._jobs and len(taken) < most and pixels < BATCH_PIXELS and scene_of(self._jobs[0]) == scene:
                taken.append(self._jobs.popleft())
                pixels += _pixels(taken[-1].area)
            if self._jobs:
                self._filled.notify()
            self._emptied.notify()
            others = [self._last, self._going_in, scene_of(self._jobs[0]) if self._jobs else None]
            self._last = scene
            return taken, scene in others

    async def settle(self) -> None:
        """Wait until all jobs are in that other tasks have begun to put in."""
        async with self._one_at_a_time:  # the lock is fair: earlier tasks have had it by then
            pass

    async def close(self) -> None:
        """Declare that no more jobs will be put in."""
        async with self._filled:
            self._closed = True
            self._filled.notify_all()


class OverpassQueue(JobQueue):
    """Holds a bounded number of jobs, grouped by overpass, so that a worker takes all of some areas together.

    Where the jobs of one area and overpass are more than the capacity, they go in when it is empty.

    Args:
        capacity: maximum number of jobs in it.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._parts: deque[tuple[list[Job], object]] = deque()

    async def put_run(self, jobs: Sequence[Job]) -> None:
        """Put in the jobs of one overpass, and wait for room. Those of one area go in and come out together."""
        overpass = object()
        async with self._one_at_a_time:
            parts = deque(_parts(jobs, self.capacity))
            while parts:
                part = parts.popleft()
                self._going_in = (overpass,)
                async with self._emptied:
                    await self._emptied.wait_for(
                        lambda: not self._jobs or len(self._jobs) + len(part) <= self.capacity  # noqa: B023
                    )
                    self._jobs.extend(part)
                    self._parts.append((part, overpass))
                    self._going_in = (overpass,) if parts else None
                    self._filled.notify()

    async def take_run(self, most: int) -> tuple[list[Job], bool]:  # noqa: ARG002 - what goes in is small enough
        """Wait for jobs, and take those of some areas in one overpass.

        Args:
            most: not used: `put_run` makes the parts.

        Returns:
            The jobs, none when the queue is closed and empty; and whether other parts have jobs of the overpass.
        """
        async with self._filled:
            try:
                await self._filled.wait_for(lambda: self._jobs or self._closed)
            except asyncio.CancelledError:
                self._filled.notify()
                raise
            if not self._parts:
                return [], False
            taken, overpass = self._parts.popleft()
            for _ in taken:
                self._jobs.popleft()
            if self._jobs:
                self._filled.notify()
            self._emptied.notify()
            others = [self._last, self._going_in, (self._parts[0][1],) if self._parts else None]
            self._last = (overpass,)
            return taken, (overpass,) in others


def by_area(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs of each area together, in the order in which the areas first occur."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.area.fingerprint, []).append(job)
    return list(found.values())


def _parts(jobs: Sequence[Job], capacity: int) -> Iterator[list[Job]]:
    """Split the jobs of one overpass, all of each area together, into parts for one worker each."""
    part: list[Job] = []
    areas, pixels = 0, 0.0
    for of_area in by_area(jobs):
        is_full = areas == LONGEST_BATCH or pixels >= BATCH_PIXELS or len(part) + len(of_area) > capacity
        if part and is_full:
            yield part
            part, areas, pixels = [], 0, 0.0
        part += of_area
        areas, pixels = areas + 1, pixels + _pixels(of_area[0].area)
    if part:
        yield part


def scene_of(job: Job) -> tuple[object, ...]:
    """A key that is equal for jobs of one edition of one scene.

    A search may bring a newer edition while jobs of the older one wait: they must not share a batch.
    """
    scene = job.scene
    return scene.collection, scene.id, scene.version, {asset.href for asset in scene.assets.values()}


def _pixels(area: Area) -> float:
    """Approximate number of pixels of 10 m in the rectangle around an area."""
    west, south, east, north = area.polygon.bounds
    across, down = (east - west) * math.cos(math.radians((south + north) / 2)), north - south
    return across * down * _PIXELS_PER_DEGREE**2
