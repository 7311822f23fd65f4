"""async-geotiff with obstore as its guide shows it: a coroutine for each job, as many at once as connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

from async_geotiff import GeoTIFF, Window
from obstore.store import HTTPStore

from benchmarks.peers.rules import Answer, Cut, Pixels, count, cut, digest, is_clear
from benchmarks.scenes import Order, Scene


def run(order: Order, connections: int) -> Iterator[Answer]:
    """Each job opens its files itself."""
    yield from asyncio.run(_all(order, connections))


async def _all(order: Order, connections: int) -> list[Answer]:
    turn = asyncio.Semaphore(connections)
    store = store_for(order)

    async def job(scene: Scene, area: str) -> Answer:
        async with turn:
            return await _job(store, scene, area, order.areas[area])

    return await asyncio.gather(*(job(scene, area) for scene in order.scenes for area in scene.areas))


async def _job(store: HTTPStore, scene: Scene, area: str, wkt: str) -> Answer:
    bad, valid = count(await _masked(store, scene.scl, wkt))
    crop = digest(await _masked(store, scene.visual, wkt)) if is_clear(bad, valid) else None
    return Answer(item=scene.id, area=area, bad=bad, valid=valid, digest=crop)


async def _masked(store: HTTPStore, href: str, wkt: str) -> Pixels:
    raster = await GeoTIFF.open(urlsplit(href).path.lstrip("/"), store=store)
    found = cut_of(raster, wkt)
    window = Window(col_off=found.col, row_off=found.row, width=found.width, height=found.height)
    return found.masked((await raster.read(window=window)).data)


def store_for(order: Order) -> HTTPStore:
    """The server that has the order's files."""
    address = urlsplit(order.scenes[0].scl)
    return HTTPStore(f"{address.scheme}://{address.netloc}", client_options={"allow_http": True})


def cut_of(raster: GeoTIFF, wkt: str) -> Cut:
    """An area on the grid of an open file."""
    epsg = raster.ifd.geo_key_directory.projected_type
    return cut(wkt, epsg, raster.transform, raster.width, raster.height)
