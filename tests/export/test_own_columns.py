"""The areas' own columns in tables: types, names that clash, and each format."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pystac
import pytest
import shapely

from s2async.export import collection, csv_table, geojson
from s2async.export.columns import COLUMNS, Own, Table, own_columns, own_values
from s2async.models import Attribute
from s2async.state.reader import Ledger
from s2async.state.writer import State
from tests.support.rows import CLASSES, ROW
from tests.support.shelves import PARK, fill

LOCAL = datetime(2024, 5, 1, 12)  # noqa: DTZ001 - as files have times without a zone
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
FULL: dict[str, Attribute] = {
    "id": 123, "crop": "=rye", "organic": True, "share": 0.5, "sown": date(2024, 4, 1),
    "seen": NOON, "local": LOCAL, "path": "a/b", "Area": 7,
}  # fmt: skip
GAPS: dict[str, Attribute] = dict.fromkeys(FULL, None)


def table(*attributes: dict[str, Attribute]) -> Table:
    rows = [replace(ROW, attributes=each) for each in attributes]
    return Table(
        rows=rows, classes=CLASSES, own=own_columns(attributes), polygon=lambda _: bytes(shapely.to_wkb(PARK))
    )


def test_types_are_kept_where_all_values_have_them() -> None:
    found = {own.name: own.type for own in own_columns([GAPS, FULL, GAPS]).values()}
    assert found == {
        "id": "int64", "crop": "text", "organic": "bool", "share": "float64", "sown": "date",
        "seen": "utc", "local": "time", "path": "text", "Area": "int64",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, 2], "int64", [1, None, 2]),
        ([1, 0.5], "float64", [1.0, 0.5]),
        ([1, "a"], "text", ["1", "a"]),
        ([True, 1], "text", ["True", "1"]),
        ([1 << 63], "text", ["9223372036854775808"]),
        ([-(1 << 63)], "int64", [-(1 << 63)]),
        ([date(2024, 1, 2), "?"], "text", ["2024-01-02", "?"]),
        ([None], "text", [None]),
        ([float("nan"), float("inf"), 1.5], "float64", [None, None, 1.5]),
        ([NOON], "utc", [NOON.astimezone(UTC)]),
    ],
)
def test_columns_of_several_types(values: list[Attribute], kind: str, expected: list[object]) -> None:
    own = own_columns([{"x": value} for value in values])
    assert own["x"].type == kind
    found = [own_values({"x": value}, own)["x"] for value in values]
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


def test_names_that_clash_get_the_prefix_until_they_do_not() -> None:
    rows: list[dict[str, Attribute]] = [
        {"path": 1, "area_path": 2, "PATH": 3, "geometry": 4, "crop": 5, "Crop": 6, "bbox": 7, "status": 8}
    ]
    own = own_columns(rows)
    assert {column: one.name for column, one in own.items()} == {
        "area_area_path": "path",
        "area_path": "area_path",
        "area_area_area_PATH": "PATH",
        "area_geometry": "geometry",
        "crop": "crop",
        "area_Crop": "Crop",
        "area_bbox": "bbox",
        "area_status": "status",
    }
    assert len({column.casefold() for column in [*own, *COLUMNS]}) == len(own) + len(COLUMNS)


def test_csv_has_them_last_and_tells_nothing_of_missing_ones() -> None:
    file = io.StringIO()
    assert csv_table.write(table(FULL, GAPS, {}), file) == 3
    first, *others = csv.DictReader(io.StringIO(file.getvalue()))
    assert [*first][len(COLUMNS) :] == [
        "id", "crop", "organic", "share", "sown", "seen", "local", "area_path", "area_Area"
    ]  # fmt: skip
    assert [*first.values()][len(COLUMNS) :] == [
        "123", "'=rye", "true", "0.5", "2024-04-01", "2024-05-01T10:00:00Z", "2024-05-01T12:00:00", "a/b", "7"
    ]  # fmt: skip
    assert all([*row.values()][len(COLUMNS) :] == [""] * 9 for row in others)


def test_geojson_has_them_as_properties() -> None:
    file = io.StringIO()
    geojson.write(table(FULL, GAPS), file)
    first, second = (feature["properties"] for feature in json.loads(file.getvalue())["features"])
    assert (first["id"], first["organic"], first["share"], first["sown"]) == (123, True, 0.5, "2024-04-01")
    assert (first["area_path"], first["path"]) == ("a/b", f"{ROW.folder}/{ROW.file}")
    assert second["id"] is None


def test_geoparquet_has_them_with_their_types(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="GeoParquet needs the extra parquet")
    from s2async.export import geoparquet

    with (tmp_path / "crops.parquet").open("wb") as file:
        geoparquet.write(table(GAPS, FULL), file)
    read = pq.read_table(tmp_path / "crops.parquet")
    names = ("id", "crop", "organic", "share", "sown", "seen", "local", "area_path", "area_Area")
    assert [str(read.schema.field(name).type) for name in names] == [
        "int64", "string", "bool", "double", "date32[day]", "timestamp[us, tz=UTC]", "timestamp[us]", "string",
        "int64",
    ]  # fmt: skip
    gap, full = read.to_pylist()
    assert [gap[name] for name in names] == [None] * 9
    assert [full[name] for name in names] == [
        123, "=rye", True, 0.5, date(2024, 4, 1), NOON, LOCAL, "a/b", 7
    ]  # fmt: skip


def test_stac_items_have_them_as_properties(tmp_path: Path) -> None:
    shelf = fill(tmp_path, dates=1)
    columns: dict[str, Any] = {"crop": "rye", "plot": 7, "title": "mine", "sown": date(2024, 4, 1)}
    with State.create_or_open(shelf.settings.run.state) as state:
        state.sync_areas([replace(area, attributes=columns) for area in shelf.areas.values()])
        assert not state.is_moving()
    with Ledger.read(shelf.settings.run.state) as state:
        collection.write(
            shelf.table(state),
            shelf.output,
            output=shelf.output,
            catalog=shelf.settings.search.resolve(),
            state=state.id,
        )
        assert {tuple(row.attributes.items()) for row in state.saved_rows(shelf.settings.selection())} == {
            tuple(columns.items())
        }, "types survive the state"
    for item in pystac.Collection.from_file(shelf.output / "collection.json").get_items():
        own = {key: value for key, value in item.properties.items() if key.startswith("area:")}
        assert own == {"area:crop": "rye", "area:plot": 7, "area:title": "mine", "area:sown": "2024-04-01"}
        assert item.properties["title"] != "mine"


def test_own_columns_without_attributes_are_none() -> None:
    assert own_columns([]) == own_columns([{}, {}]) == {}
    assert Table(rows=(), classes=CLASSES, own={"x": Own("x", "int64")}).columns[-1] == "x"
