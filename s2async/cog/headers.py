"""The header of a COG in few bytes, to be kept from run to run. Pure.

Kept is what the first directory says; later ones told only that there is no mask. Blocks mostly follow one another
in the file, so their places are kept as gaps, which hardly need any bytes. DEFLATE then leaves 0.6 to 0.9 kB of a
header of Sentinel-2, half of what it would leave of the header as it stands.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from s2async.cog import tiff, tiles
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile

_WINDOW, _MEMORY = 12, 4
"""For zlib: 4 KiB is all that a header needs, and three times as fast to set up as the default."""


def pack(layout: Layout) -> bytes:
    """A layout as the bytes of which :func:`unpack` makes it again, but for its ``end`` and ``read_to``.

    They are a TIFF header, compressed, with each block's distance from the end of the one before as its place.
    """
    present = np.flatnonzero(layout.block_counts)
    gaps = layout.block_offsets.copy()
    gaps[present] -= _before(layout.block_offsets + layout.block_counts, present)
    squeezer = zlib.compressobj(6, zlib.DEFLATED, _WINDOW, _MEMORY)
    return squeezer.compress(tiles.rewritten(layout, gaps, layout.block_counts)) + squeezer.flush()


def unpack(packed: bytes) -> Layout | None:
    """The layout that was packed, parsed as if it came from a file; None when the bytes are damaged."""
    unpacker = zlib.decompressobj()
    try:
        header = unpacker.decompress(packed, tiff.MAX_HEADER)
        layout = tiff.parse(header) if unpacker.eof else None  # only at the end is its checksum compared
    except (zlib.error, CorruptFile):
        return None
    if not isinstance(layout, Layout):
        return None
    present = np.flatnonzero(layout.block_counts)
    places = layout.block_offsets.copy()
    steps = places[present] + _before(layout.block_counts, present)
    places[present] = np.cumsum(steps) & (np.iinfo(np.int64).max if layout.big else 0xFFFFFFFF)
    return replace(layout, block_offsets=places)


def _before(values: NDArray[np.int64], present: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each present block the value of the present block before it, 0 for the first."""
    return np.concatenate([[0], values[present][:-1]])
