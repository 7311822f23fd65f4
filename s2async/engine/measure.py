"""The step that measures the cloud cover of the areas; its result is a `CloudMeasure` for each job.

If values are requested, it also stores which pixels are clear, so that the classification is read only once.
"""

from __future__ import annotations

from collections.abc import Sequence

from s2async.clouds.rule import AreaPixels, CountingRule
from s2async.cog import reader
from s2async.cog.grid import Cutout
from s2async.cog.source import Source
from s2async.engine.clearing import Clearing
from s2async.engine.many import Histograms
from s2async.engine.step import Bench, each_asset
from s2async.errors import CorruptFile
from s2async.models import Asset, Job, Status
from s2async.text import shown


class Measure:
    """Measures the cloud cover of jobs that have no measurement yet.

    Args:
        bench: what the steps of the batch use.
    """

    def __init__(self, bench: Bench) -> None:
        self._endings = bench.endings
        self._files = bench.files
        self._rule = bench.settings.rule
        self._flats = bench.tools.flats
        self._cut = frozenset(bench.settings.assets)
        self._clearing = Clearing(bench)
        self._found: dict[int, dict[str, AreaPixels]] = {}
        """Pixels of assets that have been read, by job, while the rule needs further assets."""
        self.assets = self._rule.assets

    async def run(self) -> None:
        """Measure; then end the jobs that are not clear, and those that could not be measured."""
        if await each_asset(self, self._files):
            self._endings.judge()

    def wanting(self, asset: str) -> list[Job]:  # noqa: ARG002 - a rule needs all its assets
        """Return the jobs without a measurement."""
        return self._endings.unmeasured()

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        """Read an asset, and measure after the last one. Jobs whose area the file does not touch are OUTSIDE."""
        source = await self._files.source(asset)
        if fault := self._rule.check(asset.key, source.layout.bands, source.layout.dtype):
            raise CorruptFile(f"{fault}: {shown(asset.href)}")
        if self._files.are_many(jobs) and self._counts(source):
            jobs = await self._count(source, jobs)
        inside: list[tuple[Job, Cutout]] = []
        for job, place in zip(jobs, await self._files.cutouts(source, jobs), strict=True):
            if place is None:
                self._endings.end(job, Status.OUTSIDE)
            else:
                inside.append((job, place))
        if not inside:
            return
        if self._clearing.is_by(asset.key):
            own = {job.id: place for job, place in inside}
            fine = await self._files.fine_places(source, [job for job, _ in inside])
            reading = self._clearing.windows(source, fine, [job for job, _ in inside], own)
        else:
            reading = self._files.pixels(source, inside)
        async with reading as parts:
            last = asset.key == self.assets[-1]
            for job, part in parts:
                found = self._found.setdefault(job.id, {})
                found[asset.key] = AreaPixels(part.pixels, part.cutout.inside, part.cutout.total)
                if last:
                    try:
                        self._endings.measures[job.id] = self._rule.measure(found)
                    except CorruptFile as error:
                        raise CorruptFile(f"{error}: {shown(asset.href)}") from error
                    del self._found[job.id]  # the memory budget no longer covers it
            if asset.key in self._cut:
                self._files.kept.setdefault(asset.key, {}).update({job.id: part for job, part in parts})

    def _counts(self, source: Source) -> bool:
        """Return whether a file can be counted for all areas at once: its pixels are not needed afterwards."""
        return isinstance(self._rule, CountingRule) and source.asset.key not in self._cut and reader.scans(source)

    async def _count(self, source: Source, jobs: Sequence[Job]) -> list[Job]:
        """Measure many jobs with the plan of the file's grid; return the jobs whose areas are too large for it."""
        places = await self._files.places(source, jobs)
        histograms = Histograms(places, self._rule.bins)
        skipped = places.skipped
        if self._clearing.is_by(source.asset.key):
            fine = await self._files.fine_places(source, jobs)
            skipped = skipped | [not fine.is_planned(position) for position in range(len(jobs))]
            async with self._flats.hold(int(fine.sizes.sum())):
                await self._clearing.scan(source, fine, jobs, histograms)
        else:
            await self._files.scan(source, jobs, histograms)
        lacking = self._endings.lacking(source.asset.key)
        kept, rest = [], []
        for number, (job, touched, skips) in enumerate(
            zip(jobs, places.touched.tolist(), skipped.tolist(), strict=True)
        ):
            if skips:
                rest.append(job)
            elif not touched:
                self._endings.end(job, Status.OUTSIDE)
            elif job.id not in lacking:
                kept.append(number)
        measured = [jobs[number] for number in kept]
        self._endings.count(measured, histograms.counts[kept], places.totals[kept])
        return rest
