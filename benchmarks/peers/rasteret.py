"""rasteret as in its guide: an index of all headers first, then a table of crops for each area.

It searches itself, like s2async, and reads a file of three bands once for each band. A separate store is passed to
it, because its default store refuses plain http.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import pyarrow.compute as pc
import rasteret
import shapely
from affine import Affine
from obstore.store import HTTPStore
from rasteret.cloud import ObstoreBackend

from benchmarks.peers.rules import Found, Pixels, count, cut, is_clear, save
from benchmarks.scenes import Order, Scene

_BANDS: Final = {"scl": "scl", "red": "visual", "green": "visual", "blue": "visual"}
_PICTURE: Final = ("red", "green", "blue")


def run(order: Order, connections: int, folder: Path) -> Iterator[Found]:
    """Process one area after another, with its scenes all at once.

    There are at most as many concurrent requests as connections.
    """
    address = urlsplit(order.scenes[0].scl)
    origin = f"{address.scheme}://{address.netloc}"
    store = HTTPStore(origin, client_options={"allow_http": True})
    reading = {
        "backend": ObstoreBackend(store, url_prefix=f"{origin}/"),
        "max_concurrent": connections,
    }
    bounds = shapely.total_bounds([shapely.from_wkt(wkt) for wkt in order.areas.values()])
    with tempfile.TemporaryDirectory() as workspace:
        collection = rasteret.build_from_stac(
            name="parks",
            stac_api=f"{origin}/v1",
            collection="sentinel-2-l2a",
            band_map=_BANDS,
            band_index_map={name: index for index, name in enumerate(_PICTURE)},
            bbox=tuple(bounds),
            date_range=("2022-01-01", "2022-12-31"),
            workspace_dir=workspace,
            **reading,
        )
        for area, wkt in order.areas.items():
            scenes = [scene for scene in order.scenes if area in scene.areas]
            yield from _area(collection, area, wkt, scenes, reading, folder)


def _area(
    collection: Any, area: str, wkt: str, scenes: list[Scene], reading: dict[str, Any], folder: Path
) -> Iterator[Found]:
    names = [scene.id for scene in scenes]
    classes = _crops(collection, wkt, names, ["scl"], reading)
    counts = {name: count(classes[name]) for name in names}
    clear = [name for name in names if is_clear(*counts[name])]
    pictures = _crops(collection, wkt, clear, list(_PICTURE), reading) if clear else {}
    known = {scene.id: scene for scene in scenes}
    files = {}
    for name, crop in pictures.items():
        asset = known[name].document["assets"]["visual"]
        height, width = asset["proj:shape"]
        found = cut(wkt, known[name].epsg, Affine(*asset["proj:transform"]), width, height)
        files[name] = save(folder / f"{area}-{name}.tif", crop, found.transform, found.epsg)
    for name, (bad, valid) in counts.items():
        yield Found(item=name, area=area, bad=bad, valid=valid, file=files.get(name))


def _crops(
    collection: Any, wkt: str, names: list[str], bands: list[str], reading: dict[str, Any]
) -> dict[str, Pixels]:
    """Return the masked crop of each scene, by its name."""
    chosen = collection.where(pc.field("id").isin(names))
    rows = chosen.get_gdf(geometries=shapely.from_wkt(wkt), bands=bands, geometry_crs=4326, **reading)
    found: dict[tuple[str, str], Pixels] = dict(
        zip(zip(rows["record_id"], rows["band"], strict=True), rows["data"], strict=True)
    )
    return {name: np.stack([found[name, band] for band in bands]) for name in names}
