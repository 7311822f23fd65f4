"""Crops as STAC items, and the collection of them. Pure.

STAC 1.1.0, with those versions of its extensions that readers (pystac, odc-stac) know. An item is one area in one
scene: its geometry is the area's polygon, its assets are the crops.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from s2async.catalog.items import COPERNICUS, Catalog
from s2async.cog.tiff import Layout
from s2async.export.table import values
from s2async.geo import Box, bbox
from s2async.state.records import SavedRow

COLLECTION: Final = "collection.json"
JSON: Final = "application/json"
GEOJSON: Final = "application/geo+json"
_VERSION: Final = "1.1.0"
_EXTENSIONS: Final = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v1.1.0", "eo/v1.1.0", "file/v2.1.0", "grid/v1.1.0")
]
_SHA256: Final = "1220"
"""Begins a multihash of the 32 bytes of SHA-256 (https://github.com/multiformats/multicodec, table.csv)."""
_NOTICE: Final = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"
_RGB: Final = ("red", "green", "blue")
_COMMON: Final = {
    **{name: name for name in (*_RGB, "coastal", "nir", "nir08", "nir09", "swir16", "swir22")},
    **{f"rededge{number}": "rededge" for number in (1, 2, 3)},
}
"""Common names of the EO extension by the asset keys of Earth Search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What all items of an area share."""

    geometry: Mapping[str, Any]
    """Its polygon as a GeoJSON object."""
    box: Box


@dataclass(kw_only=True, slots=True)
class Extent:
    """Where and when the items are that it was told of."""

    areas: int = 0
    parts: list[NDArray[np.float64]] = field(default_factory=list)
    """Boxes of the areas' parts."""
    first: str = ""
    last: str = ""

    @property
    def box(self) -> Box:
        """Around all areas; the whole world when there is none."""
        return bbox(np.concatenate(self.parts)) if self.parts else (-180.0, -90.0, 180.0, 90.0)

    def add_area(self, parts: NDArray[np.float64]) -> None:
        """Take in an area, by the boxes of its parts."""
        self.parts.append(parts)
        self.areas += 1

    def add_time(self, time: str) -> None:
        """Take in a time, as `export.table.iso` writes it."""
        self.first, self.last = min(self.first or time, time), max(self.last, time)


def to_collection(name: str, catalog: Catalog, extent: Extent) -> dict[str, Any]:
    """The collection but for its links.

    Args:
        name: Its id.
        catalog: Where the scenes come from.
        extent: Of all items.
    """
    years = "-".join(dict.fromkeys((extent.first[:4], extent.last[:4])))
    return {
        "type": "Collection",
        "stac_version": _VERSION,
        "id": name,
        "title": "Sentinel-2 crops of small areas",
        "description": f"Crops of {extent.areas:,} areas, cut by s2async from scenes of {catalog.url}, collection "
        f"{catalog.collection}. {catalog.attribution.replace('{year}', years).strip()}",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [extent.box]},
            "temporal": {"interval": [[extent.first or None, extent.last or None]]},
        },
    }


def collection_links(catalog: Catalog) -> list[dict[str, str]]:
    """Links of the collection, but for those to its items."""
    links = [_link("root", f"./{COLLECTION}", JSON)]
    if catalog.attribution == COPERNICUS:
        links.append(_link("license", _NOTICE, "application/pdf"))
    return links


def item_link(href: str) -> dict[str, str]:
    """The collection's link to an item."""
    return _link("item", href, GEOJSON)


def to_item(
    crop: SavedRow,
    place: Place,
    assets: Mapping[str, Any],
    *,
    name: str,
    catalog: Catalog,
    classes: Collection[int],
) -> dict[str, Any]:
    """One area in one scene.

    Args:
        crop: Any of its crops.
        place: The area.
        assets: Its crops by asset key, as `to_asset` tells them.
        name: Id of the collection, which lies one folder up.
        catalog: Where the scene comes from.
        classes: SCL classes that spoil a picture.
    """
    told = values(crop, classes)
    properties = {
        "title": f"{crop.area}, {crop.datetime:%Y-%m-%d}",
        "datetime": told["datetime"],
        "platform": told["platform"],
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": told["area_cloud_percent"],
        "proj:code": f"EPSG:{crop.epsg}",
        "grid:code": f"MGRS-{crop.grid}" if crop.grid else None,
        "s2:processing_baseline": told["processing_baseline"],
        "s2async:area": crop.area,
        "s2async:area_fingerprint": crop.fingerprint,
        "s2async:area_valid_percent": told["area_valid_percent"],
        "s2async:scene_cloud_percent": told["scene_cloud_percent"],
        "s2async:scl_histogram": told["scl_histogram"],
    }
    source = f"{catalog.url}/collections/{quote(crop.collection, safe='')}/items/{quote(crop.item, safe='')}"
    return {
        "type": "Feature",
        "stac_version": _VERSION,
        "stac_extensions": _EXTENSIONS,
        "id": f"{crop.folder}_{crop.item}",
        "collection": name,
        "geometry": place.geometry,
        "bbox": place.box,
        "properties": {key: value for key, value in properties.items() if value is not None},
        "links": [
            *(_link(rel, f"../{COLLECTION}", JSON) for rel in ("root", "parent", "collection")),
            _link("derived_from", source, GEOJSON),
        ],
        "assets": assets,
    }


def to_asset(crop: SavedRow, layout: Layout, href: str) -> dict[str, Any]:
    """A crop as an asset.

    Args:
        crop: What the state knows of it.
        layout: What its header says.
        href: Its address from the item.
    """
    grid = layout.grid
    x0, y0, x1, y1 = grid.bounds
    picture = crop.asset == "visual" and layout.bands == len(_RGB)
    names = _RGB if picture else [crop.asset] * layout.bands
    return {
        "href": href,
        "type": "image/tiff; application=geotiff",
        "roles": ["visual" if picture else "data"],
        "file:size": crop.bytes,
        "file:checksum": _SHA256 + crop.sha256,
        "proj:shape": (grid.height, grid.width),
        "proj:transform": tuple(grid.transform[:6]),
        "proj:bbox": (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)),
        "eo:bands": [_named(name) for name in names],
        "raster:bands": [_raster(layout, band) for band in range(layout.bands)],
    }


def to_thumbnail(href: str) -> dict[str, Any]:
    """A crop's quicklook as an asset, by its address from the item."""
    return {"href": href, "type": "image/png", "roles": ["thumbnail"]}


def _named(name: str) -> dict[str, str]:
    return {"name": name, "common_name": _COMMON[name]} if name in _COMMON else {"name": name}


def _raster(layout: Layout, band: int) -> dict[str, Any]:
    found: dict[str, Any] = {"data_type": layout.dtype, "spatial_resolution": abs(layout.grid.transform.a)}
    if layout.nodata is not None:
        found["nodata"] = layout.nodata if math.isfinite(layout.nodata) else str(layout.nodata)
    if (layout.scales[band], layout.offsets[band]) != (1.0, 0.0):
        found |= {"scale": layout.scales[band], "offset": layout.offsets[band]}
    return found


def _link(rel: str, href: str, media: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media}
