"""The one buffer between searchers and workers."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from s2async.models import LONGEST_BATCH, Area, Job

BATCH_PIXELS: Final = 1 << 21
"""Pixels of 10 m under the jobs of a batch, from which no more are added: 6 MiB of a picture. Larger batches leave
room for so few in memory that they wait for the network in turn."""
_PIXELS_PER_DEGREE: Final = 11_132.0
"""Of latitude."""


class JobQueue:
    """The only buffer between searchers and workers: bounded in jobs, in scene order.

    Jobs of one scene are put in one after the other, so that a worker can take them together; when it is full,
    whoever puts in waits.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._jobs: deque[Job] = deque()
        lock = asyncio.Lock()
        self._filled = asyncio.Condition(lock)
        self._emptied = asyncio.Condition(lock)
        self._one_at_a_time = asyncio.Lock()
        self._going_in: tuple[object, ...] | None = None
        """The scene whose jobs are being put in."""
        self._last: tuple[object, ...] | None = None
        """The scene whose jobs were taken last."""
        self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    async def put_run(self, jobs: Sequence[Job]) -> None:
        """Put in the jobs of one scene, waiting for room.

        A batch's worth goes in at once or not at all: dribbled into a full queue, the jobs of a scene would be
        taken one by one, and each would fetch the header and the tiles again.
        """
        step = min(self.capacity, LONGEST_BATCH)
        async with self._one_at_a_time:
            for start in range(0, len(jobs), step):
                part = jobs[start : start + step]
                self._going_in = scene_of(jobs[0]) if start + step < len(jobs) else None
                async with self._emptied:
                    await self._emptied.wait_for(lambda: len(self._jobs) + len(part) <= self.capacity)  # noqa: B023
                    self._jobs.extend(part)
                    self._filled.notify()  # one: to wake all for one batch takes a millisecond

    async def take_run(self, most: int) -> tuple[list[Job], bool]:
        """Wait for jobs, and take those of the scene at the head.

        Args:
            most: Jobs to be taken, at most; fewer when they have more than :data:`BATCH_PIXELS`.

        Returns:
            The jobs, none when all is done; and whether the scene has more, which others take.
        """
        async with self._filled:
            try:
                await self._filled.wait_for(lambda: self._jobs or self._closed)
            except asyncio.CancelledError:
                self._filled.notify()  # another worker: it may have been woken before it was cancelled
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
        """Wait until all that others began to put in is in."""
        async with self._one_at_a_time:  # fair: whoever came before has had it
            pass

    async def close(self) -> None:
        """Nothing will be put in any more."""
        async with self._filled:
            self._closed = True
            self._filled.notify_all()


def scene_of(job: Job) -> tuple[object, ...]:
    """Equal for jobs of one edition of one scene: a search may bring a newer one while the older one waits."""
    scene = job.scene
    return scene.collection, scene.id, scene.version, {asset.href for asset in scene.assets.values()}


def _pixels(area: Area) -> float:
    """Pixels of 10 m in the rectangle around an area, more or less."""
    west, south, east, north = area.polygon.bounds
    across, down = (east - west) * math.cos(math.radians((south + north) / 2)), north - south
    return across * down * _PIXELS_PER_DEGREE**2
