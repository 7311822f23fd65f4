"""Reads the classification for values: which pixels of the areas are clear and which hold data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2async.clouds import scl
from s2async.cog.grid import Cutout
from s2async.cog.source import Source
from s2async.engine import clear_pixels
from s2async.engine.fine_places import FinePlaces
from s2async.engine.fine_windows import FineWindows, narrowed
from s2async.engine.many import Gathered, Target
from s2async.engine.scene_files import Part
from s2async.engine.step import Bench
from s2async.models import Job


class Clearing:
    """Stores the clear pixels of jobs in `Endings.clear_pixels`.

    Args:
        bench: what the steps of the batch use.
    """

    def __init__(self, bench: Bench) -> None:
        self._endings = bench.endings
        self._files = bench.files
        self._tools = bench.tools
        wanted = bench.settings.values
        self._classes = None if wanted is None else wanted.classes

    def is_by(self, key: str) -> bool:
        """Return whether values are requested and this asset shows which pixels are clear."""
        return self._classes is not None and key == scl.ASSET

    async def scan(self, source: Source, fine: FinePlaces, jobs: Sequence[Job], *others: Target) -> None:
        """Read the classification block by block for many areas. Areas that are not in the plan are skipped.

        The caller holds memory for the pixels of all areas (`Tools.flats`), because a task that holds some of this
        memory must not wait for more.

        Args:
            source: the file; `reader.scans` must be true for it.
            fine: the places of the areas; only those in the plan are used.
            jobs: jobs of these areas.
            others: further targets for the pixels, each for all of these jobs.
        """
        classes = self._classes or ()
        positions = [fine.at[job.id] for job in jobs]
        gathered = Gathered(fine.places(positions, source.layout))
        await self._files.scan(source, jobs, *others, gathered)

        def work() -> list[bytes]:
            return clear_pixels.packed(gathered.values, gathered.starts, classes)

        found = await asyncio.get_running_loop().run_in_executor(self._tools.pool, work)
        lacking = self._endings.lacking(source.asset.key)
        for job, position, clear in zip(jobs, positions, found, strict=True):
            if fine.is_planned(position) and job.id not in lacking:
                self._endings.clear_pixels[job.id] = clear

    @asynccontextmanager
    async def windows(
        self, source: Source, fine: FinePlaces, jobs: Sequence[Job], own: Mapping[int, Cutout]
    ) -> AsyncIterator[list[tuple[Job, Part]]]:
        """Read the classification around areas; jobs whose blocks are damaged lack it afterwards.

        Args:
            source: the file.
            fine: the places of the areas.
            jobs: jobs of these areas.
            own: parts of the file that are needed for other reasons, by job.

        Yields:
            The pixels of the `own` parts. They count against the memory budget until the context exits.
        """
        windows = FineWindows(fine, fine.factor(source.layout) or 1, self._tools)
        async with self._files.pixels(source, await windows.around(jobs, own)) as parts:
            self._endings.clear_pixels |= await windows.take(parts, self._packed)
            yield [(job, narrowed(part, own[job.id])) for job, part in parts if job.id in own]

    def _packed(self, classes: NDArray[Any]) -> bytes:
        return clear_pixels.packed(classes, np.array([0, len(classes)]), self._classes or ())[0]
