"""Pictures to look at: crops as small PNG and WebP images, encoded in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from s2async import files
from s2async.cog import gdal
from s2async.errors import CorruptFile

SUFFIX: Final = ".png"
"""Of a quicklook; the rest of its name is its crop's."""
SIDE: Final = 512
"""Pixels of a quicklook's longer side, at most."""
STRETCH: Final = (2, 98)
"""Percentiles that become black and white."""
_QUALITY: Final = 80
"""Of WebP, of 100: the grain of the land stays to be seen, in a tenth of the bytes of a PNG."""
_ANY: Final = Affine(10.0, 0.0, 0.0, 0.0, -10.0, 0.0)
"""A transform, which no picture keeps: rasterio would warn that there is none."""
_SOFTWARE: Final = "s2async quicklook"
"""Says in a PNG who made it (the text chunk ``Software`` of PNG 1.2, 4.2.3)."""

RGBA = NDArray[np.uint8]
"""(4, rows, columns): red, green, blue, and 255 where there is data, else 0."""


def beside(crop: Path) -> Path:
    """Where the quicklook of a crop is."""
    return crop.with_suffix(SUFFIX)


def encode(pixels: NDArray[np.generic], nodata: float | None) -> bytes:
    """A crop as a PNG of at most `SIDE` pixels; see `paint`."""
    return png(shrunk(paint(pixels, nodata), SIDE))


def is_own(data: bytes) -> bool:
    """Whether a PNG was made here: another program's picture may have the same name."""
    return data.startswith(b"\x89PNG") and _SOFTWARE.encode() in data


def thumbnail(path: Path, *, size: int) -> bytes:
    """A crop on disk as a WebP image of at most so many pixels a side; see `paint`.

    Raises:
        LocalError: the file is gone or cannot be read.
        CorruptFile: it is no GeoTIFF that can be decoded.
    """
    with files.local_errors("read", path):
        data = path.read_bytes()
    try:
        layout, pixels = gdal.whole(data)
    except CorruptFile as error:
        raise CorruptFile(f"{error}: {path}") from error
    return webp(shrunk(paint(pixels, layout.nodata), size))


# ---- pixels to colours ------------------------------------------------------------------------------------


def paint(pixels: NDArray[np.generic], nodata: float | None) -> RGBA:
    """Pixels as they are to be seen.

    Three bands of 8 bits are taken as they are. All others are stretched: their 2nd percentile becomes black,
    their 98th white, the same for all bands, so that colours keep their balance. Of three bands and more the first
    three are red, green and blue; of fewer the first is grey. A pixel is transparent where all bands that are
    shown hold nodata, or no number.

    Args:
        pixels: (bands, rows, columns).
        nodata: value of pixels without data; None when all have data.
    """
    shown = pixels[:3] if len(pixels) >= 3 else pixels[:1]
    empty = np.zeros(shown.shape, np.bool_) if nodata is None else shown == nodata
    if shown.dtype.kind == "f":
        empty |= ~np.isfinite(shown)
    inside: NDArray[np.bool_] = ~np.all(empty, axis=0)
    if not (len(pixels) == 3 and shown.dtype == np.uint8):
        shown = _stretched(shown, ~empty)
    colours = np.broadcast_to(shown, (3, *inside.shape)) * inside
    return np.concatenate([colours, inside[np.newaxis] * np.uint8(255)]).astype(np.uint8, copy=False)


def _stretched(pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    values = np.where(valid, pixels, 0).astype(np.float64)
    if not valid.any():
        return values.astype(np.uint8)
    low, high = np.percentile(values[valid], STRETCH)
    scaled = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    grey: NDArray[np.uint8] = np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return grey


def shrunk(picture: RGBA, size: int) -> RGBA:
    """The picture with at most so many pixels a side: each the mean of those with data that it covers."""
    _, rows, columns = picture.shape
    times = max(rows, columns) / size
    if times <= 1:
        return picture
    down, across = (_starts(length, max(1, round(length / times))) for length in (rows, columns))

    def summed(values: NDArray[Any]) -> NDArray[np.float64]:
        lines: NDArray[np.float64] = np.add.reduceat(values, down, axis=-2, dtype=np.float64)
        return np.add.reduceat(lines, across, axis=-1)

    inside = picture[3] > 0
    counts = summed(inside)
    means = summed(picture[:3] * inside) / np.maximum(counts, 1)
    seen = 2 * counts >= summed(np.ones(inside.shape, np.uint8))  # at least half of what it covers has data
    small: RGBA = np.rint(np.concatenate([means * seen, 255.0 * seen[np.newaxis]])).astype(np.uint8)
    return small


def _starts(length: int, parts: int) -> NDArray[np.intp]:
    """Where each of so many parts of a length begins."""
    return np.arange(parts) * length // parts


# ---- encoding ---------------------------------------------------------------------------------------------


def png(picture: RGBA) -> bytes:
    """A picture without loss, which says that it was made here."""
    return _encoded(picture, "PNG", zlevel="6", software=_SOFTWARE)


def webp(picture: RGBA) -> bytes:
    """A picture in few bytes, hardly to be told from the original."""
    return _encoded(picture, "WEBP", quality=str(_QUALITY))


def _encoded(picture: RGBA, driver: str, **options: str) -> bytes:
    bands = picture if (picture[3] == 0).any() else picture[:3]
    count, height, width = bands.shape
    profile = {"driver": driver, "count": count, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"), MemoryFile() as memory:
        with memory.open(**profile, **options, transform=_ANY) as image:
            image.write(bands)
        return bytes(memory.getbuffer())
