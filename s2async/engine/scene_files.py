"""Reads the files of a batch's scene: headers, places of the areas, and pixels. Errors become lacks of jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async.clouds import scl
from s2async.cog import reader
from s2async.cog import source as sources
from s2async.cog.grid import Cutout, Grid, Window
from s2async.cog.polygon_mask import cutout, is_known
from s2async.cog.source import Source
from s2async.engine import many
from s2async.engine.endings import Endings
from s2async.engine.fine_places import FinePlaces, is_large
from s2async.engine.many import Places, Target
from s2async.engine.tools import Settings, Tools
from s2async.errors import BadAnswer, CorruptFile, FileChanged, HostParked, RemoteError
from s2async.log import log
from s2async.masks.fine_grid import fine_grid
from s2async.models import Area, Asset, Batch, FileFact, Job
from s2async.reflectance.evidence import Evidence
from s2async.text import shown

_log = logging.getLogger("s2async.engine")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """The pixels of one asset under one area."""

    source: Source
    """The file."""
    cutout: Cutout
    """Place of the area in the file."""
    pixels: NDArray[np.generic]
    """(bands, rows, columns) of the cutout's window, in the file's dtype."""


class SceneFiles:
    """The files of one batch's scene.

    Args:
        batch: jobs of one scene.
        settings: what is requested.
        tools: the tools of the worker.
        endings: receives the lacks of jobs whose files cannot be read.
    """

    def __init__(self, batch: Batch, settings: Settings, tools: Tools, endings: Endings) -> None:
        self.scene = batch.scene
        self.evidence = batch.evidence or Evidence()
        """Evidence of an offset from the pixels of the scene's reflectance bands that earlier batches read."""
        self.facts: dict[str, FileFact] = {}
        """What was learned about files whose headers were read, keyed by asset."""
        self.kept: dict[str, dict[int, Part]] = {}
        """Pixels that a later step also needs, by asset and job, so that nothing is read twice."""
        self._settings = settings
        self._tools = tools
        self._endings = endings
        self._shelf = tools.shelf if batch.shared else None
        self._known = {fact.asset: fact for fact in batch.files}
        self._stored: set[str] = set()
        """Assets whose header was not read from the file, but known from the state or from another batch."""
        self._sources: dict[str, Source] = {}
        """The file that is being read or was read last, keyed by asset."""
        self._ground: dict[str, tuple[float, ...]] = {}
        """EPSG code and bounds of each file; these must be equal for all files of a scene."""

    async def guarded(
        self, key: str, jobs: Sequence[Job], work: Callable[[Asset, Sequence[Job]], Coroutine[Any, Any, None]]
    ) -> None:
        """Do a step for some jobs. If the asset cannot be read, jobs without a result lack it.

        A header that was not read from the file itself may be outdated. If the file contradicts it, the header is
        read once from the file, and the step is repeated.

        Args:
            key: key of the asset.
            jobs: jobs for which the step is done.
            work: the step.

        Raises:
            HostParked: the server currently receives no requests.
        """
        asset = self.scene.assets[key]
        try:
            try:
                await work(asset, jobs)
            except (FileChanged, BadAnswer, CorruptFile) as error:
                if key not in self._stored and not isinstance(error, FileChanged):
                    raise
                # Outcomes that are based on the old header are discarded.
                self._drop_header(key, error)
                self._endings.forget(key, jobs)
                await work(asset, jobs)
        except HostParked:
            raise  # this says nothing about the asset
        except RemoteError as error:
            if isinstance(error, FileChanged):
                self._drop_header(key, error)
            self._ground.pop(key, None)  # a file that cannot be read must not contradict other assets
            self._endings.lack(asset, error, jobs)

    def _drop_header(self, key: str, error: RemoteError) -> None:
        """Forget a header that did not fit, and the blocks of an edition that was replaced."""
        self.facts.pop(key, None)
        log(_log, logging.INFO, "header_dropped", {"asset": key, "reason": str(error)})
        if self._shelf:
            self._shelf.forget(self.scene.assets[key])
            if isinstance(error, FileChanged) and key in self._sources:
                self._shelf.drop(self._sources[key])

    async def source(self, asset: Asset) -> Source:
        """Open a file with the header that is already known, or else read the header.

        Raises:
            CorruptFile: the file covers another place than the scene's other files.
            RemoteError: the header cannot be read.
        """
        known = self._known.pop(asset.key, None)  # used once: if it does not fit, the header is read
        source = sources.recall(asset, known) if known else None
        if source:
            self._stored.add(asset.key)
        else:
            source = await self._opened(asset)
        self._sources[asset.key] = source
        grid = source.layout.grid
        ground = (grid.epsg, *grid.bounds)
        if any(other != ground for key, other in self._ground.items() if key != asset.key):
            raise CorruptFile(f"covers other ground than the scene's other files: {shown(asset.href)}")
        self._ground[asset.key] = ground
        return source

    async def _opened(self, asset: Asset) -> Source:
        """Open a file by reading its header, unless another batch of the scene has just read it."""

        async def read() -> Source:
            return await sources.open_source(self._tools.transport, asset, self._tools.first_read)

        if self._shelf is None:
            source, stored = await read(), False
        else:
            source, stored = await self._shelf.source(asset, read)
        if stored:
            self._stored.add(asset.key)
        else:
            self._stored.discard(asset.key)
            self.facts[asset.key] = source.fact
        return source

    def are_many(self, jobs: Sequence[Job]) -> bool:
        """Return whether the areas of jobs are located and measured together."""
        return self._tools.are_many(len(jobs))

    async def cutouts(self, source: Source, jobs: Sequence[Job], grid: Grid | None = None) -> list[Cutout | None]:
        """Return where the areas of jobs lie in a file; None for an area that the file does not touch.

        Args:
            source: the file.
            jobs: jobs of the areas.
            grid: another grid of the same ground on which to locate the areas; the file's grid by default.

        Raises:
            CorruptFile: the file's CRS cannot be used.
        """
        areas, grid = [job.area for job in jobs], grid or source.layout.grid
        loop, tools = asyncio.get_running_loop(), self._tools

        def work(some: Sequence[Area] = areas) -> list[Cutout | None]:
            return [cutout(area, grid) for area in some]

        with _known_crs(source):
            if tools.alone:
                found = [await loop.run_in_executor(tools.pool_for([job]), work, [job.area]) for job in jobs]
                return [place for (place,) in found]
            if self.are_many(jobs):
                return await loop.run_in_executor(tools.pool, many.cutouts, tools.plans, areas, grid)
            if all(is_known(area, grid) for area in areas):
                return work()  # directly: in a thread, it would wait for decoding that is already queued
            return await loop.run_in_executor(tools.pool, work)

    async def places(self, source: Source, jobs: Sequence[Job]) -> Places:
        """Return where the areas of many jobs lie in a file.

        Raises:
            CorruptFile: the file's CRS cannot be used.
        """
        plans, areas = self._tools.plans, [job.area for job in jobs]
        return await self._located(source, lambda: Places.of(plans, areas, source.layout))

    async def fine_places(self, source: Source, jobs: Sequence[Job]) -> FinePlaces:
        """Return where the areas of jobs lie on the grid that values are computed on.

        Args:
            source: any file of the scene.
            jobs: jobs of the areas.

        Raises:
            CorruptFile: the file's CRS cannot be used.
        """
        plans, coverage, wanted = self._tools.plans, self._tools.coverage_plans, self._settings.values
        grid, _ = fine_grid(source.layout.grid)
        if wanted and wanted.weights == "coverage":
            return await self._located(source, lambda: FinePlaces.covered(coverage, jobs, grid))
        if self.are_many(jobs):
            return await self._located(source, lambda: FinePlaces.planned(plans, jobs, grid))
        with _known_crs(source):
            small = [job for job in jobs if not is_large(job.area, grid)]
        found = await self.cutouts(source, small, grid)
        return FinePlaces.drawn(jobs, grid, {job.id: place for job, place in zip(small, found, strict=True)})

    async def scan(self, source: Source, jobs: Sequence[Job], *targets: Target) -> None:
        """Read a file block by block for many areas, without keeping its pixels.

        Jobs whose blocks are damaged lack the asset afterwards, and the caller must skip them.

        Args:
            source: the file; `reader.scans` must be true for it.
            jobs: jobs of the areas.
            targets: receive the pixels, each for all of these jobs.
        """
        key, tools = source.asset.key, self._tools

        def rows() -> dict[int, int]:
            found: dict[int, int] = {}
            for target in targets:
                for block, number in target.rows_under().items():
                    found[block] = max(found.get(block, 0), number)
            return found

        def take(block: Window, pixels: NDArray[Any]) -> None:
            for target in targets:
                target.take(block, pixels)

        damaged = await reader.scan(
            tools.transport,
            source,
            await asyncio.get_running_loop().run_in_executor(tools.pool, rows),
            take,
            budget=tools.budget,
            pool=tools.pool,
            margin=tools.margins[key],
            verify=self._is_verified(key),
            highest=self._settings.rule.highest(key),
            shelf=self._shelf,
        )
        if damaged and key in self._stored:  # perhaps the header is wrong, not the blocks
            raise next(iter(damaged.values()))
        for target in targets if damaged else ():
            for index, fault in target.touching(damaged).items():
                self._endings.lack(source.asset, fault, [jobs[index]])

    async def _located(self, source: Source, work: Callable[[], T]) -> T:
        """Locate areas in a thread, because areas that are not in a plan yet are rasterized."""
        with _known_crs(source):
            return await asyncio.get_running_loop().run_in_executor(self._tools.pool, work)

    def _is_verified(self, key: str) -> bool:
        """Return whether an asset's blocks are read completely and their checksums checked.

        Blocks of the cloud rule's assets and of the classification decide which dates and pixels are clear, and
        they are small.
        """
        return self._settings.verify or key in (*self._settings.rule.assets, scl.ASSET)

    @asynccontextmanager
    async def pixels(
        self, source: Source, places: Sequence[tuple[Job, Cutout]]
    ) -> AsyncIterator[list[tuple[Job, Part]]]:
        """Read the pixels under areas. Jobs whose blocks are damaged lack the asset and are omitted.

        The pixels count against the memory budget until the context exits.

        Args:
            source: the file.
            places: jobs, and where their areas lie in the file.
        """
        key, settings, tools = source.asset.key, self._settings, self._tools

        def pool_over(windows: Sequence[int]) -> Executor:
            return tools.pool_for(places[index][0] for index in windows)

        async with reader.reading(
            tools.transport,
            source,
            [place for _, place in places],
            budget=tools.budget,
            pool=tools.pool,
            pool_over=pool_over if tools.alone else None,
            margin=tools.margins[key],
            masked=settings.mask or key not in settings.assets,
            verify=self._is_verified(key),
            highest=settings.rule.highest(key),
            shelf=self._shelf,
        ) as found:
            sound = []
            for (job, place), pixels in zip(places, found, strict=True):
                if not isinstance(pixels, CorruptFile):
                    sound.append((job, Part(source, place, pixels)))
                elif key in self._stored:  # perhaps the header is wrong, not the blocks
                    raise pixels
                else:  # it was read twice, so neither a cache nor the connection has damaged it
                    self._endings.lack(source.asset, pixels, [job])
            yield sound


@contextmanager
def _known_crs(source: Source) -> Iterator[None]:
    """Context in which areas are located by a file's CRS.

    Raises:
        CorruptFile: the CRS is unknown.
    """
    try:
        yield
    except ValueError as error:
        raise CorruptFile(f"{error}: {shown(source.asset.href)}") from error
