"""async-geotiff with all the sharing that a patient user would write.

Each file of an item is opened once, with a first read that contains its header, and every tile under any of the
item's areas is fetched and decoded once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np
from async_geotiff import GeoTIFF
from obstore.store import HTTPStore

from benchmarks.peers.geotiff import cut_of, store_for
from benchmarks.peers.rules import Cut, Found, Pixels, count, is_clear, save, union_tiles
from benchmarks.scenes import Order, Scene

_HEADER: Final = 8192


def run(order: Order, connections: int, folder: Path) -> Iterator[Found]:
    """Process at most as many items at once as connections."""
    yield from asyncio.run(_all(order, connections, folder))


async def _all(order: Order, connections: int, folder: Path) -> list[Found]:
    turn = asyncio.Semaphore(connections)
    store = store_for(order)

    async def item(scene: Scene) -> list[Found]:
        async with turn:
            return await _scene(store, order.areas, scene, folder)

    found = await asyncio.gather(*(item(scene) for scene in order.scenes))
    return [answer for answers in found for answer in answers]


async def _scene(store: HTTPStore, areas: Mapping[str, str], scene: Scene, folder: Path) -> list[Found]:
    classes = await _crops(store, scene.scl, areas, scene.areas)
    counts = {area: count(crop) for area, (crop, _) in classes.items()}
    clear = [area for area, (bad, valid) in counts.items() if is_clear(bad, valid)]
    pictures = await _crops(store, scene.visual, areas, clear) if clear else {}
    saving = [
        asyncio.to_thread(save, folder / f"{area}-{scene.id}.tif", crop, found.transform, found.epsg)
        for area, (crop, found) in pictures.items()
    ]
    files = dict(zip(pictures, await asyncio.gather(*saving), strict=True))
    return [
        Found(item=scene.id, area=area, bad=bad, valid=valid, file=files.get(area))
        for area, (bad, valid) in counts.items()
    ]


async def _crops(
    store: HTTPStore, href: str, areas: Mapping[str, str], wanted: Sequence[str]
) -> dict[str, tuple[Pixels, Cut]]:
    raster = await GeoTIFF.open(urlsplit(href).path.lstrip("/"), store=store, prefetch=_HEADER)
    cuts = {area: cut_of(raster, areas[area]) for area in wanted}
    side = raster.tile_width
    tiles = await raster.fetch_tiles(union_tiles(cuts.values(), side))
    pixels = {(tile.x, tile.y): tile.array.data for tile in tiles}
    return {area: (found.masked(_assembled(pixels, found, side)), found) for area, found in cuts.items()}


def _assembled(tiles: Mapping[tuple[int, int], Pixels], cut: Cut, side: int) -> Pixels:
    first = next(iter(tiles.values()))
    crop = np.empty((first.shape[0], cut.height, cut.width), dtype=first.dtype)
    for column, row in union_tiles([cut], side):
        left, top = max(cut.col, column * side), max(cut.row, row * side)
        right, bottom = min(cut.col + cut.width, (column + 1) * side), min(cut.row + cut.height, (row + 1) * side)
        crop[:, top - cut.row : bottom - cut.row, left - cut.col : right - cut.col] = tiles[column, row][
            :, top - row * side : bottom - row * side, left - column * side : right - column * side
        ]
    return crop
