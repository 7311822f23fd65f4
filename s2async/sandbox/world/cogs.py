"""Writes cloud-optimised GeoTIFFs of realistic length that take little disk: holes between the tiles.

The layout is that of the COGs of Sentinel-2 on AWS, byte for byte the same as GDAL writes from the same compressed
tiles (TIFF 6.0, OGC 19-008r4; GDAL's "COG -- Cloud Optimized GeoTIFF generator", section "Header ghost area"): all
directories, then all tile arrays, then the tiles, the smallest overview first, row by row.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GHOST: Final = (
    b"GDAL_STRUCTURAL_METADATA_SIZE=000140 bytes\n"
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n \0"
)
"""GDAL's ghost area, by which its newer versions mark a file as a COG, and a byte to make its length even."""

_SHORT, _LONG, _DOUBLE, _ASCII = 3, 4, 12, 2
_FORMS: Final = {_SHORT: "H", _LONG: "I", _DOUBLE: "d"}
_TILE_OFFSETS, _TILE_COUNTS = 324, 325
_OUT_OF_LINE_FIRST: Final = (258, 339, 42112)
"""Tags whose values GDAL writes before those of other tags, if they do not fit into the directory."""

Value = bytes | Sequence[int] | Sequence[float]
Tag = tuple[int, int, Value]
"""Tag, type, values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One resolution of a file."""

    width: int
    height: int
    block: int
    """Side of a tile in pixels."""

    @property
    def across(self) -> int:
        """Number of tiles in a row."""
        return -(-self.width // self.block)

    @property
    def down(self) -> int:
        """Number of rows of tiles."""
        return -(-self.height // self.block)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cog:
    """Properties of a file, except its pixels: north up, UTM on WGS 84, nodata 0, DEFLATE with predictor 2."""

    width: int
    height: int
    bands: int
    """1 (grey) or 3 (RGB, pixel-interleaved)."""
    bits: int
    """8 or 16, unsigned."""
    block: int
    """Side of a full-resolution tile in pixels."""
    overview_block: int
    overviews: int
    """Number of overviews; each has half the size of the one before, rounded up."""
    epsg: int
    """EPSG code: 326xx or 327xx."""
    west: float
    north: float
    pixel: float
    """Size of a pixel in metres."""
    metadata: str = ""
    """Text of the GDAL_METADATA tag; no tag if empty."""
    ghost: bool = True
    """With GDAL's ghost area, and 4 bytes before and after each tile; without both, as in older files."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The full resolution, then the overviews from large to small."""
        return tuple(
            Level(
                width=-(-self.width // 2**power),
                height=-(-self.height // 2**power),
                block=self.overview_block if power else self.block,
            )
            for power in range(self.overviews + 1)
        )


@dataclass(frozen=True, slots=True)
class Tile:
    """One compressed tile."""

    data: bytes
    room: int | None = None
    """None: the tile has its own bytes. A number: a stand-in, which shares the bytes of the first stand-in like it
    in its level, and leaves this many bytes of the file empty in place of the real tile."""


def compress(pixels: NDArray[Any], block: int, *, level: int = 1) -> bytes:
    """Return one tile as DEFLATE with horizontal differencing (predictor 2).

    Args:
        pixels: rows x columns (x bands), uint8 or uint16; smaller than the block at the raster's edge.
        block: side of the tile; the rest of the tile is 0.
        level: level of zlib. Level 1 here means run lengths and Huffman codes only: three times as fast on grainy
            images, and not larger, because their differences contain no repeated strings.
    """
    full = np.zeros((block, block, *pixels.shape[2:]), dtype=pixels.dtype.newbyteorder("<"))
    full[: pixels.shape[0], : pixels.shape[1]] = pixels
    full[:, 1:] -= full[:, :-1].copy()
    strategy = zlib.Z_RLE if level == 1 else zlib.Z_DEFAULT_STRATEGY
    packer = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return packer.compress(full.tobytes()) + packer.flush()


def write(path: Path, cog: Cog, tiles: Sequence[Sequence[Tile]]) -> int:
    """Write a file. The space of stand-ins becomes a hole if the file system supports holes.

    Args:
        path: the file; replaced if it exists.
        cog: properties of the file.
        tiles: tiles of each of ``cog.levels``, row by row.

    Returns:
        Size of the file in bytes, including holes.

    Raises:
        ValueError: the number of tiles is wrong, or the file would not fit into classic TIFF (4 GiB).
    """
    for level, own in zip(cog.levels, tiles, strict=True):
        if len(own) != level.across * level.down:
            raise ValueError(f"{len(own)} tiles for {level.across} x {level.down}")
    places, pieces, size = _arrange(cog, tiles, _header_size(cog))
    if size >= 2**32:
        raise ValueError(f"{size:,} bytes do not fit into a classic TIFF")
    with path.open("wb") as file:
        file.write(_header(cog, places))
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
        file.truncate(size)
    return size


Places = list[tuple[list[int], list[int]]]
"""Offsets and byte counts of each level's tiles."""


def _arrange(cog: Cog, tiles: Sequence[Sequence[Tile]], start: int) -> tuple[Places, list[tuple[int, bytes]], int]:
    """Return the position of each tile, the bytes to write at each position, and the size of the file."""
    places: Places = []
    pieces: list[tuple[int, bytes]] = []
    at = start
    for own in reversed(tiles):
        offsets, counts = [], []
        shared: dict[int, int] = {}
        for tile in own:
            known = None if tile.room is None else shared.get(id(tile.data))
            data = b"" if known is not None else _framed(tile.data, cog.ghost)
            if known is None:
                known = at + (4 if cog.ghost else 0)
                pieces.append((at, data))
                if tile.room is not None:
                    shared[id(tile.data)] = known
            offsets.append(known)
            counts.append(len(tile.data))
            at += max(len(data), tile.room or 0)
        places.insert(0, (offsets, counts))
    return places, pieces, at


def _framed(data: bytes, ghost: bool) -> bytes:
    return struct.pack("<I", len(data)) + data + data[-4:] if ghost else data


# ---- the header ---------------------------------------------------------------------------------------------


def _header_size(cog: Cog) -> int:
    blank = [([0] * (level.across * level.down),) * 2 for level in cog.levels]
    return len(_header(cog, blank))


def _header(cog: Cog, places: Places) -> bytes:
    """Return everything before the first tile: the directories, one after the other, then all tile arrays."""
    ghost = GHOST if cog.ghost else b""
    first = 8 + len(ghost)
    directories = [_tags(cog, index) for index in range(len(cog.levels))]
    arrays = first + sum(_directory_size(tags) for tags in directories)
    heads, tails, at = [], [], first
    for index, (tags, place) in enumerate(zip(directories, places, strict=True)):
        at += _directory_size(tags)
        following = at if index + 1 < len(places) else 0
        head, tail = _directory(tags, place, at - _directory_size(tags), following, arrays)
        heads.append(head)
        tails.append(tail)
        arrays += len(tail)
    return struct.pack("<2sHI", b"II", 42, first) + ghost + b"".join(heads) + b"".join(tails)


def _tags(cog: Cog, index: int) -> list[Tag]:
    """Return the tags of one directory, except the two tile arrays."""
    level = cog.levels[index]
    bands: list[Tag] = [
        (256, _SHORT, [level.width]),
        (257, _SHORT, [level.height]),
        (258, _SHORT, [cog.bits] * cog.bands),
        (259, _SHORT, [8]),
        (262, _SHORT, [2 if cog.bands == 3 else 1]),
        (277, _SHORT, [cog.bands]),
        (284, _SHORT, [1]),
        (317, _SHORT, [2]),
        (322, _SHORT, [level.block]),
        (323, _SHORT, [level.block]),
        (_TILE_OFFSETS, _LONG, []),
        (_TILE_COUNTS, _LONG, []),
        (339, _SHORT, [1] * cog.bands),
    ]
    nodata: list[Tag] = [(42113, _ASCII, b"0\0")]
    if index:
        return [(254, _LONG, [1]), *bands, *nodata]
    note: list[Tag] = [(42112, _ASCII, cog.metadata.encode() + b"\0")] if cog.metadata else []
    return [*bands, *_georeference(cog), *note, *nodata]


def _georeference(cog: Cog) -> list[Tag]:
    zone, south = cog.epsg % 100, cog.epsg // 100 == 327
    name = f"WGS 84 / UTM zone {zone}{'S' if south else 'N'}|"
    keys = [
        (1, 1, 0, 7),
        (1024, 0, 1, 1),
        (1025, 0, 1, 1),
        (1026, 34737, len(name), 0),
        (2049, 34737, 7, len(name)),
        (2054, 0, 1, 9102),
        (3072, 0, 1, cog.epsg),
        (3076, 0, 1, 9001),
    ]
    return [
        (33550, _DOUBLE, [cog.pixel, cog.pixel, 0.0]),
        (33922, _DOUBLE, [0.0, 0.0, 0.0, cog.west, cog.north, 0.0]),
        (34735, _SHORT, [number for key in keys for number in key]),
        (34737, _ASCII, f"{name}WGS 84|".encode() + b"\0"),
    ]


def _packed(kind: int, values: Value) -> bytes:
    if isinstance(values, bytes):
        return values
    return struct.pack(f"<{len(values)}{_FORMS[kind]}", *values)


def _out_of_line(tags: list[Tag]) -> Iterator[tuple[int, bytes]]:
    """Yield values that do not fit into the directory, in GDAL's order, padded to even lengths."""
    for tag, kind, values in sorted(tags, key=lambda entry: (entry[0] not in _OUT_OF_LINE_FIRST, entry[0])):
        raw = _packed(kind, values)
        if len(raw) > 4:
            yield tag, raw + b"\0" * (len(raw) % 2)


def _directory_size(tags: list[Tag]) -> int:
    return 2 + 12 * len(tags) + 4 + sum(len(raw) for _, raw in _out_of_line(tags))


def _directory(
    tags: list[Tag], place: tuple[list[int], list[int]], at: int, following: int, arrays: int
) -> tuple[bytes, bytes]:
    """Return one directory with its values, and its tile arrays, which are written at ``arrays``."""
    where: dict[int, int] = {}
    values_at = at + 2 + 12 * len(tags) + 4
    values = b""
    for tag, raw in _out_of_line(tags):
        where[tag] = values_at + len(values)
        values += raw
    offsets, counts = (_packed(_LONG, numbers) for numbers in place)
    tail = b"" if len(offsets) == 4 else offsets + counts
    entries = struct.pack("<H", len(tags))
    for tag, kind, content in tags:
        raw, offset = _packed(kind, content), where.get(tag, 0)
        if tag == _TILE_OFFSETS:
            raw, offset = offsets, arrays
        elif tag == _TILE_COUNTS:
            raw, offset = counts, arrays + len(offsets)
        number = len(raw) // struct.calcsize(_FORMS.get(kind, "c"))
        inline = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", offset)
        entries += struct.pack("<HHI", tag, kind, number) + inline
    return entries + struct.pack("<I", following) + values, tail
