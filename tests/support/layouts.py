"""TIFFs of many layouts, written by GDAL, for the tests of the packages that read them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import DatasetReader, MemoryFile
from rasterio.shutil import copy
from rasterio.windows import Window

from s2async.output.geotiff import Crop

NORTH_UP = Affine(10.0, 0.0, 300_000.0, 0.0, -10.0, 5_900_040.0)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A TIFF to be made, and how."""

    name: str
    width: int = 75
    height: int = 61
    bands: int = 1
    dtype: str = "uint8"
    nodata: float | None = 0
    transform: Affine = NORTH_UP
    epsg: int | None = 32633
    scaled: bool = False
    point: bool = False
    """The transform tells pixel centres (PixelIsPoint)."""
    sparse: bool = False
    """Only one corner is written, the other blocks are left out."""
    cog: bool = False
    """Copied by GDAL's COG driver, which puts a ghost header before the directory."""
    options: dict[str, Any] = field(default_factory=dict)
    """Creation options of the driver."""

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    @property
    def pixels(self) -> NDArray[Any]:
        """(bands, rows, columns): noise on a slope, some of it nodata."""
        noise = np.random.default_rng(len(self.name)).integers(0, 50, (self.bands, self.height, self.width))
        pixels = (noise * (noise > 9) + np.arange(self.width) // 2 * (noise > 9)).astype(self.dtype)
        if np.dtype(self.dtype).kind == "f":
            pixels[noise == 11] = np.nan
            pixels[noise > 30] /= 7
        return pixels


@cache
def tiff(made: Made) -> bytes:
    """The bytes of the file."""
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": made.width,
        "height": made.height,
        "count": made.bands,
        "dtype": made.dtype,
        "nodata": made.nodata,
        "transform": made.transform,
        "crs": f"EPSG:{made.epsg}" if made.epsg else None,
    }
    if not made.cog:
        profile |= made.options
    if made.sparse:
        profile["SPARSE_OK"] = "TRUE"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), MemoryFile() as memory:
        with memory.open(**profile) as raster:
            if made.point:
                raster.update_tags(AREA_OR_POINT="Point")
            if made.sparse:
                raster.write(made.pixels[:, :20, :20], window=Window(0, 0, 20, 20))
            else:
                raster.write(made.pixels)
            if made.scaled:
                raster.scales = tuple(0.0001 * (band + 1) for band in range(made.bands))
                raster.offsets = tuple(0.0 - 0.1 * band for band in range(made.bands))
            raster.update_tags(LABEL="a < b & c")
        if not made.cog:
            return bytes(memory.getbuffer())
        with memory.open() as raster, MemoryFile() as target:
            copy(raster, target.name, driver="COG", **made.options)
            return bytes(target.getbuffer())


def _tiled(**options: Any) -> dict[str, Any]:
    return {"TILED": "YES", "BLOCKXSIZE": 32, "BLOCKYSIZE": 16, **options}


