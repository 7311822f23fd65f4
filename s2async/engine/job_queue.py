"""The buffer between the feeder and the workers: scenes with all their jobs go in, and batches come out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from s2async.models import LONGEST_BATCH, Area, Job

FEW: Final = 64
"""Jobs of a batch up to which its areas may be large. They are worked on in the order in which they come."""
BATCH_PIXELS: Final = 1 << 21
"""Pixels of 10 m under a few jobs at which their batch takes no further one: 6 MiB of three bands. With larger
batches, memory holds so few of them that all wait for the network at the same time."""
DENSE_PIXELS: Final = 1 << 22
"""The same for a batch of more jobs. Their areas are small and often share blocks: the more of them a batch has,
the fewer blocks are decoded twice."""
MOST_UNDER_WAY: Final = 2 * LONGEST_BATCH + 1
"""`JobQueue.most_under_way` where this process works on all of them: three of the largest batches, which keep two
cores busy. A job takes some 2 kB of memory."""
CELL: Final = 10_240.0
"""Metres of the squares by which many jobs are sorted: about a block of 1,024 pixels of 10 m."""
_METRES_PER_DEGREE: Final = 111_320.0
"""Of latitude."""


class _Entry:
    """Jobs that go in together, split into batches.

    Args:
        key: equal for entries whose batches share files.
        batches: at least one.
    """

    def __init__(self, key: object, batches: Sequence[list[Job]]) -> None:
        self.key = key
        self.batches = deque(batches)
        self.jobs = sum(map(len, batches))
        """Jobs that are still in it."""


class JobQueue:
    """Holds a bounded number of jobs. Those of one scene go in together and come out as few batches.

    When it is full, `put_run` waits. A scene with more jobs than the bound goes in when the queue is empty.

    Args:
        capacity: maximum number of jobs in it, unless they are of one scene.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: deque[_Entry] = deque()
        self._jobs = 0
        self._under_way = 0
        self.most_under_way = MOST_UNDER_WAY
        """Jobs of all batches that are worked on at which no further batch comes out."""
        lock = asyncio.Lock()
        self._filled = asyncio.Condition(lock)
        self._emptied = asyncio.Condition(lock)
        self._one_at_a_time = asyncio.Lock()
        self._last: object = None
        """Key of the jobs that were taken last."""
        self._closed = False

    def __len__(self) -> int:
        return self._jobs

    async def put_run(self, jobs: Sequence[Job]) -> None:
        """Put in the jobs of one scene, and wait for room.

        If they went into a full queue one by one, workers would take them one by one, and each worker would fetch
        the header and the blocks again.
        """
        if not jobs:
            return
        async with self._one_at_a_time:
            # in a thread: to sort 100,000 jobs takes the time of hundreds of turns of the event loop
            entry = self._entry(jobs) if len(jobs) <= LONGEST_BATCH else await asyncio.to_thread(self._entry, jobs)
            async with self._emptied:
                await self._emptied.wait_for(lambda: not self._jobs or self._jobs + len(jobs) <= self.capacity)
                self._entries.append(entry)
                self._jobs += len(jobs)
                self._filled.notify()  # one waiter: to wake all of them for one batch takes a millisecond

    async def room(self) -> None:
        """Wait until the queue is not full."""
        async with self._emptied:
            await self._emptied.wait_for(lambda: self._jobs < self.capacity)

    async def take_run(self) -> tuple[list[Job], bool]:
        """Wait for jobs, and take a batch of the first scene. Tell `done` when it is worked on.

        Returns:
            The jobs, none when the queue is closed and empty; and whether other batches have jobs of the scene.
        """
        async with self._filled:
            try:
                await self._filled.wait_for(
                    lambda: self._under_way < self.most_under_way if self._jobs else self._closed
                )
            except asyncio.CancelledError:
                # this worker may have been woken before it was cancelled: wake another one in its place
                self._filled.notify()
                raise
            if not self._entries:
                return [], False
            entry = self._entries[0]
            taken = entry.batches.popleft()
            if not entry.batches:
                self._entries.popleft()
            self._jobs -= len(taken)
            self._under_way += len(taken)
            if self._entries:
                self._filled.notify()
            elif self._closed:
                self._filled.notify_all()
            self._emptied.notify_all()  # few: who has jobs to put in, and who waits to make some
            others = [self._last, self._entries[0].key if self._entries else None]
            self._last = entry.key
            return taken, entry.key in others

    def suit(self, workers: int) -> None:
        """Let so many batches be worked on at once that each worker process can have two of the largest."""
        self.most_under_way = max(MOST_UNDER_WAY, 2 * LONGEST_BATCH * workers)

    async def done(self, jobs: int) -> None:
        """Note that a worker is done with so many jobs that it took."""
        self._under_way -= jobs
        async with self._filled:
            self._filled.notify()

    async def settle(self) -> None:
        """Wait until all jobs are in that other tasks have begun to put in."""
        async with self._one_at_a_time:  # the lock is fair: earlier tasks have had it by then
            pass

    async def close(self) -> None:
        """Declare that no more jobs will be put in."""
        async with self._filled:
            self._closed = True
            self._filled.notify_all()

    def _entry(self, jobs: Sequence[Job]) -> _Entry:
        parts = batches([job.area for job in jobs])
        return _Entry(scene_of(jobs[0]), [[jobs[index] for index in part] for part in parts])


