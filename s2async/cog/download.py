"""Fetches parts of one remote file for one read, and accounts for what the bytes were good for."""

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
    """The bytes that one read fetches of one file, and their account.

    The transport counts every byte as useful when it arrives. When the read ends, :meth:`settle` counts those as
    wasted that turned out not to be needed::

        wasted = received - shelved - used

    - *received*: all bytes that arrived here, including those of a second try.
    - *shelved*: bytes handed over to the tile cache. They are useful until the cache drops them, and it is the
      cache that books those that no reader needed.
    - *used*: bytes that pixels or a header were made of. Parts may overlap, as blocks of a file may; every byte of
      the file counts once. So a block that is fetched twice is wasted once.

    Args:
        transport: of the run.
        asset: the file.
        stage: of the run, under which the bytes are counted.
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
            edition: which the answer must be of; None for any.
            fresh: ask over a new connection, and past all caches.

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
        """Note that a part of the file was needed, as far as it was fetched."""
        self._used.append((start, stop))

    def shelve(self, size: int) -> None:
        """Hand over ``size`` bytes to the tile cache; take them back where ``size`` is negative."""
        self._shelved += size

    def settle(self) -> None:
        """Book as wasted the bytes that were not needed. To be called once, when the read has ended."""
        wasted = self._received - self._shelved - tiles.covered(self._used)
        self._transport.meter.waste(self._stage, self._asset.key, wasted)

    @contextmanager
    def account(self) -> Iterator[None]:
        """Settle when the block ends. Where it fails, nothing was used: there will be no pixels."""
        try:
            yield
        except BaseException:
            self._used.clear()
            raise
        finally:
            self.settle()


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of work done side by side. The first failure cancels the rest, and is raised as it is.

    Not a TaskGroup: that of Python 3.11 loses a cancellation that comes while it handles a failure.
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
