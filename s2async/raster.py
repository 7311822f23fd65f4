"""The pixels of some areas of a remote COG: plan, one fetch of what is needed, decode.

The areas of one scene share every tile that two of them touch; neighbouring tiles share a request; of a DEFLATE
tile only the start is fetched, down to the lowest row that anybody needs; and all of it is of one version of the
file, or nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async import decode, heap, inflate, tiles
from s2async.answers import shown
from s2async.budget import Budget
from s2async.errors import CorruptFile
from s2async.grid import Cutout, Window
from s2async.prefix import Margin, Tile, rows_of, typical_size
from s2async.shelf import Prefix, Shelf
from s2async.sources import Source
from s2async.tiles import ByteRange
from s2async.transport import Transport

P = ParamSpec("P")
T = TypeVar("T")

Pixels = NDArray[np.generic] | CorruptFile
"""What is read of a window: (bands, rows, columns) of the file's own type, or why that cannot be."""

MAX_WINDOW = 512 << 20
"""Bytes of one window's pixels: a whole picture of Sentinel-2 has 345 MiB, and a hostile header declares more."""

CHEAP = 65536
"""Bytes of a second range, at least: few, against the round trip that a third one would cost."""


@asynccontextmanager
async def reading(
    transport: Transport,
    source: Source,
    cutouts: Sequence[Cutout],
    *,
    budget: Budget,
    pool: Executor,
    margin: Margin | None = None,
    masked: bool = False,
    verify: bool = False,
    shelf: Shelf | None = None,
) -> AsyncIterator[list[Pixels]]:
    """The pixels of the cutouts' windows, tiles shared and fetched once; they are in the budget until the end.

    A tile that cannot be decoded is fetched once more, over a new connection: then it is the file that is damaged,
    and only the cutouts that touch the tile are without pixels.

    Args:
        transport: of the run.
        source: an opened COG.
        cutouts: windows inside its raster.
        budget: bytes of tiles and pixels in memory, over all readers.
        pool: threads that decode.
        margin: of files of this kind, to learn from; a new one by default.
        masked: only pixels inside the polygons matter; what is outside may be read, or not.
        verify: read whole tiles, and check their streams' checksums, where the codec has them.
        shelf: shared with other readers of the file, who want the same tiles.

    Yields:
        For each cutout a (bands, rows, columns) array of the file's own type, nothing masked; or, where a tile
        that it touches is damaged, an error that names tile and file.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile: a window of more than :data:`MAX_WINDOW`; the text names the file.
    """
    href, layout = shown(source.asset.href), source.layout
    most = (
        max((part.window.pixels for part in cutouts), default=0) * layout.bands * np.dtype(layout.dtype).itemsize
    )
    if most > MAX_WINDOW:
        raise CorruptFile(f"a window of {most >> 20:,} MiB is refused: {href}")
    way = _Rows if inflate.supported(layout) else _Blocks
    work = way(
        transport,
        source,
        cutouts,
        budget,
        pool,
        margin=margin or Margin(),
        masked=masked,
        verify=verify,
        shelf=shelf if source.etag else None,
    )
    async with work.read() as found:
        yield [CorruptFile(f"{one}: {href}") if isinstance(one, CorruptFile) else one for one in found]


