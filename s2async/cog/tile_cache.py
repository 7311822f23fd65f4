"""What the batches of one scene share, where its jobs are too many for one: headers, and the starts of tiles.

Without it, each batch fetches again what the one before it has fetched: for 1,000 areas in a city, that was 4.5
times the bytes of their tiles, and 16 headers of one file.
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


class Prefix:
    """The start of a tile, as far as it was fetched."""

    def __init__(self) -> None:
        self.parts: list[memoryview] = []
        self.size = 0
        """Bytes of all parts."""
        self.used = 0
        """Bytes that pixels took, at most."""
        self.fetching = asyncio.Lock()
        """Held by who fetches more."""
        self.users = 0
        self.counted = 0
        """Bytes that the shelf knows of."""
        self.renewed = 0
        """How often all of it was put in place of what had come before."""
        self.confirmed = False
        """The same bytes came twice: they are those of the file, however odd they look."""

    def append(self, part: memoryview) -> None:
        """Take in the bytes that follow."""
        self.parts.append(part)
        self.size += len(part)

    def renew(self, whole: memoryview) -> None:
        """Take in the whole tile in place of what was damaged."""
        self.parts, self.size, self.used, self.confirmed = [whole], len(whole), 0, False
        self.renewed += 1


class Shelf:
    """Keeps what was used last, within a bound; what somebody uses stays, and is in the budget of its user.

    Bytes on the shelf count as useful until they leave it: what nobody took by then was waste.

    Args:
        size: Bytes of tiles that nobody uses at present.
        meter: Is told of the waste.
    """

    def __init__(self, size: int, meter: Meter) -> None:
        self._size = size
        self._meter = meter
        self._held = 0
        self._tiles: OrderedDict[tuple[Asset, Edition, int], Prefix] = OrderedDict()
        self._headers: OrderedDict[Asset, _Header] = OrderedDict()

    @contextmanager
    def using(self, source: Source, blocks: Sequence[int]) -> Iterator[dict[int, Prefix]]:
        """The starts of some tiles of a file, by block; empty ones where nothing was fetched yet."""
        keys = {block: (source.asset, source.edition, block) for block in blocks}
        found = {block: self._tiles.setdefault(key, Prefix()) for block, key in keys.items()}
        for block, prefix in found.items():
            self._tiles.move_to_end(keys[block])
            prefix.users += 1
        try:
            yield found
        finally:
            for block, prefix in found.items():
                prefix.users -= 1
                self._held += prefix.size - prefix.counted
                prefix.counted = prefix.size
                if not prefix.users and not prefix.size:  # nothing came: it leaves no trace
                    del self._tiles[keys[block]]
            self._trim(self._size)

    def _trim(self, size: int) -> None:
        if self._held <= size:
            return
        for key in [key for key, prefix in self._tiles.items() if not prefix.users]:
            self._drop(key)
            if self._held <= size:
                return

    def _drop(self, key: tuple[Asset, Edition, int]) -> None:
        prefix = self._tiles.pop(key)
        self._held -= prefix.counted
        self._meter.waste("tiles", key[0].key, prefix.size - prefix.used)

    async def source(self, asset: Asset, read: Callable[[], Awaitable[Source]]) -> tuple[Source, bool]:
        """A file whose header is read once, whoever asks first; and whether it was read by somebody else.

        Then its file may have changed since.
        """
        header = self._headers.setdefault(asset, _Header())
        self._headers.move_to_end(asset)
        if len(self._headers) > HEADERS:
            self._headers.popitem(last=False)
        async with header.reading:
            if header.source is not None:
                return header.source, True
            found = await read()
            header.source = found if found.edition.named else None
            return found, False

    def forget(self, asset: Asset) -> None:
        """The header of a file did not fit: whoever asks next reads it."""
        self._headers.pop(asset, None)

    def drop(self, source: Source) -> None:
        """A file is of another edition by now: of this one stays only what somebody reads at present."""
        for key in [key for key, prefix in self._tiles.items() if not prefix.users]:
            if key[:2] == (source.asset, source.edition):
                self._drop(key)

    def clear(self) -> None:
        """Let go of all tiles, and book what of them was waste. Nobody uses any."""
        self._trim(-1)


class _Header:
    def __init__(self) -> None:
        self.reading = asyncio.Lock()
        self.source: Source | None = None
