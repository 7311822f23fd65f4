"""Reads windows of files that only GDAL can decode: fetches whole blocks.

The fetched blocks are put into a small TIFF in memory, which GDAL reads. If that fails, the windows are decoded
one by one, and the blocks of each window that still fails are fetched once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from s2async.cog import gdal, headers, tiles
from s2async.cog.download import Download, all_of
from s2async.cog.grid import Window
from s2async.cog.memory import Budget
from s2async.cog.request import Pixels, PoolOver, Request
from s2async.cog.tiles import ByteRange
from s2async.errors import CorruptFile
from s2async.net.editions import Edition


@asynccontextmanager
async def reading(
    request: Request,
    download: Download,
    edition: Edition,
    *,
    budget: Budget,
    pool: Executor,
    pool_over: PoolOver | None = None,
) -> AsyncIterator[list[Pixels]]:
    """Read the windows of a request; the pixels count against the budget while the context is open.

    Args:
        request: the windows, and how strictly bytes are checked.
        download: the download of the file.
        edition: the edition that the file must have.
        budget: memory budget for blocks and pixels of all readers.
        pool: threads that decode.
        pool_over: see `reader.reading`.

    Yields:
        The pixels of each window, or an error that names a damaged block.
    """
    ranges = _ranges(request, tiles.blocks_under(request.layout, request.windows))
    # Compressed bytes are in memory twice: as fetched, and in the small TIFF.
    size = 2 * sum(part.stop - part.start for part in ranges)
    async with budget.hold(size + request.decoded_bytes) as share:
        work = _WholeBlocks(request, download, edition, pool, pool_over)
        with download.account():
            pixels = await work.read(ranges)
        # Drop the blocks before their bytes are released from the budget: an error among the pixels refers to its
        # stack frames, and these refer to the blocks.
        work.blocks.clear()
        share.give_back(size)
        yield pixels


def _ranges(request: Request, blocks: Collection[int]) -> list[ByteRange]:
    return tiles.byte_ranges(request.layout, {block: request.count(block) for block in blocks})


class _WholeBlocks:
    """The compressed blocks of one read."""

    def __init__(
        self,
        request: Request,
        download: Download,
        edition: Edition,
        pool: Executor,
        pool_over: PoolOver | None,
    ) -> None:
        self.request = request
        self.layout = request.layout
        self.download = download
        self.edition = edition
        self.pool = pool
        self.pool_over = pool_over
        self.blocks: dict[int, bytes] = {}
        """Compressed bytes of the blocks that have arrived."""
        self.renewed: set[int] = set()
        """Blocks that were fetched twice, and are not fetched a third time."""
        self.confirmed: set[int] = set()
        """Blocks that arrived twice with the same bytes: these bytes are in the file, however odd they look."""

    async def read(self, ranges: Sequence[ByteRange]) -> list[Pixels]:
        await all_of([self._fetch(part) for part in ranges])
        if self.pool_over is None:
            with suppress(CorruptFile):
                return [*await self._decoded(self.request.windows, self.pool)]
        # If a block is damaged, only the windows that touch it get an error.
        return [await self._alone(window, index) for index, window in enumerate(self.request.windows)]

    async def _fetch(self, part: ByteRange, *, fresh: bool = False) -> None:
        piece = await self.download.fetch(part.start, part.stop, self.edition, fresh=fresh)
        for block in part.blocks:
            offset, count = self.request.offset(block), self.request.count(block)
            self.download.use(offset, offset + count)
            start = offset - part.start
            before, self.blocks[block] = self.blocks.get(block), bytes(piece.data[start : start + count])
            if fresh and self.blocks[block] == before:
                self.confirmed.add(block)

    async def _alone(self, window: Window, index: int) -> Pixels:
        """Decode one window. If that fails, fetch its blocks once more, over a new connection, and try again."""
        pool = self.pool_over([index]) if self.pool_over else self.pool
        with suppress(CorruptFile):
            return (await self._decoded([window], pool))[0]
        again = set(tiles.blocks_under(self.layout, [window])) - self.renewed
        for part in _ranges(self.request, again):
            await self._fetch(part, fresh=True)
            self.renewed.update(part.blocks)
        try:
            return (await self._decoded([window], pool))[0]
        except CorruptFile as error:
            return error

    async def _decoded(self, windows: Sequence[Window], pool: Executor) -> list[NDArray[np.generic]]:
        under = tiles.blocks_under(self.layout, windows)
        blocks = {block: self.blocks[block] for block in under if block in self.blocks}

        def work() -> list[NDArray[np.generic]]:
            if self.request.verify:
                gdal.check_streams(self.layout, blocks, sure=self.confirmed)
            small = headers.subset(self.layout, blocks)
            if self.request.highest is not None:
                self._check_blocks(small, blocks.keys() - self.confirmed)
            return gdal.read(small, windows)

        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def _check_blocks(self, small: bytes, blocks: Collection[int]) -> None:
        """Check the values of whole blocks, not only of windows, because damage may show outside the windows.

        Raises:
            CorruptFile: a block contains an invalid value.
        """
        wide, high, grid = self.layout.block_width, self.layout.block_height, self.layout.grid
        windows = {}
        for block in blocks:
            row, col = block // self.layout.across * high, block % self.layout.across * wide
            width, height = min(wide, grid.width - col), min(high, grid.height - row)
            windows[block] = Window(col=col, row=row, width=width, height=height)
        for block, pixels in zip(windows, gdal.read(small, [*windows.values()]), strict=True):
            try:
                self.request.check_values(pixels)
            except CorruptFile as error:
                raise CorruptFile(f"block {block} {error}") from error
