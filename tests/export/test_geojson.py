from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pyogrio.raw
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import shape

from s2async.export import geojson
from s2async.export.columns import Table
from s2async.state.records import JobRow
from tests.support.rows import CLASSES, CLOUDY, ROW
from tests.support.shelves import PARK, SHAPES


def text_of(*rows: JobRow, everything: bool = False, polygon: shapely.Geometry = PARK) -> str:
    file = io.StringIO()
    table = Table(rows=rows, all=everything, classes=CLASSES, polygon=lambda _: shapely.to_wkb(polygon))
    assert geojson.write(table, file) == len(rows)
    return file.getvalue()


def test_a_feature_has_the_columns_and_the_polygon() -> None:
    found = json.loads(text_of(ROW, CLOUDY, everything=True))
    assert found["type"] == "FeatureCollection"
    saved, cloudy = found["features"]
    assert saved["properties"] == {
        "area": "Tiergarten",
        "item_id": "S2A_33UUU_20220719_0_L2A",
        "datetime": "2022-07-19T10:18:05.123000Z",
        "platform": "sentinel-2a",
        "grid": "33UUU",
        "epsg": 32633,
        "scene_cloud_percent": 0.000015,
        "area_cloud_percent": 1.0,
        "area_valid_percent": 93.75,
        "asset": "visual",
        "path": "tiergarten/S2A_33UUU_20220719_0_L2A_visual.tif",
        "file_bytes": 123456,
        "href": "https://cogs.example/S2A_33UUU_20220719_0_L2A/TCI.tif",
        "processing_baseline": "04.00",
        "offset": 0,
        "offset_basis": "rule",
        "area_fingerprint": "0123456789abcdef",
        "collection": "sentinel-2-l2a",
        "sha256": "ab" * 32,
        "area_pixels": 320,
        "scl_histogram": [10, 0, 0, 1, 200, 97, 0, 0, 2, 0, 0, 0, 0],
        "status": "saved",
        "reason": None,
    }
    assert (cloudy["properties"]["status"], cloudy["properties"]["path"]) == ("cloudy", None)
    assert shape(saved["geometry"]).equals(PARK)


def test_no_row_is_an_empty_collection() -> None:
    assert json.loads(text_of()) == {"type": "FeatureCollection", "features": []}


@given(st.sampled_from(list(SHAPES.values())), st.booleans())
def test_rings_turn_as_the_rfc_wants(polygon: shapely.Geometry, turned: bool) -> None:
    given_ = shapely.orient_polygons(polygon, exterior_cw=turned)
    (feature,) = json.loads(text_of(ROW, polygon=given_))["features"]
    found = shape(feature["geometry"])
    assert found.equals(polygon)
    for part in shapely.get_parts(found):
        assert part.exterior.is_ccw
        assert not any(hole.is_ccw for hole in part.interiors)


def test_each_area_has_its_own_polygon() -> None:
    shapes = dict(zip("abc", SHAPES.values(), strict=True))
    file = io.StringIO()
    rows = [replace(ROW, fingerprint=key) for key in "aabccca"]
    geojson.write(Table(rows=rows, classes=CLASSES, polygon=lambda key: shapely.to_wkb(shapes[key])), file)
    features = json.loads(file.getvalue())["features"]
    assert all(
        shape(feature["geometry"]).equals(shapes[key]) for feature, key in zip(features, "aabccca", strict=True)
    )


@pytest.mark.parametrize("name", list(SHAPES))
def test_gdal_reads_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "overview.geojson"
    path.write_text(text_of(replace(ROW, area=name), replace(ROW, area=name, grid="")), encoding="utf-8")
    meta, _, shapes, columns = pyogrio.raw.read(path)
    read = dict(zip(meta["fields"], columns, strict=True))
    assert meta["crs"] in ("EPSG:4326", "OGC:CRS84")
    assert list(read["area"]) == [name, name]
    assert list(read["grid"]) == ["33UUU", None]
    assert all(shapely.from_wkb(wkb).equals(PARK) for wkb in shapes)
