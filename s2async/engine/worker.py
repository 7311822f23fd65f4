"""One batch of jobs, all of one scene: measure the clouds, decide, cut, save; one outcome for every job.

This module and all that it imports know neither the state nor the command line, so that a batch can be worked
on anywhere. What it learns for later goes back with its outcomes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from s2async import clouds, files
from s2async._version import __version__
from s2async.cog import reader
from s2async.cog import source as sources
from s2async.cog.grid import Cutout
from s2async.cog.memory import Budget
from s2async.cog.polygon_mask import cutout, is_known
from s2async.cog.prefix import Margin
from s2async.cog.source import FirstRead, Source
from s2async.cog.tile_cache import Shelf
from s2async.engine.endings import SCL, Endings
from s2async.errors import BadAnswer, CorruptFile, FileChanged, HostParked, RemoteError
from s2async.log import context, log
from s2async.models import (
    Asset,
    Batch,
    BatchResult,
    CloudMeasure,
    FileFact,
    Job,
    Product,
    Scene,
    Status,
)
from s2async.net.client import Transport
from s2async.output import crops, strangers
from s2async.output import quicklook as quicklooks
from s2async.output.geotiff import Crop
from s2async.output.strangers import Replaced
from s2async.text import public, shown

_log = logging.getLogger("s2async.engine")

SAVED_TOGETHER = 8
"""Crops that a thread encodes, and puts on disk side by side: to hand over each by itself costs too much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What is wanted of every batch."""

    limits: clouds.Limits
    assets: tuple[str, ...]
    """Assets to cut; empty to measure only."""
    mask: bool
    quicklook: bool = False
    """Write a small PNG beside each crop."""
    folder: Path
    """Output folder."""
    token: str
    """Begins the names of temporary files."""
    reserve: int
    """Bytes of the disk that are never used up."""
    verify: bool
    """Check the checksums of the tiles' streams."""
    attribution: str
    """Where the data comes from; ``{year}`` is replaced by the scene's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What a worker works with; shared by all of a process."""

    transport: Transport
    budget: Budget
    pool: Executor
    """Threads that compute: as many as there are cores."""
    writers: Executor
    """Threads that put crops on disk, and mostly wait for it."""
    margins: Mapping[str, Margin] = field(default_factory=lambda: defaultdict(Margin))
    """What is asked for beyond a prefix's share, by asset; learned on the way."""
    first_read: FirstRead = field(default_factory=FirstRead)
    """How much of a file is asked for first; learned on the way."""
    shelf: Shelf | None = None
    """What batches of one scene share; nothing by default."""
    replaced: Replaced = field(default_factory=Replaced)
    """Files of others that crops were written over."""


async def process(batch: Batch, settings: Settings, tools: Tools) -> BatchResult:
    """Work on a batch.

    Args:
        batch: jobs of one scene.
        settings: what is wanted.
        tools: what to work with.

    Returns:
        Outcomes in the batch's order, one for every job that is not left. Faults of the network or of a file are
        outcomes; jobs are left when a server is not asked at present.

    Raises:
        LocalError: this machine cannot go on (disk full, read-only); nothing is known of the jobs then.
    """
    begun = time.monotonic()
    with context(item=batch.scene.id):
        result = await _Work(batch, settings, tools).run()
        if _log.isEnabledFor(logging.DEBUG):
            fields = {"jobs": len(batch.jobs), "left": len(result.left), "seconds": time.monotonic() - begun}
            log(_log, logging.DEBUG, "batch_done", fields)
    return result


