"""Decides which pixels have data by the internal mask or the alpha band of their file, as GDAL does.

Pixels without data are set to the nodata value of the file, or to 0 if it has none, as in ``rasterio.mask``.
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
"""The mask of a window, eight pixels in a byte (1: has data), or the error that prevented reading it."""


async def read_masks(
    transport: Transport,
    source: Source,
    windows: Sequence[Window],
    *,
    budget: Budget,
    pool: Executor,
    pool_over: PoolOver | None = None,
) -> list[Packed]:
    """Read the internal mask for the given windows; return an empty list if the file has no mask.

    Bytes are counted like those of pixels. The result is small compared with the pixels, and does not count
    against the budget.

    Args:
        transport: transport of the run.
        source: an opened COG.
        windows: windows inside the raster of the COG.
        budget: memory budget for blocks and pixels of all readers.
        pool: threads that decode.
        pool_over: see `reader.reading`.

    Raises:
        RemoteError: any error that :meth:`Transport.read` raises.
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
        layout: layout of the file.
        found: pixels or error of each window.
        masks: mask or error of each window, as :func:`read_masks` returns them.
        pool: threads that do the work.

    Returns:
        For each window, the pixels, or the error of the pixels or of the mask.
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
