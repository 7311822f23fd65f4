"""The step that cuts crops from assets and has them saved; its results are `Product` values."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias, TypeVar

from s2async import file_batches
from s2async._version import __version__
from s2async.clouds.shares import cloud_percent, valid_percent
from s2async.cog.download import all_of
from s2async.cog.grid import Cutout
from s2async.cog.source import Source
from s2async.engine import band_offsets, saving
from s2async.engine.saving import Encoded
from s2async.engine.scene_files import Part
from s2async.engine.step import Bench, each_asset
from s2async.engine.tools import Settings
from s2async.errors import CorruptFile
from s2async.file_batches import NewFile
from s2async.models import Asset, CloudMeasure, Job, Numbers, Scene
from s2async.output import band_tags, crops
from s2async.output import quicklook as quicklooks
from s2async.output.geotiff import Crop
from s2async.reflectance.convert import harmonised
from s2async.reflectance.decision import Basis, is_reflectance
from s2async.reflectance.evidence import Evidence
from s2async.text import public, shown

ENCODED_TOGETHER: Final = 8
"""Number of crops that one call in a thread encodes, because a call for each crop costs too much."""
FEW: Final = 64
"""Up to this many crops are encoded in groups of `ENCODED_TOGETHER`; with more crops, the groups are larger."""
T = TypeVar("T")
Save: TypeAlias = Callable[[str, Sequence[tuple[Job, Part]]], Awaitable[None]]
"""Encodes and saves the crops of an asset from the pixels of some jobs."""


class Cut:
    """Cuts the requested assets for clear jobs.

    Args:
        bench: what the steps of the batch use.
    """

    def __init__(self, bench: Bench) -> None:
        self._settings = bench.settings
        self._tools = bench.tools
        self._endings = bench.endings
        self._files = bench.files
        self.assets = bench.settings.assets

    async def run(self) -> None:
        """Cut asset by asset."""
        await each_asset(self, self._files)

    def wanting(self, asset: str) -> list[Job]:
        """Return the jobs whose crop of an asset is neither on disk nor known to be impossible."""
        return self._endings.wanting(asset)

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        """Cut and save the crops of one asset."""
        async with self.saving() as save:
            await self._cut(asset, jobs, save)

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[Save]:
        """Yield a function that encodes the crops of an asset and starts to save them; all are saved on exit.

        The function needs the pixels only until it returns.
        """
        saves: list[asyncio.Future[None]] = []
        try:
            yield partial(self._encode_all, saves)
        finally:  # crops that have been encoded are saved, whatever happens to the others
            await asyncio.gather(*saves)

    async def places(self, source: Source, jobs: Sequence[Job]) -> list[tuple[Job, Cutout]]:
        """Return where the areas of jobs, all of which the cloud rule has measured, lie in a file.

        Raises:
            CorruptFile: the file does not reach one of the areas, or its CRS cannot be used.
        """
        places = await self._files.cutouts(source, jobs)
        inside = [(job, place) for job, place in zip(jobs, places, strict=True) if place is not None]
        if len(inside) < len(jobs):
            raise CorruptFile(
                f"does not reach an area that the cloud rule has measured: {shown(source.asset.href)}"
            )
        return inside

    async def _cut(self, asset: Asset, jobs: Sequence[Job], save: Save) -> None:
        """Encode the crops of the jobs whose blocks are intact, start to save them, and release the pixels."""
        kept = self._files.kept.get(asset.key, {})
        if all(job.id in kept for job in jobs):
            await save(asset.key, [(job, kept[job.id]) for job in jobs])
            return
        source = await self._files.source(asset)
        async with self._files.pixels(source, await self.places(source, jobs)) as parts:
            await save(asset.key, parts)

    async def _encode_all(
        self, saves: list[asyncio.Future[None]], key: str, parts: Sequence[tuple[Job, Part]]
    ) -> None:
        def work(some: Sequence[tuple[Job, Part]]) -> list[Encoded]:
            return [self._encode(job, part, found.get(job.id), numbers) for job, part in some]

        async def encode(some: Sequence[tuple[Job, Part]]) -> None:
            encoded = itertools.chain.from_iterable(await self._in_groups(work, some))
            saves.append(asyncio.ensure_future(self._save([*encoded])))

        found: dict[int, Evidence] = {}
        numbers = None
        if parts and is_reflectance(key):
            found = dict(itertools.chain.from_iterable(await self._in_groups(self._look_at, parts)))
            numbers = self._numbers(key, parts[0][1].source, found.values())
        step = file_batches.MOST
        await all_of([encode(parts[start : start + step]) for start in range(0, len(parts), step)])

    async def _in_groups(
        self, work: Callable[[Sequence[tuple[Job, Part]]], T], parts: Sequence[tuple[Job, Part]]
    ) -> list[T]:
        """Process parts in threads of the compute pool, a few parts in each call."""
        loop, tools = asyncio.get_running_loop(), self._tools
        step = 1 if tools.alone else ENCODED_TOGETHER * (1 + len(parts) // FEW)
        groups = [parts[start : start + step] for start in range(0, len(parts), step)]
        pools = [tools.pool_for(job for job, _ in some) for some in groups]
        calls = [loop.run_in_executor(pool, work, some) for pool, some in zip(pools, groups, strict=True)]
        return await asyncio.gather(*calls)

    async def _save(self, encoded: Sequence[Encoded]) -> None:
        loop, tools, settings = asyncio.get_running_loop(), self._tools, self._settings

        async def save(some: Sequence[Encoded]) -> None:
            await loop.run_in_executor(tools.writers, tools.save or saving.save, some, settings, tools.replaced)
            for crop in some:
                self._endings.products[crop.job.id].append(crop.product)

        await asyncio.gather(*map(save, saving.groups(encoded, settings)))

    def _look_at(self, parts: Sequence[tuple[Job, Part]]) -> list[tuple[int, Evidence]]:
        """In a thread: return what the pixels of crops show about an offset, by job."""
        if not self._settings.mask:
            return [(job.id, Evidence.of(part.pixels)) for job, part in parts]
        return [(job.id, Evidence.of(part.pixels[:, part.cutout.inside])) for job, part in parts]

    def _numbers(self, key: str, source: Source, found: Iterable[Evidence]) -> Numbers:
        """Return what the DN of a band mean, from what is known so far.

        Later evidence may resolve a doubt, and an offset that was subtracted cannot be added back where values
        fell below zero. Therefore a band in doubt is cut as published and converted when the run ends.
        """
        files, settings = self._files, self._settings
        offset = band_offsets.decided(files, settings, key, source.layout, sum(found, files.evidence))
        return Numbers(
            offset=offset.dn,
            basis=str(offset.basis),
            baseline=files.scene.baseline,
            harmonised=settings.harmonised and offset.basis is not Basis.DOUBTFUL,
        )

    def _encode(
        self, job: Job, part: Part, evidence: Evidence | None = None, numbers: Numbers | None = None
    ) -> Encoded:
        """In a thread: return the bytes of a crop and of its quicklook."""
        settings, source, pixels = self._settings, part.source, part.pixels
        layout = source.layout
        nodata = layout.nodata
        if settings.mask:
            pixels = crops.cut(pixels, part.cutout.inside, nodata)
        if settings.mask or layout.hides:
            nodata = nodata or 0
        key = source.asset.key
        if numbers:
            pixels = harmonised(pixels, numbers.subtracted)
        scales, offsets = band_tags.scaling(key, numbers, layout)
        crop = Crop(
            pixels=pixels,
            transform=layout.grid.window_transform(part.cutout.window),
            epsg=layout.grid.epsg,
            nodata=nodata,
            scales=scales,
            offsets=offsets,
            tags={
                **crop_tags(job, self._endings.measures[job.id], source, settings),
                **(band_tags.tags(numbers) if numbers else {}),
            },
        )
        path = settings.folder / job.area.folder / crops.file_name(job.stem, key)
        product, data = crops.encode(
            crop,
            path.name,
            mask=settings.mask,
            asset=key,
            numbers=numbers,
            evidence=evidence,
            stated=band_tags.stated(layout) if numbers else None,
        )
        contents = [NewFile(path, data)]
        if settings.quicklook:
            contents.insert(0, NewFile(quicklooks.beside(path), quicklooks.encode(pixels, nodata)))
        return Encoded(job=job, product=product, contents=tuple(contents))


def crop_tags(job: Job, measured: CloudMeasure, source: Source, settings: Settings) -> dict[str, str]:
    """Return the tags of a crop: its origin, and all that is needed to rebuild its row of the state."""
    scene: Scene = job.scene
    return {
        "ITEM_ID": scene.id,
        "ITEM_VERSION": scene.version,
        "COLLECTION": scene.collection,
        "DATETIME": scene.datetime.isoformat(),
        "AREA": job.area.name,
        "AREA_FINGERPRINT": job.area.fingerprint,
        "ASSET": source.asset.key,
        "MASK": crops.mask_tag(settings.mask),
        crops.histogram_tag(measured.rule): " ".join(map(str, measured.histogram)),
        "AREA_PIXELS": str(measured.total),
        "CLOUD_PERCENT": f"{cloud_percent(measured, settings.rule.spoilt) or 0:.4f}",
        "VALID_PERCENT": f"{valid_percent(measured) or 0:.4f}",
        "HREF": public(source.asset.href),
        "ETAG": source.edition.etag,
        "TIFFTAG_SOFTWARE": f"s2async {__version__}",
        "TIFFTAG_COPYRIGHT": settings.attribution.replace("{year}", str(scene.datetime.year)),
    }
