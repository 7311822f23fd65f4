"""The pixels of some areas of a remote COG: header, plan, one fetch of all tiles, decode.

The areas of one scene share the header and every tile that two of them touch; neighbouring tiles share a
request; and all of it is of one version of the file, or nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s2async import decode, tiff, tiles
from s2async.errors import CorruptFile
from s2async.grid import Cutout
from s2async.models import Asset, FileFact
from s2async.tiff import Layout
from s2async.transport import Transport

FIRST_READ = 8192
"""Bytes of the first request of a file. Headers of Sentinel-2 COGs have 3.7 to 4.2 kB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A remote COG whose header is known."""

    asset: Asset
    layout: Layout
    size: int
    """Bytes of the whole file."""
    etag: str

    @property
    def fact(self) -> FileFact:
        """What is worth keeping of it."""
        return FileFact(asset=self.asset.key, href=self.asset.href, size=self.size, etag=self.etag)


class Budget:
    """Bytes that may be in flight at once, given first come, first served.

    A reader that wants more than all of it gets it all, alone.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Wait until ``size`` bytes are free, and keep them meanwhile."""
        size = min(size, self._size)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._give(0)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # cancelled after the bytes were given
                self._give(size)
            raise
        try:
            yield
        finally:
            self._give(size)

    def _give(self, back: int) -> None:
        self._free += back
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


async def open_source(transport: Transport, asset: Asset) -> Source:
    """Read the header of a COG.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile, UnsupportedLayout: see :func:`s2async.tiff.parse`; the text names the file.
    """
    piece = await transport.read(asset.href, 0, FIRST_READ, stage="header", asset=asset.key)
    head, etag = piece.data, piece.etag
    while True:
        try:
            found = tiff.parse(head)
            if isinstance(found, Layout):
                _check_places(found, piece.size)
                break
            if found.size > piece.size:
                raise CorruptFile("its header goes on beyond its end")
        except CorruptFile as error:
            raise type(error)(f"{error}: {asset.href}") from error
        more = await transport.read(
            asset.href, len(head), found.size - len(head), etag=etag, stage="header", asset=asset.key
        )
        head += more.data
    transport.meter.waste("header", asset.key, len(head) - min(found.end, len(head)))
    return Source(asset=asset, layout=found, size=piece.size, etag=etag)


async def read(
    transport: Transport, source: Source, cutouts: Sequence[Cutout], *, budget: Budget, pool: Executor
) -> list[NDArray[np.generic]]:
    """The pixels of the cutouts' windows, tiles shared and fetched once.

    Args:
        transport: of the run.
        source: an opened COG.
        cutouts: windows inside its raster.
        budget: bytes in flight, over all readers.
        pool: threads that decode.

    Returns:
        One (bands, rows, columns) array a cutout, of the file's own type, nothing masked.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile: a tile cannot be decoded; the text names the file.
    """
    windows = [cutout.window for cutout in cutouts]
    blocks = tiles.blocks_under(source.layout, windows)
    ranges = tiles.byte_ranges(source.layout, blocks)
    needed = sum(byte_range.stop - byte_range.start for byte_range in ranges)
    # fetched once, and copied once into the small TIFF that is decoded
    async with budget.hold(2 * needed):
        fetched = await _fetch(transport, source, ranges)
        try:
            return await asyncio.get_running_loop().run_in_executor(
                pool, lambda: decode.read(tiles.subset(source.layout, fetched), windows)
            )
        except CorruptFile as error:
            raise CorruptFile(f"{error}: {source.asset.href}") from error


async def _fetch(transport: Transport, source: Source, ranges: Sequence[tiles.ByteRange]) -> dict[int, bytes]:
    """Compressed bytes by block. One failed request cancels the others."""
    layout, key = source.layout, source.asset.key

    async def one(wanted: tiles.ByteRange) -> dict[int, bytes]:
        size = wanted.stop - wanted.start
        piece = await transport.read(
            source.asset.href, wanted.start, size, etag=source.etag, stage="tiles", asset=key
        )
        if len(piece.data) != size or piece.size != source.size:
            raise CorruptFile(f"the file has another size than its header was read from: {source.asset.href}")
        found, covered = {}, 0
        for block in wanted.blocks:
            start = int(layout.block_offsets[block]) - wanted.start
            found[block] = piece.data[start : start + int(layout.block_counts[block])]
            covered += len(found[block])
        transport.meter.waste("tiles", key, max(0, size - covered))
        return found

    if len(ranges) == 1:
        return await one(ranges[0])
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(wanted)) for wanted in ranges]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {block: data for task in tasks for block, data in task.result().items()}


def _check_places(layout: Layout, size: int) -> None:
    ends = layout.block_offsets + layout.block_counts
    if len(ends) and int(ends.max()) > size:
        raise CorruptFile(f"a block ends at byte {int(ends.max()):,} of a file of {size:,}")
