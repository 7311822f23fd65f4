"""The step that measures the cloud cover of the areas; its result is a `CloudMeasure` for each job."""

from __future__ import annotations

from collections.abc import Sequence

from s2async.clouds.rule import AreaPixels
from s2async.cog.grid import Cutout
from s2async.engine.step import Bench
from s2async.errors import CorruptFile
from s2async.models import Asset, Job, Status
from s2async.text import shown


class Measure:
    """Measures the cloud cover of jobs that have no measurement yet.

    Args:
        bench: what the steps of the batch work with.
    """

    def __init__(self, bench: Bench) -> None:
        self._endings = bench.endings
        self._files = bench.files
        self._rule = bench.settings.rule
        self._cut = frozenset(bench.settings.assets)
        self._found: dict[int, dict[str, AreaPixels]] = {}
        """By job, the pixels of assets that were read, while the rule needs further ones."""
        self.assets = self._rule.assets

    def wanting(self, asset: str) -> list[Job]:  # noqa: ARG002 - a rule needs all its assets
        """The jobs without a measurement."""
        return self._endings.unmeasured()

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        """Read an asset, and measure where it is the last one; areas that the file does not touch are OUTSIDE."""
        source = await self._files.source(asset)
        if fault := self._rule.check(asset.key, source.layout.bands, source.layout.dtype):
            raise CorruptFile(f"{fault}: {shown(asset.href)}")
        inside: list[tuple[Job, Cutout]] = []
        for job, place in zip(jobs, await self._files.cutouts(source, jobs), strict=True):
            if place is None:
                self._endings.end(job, Status.OUTSIDE)
            else:
                inside.append((job, place))
        if not inside:
            return
        async with self._files.pixels(source, inside) as parts:
            last = asset.key == self.assets[-1]
            for job, part in parts:
                found = self._found.setdefault(job.id, {})
                found[asset.key] = AreaPixels(part.pixels, part.cutout.inside, part.cutout.total)
                if last:
                    try:
                        self._endings.measures[job.id] = self._rule.measure(found)
                    except CorruptFile as error:
                        raise CorruptFile(f"{error}: {shown(asset.href)}") from error
                    del self._found[job.id]  # the memory budget does not cover it any longer
            if asset.key in self._cut:
                self._files.kept.setdefault(asset.key, {}).update({job.id: part for job, part in parts})

    def finish(self) -> None:
        """End the jobs that are not clear, and those that could not be measured."""
        self._endings.judge()