def _at_once(opened: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    async def read(*args: P.args, **kwargs: P.kwargs) -> T:
        async with opened(*args, **kwargs) as found:
            return found

    return read


read = _at_once(reading)
"""The same, for who keeps the pixels: they are in the budget only while they are read."""


class _Reading:
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
        self.shelf = shelf
        self.received = 0
        """Bytes that came, but for those on the shelf."""
        self.used: list[tuple[int, int]] = []
        """Parts of them that were needed: first byte in the file, and one past the last."""
        self.shapes = [(source.layout.bands, *window.shape) for window in self.windows]
        self.decoded = sum(map(math.prod, self.shapes)) * np.dtype(source.layout.dtype).itemsize
        """Bytes of all pixels."""

    async def fetch(self, start: int, stop: int, *, fresh: bool = False) -> bytes | bytearray:
        asset = self.source.asset
        piece = await self.transport.read(
            asset.href, start, stop - start, etag=self.source.etag, stage="tiles", asset=asset.key, fresh=fresh
        )
        self.received += len(piece.data)
        self.source.check(piece)
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

    def place(self, block: int) -> int:
        return int(self.layout.block_offsets[block])

    def count(self, block: int) -> int:
        return int(self.layout.block_counts[block])


class _Rows(_Reading):
    """Blocks that can be read row by row."""

    @asynccontextmanager
    async def read(self) -> AsyncIterator[list[Pixels]]:
        layout = self.layout
        self.typical = typical_size(layout)
        insides = [cutout.inside if self.masked else None for cutout in self.cutouts]
        self.rows = tiles.rows_under(layout, self.windows, insides)
        self.under = tiles.windows_over(layout, self.windows)
        self.damaged: dict[int, CorruptFile] = {}
        self.one_by_one = asyncio.Lock()
        self.wanted = {block: self.size(block) for block in self.rows}
        ranges = tiles.byte_ranges(layout, self.wanted)
        size = sum(found.stop - found.start for found in ranges)
        async with self.budget.hold(size + self.decoded) as self.share:
            self.arrays = self._arrays()
            await self.booked(_all_of([self._range(found) for found in ranges]))
            broken = {index: error for block, error in self.damaged.items() for index in self.under[block]}
            yield [broken.get(index, array) for index, array in enumerate(self.arrays)]

    def _arrays(self) -> list[NDArray[np.generic]]:
        """Where pixels are put. Blocks that were left out of the file read as nodata."""
        dtype, nodata = np.dtype(self.layout.dtype), self.layout.nodata
        memory, start, arrays = heap.zeros(self.decoded), 0, []
        for shape in self.shapes:
            array: NDArray[np.generic] = np.ndarray(shape, dtype, memory, start)
            if nodata:
                array[:] = nodata
            arrays.append(array)
            start += array.nbytes
        return arrays

    def size(self, block: int, times: float = 1) -> int:
        return self.count(block) if self.verify else self.margin.size(self.tile(block), times=times)

    def tile(self, block: int) -> Tile:
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
            await _all_of([self._fetch_on(block, prefixes[block], asked[block], left[block]) for block in left])
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
        await _all_of([self._fetch_part(found, prefixes, had) for found in ranges])

    async def _fetch_part(self, found: ByteRange, prefixes: Mapping[int, Prefix], had: Mapping[int, int]) -> None:
        data = memoryview(await self.fetch(found.start, found.stop))
        for block in found.blocks:
            start = self.place(block) + had[block] - found.start
            part = data[start : start + self.count(block) - had[block]]
            prefixes[block].append(part)
            if self.shelf:
                self.received -= len(part)

    async def _fetch_on(self, block: int, prefix: Prefix, asked: int, why: CorruptFile | None) -> None:
        """A second range of a block, with a wider margin; and then the rest, which must do."""
        place, count = self.place(block), self.count(block)
        second = max(self.size(block, 3), asked + CHEAP)
        for stop in (min(second, count), count):
            if why is None:
                await self._fetch_to({block: prefix}, {block: stop})
                left = await self._decoded_of({block: prefix}, {block: asked})
                if not left:
                    return
                why = left[block]
        async with self.one_by_one:  # they are not in the budget
            whole = await self.fetch(place, place + count, fresh=True)
            (again,) = (await self._decoded({block: [memoryview(whole)]}, {block: count})).values()
            if isinstance(again, int):
                self.used.append((place, place + again))
            elif again:
                self.damaged[block] = again

    async def _decoded_of(
        self, prefixes: Mapping[int, Prefix], asked: Mapping[int, int]
    ) -> dict[int, CorruptFile | None]:
        """Decode the starts of some blocks; of those that cannot be, what is wrong, None if they are short."""
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
            if isinstance(used, int):
                self.margin.learn(self.tile(block), used=used, asked=asked[block])
        return found

    def _decode(self, block: int, data: bytes | memoryview) -> int | CorruptFile | None:
        """Put the pixels of a block into the arrays; the bytes that it took, None if it takes more, or why not."""
        rows = self.rows[block]
        try:
            raw, used = inflate.read_rows(self.layout, data, rows, whole=self.verify)
            if len(raw) < rows * inflate.line_bytes(self.layout):
                if len(data) < self.count(block):
                    return None
                raise CorruptFile("is cut off")
        except CorruptFile as error:
            return CorruptFile(f"block {block} {error}")
        inflate.place(self.layout, raw, self._pieces(block))
        return used

    def _pieces(self, block: int) -> list[inflate.Piece]:
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
                piece = inflate.Piece(
                    rows=slice(first - top, last - top), columns=slice(start - left, stop - left), target=target
                )
                pieces.append(piece)
        return pieces


class _Blocks(_Reading):
    """Blocks of all other kinds: fetched whole, and decoded by GDAL."""

    @asynccontextmanager
    async def read(self) -> AsyncIterator[list[Pixels]]:
        self.blocks: dict[int, bytes] = {}
        self.renewed: set[int] = set()
        ranges = self._ranges(self.windows)
        # fetched once, and copied once into the small TIFF that is decoded
        size = 2 * sum(found.stop - found.start for found in ranges)
        async with self.budget.hold(size + self.decoded) as share:
            found = await self.booked(self._read(ranges))
            self.blocks.clear()
            share.give_back(size)
            yield found

    def _ranges(self, windows: Sequence[Window]) -> list[ByteRange]:
        """What is to be fetched for some windows: their blocks, but for those that were fetched twice."""
        under = set(tiles.blocks_under(self.layout, windows)) - self.renewed
        return tiles.byte_ranges(self.layout, {block: self.count(block) for block in under})

    async def _read(self, ranges: Sequence[ByteRange]) -> list[Pixels]:
        await _all_of([self._range(found) for found in ranges])
        try:
            return [*await self._decoded(self.windows)]
        except CorruptFile:
            return [await self._alone(window) for window in self.windows]

    async def _alone(self, window: Window) -> Pixels:
        """The pixels of one window; if they cannot be had, its blocks are fetched once more."""
        with suppress(CorruptFile):
            return (await self._decoded([window]))[0]
        for found in self._ranges([window]):
            await self._range(found, fresh=True)
            self.renewed.update(found.blocks)
        try:
            return (await self._decoded([window]))[0]
        except CorruptFile as error:
            return error

    async def _decoded(self, windows: Sequence[Window]) -> list[NDArray[np.generic]]:
        under = tiles.blocks_under(self.layout, windows)
        blocks = {block: self.blocks[block] for block in under if block in self.blocks}

        def work() -> list[NDArray[np.generic]]:
            if self.verify:
                decode.check_streams(self.layout, blocks)
            return decode.read(tiles.subset(self.layout, blocks), windows)

        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    async def _range(self, found: ByteRange, *, fresh: bool = False) -> None:
        data = await self.fetch(found.start, found.stop, fresh=fresh)
        self.used += [(self.place(block), self.place(block) + self.count(block)) for block in found.blocks]
        for block in found.blocks:
            start = self.place(block) - found.start
            self.blocks[block] = bytes(data[start : start + self.count(block)])


async def _all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
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
