"""Opens remote COGs: reads the header once, which gives the layout, size and edition of the file."""

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
"""Bytes of the first request to a file of a new kind. Headers of Sentinel-2 COGs have 2.2 to 4.2 kB."""
LEAST_READ: Final = 2048
"""Minimum number of bytes of the first request."""
RECENT: Final = 16
"""Number of headers of a kind whose lengths are remembered to estimate the length of the next header."""


class FirstRead:
    """Learns from headers of the same origin and asset how many bytes of a file to request first."""

    def __init__(self) -> None:
        self._lengths: defaultdict[tuple[str, str, str], deque[int]] = defaultdict(lambda: deque(maxlen=RECENT))

    def size(self, asset: Asset) -> int:
        """Return how many bytes to request."""
        return first_read(self._lengths[_kind(asset)])

    def learn(self, asset: Asset, length: int) -> None:
        """Remember how long a header turned out to be."""
        self._lengths[_kind(asset)].append(length)


def first_read(lengths: Iterable[int]) -> int:
    """Return how many bytes most likely contain the next header, given the lengths of earlier headers.

    This is an eighth more than the second-largest length, rounded up to whole KiB, so that a single odd file does
    not make requests for all other files more expensive.
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
    """Edition whose header was read. Every response with blocks of the file must be of the same edition."""

    @property
    def fact(self) -> FileFact:
        """The facts about the file that are stored.

        The header is included only if the file has no mask and a strong ETag can show whether it is still valid.
        """
        edition = self.edition
        header = headers.pack(self.layout) if edition.strong and self.layout.mask is None else b""
        return FileFact(
            asset=self.asset.key, href=self.asset.href, size=edition.size, etag=edition.etag, header=header
        )


def recall(asset: Asset, known: FileFact) -> Source | None:
    """Return a COG whose header was read and stored earlier; None if the header must be read again.

    This sends no request; the requests for blocks show whether the file is still the same.
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
        transport: transport of the run.
        asset: the file.
        first: estimates the length of headers, and learns from this one; by default a new instance.

    Raises:
        RemoteError: any error that :meth:`Transport.read` raises.
        CorruptFile, UnsupportedLayout: see :func:`s2async.cog.tiff.parse`; the text names the file.
    """

    def parse(head: bytes) -> tuple[Layout, ...] | NeedMore:
        layout = tiff.parse(head)
        return (layout,) if isinstance(layout, Layout) else layout

    return (await _opened(transport, asset, first or FirstRead(), parse))[0]


async def open_levels(transport: Transport, asset: Asset) -> tuple[Source, ...]:
    """Read the header of a COG with its overviews; the full resolution comes first. See `cog.tiff.parse_levels`.

    Raises:
        RemoteError, CorruptFile, UnsupportedLayout: as for :func:`open_source`.
    """
    return await _opened(transport, asset, FirstRead(), tiff.parse_levels)


_Parse = Callable[[bytes], tuple[Layout, ...] | NeedMore]
"""A function that parses the first bytes of a file; returns its layouts, or how many bytes parsing requires."""


async def _opened(transport: Transport, asset: Asset, first: FirstRead, parse: _Parse) -> tuple[Source, ...]:
    """Read a header; if it is invalid, read it once more, because it may have been damaged in transit."""
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
            download.settle()  # none of the bytes were used
            raise type(error)(f"{error}: {shown(asset.href)}") from error
        # A long header shows its length only in steps, so each request at least doubles the bytes. The second
        # request fetches at least as many bytes as a first request to a file of a new kind.
        stop = min(edition.size, max(layouts.size, len(head) + max(len(head), FIRST_READ)))
        piece = await download.fetch(len(head), stop, edition, fresh=fresh)
        head += piece.data
    download.use(0, min(max(layout.end for layout in layouts), len(head)))
    download.settle()
    return tuple(Source(asset=asset, layout=layout, edition=edition) for layout in layouts)


def _beyond(layout: Layout, size: int) -> str:
    """Describe which block lies beyond the end of a file of ``size`` bytes; the empty string if there is none."""
    beyond = np.flatnonzero(layout.block_offsets > size - layout.block_counts)
    if not len(beyond):
        return ""
    block = int(beyond[0])
    place, count = int(layout.block_offsets[block]), int(layout.block_counts[block])
    return f"block {block} ({count:,} bytes at {place:,}) extends beyond the end of the file at {size:,}"
