"""Renders crops as small PNG and WebP images, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from s2async import files
from s2async.cog import gdal
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile

SUFFIX: Final = ".png"
"""Suffix of a quicklook's file; the rest of the name is that of its crop."""
SIDE: Final = 512
"""Maximum size of a quicklook's longer side in pixels."""
STRETCH: Final = (2, 98)
"""Percentiles that become black and white."""
WHITE: Final = 3000
"""DN that becomes white in true colour: reflectance 0.3. Soil and vegetation are darker, clouds are not."""
UNIT: Final = 10_000
"""DN of reflectance 1 (QUANTIFICATION_VALUE of ESA's Level-2A products)."""
_QUALITY: Final = 80
"""Quality of WebP, from 0 to 100: texture stays visible, in a tenth of the bytes of a PNG."""
_ANY: Final = Affine(10.0, 0.0, 0.0, 0.0, -10.0, 0.0)
"""An arbitrary transform: the images do not store it, but rasterio warns if there is none."""
_SOFTWARE: Final = "s2async quicklook"
"""Text chunk ``Software`` of a PNG (PNG 1.2, section 4.2.3), by which `is_own` recognises it."""

RGBA = NDArray[np.uint8]
"""(4, rows, columns): red, green, blue, and alpha (255 for pixels with data, otherwise 0)."""


def beside(crop: Path) -> Path:
    """Return the path of a crop's quicklook."""
    return crop.with_suffix(SUFFIX)


def encode(pixels: NDArray[np.generic], nodata: float | None) -> bytes:
    """Render a crop as a PNG of at most `SIDE` pixels a side; see `paint`."""
    return png(shrunk(paint(pixels, nodata), SIDE))


def is_own(data: bytes) -> bool:
    """Return whether a PNG was made by this module: another program's image may have the same name."""
    return data.startswith(b"\x89PNG") and _SOFTWARE.encode() in data


def thumbnail(path: Path, *, size: int) -> bytes:
    """Render a crop on disk as a WebP image; see `paint`.

    Args:
        path: path of the crop.
        size: maximum size of the longer side in pixels.

    Raises:
        LocalError: the file is missing or cannot be read.
        CorruptFile: the file is not a GeoTIFF that can be decoded.
    """
    layout, pixels = _read(path)
    return webp(shrunk(paint(pixels, layout.nodata), size))


def true_colour(paths: Sequence[Path], *, size: int) -> bytes:
    """Render the crops of red, green and blue as one WebP image.

    The stretch is the same for all images, so that dates can be compared: DN 0 to `WHITE` becomes 0 to 255, that
    is, reflectance 0 to 0.3. If a crop states a scale and an offset, its values are first converted to the usual
    DN, 10,000 times the reflectance. A pixel is transparent if all three bands are nodata.

    Args:
        paths: paths of the crops of red, green and blue.
        size: maximum size of the longer side in pixels.

    Raises:
        LocalError: a file is missing or cannot be read.
        CorruptFile: a file is not a GeoTIFF that can be decoded, or the crops differ in size.
    """
    bands, inside = [], []
    for path in paths:
        layout, pixels = _read(path)
        band, scale, offset = pixels[0].astype(np.float64), layout.scales[0], layout.offsets[0]
        inside.append(np.isfinite(band) & (band != (np.nan if layout.nodata is None else layout.nodata)))
        bands.append(band if (scale, offset) == (1.0, 0.0) else (band * scale + offset) * UNIT)
    if len({band.shape for band in bands}) > 1:
        raise CorruptFile(f"the crops of red, green and blue differ in size: {paths[0]}")
    shown = np.any(inside, axis=0)
    colours = np.rint(255 * np.clip(np.nan_to_num(np.stack(bands)) / WHITE, 0, 1)) * shown
    return webp(shrunk(np.concatenate([colours, 255 * shown[np.newaxis]]).astype(np.uint8), size))


def _read(path: Path) -> tuple[Layout, NDArray[np.generic]]:
    with files.local_errors("read", path):
        data = path.read_bytes()
    try:
        return gdal.whole(data)
    except CorruptFile as error:
        raise CorruptFile(f"{error}: {path}") from error


# ---- pixels to colours ------------------------------------------------------------------------------------


def paint(pixels: NDArray[np.generic], nodata: float | None) -> RGBA:
    """Convert pixels to colours.

    Three bands of 8 bits are used unchanged. Other pixels are stretched: their 2nd percentile becomes black and
    their 98th white, with the same limits for all bands to preserve the colour balance. With three or more bands,
    the first three are red, green and blue; with fewer, the first is grey. A pixel is transparent if all displayed
    bands are nodata or not finite.

    Args:
        pixels: (bands, rows, columns).
        nodata: value of pixels without data; None if all have data.

    Returns:
        The image, with the same number of rows and columns.
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


def shrunk(image: RGBA, size: int) -> RGBA:
    """Shrink an image to at most ``size`` pixels a side; a pixel is the mean of those with data that it covers."""
    _, rows, columns = image.shape
    times = max(rows, columns) / size
    if times <= 1:
        return image
    down, across = (_starts(length, max(1, round(length / times))) for length in (rows, columns))

    def summed(values: NDArray[Any]) -> NDArray[np.float64]:
        lines: NDArray[np.float64] = np.add.reduceat(values, down, axis=-2, dtype=np.float64)
        return np.add.reduceat(lines, across, axis=-1)

    inside = image[3] > 0
    counts = summed(inside)
    means = summed(image[:3] * inside) / np.maximum(counts, 1)
    seen = 2 * counts >= summed(np.ones(inside.shape, np.uint8))  # at least half of what it covers has data
    small: RGBA = np.rint(np.concatenate([means * seen, 255.0 * seen[np.newaxis]])).astype(np.uint8)
    return small


def _starts(length: int, parts: int) -> NDArray[np.intp]:
    """Return the start of each of ``parts`` equal parts of a length."""
    return np.arange(parts) * length // parts


# ---- encoding ---------------------------------------------------------------------------------------------


def png(image: RGBA) -> bytes:
    """Encode an image as lossless PNG, with the mark that `is_own` looks for."""
    return _encoded(image, "PNG", zlevel="6", software=_SOFTWARE)


def webp(image: RGBA) -> bytes:
    """Encode an image as WebP, with few bytes and hardly visible loss."""
    return _encoded(image, "WEBP", quality=str(_QUALITY))


def _encoded(image: RGBA, driver: str, **options: str) -> bytes:
    bands = image if (image[3] == 0).any() else image[:3]
    count, height, width = bands.shape
    profile = {"driver": driver, "count": count, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"), MemoryFile() as memory:
        with memory.open(**profile, **options, transform=_ANY) as file:
            file.write(bands)
        return bytes(memory.getbuffer())
