"""odc-stac as in its guide: a lazy data cube for each area, computed in threads; SCL, then the clear days.

In the scenes' own grid and without resampling, so that pixels are not changed. Scenes of two UTM zones are two
cubes, because a cube has one CRS.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import dask
import numpy as np
import odc.stac
import pystac
import shapely
from affine import Affine

from benchmarks.peers.rules import Cut, Found, Pixels, count, cut, is_clear, save
from benchmarks.scenes import Order, Scene

_BAND: Final = {"data_type": "uint8", "nodata": 0}
"""Bands of true colour: odc-stac assumes that an asset without a list of bands has a single band."""


def run(order: Order, connections: int, folder: Path) -> Iterator[Found]:
    """Process one area after another; its scenes in as many threads as connections."""
    # The cache is larger than in the guide: otherwise the bands of an image read the file several times.
    odc.stac.configure_rio(cloud_defaults=True, CPL_VSIL_CURL_CACHE_SIZE="400000000")
    items = {scene.id: _item(scene) for scene in order.scenes}
    with dask.config.set(scheduler="threads", num_workers=connections):
        for area, wkt in order.areas.items():
            zones: dict[int, list[Scene]] = defaultdict(list)
            for scene in order.scenes:
                if area in scene.areas:
                    zones[scene.epsg].append(scene)
            for scenes in zones.values():
                yield from _area(area, wkt, scenes, items, folder)


def _area(
    area: str, wkt: str, scenes: Sequence[Scene], items: dict[str, pystac.Item], folder: Path
) -> Iterator[Found]:
    classes = _crops(wkt, scenes, items, ["scl"], 20)
    counts = {name: count(crop) for name, (crop, _) in classes.items()}
    clear = [scene for scene in scenes if is_clear(*counts[scene.id])]
    pictures = _crops(wkt, clear, items, ["visual.1", "visual.2", "visual.3"], 10) if clear else {}

    def saved(name: str) -> str:
        crop, found = pictures[name]
        return save(folder / f"{area}-{name}.tif", crop, found.transform, found.epsg)

    with ThreadPoolExecutor() as pool:
        files = dict(zip(pictures, pool.map(saved, pictures), strict=True))
    for name, (bad, valid) in counts.items():
        yield Found(item=name, area=area, bad=bad, valid=valid, file=files.get(name))


def _crops(
    wkt: str, scenes: Sequence[Scene], items: dict[str, pystac.Item], bands: list[str], metres: int
) -> dict[str, tuple[Pixels, Cut]]:
    """Return the masked crop of each scene and its position, by the scene's name."""
    cube = odc.stac.load(
        [items[scene.id] for scene in scenes],
        bands=bands,
        crs=f"EPSG:{scenes[0].epsg}",
        resolution=metres,
        geopolygon=shapely.from_wkt(wkt),
        groupby="id",
        chunks={},
    ).compute()
    asset = scenes[0].document["assets"][bands[0].partition(".")[0]]
    whole, (height, width) = Affine(*asset["proj:transform"]), asset["proj:shape"]
    found = cut(wkt, scenes[0].epsg, whole, width, height)
    left, top = (round(number) for number in ~whole * (cube.odc.geobox.transform * (0, 0)))
    crops = {}
    for index, scene in enumerate(scenes):  # if items are grouped by item, a cube keeps their order
        pixels = np.stack([cube[band].values[index] for band in bands])
        crops[scene.id] = found.masked(_placed(pixels, left, top, found)), found
    return crops


def _placed(pixels: Pixels, left: int, top: int, cut: Cut) -> Pixels:
    """Return pixels (bands x rows x columns) from a position in the raster, placed in the window of an area.

    odc-stac drops a row or column if the polygon extends into it by less than a hundredth of a pixel.
    """
    placed = np.zeros((len(pixels), cut.height, cut.width), dtype=pixels.dtype)
    rows = range(max(cut.row, top), min(cut.row + cut.height, top + pixels.shape[1]))
    columns = range(max(cut.col, left), min(cut.col + cut.width, left + pixels.shape[2]))
    placed[:, _slice(rows, cut.row), _slice(columns, cut.col)] = pixels[
        :, _slice(rows, top), _slice(columns, left)
    ]
    return placed


def _slice(places: range, start: int) -> slice:
    return slice(places.start - start, places.stop - start)


def _item(scene: Scene) -> pystac.Item:
    properties = scene.document["properties"]
    if not properties.keys() & {"proj:epsg", "proj:code"}:  # some of the sandbox's items lack it
        properties = {**properties, "proj:epsg": scene.epsg}
    item = pystac.Item.from_dict({**scene.document, "properties": properties})
    item.assets["visual"].extra_fields["raster:bands"] = [_BAND] * 3
    return item
