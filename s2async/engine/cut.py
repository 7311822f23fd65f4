"""The step that cuts crops out of assets and saves them; its results are `Product` values."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from s2async import files
from s2async._version import __version__
from s2async.clouds.shares import cloud_percent, valid_percent
from s2async.cog.source import Source
from s2async.engine.scene_files import Part
from s2async.engine.step import Bench
from s2async.engine.tools import Settings
from s2async.errors import CorruptFile
from s2async.models import Asset, CloudMeasure, Job, Product, Scene
from s2async.output import crops, strangers
from s2async.output import quicklook as quicklooks
from s2async.output.geotiff import Crop
from s2async.text import public, shown

SAVED_TOGETHER: Final = 8
"""Crops that one call of a thread encodes or writes: a call for each crop costs too much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Encoded:
    """A crop, ready to be written."""

    job: Job
    product: Product
    contents: list[tuple[Path, bytes]]
    """Paths and contents of its files, the crop last."""


class Cut:
    """Cuts the wanted assets for jobs that are clear.

    Args:
        bench: what the steps of the batch work with.
    """

    def __init__(self, bench: Bench) -> None:
        self._settings = bench.settings
        self._tools = bench.tools
        self._endings = bench.endings
        self._files = bench.files
        self.assets = bench.settings.assets

    def wanting(self, asset: str) -> list[Job]:
        """The jobs whose crop of an asset is neither on disk nor known to be impossible."""
        return self._endings.wanting(asset)

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        """Cut and save the crops of one asset."""
        encoded = await self._encoded(asset, jobs)
        loop, tools = asyncio.get_running_loop(), self._tools
        await asyncio.gather(*[loop.run_in_executor(tools.writers, self._save, some) for some in encoded])
        for crop in itertools.chain.from_iterable(encoded):
            self._endings.products[crop.job.id].append(crop.product)

    def finish(self) -> None:
        """Nothing follows from this step before all steps are done."""

    async def _encoded(self, asset: Asset, jobs: Sequence[Job]) -> list[list[_Encoded]]:
        """Encode the crops of the jobs whose blocks are intact, in groups, and release the decoded pixels."""
        kept = self._files.kept.get(asset.key, {})
        if all(job.id in kept for job in jobs):
            return await self._encode_all([(job, kept[job.id]) for job in jobs])
        source = await self._files.source(asset)
        places = await self._files.cutouts(source, jobs)
        inside = [(job, place) for job, place in zip(jobs, places, strict=True) if place is not None]
        if len(inside) < len(jobs):
            raise CorruptFile(f"does not reach an area that the cloud rule has measured: {shown(asset.href)}")
        async with self._files.pixels(source, inside) as parts:
            return await self._encode_all(parts)

    async def _encode_all(self, parts: Sequence[tuple[Job, Part]]) -> list[list[_Encoded]]:
        def work(some: Sequence[tuple[Job, Part]]) -> list[_Encoded]:
            return [self._encode(job, part) for job, part in some]

        loop, tools = asyncio.get_running_loop(), self._tools
        together = [parts[start : start + SAVED_TOGETHER] for start in range(0, len(parts), SAVED_TOGETHER)]
        return await asyncio.gather(*[loop.run_in_executor(tools.pool, work, some) for some in together])

    def _encode(self, job: Job, part: Part) -> _Encoded:
        """In a thread: the bytes of a crop, and of its quicklook."""
        settings, source, pixels = self._settings, part.source, part.pixels
        layout = source.layout
        nodata = layout.nodata
        if settings.mask:
            pixels = crops.cut(pixels, part.cutout.inside, nodata)
        if settings.mask or layout.hides:
            nodata = nodata or 0
        crop = Crop(
            pixels=pixels,
            transform=layout.grid.window_transform(part.cutout.window),
            epsg=layout.grid.epsg,
            nodata=nodata,
            scales=layout.scales,
            offsets=layout.offsets,
            tags=crop_tags(job, self._endings.measures[job.id], source, settings),
        )
        key = source.asset.key
        path = settings.folder / job.area.folder / crops.file_name(job.stem, key)
        product, data = crops.encode(crop, path.name, mask=settings.mask, asset=key)
        contents = [(path, data)]
        if settings.quicklook:  # before the crop: a crop that is there must have its quicklook
            contents.insert(0, (quicklooks.beside(path), quicklooks.encode(pixels, nodata)))
        return _Encoded(job=job, product=product, contents=contents)

    def _save(self, encoded: Sequence[_Encoded]) -> None:
        """In a thread: write crops under their final names."""
        files.check_space(self._settings.folder, self._settings.reserve)
        contents = [content for crop in encoded for content in crop.contents]
        for folder in {path.parent for path, _ in contents}:
            files.make_folder(folder)
        for crop in encoded:
            *beside, (path, _) = crop.contents
            whose = strangers.of_crop(path, crop.job.area.fingerprint, mask=self._settings.mask)
            self._tools.replaced.add(path, whose)
            for quicklook, _ in beside:
                self._tools.replaced.add(quicklook, strangers.of_quicklook(quicklook))
        files.replace_all(contents, token=self._settings.token)


def crop_tags(job: Job, measured: CloudMeasure, source: Source, settings: Settings) -> dict[str, str]:
    """The tags of a crop: its origin, and all that is needed to write its row of the state again."""
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
