"""STAC items of generated scenes, in the form of the items of each collection in Earth Search v1. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from s2async.sandbox.world.archives import C1, L2A, Record
from s2async.sandbox.world.assets import ASSETS, VISUAL
from s2async.sandbox.world.land import Bytes
from s2async.sandbox.world.passes import FIRST_WITH_OFFSET, Take
from s2async.sandbox.world.squares import Square

ORIGIN: Final = "{origin}"
"""Placeholder for the server's origin in every href."""
_COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_FRACTIONS: Final = {
    "s2:saturated_defective_pixel_percentage": 1,
    "s2:dark_features_percentage": 2,
    "s2:cloud_shadow_percentage": 3,
    "s2:vegetation_percentage": 4,
    "s2:not_vegetated_percentage": 5,
    "s2:water_percentage": 6,
    "s2:unclassified_percentage": 7,
    "s2:medium_proba_clouds_percentage": 8,
    "s2:high_proba_clouds_percentage": 9,
    "s2:thin_cirrus_percentage": 10,
    "s2:snow_ice_percentage": 11,
}


def cog_path(record: Record, square: Square, key: str) -> str:
    """Return the path of an asset below ``/cogs/``, as in the buckets of Earth Search."""
    zone, band, letters = square.name[:-3], square.name[-3], square.name[-2:]
    time = record.take.time
    place = f"{zone}/{band}/{letters}/{time:%Y}/{time.month}/{record.item_id(square)}/{ASSETS[key].file}.tif"
    return f"{C1}/{place}" if record.collection == C1 else place


def make_item(
    record: Record,
    square: Square,
    classes: Bytes,
    *,
    footprint: BaseGeometry,
    projection: str,
    keys: Sequence[str],
) -> dict[str, Any]:
    """Return the item of one take over one square in one collection.

    Args:
        record: the take and its collection.
        square: the grid square.
        classes: SCL of the whole scene at a coarse resolution, uint8; its shares become the percentages.
        footprint: footprint of the part with data, as the item states it, in lon/lat.
        projection: how the CRS is written: ``proj:epsg``, ``proj:code``, or the empty string to omit it.
        keys: keys of its assets.
    """
    take, name = record.take, record.item_id(square)
    assets: dict[str, Any] = {}
    if not take.only_jp2:
        assets |= {key: _asset(key, record, square) for key in keys}
    if record.collection == L2A:
        assets |= {f"{key}-jp2": _jp2(key, take, square) for key in keys}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "properties": _properties(record, square, classes, projection),
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": list(footprint.bounds),
        "links": _links(record.collection, name),
        "assets": assets,
        "stac_extensions": [
            f"https://stac-extensions.github.io/{extension}/schema.json"
            for extension in ("raster/v1.1.0", "mgrs/v1.0.0", "eo/v1.1.0", "grid/v1.0.0", "projection/v1.1.0")
        ],
        "collection": record.collection,
    }


def _properties(record: Record, square: Square, classes: Bytes, projection: str) -> dict[str, Any]:
    take = record.take
    counts = np.bincount(classes.ravel(), minlength=12)
    valid = max(int(counts[1:].sum()), 1)
    updated = take.generated.replace(microsecond=254_000)
    start, strip, made = (f"{time:%Y%m%dT%H%M%S}" for time in (take.datatake, take.strip, take.generated))
    mission, number = f"S2{take.platform[-1].upper()}", take.baseline.replace(".", "")
    properties: dict[str, Any] = {
        "created": _utc(updated),
        "platform": take.platform,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(float(counts[8:11].sum()) / valid * 100, 6),
        "mgrs:utm_zone": square.zone,
        "mgrs:latitude_band": square.name[-3],
        "mgrs:grid_square": square.name[-2:],
        "grid:code": f"MGRS-{square.name}",
        "s2:degraded_msi_data_percentage": 0,
        "s2:nodata_pixel_percentage": round(float(counts[0]) / classes.size * 100, 6),
        **{key: round(float(counts[value]) / valid * 100, 6) for key, value in _FRACTIONS.items()},
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": take.baseline,
        "s2:product_uri": f"{mission}_MSIL2A_{start}_N{number}_R{take.orbit:03}_T{square.name:0>5}_{made}.SAFE",
        "s2:generation_time": f"{take.generated:%Y-%m-%dT%H:%M:%S}.000000Z",
        "s2:datatake_id": f"G{mission}_{start}_{take.absolute:06}_N{take.baseline}",
        "s2:datastrip_id": f"{mission}_OPER_MSI_L2A_DS_SAND_{made}_S{strip}_N{take.baseline}",
        "datetime": f"{take.time:%Y-%m-%dT%H:%M:%S.%f}Z",
        "updated": _utc(updated),
    }
    if record.collection == L2A:
        properties["s2:sequence"] = str(take.sequence)
    if record.flag is not None:
        properties["earthsearch:boa_offset_applied"] = record.flag
    if projection == "proj:epsg":
        properties["proj:epsg"] = square.epsg
    elif projection == "proj:code":
        properties["proj:code"] = f"EPSG:{square.epsg}"
    return properties


def _asset(key: str, record: Record, square: Square) -> dict[str, Any]:
    what = ASSETS[key]
    asset: dict[str, Any] = {
        "href": f"{ORIGIN}/cogs/{cog_path(record, square, key)}",
        "type": _COG,
        "title": what.title,
        "proj:shape": [what.side, what.side],
        "proj:transform": [what.metres, 0, square.west, 0, -what.metres, square.north],
        "roles": ["visual"] if key == VISUAL else ["data", "reflectance"],
    }
    if key != VISUAL:
        asset["raster:bands"] = [{"nodata": 0, "data_type": what.dtype, "spatial_resolution": what.metres}]
    if what.bits == 16:
        # Earth Search states an offset of -0.1 for every baseline from 04.00 on, whatever the pixels are
        offset = -0.1 if what.is_reflectance and record.take.baseline >= FIRST_WITH_OFFSET else 0.0
        asset["raster:bands"][0] |= {"bits_per_sample": 15, "scale": what.scale, "offset": offset}
    return asset


def _jp2(key: str, take: Take, square: Square) -> dict[str, Any]:
    zone, band, letters = square.name[:-3], square.name[-3], square.name[-2:]
    place = f"tiles/{zone}/{band}/{letters}/{take.time.year}/{take.time.month}/{take.time.day}/{take.sequence}"
    return {
        "href": f"s3://sentinel-s2-l2a/{place}/{ASSETS[key].file}.jp2",
        "type": "image/jp2",
        "title": ASSETS[key].title,
        "roles": ["visual"] if key == VISUAL else ["data", "reflectance"],
    }


def _links(collection: str, name: str) -> list[dict[str, str]]:
    collection = f"{ORIGIN}/v1/collections/{collection}"
    return [
        {"rel": "self", "type": "application/geo+json", "href": f"{collection}/items/{name}"},
        {"rel": "parent", "type": "application/json", "href": collection},
        {"rel": "collection", "type": "application/json", "href": collection},
        {"rel": "root", "type": "application/json", "href": f"{ORIGIN}/v1"},
    ]


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"
