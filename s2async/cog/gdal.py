"""Decodes TIFFs in memory with GDAL, which gets only bytes, never a path or a URL.

All functions run in worker threads: one call opens, reads and closes a dataset in one thread, and no GDAL option
outlives the call. (If two threads read one dataset, the process crashes; an Env that is open across an ``await``
leaks its options to other tasks.)
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window as RasterioWindow

from s2async.cog import memory, tiff
from s2async.cog.deflate import DEFLATE, read_rows
from s2async.cog.grid import Window
from s2async.cog.tiff import DTYPES, MAX_BLOCK, MAX_SIDE, Layout
from s2async.errors import CorruptFile

_TEXT = 2
"""TIFF's type of text."""
OPTIONS: dict[str, Any] = {
    "GDAL_CACHEMAX": 64 << 20,  # bytes; the default is a fraction of the machine's memory
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",  # no side-car files
    "GDAL_NUM_THREADS": "1",  # parallelism comes from the pool
    "GTIFF_IGNORE_READ_ERRORS": "NO",  # overrides the environment: a missing block is an error, not zeros
}
PLENTY = 4 * MAX_BLOCK
"""More bytes than decoding any block takes."""
_NO_ROOM = re.compile("cannot allocate|out of memory", re.IGNORECASE)


def whole(data: bytes) -> tuple[Layout, NDArray[np.generic]]:
    """Decode all pixels of a small file, such as a crop.

    Args:
        data: the whole file.

    Returns:
        The layout, and the pixels: (bands, rows, columns) in the file's own type.

    Raises:
        CorruptFile: the data is not a TIFF that can be decoded, or is cut off.
    """
    layout = tiff.parse(data)
    if not isinstance(layout, Layout):
        raise CorruptFile("is cut off")
    (pixels,) = read(data, [Window(col=0, row=0, width=layout.grid.width, height=layout.grid.height)])
    return layout, pixels


def sound(data: bytes) -> tuple[Layout, NDArray[np.generic]]:
    """Decode a file like `whole`, but also check that every block is present and matches its checksum.

    GDAL alone is not enough: it fills blocks that are left out, and does not compare checksums.

    Args:
        data: the whole file.

    Raises:
        CorruptFile: the data is not a TIFF that can be decoded, or is cut off, or a block is missing or damaged.
    """
    layout = tiff.parse(data)
    if not isinstance(layout, Layout):
        raise CorruptFile("is cut off")
    try:  # otherwise GDAL would quote unreadable text in its own message
        for _, kind, _, raw in layout.tags:
            raw.decode("utf-8" if kind == _TEXT else "latin-1")
    except UnicodeDecodeError:
        raise CorruptFile("has a damaged header: a tag is not valid UTF-8") from None
    starts, counts = layout.block_offsets, layout.block_counts
    if not (starts.all() and counts.all()):
        raise CorruptFile("lacks some of its blocks")
    if (starts + counts).max() > len(data):
        raise CorruptFile("is cut off")
    blocks = enumerate(zip(starts.tolist(), counts.tolist(), strict=True))
    check_streams(layout, {block: data[start : start + count] for block, (start, count) in blocks})
    with _opened(data) as raster:
        place = raster.crs and raster.crs.to_epsg(), raster.transform
        if place != (layout.grid.epsg, layout.grid.transform):
            raise CorruptFile("has a damaged header: GDAL reads another place from it")
        if repr(raster.nodata) != repr(layout.nodata):  # NaN is not equal to itself
            raise CorruptFile("has a damaged header: GDAL reads another nodata from it")
        return layout, raster.read()


def check_streams(layout: Layout, blocks: Mapping[int, bytes], *, sure: Collection[int] = ()) -> None:
    """Compare the checksum (Adler-32, RFC 1950) at the end of every block's DEFLATE stream.

    GDAL does not do this: it decodes one in three streams with a flipped bit to wrong pixels. Blocks of other
    codecs have no checksum, and are not checked.

    Args:
        layout: layout of the file.
        blocks: compressed bytes by index of the block.
        sure: blocks whose bytes are known to be in the file; other bytes may follow the streams of these blocks.

    Raises:
        CorruptFile: a stream is damaged, is cut off, does not have the length of a block, or is followed by other
            bytes, which shows that it belongs to another file; the text names the block.
    """
    if layout.compression not in DEFLATE:
        return
    full = layout.tiled and (layout.bands == 1 or not layout.planar)  # the last strip may be shorter
    for block, data in blocks.items():
        try:
            _, used = read_rows(layout, data, layout.block_height if full else 0, whole=True)
        except CorruptFile as error:
            raise CorruptFile(f"block {block} {error}") from error
        if used < len(data) and block not in sure:
            raise CorruptFile(f"block {block} is shorter than its file says")


def read(tiff: bytes, windows: Sequence[Window]) -> list[NDArray[np.generic]]:
    """Decode windows of a TIFF in memory.

    Args:
        tiff: a whole TIFF, such as :func:`s2async.cog.headers.subset` returns.
        windows: windows inside the raster, on blocks that the TIFF contains.

    Returns:
        For each window, a (bands, rows, columns) array of the file's own type, not masked.

    Raises:
        CorruptFile: GDAL cannot decode the TIFF, a block is missing, or its blocks are too large.
        MemoryError: this machine does not have enough memory for the pixels.
    """
    with _opened(tiff) as raster:
        return [raster.read(window=RasterioWindow(w.col, w.row, w.width, w.height)) for w in windows]


@contextlib.contextmanager
def _opened(tiff: bytes) -> Iterator[Any]:
    """Open a TIFF in memory with GDAL, and turn GDAL's errors into those of this package."""
    try:
        with (
            rasterio.Env(**OPTIONS),
            MemoryFile(tiff, filename="tiles.tif") as file,
            file.open(driver="GTiff", sharing=False) as raster,
        ):
            _refuse_absurd(raster)
            yield raster
    except RasterioError as error:
        reason = str(error.__cause__ or error)  # only the cause names the block that cannot be read
        # GDAL gives the same message if the machine is out of memory and if a damaged file declares huge sizes.
        if _NO_ROOM.search(reason) and not memory.has_room(PLENTY):
            raise MemoryError(" ".join(reason.split())) from error
        raise CorruptFile(f"cannot be decoded: {' '.join(reason.split())}") from error


def _refuse_absurd(raster: Any) -> None:
    """Apply the limits of :func:`cog.tiff.parse` to what GDAL reads, because GDAL allocates whole blocks."""
    if not set(raster.dtypes) <= DTYPES or max(raster.count, *raster.shape) > MAX_SIDE:
        raise CorruptFile(
            f"cannot be decoded: {raster.width} x {raster.height} x {raster.count} {raster.dtypes[0]}"
        )
    bands = 1 if raster.interleaving is Interleaving.band else raster.count
    block = max(map(math.prod, raster.block_shapes)) * bands * np.dtype(raster.dtypes[0]).itemsize
    if block > MAX_BLOCK:
        raise CorruptFile(f"cannot be decoded: blocks of {block >> 20} MiB are refused")
