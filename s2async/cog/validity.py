"""Which pixels have data, by the internal mask or the alpha band of their file, as GDAL decides it.

Pixels without data get the nodata value of the file, or 0 where it has none, as by ``rasterio.mask``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from s2async.cog import whole_blocks
from s2async.cog.download import Download
from s2async.cog.grid import Window
from s2async.cog.memory import Budget
from s2async.cog.request import Pixels, PoolOver, Request
from s2async.cog.source import Source
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile
from s2async.net.client import Transport

Packed = NDArray[np.uint8] | CorruptFile
"""The mask of a window, eight pixels to a byte (1: has data), or why it cannot be had."""


async def read_masks(
    transport: Transport,
    source: Source,
    windows: Sequence[Window],
    *,
    budget: Budget,
    pool: Executor,
    pool_over: PoolOver | None = None,
) -> list[Packed]:
    """Read the internal mask under some windows; none where the file has no mask.

    The bytes count like those of the pixels. The result is small beside them, and is not in the budget.

    Args:
        transport: of the run.
        source: an opened COG.
        windows: inside its raster.
        budget: bytes of blocks and pixels in memory, over all readers.
        pool: threads that decode.
        pool_over: see `reader.reading`.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
    """
    mask = source.layout.mask
    if mask is None:
        return []
    request = Request(
        layout=mask, windows=tuple(windows), insides=(None,) * len(windows), verify=False, highest=None
    )
    download = Download(transport, source.asset, "tiles")
    async with whole_blocks.reading(
        request, download, source.edition, budget=budget, pool=pool, pool_over=pool_over
    ) as found:
        return [
            CorruptFile(f"mask: {one}") if isinstance(one, CorruptFile) else np.packbits(one != 0) for one in found
        ]


async def hide(
    layout: Layout, found: Sequence[Pixels], masks: Sequence[Packed], *, pool: Executor
) -> list[Pixels]:
    """Set pixels without data to nodata, in place.

    Args:
        layout: of the file.
        found: pixels of each window, or errors.
        masks: of each window, as :func:`read_masks` returns them.
        pool: threads that do the work.

    Returns:
        The pixels; the error of its mask where a window has one.
    """
    if not layout.hides:
        return [*found]

    def work() -> list[Pixels]:
        if layout.mask is None:
            return [_hidden(layout, one, None) for one in found]
        return [_hidden(layout, one, mask) for one, mask in zip(found, masks, strict=True)]

    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _hidden(layout: Layout, pixels: Pixels, mask: Packed | None) -> Pixels:
    if isinstance(pixels, CorruptFile):
        return pixels
    if isinstance(mask, CorruptFile):
        return mask
    if mask is None:
        empty = pixels[-1] == 0
    else:
        _, rows, columns = pixels.shape
        empty = np.unpackbits(mask, count=rows * columns).reshape(rows, columns) == 0
    pixels[:, empty] = layout.nodata or 0
    return pixels
