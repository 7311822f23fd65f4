from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from s2async.catalog.providers import KNOWN, custom
from s2async.cog import tiff
from s2async.cog.tiff import Layout
from s2async.export import stac
from s2async.output.geotiff import Crop, encode
from s2async.state.records import SavedRow
from tests.support.rows import CLASSES, ROW

CATALOG = KNOWN["earth-search"]


def crop(bands: int, dtype: str, nodata: float | None, scale: float = 1.0, offset: float = 0.0) -> bytes:
    return encode(
        Crop(
            pixels=np.ones((bands, 30, 20), dtype),
            transform=Affine(10, 0, 600_000, 0, -10, 5_800_000),
            epsg=32633,
            nodata=nodata,
            scales=[scale] * bands,
            offsets=[offset] * bands,
            tags={},
        )
    )


def asset_of(row: SavedRow, data: bytes) -> dict[str, Any]:
    """The asset of a crop, as it is written into its item."""
    footprint = stac.Footprint(geometry={"type": "Point", "coordinates": [1, 2]}, box=(1, 2, 1, 2))
    item = stac.to_item(row, footprint, name="x", catalog=CATALOG, classes=CLASSES)
    stac.add_crop(item, row, layout(data), "./x.tif")
    found: dict[str, Any] = stac.to_dict(item)["assets"][row.asset]
    return found


def layout(data: bytes) -> Layout:
    found = tiff.parse(data)
    assert isinstance(found, Layout)
    return found


def test_an_asset_tells_what_rasterio_reads() -> None:
    data = crop(3, "uint8", 0)
    told = asset_of(replace(ROW, sha256=hashlib.sha256(data).hexdigest()), data)
    with rasterio.open(io.BytesIO(data)) as raster:
        assert tuple(told["proj:shape"]) == raster.shape
        assert tuple(told["proj:transform"]) == tuple(raster.transform[:6])
        assert tuple(told["proj:bbox"]) == tuple(raster.bounds)
        assert [band["data_type"] for band in told["raster:bands"]] == list(raster.dtypes)
        assert [band["nodata"] for band in told["raster:bands"]] == list(raster.nodatavals)
        assert [band["spatial_resolution"] for band in told["raster:bands"]] == [10, 10, 10]
    assert "proj:code" not in told, "the item's holds for all of its crops"
    assert (told["file:size"], told["roles"]) == (123456, ["visual"])
    assert told["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
    assert [band["common_name"] for band in told["eo:bands"]] == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("asset", "band"),
    [
        ("nir", {"name": "nir", "common_name": "nir"}),
        ("rededge2", {"name": "rededge2", "common_name": "rededge"}),
        ("scl", {"name": "scl"}),
        ("visual", {"name": "visual"}),
    ],
)
def test_one_band_has_the_name_of_its_asset(asset: str, band: dict[str, str]) -> None:
    told = asset_of(replace(ROW, asset=asset), crop(1, "uint16", 0, 0.0001, -0.1))
    assert told["eo:bands"] == [band]
    assert told["roles"] == ["data"]
    assert told["raster:bands"] == [
        {"data_type": "uint16", "spatial_resolution": 10, "nodata": 0, "scale": 0.0001, "offset": -0.1}
    ]


def test_nodata_that_json_has_no_number_for_is_a_text() -> None:
    told = asset_of(replace(ROW, asset="x"), crop(1, "float32", float("nan")))
    assert told["raster:bands"][0]["nodata"] == "nan"
    told = asset_of(replace(ROW, asset="x"), crop(1, "float32", None))
    assert "nodata" not in told["raster:bands"][0]


def test_an_item_is_derived_from_the_one_of_the_catalogue() -> None:
    footprint = stac.Footprint(geometry={"type": "Point", "coordinates": [1, 2]}, box=(1, 2, 1, 2))
    item = stac.to_dict(stac.to_item(ROW, footprint, name="s2async-x", catalog=CATALOG, classes=CLASSES))
    (source,) = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert source == f"{CATALOG.url}/collections/sentinel-2-l2a/items/S2A_33UUU_20220719_0_L2A"
    assert float(item["properties"]["eo:cloud_cover"]) == 1.0
    assert item["properties"]["proj:code"] == "EPSG:32633"
    bare = replace(ROW, platform="", grid="", baseline="", scene_cloud=None, measure=None)
    told = stac.to_dict(stac.to_item(bare, footprint, name="x", catalog=CATALOG, classes=CLASSES))["properties"]
    assert set(item["properties"]) - set(told) == {
        "platform", "grid:code", "s2:processing_baseline", "eo:cloud_cover", "s2async:scene_cloud_percent",
        "s2async:area_valid_percent", "s2async:scl_histogram",
    }  # fmt: skip


def test_the_collection_spans_its_items_and_names_the_source_of_the_pixels() -> None:
    extent = stac.Extent()
    empty = stac.to_dict(stac.to_collection("x", CATALOG, extent))["extent"]
    assert empty["spatial"]["bbox"] == [[-180, -90, 180, 90]]
    assert empty["temporal"]["interval"] == [[None, None]]
    for west in (13.0, 11.0):
        extent.add_area(np.array([[west, 52.0, west + 1, 53.0]]))
    for time in ("2022-07-19T10:18:05Z", "2021-01-01T00:00:00Z", "2022-01-01T00:00:00Z"):
        extent.add_time(datetime.fromisoformat(time))
    told = stac.to_dict(stac.to_collection("x", CATALOG, extent))
    assert told["extent"]["spatial"]["bbox"] == [[11.0, 52.0, 14.0, 53.0]]
    assert told["extent"]["temporal"]["interval"] == [["2021-01-01T00:00:00Z", "2022-07-19T10:18:05Z"]]
    assert "contains modified Copernicus Sentinel data 2021-2022" in told["description"]


def test_other_peoples_pixels_have_no_notice_of_copernicus() -> None:
    assert [link.rel for link in stac.collection_links(CATALOG)] == ["root", "license"]
    other = custom("https://stac.example", "c", {"scl": "scl"}, "ours, {year}")
    assert [link.rel for link in stac.collection_links(other)] == ["root"]