class _Work:
    """The way of one batch. Outcomes are entered as soon as they are known; what has none goes on."""

    def __init__(self, batch: Batch, settings: Settings, tools: Tools) -> None:
        self.scene = batch.scene
        self.settings = settings
        self.tools = tools
        self.shelf = tools.shelf if batch.shared else None
        self.endings = Endings(batch, settings.limits, settings.assets)
        self.known = {fact.asset: fact for fact in batch.files}
        self.facts: dict[str, FileFact] = {}
        self.stored: set[str] = set()
        """Assets whose header was not read from the file but taken from what is known."""
        self.sources: dict[str, Source] = {}
        """What was read of each asset last, or is being read."""
        self.ground: dict[str, tuple[float, ...]] = {}
        self.seen: dict[int, _Part] = {}
        """What was measured, kept only when crops of it are wanted too: nothing is read twice."""

    async def run(self) -> BatchResult:
        parked = ""
        try:
            await self._answer()
        except HostParked as error:
            parked = error.origin
        return BatchResult(
            outcomes=self.endings.told, files=tuple(self.facts.values()), left=self.endings.left, parked=parked
        )

    async def _answer(self) -> None:
        self.endings.judge()
        self.endings.give_up()
        if unmeasured := self.endings.unmeasured():
            await self._guarded(SCL, unmeasured, self._measure)
            self.endings.judge()
        for asset in self.settings.assets:
            if wanting := self.endings.wanting(asset):
                await self._guarded(asset, wanting, self._cut)
        self.endings.end_all()

    async def _guarded(self, key: str, jobs: Sequence[Job], work: _Step) -> None:
        """Do a step for some jobs; for a fault of the asset all lack it that have not got it yet."""
        asset = self.scene.assets[key]
        try:
            try:
                await work(asset, jobs)
            except (FileChanged, BadAnswer, CorruptFile) as error:
                if key not in self.stored and not isinstance(error, FileChanged):
                    raise
                # once more, from the new edition's header: what the old one said counts no more
                self._doubt(key, error)
                self.endings.forget(key, jobs)
                await work(asset, jobs)
        except HostParked:
            raise  # it says nothing of the asset
        except RemoteError as error:
            if isinstance(error, FileChanged):
                self._doubt(key, error)
            self.ground.pop(key, None)  # what it said of its place does not count against other assets
            self.endings.lack(asset, error, jobs)

    def _doubt(self, key: str, error: RemoteError) -> None:
        """A header did not fit: nobody is told of it. Nor is any tile of an edition that was replaced."""
        self.facts.pop(key, None)
        log(_log, logging.INFO, "header_dropped", {"asset": key, "reason": str(error)})
        if self.shelf:
            self.shelf.forget(self.scene.assets[key])
            if isinstance(error, FileChanged) and key in self.sources:
                self.shelf.drop(self.sources[key])

    async def _source(self, asset: Asset) -> Source:
        known = self.known.pop(asset.key, None)  # to be believed once
        source = sources.recall(asset, known) if known else None
        if source:
            self.stored.add(asset.key)
        else:
            source = await self._opened(asset)
        self.sources[asset.key] = source
        grid = source.layout.grid
        ground = (grid.epsg, *grid.bounds)
        if any(other != ground for key, other in self.ground.items() if key != asset.key):
            raise CorruptFile(f"covers other ground than the scene's other files: {shown(asset.href)}")
        self.ground[asset.key] = ground
        return source

    async def _opened(self, asset: Asset) -> Source:
        """A file whose header is read, unless another batch of the scene has just done that."""

        async def read() -> Source:
            return await sources.open_source(self.tools.transport, asset, self.tools.first_read)

        if self.shelf is None:
            source, stored = await read(), False
        else:
            source, stored = await self.shelf.source(asset, read)
        if stored:
            self.stored.add(asset.key)
        else:
            self.stored.discard(asset.key)
            self.facts[asset.key] = source.fact
        return source

    async def _cutouts(self, source: Source, jobs: Sequence[Job]) -> list[Cutout | None]:
        def work() -> list[Cutout | None]:
            return [cutout(job.area, source.layout.grid) for job in jobs]

        try:
            if all(is_known(job.area, source.layout.grid) for job in jobs):
                return work()  # at once: what waits for a thread waits behind what is decoded
            return await asyncio.get_running_loop().run_in_executor(self.tools.pool, work)
        except ValueError as error:
            raise CorruptFile(f"{error}: {shown(source.asset.href)}") from error

    @asynccontextmanager
    async def _pixels(
        self, source: Source, parts: Sequence[tuple[Job, Cutout]]
    ) -> AsyncIterator[list[tuple[Job, _Part]]]:
        """What lies under the areas; jobs whose tiles are damaged lack the asset, and are left out.

        Whether a date is clear hangs on the classification, and its tiles are small: they are always read whole
        and checked.
        """
        key, settings = source.asset.key, self.settings
        async with reader.reading(
            self.tools.transport,
            source,
            [part for _, part in parts],
            budget=self.tools.budget,
            pool=self.tools.pool,
            margin=self.tools.margins[key],
            masked=settings.mask or key not in settings.assets,
            verify=settings.verify or key == SCL,
            highest=clouds.CLASSES - 1 if key == SCL else None,
            shelf=self.shelf,
        ) as found:
            sound = []
            for (job, part), pixels in zip(parts, found, strict=True):
                if not isinstance(pixels, CorruptFile):
                    sound.append((job, (source, part, pixels)))
                elif key in self.stored:  # perhaps it is the header that does not fit
                    raise pixels
                else:  # twice: it may be a cache on the way that is damaged, as well as the file
                    self.endings.lack(source.asset, pixels, [job])
            yield sound

    async def _measure(self, asset: Asset, jobs: Sequence[Job]) -> None:
        source = await self._source(asset)
        bands, dtype = source.layout.bands, source.layout.dtype
        if (bands, dtype) != (1, "uint8"):
            raise CorruptFile(f"not a scene classification: {bands} x {dtype}: {shown(asset.href)}")
        inside: list[tuple[Job, Cutout]] = []
        for job, found in zip(jobs, await self._cutouts(source, jobs), strict=True):
            if found is None:
                self.endings.end(job, Status.OUTSIDE)
            else:
                inside.append((job, found))
        if not inside:
            return
        async with self._pixels(source, inside) as parts:
            for job, (_, found, pixels) in parts:
                try:
                    self.endings.measures[job.id] = clouds.measure(pixels, found.inside, found.total)
                except CorruptFile as error:
                    raise CorruptFile(f"{error}: {shown(asset.href)}") from error
            if SCL in self.settings.assets:
                self.seen.update({job.id: part for job, part in parts})

    async def _cut(self, asset: Asset, jobs: Sequence[Job]) -> None:
        encoded = await self._encoded(asset, jobs)
        loop, tools = asyncio.get_running_loop(), self.tools
        await asyncio.gather(*[loop.run_in_executor(tools.writers, self._save, some) for some in encoded])
        for crop in itertools.chain.from_iterable(encoded):
            self.endings.products[crop.job.id].append(crop.product)

    async def _encoded(self, asset: Asset, jobs: Sequence[Job]) -> list[list[_Encoded]]:
        """Crops of the jobs whose tiles are sound, in groups; their pixels are no longer in memory."""
        if asset.key == SCL and all(job.id in self.seen for job in jobs):
            return await self._encode_all([(job, self.seen[job.id]) for job in jobs])
        source = await self._source(asset)
        found = await self._cutouts(source, jobs)
        inside = [(job, part) for job, part in zip(jobs, found, strict=True) if part is not None]
        if len(inside) < len(jobs):
            raise CorruptFile(f"does not reach an area that the scene classification reaches: {shown(asset.href)}")
        async with self._pixels(source, inside) as parts:
            return await self._encode_all(parts)

    async def _encode_all(self, parts: Sequence[tuple[Job, _Part]]) -> list[list[_Encoded]]:
        def work(some: Sequence[tuple[Job, _Part]]) -> list[_Encoded]:
            return [self._encode(job, *part) for job, part in some]

        loop, tools = asyncio.get_running_loop(), self.tools
        together = [parts[start : start + SAVED_TOGETHER] for start in range(0, len(parts), SAVED_TOGETHER)]
        return await asyncio.gather(*[loop.run_in_executor(tools.pool, work, some) for some in together])

    def _encode(self, job: Job, source: Source, part: Cutout, pixels: NDArray[np.generic]) -> _Encoded:
        settings, layout = self.settings, source.layout
        nodata = layout.nodata
        if settings.mask:
            pixels = crops.cut(pixels, part.inside, nodata)
            nodata = nodata or 0
        crop = Crop(
            pixels=pixels,
            transform=layout.grid.window_transform(part.window),
            epsg=layout.grid.epsg,
            nodata=nodata,
            scales=layout.scales,
            offsets=layout.offsets,
            tags=crop_tags(job, self.endings.measures[job.id], source, settings),
        )
        key = source.asset.key
        path = settings.folder / job.area.folder / crops.file_name(self.scene.id, key)
        product, data = crops.encode(crop, path.name, mask=settings.mask, asset=key)
        contents = [(path, data)]
        if settings.quicklook:  # before the crop, which is what counts
            contents.insert(0, (quicklooks.beside(path), quicklooks.encode(pixels, nodata)))
        return _Encoded(job=job, product=product, contents=contents)

    def _save(self, encoded: Sequence[_Encoded]) -> None:
        files.check_space(self.settings.folder, self.settings.reserve)
        contents = [content for crop in encoded for content in crop.contents]
        for folder in {path.parent for path, _ in contents}:
            files.make_folder(folder)
        for crop in encoded:
            *pictures, (path, _) = crop.contents
            whose = strangers.of_crop(path, crop.job.area.fingerprint, mask=self.settings.mask)
            self.tools.replaced.add(path, whose)
            for picture, _ in pictures:
                self.tools.replaced.add(picture, strangers.of_quicklook(picture))
        files.replace_all(contents, token=self.settings.token)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Encoded:
    """A crop as it goes to the disk."""

    job: Job
    product: Product
    contents: list[tuple[Path, bytes]]
    """The files, the crop last."""


