"""Reads the pixels of some windows of a remote COG: plan, fetch, decode.

All areas of one scene are read together, so that a block under two of them is fetched once, and neighbouring
blocks share a request. The bytes are all of one edition of the file, or the read fails. Most files have DEFLATE
blocks, which are streams in row order: to get the first rows of a block, its first bytes are enough. They are read
as this module's functions follow one another:

1. Plan (:class:`_Plan`): the blocks under the windows; of each, the lowest row that any window needs, and how many
   bytes from its start probably hold the rows down to there (:mod:`s2async.cog.prefix`); the byte ranges that are
   requested.
2. Wait until the memory budget has room for these bytes and all pixels; allocate the arrays.
3. Fetch the ranges side by side. With a tile cache, only what is not in it.
4. Decode each range's blocks in a thread: inflate to the lowest row, and copy each window's part into its array.
   What a block really needed goes to the `Margin`, which learns from it how much to request next time.
5. Of a block whose bytes did not reach, fetch a second part, wider, and if need be the rest.
6. Fetch a damaged block once more, whole, over a new connection. If it is damaged again, so is the file: the
   windows that touch the block get an error in place of pixels.

Files of other kinds are read by :mod:`s2async.cog.whole_blocks`. Where a file has an internal mask or an alpha
band, pixels without data get nodata at the end (:mod:`s2async.cog.validity`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2async.cog import deflate, memory, tiles, validity, whole_blocks
from s2async.cog.download import Download, all_of
from s2async.cog.grid import Cutout, Window
from s2async.cog.memory import Budget, Share
from s2async.cog.prefix import Block, Margin, rows_of, typical_size
from s2async.cog.request import Pixels, PoolOver, Request
from s2async.cog.source import Source
from s2async.cog.tile_cache import Prefix, Shelf, joined
from s2async.cog.tiles import ByteRange
from s2async.errors import CorruptFile
from s2async.net.client import Transport
from s2async.text import shown

P = ParamSpec("P")
T = TypeVar("T")

MAX_WINDOW: Final = 512 << 20
"""Bytes of one window's pixels: a whole Sentinel-2 scene has 345 MiB, and a hostile header declares more."""
CHEAP: Final = 65536
"""Minimum number of bytes of a second range: few, compared with the round trip that a third one would cost."""


@asynccontextmanager
async def reading(
    transport: Transport,
    source: Source,
    cutouts: Sequence[Cutout],
    *,
    budget: Budget,
    pool: Executor,
    pool_over: PoolOver | None = None,
    margin: Margin | None = None,
    masked: bool = False,
    verify: bool = False,
    highest: int | None = None,
    shelf: Shelf | None = None,
) -> AsyncIterator[list[Pixels]]:
    """Read the windows of the cutouts; the pixels are in the memory budget inside the context.

    Args:
        transport: of the run.
        source: an opened COG.
        cutouts: windows inside its raster.
        budget: bytes of blocks and pixels in memory, over all readers.
        pool: threads that decode.
        pool_over: returns the pool that decodes a block or a window alone, by the indices of the windows that are
            concerned; by default, one call of ``pool`` decodes several.
        margin: of files of this kind, to learn from; a new one by default.
        masked: only pixels inside the polygons matter; those outside may be read, or be nodata.
        verify: read whole blocks, and compare their streams' checksums, where the codec has them.
        highest: blocks with values above this, nodata aside, are fetched once more, over a new connection, and
            accepted only if the same bytes arrive.
        shelf: tile cache shared with other readers of the file; used if the server names the file's edition.

    Yields:
        For each cutout a (bands, rows, columns) array of the file's own type, nothing masked; or, where a block
        that it touches is damaged, an error that names block and file.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile: a window has more than :data:`MAX_WINDOW` bytes; the text names the file.
    """
    href, layout = shown(source.asset.href), source.layout
    pixel = layout.bands * np.dtype(layout.dtype).itemsize
    most = max((part.window.pixels for part in cutouts), default=0) * pixel
    if most > MAX_WINDOW:
        raise CorruptFile(f"a window of {most >> 20:,} MiB is refused: {href}")
    request = Request(
        layout=layout,
        windows=tuple(part.window for part in cutouts),
        insides=tuple(part.inside if masked else None for part in cutouts),
        verify=verify,
        highest=highest,
    )
    download = Download(transport, source.asset, "tiles")
    if deflate.supported(layout):
        under = tiles.rows_under(layout, request.windows, request.insides)
        plan = _Plan.of(request, under, margin or Margin())
        work = _reading_rows(plan, source, download, budget, pool, pool_over, _named(shelf, source))
    else:
        work = whole_blocks.reading(
            request, download, source.edition, budget=budget, pool=pool, pool_over=pool_over
        )
    windows = [part.window for part in cutouts]
    masks = await validity.read_masks(transport, source, windows, budget=budget, pool=pool, pool_over=pool_over)
    async with work as found:
        results = await validity.hide(layout, found, masks, pool=pool)
        yield [CorruptFile(f"{one}: {href}") if isinstance(one, CorruptFile) else one for one in results]


