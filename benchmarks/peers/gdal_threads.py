"""rasterio in threads, with GDAL's settings for COGs, and the areas of one item processed on one open file.

Settings as recommended by GDAL's and Element 84's guides for cloud-optimised GeoTIFFs, and some that were measured
to help here.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from benchmarks.peers.rules import Cut, Found, Pixels, count, cut, is_clear, save
from benchmarks.scenes import Order, Scene

SETTINGS: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "16384",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "5000000",
    # The default is 16 MB of raw bytes, less than the threads need at once, so that tiles would be read twice.
    "CPL_VSIL_CURL_CACHE_SIZE": "400000000",
    "GDAL_CACHEMAX": 1000,
}


def run(order: Order, connections: int, folder: Path) -> Iterator[Found]:
    """Process all scenes, each in one thread."""
    with rasterio.Env(**SETTINGS), ThreadPoolExecutor(connections) as pool:
        for answers in pool.map(lambda scene: _scene(order, scene, folder), order.scenes):
            yield from answers


def _scene(order: Order, scene: Scene, folder: Path) -> list[Found]:
    with rasterio.Env(**SETTINGS):
        with rasterio.open(scene.scl) as raster:
            counts = {area: count(_masked(raster, order.areas[area])[0]) for area in scene.areas}
        clear = [area for area, (bad, valid) in counts.items() if is_clear(bad, valid)]
        files = {}
        if clear:
            with rasterio.open(scene.visual) as raster:
                for area in clear:
                    crop, found = _masked(raster, order.areas[area])
                    files[area] = save(folder / f"{area}-{scene.id}.tif", crop, found.transform, found.epsg)
    return [
        Found(item=scene.id, area=area, bad=bad, valid=valid, file=files.get(area))
        for area, (bad, valid) in counts.items()
    ]


def _masked(raster: DatasetReader, wkt: str) -> tuple[Pixels, Cut]:
    found = cut(wkt, raster.crs.to_epsg(), raster.transform, raster.width, raster.height)
    return found.masked(raster.read(window=Window(found.col, found.row, found.width, found.height))), found
