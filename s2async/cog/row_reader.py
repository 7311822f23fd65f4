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
"""What decoding a block gave: the bytes that it took, or what is wrong; None when its bytes do not reach."""


class RowReader:
    """One read of a file whose blocks are decoded row by row. Made when the budget has room for its bytes.

    Args:
        plan: what to request.
        source: the opened file.
        download: of the file.
        target: takes the pixels.
        pool: threads that decode.
        alone: returns the pool that decodes a block alone; None to decode the blocks of a range in one call.
        shelf: tile cache.
        share: of the memory budget; what the bytes of a range took is given back when the range is done.
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
        """What is wrong with blocks that came damaged twice."""
        self.confirmed: set[int] = set()
        """Blocks of which the same bytes came twice: the file holds them, however odd they look."""
        self.renewed: dict[int, int] = {}
        """How often another reader had renewed a block in the cache when it was last decoded here."""
        self.one_by_one = asyncio.Lock()
        """Held while a whole block is fetched once more: such blocks are not in the budget."""

    async def read_all(self) -> Mapping[int, CorruptFile]:
        """Fetch and decode all blocks; returns what is wrong with those that are damaged."""
        with self.download.account():
            await all_of([self.read(part) for part in self.plan.ranges])
        return self.damaged

    async def read(self, part: ByteRange) -> None:
        """Fetch and decode the blocks of one range; fetch more of those that need it."""
        with self._prefixes(part.blocks) as prefixes:
            wanted = {block: self.plan.wanted[block] for block in prefixes}
            await self._fetch_to(prefixes, wanted)
            # The margin learns from what was requested for this read. Alone, a gap between two blocks that was
            # fetched anyway counts too; on the shelf, another reader may have left more than was wanted here.
            asked = wanted if self.shelf else {block: prefix.size for block, prefix in prefixes.items()}
            left = await self._decode(prefixes, asked)
            await all_of([self._complete(block, prefixes[block], asked[block], left[block]) for block in left])
        self.share.give_back(part.stop - part.start)

    @contextmanager
    def _prefixes(self, blocks: Sequence[int]) -> Iterator[Mapping[int, Prefix]]:
        """The starts of some blocks: those of the tile cache, or empty ones, which are gone afterwards."""
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
        """Fetch what the prefixes lack of the wanted sizes. What another reader is fetching is waited for."""
        if not self.shelf:
            await self._fetch_missing(prefixes, wanted)
            return
        async with AsyncExitStack() as locks:
            for block in sorted(prefixes):  # all readers lock in one order, or two could wait for each other
                await locks.enter_async_context(prefixes[block].fetching)
            await self._fetch_missing(prefixes, wanted)

    async def _fetch_missing(self, prefixes: Mapping[int, Prefix], wanted: Mapping[int, int]) -> None:
        had = {block: prefix.size for block, prefix in prefixes.items()}
        stops = {
            # A prefix that is there but too short gets somewhat more than it lacks, against a third request.
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
        """Get the pixels of a block that its first bytes did not give.

        Args:
            block: index.
            prefix: what was fetched of it.
            asked: how many bytes of it were requested at first.
            why: what is wrong; None when the prefix is too short.
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
        """Fetch a whole block once more, unless another reader did that while this one waited for its turn."""
        offset, count = self.request.offset(block), self.request.count(block)
        if prefix.renewed > self.renewed[block] and not await self._decode({block: prefix}, {block: count}):
            return
        piece = await self.download.fetch(offset, offset + count, self.source.edition, fresh=True)
        whole = Prefix(memoryview(piece.data))
        if same := joined(prefix.parts) == piece.data:
            # The file itself holds these bytes. That they are odd is no reason to fetch them a third time.
            prefix.confirmed = whole.confirmed = True
        if left := await self._decode({block: whole}, {block: count}):
            self.damaged[block] = left[block] or CorruptFile(f"block {block} is cut off")
            return
        if self.shelf and not same:
            # The cache gets the sound bytes for the damaged ones, whose waste becomes this read's.
            self.download.shelve(whole.size - (prefix.size - prefix.used))
            prefix.renew(*whole.parts)
        prefix.used = max(prefix.used, whole.used)

    async def _decode(
        self, prefixes: Mapping[int, Prefix], asked: Mapping[int, int]
    ) -> dict[int, CorruptFile | None]:
        """Decode the starts of some blocks in a thread, and let the margin learn from them.

        Args:
            prefixes: the bytes of each block.
            asked: how many bytes of each were requested at first, for the margin.

        Returns:
            What is wrong with each block that could not be decoded; None when its prefix is too short.
        """
        for block, prefix in prefixes.items():
            self.renewed[block] = prefix.renewed
            if prefix.confirmed:
                self.confirmed.add(block)
        # Another reader may add parts while the thread runs: it works on those of this moment. It joins them no
        # sooner than it needs them, because many calls may wait for a thread.
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
        """Hand the pixels of a block to the target. Runs in a thread."""
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
        """Check a stream that could be decoded: it may be that of another file, or of another block.

        Args:
            block: index.
            raw: its inflated bytes.
            beyond: how many compressed bytes follow the stream.
            pixels: those that are wanted of it.

        Raises:
            CorruptFile: the stream does not have the length that the file says, or a value is impossible.
        """
        full = rows_of(self.layout, block) * deflate.line_bytes(self.layout)
        if self.request.verify and (beyond or len(raw) < full):
            raise CorruptFile("is shorter than its file says")
        for some in pixels:
            self.request.check_values(some)
