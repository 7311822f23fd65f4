"""Rasters of random layouts that can be read row by row, and a transport that reads them from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.windows import Window as RasterioWindow

from s2async.cog import reader, tiff, tiles
from s2async.cog.grid import Cutout, Window
from s2async.cog.memory import Budget
from s2async.cog.prefix import Block, Margin
from s2async.cog.source import Source
from s2async.cog.tiff import Layout
from s2async.models import Asset, Use
from s2async.net.client import Piece, Transport
from s2async.net.editions import Edition
from tests.support.layouts import NORTH_UP, by_name
from tests.support.layouts import tiff as made_tiff
from tests.support.served import sound

POOL = ThreadPoolExecutor(2)


@dataclass
class Asking(Margin):
    """A margin that asks for what it is told, whatever it learns."""

    share: float = 0.0
    """Of the tile's bytes."""

    def __post_init__(self) -> None:
        super().__init__()

    def size(self, block: Block, *, times: float = 1) -> int:
        return min(max(round(self.share * block.count), 1), block.count)


class Local(Transport):
    """A transport that reads from bytes in hand, and keeps what was asked for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(origins=[])
        self.content = content
        self.asked: list[tuple[int, int]] = []

    async def read(
        self,
        href: str,
        start: int,
        size: int,
        *,
        edition: Edition | None = None,
        stage: str = "tiles",
        asset: str = "",
        fresh: bool = False,
    ) -> Piece:
        assert 0 <= start < start + size <= len(self.content)
        self.asked.append((start, start + size))
        await asyncio.sleep(0)
        self.meter.add(stage, asset, Use.USEFUL, requests=1, size=size)
        return Piece(data=self.content[start : start + size], edition=edition or Edition(size=len(self.content)))


@dataclass(frozen=True, kw_only=True)
class File:
    """A TIFF, and windows that are wanted of it."""

    data: bytes = field(repr=False)
    layout: Layout = field(repr=False)
    cutouts: list[Cutout] = field(repr=False)
    how: str


def layout_of(data: bytes) -> Layout:
    found = tiff.parse(data)
    assert isinstance(found, Layout)
    return found


ASSET = Asset(key="visual", href="http://cogs.test/a.tif")
SOURCE = Source(
    asset=ASSET, layout=layout_of(made_tiff(by_name("tiles three bands"))), edition=Edition(size=9999, etag='"1"')
)


def by_gdal(data: bytes, windows: Sequence[Window]) -> list[NDArray[Any]]:
    with MemoryFile(data) as file, file.open() as opened:
        return [opened.read(window=RasterioWindow(w.col, w.row, w.width, w.height)) for w in windows]


def read(
    file: File,
    *,
    layout: Layout | None = None,
    data: bytes | None = None,
    margin: Margin | None = None,
    masked: bool = False,
    verify: bool = False,
    gap: int = -1,
) -> tuple[list[NDArray[Any]], Local]:
    """The cutouts' pixels as :func:`cog.reader.read` gives them; the transport tells what it was asked for."""
    content = data or file.data
    transport = Local(content)
    source = Source(
        asset=Asset(key="visual", href="http://cogs.test/a.tif"),
        layout=layout or file.layout,
        edition=Edition(size=len(content)),
    )
    work = reader.read(
        transport,
        source,
        file.cutouts,
        budget=Budget(1 << 20),
        pool=POOL,
        margin=margin,
        masked=masked,
        verify=verify,
    )
    with patch.object(tiles, "byte_ranges", partial(tiles.byte_ranges, gap=gap)):
        return sound(asyncio.run(work)), transport


def same(file: File, found: list[NDArray[Any]], expected: list[NDArray[Any]], *, masked: bool) -> bool:
    """Bit for bit, where pixels matter."""
    return len(found) == len(expected) and all(
        one.dtype == other.dtype
        and one.shape == other.shape
        and bool((one == other)[:, part.inside if masked else ...].all())
        for part, one, other in zip(file.cutouts, found, expected, strict=True)
    )


@st.composite
def files(draw: st.DrawFn, *, sparse: bool = True) -> File:
    """Any layout that is read row by row, with 1 to 5 windows and masks of any shape."""
    width, height, bands = draw(st.integers(1, 90)), draw(st.integers(1, 90)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from(["uint8", "int8", "uint16", "int16"]))
    cog = bands in (1, 3) and draw(st.booleans())  # GDAL takes one of two or four bands for alpha
    options: dict[str, Any] = {"COMPRESS": "DEFLATE", "PREDICTOR": draw(st.sampled_from([1, 2]))}
    options["BIGTIFF"] = draw(st.sampled_from(["YES", "NO"]))
    if cog:
        options |= {"BLOCKSIZE": 128, "OVERVIEWS": "NONE"}
    else:
        options |= {"ENDIANNESS": draw(st.sampled_from(["LITTLE", "BIG"])), "INTERLEAVE": "PIXEL"}
        options["ZLEVEL"] = draw(st.sampled_from([1, 6, 9]))
        if draw(st.booleans()):
            options |= {"TILED": "YES", "BLOCKXSIZE": 16 * draw(st.integers(1, 4))}
            options["BLOCKYSIZE"] = 16 * draw(st.integers(1, 4))
        else:
            options["BLOCKYSIZE"] = draw(st.integers(1, 100))
    if draw(st.booleans()) and sparse:
        options["SPARSE_OK"] = "YES"
    nodata = draw(st.sampled_from([None, 0, 7]))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    pixels = generator.integers(0, draw(st.sampled_from([2, 30, 256])), (bands, height, width)).astype(dtype)
    empty = slice(*sorted((draw(st.integers(0, height)), draw(st.integers(0, height)))))
    pixels[:, empty] = nodata or 0
    if draw(st.booleans()):  # other ends of the type's range
        pixels = ~pixels
    profile = {"width": width, "height": height, "count": bands, "dtype": dtype, "nodata": nodata}
    profile |= {
        "PHOTOMETRIC": "MINISBLACK",
        "ALPHA": "NO",
        "driver": "GTiff",
        "crs": "EPSG:32633",
        "transform": NORTH_UP,
    } | ({} if cog else options)
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels)
        data = bytes(memory.getbuffer())
        if cog:
            with memory.open() as made, MemoryFile() as again:
                copy(made, again.name, driver="COG", **options)
                data = bytes(again.getbuffer())
    cutouts = []
    for _ in range(draw(st.integers(1, 5))):
        col, row = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        window = Window(
            col=col, row=row, width=draw(st.integers(1, width - col)), height=draw(st.integers(1, height - row))
        )
        inside = generator.random(window.shape) < draw(st.sampled_from([0, 0.01, 0.5, 1]))
        cutouts.append(Cutout(window=window, inside=inside, total=int(inside.sum())))
    how = f"{width} x {height} x {bands} {dtype} nodata {nodata} cog {cog} {options}"
    return File(data=data, layout=layout_of(data), cutouts=cutouts, how=how)


def whole_of(layout: Layout) -> Cutout:
    """The whole raster."""
    window = Window(col=0, row=0, width=layout.grid.width, height=layout.grid.height)
    return Cutout(window=window, inside=np.ones(window.shape, dtype=bool), total=window.pixels)
