"""Writes TIFF headers from a layout: for a small TIFF that GDAL decodes, or compressed for storage. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from s2async.cog import directories, tiff
from s2async.cog.directories import MAX_HEADER, STRIP_COUNTS, STRIP_OFFSETS, TILE_COUNTS, TILE_OFFSETS, Tag
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile

_FAR = MAX_HEADER + (1 << 16)
"""Upper bound in bytes for what follows the blocks of a subset: its header is no longer than the original one."""
_WINDOW, _MEMORY = 12, 4
"""Parameters of zlib: a window of 4 KiB is enough for a header, and is set up three times as fast as usual."""
_BEGIN = 16
"""Offset of the first block."""
_LONG, _LONG8 = 4, 16
"""TIFF's types of unsigned integers of 32 and 64 bits."""

# ---- a TIFF of a few blocks -------------------------------------------------------------------------------


def subset(layout: Layout, blocks: Mapping[int, bytes]) -> bytes:
    """Make a TIFF of the same raster that contains only the given blocks, for GDAL to decode from memory.

    The offsets of blocks that are in the file but not given point beyond the end, so that reading them is an error
    and never gives zeros. GDAL's area for structural metadata is not copied, because it would promise leader bytes
    between blocks, which this TIFF does not have.

    Args:
        layout: layout of the whole file.
        blocks: compressed bytes by index of the block.

    Returns:
        The bytes of the small TIFF.

    Raises:
        CorruptFile: a block does not have the length that the layout states, or the blocks are too large for one
            TIFF.
    """
    for index, data in blocks.items():
        if not 0 < len(data) == layout.block_counts[index]:
            raise CorruptFile(f"block {index} has {len(data):,} bytes instead of {layout.block_counts[index]:,}")
    size = sum(map(len, blocks.values()))
    if not layout.big and size + 2 * _FAR >= 1 << 32:
        raise CorruptFile("blocks of more than 4 GiB in a TIFF that cannot hold them")
    places = np.where(layout.block_counts > 0, 16 + size + _FAR, 0)
    counts = np.where(layout.block_counts > 0, 1, 0)
    end = 16
    for index, data in blocks.items():
        places[index], counts[index] = end, len(data)
        end += len(data)
    return rewritten(layout, places, counts, blocks.values())


def rewritten(
    layout: Layout, places: NDArray[np.int64], counts: NDArray[np.int64], blocks: Collection[bytes] = ()
) -> bytes:
    """Make a TIFF of the same raster with other offsets and sizes of the blocks.

    Args:
        layout: layout of the raster; its tags are copied.
        places: offset of every block, modulo the range of the file's offsets.
        counts: number of bytes of every block.
        blocks: contents that are written from byte 16 on, before the directory.

    Returns:
        The bytes of a TIFF with a single directory, which is at the end.
    """
    word, inline = ("Q", 8) if layout.big else ("I", 4)
    kind, numpy_word = (_LONG8, f"{layout.order}u8") if layout.big else (_LONG, f"{layout.order}u4")
    place_tag, count_tag = (TILE_OFFSETS, TILE_COUNTS) if layout.tiled else (STRIP_OFFSETS, STRIP_COUNTS)
    arrays = [
        (tag, kind, len(a), a.astype(numpy_word).tobytes())
        for tag, a in ((place_tag, places), (count_tag, counts))
    ]
    entries: list[bytes] = []
    end = 16 + sum(map(len, blocks))
    # Values start at even offsets (TIFF 6.0, section 2), so odd lengths are padded by one byte.
    payloads: list[bytes] = [bytes(end % 2)]
    end += end % 2
    for tag, type_, values, raw in sorted([*layout.tags, *arrays]):  # readers expect the tags in ascending order
        field = raw.ljust(inline, b"\0")
        if len(raw) > inline:
            field = struct.pack(layout.order + word, end)
            payloads.append(raw + bytes(len(raw) % 2))
            end += len(payloads[-1])
        entries.append(struct.pack(f"{layout.order}HH{word}", tag, type_, values) + field)

    form = "2sHHHQ" if layout.big else "2sHI8x"
    numbers = (43, 8, 0, end) if layout.big else (42, end)
    start = struct.pack(layout.order + form, b"II" if layout.order == "<" else b"MM", *numbers)
    length = struct.pack(layout.order + ("Q" if layout.big else "H"), len(entries))
    return b"".join([start, *blocks, *payloads, length, *entries, bytes(inline)])


