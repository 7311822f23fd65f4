"""``python -m tests.chaos flips``: one bit turned over inside an otherwise valid answer, many times.

The lengths agree and the headers are right: only the stream itself can tell. Each flip lies somewhere in a tile
that the window touches. Read by this package with ``verify`` (whole tiles, Adler-32), without it (the start of a
tile, whose checksum stands at its end), and by GDAL; and with ``verify`` where the second answer is sound.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rich.console import Console
from rich.table import Table

from s2async.cog import reader as raster
from s2async.cog import tiff, tiles
from s2async.cog.grid import Cutout, Window
from s2async.cog.memory import Budget
from s2async.cog.source import Source
from s2async.errors import CorruptFile
from s2async.models import Asset
from s2async.net.client import Meter, Piece, Transport
from s2async.net.editions import Edition

SIDE: Final = 1024
BLOCK: Final = 512
READERS: Final = ("verify", "verify, the second answer is sound", "without verify", "GDAL")
MUST_NOT: Final = READERS[:2]
"""Readers of which no pixel may be wrong."""
OUTCOMES: Final = ("right", "refused", "wrong")


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A file, its pixels, and its header as this package reads it."""

    data: bytes
    pixels: NDArray[Any]
    source: Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """One bit of a file, and a window whose pixels need its tile."""

    place: int
    bit: int
    window: Window


class Wire:
    """The transport as a reader sees it: ranges of a file in memory, one bit of which comes turned over."""

    def __init__(self, data: bytes, flip: Flip, *, times: int | None) -> None:
        self.meter = Meter()
        self._data, self._flip, self._left = data, flip, times

    async def read(self, _href: str, start: int, size: int, **_: Any) -> Piece:
        """Bytes of the file, as `Transport.read` gives them."""
        part = bytearray(self._data[start : start + size])
        index = self._flip.place - start
        if 0 <= index < len(part) and self._left != 0:
            part[index] ^= 1 << self._flip.bit
            self._left = None if self._left is None else self._left - 1
        return Piece(data=part, edition=edition_of(self._data))


def edition_of(data: bytes) -> Edition:
    """What the file's answers say of it."""
    return Edition(size=len(data), etag='"1"')


def picture(seed: int, bands: int) -> Picture:
    """A COG of DEFLATE tiles: a picture of three bands with some grain, or large patches of twelve classes."""
    chance = np.random.default_rng(seed)
    columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    waves = [np.sin(columns / chance.uniform(5, 90)) + np.cos(rows / chance.uniform(5, 90)) for _ in range(bands)]
    smooth = np.stack(waves)
    pixels = (smooth * 50 + 110 + chance.integers(0, 9, smooth.shape)).astype(np.uint8)
    if bands == 1:
        pixels = (pixels // 20).astype(np.uint8)
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 390_000, 0, -10, 5_820_000), "nodata": 0}
    how = {"BLOCKSIZE": BLOCK, "COMPRESS": "DEFLATE", "PREDICTOR": 2, "OVERVIEWS": "NONE"}
    with MemoryFile() as memory, MemoryFile() as target:
        with memory.open(driver="GTiff", count=bands, height=SIDE, width=SIDE, dtype="uint8", **place) as file:
            file.write(pixels)
        with memory.open() as file:
            copy(file, target.name, driver="COG", **how)
        data = bytes(target.getbuffer())
    layout = tiff.parse(data)
    assert isinstance(layout, tiff.Layout)
    asset = Asset(key="visual" if bands == 3 else "scl", href="http://flips/file.tif")
    return Picture(data=data, pixels=pixels, source=Source(asset=asset, layout=layout, edition=edition_of(data)))


def flip_in(sound: Picture, dice: random.Random) -> Flip:
    """Any window, and any bit of any tile that it touches."""
    height, width = dice.randint(20, 200), dice.randint(20, 200)
    window = Window(
        row=dice.randint(0, SIDE - height), col=dice.randint(0, SIDE - width), height=height, width=width
    )
    layout = sound.source.layout
    block = dice.choice(sorted(tiles.blocks_under(layout, [window])))
    place = int(layout.block_offsets[block]) + dice.randrange(int(layout.block_counts[block]))
    return Flip(place=place, bit=dice.randrange(8), window=window)


async def outcomes(sound: Picture, flip: Flip, pool: ThreadPoolExecutor) -> dict[str, str]:
    """What each reader makes of a flip."""
    window = flip.window
    true = sound.pixels[:, window.row : window.row + window.height, window.col : window.col + window.width]
    found = {}
    for reader, verify, times in zip(READERS, (True, True, False), (None, 1, None), strict=False):
        wire = cast("Transport", Wire(sound.data, flip, times=times))
        part = Cutout(window=window, inside=np.ones(window.shape, bool), total=window.pixels)
        try:
            (pixels,) = await raster.read(
                wire, sound.source, [part], budget=Budget(64 << 20), pool=pool, verify=verify
            )
        except CorruptFile as error:
            pixels = error
        found[reader] = _judged(None if isinstance(pixels, CorruptFile) else pixels, true)
    found["GDAL"] = _judged(_by_gdal(sound.data, flip), true)
    return found


def _judged(pixels: NDArray[Any] | None, true: NDArray[Any]) -> str:
    if pixels is None:
        return "refused"
    return "right" if np.array_equal(pixels, true) else "wrong"


def _by_gdal(data: bytes, flip: Flip) -> NDArray[Any] | None:
    damaged = bytearray(data)
    damaged[flip.place] ^= 1 << flip.bit
    window = flip.window
    try:
        with MemoryFile(bytes(damaged)) as memory, memory.open() as file:
            place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
            pixels: NDArray[Any] = file.read(window=place)
            return pixels
    except RasterioError:
        return None


async def run(count: int, seed: int) -> dict[str, Counter[str]]:
    """Count the outcomes of so many flips, half of them in pictures, half in classes."""
    dice = random.Random(seed)
    pictures = [picture(seed, 3), picture(seed + 1, 1)]
    sums = {reader: Counter[str]() for reader in READERS}
    with ThreadPoolExecutor(1) as pool:
        for number in range(count):
            sound = pictures[number % 2]
            for reader, outcome in (await outcomes(sound, flip_in(sound, dice), pool)).items():
                sums[reader][outcome] += 1
    return sums


def main(arguments: Sequence[str]) -> int:
    """Flip bits, and print what each reader made of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos flips", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="bits to flip")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    logger = logging.getLogger("rasterio")
    former = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        sums = asyncio.run(run(asked.count, asked.seed))
    finally:
        logger.setLevel(former)
    table = Table("reader", *OUTCOMES, "wrong, %")
    for reader, counts in sums.items():
        share = counts["wrong"] / max(counts.total(), 1)
        table.add_row(reader, *(f"{counts[outcome]:,}" for outcome in OUTCOMES), f"{share:.2%}")
    Console().print(table)
    print(f"{asked.count:,} flips in {time.monotonic() - began:.0f} s")
    healed = sums[READERS[1]]["right"] == asked.count
    return int(any(sums[reader]["wrong"] for reader in MUST_NOT) or not healed)