class OverpassQueue(JobQueue):
    """Holds a bounded number of jobs. Those of one overpass go in together, and all of an area come out together.

    Args:
        capacity: maximum number of jobs in it, unless they are of one overpass.
    """

    def _entry(self, jobs: Sequence[Job]) -> _Entry:
        of_areas = by_area(jobs)
        parts = batches([found[0].area for found in of_areas])
        return _Entry(object(), [[job for index in part for job in of_areas[index]] for part in parts])


# ---- batches ----------------------------------------------------------------------------------------------


def batches(areas: Sequence[Area]) -> Iterator[list[int]]:
    """Split areas into batches that fit into memory, neighbours together.

    Args:
        areas: in one scene.

    Yields:
        Indices of the areas of each batch.
    """
    bounds = shapely.bounds([area.polygon for area in areas]).reshape(-1, 4)
    order = _by_cell(bounds) if len(areas) > FEW else np.arange(len(areas))
    batch: list[int] = []
    pixels = 0.0
    for index, size in zip(order.tolist(), _pixels(bounds)[order].tolist(), strict=True):
        most = BATCH_PIXELS if len(batch) < FEW else DENSE_PIXELS
        if batch and (pixels >= most or len(batch) == LONGEST_BATCH):
            yield batch
            batch, pixels = [], 0.0
        batch.append(index)
        pixels += size
    if batch:
        yield batch


def _pixels(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Approximate number of pixels of 10 m in rectangles.

    Args:
        bounds: (n, 4) west, south, east, north in degrees.
    """
    low, high = _metres(bounds[:, :2], bounds), _metres(bounds[:, 2:], bounds)
    return np.asarray((high - low).prod(axis=1) / 100)


def _by_cell(bounds: NDArray[np.float64]) -> NDArray[np.intp]:
    """The order of rectangles by squares of the ground: from north to south, and to and fro along each row."""
    cells = np.floor(_metres((bounds[:, :2] + bounds[:, 2:]) / 2, bounds.mean(axis=0, keepdims=True)) / CELL)
    columns, rows = cells.T
    return np.lexsort((columns * np.where(rows % 2, 1, -1), -rows))


def _metres(points: NDArray[np.float64], around: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points in degrees in metres from the equator and the meridian; across by the latitude of rectangles."""
    across = np.cos(np.radians((around[:, 1] + around[:, 3]) / 2))
    metres: NDArray[np.float64] = points * np.column_stack([across, np.ones_like(across)]) * _METRES_PER_DEGREE
    return metres


def by_area(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs of each area together, in the order in which the areas first occur."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.area.fingerprint, []).append(job)
    return list(found.values())


def scene_of(job: Job) -> tuple[object, ...]:
    """A key that is equal for jobs of one edition of one scene.

    A search may bring a newer edition while jobs of the older one wait: they must not share a batch.
    """
    scene = job.scene
    return scene.collection, scene.id, scene.version, {asset.href for asset in scene.assets.values()}
