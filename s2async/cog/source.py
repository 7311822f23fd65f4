"""Opens remote COGs: reads the header once, which says what the file is, how large, and of which edition."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from s2async.cog import directories, headers, tiff
from s2async.cog.download import Download
from s2async.cog.tiff import Layout, NeedMore
from s2async.errors import CorruptFile
from s2async.models import Asset, FileFact
from s2async.net.client import Transport
from s2async.net.editions import Edition
from s2async.text import shown

FIRST_READ: Final = 8192
"""Bytes of the first request to a file of an unknown kind. Headers of Sentinel-2 COGs have 2.2 to 4.2 kB."""
LEAST_READ: Final = 2048
"""Minimum number of bytes of the first request."""
RECENT: Final = 16
"""Headers of a kind that are remembered to estimate the length of the next one."""


class FirstRead:
    """How many bytes of a file to request first, learned from headers of the same origin and asset."""

    def __init__(self) -> None:
        self._lengths: defaultdict[tuple[str, str, str], deque[int]] = defaultdict(lambda: deque(maxlen=RECENT))

    def size(self, asset: Asset) -> int:
        """Return how many bytes to request."""
        return first_read(self._lengths[_kind(asset)])

    def learn(self, asset: Asset, length: int) -> None:
        """Remember how long a header turned out to be."""
        self._lengths[_kind(asset)].append(length)


def first_read(lengths: Iterable[int]) -> int:
    """Return how many bytes most likely hold the next header, after headers of these lengths.

    An eighth more than the second longest, in whole KiB: a single odd file does not make all others as expensive.
    """
    longest = sorted(lengths)[-2:]
    if not longest:
        return FIRST_READ
    wanted = longest[0] + longest[0] // 8
    return min(max(-(-wanted // 1024) * 1024, LEAST_READ), directories.MAX_HEADER)


def _kind(asset: Asset) -> tuple[str, str, str]:
    place = urlsplit(asset.href)
    return place.scheme, place.netloc, asset.key


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A remote COG whose header is known."""

    asset: Asset
    layout: Layout
    edition: Edition
    """Of which the header was read. Every answer for its blocks must be of the same edition."""

    @property
    def fact(self) -> FileFact:
        """What is stored of the file.

        Its header only if a strong ETag will show whether it still holds, and if it has one directory that counts.
        """
        edition = self.edition
        header = headers.pack(self.layout) if edition.strong and self.layout.mask is None else b""
        return FileFact(
            asset=self.asset.key, href=self.asset.href, size=edition.size, etag=edition.etag, header=header
        )


def recall(asset: Asset, known: FileFact) -> Source | None:
    """Return a COG whose header was read earlier and stored; None when the header must be read again.

    This makes no request: those for the blocks show whether the file is still the same.
    """
    edition = Edition(size=known.size, etag=known.etag)
    if not edition.strong or known.href != asset.href:
        return None
    layout = headers.unpack(known.header)
    if layout is None or _beyond(layout, known.size):
        return None
    return Source(asset=asset, layout=layout, edition=edition)


async def open_source(transport: Transport, asset: Asset, first: FirstRead | None = None) -> Source:
    """Read the header of a COG.

    Args:
        transport: of the run.
        asset: the file.
        first: of the run, to learn from; a new one by default.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile, UnsupportedLayout: see :func:`s2async.cog.tiff.parse`; the text names the file.
    """

    def parse(head: bytes) -> tuple[Layout, ...] | NeedMore:
        layout = tiff.parse(head)
        return (layout,) if isinstance(layout, Layout) else layout

    return (await _opened(transport, asset, first or FirstRead(), parse))[0]


async def open_levels(transport: Transport, asset: Asset) -> tuple[Source, ...]:
    """Read the header of a COG with its overviews: the full resolution first; see `cog.tiff.parse_levels`.

    Raises:
        RemoteError, CorruptFile, UnsupportedLayout: as for :func:`open_source`.
    """
    return await _opened(transport, asset, FirstRead(), tiff.parse_levels)


_Parse = Callable[[bytes], tuple[Layout, ...] | NeedMore]
"""From the first bytes of a file to its layouts, or to how many bytes that takes."""


async def _opened(transport: Transport, asset: Asset, first: FirstRead, parse: _Parse) -> tuple[Source, ...]:
    """Read a header; once more if it makes no sense, because it may have been damaged on the way."""
    size = first.size(asset)
    try:
        sources = await _read(transport, asset, size, parse)
    except CorruptFile:
        sources = await _read(transport, asset, size, parse, fresh=True)
    first.learn(asset, sources[0].layout.read_to)
    return sources


async def _read(
    transport: Transport, asset: Asset, length: int, parse: _Parse, *, fresh: bool = False
) -> tuple[Source, ...]:
    download = Download(transport, asset, "header")
    piece = await download.fetch(0, length, None, fresh=fresh)
    head, edition = bytes(piece.data), piece.edition
    while True:
        try:
            layouts = parse(head)
            if not isinstance(layouts, NeedMore):
                if beyond := next(filter(None, (_beyond(layout, edition.size) for layout in layouts)), ""):
                    raise CorruptFile(beyond)
                break
            if layouts.size > edition.size:
                raise CorruptFile("its header extends beyond the end of the file")
        except CorruptFile as error:
            download.settle()  # nothing was of use
            raise type(error)(f"{error}: {shown(asset.href)}") from error
        # A long header shows its length bit by bit, so each step doubles what is there. The second request makes
        # up for a first one that was shorter than it is for a file of an unknown kind.
        stop = min(edition.size, max(layouts.size, len(head) + max(len(head), FIRST_READ)))
        piece = await download.fetch(len(head), stop, edition, fresh=fresh)
        head += piece.data
    download.use(0, min(max(layout.end for layout in layouts), len(head)))
    download.settle()
    return tuple(Source(asset=asset, layout=layout, edition=edition) for layout in layouts)


def _beyond(layout: Layout, size: int) -> str:
    """Say which block lies beyond the end of a file of ``size`` bytes; the empty string when none does."""
    beyond = np.flatnonzero(layout.block_offsets > size - layout.block_counts)
    if not len(beyond):
        return ""
    block = int(beyond[0])
    place, count = int(layout.block_offsets[block]), int(layout.block_counts[block])
    return f"block {block} ({count:,} bytes at {place:,}) extends beyond the end of the file at {size:,}"
