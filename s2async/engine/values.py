"""The step that computes values of areas from the pixels of bands: `AreaValues`, and `BandEvidence` of each band.

The pixels of all areas of the batch lie one after another in flat arrays, one array for each band, until the last
band has been read. The pixels of many areas are gathered block by block. A few areas are read as windows, as are
all areas of a batch if some of them also need a crop of the band.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async.clouds import scl
from s2async.cog import reader
from s2async.cog.source import Source
from s2async.engine import band_offsets, clear_pixels
from s2async.engine.clearing import Clearing
from s2async.engine.cut import Cut
from s2async.engine.fine_places import LARGEST, FinePlaces
from s2async.engine.fine_windows import FineWindows, narrowed
from s2async.engine.many import Gathered
from s2async.engine.step import Bench, each_asset
from s2async.errors import CorruptFile, UnsupportedLayout
from s2async.masks.drawing import LARGEST_PIXELS
from s2async.masks.scanline import groups
from s2async.models import Asset, BandEvidence, Job
from s2async.output import band_tags
from s2async.reflectance.convert import harmonised
from s2async.reflectance.evidence import DARK, Evidence
from s2async.text import shown
from s2async.zonal.statistics import Pixels, measure_all
from s2async.zonal.wanted import AreaValues, ValueTable, Variable

TOGETHER: Final = 1 << 18
"""Approximate number of pixels whose statistics one call in a thread computes; the last area may exceed it."""
TOO_LARGE: Final = "the area is too large: its rectangle has more than {:,} pixels of 10 m"
"""Message that says why an area has no values."""
FINE: Final = 4
"""Number of 10 m pixels in a pixel of the classification; measurements count the latter."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Band:
    """The pixels of one band."""

    source: Source
    dn: NDArray[np.uint16]
    """(pixels,) as published, area by area; 0 for pixels that were not read."""
    stated: float | None
    """Offset in reflectance that the file states; None if it states none."""
    evidence: Mapping[int, Evidence]
    """What the pixels show about an offset, by position of the areas whose pixels were read."""
    whole: Evidence
    """The sum of this evidence."""


