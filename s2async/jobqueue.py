"""The one buffer between searchers and workers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from s2async.models import LONGEST_BATCH, Job


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
                async with self._emptied:
                    await self._emptied.wait_for(lambda: len(self._jobs) + len(part) <= self.capacity)  # noqa: B023
                    self._jobs.extend(part)
                    self._filled.notify()  # one: to wake all for one batch takes a millisecond

    async def take_run(self, most: int) -> list[Job]:
        """Wait for jobs, and take those of the scene at the head, at most so many; none when all is done."""
        async with self._filled:
            try:
                await self._filled.wait_for(lambda: self._jobs or self._closed)
            except asyncio.CancelledError:
                self._filled.notify()  # another worker: it may have been woken before it was cancelled
                raise
            taken: list[Job] = []
            while (
                self._jobs and len(taken) < most and (not taken or scene_of(self._jobs[0]) == scene_of(taken[0]))
            ):
                taken.append(self._jobs.popleft())
            if self._jobs:
                self._filled.notify()
            self._emptied.notify()
            return taken

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
