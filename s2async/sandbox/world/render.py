"""Writes looks to files: the assets of one square in one season, under each of its skies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2async.sandbox.world import cogs
from s2async.sandbox.world.assets import ASSETS, SCL, VISUAL, Asset, Scaling
from s2async.sandbox.world.cogs import Cog, Tile, compress
from s2async.sandbox.world.fields import Ground, Lattice, Plane
from s2async.sandbox.world.land import Bytes, Land
from s2async.sandbox.world.passes import Look
from s2async.sandbox.world.reflectance import OFFSET
from s2async.sandbox.world.sky import Skies
from s2async.sandbox.world.squares import EXTENT, TILE, Square
from s2async.sandbox.world.views import Window

_COARSE: Final = 688
"""Pixels of 160 m per side of the whole scene; the coarsest overview of true colour has 687."""
_METADATA: Final = '<GDALMetadata>\n  <Item name="OVR_RESAMPLING_ALG">{}</Item>\n{}</GDALMetadata>\n'
"""Metadata of all files: those of the bucket sentinel-cogs state neither scale nor offset."""
_TAGS: Final = (
    '  <Item name="OFFSET" sample="0" role="offset">-0.100000000000000006</Item>\n'
    '  <Item name="SCALE" sample="0" role="scale">0.000100000000000000005</Item>\n'
)
"""Metadata that files of the collection ``sentinel-2-c1-l2a`` have in addition (its recorded header)."""


def cover_path(folder: Path, square: Square, tile: int) -> Path:
    """Return where the ground of a tile is stored while the scenes are made."""
    return folder / f"cover-{square.name}-{tile}.npy"


def classes_path(folder: Path, square: Square, name: str) -> Path:
    """Return where the SCL of a whole scene in pixels of 160 m is stored while the scenes are made."""
    return folder / f"{name}-{square.name}.npy"


def asset_path(folder: Path, square: Square, name: str, key: str, scaling: Scaling) -> Path:
    """Return where an asset of a look is written; only those of reflectance bands differ by their scaling."""
    kind = f"{key}-{scaling}" if ASSETS[key].is_reflectance else key
    return folder / f"{name}-{square.name}-{kind}.tif"


def prepare(folder: Path, square: Square, tile: int, *, seed: int, plane: Plane) -> None:
    """Compute the ground of one full-resolution tile, which is the same in every season."""
    np.save(cover_path(folder, square, tile), _land(seed).cover(_lattice(Ground(square, plane), tile, TILE, 1024)))


def render(
    folder: Path,
    square: Square,
    looks: Mapping[str, Look],
    scalings: Mapping[str, Collection[Scaling]],
    near: Mapping[int, Collection[int]],
    *,
    keys: Sequence[str],
    seed: int,
    plane: Plane,
) -> None:
    """Write the files of every look (`asset_path`), and its coarse classes (`classes_path`).

    Args:
        folder: where the files are written; it contains what `prepare` has written.
        square: the grid square of all files.
        looks: looks by name; at least one, and all of one season.
        scalings: scalings of the reflectance bands of each look, with one file of a band for each.
        near: full-resolution tiles with their own data, counted row by row; by the side of a tile in metres.
        keys: keys of the assets to write.
        seed: seed of the world.
        plane: plane of the world.
    """
    assets, skies = [ASSETS[key] for key in keys], Skies(seed)
    month = next(iter(looks.values())).month
    land, ground = _land(seed), Ground(square, plane)
    windows: dict[int, dict[int, Window]] = {
        side: {
            tile: window(
                land,
                ground,
                tile,
                side,
                month,
                np.load(cover_path(folder, square, tile)) if side == TILE else None,
            )
            for tile in sorted(near[side])
        }
        for side in {asset.tile for asset in assets}
    }
    scene = Window.of(land, *_coarse(square, seed, plane), month)
    for name, look in looks.items():
        views = {
            side: {tile: there.under(skies, look.sky) for tile, there in group.items()}
            for side, group in windows.items()
        }
        whole = scene.under(skies, look.sky)
        np.save(classes_path(folder, square, name), whole.classes[:-1, :-1])
        clear = 1 - look.sky.cover * 0.8
        for asset in assets:
            step = asset.metres // 10
            for scaling in sorted(scalings[name]) if asset.is_reflectance else (Scaling.PLAIN,):
                tiles = {
                    tile: compress(view.pixels(asset, scaling), asset.block, level=6 if asset.key == SCL else 1)
                    for tile, view in views[asset.tile].items()
                }
                _write(
                    asset_path(folder, square, name, asset.key, scaling),
                    square,
                    asset,
                    scaling,
                    tiles,
                    whole.pixels(asset, scaling)[:-1:step, :-1:step],
                    ghost=int(name, 16) % 3 > 0,
                    usual=round(asset.usual * (clear if asset.key == VISUAL or asset.is_reflectance else 1)),
                )


def window(land: Land, ground: Ground, tile: int, side: int, month: float, cover: Bytes | None = None) -> Window:
    """Return a full-resolution tile: of 10 m and 20 m if these have tiles of this side, otherwise of 60 m.

    Args:
        land: land of the world.
        ground: the square.
        tile: number of the tile, counted row by row.
        side: side of the tile in metres.
        month: 0 is the start of January, 12 that of the next.
        cover: what `prepare` has computed for a tile of 10 m; None to compute it here.
    """
    if side == TILE:
        fine, coarse = _lattice(ground, tile, side, 1024), _lattice(ground, tile, side, 512)
    else:
        fine = coarse = _lattice(ground, tile, side, side // 60)
    return Window.of(land, fine, land.cover(fine) if cover is None else cover, coarse, month)


def _lattice(ground: Ground, tile: int, side: int, size: int) -> Lattice:
    """Return the pixels of a tile, with knots 80 m apart, or 120 m."""
    row, column = divmod(tile, -(-EXTENT // side))
    return ground.lattice(row * side, column * side, side, size, {1024: 8, 512: 4}.get(size, 2))


@lru_cache(maxsize=1)
def _land(seed: int) -> Land:
    return Land(seed)


@lru_cache(maxsize=4)
def _coarse(square: Square, seed: int, plane: Plane) -> tuple[Lattice, Bytes, Lattice]:
    """Return the whole scene in pixels of 160 m: its lattice, its cover, and the lattice again (`Window.of`)."""
    lattice = Ground(square, plane).lattice(0, 0, _COARSE * 160.0, _COARSE, 8)
    return lattice, _land(seed).cover(lattice), lattice


def _write(
    path: Path,
    square: Square,
    asset: Asset,
    scaling: Scaling,
    tiles: Mapping[int, bytes],
    whole: NDArray[Any],
    *,
    ghost: bool,
    usual: int,
) -> None:
    """Write one COG: real tiles where they exist, the whole scene in the coarsest overview, stand-ins elsewhere.

    ``usual`` is the number of bytes of a tile at this resolution, for the space of the stand-ins.
    """
    cog = Cog(
        width=asset.side,
        height=asset.side,
        bands=asset.bands,
        bits=asset.bits,
        block=asset.block,
        overview_block=asset.block // 2,
        overviews=4,
        epsg=square.epsg,
        west=square.west,
        north=square.north,
        pixel=asset.metres,
        metadata=_METADATA.format(
            "AVERAGE" if asset.key == VISUAL or asset.is_reflectance else "MODE",
            _TAGS if scaling is Scaling.TAGGED else "",
        ),
        ghost=ghost,
    )
    full, *overviews, coarsest = cog.levels
    plain = _plain(asset, scaling, asset.block)
    jitter = np.random.default_rng(square.epsg + asset.side).uniform(0.8, 1.2, full.across * full.down)
    levels: list[list[Tile]] = [
        [
            Tile(tiles[index])
            if index in tiles
            else Tile(plain, room=max(round(usual * jitter[index]), len(plain)))
            for index in range(full.across * full.down)
        ]
    ]
    for level in overviews:
        small = _plain(asset, scaling, level.block)
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


@lru_cache(maxsize=64)
def _plain(asset: Asset, scaling: Scaling, block: int) -> bytes:
    shape = (block, block, asset.bands) if asset.bands > 1 else (block, block)
    pixels = np.full(shape, asset.plain, dtype=asset.dtype)
    if scaling is not Scaling.PLAIN:
        pixels += OFFSET
    return compress(pixels, block, level=6)