class Form:
    """Writes TIFFs of one block that differ only in the values of some entries; all other bytes are prepared once.

    Args:
        layout: layout of a classic TIFF with one block.
        varying: tags of the entries that are given for each file; the size of the block also varies.
    """

    def __init__(self, layout: Layout, varying: Collection[int]) -> None:
        self._pack = struct.Struct(f"{layout.order}2sHI8x").pack
        self._magic = b"II" if layout.order == "<" else b"MM"
        self._head = struct.Struct(f"{layout.order}HHI")
        self._word = struct.Struct(f"{layout.order}I")
        place_tag, self._count_tag = (TILE_OFFSETS, TILE_COUNTS) if layout.tiled else (STRIP_OFFSETS, STRIP_COUNTS)
        known = {entry[0]: entry for entry in layout.tags if entry[0] not in varying}
        known[place_tag] = (place_tag, _LONG, 1, self._word.pack(_BEGIN))
        tags = sorted({*known, *varying, self._count_tag})
        self._directory = bytearray(struct.pack(f"{layout.order}H", len(tags)) + bytes(12 * len(tags) + 4))
        self._steps: list[tuple[int, int, bytes]] = []
        """Tag, position in the directory and padded values of each entry that depends on the file; the values are
        empty for entries that are given for each file."""
        for number, tag in enumerate(tags):
            at = 2 + 12 * number
            if tag not in known:
                self._steps.append((tag, at, b""))
                continue
            _, kind, values, raw = known[tag]
            self._head.pack_into(self._directory, at, tag, kind, values)
            if len(raw) > 4:
                self._steps.append((tag, at, raw + bytes(len(raw) % 2)))
            else:
                self._directory[at + 8 : at + 8 + len(raw)] = raw

    def fill(self, block: bytes, entries: Collection[Tag]) -> bytes:
        """Make a file: the same bytes that `subset` returns for a layout with these entries and its only block.

        Args:
            block: compressed bytes of the block.
            entries: an entry for each varying tag.
        """
        given = {entry[0]: entry for entry in entries}
        given[self._count_tag] = (self._count_tag, _LONG, 1, self._word.pack(len(block)))
        directory, end = self._directory.copy(), _BEGIN + len(block)
        payloads = [bytes(end % 2)]
        end += end % 2
        for tag, at, raw in self._steps:
            if not raw:
                _, kind, values, raw = given[tag]
                self._head.pack_into(directory, at, tag, kind, values)
                if len(raw) <= 4:
                    directory[at + 8 : at + 8 + len(raw)] = raw
                    continue
                raw += bytes(len(raw) % 2)
            self._word.pack_into(directory, at + 8, end)
            payloads.append(raw)
            end += len(raw)
        return b"".join([self._pack(self._magic, 42, end), block, *payloads, directory])


# ---- a header to be stored --------------------------------------------------------------------------------


def pack(layout: Layout) -> bytes:
    """Encode a layout in few bytes, from which :func:`unpack` restores everything but ``end`` and ``read_to``.

    The result is a compressed TIFF header. Most blocks follow one another in the file, so each is stored not with
    its offset but with its distance from the end of the previous block, which is mostly 0. DEFLATE then needs 0.6
    to 0.9 kB for a header of Sentinel-2, half of what it needs for the original header. Only the first directory
    is stored, so the layout must not have a mask.
    """
    present = np.flatnonzero(layout.block_counts)
    gaps = layout.block_offsets.copy()
    gaps[present] -= _before(layout.block_offsets + layout.block_counts, present)
    squeezer = zlib.compressobj(6, zlib.DEFLATED, _WINDOW, _MEMORY)
    return squeezer.compress(rewritten(layout, gaps, layout.block_counts)) + squeezer.flush()


def unpack(packed: bytes) -> Layout | None:
    """Return the layout that :func:`pack` encoded, parsed like a file's header; None if the bytes are damaged."""
    unpacker = zlib.decompressobj()
    try:
        header = unpacker.decompress(packed, directories.MAX_HEADER)
        layout = tiff.parse(header) if unpacker.eof else None  # zlib compares the checksum only at the end
    except (zlib.error, CorruptFile):
        return None
    if not isinstance(layout, Layout):
        return None
    present = np.flatnonzero(layout.block_counts)
    places = layout.block_offsets.copy()
    steps = places[present] + _before(layout.block_counts, present)
    # If a block lies before its predecessor, its distance is negative, and is stored modulo the range of offsets.
    places[present] = np.cumsum(steps) & (np.iinfo(np.int64).max if layout.big else 0xFFFFFFFF)
    return replace(layout, block_offsets=places)


def _before(values: NDArray[np.int64], present: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each present block the value of the previous present block; 0 for the first block."""
    return np.concatenate([[0], values[present][:-1]])
