"""The classic tutorial: ``rasterio.open`` on the URL, ``rasterio.mask``, one job after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import rasterio
import rasterio.mask
from affine import Affine

from benchmarks.peers.rules import Found, Pixels, count, is_clear, project, save
from benchmarks.scenes import Order


def run(order: Order, _: int, folder: Path) -> Iterator[Found]:
    """Process one job after another, area by area, like a script; more connections do not help."""
    for area, wkt in order.areas.items():
        for scene in order.scenes:
            if area not in scene.areas:
                continue
            bad, valid = count(_masked(scene.scl, wkt)[0])
            file = None
            if is_clear(bad, valid):
                file = save(folder / f"{area}-{scene.id}.tif", *_masked(scene.visual, wkt), scene.epsg)
            yield Found(item=scene.id, area=area, bad=bad, valid=valid, file=file)


def _masked(href: str, wkt: str) -> tuple[Pixels, Affine]:
    with rasterio.open(href) as raster:
        pixels, transform = rasterio.mask.mask(raster, [project(wkt, raster.crs.to_epsg())], crop=True)
    return pixels, transform
