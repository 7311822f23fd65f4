"""GeoParquet: CRS and encoding by its metadata, types of columns, and exports of this program."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import CRS

from s2async.areas.geoparquet import CROP_COLUMNS, EXPORT_KEY
from s2async.areas.loader import load, read
from s2async.config.model import Config
from s2async.errors import AreaError
from s2async.events import Notice
from s2async.export.columns import COLUMNS, JOB_COLUMNS, TYPED_COLUMNS

BOXES = [shapely.box(13 + number, 52, 13.5 + number, 52.5) for number in range(3)]


def write(path: Path, geo: dict[str, Any] | None = None, column: Any = None, **columns: Any) -> Path:
    columns = columns or {"name": ["a", "b", "c"]}
    about = {"encoding": "WKB", "geometry_types": [], **(geo or {})}
    metadata = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": about}}
    table = pa.table({**columns, "geometry": shapely.to_wkb(BOXES) if column is None else column})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(metadata)}), path)
    return path


def test_a_file_of_geopandas_is_read(bug_cases: Path) -> None:
    assert len(load(Config.load(bug_cases / "07-geoparquet-areas" / "c.toml"))) > 0


@pytest.mark.parametrize("name", ["a.parquet", "a.geoparquet", "a.pq", "a"])
def test_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    assert [area.name for area in read(write(tmp_path / name))] == ["a", "b", "c"]


def test_the_crs_is_that_of_the_metadata(tmp_path: Path) -> None:
    plain = [area.fingerprint for area in read(write(tmp_path / "a.parquet"))]
    for crs in (CRS("OGC:CRS84").to_json_dict(), CRS("EPSG:4326").to_json_dict()):
        assert [area.fingerprint for area in read(write(tmp_path / "b.parquet", {"crs": crs}))] == plain
    utm = CRS("EPSG:25833").to_json_dict()
    with pytest.raises(AreaError, match=r"latitude|outside the region|longitude"):
        read(write(tmp_path / "c.parquet", {"crs": CRS("EPSG:3857").to_json_dict()}, shapely.to_wkb(
            shapely.transform(BOXES, lambda xy: xy * 1e9))))  # fmt: skip
    field = shapely.box(390_000, 5_800_000, 391_000, 5_801_000)
    (area,) = read(write(tmp_path / "d.parquet", {"crs": utm}, shapely.to_wkb([field]), name=["P"]))
    assert shapely.box(13, 52, 14, 53).contains(area.polygon)
    with pytest.raises(AreaError, match="does not say its CRS; set crs"):
        read(write(tmp_path / "e.parquet", {"crs": None}))
    assert [area.fingerprint for area in read(tmp_path / "e.parquet", crs="EPSG:4326")] == plain


@pytest.mark.parametrize("encoding", ["polygon", "multipolygon", "point"])
def test_other_encodings_are_refused_in_words(tmp_path: Path, encoding: str) -> None:
    rings = [[[{"x": x, "y": y} for x, y in box.exterior.coords]] for box in BOXES]
    file = write(tmp_path / "a.parquet", {"encoding": encoding}, pa.array(rings))
    with pytest.raises(AreaError, match=rf'encoding "{encoding}"; export it again with geometry_encoding="WKB"'):
        read(file)
    with pytest.raises(
        AreaError, match=r'its geometries are not WKB; export it again with geometry_encoding="WKB"'
    ):
        read(write(tmp_path / "b.parquet", {}, pa.array(rings)))


def test_parquet_without_geometries_and_broken_files_are_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": ["a"]}), file)
    with pytest.raises(AreaError, match=r"a\.parquet: is Parquet without the metadata of GeoParquet; export it"):
        read(file)
    for metadata in ("{", "[]", "{}", '{"primary_column": "g", "columns": {}}'):
        pq.write_table(pa.table({"name": ["a"]}).replace_schema_metadata({"geo": metadata}), file)
        with pytest.raises(AreaError, match=r"its metadata of GeoParquet cannot be read; export it again"):
            read(file)
    file.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(AreaError, match=r"a\.parquet: cannot be read \(.*\); export it again as GeoParquet"):
        read(file)


def test_types_of_columns_are_kept(tmp_path: Path) -> None:
    seen = datetime(2024, 4, 1, 10, tzinfo=UTC)
    columns = {
        "name": ["a", "b", "c"],
        "number": pa.array([123, None, 2**60 + 1]),
        "share": [0.5, None, float("nan")],
        "good": [True, None, False],
        "sown": [date(2024, 4, 1), None, None],
        "seen": pa.array([seen, None, None], pa.timestamp("ns", "UTC")),
        "hectares": pa.array([Decimal("1.50"), None, Decimal(2)], pa.decimal128(9, 2)),
        "crop": pa.array(["maize", None, "maize"]).dictionary_encode(),
        "parts": [[1, 2], None, []],
        "photo": [b"x", None, b"y"],
    }
    first, second, third = (area.attributes for area in read(write(tmp_path / "a.parquet", **columns)))
    assert dict(first) == {
        "number": 123, "share": 0.5, "good": True, "sown": date(2024, 4, 1), "seen": seen, "hectares": 1.5,
        "crop": "maize", "parts": "[1, 2]",
    }  # fmt: skip
    assert type(first["number"]) is int
    assert set(second.values()) == {None}
    assert (third["number"], third["share"], third["good"]) == (2**60 + 1, None, False)


def test_columns_of_one_name_get_numbers(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet")
    table = pq.read_table(file)
    for name, column in (("x", [1, 2, 3]), ("x", [4, 5, 6]), ("x_2", [7, 8, 9])):
        table = table.append_column(name, pa.array(column))
    pq.write_table(table, file)
    assert dict(read(file)[0].attributes) == {"x": 1, "x_2": 4, "x_2_2": 7}


@pytest.mark.parametrize("far", [pa.array([10**7, 2, 3], pa.int32()).cast(pa.date32()),
                                 pa.array([10**14, 2, 3]).cast(pa.timestamp("s"))])  # fmt: skip
def test_days_beyond_the_calendar_are_told_in_words(tmp_path: Path, far: Any) -> None:
    file = write(tmp_path / "a.parquet", name=["a", "b", "c"], end=far)
    with pytest.raises(AreaError, match=r"a\.parquet: cannot be read \(.*\); export it again as GeoParquet"):
        read(file)


def test_columns_that_hold_boxes_and_the_index_of_pandas_are_no_attributes(tmp_path: Path) -> None:
    box = [dict(zip(("xmin", "ymin", "xmax", "ymax"), shape.bounds, strict=True)) for shape in BOXES]
    covering = {"covering": {"bbox": {side: ["bbox", side] for side in box[0]}}}
    file = write(tmp_path / "a.parquet", covering, name=["a", "b", "c"], bbox=box, __index_level_0__=[0, 1, 2])
    assert [dict(area.attributes) for area in read(file)] == [{}, {}, {}]


def test_null_geometries_and_broken_ones_are_told_of_their_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {}, [None, b"\1\2", shapely.to_wkb(BOXES[0])])
    with pytest.raises(AreaError) as caught:
        read(file)
    head, first, second = str(caught.value).split("\n")
    assert "2 of 3 areas" in head
    assert first == '  feature 1: area "a": is empty; draw a polygon'
    assert second.startswith('  feature 2: area "b": cannot be read (')


def test_the_columns_of_crops_are_those_of_the_export() -> None:
    assert {*COLUMNS, *TYPED_COLUMNS, *JOB_COLUMNS} - {"area"} == CROP_COLUMNS
    assert EXPORT_KEY in TYPED_COLUMNS


def test_of_an_export_each_area_is_read_once(tmp_path: Path) -> None:
    wkb = shapely.to_wkb([BOXES[0], BOXES[0], BOXES[1]])
    file = write(
        tmp_path / "a.parquet", {}, wkb, area=["N", "N", "S"], item_id=["1", "2", "1"], crop=["x", "x", "y"],
        area_fingerprint=["f", "f", "g"],
    )  # fmt: skip
    notices: list[Notice] = []
    areas = read(file, name_field="area", on_notice=notices.append)
    assert [(area.name, dict(area.attributes)) for area in areas] == [("N", {"crop": "x"}), ("S", {"crop": "y"})]
    assert "its 3 rows are crops of an export; 2 areas were read" in notices[0].text


def test_of_an_export_each_season_of_an_area_is_read_once(tmp_path: Path) -> None:
    first, second = date(2023, 1, 1), date(2024, 1, 1)
    file = write(
        tmp_path / "a.parquet", {}, shapely.to_wkb([BOXES[0]] * 3), area=["N"] * 3, item_id=["1", "2", "3"],
        area_fingerprint=["f"] * 3, valid_from=[first, first, second], valid_to=[date(2023, 12, 31)] * 2 + [None],
    )  # fmt: skip
    areas = read(file, name_field="area", on_notice=lambda _: None)
    assert [(area.start, area.end) for area in areas] == [(first, date(2023, 12, 31)), (second, None)]
