"""The header of a remote COG, read once: what the file is, how large, and of which version."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from s2async import tiff
from s2async.answers import shown
from s2async.errors import CorruptFile, FileChanged
from s2async.models import Asset, FileFact
from s2async.tiff import Layout
from s2async.transport import Piece, Transport

FIRST_READ = 8192
"""Bytes of the first request of a file. Headers of Sentinel-2 COGs have 3.7 to 4.2 kB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A remote COG whose header is known."""

    asset: Asset
    layout: Layout
    size: int
    """Bytes of the whole file."""
    etag: str

    @property
    def fact(self) -> FileFact:
        """What is worth keeping of it."""
        return FileFact(asset=self.asset.key, href=self.asset.href, size=self.size, etag=self.etag)


async def open_source(transport: Transport, asset: Asset) -> Source:
    """Read the header of a COG.

    Raises:
        RemoteError: whatever :meth:`Transport.read` raises.
        CorruptFile, UnsupportedLayout: see :func:`s2async.tiff.parse`; the text names the file.
    """
    piece = await transport.read(asset.href, 0, FIRST_READ, stage="header", asset=asset.key)
    head, size, etag = piece.data, piece.size, piece.etag
    while True:
        try:
            found = tiff.parse(head)
            if isinstance(found, Layout):
                _check_places(found, size)
                break
            if found.size > size:
                raise CorruptFile("its header goes on beyond its end")
        except CorruptFile as error:
            raise type(error)(f"{error}: {shown(asset.href)}") from error
        # a long header is asked for in steps that double, for it tells its length bit by bit
        stop = min(size, max(found.size, 2 * len(head)))
        more = await transport.read(
            asset.href, len(head), stop - len(head), etag=etag, stage="header", asset=asset.key
        )
        check_size(more, size, asset)
        head += more.data
    transport.meter.waste("header", asset.key, len(head) - min(found.end, len(head)))
    return Source(asset=asset, layout=found, size=size, etag=etag)


def check_size(piece: Piece, size: int, asset: Asset) -> None:
    """Of one version of a file every answer tells the same size.

    Raises:
        FileChanged: this one does not.
    """
    if piece.size != size:
        raise FileChanged(f"the file changed while it was read: {shown(asset.href)}")


def _check_places(layout: Layout, size: int) -> None:
    beyond = np.flatnonzero(layout.block_offsets > size - layout.block_counts)
    if len(beyond):
        block = int(beyond[0])
        place, count = int(layout.block_offsets[block]), int(layout.block_counts[block])
        raise CorruptFile(f"block {block} ({count:,} bytes at {place:,}) goes beyond its end at {size:,}")