async def scan(
    transport: Transport,
    source: Source,
    rows: Mapping[int, int],
    take: Callable[[Window, NDArray[Any]], None],
    *,
    budget: Budget,
    pool: Executor,
    margin: Margin | None = None,
    verify: bool = False,
    highest: int | None = None,
    shelf: Shelf | None = None,
) -> Mapping[int, CorruptFile]:
    """Read the first rows of some blocks, and hand the pixels of each to a function as they come, in any order.

    Args:
        transport: of the run.
        source: an opened COG for which `scans` is true.
        rows: how many rows of each block are wanted, from its top.
        take: called once for each sound block, in threads and perhaps in several at once, with a window of the
            raster and its pixels (bands, rows, columns) of the file's own type.
        budget: as for :func:`reading`, as are all other arguments.
        pool: threads that decode, and call ``take``.
        margin: of files of this kind.
        verify: read whole blocks, and compare their streams' checksums.
        highest: largest value of a sound file.
        shelf: tile cache.

    Returns:
        What is wrong with the blocks that are damaged; each text names block and file.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
    """
    layout = source.layout
    request = Request(layout=layout, windows=(), insides=(), verify=verify, highest=highest)
    plan = _Plan.of(request, rows, margin or Margin())
    async with budget.hold(plan.fetched_bytes) as share:
        work = _RowReader(
            plan,
            source,
            Download(transport, source.asset, "tiles"),
            _Scan(plan, take),
            pool=pool,
            shelf=_named(shelf, source),
            share=share,
        )
        damaged = await work.read_all()
    href = shown(source.asset.href)
    return {block: CorruptFile(f"{error}: {href}") for block, error in damaged.items()}


def scans(source: Source) -> bool:
    """Whether `scan` can read a file: GDAL decodes its blocks otherwise, or pixels of it may be hidden."""
    return deflate.supported(source.layout) and source.layout.mask is None and not source.layout.hides


