"""GeoJSON by columns: parsed feature by feature, and equal to what a parser of the whole text gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from s2async.areas import geojson
from s2async.areas.geojson import read_geojson
from s2async.areas.table import ReadOptions, Table
from s2async.errors import AreaError

RING = [[13, 52], [14, 52], [14, 53], [13, 53], [13, 52]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}


def read(path: Path, text: str | bytes, **options: Any) -> Table:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_geojson(path, ReadOptions(**options))


def feature(geometry: object, **more: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry, **more}


def collection(*features: object, **more: object) -> str:
    return json.dumps({"type": "FeatureCollection", **more, "features": features})


def test_columns_have_a_value_for_each_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "BATCH", 2)
    rows: list[dict[str, Any] | None] = [{"a": 1}, None, {"b": "x", "a": None}, {"c": [1]}, {"a": 2.5}]
    found = read(tmp_path / "a.geojson", collection(*(feature(POLYGON, properties=row) for row in rows)))
    assert found.columns == {
        "a": [1, None, None, None, 2.5],
        "b": [None, None, "x", None, None],
        "c": [None, None, None, [1], None],
    }
    assert len(found) == 5
    assert all(shape.equals(shapely.box(13, 52, 14, 53)) for shape in found.geometries)


def test_ids_are_for_names_but_no_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "BATCH", 1)
    found = read(tmp_path / "a.geojson", collection(feature(POLYGON), feature(POLYGON, id=7)))
    assert (found.columns, found.pseudo) == ({}, {"id": [None, 7]})
    both = read(tmp_path / "a.geojson", collection(feature(POLYGON, id=7, properties={"id": "own"})))
    assert (both.columns, both.pseudo) == ({"id": ["own"]}, {})


@pytest.mark.parametrize(
    ("geometry", "why"),
    [
        ("x", 'the geometry is "x"; give a Polygon'),
        ({"type": "Polygon"}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [RING[:4]]}, "a ring is not closed; repeat"),
        ({"type": "Polygon", "coordinates": [[[13, 52], [13, 52]]]}, "fewer than three different points"),
        ({"type": "Polygon", "coordinates": [[["13", "52"], *RING[1:4], ["13", "52"]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[[True, 52], *RING[1:4], [True, 52]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[[None, 52], *RING[1:4], [None, 52]]]}, "cannot be read"),
        (
            {"type": "Polygon", "coordinates": [[[float("nan"), 52], *RING[1:4], [float("nan"), 52]]]},
            "cannot be read",
        ),
        ({"type": "MultiPolygon", "coordinates": [RING]}, "cannot be read"),
        ({"type": "Ring", "coordinates": [RING]}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told_of_its_record_alone(tmp_path: Path, geometry: object, why: str) -> None:
    found = read(tmp_path / "a.geojson", collection(feature(POLYGON), feature(geometry), feature(POLYGON)))
    assert [shape is None for shape in found.geometries] == [False, True, False]
    assert set(found.unreadable) == {1}
    assert why in found.unreadable[1]
    assert set(found.closed) == ({1} if "closed" in why else set())


def test_open_rings_are_closed_for_repair(tmp_path: Path) -> None:
    hole = [[13.2, 52.2], [13.4, 52.2], [13.4, 52.4]]
    parts = [[RING[:4], [*hole, hole[0]]], [[[x + 5, y] for x, y in RING[:4]]]]
    found = read(tmp_path / "a.geojson", collection(feature({"type": "MultiPolygon", "coordinates": parts})))
    wanted = shapely.box(13, 52, 14, 53) - shapely.Polygon(hole) | shapely.box(18, 52, 19, 53)
    assert found.closed[0].equals(wanted)


def test_what_is_no_feature_is_told_and_takes_no_place_of_others(tmp_path: Path) -> None:
    found = read(tmp_path / "a.geojson", collection(feature(POLYGON, properties={"name": "P"}), 3, POLYGON))
    assert set(found.malformed) == {1, 2}
    assert found.columns == {"name": ["P", None, None]}


SPELLINGS = [
    '{"features": [%s], "type": "FeatureCollection"}',
    ' \n{ "type" :"FeatureCollection" ,\t"features" : [ %s ] , "crs": null }\n ',
    '{"features": 3, "type": "x", "features": [], "type": "FeatureCollection", "features": [%s]}',
    '{"type": "FeatureCollection", "features": [%s], "more": {"features": [1, 2]}, "last": [[], {}]}',
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_members_may_come_in_any_order_and_more_than_once(tmp_path: Path, spelling: str) -> None:
    text = spelling % json.dumps(feature(POLYGON, properties={"name": "P"}))
    assert read(tmp_path / "a.geojson", text).columns == {"name": ["P"]}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"type": "FeatureCollection",\n"features": [{}\n{}]}', 3),
        ('{"type": "FeatureCollection",\n"features": [{},]}', 2),
        ('{"type": "FeatureCollection",\n"features": []}\n{}', 3),
        ('{"type": "FeatureCollection",\n"features"\n []}', 3),
        ('{"type": "FeatureCollection",\n"features": [{"a": }]}', 2),
        ('{"type": "FeatureCollection",\n1: []}', 2),
        ('{"type": "FeatureCollection",\n"features": [', 2),
    ],
)
def test_text_that_is_not_json_is_told_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(AreaError, match=rf"a\.geojson:{line}: not JSON"):
        read(tmp_path / "a.geojson", text)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)
features = st.one_of(
    values,
    st.fixed_dictionaries(
        {"type": st.just("Feature")},
        optional={"properties": st.dictionaries(st.text(max_size=3), values, max_size=3), "id": values},
    ),
)


@settings(deadline=None)
@given(st.lists(features, max_size=5), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_features_are_those_of_a_parser_of_the_whole_text(
    tmp_path_factory: pytest.TempPathFactory, some: list[Any], indent: Any, ascii_only: bool
) -> None:
    whole = {"type": "FeatureCollection", "features": some, "last": {}}
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if b"\xed" in text:  # perhaps a lone surrogate, which is not UTF-8
        return
    found = read(tmp_path_factory.getbasetemp() / "any.geojson", text)
    wanted = json.loads(text)["features"]
    rows = [row if isinstance(row, dict) and row.get("type") == "Feature" else None for row in wanted]
    assert [number for number, row in enumerate(rows) if row is None] == sorted(found.malformed)
    for number, row in enumerate(rows):
        properties = (row or {}).get("properties") or {}
        if isinstance(properties, dict):
            got = {name: column[number] for name, column in found.columns.items() if name in properties}
            assert repr(got) == repr({name: properties[name] for name in got})
            assert got.keys() == properties.keys()


coordinates = st.lists(
    st.tuples(st.floats(-180, 180), st.floats(-80, 80), *[st.floats(0, 9)] * 0), min_size=3, max_size=6
).map(lambda ring: [*map(list, ring), list(ring[0])])
polygons = st.lists(coordinates, min_size=1, max_size=2)


@settings(deadline=None)
@given(st.lists(st.one_of(polygons, st.lists(polygons, min_size=1, max_size=3)), min_size=1, max_size=5))
def test_polygons_by_the_batch_are_those_of_geos(
    tmp_path_factory: pytest.TempPathFactory, some: list[Any]
) -> None:
    shapes = [
        {"type": "MultiPolygon" if isinstance(shape[0][0][0], list) else "Polygon", "coordinates": shape}
        for shape in some
    ]
    found = read(tmp_path_factory.getbasetemp() / "some.geojson", collection(*map(feature, shapes)))
    wanted = shapely.from_geojson([json.dumps(shape) for shape in shapes])
    assert shapely.to_wkb(found.geometries).tolist() == shapely.to_wkb(wanted).tolist()


def test_heights_are_dropped_even_where_only_some_points_have_them(tmp_path: Path) -> None:
    high = [[x, y, 30.5] for x, y in RING]
    mixed = [[x, y, *[1] * (x == 14)] for x, y in RING]
    shapes = [{"type": "Polygon", "coordinates": [ring]} for ring in (high, mixed)]
    for some in ([shapes[0]], shapes):
        found = read(tmp_path / "a.geojson", collection(*map(feature, some)))
        assert not shapely.has_z(found.geometries).any()
        assert all(shape.equals(shapely.box(13, 52, 14, 53)) for shape in found.geometries)


def test_whole_numbers_of_any_size_stay_what_they_are(tmp_path: Path) -> None:
    numbers = [2**53 + 1, None, -(2**63), 10**30]
    found = read(tmp_path / "a.geojson", collection(*(feature(POLYGON, properties={"n": n}) for n in numbers)))
    assert found.columns["n"] == numbers
    huge = {"type": "Polygon", "coordinates": [[[10**400, 0], [1, 1], [2, 2], [10**400, 0]]]}
    assert set(read(tmp_path / "a.geojson", collection(feature(huge))).unreadable) == {0}


def test_the_encoding_of_the_options_applies(tmp_path: Path) -> None:
    text = collection(feature(POLYGON, properties={"name": "Bühl"}))
    raw = json.dumps(json.loads(text), ensure_ascii=False).encode("cp1252")
    assert read(tmp_path / "a.geojson", raw, encoding="cp1252").columns == {"name": ["Bühl"]}
    assert np.isfinite(shapely.get_coordinates(read(tmp_path / "a.geojson", text).geometries)).all()
