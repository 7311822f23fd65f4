"""The header of a remote COG, read once: what the file is, how large, and of which version."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import numpy as np

from s2async.cog import headers, tiff
from s2async.cog.tiff import Layout, NeedMore
from s2async.errors import CorruptFile
from s2async.models import Asset, FileFact
from s2async.net.client import Transport
from s2async.net.editions import Edition
from s2async.text import shown

FIRST_READ: Final = 8192
"""Bytes of the first request of a file of an unknown kind. Headers of Sentinel-2 COGs have 2.2 to 4.2 kB."""
LEAST_READ: Final = 2048
RECENT: Final = 16
"""Headers of a kind that tell how long the next one may be."""


class FirstRead:
    """How many bytes of a file to ask for first, learned from headers of its kind: of one origin and asset."""

    def __init__(self) -> None:
        self._lengths: defaultdict[tuple[str, str, str], deque[int]] = defaultdict(lambda: deque(maxlen=RECENT))

    def size(self, asset: Asset) -> int:
        """Bytes to ask for."""
        return first_read(self._lengths[_kind(asset)])

    def learn(self, asset: Asset, length: int) -> None:
        """Take in how long a header turned out to be."""
        self._lengths[_kind(asset)].append(length)


def first_read(lengths: Iterable[int]) -> int:
    """Bytes that hold most likely the next header, after headers of these lengths.

    An eighth more than the longest but one, in whole KiB: a single odd file among them does not make all others
    cost as much as it did.
    """
    longest = sorted(lengths)[-2:]
    if not longest:
        return FIRST_READ
    wanted = longest[0] + longest[0] // 8
    return min(max(-(-wanted // 1024) * 1024, LEAST_READ), tiff.MAX_HEADER)


def _kind(asset: Asset) -> tuple[str, str, str]:
    place = urlsplit(asset.href)
    return place.scheme, place.netloc, asset.key


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A remote COG whose header is known."""

    asset: Asset
    layout: Layout
    edition: Edition
    """Of which the header was read; every answer for its tiles must be of the same."""

    @property
    def fact(self) -> FileFact:
        """What is worth keeping of it."""
        edition = self.edition
        header = headers.pack(self.layout) if edition.strong else b""
        return FileFact(
            asset=self.asset.key, href=self.asset.href, size=edition.size, etag=edition.etag, header=header
        )


def recall(asset: Asset, known: FileFact) -> Source | None:
    """A COG whose header an earlier batch has read; None when that must be read again.

    No request is made: those for the tiles tell whether the file is still the same.
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
        asset: which file.
        first: of the run, to learn from; a new one by default.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile, UnsupportedLayout: see :func:`s2async.cog.tiff.parse`; the text names the file.
    """

    def understood(head: bytes) -> tuple[Layout, ...] | NeedMore:
        found = tiff.parse(head)
        return (found,) if isinstance(found, Layout) else found

    return (await _opened(transport, asset, first or FirstRead(), understood))[0]


async def open_levels(transport: Transport, asset: Asset) -> tuple[Source, ...]:
    """Read the header of a COG with its overviews: the full resolution first (see `cog.tiff.parse_levels`).

    Raises:
        RemoteError, CorruptFile, UnsupportedLayout: as for :func:`open_source`.
    """
    return await _opened(transport, asset, FirstRead(), tiff.parse_levels)


async def _opened(
    transport: Transport,
    asset: Asset,
    first: FirstRead,
    understood: Callable[[bytes], tuple[Layout, ...] | NeedMore],
) -> tuple[Source, ...]:
    """The header, asked for once more where it makes no sense: it may be what is on the way that is damaged."""
    size = first.size(asset)
    try:
        found = await _read(transport, asset, size, understood)
    except CorruptFile:
        found = await _read(transport, asset, size, understood, fresh=True)
    first.learn(asset, found[0].layout.read_to)
    return found


async def _read(
    transport: Transport,
    asset: Asset,
    length: int,
    understood: Callable[[bytes], tuple[Layout, ...] | NeedMore],
    *,
    fresh: bool = False,
) -> tuple[Source, ...]:
    piece = await transport.read(asset.href, 0, length, stage="header", asset=asset.key, fresh=fresh)
    head, edition = bytes(piece.data), piece.edition
    while True:
        try:
            found = understood(head)
            if not isinstance(found, NeedMore):
                if beyond := next(filter(None, (_beyond(layout, edition.size) for layout in found)), ""):
                    raise CorruptFile(beyond)
                break
            if found.size > edition.size:
                raise CorruptFile("its header goes on beyond its end")
        except CorruptFile as error:
            transport.meter.waste("header", asset.key, len(head))
            raise type(error)(f"{error}: {shown(asset.href)}") from error
        # A long header is asked for in steps that double, for it tells its length bit by bit; and in steps that
        # make up for a first one which was shorter than that of a file of which nothing is known.
        stop = min(edition.size, max(found.size, len(head) + max(len(head), FIRST_READ)))
        more = await transport.read(
            asset.href,
            len(head),
            stop - len(head),
            edition=edition,
            stage="header",
            asset=asset.key,
            fresh=fresh,
        )
        head += more.data
    end = max(layout.end for layout in found)
    transport.meter.waste("header", asset.key, len(head) - min(end, len(head)))
    return tuple(Source(asset=asset, layout=layout, edition=edition) for layout in found)


def _beyond(layout: Layout, size: int) -> str:
    """Which block lies beyond the end of a file of so many bytes, in words; nothing when none does."""
    beyond = np.flatnonzero(layout.block_offsets > size - layout.block_counts)
    if not len(beyond):
        return ""
    block = int(beyond[0])
    place, count = int(layout.block_offsets[block]), int(layout.block_counts[block])
    return f"block {block} ({count:,} bytes at {place:,}) goes beyond its end at {size:,}"
