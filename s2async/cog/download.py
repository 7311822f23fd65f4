"""Fetches parts of one remote file for one read, and counts which of the bytes were needed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from s2async.cog import tiles
from s2async.models import Asset
from s2async.net.client import Piece, Transport
from s2async.net.editions import Edition

T = TypeVar("T")


class Download:
    """Fetches the bytes that one read needs of one file, and counts which of them were needed.

    The transport counts every byte as useful when it arrives. When the read ends, :meth:`settle` moves the bytes
    that turned out not to be needed from useful to wasted::

        wasted = received - shelved - used

    - *received*: all bytes that this read received, including those of a second try.
    - *shelved*: bytes handed over to the tile cache. They are useful until the cache drops them; when it does, the
      cache counts those that no reader needed as wasted.
    - *used*: bytes from which pixels or a header were decoded. Parts may overlap, as blocks of a file may; every
      byte of the file counts once. Of a block that is fetched twice, one copy is therefore wasted.

    Args:
        transport: transport of the run.
        asset: the file.
        stage: stage of the run under which the bytes are counted.
    """

    def __init__(self, transport: Transport, asset: Asset, stage: str) -> None:
        self._transport = transport
        self._asset = asset
        self._stage = stage
        self._received = 0
        self._shelved = 0
        self._used: list[tuple[int, int]] = []

    async def fetch(self, start: int, stop: int, edition: Edition | None, *, fresh: bool = False) -> Piece:
        """Fetch the bytes from ``start`` up to ``stop``.

        Args:
            start: first byte.
            stop: one past the last byte.
            edition: edition that the file must have; None for any.
            fresh: use a new connection and bypass all caches.

        Raises:
            RemoteError: whatever :meth:`Transport.read` raises.
        """
        piece = await self._transport.read(
            self._asset.href,
            start,
            stop - start,
            edition=edition,
            stage=self._stage,
            asset=self._asset.key,
            fresh=fresh,
        )
        self._received += len(piece.data)
        return piece

    def use(self, start: int, stop: int) -> None:
        """Note that a part of the file was needed; the part must have been fetched."""
        self._used.append((start, stop))

    def shelve(self, size: int) -> None:
        """Count ``size`` bytes as handed over to the tile cache; a negative ``size`` takes bytes back."""
        self._shelved += size

    def settle(self) -> None:
        """Count the bytes that were not needed as wasted. Must be called once, when the read has ended."""
        wasted = self._received - self._shelved - tiles.covered(self._used)
        self._transport.meter.waste(self._stage, self._asset.key, wasted)

    @contextmanager
    def account(self) -> Iterator[None]:
        """Call `settle` when the ``with`` block ends. If it raises an error, no bytes count as used."""
        try:
            yield
        except BaseException:
            self._used.clear()
            raise
        finally:
            self.settle()


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently and return their results. The first error cancels the others, and is raised.

    A TaskGroup is not used: that of Python 3.11 loses a cancellation that arrives while it handles an error.
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
