"""Looks to files: SCL, true colour and red of one square in one season, under each of its skies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2async.sandbox.world import cogs
from s2async.sandbox.world.cogs import Cog, Tile, compress
from s2async.sandbox.world.fields import Ground, Lattice, Plane
from s2async.sandbox.world.land import Bytes, Land, classes
from s2async.sandbox.world.passes import Look
from s2async.sandbox.world.sky import Skies, picture
from s2async.sandbox.world.squares import EXTENT, TILE, TILES, Square

_COARSE: Final = 688
"""Pixels of 160 m a side of the whole scene; the coarsest overview of true colour has 687."""
_PLAIN: Final = (96, 108, 66)
"""Colour of the land in tiles that nobody looks at, and class 4 (vegetation) in SCL."""
_METADATA: Final = '<GDALMetadata>\n  <Item name="OVR_RESAMPLING_ALG">{}</Item>\n{}</GDALMetadata>\n'
_SCALING: Final = (
    '  <Item name="OFFSET" sample="0" role="offset">-0.1</Item>\n'
    '  <Item name="SCALE" sample="0" role="scale">0.0001</Item>\n'
)


def cover_path(folder: Path, square: Square, tile: int) -> Path:
    """Where the ground of a tile is kept while the scenes are made."""
    return folder / f"cover-{square.name}-{tile}.npy"


def classes_path(folder: Path, square: Square, name: str) -> Path:
    """Where the SCL of a whole scene in pixels of 160 m is kept while the scenes are made."""
    return folder / f"{name}-{square.name}.npy"


def asset_path(folder: Path, square: Square, name: str, key: str) -> Path:
    """Where an asset of a look is written."""
    return folder / f"{name}-{square.name}-{key}.tif"


def prepare(folder: Path, square: Square, tile: int, *, seed: int, plane: Plane) -> None:
    """Work out the ground of one full-resolution tile, which is the same in every season."""
    row, column = divmod(tile, TILES)
    lattice = Ground(square, plane).lattice(row * TILE, column * TILE, TILE, 1024, 8)
    np.save(cover_path(folder, square, tile), _land(seed).cover(lattice))


def render(
    folder: Path,
    square: Square,
    looks: Mapping[str, Look],
    near: Collection[int],
    *,
    seed: int,
    plane: Plane,
    red: bool,
) -> None:
    """Write ``<name>-<square>-<asset>.tif`` for every look, and its coarse classes (`classes_path`).

    Args:
        folder: Where the files go.
        square: Of all of them.
        looks: What they show, by name; at least one, and all of one season.
        near: Full-resolution tiles that hold data of their own, counted row by row.
        seed: Of the world.
        plane: Of the world.
        red: Write a red band too.
    """
    land, ground, skies = _land(seed), Ground(square, plane), Skies(seed)
    month = next(iter(looks.values())).month
    grounds: dict[int, tuple[Lattice, Bytes, Bytes]] = {}
    for tile in sorted(near):
        row, column = divmod(tile, TILES)
        fine = ground.lattice(row * TILE, column * TILE, TILE, 1024, 8)
        half = ground.lattice(row * TILE, column * TILE, TILE, 512, 4)
        cover = np.load(cover_path(folder, square, tile))
        grounds[tile] = half, classes(month)[cover[::2, ::2]], land.picture(cover, fine, month)
    for name, look in looks.items():
        scl: dict[int, Bytes] = {}
        tci: dict[int, Bytes] = {}
        for tile, (half, on_ground, colours) in grounds.items():
            scl[tile], hidden = skies.classes(look.sky, half, on_ground)
            tci[tile] = picture(colours, hidden, scl[tile])
        whole_classes, whole_picture = _whole(square, look, seed, plane)
        np.save(classes_path(folder, square, name), whole_classes)
        ghost = int(name, 16) % 3 > 0
        clear = 1 - look.sky.cover * 0.8
        files: list[tuple[str, Mapping[int, NDArray[Any]], NDArray[Any], float]] = [
            ("scl", scl, whole_classes[::2, ::2], 18_000),
            ("visual", tci, whole_picture, 1_450_000 * clear),
        ]
        if red:
            files.append(("red", {tile: _red(tci[tile]) for tile in tci}, _red(whole_picture), 1_300_000 * clear))
        for key, tiles, whole, usual in files:
            _write(asset_path(folder, square, name, key), square, tiles, whole, ghost=ghost, usual=round(usual))


def _red(picture: Bytes) -> NDArray[np.uint16]:
    return picture[..., 0].astype(np.uint16) * np.uint16(16)


def _whole(square: Square, look: Look, seed: int, plane: Plane) -> tuple[Bytes, Bytes]:
    """SCL and true colour of the whole scene in pixels of 160 m."""
    lattice, cover = _coarse(square, seed, plane)
    land = _land(seed)
    found, hidden = Skies(seed).classes(look.sky, lattice, classes(look.month)[cover])
    return found[:-1, :-1], picture(land.picture(cover, lattice, look.month), hidden, found)[:-1, :-1]


@lru_cache(maxsize=1)
def _land(seed: int) -> Land:
    return Land(seed)


@lru_cache(maxsize=4)
def _coarse(square: Square, seed: int, plane: Plane) -> tuple[Lattice, Bytes]:
    side = _COARSE * 160.0
    lattice = Ground(square, plane).lattice(0, 0, side, _COARSE, 8)
    return lattice, _land(seed).cover(lattice)


def _write(
    path: Path,
    square: Square,
    tiles: Mapping[int, NDArray[Any]],
    whole: NDArray[Any],
    *,
    ghost: bool,
    usual: int,
) -> None:
    """One COG: real tiles where they are, the whole scene in the coarsest overview, stand-ins elsewhere.

    Three bands are true colour, 16 bits red, else it is SCL. ``usual`` are the bytes of a tile at this
    resolution, for the room of the stand-ins.
    """
    bands, bits = (3 if whole.ndim == 3 else 1), whole.dtype.itemsize * 8
    scl = bands == 1 and bits == 8
    metres, block = (20, 512) if scl else (10, 1024)
    side = EXTENT // metres
    cog = Cog(
        width=side,
        height=side,
        bands=bands,
        bits=bits,
        block=block,
        overview_block=block // 2,
        overviews=4,
        epsg=square.epsg,
        west=square.west,
        north=square.north,
        pixel=metres,
        metadata=_METADATA.format("MODE" if scl else "AVERAGE", _SCALING if bits == 16 else ""),
        ghost=ghost,
    )
    full, *overviews, coarsest = cog.levels
    plain = _plain(block, bands, bits)
    jitter = np.random.default_rng(square.epsg + side).uniform(0.8, 1.2, full.across * full.down)
    levels: list[list[Tile]] = [
        [
            Tile(compress(tiles[index], block, level=6 if scl else 1))
            if index in tiles
            else Tile(plain, room=max(round(usual * jitter[index]), len(plain)))
            for index in range(full.across * full.down)
        ]
    ]
    for level in overviews:
        small = _plain(level.block, bands, bits)
        levels.append([Tile(small, room=max(usual // 4, len(small)))] * (level.across * level.down))
    shown = whole[: coarsest.height, : coarsest.width]
    levels.append(
        [
            Tile(
                compress(
                    shown[
                        row * coarsest.block : (row + 1) * coarsest.block,
                        column * coarsest.block : (column + 1) * coarsest.block,
                    ],
                    coarsest.block,
                )
            )
            for row in range(coarsest.down)
            for column in range(coarsest.across)
        ]
    )
    cogs.write(path, cog, levels)


@lru_cache(maxsize=16)
def _plain(block: int, bands: int, bits: int) -> bytes:
    colour: Any = _PLAIN if bands == 3 else 4 if bits == 8 else 1500
    pixels = np.broadcast_to(
        np.array(colour, dtype=np.uint16 if bits == 16 else np.uint8),
        (block, block, 3) if bands == 3 else (block, block),
    )
    return compress(pixels.copy(), block, level=6)
