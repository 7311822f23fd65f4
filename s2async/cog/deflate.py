"""Decodes the first rows of DEFLATE blocks without GDAL: inflates down to the last needed row, but no further.

Measured on a block of a Sentinel-2 scene (1.9 MB): 10.3 ms with GDAL, 4.8 ms with this module, and 2.4 ms for half
of the block. Pure; calls may run in any thread, and release the interpreter lock while they inflate a stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from s2async.cog.directories import FILL_ORDER, GDAL_NODATA, PHOTOMETRIC, TILE_WIDTH
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile

try:
    from isal import isal_zlib as fast  # two to four times as fast; not available on every machine
except ImportError:
    import zlib as fast  # type: ignore[no-redef]
_DAMAGED = (zlib.error, cast("type[Exception]", fast.error))

DEFLATE: Final = frozenset({8, 32946})
"""Values of TIFF's tag Compression for zlib streams: the official one, and the one that libtiff used before."""
_SMALL: Final = 131072
"""Largest output in bytes that is inflated with zlib: isal decodes up to 64 KiB ahead, so its count of needed
bytes is too large by that amount, which matters for small outputs."""
_GROUP: Final = 16
"""Number of columns that are summed at once."""
_FEW: Final = 65536
"""Number of elements below which one slow call for an array costs less than the overhead of many fast calls."""
_SHORT: Final = 3
"""TIFF's type of 16-bit numbers."""
_DTYPES: Final = frozenset({"uint8", "int8", "uint16", "int16"})
_PHOTOMETRICS: Final = frozenset({0, 1, 2, 3})
"""Values of TIFF's tag PhotometricInterpretation for pixels that are used as stored: grey, RGB, palette index.
GDAL converts pixels with other values, such as YCbCr."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A rectangle of a block, and the array to which it is copied."""

    rows: slice
    columns: slice
    """Columns, like the rows, in pixels of the block."""
    target: NDArray[np.generic]
    """The array to write to: (bands, rows, columns)."""


def supported(layout: Layout) -> bool:
    """Return whether blocks of this layout can be read row by row. GDAL reads all others."""
    return (
        layout.compression in DEFLATE
        and layout.predictor in (1, 2)
        and layout.dtype in _DTYPES
        and (layout.bands == 1 or not layout.planar)
        and _short(layout, PHOTOMETRIC) in _PHOTOMETRICS
        and _short(layout, FILL_ORDER) == 1
        and layout.tiled == any(tag == TILE_WIDTH for tag, *_ in layout.tags)
        and (bool(layout.block_counts.all()) or _plain_nodata(layout))
    )


def line_bytes(layout: Layout) -> int:
    """Return the number of inflated bytes in one row of a block."""
    return layout.block_width * layout.bands * np.dtype(layout.dtype).itemsize


def read_rows(layout: Layout, data: bytes | memoryview, rows: int, *, whole: bool = False) -> tuple[bytes, int]:
    """Inflate the first rows of a block.

    Args:
        layout: layout of the file, for which :func:`supported` is true.
        data: the start of the block's stream.
        rows: number of rows to inflate, at least one.
        whole: whether the data is the whole stream, which is inflated to its end and checked against its checksum
            (Adler-32, RFC 1950).

    Returns:
        The inflated bytes of the requested rows, or of all rows if ``whole``, but no more than the data contains;
        and how many bytes of the data were needed. This number is never too small; it may include bytes for up to
        64 KiB of further pixels.

    Raises:
        CorruptFile: the stream is damaged, or ends before the requested rows.
    """
    size = rows * line_bytes(layout)
    # The output is bounded, because a few compressed bytes can inflate to gigabytes. The bound is one byte more
    # than the size of a block, which shows whether a stream is too long.
    most = layout.block_height * line_bytes(layout) + 1 if whole else size
    stream = (fast if most > _SMALL else zlib).decompressobj()
    try:
        raw: bytes = stream.decompress(data, most)
    except _DAMAGED as error:
        raise CorruptFile(f"is damaged ({error})") from error
    if whole and (len(raw) == most or not stream.eof):
        raise CorruptFile("is cut off" if len(raw) < most else "is longer than it may be")
    if stream.eof and len(raw) < size:
        raise CorruptFile(f"ends after {len(raw) // line_bytes(layout)} of {rows} rows")
    return raw, len(data) - len(stream.unconsumed_tail) - len(stream.unused_data)