class Values:
    """Computes the missing values of jobs whose measurement the rule of values accepts.

    Args:
        bench: what the steps of the batch use.
    """

    def __init__(self, bench: Bench) -> None:
        self._settings = bench.settings
        self._tools = bench.tools
        self._endings = bench.endings
        self._files = bench.files
        self._clearing = Clearing(bench)
        self._cut = Cut(bench)
        wanted = bench.settings.values
        self.assets = (scl.ASSET, *wanted.bands) if wanted else ()
        self._jobs: list[Job] = []
        self._fine: FinePlaces | None = None
        self._bands: dict[str, _Band] = {}

    async def run(self) -> None:
        """Read what is missing, compute, and end the jobs that only waited for their values."""
        self._jobs = [job for job in self._endings.open() if self._endings.pending(job)]
        if not self._jobs:
            return
        pixels = FINE * sum(self._endings.measures[job.id].total for job in self._jobs)
        async with self._tools.flats.hold(2 * len(self.assets) * pixels):
            await each_asset(self, self._files)
            await self._compute()
            self._bands.clear()
        self._endings.judge()

    def wanting(self, asset: str) -> list[Job]:
        """Return the jobs that need an asset for values."""
        pending = [self._endings.pending(job) for job in self._jobs]
        if asset == scl.ASSET:
            known = self._endings.clear_pixels
            return [job for job, some in zip(self._jobs, pending, strict=True) if some and job.id not in known]
        needing = {  # most jobs share one mapping
            number
            for number, variables in {id(some): some for some in pending}.items()
            if any(asset in one.bands for one in variables.values())
        }
        return [job for job, some in zip(self._jobs, pending, strict=True) if id(some) in needing]

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        """Read the pixels of an asset under the areas. If the asset is also cut, save its crops."""
        source = await self._files.source(asset)
        _check(source)
        fine = await self._placed(source)
        jobs = [job for job in jobs if fine.at[job.id] not in fine.large]
        if asset.key == scl.ASSET:
            await self._clear(source, fine, jobs)
        elif jobs:
            await self._read(source, fine, jobs)

    # ---- reading ----

    async def _placed(self, source: Source) -> FinePlaces:
        """Return where the areas lie; areas that are too large are recorded as having no values.

        Raises:
            CorruptFile: the file does not fit the grid.
        """
        if self._fine is None or (self._fine.factor(source.layout) is None and not self._bands):
            self._fine = await self._files.fine_places(source, self._jobs)
            why = TOO_LARGE.format(LARGEST if self._fine.weights is None else LARGEST_PIXELS)
            for position in self._fine.large:
                self._endings.refuse_values(self._jobs[position], why)
        if self._fine.factor(source.layout) is None:
            raise CorruptFile(f"its pixels do not fit those of the other bands: {shown(source.asset.href)}")
        return self._fine

    async def _clear(self, source: Source, fine: FinePlaces, jobs: Sequence[Job]) -> None:
        """Store which pixels are clear."""
        planned, rest = self._split(source, fine, jobs)
        if planned:
            await self._clearing.scan(source, fine, planned)
        if rest:
            async with self._clearing.windows(source, fine, rest, {}):
                pass

    async def _read(self, source: Source, fine: FinePlaces, jobs: Sequence[Job]) -> None:
        """Read the pixels of a band."""
        key = source.asset.key
        cut = self._endings.wanting(key) if key in self._settings.assets else []
        planned, rest = ([], jobs) if cut else self._split(source, fine, jobs)
        dn = np.zeros(int(fine.starts[-1]), np.uint16)
        if planned:
            positions = [fine.at[job.id] for job in planned]
            gathered = Gathered(fine.places(positions, source.layout))
            await self._files.scan(source, planned, gathered)
            dn = fine.spread(gathered.values, positions)
        if rest:
            await self._read_windows(source, fine, rest, cut, dn)
        lacking = self._endings.lacking(key)
        sound = [fine.at[job.id] for job in jobs if job.id not in lacking]
        loop, factor = asyncio.get_running_loop(), fine.factor(source.layout) or 1
        work = partial(_evidence, dn, fine.starts, sound, factor)
        evidence, whole = await loop.run_in_executor(self._tools.pool, work)
        stated = band_tags.stated(source.layout)
        self._bands[key] = _Band(source=source, dn=dn, stated=stated, evidence=evidence, whole=whole)

    def _split(self, source: Source, fine: FinePlaces, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """Split jobs into those whose pixels are gathered block by block and those that are read as windows."""
        if not self._files.are_many(jobs) or not reader.scans(source):
            return [], [*jobs]
        if fine.are_planned:
            return [*jobs], []
        planned = [job for job in jobs if fine.is_planned(fine.at[job.id])]
        return planned, [job for job in jobs if not fine.is_planned(fine.at[job.id])]

    async def _read_windows(
        self, source: Source, fine: FinePlaces, jobs: Sequence[Job], cut: Sequence[Job], dn: NDArray[np.uint16]
    ) -> None:
        """Read the pixels of a band around areas, and save the crops of jobs that need one.

        Args:
            source: the file.
            fine: the places of the areas.
            jobs: jobs whose pixels are needed.
            cut: jobs of the batch that need a crop of the band.
            dn: (pixels,) array that receives the pixels.
        """
        own = {job.id: place for job, place in (await self._cut.places(source, cut) if cut else [])}
        windows = FineWindows(fine, fine.factor(source.layout) or 1, self._tools)
        both = {job.id: job for job in (*jobs, *cut)}
        needed = await windows.around([*both.values()], own)
        async with self._cut.saving() as save, self._files.pixels(source, needed) as parts:
            for job, pixels in (await windows.take(parts, lambda pixels: pixels)).items():
                start = fine.starts[fine.at[job]]
                dn[start : start + len(pixels)] = pixels
            if cut:
                crops = [(job, narrowed(part, own[job.id])) for job, part in parts if job.id in own]
                await save(source.asset.key, crops)

    # ---- computing ----

    async def _compute(self) -> None:
        """Compute the variables whose bands were read, and add the results."""
        fine = self._fine
        if fine is None:
            return
        known, sizes = self._endings.clear_pixels, fine.sizes.tolist()
        todo = [  # clear pixels from a file that has since been replaced may not fit
            self._endings.pending(job) if len(known.get(job.id, b"-")) == clear_pixels.size(pixels) else {}
            for job, pixels in zip(self._jobs, sizes, strict=True)
        ]
        offsets = self._offsets()
        loop, tools = asyncio.get_running_loop(), self._tools

        def work(first: int, last: int) -> list[Sequence[AreaValues]]:
            return self._values(fine, todo, offsets, first, last)

        chunks = list(groups(fine.sizes, 0 if tools.alone else TOGETHER))
        pools = [tools.pool_for(job for job in self._jobs[first:last]) for first, last in chunks]
        calls = [
            loop.run_in_executor(pool, work, first, last)
            for pool, (first, last) in zip(pools, chunks, strict=True)
        ]
        found = [results for several in await asyncio.gather(*calls) for results in several]
        bands = [(key, band.evidence, band.stated) for key, band in self._bands.items()]
        for position, (job, results) in enumerate(zip(self._jobs, found, strict=True)):
            seen = [
                BandEvidence(key, evidence[position], stated)
                for key, evidence, stated in bands
                if position in evidence
            ]
            if results or seen:
                self._endings.results.setdefault(job.id, []).extend((*results, *seen))

    def _offsets(self) -> dict[str, int | None]:
        """Return the offset of each band in DN, from the evidence of all bands; None if it is unknown.

        Areas whose pixels are read again may already be in the evidence of earlier batches. The state counts each
        area once, and its decision applies in the end, so the two are not added.
        """
        found = sum((band.whole for band in self._bands.values()), Evidence())
        seen = max(found, self._files.evidence, key=lambda one: one.pixels)
        return {
            key: band_offsets.decided(self._files, self._settings, key, band.source.layout, seen).dn
            for key, band in self._bands.items()
        }

    def _values(
        self,
        fine: FinePlaces,
        todo: Sequence[Mapping[str, Variable]],
        offsets: Mapping[str, int | None],
        first: int,
        last: int,
    ) -> list[Sequence[AreaValues]]:
        """In a thread: return the values of some consecutive areas."""
        wanted = self._settings.values
        assert wanted is not None  # noqa: S101 - otherwise there are no jobs
        asked: dict[str, Variable] = {}
        for variables in {id(some): some for some in todo[first:last]}.values():  # most areas share one mapping
            asked |= variables
        if not asked:
            return [[] for _ in range(first, last)]
        starts = fine.starts[first : last + 1]
        part = slice(int(starts[0]), int(starts[-1]))
        weights = None if fine.weights is None else fine.weights[part]
        pixels = Pixels(starts=starts - starts[0], weights=weights)
        sizes = fine.sizes[first:last]
        none = map(bytes, map(clear_pixels.size, sizes.tolist()))
        known = [
            self._endings.clear_pixels[job.id] if variables else empty
            for job, variables, empty in zip(self._jobs[first:last], todo[first:last], none, strict=True)
        ]
        clear, data = clear_pixels.unpacked(known, sizes)
        dn = {
            key: np.asarray(harmonised(band.dn[part], offsets[key] or 0), np.uint16)
            for key, band in self._bands.items()
        }
        measured = measure_all([*asked.values()], dn, clear, data, pixels, wanted.statistics)
        classes = np.fromiter(map(clear_pixels.seen, known), np.float64, len(known))[:, np.newaxis]
        tables: dict[str, ValueTable] = {}
        for (key, variable), (counts, statistics) in zip(asked.items(), measured, strict=True):
            used = [np.nan if offsets[band] is None else offsets[band] for band in variable.bands]
            columns = [counts, classes, np.tile(np.array(used, np.float64), (len(known), 1)), statistics]
            tables[key] = ValueTable(key=key, bands=len(used), numbers=np.hstack(columns))
        return [
            [AreaValues(table, row) for key, table in tables.items() if key in variables]
            for row, variables in enumerate(todo[first:last])
        ]


def _check(source: Source) -> None:
    """Check that values can be computed from a file.

    Raises:
        UnsupportedLayout: they cannot.
    """
    key, layout = source.asset.key, source.layout
    wanted = (1, "uint8" if key == scl.ASSET else "uint16")
    if (layout.bands, layout.dtype) != wanted:
        what = "a scene classification" if key == scl.ASSET else "a band of reflectance"
        raise UnsupportedLayout(f"not {what}: {layout.bands} x {layout.dtype}: {shown(source.asset.href)}")


def _evidence(
    dn: NDArray[np.uint16], starts: NDArray[np.int64], positions: Sequence[int], factor: int
) -> tuple[dict[int, Evidence], Evidence]:
    """In a thread: return what the pixels of areas show about an offset, by position and in total.

    Args:
        dn: (pixels,) as published, area by area.
        starts: (n + 1,) index at which the pixels of each area begin.
        positions: positions of the areas that were read.
        factor: how often each pixel of the file is repeated in both directions.
    """

    def numbers(where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.diff(np.searchsorted(np.flatnonzero(where), starts)) // factor**2

    empty, dark, wrapped = numbers(dn == 0), numbers((dn < DARK) & (dn != 0)), numbers(dn > 32_767)
    valid = np.diff(starts) // factor**2 - empty
    table = np.column_stack([valid, dark, wrapped])[[*positions]]
    found = {position: Evidence(*row) for position, row in zip(positions, table.tolist(), strict=True)}
    return found, Evidence(*table.sum(axis=0).tolist())
