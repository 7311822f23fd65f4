"""The buffer between the feeder and the workers: scenes with all their jobs go in, batches come out."""

from __future__ import annotations

import asyncio
import itertools
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async import geo
from s2async.models import LONGEST_BATCH, Area, Job
from s2async.scene_jobs import areas_of

FEW: Final = 64
"""Number of jobs in a batch up to which its areas may be large. Such batches keep the order of the jobs."""
BATCH_PIXELS: Final = 1 << 21
"""Number of 10 m pixels in a batch of few jobs at which no further job is added: 6 MiB of three bands. With larger
batches, memory has room for so few of them that all wait for the network at the same time."""
DENSE_PIXELS: Final = 1 << 22
"""The same for a batch of more jobs. Their areas are small and often share blocks, so the more areas a batch has,
the fewer blocks are decoded twice."""
MOST_UNDER_WAY: Final = 2 * LONGEST_BATCH + 1
"""`JobQueue.most_under_way` if this process works on all jobs: three of the largest batches, which keep two cores
busy. A job takes about 2 kB of memory."""
CELL: Final = 10_240.0
"""Side in metres of the squares by which many jobs are sorted: about a block of 1,024 pixels of 10 m."""
_METRES_PER_DEGREE: Final = 111_320.0
"""Metres per degree of latitude."""


class _Entry:
    """Jobs that are put in together, split into batches.

    Args:
        key: equal for entries whose batches share files.
        jobs: the jobs.
        batches: positions of the jobs of each batch, at least one batch.
    """

    def __init__(self, key: object, jobs: Sequence[Job], batches: Iterable[Sequence[int]]) -> None:
        self.key = key
        self._jobs = jobs
        self._batches = deque(array("i", batch) for batch in batches)

    def __bool__(self) -> bool:
        return bool(self._batches)

    def take(self) -> list[Job]:
        """Take out the next batch."""
        return [self._jobs[position] for position in self._batches.popleft()]