def place(layout: Layout, raw: bytes, pieces: Sequence[Piece]) -> None:
    """Copy inflated pixels to the arrays of the given pieces, and undo the predictor (TIFF 6.0, section 14).

    Args:
        layout: layout of the file.
        raw: whole rows from the start of the block, at least those that the pieces need.
        pieces: rectangles of the block, and the arrays to which they are copied.
    """
    stored = np.dtype(f"{layout.order}{np.dtype(layout.dtype).str[1:]}")
    pixels = np.frombuffer(raw, stored, len(raw) // line_bytes(layout) * layout.block_width * layout.bands)
    pixels = pixels.reshape(-1, layout.block_width, layout.bands)
    if layout.predictor == 2:
        top, bottom = min(p.rows.start for p in pieces), max(p.rows.stop for p in pieces)
        left, right = min(p.columns.start for p in pieces), max(p.columns.stop for p in pieces)
        # Undoing the predictor of a pixel requires all differences to its left. If pieces overlap, one sum for all
        # pieces takes fewer additions than a sum for each piece.
        if sum((p.rows.stop - p.rows.start) * p.columns.stop for p in pieces) > (bottom - top) * right:
            sums = _sums(pixels[top:bottom, :right], left)
            for p in pieces:
                columns = slice(p.columns.start - left, p.columns.stop - left)
                _put(p, sums[p.rows.start - top : p.rows.stop - top, columns])
        else:
            for p in pieces:
                _put(p, _sums(pixels[p.rows, : p.columns.stop], p.columns.start))
    else:
        for p in pieces:
            _put(p, pixels[p.rows, p.columns])


def _sums(differences: NDArray[Any], left: int) -> NDArray[Any]:
    """Compute pixels from the differences to their left neighbours, modulo the range of the type.

    For the columns to the left of the requested columns, only the sum is needed. Adding groups of columns, which
    are contiguous in memory, takes a tenth of the time of adding pixel by pixel.

    Args:
        differences: (rows, columns, bands), from the first column of the block.
        left: first requested column.

    Returns:
        The pixels: (rows, columns from ``left`` on, bands).
    """
    rows, _, bands = differences.shape
    native = differences.dtype.newbyteorder("=")
    if differences.size < _FEW:
        return np.cumsum(differences, axis=1, dtype=native)[:, left:]
    summed = left // _GROUP * _GROUP
    sums = differences[:, summed:]
    if summed:
        sums = sums.astype(native)
        groups = differences[:, :summed].reshape(rows, summed // _GROUP, _GROUP * bands)
        by_column = np.add.reduce(groups, axis=1, dtype=native).reshape(rows, _GROUP, bands)
        sums[:, 0] += np.add.reduce(by_column, axis=1, dtype=native)
    if native.itemsize > 1:
        return np.cumsum(sums, axis=1, dtype=native)[:, left - summed :]
    # Prefix sums according to Hillis and Steele (1986): log2(columns) additions of whole lines, each shifted twice
    # as far as the previous one, take half the time of a running sum of bytes.
    lines, step = np.array(sums, native).reshape(rows, -1), bands
    while step < lines.shape[1]:
        lines[:, step:] += lines[:, :-step]
        step *= 2
    return lines.reshape(rows, -1, bands)[:, left - summed :]


def _put(piece: Piece, pixels: NDArray[np.generic]) -> None:
    piece.target[:] = pixels.transpose(2, 0, 1)


def _short(layout: Layout, tag: int) -> int:
    """Return the value of a tag whose default is 1; -1 if the tag does not have the usual type and count."""
    for key, kind, count, raw in layout.tags:
        if key == tag and (kind, count) != (_SHORT, 1):
            return -1
        if key == tag:
            return int.from_bytes(raw[:2], "little" if layout.order == "<" else "big")
    return 1


def _plain_nodata(layout: Layout) -> bool:
    """Return whether nodata, which fills blocks left out of the file, is an integer; GDAL rounds other values."""
    if layout.nodata is None:
        return all(tag != GDAL_NODATA for tag, *_ in layout.tags)
    return layout.nodata.is_integer()
