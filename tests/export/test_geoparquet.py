from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely import box

from s2async.areas import loader
from s2async.events import Notice
from s2async.export.columns import Table
from s2async.state.records import JobRow
from tests.support.rows import CLASSES, CLOUDY, ROW
from tests.support.shelves import PARK, SHAPES

pq = pytest.importorskip("pyarrow.parquet", reason="GeoParquet needs the extra parquet")
from s2async.export import geoparquet  # noqa: E402

PLACES = {"here": PARK, "there": SHAPES["plain"], "far": box(20, 50, 20.1, 50.1)}
ROWS = [
    replace(ROW, area=name, fingerprint=name, datetime=ROW.datetime + timedelta(days=day))
    for name in PLACES
    for day in range(4)
]


def wkb(fingerprint: str) -> bytes:
    found: bytes = shapely.to_wkb(PLACES.get(fingerprint, PARK))
    return found


def write(path: Path, *rows: JobRow, everything: bool = False) -> Path:
    with path.open("wb") as file:
        table = Table(rows=rows, all=everything, classes=CLASSES, polygon=wkb)
        assert geoparquet.write(table, file) == len(rows)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "crops.parquet", *ROWS)


def test_the_metadata_are_those_of_geoparquet(path: Path) -> None:
    told = json.loads(pq.read_metadata(path).metadata[b"geo"])
    assert told["version"] == "1.1.0"
    column = told["columns"][told["primary_column"]]
    assert (column["encoding"], sorted(column["geometry_types"])) == ("WKB", ["MultiPolygon", "Polygon"])
    assert "crs" not in column, "lon/lat is the default"
    assert column["covering"]["bbox"] == {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}


def test_columns_have_types_and_nulls(tmp_path: Path) -> None:
    read = pq.read_table(write(tmp_path / "all.parquet", ROW, replace(CLOUDY, reason="why"), everything=True))
    saved, cloudy = read.to_pylist()
    assert saved["datetime"] == ROW.datetime
    assert (saved["area_cloud_percent"], cloudy["area_cloud_percent"]) == (1.0, 1.0)
    assert saved["scl_histogram"] == [10, 0, 0, 1, 200, 97, 0, 0, 2, 0, 0, 0, 0]
    some = ("status", "reason", "file_bytes", "epsg", "asset")
    assert [saved[column] for column in some] == ["saved", None, 123456, 32633, "visual"]
    assert [cloudy[column] for column in some] == ["cloudy", "why", None, None, None]
    west, south, east, north = PARK.bounds
    assert saved["bbox"] == {"xmin": west, "ymin": south, "xmax": east, "ymax": north}


@pytest.mark.parametrize(
    ("limit", "value", "groups"), [("GROUP_ROWS", 5, [5, 5, 2]), ("GROUP_BYTES", 1, [1] * 12)]
)
def test_groups_end_by_rows_or_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, groups: list[int]
) -> None:
    monkeypatch.setattr(geoparquet, limit, value)
    told = pq.read_metadata(write(tmp_path / "crops.parquet", *ROWS))
    assert [told.row_group(number).num_rows for number in range(told.num_row_groups)] == groups
    assert pq.read_table(tmp_path / "crops.parquet")["area"].to_pylist() == [row.area for row in ROWS]


def test_rows_are_written_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a group is full it is written before the next row is asked for."""
    monkeypatch.setattr(geoparquet, "GROUP_ROWS", 3)
    file = io.BytesIO()
    sizes = []

    def rows() -> Any:
        for row in ROWS:
            sizes.append(file.tell())
            yield row

    geoparquet.write(Table(rows=rows(), classes=CLASSES, polygon=wkb), file)
    assert all(later > sooner for sooner, later in zip(sizes[2::3], sizes[3::3], strict=False))


def test_no_row_is_a_table_of_no_rows(tmp_path: Path) -> None:
    read = pq.read_table(write(tmp_path / "none.parquet"))
    assert read.num_rows == 0
    assert {"area", "geometry", "bbox"} <= set(read.column_names)


def test_geopandas_reads_it(path: Path) -> None:
    geopandas = pytest.importorskip("geopandas", reason="geopandas is in the extra dev")
    frame = geopandas.read_parquet(path)
    assert len(frame) == 12
    assert frame.crs == "OGC:CRS84"
    assert list(frame["area"]) == [row.area for row in ROWS]
    assert all(place.equals(PLACES[name]) for name, place in zip(frame["area"], frame.geometry, strict=True))
    assert list(frame["datetime"]) == [row.datetime for row in ROWS]
    near = geopandas.read_parquet(path, bbox=(13.3, 52.4, 13.5, 52.6))
    assert set(near["area"]) == {"here", "there"}


def test_an_area_across_the_antimeridian_is_found_from_both_sides(tmp_path: Path) -> None:
    """A box with xmin > xmax would be missed: readers compare each side by itself."""
    geopandas = pytest.importorskip("geopandas", reason="geopandas is in the extra dev")
    taveuni = shapely.MultiPolygon([box(179.9, -17, 180, -16.9), box(-180, -17, -179.9, -16.9)])
    with (tmp_path / "fiji.parquet").open("wb") as file:
        geoparquet.write(Table(rows=[ROW], classes=CLASSES, polygon=lambda _: shapely.to_wkb(taveuni)), file)
    for west in (179.8, -180):
        assert len(geopandas.read_parquet(tmp_path / "fiji.parquet", bbox=(west, -18, west + 0.2, -16))) == 1


QUERIES = """
import duckdb, json, sys
with duckdb.connect() as database:
    rows = database.execute(
        "SELECT area, count(*), avg(area_cloud_percent), epoch_us(min(datetime)) FROM read_parquet(?) "
        "WHERE bbox.xmax < 15 GROUP BY area ORDER BY area",
        sys.argv[1:],
    ).fetchall()
    places = database.execute("SELECT DISTINCT area, ST_AsText(geometry) FROM read_parquet(?)", sys.argv[1:])
    print(json.dumps([rows, places.fetchall()]))
"""


def test_duckdb_reads_it(path: Path) -> None:
    """In a process of its own, which may say at its end what it likes of leaks."""
    if find_spec("duckdb") is None:
        pytest.skip("DuckDB is in the extra dev")
    told = subprocess.run([sys.executable, "-c", QUERIES, str(path)], check=True, capture_output=True)
    rows, places = json.loads(told.stdout)
    assert {name: shapely.from_wkt(text) for name, text in places} == PLACES
    assert [row[:3] for row in rows] == [["here", 4, 1.0], ["there", 4, 1.0]]
    assert rows[0][3] == ROW.datetime.timestamp() * 1e6


def test_the_areas_of_an_export_are_those_that_were_exported(path: Path, tmp_path: Path) -> None:
    notices: list[Notice] = []
    found = loader.read(path, name_field="area", on_notice=notices.append)
    assert [area.name for area in found] == list(PLACES)
    assert [area.fingerprint for area in found] == [loader.fingerprint(shape) for shape in PLACES.values()]
    assert [dict(area.attributes) for area in found] == [{}] * 3
    assert "its 12 rows are crops of an export; 3 areas were read" in notices[0].text
    everything = write(tmp_path / "all.parquet", *ROWS, everything=True)
    assert loader.read(everything, name_field="area", on_notice=lambda _: None) == found
