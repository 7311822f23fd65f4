"""Reads the pixels of windows of a remote COG: plan, fetch, decode.

All areas of one scene are read together, so that a block under two of them is fetched once, and neighbouring
blocks share a request. Either all bytes are of one edition of the file, or the read fails. Most files have DEFLATE
blocks, which are streams in row order: the first bytes of a block are enough to decode its first rows. Such files
are read in these steps:

1. Plan (:mod:`s2async.cog.row_plan`): find the blocks under the windows, the lowest row of each block that any
   window needs, how many bytes from the start of the block probably contain the rows down to it
   (:mod:`s2async.cog.prefix`), and the byte ranges to request.
2. Wait until the memory budget has room for these bytes and all pixels; allocate the arrays.
3. Fetch the ranges concurrently; with a tile cache, only bytes that are not in the cache. This step and the
   following ones are in :mod:`s2async.cog.row_reader`.
4. Decode each range's blocks in a thread: inflate to the lowest row, and copy each window's part into its array
   (:mod:`s2async.cog.row_targets`). The `Margin` gets the number of bytes that each block took, and learns from it
   how many to request next time.
5. For a block whose bytes were not enough, fetch a second, larger part, and if necessary the rest.
6. Fetch a damaged block once more, whole, over a new connection. If it is damaged again, the file is damaged: the
   windows that touch the block get an error instead of pixels.

Files of other kinds are read by :mod:`s2async.cog.whole_blocks`. If a file has an internal mask or an alpha band,
pixels without data are set to nodata at the end (:mod:`s2async.cog.validity`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async.cog import deflate, tiles, validity, whole_blocks
from s2async.cog.download import Download
from s2async.cog.grid import Cutout, Window
from s2async.cog.memory import Budget
from s2async.cog.prefix import Margin
from s2async.cog.request import Pixels, PoolOver, Request
from s2async.cog.row_plan import Plan
from s2async.cog.row_reader import RowReader
from s2async.cog.row_targets import Scan, Windows
from s2async.cog.source import Source
from s2async.cog.tile_cache import Shelf
from s2async.errors import CorruptFile
from s2async.net.client import Transport
from s2async.text import shown

P = ParamSpec("P")
T = TypeVar("T")

MAX_WINDOW: Final = 512 << 20
"""Maximum bytes of a window's pixels: a Sentinel-2 scene has 345 MiB; a hostile header can declare more."""


@asynccontextmanager
async def reading(
    transport: Transport,
    source: Source,
    cutouts: Sequence[Cutout],
    *,
    budget: Budget,
    pool: Executor,
    pool_over: PoolOver | None = None,
    margin: Margin | None = None,
    masked: bool = False,
    verify: bool = False,
    highest: int | None = None,
    shelf: Shelf | None = None,
) -> AsyncIterator[list[Pixels]]:
    """Read the windows of the cutouts; the pixels count against the memory budget while the context is open.

    Args:
        transport: transport of the run.
        source: an opened COG.
        cutouts: windows inside the raster of the COG, with their masks.
        budget: memory budget for blocks and pixels of all readers.
        pool: threads that decode.
        pool_over: returns the pool that decodes one block or one window, given the indices of the windows that
            need it; by default, one call of ``pool`` decodes several blocks.
        margin: margin of files of this kind, which learns from the read; by default a new margin.
        masked: whether only pixels inside the polygons matter; pixels outside then have their value or nodata.
        verify: whether to read whole blocks and compare the checksums of their streams, if the codec has them.
        highest: highest valid value apart from nodata. Blocks with higher values are fetched once more, over a new
            connection, and accepted only if the same bytes arrive.
        shelf: tile cache shared with other readers of the file; used if a header identifies the file's edition.

    Yields:
        For each cutout, a (bands, rows, columns) array of the file's own type, not masked; or, if a block that the
        window touches is damaged, an error that names block and file.

    Raises:
        RemoteError: any error that :meth:`Transport.read` raises.
        CorruptFile: a window has more than :data:`MAX_WINDOW` bytes; the text names the file.
    """
    href, layout = shown(source.asset.href), source.layout
    pixel = layout.bands * np.dtype(layout.dtype).itemsize
    most = max((part.window.pixels for part in cutouts), default=0) * pixel
    if most > MAX_WINDOW:
        raise CorruptFile(f"a window of {most >> 20:,} MiB is refused: {href}")
    request = Request(
        layout=layout,
        windows=tuple(part.window for part in cutouts),
        insides=tuple(part.inside if masked else None for part in cutouts),
        verify=verify,
        highest=highest,
    )
    download = Download(transport, source.asset, "tiles")
    if deflate.supported(layout):
        under = tiles.rows_under(layout, request.windows, request.insides)
        plan = Plan.of(request, under, margin or Margin())
        work = _reading_rows(plan, source, download, budget, pool, pool_over, _named(shelf, source))
    else:
        work = whole_blocks.reading(
            request, download, source.edition, budget=budget, pool=pool, pool_over=pool_over
        )
    windows = [part.window for part in cutouts]
    masks = await validity.read_masks(transport, source, windows, budget=budget, pool=pool, pool_over=pool_over)
    async with work as found:
        results = await validity.hide(layout, found, masks, pool=pool)
        yield [CorruptFile(f"{one}: {href}") if isinstance(one, CorruptFile) else one for one in results]


