"""The classic tutorial: ``rasterio.open`` on the address, ``rasterio.mask``, one job after another."""

from __future__ import annotations

from collections.abc import Iterator

import rasterio
import rasterio.mask

from benchmarks.peers.rules import Answer, Pixels, count, digest, is_clear, project
from benchmarks.scenes import Order


def run(order: Order, _: int) -> Iterator[Answer]:
    """One job after another, area by area, as a script does; more connections do not help."""
    for area, wkt in order.areas.items():
        for scene in order.scenes:
            if area not in scene.areas:
                continue
            bad, valid = count(_masked(scene.scl, wkt))
            crop = digest(_masked(scene.visual, wkt)) if is_clear(bad, valid) else None
            yield Answer(item=scene.id, area=area, bad=bad, valid=valid, digest=crop)


def _masked(href: str, wkt: str) -> Pixels:
    with rasterio.open(href) as raster:
        pixels: Pixels = rasterio.mask.mask(raster, [project(wkt, raster.crs.to_epsg())], crop=True)[0]
    return pixels
