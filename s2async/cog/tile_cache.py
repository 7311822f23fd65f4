"""Shares headers and the starts of blocks between the batches of one scene.

A scene with too many jobs for one batch is read by several, each of which would fetch the same blocks again: for
1,000 areas in a city, that took 4.5 times the bytes of their blocks, and 16 headers of one file.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from s2async.cog.source import Source
from s2async.models import Asset
from s2async.net.accounting import Meter
from s2async.net.editions import Edition

HEADERS: Final = 64
"""Files whose headers are kept; those of Sentinel-2 take 20 kB."""


def joined(parts: Sequence[memoryview]) -> bytes | memoryview:
    """Return parts as one piece; copied only if there are several."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Prefix:
    """The start of a block, as far as it was fetched; shared by all readers of the block.

    Args:
        parts: what was fetched so far.
    """

    def __init__(self, *parts: memoryview) -> None:
        self.parts = [*parts]
        self.size = sum(map(len, parts))
        """Bytes of all parts."""
        self.used = 0
        """Bytes that any reader's pixels needed, at most."""
        self.fetching = asyncio.Lock()
        """Held by the reader that fetches more; readers that need the same bytes wait for it."""
        self.users = 0
        """Readers inside :meth:`Shelf.using`."""
        self.counted = 0
        """Bytes that are part of the cache's sum."""
        self.renewed = 0
        """How often the whole block replaced what had come before."""
        self.confirmed = False
        """Whether the same bytes came twice: the file holds them, however odd they look."""

    def append(self, part: memoryview) -> None:
        """Add the bytes that follow."""
        self.parts.append(part)
        self.size += len(part)

    def renew(self, whole: memoryview) -> None:
        """Replace damaged bytes by the whole block."""
        self.parts, self.size, self.used, self.confirmed = [whole], len(whole), 0, False
        self.renewed += 1


class Shelf:
    """Keeps the most recently used headers and starts of blocks.

    A block in use is never dropped; its bytes count against the memory budgets of its readers. The size limits the
    other blocks, and the least recently used ones are dropped first. Cached bytes count as useful until they are
    dropped; then those that no reader needed are counted as wasted.

    Args:
        size: bytes of blocks that no reader uses at present.
        meter: counts the waste.
    """

    def __init__(self, size: int, meter: Meter) -> None:
        self._size = size
        self._meter = meter
        self._held = 0
        self._blocks: OrderedDict[tuple[Asset, Edition, int], Prefix] = OrderedDict()
        self._headers: OrderedDict[Asset, _Header] = OrderedDict()

    @contextmanager
    def using(self, source: Source, blocks: Sequence[int]) -> Iterator[dict[int, Prefix]]:
        """Lend the starts of some blocks of a file, by index; empty ones where nothing was fetched yet."""
        keys = {block: (source.asset, source.edition, block) for block in blocks}
        prefixes = {block: self._blocks.setdefault(key, Prefix()) for block, key in keys.items()}
        for block, prefix in prefixes.items():
            self._blocks.move_to_end(keys[block])
            prefix.users += 1
        try:
            yield prefixes
        finally:
            for block, prefix in prefixes.items():
                prefix.users -= 1
                # Of several readers each adds what came since the last one did; a renewed block may have shrunk.
                self._held += prefix.size - prefix.counted
                prefix.counted = prefix.size
                if not prefix.users and not prefix.size:  # nothing came, because the read failed
                    del self._blocks[keys[block]]
            self._trim(self._size)

    def _trim(self, size: int) -> None:
        if self._held <= size:
            return
        for key in [key for key, prefix in self._blocks.items() if not prefix.users]:
            self._drop(key)
            if self._held <= size:
                return

    def _drop(self, key: tuple[Asset, Edition, int]) -> None:
        prefix = self._blocks.pop(key)
        self._held -= prefix.counted
        self._meter.waste("tiles", key[0].key, prefix.size - prefix.used)

    async def source(self, asset: Asset, read: Callable[[], Awaitable[Source]]) -> tuple[Source, bool]:
        """Return a file whose header is read once, for the first who asks; the others wait for it.

        Args:
            asset: the file.
            read: reads its header.

        Returns:
            The file, and whether its header was read earlier, so that the file may have changed since.
        """
        header = self._headers.setdefault(asset, _Header())
        self._headers.move_to_end(asset)
        if len(self._headers) > HEADERS:
            self._headers.popitem(last=False)
        async with header.reading:
            if header.source is not None:
                return header.source, True
            source = await read()
            # Without a name of the edition, no later answer shows whether the header still holds.
            header.source = source if source.edition.named else None
            return source, False

    def forget(self, asset: Asset) -> None:
        """Drop a header that did not fit its file: the next who asks reads it again."""
        self._headers.pop(asset, None)

    def drop(self, source: Source) -> None:
        """Drop the blocks of an edition that was replaced, but for those that are being read."""
        for key in [key for key, prefix in self._blocks.items() if not prefix.users]:
            if key[:2] == (source.asset, source.edition):
                self._drop(key)

    def clear(self) -> None:
        """Drop all blocks, and book what of them was waste. To be called when no reader uses any."""
        self._trim(-1)


class _Header:
    def __init__(self) -> None:
        self.reading = asyncio.Lock()
        self.source: Source | None = None