_Part = tuple[Source, Cutout, NDArray[np.generic]]
"""What lies under one area: the file, where in it, and the pixels."""


class _Step(Protocol):
    async def __call__(self, asset: Asset, jobs: Sequence[Job], /) -> None: ...


def crop_tags(job: Job, measured: CloudMeasure, source: Source, settings: Settings) -> dict[str, str]:
    """What a crop says of itself: enough to tell its origin, and to write its row of the state again."""
    scene: Scene = job.scene
    classes = settings.limits.classes
    return {
        "ITEM_ID": scene.id,
        "ITEM_VERSION": scene.version,
        "COLLECTION": scene.collection,
        "DATETIME": scene.datetime.isoformat(),
        "AREA": job.area.name,
        "AREA_FINGERPRINT": job.area.fingerprint,
        "ASSET": source.asset.key,
        "MASK": crops.mask_tag(settings.mask),
        "SCL_HISTOGRAM": " ".join(map(str, measured.histogram)),
        "AREA_PIXELS": str(measured.total),
        "CLOUD_PERCENT": f"{clouds.cloud_percent(measured, classes) or 0:.4f}",
        "VALID_PERCENT": f"{clouds.valid_percent(measured) or 0:.4f}",
        "HREF": public(source.asset.href),
        "ETAG": source.edition.etag,
        "TIFFTAG_SOFTWARE": f"s2async {__version__}",
        "TIFFTAG_COPYRIGHT": settings.attribution.replace("{year}", str(scene.datetime.year)),
    }
