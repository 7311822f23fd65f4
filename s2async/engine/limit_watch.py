"""Watches whether a run that goes on has reached one of its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from s2async.engine.limits import LimitName, RunLimits
from s2async.engine.progress import Progress


class LimitWatch:
    """Compares the progress of a run with its limits.

    The limit of jobs ends the feeding of the queue alone: what is in the queue by then is processed. The limits of
    bytes and seconds also leave what waits in the queue to the next run.

    Args:
        limits: of the run.
        progress: of the run.
    """

    def __init__(self, limits: RunLimits, progress: Progress) -> None:
        self.reached: LimitName | None = None
        """The limit that ended the run; None while none has."""
        self._limits = limits
        self._progress = progress
        self._over = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether no batch may begin any more."""
        if not self._over.is_set():
            most = self._limits
            if most.bytes is not None and self._progress.meter.bytes >= most.bytes:
                self._end("bytes")
            elif most.seconds is not None and self._progress.seconds >= most.seconds:
                self._end("seconds")
        return self._over.is_set()

    def jobs_left(self, known: int) -> int:
        """How many of some jobs may still enter the queue.

        Args:
            known: their number.
        """
        return known if self._limits.jobs is None else min(known, self._limits.jobs - self._progress.found)

    def are_jobs_enough(self) -> bool:
        """Whether as many jobs entered the queue as the limit allows."""
        enough = self._limits.jobs is not None and self._progress.found >= self._limits.jobs
        if enough and self.reached is None:
            self.reached = "jobs"
        return enough

    async def wait(self) -> None:
        """Wait until no batch may begin any more; forever where that never happens."""
        seconds = self._limits.seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds is None else max(0.0, seconds - self._progress.seconds)):
                await self._over.wait()
        if not self._over.is_set():
            self._end("seconds")

    async def comes_first(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for some work, but not beyond the limits.

        Returns:
            True when a limit was reached first; the work is cancelled then.

        Raises:
            Exception: what the work raises.
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
