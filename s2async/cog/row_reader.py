"""Fetches and decodes the blocks of one read row by row: steps 3 to 6 of :mod:`s2async.cog.reader`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, contextmanager

import numpy as np
from numpy.typing import NDArray

from s2async.cog import deflate, tiles
from s2async.cog.download import Download, all_of
from s2async.cog.memory import Share
from s2async.cog.prefix import rows_of
from s2async.cog.row_plan import Plan
from s2async.cog.row_targets import Target
from s2async.cog.source import Source
from s2async.cog.tile_cache import Prefix, Shelf, joined
from s2async.cog.tiles import ByteRange
from s2async.errors import CorruptFile

_Decoded = int | CorruptFile | None
"""Result of decoding a block: the number of bytes that it took, or an error; None if there are too few bytes."""


class RowReader:
    """One read of a file whose blocks are decoded row by row; created when the budget has room for its bytes.

    Args:
        plan: the bytes to request.
        source: the opened file.
        download: the download of the file.
        target: receives the pixels.
        pool: threads that decode.
        alone: returns the pool that decodes one block; None to decode all blocks of a range in one call.
        shelf: tile cache.
        share: share of the memory budget; the bytes of a range are released when the range is done.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        download: Download,
        target: Target,
        *,
        pool: Executor,
        alone: Callable[[int], Executor] | None = None,
        shelf: Shelf | None,
        share: Share,
    ) -> None:
        self.plan = plan
        self.target = target
        self.request = plan.request
        self.layout = plan.request.layout
        self.source = source
        self.download = download
        self.pool = pool
        self.alone = alone
        self.shelf = shelf
        self.share = share
        self.damaged: dict[int, CorruptFile] = {}
        """Errors of blocks that were damaged twice."""
        self.confirmed: set[int] = set()
        """Blocks that arrived twice with the same bytes: these bytes are in the file, however odd they look."""
        self.renewed: dict[int, int] = {}
        """How often the block in the cache had been renewed when this reader last decoded it."""
        self.one_by_one = asyncio.Lock()
        """Held while a whole block is fetched once more, because such blocks do not count against the budget."""

    async def read_all(self) -> Mapping[int, CorruptFile]:
        """Fetch and decode all blocks; return the errors of damaged blocks."""
        with self.download.account():
            await all_of([self.read(part) for part in self.plan.ranges])
        return self.damaged

    async def read(self, part: ByteRange) -> None:
        """Fetch and decode the blocks of one range; fetch more bytes of blocks that need them."""
        with self._prefixes(part.blocks) as prefixes:
            wanted = {block: self.plan.wanted[block] for block in prefixes}
            await self._fetch_to(prefixes, wanted)
            # The margin learns from the bytes that this read requested. Without a cache, these include a gap
            # between two blocks that was fetched anyway. In a cache, another reader may have left more bytes than
            # this read requests, so that the size of the prefix does not count.
            asked = wanted if self.shelf else {block: prefix.size for block, prefix in prefixes.items()}
            left = await self._decode(prefixes, asked)
            await all_of([self._complete(block, prefixes[block], asked[block], left[block]) for block in left])
        self.share.give_back(part.stop - part.start)

    @contextmanager
    def _prefixes(self, blocks: Sequence[int]) -> Iterator[Mapping[int, Prefix]]:
        """Yield prefixes of blocks: those in the tile cache, or otherwise new ones that only this read uses."""
        if self.shelf:
            with self.shelf.using(self.source, blocks) as shared:
                yield shared
            return
        own = {block: Prefix() for block in blocks}
        yield own
        for block, prefix in own.items():
            offset = self.request.offset(block)
            self.download.use(offset, offset + prefix.used)

    async def _fetch_to(self, prefixes: Mapping[int, Prefix], wanted: Mapping[int, int]) -> None:
        """Fetch the bytes that the prefixes lack; wait for bytes that another reader is fetching."""
        if not self.shelf:
            await self._fetch_missing(prefixes, wanted)
            return
        async with AsyncExitStack() as locks:
            for block in sorted(prefixes):  # all readers lock in the same order; otherwise two could deadlock
                await locks.enter_async_context(prefixes[block].fetching)
            await self._fetch_missing(prefixes, wanted)

    async def _fetch_missing(self, prefixes: Mapping[int, Prefix], wanted: Mapping[int, int]) -> None:
        had = {block: prefix.size for block, prefix in prefixes.items()}
        stops = {
            # If a prefix exists but is too short, somewhat more than the missing bytes is fetched, to avoid a
            # third request.
            block: self.plan.widened(block, size, had[block]) if 0 < had[block] < size else size
            for block, size in wanted.items()
        }
        ranges = tiles.byte_ranges(self.layout, stops, had=had)
        await all_of([self._fetch(part, prefixes, had) for part in ranges])

    async def _fetch(self, part: ByteRange, prefixes: Mapping[int, Prefix], had: Mapping[int, int]) -> None:
        piece = await self.download.fetch(part.start, part.stop, self.source.edition)
        data = memoryview(piece.data)
        for block in part.blocks:
            start = self.request.offset(block) + had[block] - part.start
            new = data[start : start + self.request.count(block) - had[block]]
            prefixes[block].append(new)
            if self.shelf:
                self.download.shelve(len(new))

    async def _complete(self, block: int, prefix: Prefix, asked: int, why: CorruptFile | None) -> None:
        """Get the pixels of a block that could not be decoded from its first bytes.

        Args:
            block: index of the block.
            prefix: the bytes of the block fetched so far.
            asked: number of bytes of the block that were requested at first.
            why: the error; None if the prefix is too short.
        """
        count = self.request.count(block)
        for stop in (self.plan.second_size(block, asked), count):
            if why is None:
                await self._fetch_to({block: prefix}, {block: stop})
                left = await self._decode({block: prefix}, {block: asked})
                if not left:
                    return
                why = left[block]
        async with self.one_by_one, prefix.fetching:
            await self._fetch_anew(block, prefix)

    async def _fetch_anew(self, block: int, prefix: Prefix) -> None:
        """Fetch a whole block once more, unless another reader did so while this reader waited for its turn."""
        offset, count = self.request.offset(block), self.request.count(block)
        if prefix.renewed > self.renewed[block] and not await self._decode({block: prefix}, {block: count}):
            return
        piece = await self.download.fetch(offset, offset + count, self.source.edition, fresh=True)
        whole = Prefix(memoryview(piece.data))
        if same := joined(prefix.parts) == piece.data:
            # These bytes are in the file itself. Although they are odd, they are not fetched a third time.
            prefix.confirmed = whole.confirmed = True
        if left := await self._decode({block: whole}, {block: count}):
            self.damaged[block] = left[block] or CorruptFile(f"block {block} is cut off")
            return
        if self.shelf and not same:
            # The cache replaces the damaged bytes with the undamaged ones; this read counts the damaged bytes as
            # wasted.
            self.download.shelve(whole.size - (prefix.size - prefix.used))
            prefix.renew(*whole.parts)
        prefix.used = max(prefix.used, whole.used)

    async def _decode(
        self, prefixes: Mapping[int, Prefix], asked: Mapping[int, int]
    ) -> dict[int, CorruptFile | None]:
        """Decode the prefixes of blocks in a thread, and let the margin learn from them.

        Args:
            prefixes: the first bytes of each block.
            asked: number of bytes of each block that were requested at first, for the margin.

        Returns:
            The error of each block that could not be decoded, by index; None if its prefix is too short.
        """
        for block, prefix in prefixes.items():
            self.renewed[block] = prefix.renewed
            if prefix.confirmed:
                self.confirmed.add(block)
        # Another reader may add parts while the thread runs, so the thread works on a copy of the list. It joins
        # the parts only when it needs them, because many calls may wait for a thread.
        parts = {block: [*prefix.parts] for block, prefix in prefixes.items()}

        def work(wanted: Iterable[int] = tuple(parts)) -> dict[int, _Decoded]:
            return {block: self._decode_block(block, joined(parts[block])) for block in wanted}

        loop, decoded = asyncio.get_running_loop(), dict[int, _Decoded]()
        if self.alone is None:
            decoded = await loop.run_in_executor(self.pool, work)
        else:
            for block in parts:
                decoded |= await loop.run_in_executor(self.alone(block), work, [block])
        left: dict[int, CorruptFile | None] = {}
        for block, used in decoded.items():
            if not isinstance(used, int):
                left[block] = used
                continue
            prefixes[block].used = max(prefixes[block].used, used)
            if not self.request.verify:
                self.plan.margin.learn(self.plan.blocks[block], used=used, asked=asked[block])
        return left

    def _decode_block(self, block: int, data: bytes | memoryview) -> _Decoded:
        """Decode a block and pass its pixels to the target. Runs in a thread."""
        rows, line = self.plan.blocks[block].rows, deflate.line_bytes(self.layout)
        try:
            raw, used = deflate.read_rows(self.layout, data, rows, whole=self.request.verify)
            if len(raw) < rows * line:
                if len(data) < self.request.count(block):
                    return None
                raise CorruptFile("is cut off")
            pixels = self.target.pixels(block, raw)
            if block not in self.confirmed:
                self._check(block, raw, len(data) - used, pixels)
            self.target.accept(block, pixels)
        except CorruptFile as error:
            return CorruptFile(f"block {block} {error}")
        return used

    def _check(self, block: int, raw: bytes, beyond: int, pixels: Sequence[NDArray[np.generic]]) -> None:
        """Check a stream that could be decoded, because it may belong to another file or another block.

        Args:
            block: index of the block.
            raw: the inflated bytes of the block.
            beyond: number of compressed bytes that follow the stream.
            pixels: the requested pixels of the block.

        Raises:
            CorruptFile: the stream does not have the length that the file states, or a value is invalid.
        """
        full = rows_of(self.layout, block) * deflate.line_bytes(self.layout)
        if self.request.verify and (beyond or len(raw) < full):
            raise CorruptFile("is shorter than its file says")
        for some in pixels:
            self.request.check_values(some)
