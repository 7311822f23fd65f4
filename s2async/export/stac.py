"""Crops as STAC items, and the collection that contains them, built with pystac. Pure.

An item is one area in one scene: its geometry is the area's polygon, its assets are the crops. The fields of the
extensions, and the versions of their schemas, are those of pystac.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pystac
from numpy.typing import NDArray
from pystac.extensions.eo import Band, EOExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.grid import GridExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import DataType, NoDataStrings, RasterBand, RasterExtension

from s2async.catalog.providers import COPERNICUS, Catalog
from s2async.cog.tiff import Layout
from s2async.export.columns import Own, own_values, values
from s2async.geo import Box, bbox
from s2async.reflectance.decision import is_reflectance
from s2async.state.records import SavedRow

COLLECTION: Final = "collection.json"
_EXTENSIONS: Final = (ProjectionExtension, RasterExtension, EOExtension, FileExtension, GridExtension)
_SHA256: Final = "1220"
"""Prefix of the multihash of a 32-byte SHA-256 digest (https://github.com/multiformats/multicodec, table.csv)."""
_NOTICE: Final = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"
_RGB: Final = ("red", "green", "blue")
_COMMON: Final = {
    **{name: name for name in (*_RGB, "coastal", "nir", "nir08", "nir09", "swir16", "swir22")},
    **{f"rededge{number}": "rededge" for number in (1, 2, 3)},
}
"""Common band names of the EO extension, by the asset keys of Earth Search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """The polygon that all items of an area share."""

    geometry: Mapping[str, Any]
    """A GeoJSON object."""
    box: Box


@dataclass(kw_only=True, slots=True)
class Extent:
    """The extent in space and time of the items added so far."""

    areas: int = 0
    parts: list[NDArray[np.float64]] = field(default_factory=list)
    """Boxes of the parts of the areas' polygons."""
    first: datetime | None = None
    last: datetime | None = None

    @property
    def box(self) -> Box:
        """The box around all areas; the whole world if there are no areas."""
        return bbox(np.concatenate(self.parts)) if self.parts else (-180.0, -90.0, 180.0, 90.0)

    def add_area(self, parts: NDArray[np.float64]) -> None:
        """Add an area, given by the boxes of its polygon's parts."""
        self.parts.append(parts)
        self.areas += 1

    def add_time(self, time: datetime) -> None:
        """Add the time of an item."""
        self.first, self.last = min(self.first or time, time), max(self.last or time, time)


def to_collection(name: str, catalog: Catalog, extent: Extent) -> pystac.Collection:
    """Build the collection, without its links.

    Args:
        name: id of the collection.
        catalog: the catalogue that the scenes come from.
        extent: extent of all items.
    """
    years = "-".join(dict.fromkeys(f"{time:%Y}" for time in (extent.first, extent.last) if time))
    collection = pystac.Collection(
        id=name,
        title="Sentinel-2 crops of small areas",
        description=f"Crops of {extent.areas:,} areas, cut by s2async from scenes of {catalog.url}, collection "
        f"{catalog.collection}. {catalog.attribution.replace('{year}', years).strip()}",
        license="other",
        extent=pystac.Extent(
            pystac.SpatialExtent([list(extent.box)]), pystac.TemporalExtent([[extent.first, extent.last]])
        ),
    )
    collection.clear_links()
    return collection


def collection_links(catalog: Catalog) -> list[pystac.Link]:
    """Build the links of the collection, except those to its items."""
    links = [pystac.Link(pystac.RelType.ROOT, f"./{COLLECTION}", pystac.MediaType.JSON)]
    if catalog.attribution == COPERNICUS:
        links.append(pystac.Link(pystac.RelType.LICENSE, _NOTICE, pystac.MediaType.PDF))
    return links


def item_link(href: str) -> pystac.Link:
    """Build the collection's link to an item."""
    return pystac.Link(pystac.RelType.ITEM, href, pystac.MediaType.GEOJSON)


def to_item(
    crop: SavedRow,
    footprint: Footprint,
    *,
    name: str,
    catalog: Catalog,
    classes: Collection[int],
    own: Mapping[str, Own] = MappingProxyType({}),
) -> pystac.Item:
    """Build the item of one area in one scene, without its assets.

    Args:
        crop: any of its crops.
        footprint: the area.
        name: id of the collection, which is stored one folder above the item.
        catalog: the catalogue that the scene comes from.
        classes: SCL classes that count as cloud.
        own: the areas' own columns, by the names that they have in the item.
    """
    cells = values(crop, classes)
    properties = {
        "title": f"{crop.area}, {crop.datetime:%Y-%m-%d}",
        "platform": cells["platform"],
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "s2:processing_baseline": cells["processing_baseline"],
        "s2async:area": crop.area,
        "s2async:area_fingerprint": crop.fingerprint,
        "s2async:area_valid_percent": cells["area_valid_percent"],
        "s2async:scene_cloud_percent": cells["scene_cloud_percent"],
        "s2async:scl_histogram": cells["scl_histogram"],
        **own_values(crop.attributes, own),
    }
    item = pystac.Item(
        id=f"{crop.home}_{crop.stem}",
        geometry=dict(footprint.geometry),
        bbox=list(footprint.box),
        datetime=crop.datetime,
        properties={key: value for key, value in properties.items() if value is not None},
        stac_extensions=[extension.get_schema_uri() for extension in _EXTENSIONS],
        collection=name,
    )
    ProjectionExtension.ext(item).apply(code=f"EPSG:{crop.epsg}")
    EOExtension.ext(item).apply(cloud_cover=_number(cells["area_cloud_percent"]))
    if crop.grid:
        GridExtension.ext(item).apply(code=f"MGRS-{crop.grid}")
    for rel in (pystac.RelType.ROOT, pystac.RelType.PARENT, pystac.RelType.COLLECTION):
        item.add_link(pystac.Link(rel, f"../{COLLECTION}", pystac.MediaType.JSON))
    source = f"{catalog.url}/collections/{quote(crop.collection, safe='')}/items/{quote(crop.item, safe='')}"
    item.add_link(pystac.Link(pystac.RelType.DERIVED_FROM, source, pystac.MediaType.GEOJSON))
    return item


def add_crop(item: pystac.Item, crop: SavedRow, layout: Layout, href: str) -> None:
    """Add a crop to an item as an asset.

    Args:
        item: the item of the crop's area and scene.
        crop: the crop's row in the state.
        layout: the header of the crop's file.
        href: URL of the file, relative to the item.
    """
    grid = layout.grid
    x0, y0, x1, y1 = grid.bounds
    is_rgb = crop.asset == "visual" and layout.bands == len(_RGB)
    names = _RGB if is_rgb else [crop.asset] * layout.bands
    role = "visual" if is_rgb else "data"
    asset = pystac.Asset(href, media_type=pystac.MediaType.GEOTIFF, roles=[role])
    item.add_asset(crop.asset, asset)
    FileExtension.ext(asset).apply(size=crop.bytes, checksum=_SHA256 + crop.sha256)
    projection = ProjectionExtension.ext(asset)  # `apply` would also write "proj:code": null over the item's code
    projection.shape = [grid.height, grid.width]
    projection.transform = list(grid.transform[:6])
    projection.bbox = [min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]
    EOExtension.ext(asset).apply(bands=[Band.create(name, _COMMON.get(name)) for name in names])
    if is_reflectance(crop.asset):
        asset.extra_fields["s2async:offset_dn"] = crop.offset
        asset.extra_fields["s2async:offset_basis"] = crop.offset_basis or None
        if crop.doubt:
            asset.extra_fields["s2async:offset_doubt"] = crop.doubt
    RasterExtension.ext(asset).apply(bands=[_raster_band(layout, band) for band in range(layout.bands)])


def add_thumbnail(item: pystac.Item, asset: str, href: str) -> None:
    """Add the quicklook of a crop to an item.

    Args:
        item: the item that contains the crop.
        asset: asset key of the crop.
        href: URL of the quicklook, relative to the item.
    """
    item.add_asset(f"{asset}_thumbnail", pystac.Asset(href, media_type=pystac.MediaType.PNG, roles=["thumbnail"]))


def to_dict(found: pystac.Item | pystac.Collection) -> dict[str, Any]:
    """Convert to JSON types. Hrefs are not changed: relative ones stay relative."""
    return found.to_dict(include_self_link=False, transform_hrefs=False)


def _raster_band(layout: Layout, band: int) -> RasterBand:
    nodata: float | NoDataStrings | None = layout.nodata
    if layout.nodata is not None and not math.isfinite(layout.nodata):
        nodata = NoDataStrings(str(layout.nodata))  # JSON has no number for it
    scale, offset = layout.scales[band], layout.offsets[band]
    is_scaled = (scale, offset) != (1.0, 0.0)
    return RasterBand.create(
        data_type=DataType(layout.dtype),
        spatial_resolution=abs(layout.grid.transform.a),
        nodata=nodata,
        scale=scale if is_scaled else None,
        offset=offset if is_scaled else None,
    )


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))
