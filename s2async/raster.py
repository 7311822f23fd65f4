"""The pixels of some areas of a remote COG: plan, one fetch of all tiles, decode.

The areas of one scene share the header and every tile that two of them touch; neighbouring tiles share a
request; and all of it is of one version of the file, or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async import decode, tiles
from s2async.answers import shown
from s2async.budget import Budget
from s2async.errors import CorruptFile
from s2async.grid import Cutout
from s2async.sources import Source, check_size
from s2async.tiff import Layout
from s2async.tiles import ByteRange
from s2async.transport import Transport

T = TypeVar("T")


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
        check_size(piece, source.size, asset)
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
