"""Reads windows of files around areas, and takes their pixels on the grid that values are computed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

from s2async.cog.grid import Cutout
from s2async.engine.fine_places import FinePlaces
from s2async.engine.scene_files import Part
from s2async.engine.tools import Tools
from s2async.masks.fine_grid import covering, fine_pixels, joined, part_of
from s2async.models import Job

T = TypeVar("T")

TOGETHER: Final = 64
"""Number of areas whose pixels one call in a thread takes, because one call for each area costs too much."""


class FineWindows:
    """Windows around areas in a file that fits the grid.

    Args:
        fine: the places of the areas.
        factor: number of grid pixels that a pixel of the file spans on each side.
        tools: the tools of the worker; their threads are used.
    """

    def __init__(self, fine: FinePlaces, factor: int, tools: Tools) -> None:
        self._fine = fine
        self._factor = factor
        self._tools = tools
        self._masks: dict[int, Cutout] = {}
        """Cutouts on the grid, keyed by position."""

    async def around(self, jobs: Sequence[Job], own: Mapping[int, Cutout]) -> list[tuple[Job, Cutout]]:
        """Return the parts of the file that have to be read.

        Args:
            jobs: jobs whose pixels are needed; only jobs with a place on the grid have pixels there.
            own: parts of the file that are needed anyway, by job.

        Returns:
            For each job, the part that contains its pixels on the grid and its `own` part; jobs with neither are
            omitted.
        """
        at, factor = self._fine.at, self._factor

        def work() -> list[tuple[Job, Cutout]]:
            self._masks |= dict(self._fine.windows([at[job.id] for job in jobs if job.id in at]))
            found = []
            for job in jobs:
                parts = [own[job.id]] if job.id in own else []
                if mask := self._masks.get(at.get(job.id, -1)):
                    parts.append(covering(mask, factor))
                if parts:
                    found.append((job, reduce(joined, parts)))
            return found

        return await asyncio.get_running_loop().run_in_executor(self._tools.pool, work)

    async def take(self, parts: Sequence[tuple[Job, Part]], use: Callable[[NDArray[Any]], T]) -> dict[int, T]:
        """Apply a function to the pixels of each area on the grid, row by row, in threads.

        Args:
            parts: pixels that were read; jobs that were not passed to `around` are skipped.
            use: the function; gets (pixels,) of one area.

        Returns:
            The results of the function, by job.
        """
        at, loop, tools = self._fine.at, asyncio.get_running_loop(), self._tools
        mine = [(job, part, mask) for job, part in parts if (mask := self._masks.get(at.get(job.id, -1)))]

        def work(some: Sequence[tuple[Job, Part, Cutout]]) -> dict[int, T]:
            return {
                job.id: use(fine_pixels(part.pixels[0], part.cutout.window, mask, self._factor))
                for job, part, mask in some
            }

        step = 1 if tools.alone else TOGETHER
        groups = [mine[start : start + step] for start in range(0, len(mine), step)]
        calls = [loop.run_in_executor(tools.pool_for(job for job, *_ in some), work, some) for some in groups]
        found: dict[int, T] = {}
        for one in await asyncio.gather(*calls):
            found |= one
        return found


def narrowed(part: Part, place: Cutout) -> Part:
    """Return the pixels of a smaller part of what was read.

    Args:
        part: what was read.
        place: the smaller part of the file.
    """
    if part.cutout is place:
        return part
    return Part(part.source, place, part_of(part.pixels, part.cutout.window, place.window))
