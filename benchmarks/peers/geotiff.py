"""async-geotiff with obstore as in its guide: a coroutine for each job, at most as many at once as connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from async_geotiff import GeoTIFF, Window
from obstore.store import HTTPStore

from benchmarks.peers.rules import Cut, Found, Pixels, count, cut, is_clear, save
from benchmarks.scenes import Order, Scene


def run(order: Order, connections: int, folder: Path) -> Iterator[Found]:
    """Process the jobs, each of which opens its own files."""
    yield from asyncio.run(_all(order, connections, folder))


async def _all(order: Order, connections: int, folder: Path) -> list[Found]:
    turn = asyncio.Semaphore(connections)
    store = store_for(order)

    async def job(scene: Scene, area: str) -> Found:
        async with turn:
            return await _job(store, scene, area, order.areas[area], folder)

    return await asyncio.gather(*(job(scene, area) for scene in order.scenes for area in scene.areas))


async def _job(store: HTTPStore, scene: Scene, area: str, wkt: str, folder: Path) -> Found:
    bad, valid = count((await _masked(store, scene.scl, wkt))[0])
    file = None
    if is_clear(bad, valid):
        crop, found = await _masked(store, scene.visual, wkt)
        path = folder / f"{area}-{scene.id}.tif"
        file = await asyncio.to_thread(save, path, crop, found.transform, found.epsg)
    return Found(item=scene.id, area=area, bad=bad, valid=valid, file=file)


async def _masked(store: HTTPStore, href: str, wkt: str) -> tuple[Pixels, Cut]:
    raster = await GeoTIFF.open(urlsplit(href).path.lstrip("/"), store=store)
    found = cut_of(raster, wkt)
    window = Window(col_off=found.col, row_off=found.row, width=found.width, height=found.height)
    return found.masked((await raster.read(window=window)).data), found


def store_for(order: Order) -> HTTPStore:
    """Return a store for the server of the order's files."""
    address = urlsplit(order.scenes[0].scl)
    return HTTPStore(f"{address.scheme}://{address.netloc}", client_options={"allow_http": True})


def cut_of(raster: GeoTIFF, wkt: str) -> Cut:
    """Return an area on the grid of an open file."""
    epsg = raster.ifd.geo_key_directory.projected_type
    return cut(wkt, epsg, raster.transform, raster.width, raster.height)
