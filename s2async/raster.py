"""The pixels of some areas of a remote COG: header, plan, one fetch of all tiles, decode.

The areas of one scene share the header and every tile that two of them touch; neighbouring tiles share a
request; and all of it is of one version of the file, or nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async import decode, tiff, tiles
from s2async.answers import shown
from s2async.errors import CorruptFile, FileChanged
from s2async.grid import Cutout
from s2async.models import Asset, FileFact
from s2async.tiff import Layout
from s2async.tiles import ByteRange
from s2async.transport import Piece, Transport

T = TypeVar("T")

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
            self._give(0 if turn.cancelled() else size)  # it may be cancelled after the bytes were given
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
    head, size, etag = piece.data, piece.size, piece.etag
    while True:
        try:
            found = tiff.parse(head)
            if isinstance(found, Layout):
                _check_places(found, size)
                break
            if found.size > size:
                raise CorruptFile("its header goes on beyond its end")
        except CorruptFile as error:
            raise type(error)(f"{error}: {shown(asset.href)}") from error
        # a long header is asked for in steps that double, for it tells its length bit by bit
        stop = min(size, max(found.size, 2 * len(head)))
        more = await transport.read(
            asset.href, len(head), stop - len(head), etag=etag, stage="header", asset=asset.key
        )
        _check_size(more, size, asset)
        head += more.data
    transport.meter.waste("header", asset.key, len(head) - min(found.end, len(head)))
    return Source(asset=asset, layout=found, size=size, etag=etag)


async def read(
    transport: Transport,
    source: Source,
    cutouts: Sequence[Cutout],
    *,
    budget: Budget,
    pool: Executor,
    verify: bool = False,
) -> list[NDArray[np.generic]]:
    """The pixels of the cutouts' windows, tiles shared and fetched once.

    Args:
        transport: of the run.
        source: an opened COG.
        cutouts: windows inside its raster.
        budget: bytes in flight, over all readers.
        pool: threads that decode.
        verify: check the checksums of the tiles' streams too, where the codec has them.

    Returns:
        One (bands, rows, columns) array a cutout, of the file's own type, nothing masked.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile: a tile cannot be decoded; the text names the file.
    """
    windows = [cutout.window for cutout in cutouts]
    blocks = tiles.blocks_under(source.layout, windows)
    ranges = tiles.byte_ranges(source.layout, blocks)

    def work() -> list[NDArray[np.generic]]:
        if verify:
            decode.check_streams(source.layout, fetched)
        return decode.read(tiles.subset(source.layout, fetched), windows)

    needed = sum(byte_range.stop - byte_range.start for byte_range in ranges)
    # fetched once, and copied once into the small TIFF that is decoded
    async with budget.hold(2 * needed):
        fetched = await _fetch(transport, source, ranges)
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except CorruptFile as error:
            raise CorruptFile(f"{error}: {shown(source.asset.href)}") from error


async def _fetch(transport: Transport, source: Source, ranges: Sequence[ByteRange]) -> dict[int, bytes]:
    """Compressed bytes by block. One failed request cancels the others."""
    layout, asset = source.layout, source.asset
    received = useful = 0

    async def one(wanted: ByteRange) -> dict[int, bytes]:
        nonlocal received
        piece = await transport.read(
            asset.href,
            wanted.start,
            wanted.stop - wanted.start,
            etag=source.etag,
            stage="tiles",
            asset=asset.key,
        )
        received += len(piece.data)
        _check_size(piece, source.size, asset)
        return {
            block: piece.data[start : start + int(layout.block_counts[block])]
            for block in wanted.blocks
            for start in [int(layout.block_offsets[block]) - wanted.start]
        }

    try:
        fetched = await _all_of([one(wanted) for wanted in ranges])
        useful = received - sum(_gaps(layout, wanted) for wanted in ranges)
    finally:
        transport.meter.waste("tiles", asset.key, received - useful)
    return {block: data for found in fetched for block, data in found.items()}


async def _all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Results of work done side by side. The first failure cancels the rest, and is raised as it is.

    (Not a TaskGroup: that of Python 3.11 loses a cancellation which comes while a failure is being cleared up.)
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _gaps(layout: Layout, fetched: ByteRange) -> int:
    """Bytes of a range that belong to none of its blocks; blocks may share bytes."""
    gaps, stop = 0, fetched.start
    for block in fetched.blocks:  # in the order of the file
        start = int(layout.block_offsets[block])
        gaps += max(0, start - stop)
        stop = max(stop, start + int(layout.block_counts[block]))
    return gaps


def _check_size(piece: Piece, size: int, asset: Asset) -> None:
    if piece.size != size:
        raise FileChanged(f"the file changed while it was read: {shown(asset.href)}")


def _check_places(layout: Layout, size: int) -> None:
    beyond = np.flatnonzero(layout.block_offsets > size - layout.block_counts)
    if len(beyond):
        block = int(beyond[0])
        place, count = int(layout.block_offsets[block]), int(layout.block_counts[block])
        raise CorruptFile(f"block {block} ({count:,} bytes at {place:,}) goes beyond its end at {size:,}")