_PLAIN = [
    Made(name="strips"),
    Made(name="strips deflate", options={"COMPRESS": "DEFLATE", "BLOCKYSIZE": 7}),
    Made(name="strips planar", bands=3, options={"INTERLEAVE": "BAND", "COMPRESS": "LZW", "BLOCKYSIZE": 8}),
    Made(name="one strip", options={"COMPRESS": "DEFLATE", "BLOCKYSIZE": 61}),
    Made(name="tiles", options=_tiled()),
    Made(name="tiles three bands", bands=3, options=_tiled(PHOTOMETRIC="RGB", COMPRESS="DEFLATE", PREDICTOR=2)),
    Made(name="tiles planar", bands=3, options=_tiled(INTERLEAVE="BAND", COMPRESS="DEFLATE", PREDICTOR=2)),
    Made(name="tiles five bands", bands=5, dtype="uint16", options=_tiled(COMPRESS="ZSTD", PREDICTOR=2)),
    Made(name="two bands no nodata", bands=2, nodata=None, options=_tiled(COMPRESS="LZW")),
    Made(name="exact blocks", width=64, height=48, options=_tiled(COMPRESS="DEFLATE")),
    Made(name="one tile", width=16, height=16, options={"TILED": "YES", "BLOCKXSIZE": 16, "BLOCKYSIZE": 16}),
    Made(name="smaller than a tile", width=3, height=5, options=_tiled(COMPRESS="LZW", PREDICTOR=2)),
    Made(name="one pixel", width=1, height=1),
    Made(name="uint16 lzw predictor", dtype="uint16", options=_tiled(COMPRESS="LZW", PREDICTOR=2)),
    Made(name="int16 scaled", dtype="int16", nodata=-9999, scaled=True, options=_tiled(COMPRESS="DEFLATE")),
    Made(name="scaled bands", bands=3, dtype="uint16", scaled=True, options=_tiled(COMPRESS="ZSTD")),
    Made(name="int8", dtype="int8", nodata=-128, options=_tiled(COMPRESS="DEFLATE", PREDICTOR=2)),
    Made(name="uint32", dtype="uint32", nodata=4294967295, options=_tiled(COMPRESS="DEFLATE", PREDICTOR=2)),
    Made(name="int32", dtype="int32", nodata=-2147483648, options=_tiled(COMPRESS="ZSTD", PREDICTOR=2)),
    Made(name="float32 NaN", dtype="float32", nodata=float("nan"),
         options=_tiled(COMPRESS="DEFLATE", PREDICTOR=3)),
    Made(name="float32 least", dtype="float32", nodata=-3.4028234663852886e38, options=_tiled(COMPRESS="LZW")),
    Made(name="float64", dtype="float64", nodata=-9999.5, options=_tiled(COMPRESS="ZSTD", PREDICTOR=3)),
    Made(name="geographic", epsg=4326, transform=Affine(0.001, 0, 13.1, 0, -0.0005, 52.6), options=_tiled()),
    Made(name="web mercator", epsg=3857, options=_tiled(COMPRESS="DEFLATE")),
    Made(name="point", point=True, options=_tiled(COMPRESS="DEFLATE")),
    Made(name="rotated", transform=Affine(8.0, 3.0, 300_000.0, 2.0, -9.0, 5_900_040.0), options=_tiled()),
    Made(name="rotated point", point=True, transform=Affine(8.0, 3.0, 3e5, 2.0, -9.0, 59e5), options=_tiled()),
    Made(name="south up", transform=Affine(10.0, 0.0, 300_000.0, 0.0, 10.0, 5_800_000.0), options=_tiled()),
    Made(name="sparse", sparse=True, nodata=7, options=_tiled(COMPRESS="DEFLATE")),
    Made(name="sparse planar", sparse=True, bands=3, nodata=None, options=_tiled(INTERLEAVE="BAND")),
    Made(name="sparse strips", sparse=True, dtype="int16", nodata=-1,
         options={"COMPRESS": "LZW", "BLOCKYSIZE": 9}),
    Made(name="webp", bands=3, nodata=None,
         options=_tiled(COMPRESS="WEBP", WEBP_LOSSLESS="YES", PHOTOMETRIC="RGB")),
    Made(name="jpeg", bands=3, nodata=None, options=_tiled(COMPRESS="JPEG", PHOTOMETRIC="YCBCR")),
]  # fmt: skip
_BOTH_ORDERS = {
    "strips", "one strip", "tiles planar", "tiles five bands", "int16 scaled", "float32 NaN", "sparse", "point",
}  # fmt: skip
_ORDERED = [
    replace(made, name=f"{made.name}, {label}", options=made.options | more)
    for label, more in (
        ("big-endian", {"ENDIANNESS": "BIG"}),
        ("BigTIFF", {"BIGTIFF": "YES"}),
        ("big-endian BigTIFF", {"BIGTIFF": "YES", "ENDIANNESS": "BIG"}),
    )
    for made in _PLAIN
    if made.name
    in {
        "strips",
        "one strip",
        "tiles planar",
        "tiles five bands",
        "int16 scaled",
        "float32 NaN",
        "sparse",
        "point",
    }
]
_COGS = [
    Made(name="COG", cog=True, options={"BLOCKSIZE": 128, "COMPRESS": "DEFLATE", "PREDICTOR": 2}),
    Made(name="COG picture", cog=True, bands=3, width=300, height=280,
         options={"BLOCKSIZE": 128, "COMPRESS": "DEFLATE", "PREDICTOR": 2}),
    Made(name="COG lzw scaled", cog=True, dtype="uint16", width=300, height=280, scaled=True,
         options={"BLOCKSIZE": 128, "COMPRESS": "LZW"}),
    Made(name="COG BigTIFF", cog=True, dtype="float32", nodata=float("nan"),
         options={"BLOCKSIZE": 128, "COMPRESS": "ZSTD", "PREDICTOR": 3, "BIGTIFF": "YES"}),
    Made(name="COG sparse", cog=True, sparse=True, nodata=7, width=400, height=300,
         options={"BLOCKSIZE": 128, "COMPRESS": "DEFLATE", "SPARSE_OK": "TRUE"}),
]  # fmt: skip

