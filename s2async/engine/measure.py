"""The step that measures the clouds over the areas; its result is a `CloudMeasure` for each job."""

from __future__ import annotations

from collections.abc import Sequence

from s2async import clouds
from s2async.cog.grid import Cutout
from s2async.engine.endings import SCL
from s2async.engine.step import Bench
from s2async.errors import CorruptFile
from s2async.models import Asset, Job, Status
from s2async.text import shown


class Measure:
    """Measures the clouds of jobs that have no measurement yet.

    Args:
        bench: what the steps of the batch work with.
    """

    def __init__(self, bench: Bench) -> None:
        self._endings = bench.endings
        self._files = bench.files
        self._keep = SCL in bench.settings.assets
        self.assets = (SCL,)

    def wanting(self, asset: str) -> list[Job]:  # noqa: ARG002 - it has one asset
        """The jobs without a measurement."""
        return self._endings.unmeasured()

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        """Count the pixels of each class; areas that the file does not touch are OUTSIDE."""
        source = await self._files.source(asset)
        bands, dtype = source.layout.bands, source.layout.dtype
        if (bands, dtype) != (1, "uint8"):
            raise CorruptFile(f"not a scene classification: {bands} x {dtype}: {shown(asset.href)}")
        inside: list[tuple[Job, Cutout]] = []
        for job, place in zip(jobs, await self._files.cutouts(source, jobs), strict=True):
            if place is None:
                self._endings.end(job, Status.OUTSIDE)
            else:
                inside.append((job, place))
        if not inside:
            return
        async with self._files.pixels(source, inside) as parts:
            for job, part in parts:
                place = part.cutout
                try:
                    self._endings.measures[job.id] = clouds.measure(part.pixels, place.inside, place.total)
                except CorruptFile as error:
                    raise CorruptFile(f"{error}: {shown(asset.href)}") from error
            if self._keep:
                self._files.kept.setdefault(asset.key, {}).update({job.id: part for job, part in parts})

    def finish(self) -> None:
        """End the jobs that are not clear, and those that could not be measured."""
        self._endings.judge()