async def scan(
    transport: Transport,
    source: Source,
    rows: Mapping[int, int],
    take: Callable[[Window, NDArray[Any]], None],
    *,
    budget: Budget,
    pool: Executor,
    margin: Margin | None = None,
    verify: bool = False,
    highest: int | None = None,
    shelf: Shelf | None = None,
) -> Mapping[int, CorruptFile]:
    """Read the first rows of the given blocks, and pass the pixels of each to a function as they arrive.

    Args:
        transport: transport of the run.
        source: an opened COG for which `scans` is true.
        rows: number of rows to read of each block, from its top, by index of the block.
        take: called once for each undamaged block, in any order and possibly in several threads at once, with a
            window of the raster and its pixels (bands, rows, columns) in the file's own type.
        budget: memory budget. This and the following arguments are the same as for :func:`reading`.
        pool: threads that decode and call ``take``.
        margin: margin of files of this kind.
        verify: whether to read whole blocks and compare the checksums of their streams.
        highest: highest valid value apart from nodata.
        shelf: tile cache.

    Returns:
        The errors of damaged blocks, by index of the block; each text names block and file.

    Raises:
        RemoteError: any error that :meth:`Transport.read` raises.
    """
    layout = source.layout
    request = Request(layout=layout, windows=(), insides=(), verify=verify, highest=highest)
    plan = Plan.of(request, rows, margin or Margin())
    target = Scan(plan, take)
    async with budget.hold(plan.fetched_bytes) as share:
        work = RowReader(
            plan,
            source,
            Download(transport, source.asset, "tiles"),
            target,
            pool=pool,
            shelf=_named(shelf, source),
            share=share,
        )
        damaged = await work.read_all()
        if absent := [block for block in rows if not request.count(block)]:
            await asyncio.get_running_loop().run_in_executor(pool, target.fill, absent)
    href = shown(source.asset.href)
    return {block: CorruptFile(f"{error}: {href}") for block, error in damaged.items()}


def scans(source: Source) -> bool:
    """Return whether `scan` can read a file: its blocks do not require GDAL, and nothing hides its pixels."""
    return deflate.supported(source.layout) and source.layout.mask is None and not source.layout.hides


def _at_once(opened: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    async def read(*args: P.args, **kwargs: P.kwargs) -> T:
        async with opened(*args, **kwargs) as result:
            return result

    return read


read = _at_once(reading)
"""A coroutine like :func:`reading` that returns the arrays; it releases the memory budget when it returns."""


@asynccontextmanager
async def _reading_rows(
    plan: Plan,
    source: Source,
    download: Download,
    budget: Budget,
    pool: Executor,
    pool_over: PoolOver | None,
    shelf: Shelf | None,
) -> AsyncIterator[list[Pixels]]:
    async with budget.hold(plan.fetched_bytes + plan.request.decoded_bytes) as share:
        target = Windows(plan)

        def alone(block: int) -> Executor:
            return pool_over(target.over(block)) if pool_over else pool

        work = RowReader(
            plan,
            source,
            download,
            target,
            pool=pool,
            alone=alone if pool_over else None,
            shelf=shelf,
            share=share,
        )
        yield target.results(await work.read_all())


def _named(shelf: Shelf | None, source: Source) -> Shelf | None:
    """Return the tile cache if a header identifies the file's edition; otherwise cached bytes may be outdated."""
    return shelf if source.edition.named else None
