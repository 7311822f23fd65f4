"""Reads the pixels of some windows of a remote COG: plan, fetch, decode.

All areas of one scene are read together, so that a block under two of them is fetched once, and neighbouring
blocks share a request. The bytes are all of one edition of the file, or the read fails. Most files have DEFLATE
blocks, which are streams in row order: to get the first rows of a block, its first bytes are enough. They are read
in these steps:

1. Plan (:mod:`s2async.cog.row_plan`): the blocks under the windows; of each, the lowest row that any window needs,
   and how many bytes from its start probably hold the rows down to there (:mod:`s2async.cog.prefix`); the byte
   ranges that are requested.
2. Wait until the memory budget has room for these bytes and all pixels; allocate the arrays.
3. Fetch the ranges side by side; with a tile cache, only what is not in it. This and what follows is done by
   :mod:`s2async.cog.row_reader`.
4. Decode each range's blocks in a thread: inflate to the lowest row, and copy each window's part into its array
   (:mod:`s2async.cog.row_targets`). What a block really needed goes to the `Margin`, which learns from it how much
   to request next time.
5. Of a block whose bytes did not reach, fetch a second part, wider, and if need be the rest.
6. Fetch a damaged block once more, whole, over a new connection. If it is damaged again, so is the file: the
   windows that touch the block get an error in place of pixels.

Files of other kinds are read by :mod:`s2async.cog.whole_blocks`. Where a file has an internal mask or an alpha
band, pixels without data get nodata at the end (:mod:`s2async.cog.validity`).
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
"""Bytes of one window's pixels: a whole Sentinel-2 scene has 345 MiB, and a hostile header declares more."""


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
    """Read the windows of the cutouts; the pixels are in the memory budget inside the context.

    Args:
        transport: of the run.
        source: an opened COG.
        cutouts: windows inside its raster.
        budget: bytes of blocks and pixels in memory, over all readers.
        pool: threads that decode.
        pool_over: returns the pool that decodes a block or a window alone, by the indices of the windows that are
            concerned; by default, one call of ``pool`` decodes several.
        margin: of files of this kind, to learn from; a new one by default.
        masked: only pixels inside the polygons matter; those outside may be read, or be nodata.
        verify: read whole blocks, and compare their streams' checksums, where the codec has them.
        highest: blocks with values above this, nodata aside, are fetched once more, over a new connection, and
            accepted only if the same bytes arrive.
        shelf: tile cache shared with other readers of the file; used if the server names the file's edition.

    Yields:
        For each cutout a (bands, rows, columns) array of the file's own type, nothing masked; or, where a block
        that it touches is damaged, an error that names block and file.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
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
    """Read the first rows of some blocks, and hand the pixels of each to a function as they come, in any order.

    Args:
        transport: of the run.
        source: an opened COG for which `scans` is true.
        rows: how many rows of each block are wanted, from its top.
        take: called once for each sound block, in threads and perhaps in several at once, with a window of the
            raster and its pixels (bands, rows, columns) of the file's own type.
        budget: as for :func:`reading`, as are all other arguments.
        pool: threads that decode, and call ``take``.
        margin: of files of this kind.
        verify: read whole blocks, and compare their streams' checksums.
        highest: largest value of a sound file.
        shelf: tile cache.

    Returns:
        What is wrong with the blocks that are damaged; each text names block and file.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
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
    """Whether `scan` can read a file: GDAL decodes its blocks otherwise, or pixels of it may be hidden."""
    return deflate.supported(source.layout) and source.layout.mask is None and not source.layout.hides


def _at_once(opened: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    async def read(*args: P.args, **kwargs: P.kwargs) -> T:
        async with opened(*args, **kwargs) as result:
            return result

    return read


read = _at_once(reading)
"""Like :func:`reading`, but returns the arrays; the memory budget is released on return."""


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
    """A tile cache, if the file's edition has a name: else nothing shows that its bytes are still the file's."""
    return shelf if source.edition.named else None
