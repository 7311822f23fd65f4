"""Shares headers and the first bytes of blocks between the batches of one scene.

A scene with too many jobs for one batch is read by several batches. Without the cache, each batch would fetch the
same blocks again: for 1,000 areas in a city, that took 4.5 times the bytes of their blocks, and reading the header
of one file 16 times.
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
"""Maximum number of files whose headers are cached; headers of Sentinel-2 files take 20 kB of memory."""


def joined(parts: Sequence[memoryview]) -> bytes | memoryview:
    """Join parts into one piece; they are copied only if there are several."""
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Prefix:
    """The first bytes of a block, shared by all readers of the block.

    Args:
        parts: consecutive parts of the block that were fetched so far.
    """

    def __init__(self, *parts: memoryview) -> None:
        self.parts = [*parts]
        self.size = sum(map(len, parts))
        """Total bytes of all parts."""
        self.used = 0
        """Largest number of bytes that any reader's pixels needed."""
        self.fetching = asyncio.Lock()
        """Held by the reader that fetches more bytes; readers that need the same bytes wait for it."""
        self.users = 0
        """Number of readers inside :meth:`Shelf.using`."""
        self.counted = 0
        """Number of bytes that the cache's total includes."""
        self.renewed = 0
        """How often the whole block was fetched once more and replaced the earlier bytes."""
        self.confirmed = False
        """Whether the same bytes arrived twice: they are in the file, however odd they look."""

    def append(self, part: memoryview) -> None:
        """Add the next bytes."""
        self.parts.append(part)
        self.size += len(part)

    def renew(self, whole: memoryview) -> None:
        """Replace damaged bytes with the whole block."""
        self.parts, self.size, self.used, self.confirmed = [whole], len(whole), 0, False
        self.renewed += 1


class Shelf:
    """Caches the most recently used headers and first bytes of blocks.

    Blocks in use are never dropped; their bytes count against the memory budgets of their readers. If the cached
    bytes exceed the size, other blocks are dropped, the least recently used first. Cached bytes count as useful
    until they are dropped; then those that no reader needed are counted as wasted.

    Args:
        size: number of bytes above which blocks that no reader uses are dropped.
        meter: counts wasted bytes.
    """

    def __init__(self, size: int, meter: Meter) -> None:
        self._size = size
        self._meter = meter
        self._held = 0
        self._blocks: OrderedDict[tuple[Asset, Edition, int], Prefix] = OrderedDict()
        self._headers: OrderedDict[Asset, _Header] = OrderedDict()

    @contextmanager
    def using(self, source: Source, blocks: Sequence[int]) -> Iterator[dict[int, Prefix]]:
        """Yield the prefixes of the given blocks of a file, by index; empty if no bytes were fetched yet."""
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
                # Each reader adds the bytes that were fetched since the previous reader left; a renewed block may
                # have become smaller.
                self._held += prefix.size - prefix.counted
                prefix.counted = prefix.size
                if not prefix.users and not prefix.size:  # no bytes arrived, because the read failed
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
        """Return an opened file; the first caller reads its header, and other callers wait for that.

        Args:
            asset: the file.
            read: reads the header of the file.

        Returns:
            The file, and whether its header was read earlier, so that the file may have changed since then.
        """
        header = self._headers.setdefault(asset, _Header())
        self._headers.move_to_end(asset)
        if len(self._headers) > HEADERS:
            self._headers.popitem(last=False)
        async with header.reading:
            if header.source is not None:
                return header.source, True
            source = await read()
            # If no header identifies the edition, later responses cannot show whether the header is still valid.
            header.source = source if source.edition.named else None
            return source, False

    def forget(self, asset: Asset) -> None:
        """Drop a header that did not match its file; the next caller of `source` reads it again."""
        self._headers.pop(asset, None)

    def drop(self, source: Source) -> None:
        """Drop the blocks of an edition that was replaced, except those that are being read."""
        for key in [key for key, prefix in self._blocks.items() if not prefix.users]:
            if key[:2] == (source.asset, source.edition):
                self._drop(key)

    def clear(self) -> None:
        """Drop all blocks, and count their unneeded bytes as wasted. Call this when no reader uses a block."""
        self._trim(-1)


class _Header:
    def __init__(self) -> None:
        self.reading = asyncio.Lock()
        self.source: Source | None = None
