"""Parses the header of a GeoTIFF: the properties of its full-resolution raster, and the offsets of its blocks.

Pure: bytes in, values out. The meaning of the tags follows "TIFF Revision 6.0" (Adobe, 1992), georeferencing
follows OGC 19-008r4 (GeoTIFF 1.1). :mod:`s2async.cog.directories` reads the tags. A cloud-optimised file has its
header in the first kilobytes (3.7 kB for a Sentinel-2 scene), so one small read gives the offset of every block.

Headers come from the network, and may be damaged or hostile. Therefore everything that a header declares is
limited before memory is allocated or a loop runs for it: the header itself (in `directories`), the raster, its
bands, and the decoded and compressed size of a block.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2async.cog import geotags
from s2async.cog.directories import (
    BITS,
    COMPRESSION,
    EXIF_IFD,
    EXTRA_SAMPLES,
    GDAL_METADATA,
    GDAL_NODATA,
    GEO_KEYS,
    GPS_IFD,
    HEIGHT,
    MAX_HEADER,
    PIXEL_SCALE,
    PLANAR,
    PREDICTOR,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    SAMPLES,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    SUB_IFDS,
    TIEPOINTS,
    TILE_COUNTS,
    TILE_HEIGHT,
    TILE_OFFSETS,
    TILE_WIDTH,
    TRANSFORMATION,
    TYPES,
    WIDTH,
    Raws,
    Reader,
    ShortError,
    Tag,
    later_directories,
    raw_values,
)
from s2async.cog.grid import Grid
from s2async.errors import CorruptFile, UnsupportedLayout

MAX_SIDE: Final = 20_000
"""Maximum width and height of a raster in pixels; Sentinel-2 has 10,980."""
MAX_BLOCK: Final = 64 << 20
"""Maximum bytes of one decoded block; a 1 MB file can declare a block of 1 GiB."""
MAX_SAMPLES: Final = 64
"""Maximum number of bands of a raster."""

_GEOREFERENCE = (PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, GEO_KEYS, 34736, 34737)
_REDUCED = 1
"""Bit of NewSubfileType: the directory is an overview (TIFF 6.0, section 8)."""
_MASK = 4
"""Bit of NewSubfileType: the directory is a transparency mask."""
_ALPHA = frozenset({1, 2})
"""Values of ExtraSamples for a band that is the opacity of the others (TIFF 6.0, section 18)."""
_PLACES = {STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS, SUB_IFDS, EXIF_IFD, GPS_IFD}
_DTYPES = {
    (1, 8): "uint8", (1, 16): "uint16", (1, 32): "uint32",
    (2, 8): "int8", (2, 16): "int16", (2, 32): "int32",
    (3, 32): "float32", (3, 64): "float64",
}  # fmt: skip

DTYPES: Final = frozenset(_DTYPES.values())
"""Numpy names of the supported pixel types."""


@dataclass(frozen=True, slots=True)
class NeedMore:
    """Result if the header extends beyond the available bytes."""

    size: int
    """Number of bytes from the start of the file that are needed next."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layout:
    """Contents of the first directory of a TIFF: the full-resolution raster, and the offsets of its blocks."""

    order: str
    """``<`` or ``>``: byte order of the file, in the notation of :mod:`struct`."""
    big: bool
    """True for BigTIFF (8-byte offsets)."""
    grid: Grid
    """Size, transform and CRS of the full-resolution raster."""
    bands: int
    dtype: str
    """Numpy name of the pixels' type."""
    nodata: float | None
    scales: tuple[float, ...]
    """Scale of each band (1.0 if the file does not state it)."""
    offsets: tuple[float, ...]
    """Offset of each band (0.0 if the file does not state it)."""
    compression: int
    predictor: int
    planar: bool
    """True if every band has separate blocks, False if bands are interleaved by pixel."""
    tiled: bool
    """True for tiles, False for strips (blocks as wide as the raster)."""
    block_width: int
    block_height: int
    block_offsets: NDArray[np.int64]
    """Offset of every block in the file, row by row, band by band if planar; 0 for an omitted block."""
    block_counts: NDArray[np.int64]
    """Compressed bytes of every block; 0 for an omitted block, whose pixels are nodata."""
    end: int
    """One past the last byte of the first directory and its values."""
    read_to: int
    """One past the last byte that was read: later directories may lie beyond ``end``."""
    tags: tuple[Tag, ...]
    """Every entry of the directory, except those for offsets and sizes in the file."""
    alpha: bool = False
    """True if pixels whose last band is 0 have no data."""
    mask: Layout | None = None
    """Layout of the internal mask, a raster of the same size: pixels for which it is 0 have no data."""

    @property
    def hides(self) -> bool:
        """Whether pixels may be without data although their values are not nodata."""
        return self.alpha or self.mask is not None

    @property
    def across(self) -> int:
        """Number of blocks in a row."""
        return -(-self.grid.width // self.block_width)

    @property
    def down(self) -> int:
        """Number of rows of blocks."""
        return -(-self.grid.height // self.block_height)


def parse(head: bytes) -> Layout | NeedMore:
    """Parse the header of a TIFF.

    Args:
        head: the bytes of the start of the file that have been fetched.

    Returns:
        The layout of the full-resolution raster, or how many bytes are needed next.

    Raises:
        CorruptFile: the bytes are not a TIFF, are inconsistent, or declare absurd sizes.
        UnsupportedLayout: the TIFF is valid, but this program cannot read parts of it.
    """
    layouts = _guarded(_parse, head)
    return layouts if isinstance(layouts, NeedMore) else layouts[0]


def parse_levels(head: bytes) -> tuple[Layout, ...] | NeedMore:
    """Parse the header of a TIFF including its overviews, which show the same ground with fewer pixels.

    Overviews are in later directories. The directory of an overview has no georeference, so its grid is derived
    from that of the full resolution, as in GDAL.

    Args:
        head: the bytes of the start of the file that have been fetched.

    Returns:
        The full resolution, then the overviews in the order of the file (from large to small in a cloud-optimised
        file); or how many bytes are needed next. The tags of an overview contain the georeference of the full
        resolution; its grid is its own.

    Raises:
        CorruptFile, UnsupportedLayout: as for :func:`parse`.
    """
    return _guarded(lambda known: _parse(known, overviews=True), head)


def _guarded(work: Callable[[bytes], tuple[Layout, ...]], head: bytes) -> tuple[Layout, ...] | NeedMore:
    """Parse, and turn any error into one of three results: more bytes needed, unsupported, or damaged."""
    try:
        return work(head)
    except ShortError as short:
        if short.size > MAX_HEADER:
            raise UnsupportedLayout(
                f"its header reaches to byte {short.size:,}: not a cloud-optimised GeoTIFF"
            ) from None
        return NeedMore(short.size)
    except (struct.error, ValueError, OverflowError, ZeroDivisionError) as error:
        raise CorruptFile(f"damaged TIFF header: {str(error)[:200]}") from error  # the text may quote a long tag


def _parse(head: bytes, *, overviews: bool = False) -> tuple[Layout, ...]:
    reader = Reader(head)
    entries, following = reader.directory(reader.first_directory())
    raws = raw_values(reader, entries)
    end = reader.end
    later = later_directories(reader, following)
    georeference = {tag: raws[tag] for tag in _GEOREFERENCE if tag in raws}

    def those(kind: int) -> list[Raws]:
        return [georeference | raw_values(reader, entries) for entries, found in later if found == kind]

    masks = those(_MASK)[:1]  # of several, GDAL uses the first
    whole = _layout(reader, raws, reader.end if masks else end)
    whole = _with_mask(whole, [_layout(reader, mask, reader.end, whole.grid, mask=True) for mask in masks])
    if not overviews:
        return (whole,)
    reduced = [_layout(reader, raws, reader.end, whole.grid) for raws in those(_REDUCED)]
    masks = those(_REDUCED | _MASK)
    smaller = [_layout(reader, mask, reader.end, whole.grid, mask=True) for mask in masks]
    return (whole, *(_with_mask(level, smaller) for level in reduced))


def _with_mask(layout: Layout, masks: list[Layout]) -> Layout:
    """Add the first mask of the same size to a raster. As in GDAL, a mask takes precedence over an alpha band."""
    size = layout.grid.width, layout.grid.height
    for mask in masks:
        if (mask.grid.width, mask.grid.height) == size:
            return replace(layout, mask=mask, alpha=False)
    return layout


def _layout(reader: Reader, raws: Raws, end: int, whole: Grid | None = None, *, mask: bool = False) -> Layout:
    """Interpret a directory; for an overview or a mask, ``whole`` is the grid of the full resolution."""

    def values(tag: int, default: tuple[float, ...] = ()) -> tuple[float, ...]:
        if tag not in raws:
            return default
        kind, count, raw = raws[tag]
        code = TYPES.get(kind)
        if code is None or code == "s":
            raise ValueError(f"tag {tag} has type {kind}")
        return struct.unpack(f"{reader.order}{count}{code}", raw)

    def integers(tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        numbers = values(tag, default)
        if numbers and isinstance(numbers[0], float):
            raise ValueError(f"tag {tag} has type {raws[tag][0]}")
        return tuple(map(int, numbers))

    def one(tag: int, default: int | None = None) -> int:
        numbers = integers(tag, () if default is None else (default,))
        if not numbers:
            raise ValueError(f"tag {tag} is missing")
        return numbers[0]

    def text(tag: int) -> str:
        return raws[tag][2].split(b"\0")[0].decode("utf-8", "replace") if tag in raws else ""

    width, height, bands = one(WIDTH), one(HEIGHT), one(SAMPLES, 1)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and 0 < bands <= MAX_SAMPLES):
        raise CorruptFile(f"a raster of {width} x {height} x {bands} is refused")
    bits = integers(BITS, (1,))
    if mask and (bands, bits) not in ((1, (1,)), (1, (8,))):
        raise UnsupportedLayout(f"unsupported layout: a mask of {bands} bands of {bits[0]} bits")
    # GDAL decodes masks, and returns a byte for each bit.
    dtype = "uint8" if mask else _dtype(bands, bits, integers(SAMPLE_FORMAT, (1,)))
    nodata = geotags.nodata_of(text(GDAL_NODATA), np.dtype(dtype))
    tiled = TILE_OFFSETS in raws
    block_width = one(TILE_WIDTH) if tiled else width
    block_height = one(TILE_HEIGHT) if tiled else min(one(ROWS_PER_STRIP, height), height)
    planar = one(PLANAR, 1) == 2
    if block_width < 1 or block_height < 1:
        raise ValueError(f"blocks of {block_width} x {block_height}")
    block_bytes = block_width * block_height * np.dtype(dtype).itemsize * (1 if planar else bands)
    # A decoder allocates whole blocks, even if only a part of them is needed.
    if block_bytes > MAX_BLOCK:
        raise CorruptFile(f"blocks of {block_bytes >> 20} MiB are refused")
    places = np.array(values(TILE_OFFSETS if tiled else STRIP_OFFSETS), dtype=np.int64)
    counts = np.array(values(TILE_COUNTS if tiled else STRIP_COUNTS), dtype=np.int64)
    expected = -(-width // block_width) * -(-height // block_height) * (bands if planar else 1)
    if not len(places) == len(counts) == expected:
        raise ValueError(f"{len(places)} places and {len(counts)} sizes for {expected} blocks")
    # Incompressible data grows a little when it is compressed; somewhat more than twice the size is more than any
    # codec needs.
    if places.min() < 0 or counts.min() < 0 or counts.max() > 2 * block_bytes + 65536:
        raise ValueError("a block lies at or has an impossible number of bytes")
    scales, offsets = geotags.scaling(text(GDAL_METADATA), bands)
    transform, epsg = geotags.georeference(
        values(PIXEL_SCALE), values(TIEPOINTS), values(TRANSFORMATION), [int(v) for v in values(GEO_KEYS)]
    )
    grid = Grid(width=width, height=height, transform=transform, epsg=epsg)
    return Layout(
        order=reader.order,
        big=reader.big,
        grid=whole.resized(width, height) if whole else grid,
        bands=bands,
        dtype=dtype,
        nodata=nodata,
        scales=scales,
        offsets=offsets,
        compression=one(COMPRESSION, 1),
        predictor=one(PREDICTOR, 1),
        planar=planar,
        tiled=tiled,
        block_width=block_width,
        block_height=block_height,
        block_offsets=places,
        block_counts=counts,
        end=end,
        read_to=reader.end,
        tags=tuple((tag, *entry) for tag, entry in raws.items() if tag not in _PLACES),
        # As in GDAL (GDALRasterBand::GetMaskBand): with one or three other bands, and without a nodata value.
        alpha=(
            nodata is None
            and bands in (2, 4)
            and dtype in ("uint8", "uint16")
            and (integers(EXTRA_SAMPLES) or (0,))[-1] in _ALPHA
        ),
    )


def _dtype(bands: int, bits: tuple[int, ...], formats: tuple[int, ...]) -> str:
    if len(set(bits)) != 1 or len(set(formats)) != 1 or len(bits) not in (1, bands):
        raise UnsupportedLayout(f"unsupported layout: bands of different types ({bits[:4]}, {formats[:4]})")
    name = _DTYPES.get((formats[0], bits[0]))
    if name is None:
        raise UnsupportedLayout(f"unsupported layout: pixels of {bits[0]} bits, format {formats[0]}")
    return name