def _at_once(opened: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    async def read(*args: P.args, **kwargs: P.kwargs) -> T:
        async with opened(*args, **kwargs) as result:
            return result

    return read


read = _at_once(reading)
"""Like :func:`reading`, but returns the arrays; the memory budget is released on return."""


# ---- plan -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Plan:
    """Which bytes of which blocks are requested, and which windows they serve."""

    request: Request
    margin: Margin
    blocks: Mapping[int, Block]
    """What is wanted of each block that has a pixel that matters."""
    wanted: Mapping[int, int]
    """Bytes that are requested of each, from its start."""
    ranges: Sequence[ByteRange]
    """The requests, as long as nothing is in a tile cache."""

    @classmethod
    def of(cls, request: Request, rows_under: Mapping[int, int], margin: Margin) -> _Plan:
        """The plan of a read that needs so many rows of each of some blocks."""
        layout, grid = request.layout, request.layout.grid
        typical = typical_size(layout)
        blocks = {
            block: Block(
                place=(grid.epsg, grid.transform.c, grid.transform.f, block),
                rows=rows,
                count=request.count(block),
                share=min(1.0, rows / rows_of(layout, block)),
                typical=typical,
            )
            for block, rows in rows_under.items()
        }
        # A checksum is at the end of its stream: to compare it takes the whole block.
        wanted = {index: block.count if request.verify else margin.size(block) for index, block in blocks.items()}
        return cls(
            request=request,
            margin=margin,
            blocks=blocks,
            wanted=wanted,
            ranges=tiles.byte_ranges(layout, wanted),
        )

    @property
    def fetched_bytes(self) -> int:
        """Bytes of all ranges."""
        return sum(part.stop - part.start for part in self.ranges)

    def second_size(self, block: int, asked: int) -> int:
        """Return how many bytes of a block to have after a second range, from its start."""
        wanted = self.blocks[block]
        size = wanted.count if self.request.verify else self.margin.size(wanted, times=3)
        return min(max(size, asked + CHEAP), wanted.count)


# ---- where pixels go --------------------------------------------------------------------------------------


class _Target(Protocol):
    """Takes the pixels of blocks, in threads, as they come."""

    def pixels(self, block: int, raw: bytes) -> Sequence[NDArray[np.generic]]:
        """The pixels that are wanted of a block whose inflated bytes these are, to be checked."""

    def accept(self, block: int, pixels: Sequence[NDArray[np.generic]]) -> None:
        """Take the pixels that `pixels` returned: they are sound. This is called once for a block."""


class _Windows:
    """Copies the pixels of blocks into the arrays of windows.

    Args:
        plan: of the read.
    """

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._over = tiles.windows_over(plan.request.layout, plan.request.windows)
        """Indices of the windows that each block holds pixels of."""
        self._arrays = _arrays(plan.request)

    def over(self, block: int) -> Sequence[int]:
        """Indices of the windows that a block holds pixels of."""
        return self._over[block]

    def pixels(self, block: int, raw: bytes) -> Sequence[NDArray[np.generic]]:
        pieces = self._pieces(block)
        deflate.place(self._plan.request.layout, raw, pieces)
        return [piece.target for piece in pieces]

    def accept(self, block: int, pixels: Sequence[NDArray[np.generic]]) -> None:
        """They are in their arrays already."""

    def results(self, damaged: Mapping[int, CorruptFile]) -> list[Pixels]:
        """The pixels of each window; an error for those that touch a damaged block."""
        broken = {index: error for block, error in damaged.items() for index in self._over[block]}
        return [broken.get(index, array) for index, array in enumerate(self._arrays)]

    def _pieces(self, block: int) -> list[deflate.Piece]:
        """Which part of a block goes where in the windows' arrays."""
        layout = self._plan.request.layout
        top = block // layout.across * layout.block_height
        left = block % layout.across * layout.block_width
        # Rows below the last one that matters are not inflated; in a window they stay as they are.
        bottom, right = top + self._plan.blocks[block].rows, left + layout.block_width
        pieces = []
        for index in self._over[block]:
            window = self._plan.request.windows[index]
            first, last = max(window.row, top), min(window.row + window.height, bottom)
            start, stop = max(window.col, left), min(window.col + window.width, right)
            if first < last:
                rows = slice(first - window.row, last - window.row)
                columns = slice(start - window.col, stop - window.col)
                piece = deflate.Piece(
                    rows=slice(first - top, last - top),
                    columns=slice(start - left, stop - left),
                    target=self._arrays[index][:, rows, columns],
                )
                pieces.append(piece)
        return pieces


class _Scan:
    """Hands the pixels of whole rows of blocks to a function.

    Args:
        plan: of the read.
        take: called with a window of the raster and its pixels (bands, rows, columns).
    """

    def __init__(self, plan: _Plan, take: Callable[[Window, NDArray[Any]], None]) -> None:
        self._plan = plan
        self._take = take

    def pixels(self, block: int, raw: bytes) -> Sequence[NDArray[np.generic]]:
        layout, window = self._plan.request.layout, self._window(block)
        whole = deflate.Piece(
            rows=slice(0, window.height),
            columns=slice(0, window.width),
            target=np.empty((layout.bands, *window.shape), layout.dtype),
        )
        deflate.place(layout, raw, [whole])
        return [whole.target]

    def accept(self, block: int, pixels: Sequence[NDArray[np.generic]]) -> None:
        self._take(self._window(block), pixels[0])

    def _window(self, block: int) -> Window:
        layout = self._plan.request.layout
        window = tiles.window_of(layout, block)
        return replace(window, height=min(window.height, self._plan.blocks[block].rows))


# ---- fetch and decode -------------------------------------------------------------------------------------


@asynccontextmanager
async def _reading_rows(
    plan: _Plan,
    source: Source,
    download: Download,
    budget: Budget,
    pool: Executor,
    pool_over: PoolOver | None,
    shelf: Shelf | None,
) -> AsyncIterator[list[Pixels]]:
    async with budget.hold(plan.fetched_bytes + plan.request.decoded_bytes) as share:
        target = _Windows(plan)

        def alone(block: int) -> Executor:
            return pool_over(target.over(block)) if pool_over else pool

        work = _RowReader(
            plan,
            source,
            download,
            target,
            pool=pool,
            alone=alone if pool_over else None,
            shelf=shelf,
            share=share,
        )
        yield target.results(await work.read_all())


def _named(shelf: Shelf | None, source: Source) -> Shelf | None:
    """A tile cache, if the file's edition has a name: else nothing shows that its bytes are still the file's."""
    return shelf if source.edition.named else None


def _arrays(request: Request) -> list[NDArray[np.generic]]:
    """Allocate the pixels of all windows, full of nodata: this is what blocks left out of the file read as."""
    dtype, nodata = np.dtype(request.layout.dtype), request.layout.nodata
    buffer, start, arrays = memory.zeros(request.decoded_bytes), 0, []
    for shape in request.shapes:
        array: NDArray[np.generic] = np.ndarray(shape, dtype, buffer, start)
        if nodata:
            array[:] = nodata
        arrays.append(array)
        start += array.nbytes
    return arrays


_Decoded = int | CorruptFile | None
"""What decoding a block gave: the bytes that it took, or what is wrong; None when its bytes do not reach."""


class _RowReader:
    """One read of a file whose blocks are decoded row by row. Made when the budget has room for its bytes."""

    def __init__(
        self,
        plan: _Plan,
        source: Source,
        download: Download,
        target: _Target,
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
        """Returns the pool that decodes a block alone; None when the blocks of a range are decoded in one call."""
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
            # A prefix that is there but too short gets at least CHEAP more, against a third request.
            block: min(max(size, had[block] + CHEAP), self.request.count(block)) if 0 < had[block] < size else size
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
