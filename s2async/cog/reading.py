"""What all ways of reading a raster have in common: what is wanted, and the bytes that came and were of use."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async.cog import tiles
from s2async.cog.grid import Cutout
from s2async.cog.memory import Budget
from s2async.cog.prefix import Margin
from s2async.cog.source import Source
from s2async.cog.tile_cache import Shelf
from s2async.errors import CorruptFile
from s2async.net.client import Transport

T = TypeVar("T")

Pixels = NDArray[np.generic] | CorruptFile
"""What is read of a window: (bands, rows, columns) of the file's own type, or why that cannot be."""


class Reading:
    """One read: what it wants, and the bytes that came and were of use."""

    def __init__(
        self,
        transport: Transport,
        source: Source,
        cutouts: Sequence[Cutout],
        budget: Budget,
        pool: Executor,
        *,
        margin: Margin,
        masked: bool,
        verify: bool,
        highest: int | None,
        shelf: Shelf | None,
    ) -> None:
        self.transport = transport
        self.source = source
        self.layout = source.layout
        self.cutouts = cutouts
        self.windows = [cutout.window for cutout in cutouts]
        self.budget = budget
        self.pool = pool
        self.margin = margin
        self.masked = masked
        self.verify = verify
        self.highest = highest
        self.shelf = shelf
        self.received = 0
        """Bytes that came, but for those on the shelf."""
        self.used: list[tuple[int, int]] = []
        """Parts of them that were needed: first byte in the file, and one past the last."""
        self.shapes = [(source.layout.bands, *window.shape) for window in self.windows]
        self.decoded = sum(map(math.prod, self.shapes)) * np.dtype(source.layout.dtype).itemsize
        """Bytes of all pixels."""

    async def fetch(self, start: int, stop: int, *, fresh: bool = False) -> bytes | bytearray:
        """Bytes of the file, from one up to another; all of one edition of it."""
        asset = self.source.asset
        piece = await self.transport.read(
            asset.href,
            start,
            stop - start,
            edition=self.source.edition,
            stage="tiles",
            asset=asset.key,
            fresh=fresh,
        )
        self.received += len(piece.data)
        return piece.data

    async def booked(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work that fetches, and book what was of no use; all that came is waste if it fails."""
        useful = 0
        try:
            done = await work
            useful = tiles.covered(self.used)
            return done
        finally:
            self.transport.meter.waste("tiles", self.source.asset.key, self.received - useful)

    def check_values(self, pixels: NDArray[Any]) -> None:
        """Look for values that no sound file has, be it that damage has brought them about.

        Raises:
            CorruptFile: there are some, and they are not what the file calls nodata.
        """
        if self.highest is None or not pixels.size or pixels.max() <= self.highest:
            return
        odd = pixels[(pixels > self.highest) & (pixels != self.layout.nodata)]
        if odd.size:
            raise CorruptFile(f"holds the value {odd.max()}, and the highest there is is {self.highest}")

    def place(self, block: int) -> int:
        """First byte of a block in the file."""
        return int(self.layout.block_offsets[block])

    def count(self, block: int) -> int:
        """Bytes of a block."""
        return int(self.layout.block_counts[block])


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Results of work done side by side. The first failure cancels the rest, and is raised as it is.

    (Not a TaskGroup: that of Python 3.11 loses a cancellation which comes while a failure is being cleared up.)
    """
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
