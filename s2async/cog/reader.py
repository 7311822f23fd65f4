"""The pixels of some areas of a remote COG: plan, one fetch of what is needed, decode.

The areas of one scene share every tile that two of them touch; neighbouring tiles share a request; of a DEFLATE
tile only the start is fetched, down to the lowest row that anybody needs; and all of it is of one edition of the
file, or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async.cog import deflate, gdal, headers, tiles
from s2async.cog.grid import Cutout, Window
from s2async.cog.memory import Budget
from s2async.cog.prefix import Margin
from s2async.cog.reading import Pixels, Reading, all_of
from s2async.cog.rows import Rows
from s2async.cog.source import Source
from s2async.cog.tile_cache import Shelf
from s2async.cog.tiles import ByteRange
from s2async.errors import CorruptFile
from s2async.net.client import Transport
from s2async.text import shown

P = ParamSpec("P")
T = TypeVar("T")

MAX_WINDOW = 512 << 20
"""Bytes of one window's pixels: a whole picture of Sentinel-2 has 345 MiB, and a hostile header declares more."""


@asynccontextmanager
async def reading(
    transport: Transport,
    source: Source,
    cutouts: Sequence[Cutout],
    *,
    budget: Budget,
    pool: Executor,
    margin: Margin | None = None,
    masked: bool = False,
    verify: bool = False,
    highest: int | None = None,
    shelf: Shelf | None = None,
) -> AsyncIterator[list[Pixels]]:
    """The pixels of the cutouts' windows, tiles shared and fetched once; they are in the budget until the end.

    A tile that cannot be decoded is fetched once more, over a new connection: then it is the file that is damaged,
    and only the cutouts that touch the tile are without pixels.

    Args:
        transport: of the run.
        source: an opened COG.
        cutouts: windows inside its raster.
        budget: bytes of tiles and pixels in memory, over all readers.
        pool: threads that decode.
        margin: of files of this kind, to learn from; a new one by default.
        masked: only pixels inside the polygons matter; what is outside may be read, or not.
        verify: read whole tiles, and check their streams' checksums, where the codec has them.
        highest: tiles with values above this, nodata aside, are fetched once more, over a new connection, and
            believed only if the same bytes come.
        shelf: shared with other readers of the file, who want the same tiles.

    Yields:
        For each cutout a (bands, rows, columns) array of the file's own type, nothing masked; or, where a tile
        that it touches is damaged, an error that names tile and file.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile: a window of more than :data:`MAX_WINDOW`; the text names the file.
    """
    href, layout = shown(source.asset.href), source.layout
    most = (
        max((part.window.pixels for part in cutouts), default=0) * layout.bands * np.dtype(layout.dtype).itemsize
    )
    if most > MAX_WINDOW:
        raise CorruptFile(f"a window of {most >> 20:,} MiB is refused: {href}")
    way = Rows if deflate.supported(layout) else _Blocks
    work = way(
        transport,
        source,
        cutouts,
        budget,
        pool,
        margin=margin or Margin(),
        masked=masked,
        verify=verify,
        highest=highest,
        shelf=shelf if source.edition.named else None,
    )
    async with work.read() as found:
        yield [CorruptFile(f"{one}: {href}") if isinstance(one, CorruptFile) else one for one in found]


def _at_once(opened: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    async def read(*args: P.args, **kwargs: P.kwargs) -> T:
        async with opened(*args, **kwargs) as found:
            return found

    return read


read = _at_once(reading)
"""The same, for who keeps the pixels: they are in the budget only while they are read."""


class _Blocks(Reading):
    """Blocks of all other kinds: fetched whole, and decoded by GDAL."""

    @asynccontextmanager
    async def read(self) -> AsyncIterator[list[Pixels]]:
        self.blocks: dict[int, bytes] = {}
        self.renewed: set[int] = set()
        self.confirmed: set[int] = set()
        """Blocks of which the same bytes came twice: they are those of the file, however odd they look."""
        ranges = self._ranges(self.windows)
        # fetched once, and copied once into the small TIFF that is decoded
        size = 2 * sum(found.stop - found.start for found in ranges)
        async with self.budget.hold(size + self.decoded) as share:
            found = await self.booked(self._read(ranges))
            self.blocks.clear()
            share.give_back(size)
            yield found

    def _ranges(self, windows: Sequence[Window]) -> list[ByteRange]:
        """What is to be fetched for some windows: their blocks, but for those that were fetched twice."""
        under = set(tiles.blocks_under(self.layout, windows)) - self.renewed
        return tiles.byte_ranges(self.layout, {block: self.count(block) for block in under})

    async def _read(self, ranges: Sequence[ByteRange]) -> list[Pixels]:
        await all_of([self._range(found) for found in ranges])
        try:
            return [*await self._decoded(self.windows)]
        except CorruptFile:
            return [await self._alone(window) for window in self.windows]

    async def _alone(self, window: Window) -> Pixels:
        """The pixels of one window; if they cannot be had, its blocks are fetched once more."""
        with suppress(CorruptFile):
            return (await self._decoded([window]))[0]
        for found in self._ranges([window]):
            await self._range(found, fresh=True)
            self.renewed.update(found.blocks)
        try:
            return (await self._decoded([window]))[0]
        except CorruptFile as error:
            return error

    async def _decoded(self, windows: Sequence[Window]) -> list[NDArray[np.generic]]:
        under = tiles.blocks_under(self.layout, windows)
        blocks = {block: self.blocks[block] for block in under if block in self.blocks}

        def work() -> list[NDArray[np.generic]]:
            if self.verify:
                gdal.check_streams(self.layout, blocks, sure=self.confirmed)
            small = headers.subset(self.layout, blocks)
            if self.highest is not None:
                self._check_blocks(small, blocks.keys() - self.confirmed)
            return gdal.read(small, windows)

        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def _check_blocks(self, small: bytes, blocks: Iterable[int]) -> None:
        """Look at whole blocks, not only at what is wanted: where no checksum tells damage, its trace may."""
        wide, high, grid = self.layout.block_width, self.layout.block_height, self.layout.grid
        windows = {}
        for block in blocks:
            row, col = block // self.layout.across * high, block % self.layout.across * wide
            width, height = min(wide, grid.width - col), min(high, grid.height - row)
            windows[block] = Window(col=col, row=row, width=width, height=height)
        for block, pixels in zip(windows, gdal.read(small, [*windows.values()]), strict=True):
            try:
                self.check_values(pixels)
            except CorruptFile as error:
                raise CorruptFile(f"block {block} {error}") from error

    async def _range(self, found: ByteRange, *, fresh: bool = False) -> None:
        data = await self.fetch(found.start, found.stop, fresh=fresh)
        self.used += [(self.place(block), self.place(block) + self.count(block)) for block in found.blocks]
        for block in found.blocks:
            start = self.place(block) - found.start
            before, self.blocks[block] = self.blocks.get(block), bytes(data[start : start + self.count(block)])
            if fresh and self.blocks[block] == before:
                self.confirmed.add(block)
