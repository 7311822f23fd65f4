"""Reads the directories of a TIFF: the entries, and the bytes of their values.

Pure: bytes in, values out. The layout of the format follows "TIFF Revision 6.0" (Adobe, 1992); BigTIFF follows the
libtiff design note. :mod:`s2async.cog.tiff` interprets the values.

Headers come from the network, and may be damaged or hostile. Therefore what a directory declares is limited before
memory is allocated or a loop runs for it: the size of the header (:data:`MAX_HEADER`, also for the sum of all
values, because thousands of tags may point to the same bytes), and the number of directories and of their entries.
"""

from __future__ import annotations

import struct
from typing import Final

from s2async.errors import CorruptFile

MAX_HEADER: Final = 1 << 20
"""Number of bytes at the start of a file that must contain the whole header; otherwise the file is not
cloud-optimised."""
_MAX_ENTRIES: Final = 4096
"""Maximum number of entries of a directory; GDAL writes about twenty."""
_MAX_DIRECTORIES: Final = 64
"""Maximum number of directories after the first: overviews and masks."""

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION = 254, 256, 257, 258, 259
PHOTOMETRIC, FILL_ORDER = 262, 266
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
SUB_IFDS, EXTRA_SAMPLES, SAMPLE_FORMAT, EXIF_IFD, GPS_IFD = 330, 338, 339, 34665, 34853
PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, GEO_KEYS, GDAL_METADATA, GDAL_NODATA = (
    33550,
    33922,
    34264,
    34735,
    42112,
    42113,
)
TYPES: Final = {
    1: "B",
    2: "s",
    3: "H",
    4: "I",
    6: "b",
    7: "s",
    8: "h",
    9: "i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
"""Types of values in the notation of :mod:`struct`, by number."""
_SIZES = {5: 8, 10: 8} | {kind: struct.calcsize(code) for kind, code in TYPES.items()}

Tag = tuple[int, int, int, bytes]
"""An entry of a directory: tag, type, count, and the bytes of its values as stored."""
Entry = tuple[int, int, int, int]
"""An entry as a directory lists it: tag, type, count, and the offset of its value field."""
Raws = dict[int, tuple[int, int, bytes]]
"""Type, count and stored bytes of the values, by tag."""


class ShortError(Exception):
    """More bytes of the file are needed than are available."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Reader:
    """Reads numbers and directories from the first bytes of a file, and records the end of what it read.

    Args:
        head: the bytes of the start of the file that have been fetched.

    Raises:
        CorruptFile: the file is not a TIFF.
        ShortError: more bytes are needed; methods raise it as well.
    """

    def __init__(self, head: bytes) -> None:
        if len(head) < 16:
            if len(head) >= 4 and head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                raise CorruptFile(_not_a_tiff(head))
            raise ShortError(16)
        if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise CorruptFile(_not_a_tiff(head))
        self.head = head
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = head[:4] in (b"II+\0", b"MM\0+")
        self.word = "Q" if self.big else "I"
        self.end = 16

    def take(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes of the file from an offset.

        Raises:
            ShortError: not all of these bytes are available.
        """
        if offset + size > len(self.head):
            raise ShortError(offset + size)
        self.end = max(self.end, offset + size)
        return self.head[offset : offset + size]

    def unpack(self, form: str, offset: int) -> tuple[int, ...]:
        """Return the numbers at an offset; ``form`` is a format of :mod:`struct`, without the byte order."""
        raw = self.take(offset, struct.calcsize(self.order + form))
        return struct.unpack(self.order + form, raw)

    def first_directory(self) -> int:
        """Return the offset of the first directory."""
        return self.unpack("Q", 8)[0] if self.big else self.unpack("I", 4)[0]

    def directory(self, offset: int) -> tuple[list[Entry], int]:
        """Return the entries of a directory, and the offset of the next directory."""
        if offset < 8:
            raise ValueError(f"directory at byte {offset}")
        (number,) = self.unpack("Q" if self.big else "H", offset)
        if not 0 < number <= _MAX_ENTRIES:
            raise ValueError(f"a directory of {number} entries")
        form, size, start = ("HHQ8x", 20, offset + 8) if self.big else ("HHI4x", 12, offset + 2)
        body = self.take(start, number * size + struct.calcsize(self.word))
        heads = struct.iter_unpack(self.order + form, body[: number * size])
        values = range(start + size - struct.calcsize(self.word), start + number * size, size)
        entries = [(*entry, field) for entry, field in zip(heads, values, strict=True)]
        (following,) = struct.unpack(self.order + self.word, body[number * size :])
        return entries, following

    def raw(self, kind: int, count: int, field: int) -> bytes:
        """Return the stored bytes of an entry's values, which are in the entry itself if they fit there."""
        size = _SIZES.get(kind, 1) * count
        if size <= struct.calcsize(self.word):
            return self.take(field, size)
        (offset,) = self.unpack(self.word, field)
        return self.take(offset, size)


def raw_values(reader: Reader, entries: list[Entry]) -> Raws:
    """Return the values of all entries of a directory.

    Raises:
        ShortError: some values lie beyond the available bytes.
        ValueError: a tag occurs twice, or the values together are longer than a header may be.
    """
    # The error asks for the bytes up to the furthest missing value, so that one request is enough for all tags.
    short = held = 0
    raws: Raws = {}
    for tag, kind, count, field in entries:
        if tag in raws:
            raise ValueError(f"tag {tag} is there twice")
        try:
            raws[tag] = (kind, count, reader.raw(kind, count, field))
        except ShortError as error:
            short = max(short, error.size)
            continue
        held += len(raws[tag][2])
        # Every value lies within MAX_HEADER, but thousands of tags may point to the same megabyte.
        if held > MAX_HEADER:
            raise ValueError("its tags share their values")
    if short:
        raise ShortError(short)
    return raws


def later_directories(reader: Reader, offset: int) -> list[tuple[list[Entry], int]]:
    """Return entries and kind of a directory and of all that follow it.

    The kind is the value of NewSubfileType; 0 if a directory has no such tag.

    Args:
        reader: reader of the file.
        offset: offset of the directory; 0 if there is none.

    Raises:
        ShortError: a directory lies beyond the available bytes.
        ValueError: the directories form a cycle, or one of them is damaged.
    """
    seen: set[int] = set()
    later: list[tuple[list[Entry], int]] = []
    while offset:
        if offset in seen or len(seen) > _MAX_DIRECTORIES:
            raise ValueError("its directories go in a circle")
        seen.add(offset)
        entries, following = reader.directory(offset)
        kinds = [
            reader.unpack("H" if kind == 3 else "I", field)[0]
            for tag, kind, count, field in entries
            if tag == SUBFILE and kind in (3, 4) and count == 1
        ]
        later.append((entries, kinds[0] if kinds else 0))
        offset = following
    return later


def _not_a_tiff(head: bytes) -> str:
    start = head[:24].decode("latin-1").encode("unicode_escape").decode()
    return f"not a TIFF: it starts with '{start}'"