MADE = [*_PLAIN, *_ORDERED, *_COGS]
"""Everything that is to be read right."""


def by_name(name: str) -> Made:
    """One of them."""
    return next(made for made in MADE if made.name == name)


def entries(data: bytes) -> dict[int, tuple[int, int, int, int]]:
    """First directory of a little-endian classic TIFF: type, count, value field, and the entry's place, by tag."""
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    found = {}
    for place in range(start + 2, start + 2 + 12 * number, 12):
        tag, kind, count, value = struct.unpack_from("<HHII", data, place)
        found[tag] = (kind, count, value, place)
    return found


def with_tag(data: bytes, tag: int, kind: int, count: int, values: bytes, *, at: int | None = None) -> bytes:
    """The same little-endian classic TIFF with a tag changed; ``at``: the tag whose entry it takes, if another."""
    place = entries(data)[at or tag][3]
    changed = bytearray(data)
    if len(values) <= 4:
        struct.pack_into("<HHI", changed, place, tag, kind, count)
        changed[place + 8 : place + 12] = values.ljust(4, b"\0")
        return bytes(changed)
    changed += bytes(len(changed) % 2)
    struct.pack_into("<HHII", changed, place, tag, kind, count, len(changed))
    return bytes(changed + values)


def bomb(width: int, height: int, bands: int, dtype: str, **options: Any) -> bytes:
    """A TIFF of hardly any bytes that is one huge block, which is left out of the file."""
    profile: dict[str, Any] = {"driver": "GTiff", "crs": "EPSG:32633", "transform": NORTH_UP, "SPARSE_OK": True}
    profile |= {"width": width, "height": height, "count": bands, "dtype": dtype, "photometric": "MINISBLACK"}
    profile |= {"TILED": True, "BLOCKXSIZE": width, "BLOCKYSIZE": height, "ALPHA": "NO", "COMPRESS": "DEFLATE"}
    with MemoryFile() as memory:
        with memory.open(**profile, **options):
            pass
        return bytes(memory.getbuffer())


PLAIN = {"scales": (1.0,), "offsets": (0.0,), "tags": {}, "transform": NORTH_UP, "epsg": 32633}


def crop_of(pixels: NDArray[Any], **changes: Any) -> Crop:
    bands = {"scales": (1.0,) * len(pixels), "offsets": (0.0,) * len(pixels), "nodata": None}
    return Crop(**{**PLAIN, **bands, "pixels": pixels, **changes})


@contextmanager
def opened(data: bytes) -> Iterator[DatasetReader]:
    with MemoryFile(data) as file, file.open() as raster:
        yield raster
