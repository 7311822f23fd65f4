"""Watches whether a run in progress has reached one of its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from s2async.engine.limits import LimitName, RunLimits
from s2async.engine.progress import Progress


class LimitWatch:
    """Compares the progress of a run with its limits.

    The limit on jobs only stops the feeding of the queue: jobs that are in the queue by then are processed. The
    limits on bytes and seconds also leave the jobs in the queue to the next run.

    Args:
        limits: limits of the run.
        progress: progress of the run.
    """

    def __init__(self, limits: RunLimits, progress: Progress) -> None:
        self.reached: LimitName | None = None
        """The limit that ended the run; None if no limit has been reached."""
        self._limits = limits
        self._progress = progress
        self._over = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether no more batches may start."""
        if not self._over.is_set():
            most = self._limits
            if most.bytes is not None and self._progress.meter.bytes >= most.bytes:
                self._end("bytes")
            elif most.seconds is not None and self._progress.seconds >= most.seconds:
                self._end("seconds")
        return self._over.is_set()

    def jobs_left(self, known: int) -> int:
        """Return how many of some jobs may still enter the queue.

        Args:
            known: number of these jobs.
        """
        most = self._limits.jobs
        return known if most is None else max(0, min(known, most - self._progress.found))

    def are_jobs_enough(self) -> bool:
        """Return whether as many jobs have entered the queue as the limit allows."""
        enough = self._limits.jobs is not None and self._progress.found >= self._limits.jobs
        if enough and self.reached is None:
            self.reached = "jobs"
        return enough

    async def wait(self) -> None:
        """Wait until no more batches may start; this may never happen."""
        seconds = self._limits.seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds is None else max(0.0, seconds - self._progress.seconds)):
                await self._over.wait()
        if not self._over.is_set():
            self._end("seconds")

    async def comes_first(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for a coroutine, but not beyond the limits.

        Returns:
            True if a limit was reached first; the coroutine is then cancelled.

        Raises:
            Exception: whatever the coroutine raises.
        """
        working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return False
            return True
        finally:
            working.cancel()
            waiting.cancel()
            await asyncio.gather(working, waiting, return_exceptions=True)

    def _end(self, name: LimitName) -> None:
        self.reached = name
        self._over.set()
