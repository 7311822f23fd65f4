"""Items of a catalogue, and the scenes and areas of tests that search it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import shapely
from shapely import MultiPolygon, Polygon

from s2async.catalog.items import to_scene
from s2async.catalog.providers import KNOWN
from s2async.models import Area, Scene

EARTH_SEARCH = KNOWN["earth-search"]
COGS = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def an_item(**changes: Any) -> dict[str, Any]:
    """An item in Earth Search's shape; ``properties`` and ``assets`` of ``changes`` are merged, None removes."""
    folder = f"{COGS}/33/U/UU/2022/6/S2B_33UUU_20220609_0_L2A"
    item: dict[str, Any] = {
        "type": "Feature",
        "id": "S2B_33UUU_20220609_0_L2A",
        "collection": "sentinel-2-l2a",
        "geometry": shapely.geometry.mapping(shapely.box(12, 52.2, 13.6, 53.2)),
        "bbox": [12, 52.2, 13.6, 53.2],
        "properties": {
            "datetime": "2022-06-09T10:16:54.123000Z",
            "platform": "sentinel-2b",
            "grid:code": "MGRS-33UUU",
            "eo:cloud_cover": 12.5,
            "proj:epsg": 32633,
            "s2:processing_baseline": "04.00",
            "s2:generation_time": "2022-06-09T13:00:00.000000Z",
            "s2:datastrip_id": "S2B_OPER_MSI_L2A_DS_2BPS_20220609T130000_S20220609T101230_N04.00",
            "s2:product_uri": "S2B_MSIL2A_20220609T100559_N0400_R022_T33UUU_20220609T130000.SAFE",
            "updated": "2022-06-09T18:00:00.000Z",
        },
        "links": [],
        "assets": {
            "scl": {"href": f"{folder}/SCL.tif", "type": COG},
            "visual": {"href": f"{folder}/TCI.tif", "type": COG},
        },
    }
    for key, change in changes.items():
        merged = item[key] | change if key in ("properties", "assets") and isinstance(change, dict) else change
        item[key] = {k: v for k, v in merged.items() if v is not None} if isinstance(merged, dict) else merged
    return item


def a_scene(**changes: Any) -> Scene:
    return replace(to_scene(an_item(), EARTH_SEARCH), **changes)


def an_area(name: str, polygon: Polygon | MultiPolygon) -> Area:
    fingerprint = hashlib.sha256(polygon.wkb).hexdigest()[:16]
    return Area(name=name, wkb=polygon.wkb, fingerprint=fingerprint, folder=name)