class JobQueue:
    """Holds a bounded number of jobs. The jobs of one scene are put in together and taken out as few batches.

    When the queue is full, `put_run` waits. A scene with more jobs than the capacity is put in when the queue is
    empty.

    Args:
        capacity: maximum number of jobs in the queue, unless all are from one scene.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: deque[_Entry] = deque()
        self._jobs = 0
        self._under_way = 0
        self.most_under_way = MOST_UNDER_WAY
        """Number of jobs in progress, over all batches, at which no further batch is taken out."""
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
        """Put in the jobs of one scene, waiting for room if necessary.

        If they were put into a full queue one by one, workers would take them one by one, and each worker would
        fetch the header and the blocks again.
        """
        if not jobs:
            return
        async with self._one_at_a_time:
            # In a thread, because sorting 100,000 jobs takes as long as hundreds of iterations of the event loop.
            entry = self._entry(jobs) if len(jobs) <= LONGEST_BATCH else await asyncio.to_thread(self._entry, jobs)
            async with self._emptied:
                await self._emptied.wait_for(lambda: not self._jobs or self._jobs + len(jobs) <= self.capacity)
                self._entries.append(entry)
                self._jobs += len(jobs)
                self._filled.notify()  # only one waiter: waking all of them for one batch takes a millisecond

    async def room(self) -> None:
        """Wait until the queue is not full."""
        async with self._emptied:
            await self._emptied.wait_for(lambda: self._jobs < self.capacity)

    async def take_run(self) -> tuple[list[Job], bool]:
        """Wait for jobs, and take a batch of the first scene. Call `done` when it has been processed.

        Returns:
            The jobs, empty if the queue is closed and empty; and whether other batches have jobs of the same
            scene.
        """
        async with self._filled:
            try:
                await self._filled.wait_for(
                    lambda: self._under_way < self.most_under_way if self._jobs else self._closed
                )
            except asyncio.CancelledError:
                # This worker may have been woken before it was cancelled, so another one is woken instead.
                self._filled.notify()
                raise
            if not self._entries:
                return [], False
            entry = self._entries[0]
            taken = entry.take()
            if not entry:
                self._entries.popleft()
            self._jobs -= len(taken)
            self._under_way += len(taken)
            if self._entries:
                self._filled.notify()
            elif self._closed:
                self._filled.notify_all()
            self._emptied.notify_all()  # there are few: tasks that wait in `put_run` or in `room`
            others = [self._last, self._entries[0].key if self._entries else None]
            self._last = entry.key
            return taken, entry.key in others

    def suit(self, workers: int) -> None:
        """Raise the number of jobs in progress so that each worker process can have two of the largest batches."""
        self.most_under_way = max(MOST_UNDER_WAY, 2 * LONGEST_BATCH * workers)

    async def done(self, jobs: int) -> None:
        """Record that a worker has finished this many of the jobs that it took."""
        self._under_way -= jobs
        async with self._filled:
            self._filled.notify()

    async def settle(self) -> None:
        """Wait until all jobs are in the queue that other tasks have already started to put in."""
        async with self._one_at_a_time:  # the lock is fair, so earlier tasks have released it by then
            pass

    async def close(self) -> None:
        """Declare that no more jobs will be put in."""
        async with self._filled:
            self._closed = True
            self._filled.notify_all()

    def _entry(self, jobs: Sequence[Job]) -> _Entry:
        return _Entry(scene_of(jobs[0]), jobs, batches(areas_of(jobs)))


class OverpassQueue(JobQueue):
    """Holds a bounded number of jobs. Jobs of one overpass go in together; all jobs of an area come out together.

    Args:
        capacity: maximum number of jobs in the queue, unless all are from one overpass.
    """

    def _entry(self, jobs: Sequence[Job]) -> _Entry:
        of_areas = by_area(jobs)
        parts = batches([found[0].area for found in of_areas])
        ordered = [[job for index in part for job in of_areas[index]] for part in parts]
        ends = itertools.accumulate(map(len, ordered), initial=0)
        batches_of = itertools.starmap(range, itertools.pairwise(ends))
        return _Entry(object(), [*itertools.chain.from_iterable(ordered)], batches_of)


# ---- batches ----------------------------------------------------------------------------------------------


def batches(areas: Sequence[Area]) -> Iterator[list[int]]:
    """Split areas into batches that fit into memory, keeping neighbours together.

    Args:
        areas: areas in one scene.

    Yields:
        The indices of the areas of each batch.
    """
    bounds = geo.boxes(areas)
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
    """Return the approximate number of 10 m pixels in rectangles.

    Args:
        bounds: (n, 4) west, south, east, north in degrees.
    """
    low, high = _metres(bounds[:, :2], bounds), _metres(bounds[:, 2:], bounds)
    return np.asarray((high - low).prod(axis=1) / 100)


def _by_cell(bounds: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the order of rectangles by squares on the ground: rows north to south, in alternating directions."""
    cells = np.floor(_metres((bounds[:, :2] + bounds[:, 2:]) / 2, bounds.mean(axis=0, keepdims=True)) / CELL)
    columns, rows = cells.T
    return np.lexsort((columns * np.where(rows % 2, 1, -1), -rows))


def _metres(points: NDArray[np.float64], around: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert points from degrees to metres from the equator and the prime meridian.

    Widths are scaled by the mean latitude of the rectangles ``around``.
    """
    across = np.cos(np.radians((around[:, 1] + around[:, 3]) / 2))
    metres: NDArray[np.float64] = points * np.column_stack([across, np.ones_like(across)]) * _METRES_PER_DEGREE
    return metres


def by_area(jobs: Sequence[Job]) -> list[list[Job]]:
    """Group jobs by area, in the order in which the areas first occur."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.area.fingerprint, []).append(job)
    return list(found.values())


def scene_of(job: Job) -> tuple[object, ...]:
    """Return a key that is equal for jobs of one edition of one scene.

    A search may find a newer edition while jobs of the older one wait; these must not share a batch.
    """
    scene = job.scene
    return scene.collection, scene.id, scene.version, {asset.href for asset in scene.assets.values()}
