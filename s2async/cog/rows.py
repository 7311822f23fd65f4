"""Blocks that can be read row by row: of each the start is fetched, down to the last row that anybody needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext

import numpy as np
from numpy.typing import NDArray

from s2async.cog import deflate, memory, tiles
from s2async.cog.prefix import Tile, rows_of, typical_size
from s2async.cog.reading import Pixels, Reading, all_of
from s2async.cog.tile_cache import Prefix
from s2async.cog.tiles import ByteRange
from s2async.errors import CorruptFile

CHEAP = 65536
"""Bytes of a second range, at least: few, against the round trip that a third one would cost."""


class Rows(Reading):
    """One read of such a file."""

    @asynccontextmanager
    async def read(self) -> AsyncIterator[list[Pixels]]:
        """The pixels of each cutout; they are in the budget until the end."""
        layout = self.layout
        self.typical = typical_size(layout)
        insides = [cutout.inside if self.masked else None for cutout in self.cutouts]
        self.rows = tiles.rows_under(layout, self.windows, insides)
        self.under = tiles.windows_over(layout, self.windows)
        self.damaged: dict[int, CorruptFile] = {}
        self.confirmed: set[int] = set()
        """Blocks of which the same bytes came twice: they are those of the file, however odd they look."""
        self.tried: dict[int, int] = {}
        """How often a block had been renewed on the shelf when it was decoded."""
        self.one_by_one = asyncio.Lock()
        self.wanted = {block: self.size(block) for block in self.rows}
        ranges = tiles.byte_ranges(layout, self.wanted)
        size = sum(found.stop - found.start for found in ranges)
        async with self.budget.hold(size + self.decoded) as self.share:
            self.arrays = self._arrays()
            await self.booked(all_of([self._range(found) for found in ranges]))
            broken = {index: error for block, error in self.damaged.items() for index in self.under[block]}
            yield [broken.get(index, array) for index, array in enumerate(self.arrays)]

    def _arrays(self) -> list[NDArray[np.generic]]:
        """Where pixels are put. Blocks that were left out of the file read as nodata."""
        dtype, nodata = np.dtype(self.layout.dtype), self.layout.nodata
        buffer, start, arrays = memory.zeros(self.decoded), 0, []
        for shape in self.shapes:
            array: NDArray[np.generic] = np.ndarray(shape, dtype, buffer, start)
            if nodata:
                array[:] = nodata
            arrays.append(array)
            start += array.nbytes
        return arrays

    def size(self, block: int, times: float = 1) -> int:
        """Bytes to ask for of a block; see `Margin.size`."""
        return self.count(block) if self.verify else self.margin.size(self.tile(block), times=times)

    def tile(self, block: int) -> Tile:
        """What is wanted of a block."""
        grid = self.layout.grid
        return Tile(
            place=(grid.epsg, grid.transform.c, grid.transform.f, block),
            rows=self.rows[block],
            count=self.count(block),
            share=min(1.0, self.rows[block] / rows_of(self.layout, block)),
            typical=self.typical,
        )

    async def _range(self, found: ByteRange) -> None:
        """Fetch some blocks and decode them; what turns out too short is fetched on."""
        with self._prefixes(found.blocks) as prefixes:
            await self._fetch_to(prefixes, {block: self.wanted[block] for block in prefixes})
            asked = {block: self.wanted[block] if self.shelf else tile.size for block, tile in prefixes.items()}
            left = await self._decoded_of(prefixes, asked)
            await all_of([self._fetch_on(block, prefixes[block], asked[block], left[block]) for block in left])
        self.share.give_back(found.stop - found.start)

    def _prefixes(self, blocks: Sequence[int]) -> AbstractContextManager[dict[int, Prefix]]:
        if self.shelf:
            return self.shelf.using(self.source, blocks)
        return nullcontext({block: Prefix() for block in blocks})

    async def _fetch_to(self, prefixes: Mapping[int, Prefix], wanted: Mapping[int, int]) -> None:
        """See that prefixes are at least so long; what is on the shelf is not fetched again."""
        if not self.shelf:
            await self._fetch_missing(prefixes, wanted)
            return
        async with AsyncExitStack() as alone:
            for block in sorted(prefixes):  # all readers in one order, or two would wait for each other
                await alone.enter_async_context(prefixes[block].fetching)
            await self._fetch_missing(prefixes, wanted)

    async def _fetch_missing(self, prefixes: Mapping[int, Prefix], wanted: Mapping[int, int]) -> None:
        had = {block: tile.size for block, tile in prefixes.items()}
        more = {
            block: min(max(size, had[block] + CHEAP), self.count(block)) if 0 < had[block] < size else size
            for block, size in wanted.items()
        }
        ranges = tiles.byte_ranges(self.layout, more, had=had)
        await all_of([self._fetch_part(found, prefixes, had) for found in ranges])

    async def _fetch_part(self, found: ByteRange, prefixes: Mapping[int, Prefix], had: Mapping[int, int]) -> None:
        data = memoryview(await self.fetch(found.start, found.stop))
        for block in found.blocks:
            start = self.place(block) + had[block] - found.start
            part = data[start : start + self.count(block) - had[block]]
            prefixes[block].append(part)
            if self.shelf:
                self.received -= len(part)

    async def _fetch_on(self, block: int, prefix: Prefix, asked: int, why: CorruptFile | None) -> None:
        """A second range of a block, with a wider margin; then the rest; all of it anew if that does not do."""
        count = self.count(block)
        second = max(self.size(block, 3), asked + CHEAP)
        for stop in (min(second, count), count):
            if why is None:
                await self._fetch_to({block: prefix}, {block: stop})
                left = await self._decoded_of({block: prefix}, {block: asked})
                if not left:
                    return
                why = left[block]
        async with self.one_by_one, prefix.fetching:  # they are not in the budget
            await self._fetch_anew(block, prefix)

    async def _fetch_anew(self, block: int, prefix: Prefix) -> None:
        """A whole block once more, past all caches, unless another reader did that while this one waited."""
        place, count = self.place(block), self.count(block)
        if prefix.renewed > self.tried[block] and not await self._decoded_of({block: prefix}, {block: count}):
            return
        whole = memoryview(await self.fetch(place, place + count, fresh=True))
        same = b"".join(prefix.parts) == whole
        if same:
            prefix.confirmed = True
            self.confirmed.add(block)
        (again,) = (await self._decoded({block: [whole]}, {block: count})).values()
        if not isinstance(again, int):
            self.damaged[block] = again or CorruptFile(f"block {block} is cut off")
        elif self.shelf and not same:
            self.received += prefix.size - prefix.used - len(whole)  # what was damaged leaves the shelf
            prefix.renew(whole)
            prefix.used = again
        elif self.shelf:
            prefix.used = max(prefix.used, again)
        else:
            self.used.append((place, place + again))

    async def _decoded_of(
        self, prefixes: Mapping[int, Prefix], asked: Mapping[int, int]
    ) -> dict[int, CorruptFile | None]:
        """Decode the starts of some blocks; of those that cannot be, what is wrong, None if they are short."""
        for block, tile in prefixes.items():
            self.tried[block] = tile.renewed
            if tile.confirmed:
                self.confirmed.add(block)
        found = await self._decoded({block: [*tile.parts] for block, tile in prefixes.items()}, asked)
        for block, used in found.items():
            if isinstance(used, int):
                prefixes[block].used = max(prefixes[block].used, used)
                if not self.shelf:
                    self.used.append((self.place(block), self.place(block) + used))
        return {block: why for block, why in found.items() if not isinstance(why, int)}

    async def _decoded(
        self, parts: Mapping[int, Sequence[memoryview]], asked: Mapping[int, int]
    ) -> dict[int, int | CorruptFile | None]:
        """Decode blocks in a thread, and learn from them; of each the bytes that it took, or what is wrong."""

        def work() -> dict[int, int | CorruptFile | None]:
            # put together no sooner: many may wait for their turn
            return {
                block: self._decode(block, b"".join(some) if some[1:] else some[0])
                for block, some in parts.items()
            }

        found = await asyncio.get_running_loop().run_in_executor(self.pool, work)
        for block, used in found.items():
            if isinstance(used, int) and not self.verify:
                self.margin.learn(self.tile(block), used=used, asked=asked[block])
        return found

    def _decode(self, block: int, data: bytes | memoryview) -> int | CorruptFile | None:
        """Put the pixels of a block into the arrays; the bytes that it took, None if it takes more, or why not."""
        rows = self.rows[block]
        try:
            raw, used = deflate.read_rows(self.layout, data, rows, whole=self.verify)
            if len(raw) < rows * deflate.line_bytes(self.layout):
                if len(data) < self.count(block):
                    return None
                raise CorruptFile("is cut off")
            pieces = self._pieces(block)
            deflate.place(self.layout, raw, pieces)
            if block not in self.confirmed:
                self._doubt(block, raw, len(data) - used, pieces)
        except CorruptFile as error:
            return CorruptFile(f"block {block} {error}")
        return used

    def _doubt(self, block: int, raw: bytes, more: int, pieces: Sequence[deflate.Piece]) -> None:
        """A sound stream may be that of another file, or of another block: its length tells, or its values do.

        Raises:
            CorruptFile: bytes follow it, or rows of the raster lack, or it holds what makes no sense.
        """
        if self.verify and (more or len(raw) < rows_of(self.layout, block) * deflate.line_bytes(self.layout)):
            raise CorruptFile("is shorter than its file says")
        for piece in pieces:
            self.check_values(piece.target)

    def _pieces(self, block: int) -> list[deflate.Piece]:
        """What of a block goes where."""
        top = block // self.layout.across * self.layout.block_height
        left = block % self.layout.across * self.layout.block_width
        pieces = []
        for index in self.under[block]:
            window, array = self.windows[index], self.arrays[index]
            first, last = max(window.row, top), min(window.row + window.height, top + self.rows[block])
            start, stop = max(window.col, left), min(window.col + window.width, left + self.layout.block_width)
            if first < last:
                target = array[:, first - window.row : last - window.row, start - window.col : stop - window.col]
                piece = deflate.Piece(
                    rows=slice(first - top, last - top), columns=slice(start - left, stop - left), target=target
                )
                pieces.append(piece)
        return pieces
