"""Areas: four kinds of files, an identity that is the polygon's, and one clear line for everything wrong."""

from __future__ import annotations

import builtins
import contextlib
import csv
import gc
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon

from s2async.areas import loader
from s2async.areas.loader import fingerprint, load, read
from s2async.config.model import Config
from s2async.config.sections import InlineArea
from s2async.errors import AreaError, ConfigError
from s2async.events import Notice
from s2async.geo import area_km2, bounds
from s2async.models import Area
from s2async.sandbox.world.parks import PARKS

SQUARE = "POLYGON ((13 52, 14 52, 14 53, 13 53, 13 52))"
OTHER = "POLYGON ((15 52, 16 52, 16 53, 15 53, 15 52))"
RING = [[13, 52], [14, 52], [14, 53], [13, 53], [13, 52]]


def inline(*wkts: str, crs: str | None = None) -> list[Area]:
    return read([InlineArea(name=f"a{number}", wkt=wkt) for number, wkt in enumerate(wkts)], crs=crs)


def one(wkt: str, crs: str | None = None) -> Area:
    (area,) = inline(wkt, crs=crs)
    return area


def feature(geometry: object, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def collection(*features: object, **more: object) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features, **more})


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# ---- what is refused --------------------------------------------------------------------------------------

BAD_WKT = [
    # WKT, what the line must say, what to do
    ("POLYGON ((13 52, 14 52, 14 53, 13 53))", "a ring is not closed", "repeat its first point at its end"),
    ("POLYGON ((13 52, 14 52, 13 52))", "fewer than three different points", ""),
    ("POLYGON ((13 52, 13 52, 13 52, 13 52))", "fewer than three different points", ""),
    ("POLYGON ((13 52, 14 53, 14 52, 13 53, 13 52))", "its outline crosses itself", "at 13.5 52.5 (lon lat); c"),
    ("POLYGON ((13 52, 15 52, 14 52, 13 52))", "(lon lat)", "correct the outline"),
    (f"{SQUARE[:-1]}, (20 20, 21 20, 21 21, 20 20))", "a hole lies outside its outline", "20 20 (lon lat)"),
    ("MULTIPOLYGON (((0 0, 2 0, 2 2, 0 0)), ((1 0.5, 3 0, 3 3, 1 0.5)))", "or its parts overlap", "correct"),
    ("POLYGON EMPTY", "is empty", "draw a polygon"),
    ("MULTIPOLYGON (EMPTY)", "is empty", "draw a polygon"),
    ("LINESTRING (13 52, 14 53)", "is a LineString", "give a Polygon or MultiPolygon"),
    ("POINT (13 52)", "is a Point", "give a Polygon or MultiPolygon"),
    (f"GEOMETRYCOLLECTION ({SQUARE})", "is a GeometryCollection", "give a Polygon or MultiPolygon"),
    ("CURVEPOLYGON (CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0))", "curves cannot be used", "straight lines"),
    ("POLYGON ((13 52, 14 52, nan 53, 13 52))", "not a finite number", "correct it"),
    ("POLYGON ((13 52, 14 52, inf 53, 13 52))", "not a finite number", "correct it"),
    ("POLYGON ((103 1.2, 104 1.2, 104 95, 103 1.2))", "latitude 95 is beyond 90", "correct it"),
    ("POLYGON ((1.2 103, 1.3 103, 1.3 104, 1.2 103))", "latitude 104 is beyond 90", "looks like lat,lon: write"),
    ("POLYGON ((190 1, 191 1, 191 2, 190 1))", "longitude 191 is beyond 180", "write -169, and split at 180"),
    ("POLYGON ((39000 581000, 39100 581000, 39100 581100, 39000 581000))", "looks like metres",
     'give crs, such as crs = "EPSG:25833"'),
    ("POLYGON ((-179 1, 179 1, 179 2, -179 2, -179 1))", "spans 358 degrees of longitude",
     "split it at 180 into a MultiPolygon"),
    ("POLYGON ((10 84.1, 11 84.1, 11 83, 10 84.1))", "reaches latitude 84.1", "end at 84 N and 80 S; cut it"),
    ("POLYGON ((10 -81, 11 -81, 11 -79, 10 -81))", "reaches latitude -81", "end at 84 N and 80 S; cut it there"),
    (f"SRID=25833;{SQUARE}", "SRID=25833, but the areas are in OGC:CRS84",
     'set crs = "EPSG:25833" if all are in it'),
    (f"SRID=999999;{SQUARE}", '"EPSG:999999" is not known', "write a code such as"),
    ("POLYGON ((13 52, 14 52, 14", "cannot be read", "write POLYGON (("),
    ("13.4, 52.5", "cannot be read", "write POLYGON (("),
    ("POLYGON ((13,4 52,5, 14 52, 14 53, 13,4 52,5))", "cannot be read", "write POLYGON (("),
]  # fmt: skip


@pytest.mark.parametrize(("wkt", "says", "advice"), BAD_WKT)
def test_bad_polygon_is_one_clear_line(tmp_path: Path, wkt: str, says: str, advice: str) -> None:
    file = write(
        tmp_path / "c.toml", f'[[areas]]\nname = "good"\nwkt = "{OTHER}"\n[[areas]]\nname = "P\\tQ"\nwkt = "{wkt}"'
    )
    with pytest.raises(AreaError) as caught:
        load(Config.load(file))
    line = str(caught.value)
    assert line.startswith(f'{file}:4: area "P\\tQ": '), line
    assert says in line
    assert advice in line
    assert "; " in line, "what to do comes after a semicolon"
    assert line.isprintable()
    assert caught.value.__suppress_context__ or not caught.value.__context__


POLYGON = {"type": "Polygon", "coordinates": [RING]}
PARK = feature(POLYGON, name="P")


def named(**properties: object) -> str:
    return collection(feature(POLYGON, **properties))


BAD_FILES: list[tuple[str, str | bytes, str, str]] = [
    # file, what is in it, what follows its name, what it must say
    ("a.geojson", "{", ":1: ", "not JSON"),
    ("a.geojson", '{\n"type": "Feature",\n]', ":3: ", "correct it or export it again"),
    ("a.geojson", b'{"name": "\xff"}', ":1: ", "save the file as UTF-8"),
    ("a.geojson", "[" * 100_000, ": ", "nested too deeply"),
    ("a.geojson", "[1]", ": ", "not GeoJSON (type null); give a FeatureCollection"),
    ("a.json", '{"type": "Topology"}', ": ", 'not GeoJSON (type "Topology"); give a FeatureCollection'),
    ("a.geojson", '{"type": "FeatureCollection"}', ": ", "not GeoJSON"),
    ("a.geojson", collection(), ": ", "there is no area; give at least one"),
    ("a.geojson", collection(PARK, 3), ": feature 2: ", "is not a GeoJSON Feature; wrap each geometry"),
    ("a.geojson", collection(feature(None, name="P")), ': feature 1: area "P": ', "is empty; draw a polygon"),
    ("a.geojson", collection(feature("x", name="P")), ': feature 1: area "P": ',
     'the geometry is "x"; give a Polygon'),
    ("a.geojson", collection(feature({"type": "Polygon"}, name="P")), ': feature 1: area "P": ', "cannot be read"),
    ("a.geojson", collection(feature({"type": "Polygon", "coordinates": [RING[:4]]}, name="P")),
     ': feature 1: area "P": ', "a ring is not closed; repeat its first point"),
    ("a.geojson", collection(feature({"type": "Polygon", "coordinates": [[[13, 52], ["x", 1]]]}, name="P")),
     ': feature 1: area "P": ', "cannot be read"),
    ("a.geojson", '{"type": "Polygon", "coordinates": [[[0, 0], [NaN, 0], [1, 1], [0, 0]]]}', ":",
     "cannot be read"),
    ("a.geojson", named(title="P", x=1), ": feature 1: ",
     'no field "name" for the name; set name_field to one of: title, x'),
    ("a.geojson", named(), ": feature 1: ", 'no field "name" for the name; give'),
    ("a.geojson", named(name=" "), ": feature 1: ", "the name is empty; fill the"),
    ("a.geojson", named(name=None), ": feature 1: ", "the name is empty; fill the"),
    ("a.geojson", named(name=True), ": feature 1: ", "the name is true; write text"),
    ("a.geojson", named(name=["a"]), ": feature 1: ", 'the name is ["a"]; write text'),
    ("a.geojson", named(name="\ud800"), ": feature 1: ", "half a character"),
    ("a.geojson", collection(PARK, PARK), ': feature 2: area "P": ',
     "another area of this name, feature 1; give each its own"),
    ("a.geojson", collection(PARK, crs={"type": "link"}), ": ", 'its "crs" member cannot be read; remove it'),
    ("a.geojson", collection(PARK, crs={"type": "name", "properties": {"name": "EPSG:0"}}), ": ",
     "is not known; write"),
    ("a.csv", "", ": ", "is empty; write a header line"),
    ("a.csv", "name,wkt\n", ": ", "there is no area; give at least one"),
    ("a.csv", f'name,shape\nP,"{SQUARE}"\n', ":1: ", 'no column "wkt", "geometry", "geom" or'),
    ("a.csv", f'title,wkt\nP,"{SQUARE}"\n', ":2: ",
     'no field "name" for the name; set name_field to one of: title, row'),
    ("a.csv", f"name,wkt\nP,{SQUARE}\n", ":2: ", "6 cells under 2 columns; put the WKT in double quotes"),
    ("a.csv", f'name,wkt\nO,"{OTHER}"\nP\n', ":3: ", "1 cells under 2 columns"),
    ("a.csv", f'name|wkt\nP|"{SQUARE}"\n', ":1: ", "separate the columns by commas"),
    ("a.csv", f'name,wkt\n\n"P\nP","{SQUARE}"\n"P\nQ","POINT (1 1)"\n', ':5: area "P\\nQ": ',
     "is a Point; give a"),
    ("a.csv", f'name,wkt\nP,"{SQUARE}', ":2: ", "not CSV (unexpected end of data); close every double quote"),
    ("a.csv", f'name,wkt\n ,"{SQUARE}"', ":2: ", "the name is empty; fill the field"),
    ("a.gpkg", "no geopackage", ": ", "is in no format that GDAL reads"),
    ("a.shp", b"\x00" * 100, ": ", "name a vector file or save it as GeoJSON"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "place", "says"), BAD_FILES)
def test_bad_file_is_one_clear_line(tmp_path: Path, name: str, text: str | bytes, place: str, says: str) -> None:
    file = write(tmp_path / name, text)
    with pytest.raises(AreaError) as caught:
        read(file)
    line = str(caught.value)
    assert line.startswith(f"{file}{place}"), line
    assert says in line
    assert "; " in line, "what to do comes after a semicolon"
    assert line.isprintable()


numbers = st.one_of(st.integers(-400, 400), st.floats(), st.sampled_from([0, 1, 13, 52]))
points = st.lists(numbers, max_size=4)
nested = st.recursive(points, lambda inner: st.lists(inner, max_size=5), max_leaves=12)
geometries = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["Polygon", "MultiPolygon", "Point", "GeometryCollection", "x", 3])},
        optional={"coordinates": st.one_of(nested, st.none(), st.text(max_size=3)), "geometries": nested},
    ),
)
scalars: st.SearchStrategy[Any] = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5), st.just({}))
features = st.fixed_dictionaries(
    {"type": st.sampled_from(["Feature", "x"])},
    optional={"id": scalars, "properties": st.one_of(scalars, st.fixed_dictionaries({"name": scalars})),
              "geometry": geometries},
)  # fmt: skip


@settings(deadline=None)
@given(data=st.one_of(features, geometries, st.lists(st.one_of(features, scalars), max_size=3)), crs=scalars)
def test_any_geojson_is_read_or_refused_in_a_line_for_each_area(
    tmp_path_factory: pytest.TempPathFactory, data: Any, crs: object
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.geojson"
    text = collection(*data, crs=crs) if isinstance(data, list) else json.dumps(data)
    try:
        found = read(write(file, text))
    except AreaError as error:
        head, *lines = str(error).split("\n")
        assert head.startswith(f"{file}:"), head
        assert not lines or "areas cannot be used; " in head
        for said in lines or [head]:
            assert said.isprintable(), said
            assert "; " in said, said
    else:
        assert all(area.polygon.is_valid and not area.polygon.is_empty for area in found)


wkts = st.text("POLYGNMTISRD=0123456789 (),.-eEnaif;[]", min_size=1, max_size=40).filter(str.strip)
rings = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6).map(
    lambda ring: f"POLYGON (({', '.join(f'{x} {y}' for x, y in [*ring, ring[0]])}))"
)


@given(st.one_of(wkts, rings))
def test_any_wkt_is_read_or_refused_in_one_line(wkt: str) -> None:
    try:
        inline(wkt)
    except AreaError as error:
        said = str(error)
        assert said.startswith('[[areas]] 1: area "a0": '), said
        assert "; " in said, said


def test_missing_file_is_told_with_the_line_of_the_config(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", '\nareas = "none.csv"')
    with pytest.raises(AreaError, match=r"c\.toml:2: areas: no such file: .*none\.csv; correct the path"):
        load(Config.load(file))
    with pytest.raises(AreaError, match=r"none\.csv: no such file; correct the path"):
        read(tmp_path / "none.csv")


def test_no_tables(tmp_path: Path) -> None:
    with pytest.raises(AreaError, match=r"c\.toml:1: there is no area; give at least one"):
        load(Config.load(write(tmp_path / "c.toml", "areas = []")))


def test_vector_files_need_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_pyogrio(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pyogrio":
            raise ImportError
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pyogrio)
    with pytest.raises(AreaError, match=r"a\.shp: needs an extra .* pip install 's2async\[vector\]', or save"):
        read(write(tmp_path / "a.shp", b""))


# ---- what is read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoted", [True, False])
def test_columns_may_be_parted_by_commas_semicolons_or_tabs(tmp_path: Path, delimiter: str, quoted: bool) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        table = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
        table.writerows([["name", "wkt", "remark"], ["a, b; c\td", SQUARE, ";,"]])
    (found,) = read(tmp_path / "a.csv")
    assert (found.name, found.polygon.wkt) == ("a, b; c\td", one(SQUARE).polygon.wkt)


def test_csv_is_the_same_as_tables_and_geojson(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerows(
            [("id", "WKT", "name"), *((number, wkt, name) for number, (name, wkt) in enumerate(PARKS))]
        )
    found = read(tmp_path / "a.csv")
    assert [area.name for area in found] == [name for name, _ in PARKS]
    assert [area.attributes for area in found] == [{"id": number} for number in range(len(PARKS))]
    found = [replace(area, attributes={}) for area in found]
    assert found == read([InlineArea(name=name, wkt=wkt) for name, wkt in PARKS])
    features = [feature(json.loads(shapely.to_geojson(shapely.from_wkt(wkt))), name=name) for name, wkt in PARKS]
    assert found == read(write(tmp_path / "a.geojson", collection(*features)))
    assert [area.name for area in read(tmp_path / "a.csv", name_field="id")] == [str(n) for n in range(len(PARKS))]


def test_coordinates_stay_as_they_were_written() -> None:
    for area, (_, wkt) in zip(read([InlineArea(name=n, wkt=w) for n, w in PARKS]), PARKS, strict=True):
        given_points = {tuple(point) for point in shapely.get_coordinates(shapely.from_wkt(wkt))}
        assert {tuple(point) for point in shapely.get_coordinates(area.polygon)} == given_points


def test_shapes_of_geojson(tmp_path: Path) -> None:
    polygon = POLYGON
    assert [area.name for area in read(write(tmp_path / "Park 1.geojson", json.dumps(polygon)))] == ["Park 1"]
    assert [area.name for area in read(write(tmp_path / "a.JSON", json.dumps(PARK)))] == ["P"]
    numbered = {**feature(polygon), "id": 7}
    assert [area.name for area in read(write(tmp_path / "b.json", json.dumps(numbered)), name_field="id")] == ["7"]
    high = {"type": "Polygon", "coordinates": [[[x, y, 30, *[1] * (x == 14)] for x, y in RING]]}
    (area,) = read(write(tmp_path / "c.json", collection(feature(high, name=3.0))))
    assert area.name == "3"
    assert not area.polygon.has_z


@pytest.mark.parametrize(
    "name",
    ["urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326", "urn:ogc:def:crs:EPSG::4326", "urn:ogc:def:crs:EPSG::25833"],
)
def test_geojson_of_the_older_standard(tmp_path: Path, name: str) -> None:
    geometry = POLYGON
    if "25833" in name:
        geometry = {"type": "Polygon", "coordinates": [utm(SQUARE).exterior.coords[:]]}
    member = {"type": "name", "properties": {"name": name}}
    (area,) = read(write(tmp_path / "a.geojson", collection(feature(geometry, name="P"), crs=member)))
    assert shapely.equals_exact(area.polygon, one(SQUARE).polygon, tolerance=2e-9)


def utm(wkt: str) -> Polygon:
    """A polygon in UTM zone 33 (EPSG:25833); computed by pyproj here and, the other way, in the package."""
    from pyproj import Transformer

    there = Transformer.from_crs("EPSG:4326", "EPSG:25833", always_xy=True)
    return Polygon(np.column_stack(there.transform(*shapely.get_coordinates(shapely.from_wkt(wkt)).T)))


def test_other_crs() -> None:
    wanted = one(PARKS[0][1]).polygon
    for wkt in (utm(PARKS[0][1]).wkt, f"srid=25833 ; {utm(PARKS[0][1]).wkt}"):
        assert shapely.equals_exact(one(wkt, crs="EPSG:25833").polygon, wanted, tolerance=2e-9)
    assert one(PARKS[0][1], crs="EPSG:4326") == one(PARKS[0][1]) == one(f"SRID=4326;{PARKS[0][1]}"), (
        "lon comes first"
    )
    assert shapely.equals_exact(one(SQUARE, crs="EPSG:4258").polygon, one(SQUARE).polygon, tolerance=2e-9), (
        "here too"
    )
    with pytest.raises(AreaError, match='crs: "EPSG:99999" is not known; write a code such as'):
        one(SQUARE, crs="EPSG:99999")
    with pytest.raises(AreaError, match=r"outside the region of the CRS; check crs|is beyond|reaches latitude"):
        one("POLYGON ((1e9 1e9, 2e9 1e9, 2e9 2e9, 1e9 1e9))", crs="EPSG:25833")
    with pytest.raises(AreaError, match="is not a geographic or projected CRS; write a code such as"):
        one(SQUARE, crs="EPSG:5773")
    there = shapely.transform(utm(PARKS[0][1]), lambda xy: xy[:, ::-1])
    with pytest.raises(AreaError, match="outside the region of the CRS; check crs and the order of x and y"):
        one(there.wkt, crs="EPSG:25833")
    with pytest.raises(AreaError, match="SRID=4326, but the areas are in EPSG:25833; set crs"):
        one(f"SRID=4326;{SQUARE}", crs="EPSG:25833")


@pytest.mark.parametrize(
    ("suffix", "crs"), [(".gpkg", "EPSG:25833"), (".shp", "EPSG:25833"), (".fgb", "EPSG:4326")]
)
def test_vector_files_in_their_own_crs(tmp_path: Path, suffix: str, crs: str) -> None:
    file = tmp_path / f"parks{suffix}"
    shapes = [utm(wkt) if crs == "EPSG:25833" else shapely.from_wkt(wkt) for _, wkt in PARKS]
    pyogrio.raw.write(
        file,
        shapely.to_wkb(np.array(shapes)),
        [np.array([name for name, _ in PARKS], object), np.arange(len(PARKS), dtype="float64")],
        ["name", "number"],
        geometry_type="Polygon",
        crs=crs,
    )
    found = {area.name: area for area in read(file)}
    assert set(found) == {name for name, _ in PARKS}
    for name, wkt in PARKS:
        assert shapely.equals_exact(found[name].polygon, one(wkt).polygon, tolerance=2e-9)
    assert {area.name for area in read(file, name_field="number")} == {str(number) for number in range(len(PARKS))}
    with pytest.raises(
        AreaError, match=r'feature 1: no field "x" for the name; set name_field to one of: name, number'
    ):
        read(file, name_field="x")
    assert read(file, crs=crs) == read(file)


@pytest.mark.parametrize(
    ("crs", "lon", "lat"),
    [("EPSG:25833", 6.5, 50.5), ("EPSG:32760", -179.5, -17), ("EPSG:3857", 170, 80), ("EPSG:32601", 179.5, 60)],
)
def test_a_projected_crs_is_used_beyond_its_region_and_about_the_antimeridian(
    crs: str, lon: float, lat: float
) -> None:
    from pyproj import Transformer

    there = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    ring = shapely.box(lon, lat, lon + 0.01, lat + 0.01)
    moved = shapely.transform(ring, lambda xy: np.column_stack(there.transform(*xy.T)))
    found = one(moved.wkt, crs=crs).polygon
    assert shapely.hausdorff_distance(found, ring) < 1e-7


def test_vector_file_without_crs_must_be_told(tmp_path: Path) -> None:
    file = tmp_path / "a.shp"
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.raw.write(
            file,
            shapely.to_wkb(np.array([shapely.from_wkt(SQUARE)])),
            [np.array(["a0"], object)],
            ["name"],
            geometry_type="Polygon",
        )
    with pytest.raises(
        AreaError, match=r'a\.shp: the file does not say its CRS; set crs in the config, such as "EPSG:4326"'
    ):
        read(file)
    assert read(file, crs="EPSG:4326") == inline(SQUARE)


def test_several_layers_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.gpkg"
    for layer in ("one", "two"):
        pyogrio.raw.write(
            file,
            shapely.to_wkb(np.array([shapely.from_wkt(SQUARE)])),
            [np.array(["P"], object)],
            ["name"],
            layer=layer,
            geometry_type="Polygon",
            crs="EPSG:4326",
            append=file.exists(),
        )
    with pytest.raises(AreaError, match=r"holds 2 layers; set layer to one of: one \(1 features\), two \(1 feat"):
        read(file)


def test_polygons_of_many_points(tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * math.pi, 100_000)
    circle = Polygon(np.column_stack([13 + np.cos(angles), 52 + np.sin(angles)]))
    (area,) = read(write(tmp_path / "a.csv", f'name,wkt\nround,"{circle.wkt}"\n'))
    assert len(shapely.get_coordinates(area.polygon)) == 100_000


def test_folders_keep_clear_of_the_state(tmp_path: Path) -> None:
    tables = "".join(
        f'[[areas]]\nname = "{name}"\nwkt = "{wkt}"\n' for name, wkt in (("Jobs", SQUARE), ("Park", OTHER))
    )
    text = f'{tables}[run]\nstate = "data/jobs"'
    first, second = load(Config.load(write(tmp_path / "c.toml", text)))
    assert first.folder.startswith("Jobs-")
    assert second.folder == "Park"


# ---- identity ---------------------------------------------------------------------------------------------


def star(centre: tuple[int, int], radii: list[int]) -> Polygon:
    """A star-shaped polygon around a centre: valid whatever the radii."""
    angles = [2 * math.pi * number / len(radii) for number in range(len(radii))]
    return Polygon(
        [
            (centre[0] + radius / 100 * math.cos(angle), centre[1] + radius / 100 * math.sin(angle))
            for angle, radius in zip(angles, radii, strict=True)
        ]
    )


radii = st.lists(st.integers(20, 40), min_size=3, max_size=9)


@st.composite
def multipolygons(draw: Callable[[Any], Any]) -> MultiPolygon:
    """One to four stars, each with up to two holes."""
    centres = draw(
        st.lists(st.tuples(st.integers(-170, 170), st.integers(-70, 70)), min_size=1, max_size=4, unique=True)
    )
    parts = []
    for x, y in centres:
        shell = star((x, y), draw(radii)).exterior
        holes = [
            Polygon([(x + dx, y), (x + dx + 0.01, y), (x + dx, y + 0.01)]).exterior
            for dx in draw(st.lists(st.sampled_from([-0.02, 0.02]), unique=True))
        ]
        parts.append(Polygon(shell, holes))
    return MultiPolygon(parts)


def disguised(polygon: MultiPolygon, random: Any) -> MultiPolygon:
    """The same set of points, written differently."""

    def ring(coords: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
        *points, _ = coords
        start = random.randrange(len(points))
        points = points[start:] + points[:start]
        if random.random() < 0.5:
            points.reverse()
        doubled = [point for point in points for _ in range(random.choice((1, 1, 2, 3)))]
        wobble = [(x + random.uniform(-1, 1) * 1e-13, y + random.uniform(-1, 1) * 1e-13) for x, y in doubled]
        return [*wobble, wobble[0]] if random.random() < 0.5 else [*wobble, wobble[0], wobble[0]]

    parts = []
    for part in polygon.geoms:
        holes = [ring(hole.coords) for hole in part.interiors]
        parts.append(Polygon(ring(part.exterior.coords), random.sample(holes, len(holes))))
    random.shuffle(parts)
    return MultiPolygon(parts)


def test_a_folder_of_crops_is_nothing_that_belongs_to_the_state(tmp_path: Path) -> None:
    suffixes = ("", "-shm", "-wal", ".lock", ".plans", ".rebuilt", ".sealed")
    names = [f"s.db{suffix}" for suffix in suffixes]
    wkt = "POLYGON (({0} 52, {0}.5 52, {0}.5 52.5, {0} 52))"
    areas = "".join(
        f'[[areas]]\nname = "{name}"\nwkt = "{wkt.format(number)}"\n' for number, name in enumerate(names)
    )
    found = load(Config.load(write(tmp_path / "c.toml", f'[run]\nstate = "data/s.db"\n{areas}')))
    assert [area.name for area in found] == names
    assert {area.folder for area in found}.isdisjoint(names)


@settings(deadline=None)
@given(multipolygons(), st.randoms(use_true_random=False))
def test_fingerprint_is_that_of_the_set_of_points(polygon: MultiPolygon, random: Any) -> None:
    rounded = shapely.transform(polygon, lambda xy: np.round(xy, 7))
    other = disguised(rounded, random)
    assert fingerprint(other) == fingerprint(rounded)
    assert fingerprint(MultiPolygon(list(shapely.get_parts(shapely.force_3d(other, 7.0))))) == fingerprint(rounded)
    read_back = shapely.from_wkt(shapely.to_wkt(other, rounding_precision=15))
    assert isinstance(read_back, MultiPolygon)
    assert fingerprint(read_back) == fingerprint(rounded)
    moved = shapely.transform(rounded, lambda xy: xy + np.array([1e-6, 0]))
    assert isinstance(moved, MultiPolygon)
    assert fingerprint(moved) != fingerprint(rounded)


@given(multipolygons())
def test_reading_again_what_was_read_changes_nothing(polygon: MultiPolygon) -> None:
    area = one(polygon.wkt)
    again = one(shapely.to_wkt(area.polygon, rounding_precision=-1))
    assert again == area
    assert area.fingerprint == fingerprint(area.polygon)
    assert area.polygon.is_valid


def test_fingerprints_stay_the_same_between_versions() -> None:
    """They are kept in state files: new versions of GEOS or of this program must give the same ones."""
    found = {area.name: area.fingerprint for area in read([InlineArea(name=name, wkt=wkt) for name, wkt in PARKS])}
    assert found["Tiergarten"] == "1eb4d4a7aa8c52f5"
    assert found["Grunewald"] == "3c16186b10dd19ee"
    two_with_holes = (
        "MULTIPOLYGON (((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 1 2, 2 2, 1 1), (3 3, 3 3.5, 3.5 3, 3 3)), "
        "((5 5, 6 5, 6 6, 5 5)))"
    )
    assert one(two_with_holes).fingerprint == "2228c60a26067dc4"


def test_holes_and_parts_count() -> None:
    hole = f"{SQUARE[:-1]}, (13.2 52.2, 13.4 52.2, 13.4 52.4, 13.2 52.2))"
    multi = f"MULTIPOLYGON ({SQUARE.removeprefix('POLYGON ')}, {OTHER.removeprefix('POLYGON ')})"
    prints = {one(wkt).fingerprint for wkt in (SQUARE, OTHER, hole, multi)}
    assert len(prints) == 4
    assert one(f"MULTIPOLYGON ({SQUARE.removeprefix('POLYGON ')})") == one(SQUARE), "one part is a polygon"
    for wkt in ("POLYGON Z ((13 52 1, 14 52 1, 14 53 1, 13 53 1, 13 52 1))",
                "POLYGON M ((13 52 1, 14 52 1, 14 53 1, 13 53 1, 13 52 1))"):  # fmt: skip
        assert one(wkt) == one(SQUARE), "heights and measures are dropped"
    assert one("POLYGON ((-0.0 0, 1 0, 1 1, -0.0 0))") == one("POLYGON ((0 0, 1 -0.0, 1 1, 0 -0.0))")


def test_both_sides_of_the_antimeridian() -> None:
    area = one("MULTIPOLYGON (((179 1, 180 1, 180 2, 179 1)), ((-180 1, -179 1, -180 2, -180 1)))")
    assert isinstance(area.polygon, MultiPolygon)
    assert bounds([area]) == (179, 1, -179, 2)


def test_readers_are_a_table() -> None:
    assert set(loader.READERS) == {
        ".geojson", ".json", ".csv", ".tsv", ".txt", ".kml", ".kmz", ".parquet", ".geoparquet"
    }  # fmt: skip


@pytest.mark.parametrize("latitude", [0.0, 52.5, -70.0, 83.0])
def test_areas_smaller_than_a_pixel_are_named(latitude: float) -> None:
    def square(metres: float, name: str) -> Area:
        high = metres / 111_320
        wide = high / math.cos(math.radians(latitude))
        return Area(
            name=name, wkb=shapely.box(10, latitude, 10 + wide, latitude + high).wkb, fingerprint=name, folder=name
        )

    assert loader.specks_notice([square(21, "field"), square(1000, "park")]) == ""
    assert loader.specks_notice([square(19, "well"), square(21, "field")]).startswith("1 area is smaller than")
    told = loader.specks_notice([square(1, f"w{number}") for number in range(1_500)])
    assert told.startswith("1,500 areas are smaller than a pixel of 20 m")
    assert told.endswith(": w0, w1, w2, w3, w4, ...")


# ---- all faults, and what is done about them ------------------------------------------------------------------

BOW = "POLYGON ((15 52, 16 53, 16 52, 15 53, 15 52))"
HAIR = "POLYGON ((17 52, 17.01 52, 17.01 52.0100001, 17.0099999 52.0099999, 17.01 52.01, 17 52.01, 17 52))"


def table(path: Path, *rows: tuple[str, str]) -> Path:
    return write(path, "\n".join(["name,wkt", *(f'{name},"{wkt}"' for name, wkt in rows)]))


def told(source: Path, **options: Any) -> tuple[list[str], list[str]]:
    """The names of areas, and the notices."""
    notices: list[Notice] = []
    return [area.name for area in read(source, on_notice=notices.append, **options)], [n.text for n in notices]


def test_all_faults_are_in_one_answer(bug_cases: Path) -> None:
    with pytest.raises(AreaError) as caught:
        load(Config.load(bug_cases / "09-one-fault-a-run" / "c.toml"))
    head, *lines = str(caught.value).split("\n")
    assert "fields40.geojson: 8 of 40 areas cannot be used" in head
    wanted = [
        'feature 6: area "DE-1005": its outline crosses itself',
        'feature 10: area "DE-1008": there is another area of this name',
        'feature 18: area "DE-1017": its outline crosses itself',
        'feature 22: area "DE-1021": is empty',
        'feature 27: area "DE-1026": is a LineString',
        'feature 31: area "DE-1008": there is another area of this name',
        "feature 34: the name is empty",
        'feature 37: area "DE-1036": its outline crosses itself, or its parts overlap',
    ]
    assert [line[: len(start) + 2] for line, start in zip(lines, wanted, strict=True)] == [
        f"  {s}" for s in wanted
    ]


def test_the_faulty_of_a_file_can_be_left_out_or_mended(bug_cases: Path) -> None:
    config = Config.load(bug_cases / "09-one-fault-a-run" / "c.toml")
    notices: list[Notice] = []
    found = loader.examine(config.model_copy(update={"invalid": "skip"}), notices.append)
    assert len(found.areas) == 32
    assert [remark.name for remark in found.changes.skipped] == [
        "DE-1005", "DE-1008", "DE-1017", "DE-1021", "DE-1026", "DE-1008", "", "DE-1036",
    ]  # fmt: skip
    assert "8 of 40 areas were left out" in notices[0].text
    assert len(notices) == 9
    with pytest.raises(AreaError) as caught:
        load(config.model_copy(update={"invalid": "repair"}))
    assert "DE-1005" not in str(caught.value), "a crossing as wide as a hair"
    assert "DE-1021" in str(caught.value)


def test_areas_that_are_left_out_take_no_name(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", ("P", BOW), ("P", SQUARE), ("Q", OTHER))
    assert told(file, invalid="skip")[0] == ["P", "Q"]
    with pytest.raises(AreaError, match="2 of 3 areas"):
        read(file)


def test_nothing_but_faulty_areas_is_an_error_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(AreaError, match=r'a\.csv:2: area "P": its outline crosses itself'):
        read(table(tmp_path / "a.csv", ("P", BOW)), invalid="skip")


def test_each_repair_is_told(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", ("P", SQUARE), ("hair", HAIR), ("open", SQUARE.replace(", 13 52))", "))")))
    names, notices = told(file, invalid="repair")
    assert names == ["P", "hair", "open"]
    assert "2 of 3 areas were repaired" in notices[0]
    assert 'a.csv:3: area "hair": mended an outline' in notices[1]
    assert 'a.csv:4: area "open": closed its ring' in notices[2]
    assert [area.fingerprint for area in read(file, invalid="repair", on_notice=lambda _: None)][2] == one(
        SQUARE
    ).fingerprint


def test_what_is_too_large_to_be_mended_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AreaError, match=r'a\.csv:3: area "bow": is beyond repair: its outline crosses'):
        read(table(tmp_path / "a.csv", ("P", SQUARE), ("bow", BOW)), invalid="repair")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("bow", BOW), ("hair", HAIR), ("open", SQUARE.replace(", 13 52))", "))"))], "mends 2 of them"),
        ([("hair", HAIR), ("open", SQUARE.replace(", 13 52))", "))"))], "mends all of them"),
        ([("hair", HAIR)], 'set invalid = "repair", which mends it'),
        ([("bow", BOW), ("well", "POINT (13 52)")], ""),
        ([("", HAIR), ("bow", BOW)], ""),
        ([("bow", BOW)], ""),
    ],
)
def test_a_refusal_tells_how_many_areas_repair_would_mend(
    tmp_path: Path, rows: list[tuple[str, str]], told: str
) -> None:
    file = table(tmp_path / "a.csv", ("P", OTHER), *rows)
    with pytest.raises(AreaError) as caught:
        read(file)
    head = str(caught.value).split("\n")[0]
    assert told in head
    assert ("repair" in head) == bool(told)


def test_a_refusal_tells_what_is_left_when_the_setting_did_not_help(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", ("P", SQUARE), ("hair", HAIR), ("bow", BOW), ("", OTHER))
    with pytest.raises(AreaError) as caught:
        read(file, invalid="repair")
    head, *lines = str(caught.value).split("\n")
    assert "2 of 4 areas cannot be used; " in head
    assert "remove them from the file" in head
    assert "mends" not in head.replace("mends nothing", "")
    assert 'area "bow": is beyond repair: ' in lines[0]
    with pytest.raises(
        AreaError, match=r'2 of 2 areas cannot be used; correct them; invalid = "repair" mends 1 of'
    ):
        read(table(tmp_path / "b.csv", ("hair", HAIR), ("bow", BOW)), invalid="skip")


def test_looking_for_what_repair_would_mend_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_PATIENCE", -1.0)
    with pytest.raises(AreaError) as caught:
        read(table(tmp_path / "a.csv", ("hair", HAIR), ("bow", BOW)))
    assert 'invalid = "repair"' not in str(caught.value)


def test_points_lines_and_polygons_grow_by_the_buffer(tmp_path: Path) -> None:
    file = table(
        tmp_path / "a.csv", ("well", "POINT (13 52)"), ("ditch", "LINESTRING (14 52, 14.01 52)"), ("P", SQUARE)
    )
    well, ditch, square = read(file, buffer=100)
    assert area_km2(well) == pytest.approx(math.pi * 0.01, rel=1e-3)
    assert area_km2(ditch) == pytest.approx(math.pi * 0.01 + 0.2 * 0.6867, rel=1e-2)
    assert square.polygon.contains(shapely.from_wkt(SQUARE))
    with pytest.raises(AreaError, match="2 of 3 areas") as caught:
        read(file)
    assert "is a Point; give a Polygon or MultiPolygon, or set buffer" in str(caught.value)


# ---- columns and seasons ----------------------------------------------------------------------------------------


def test_columns_of_the_file_are_carried(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"name": "P", "crop": "maize", "number": 7},
        {"name": "Q", "crop": None, "number": None},
    ]
    shapes = [POLYGON, json.loads(shapely.to_geojson(shapely.from_wkt(OTHER)))]
    file = write(
        tmp_path / "a.geojson", collection(*(feature(s, **row) for s, row in zip(shapes, rows, strict=True)))
    )
    found = read(file)
    assert [area.attributes for area in found] == [{"crop": "maize", "number": 7}, {"crop": None, "number": None}]
    assert [area.attributes for area in read(file, columns=["number", "name"])] == [
        {"name": "P", "number": 7}, {"name": "Q", "number": None},
    ]  # fmt: skip
    assert [area.attributes for area in read(file, columns=[])] == [{}, {}]
    with pytest.raises(
        AreaError, match=r'columns: no column "crops"; the columns are: name, crop, number; correct'
    ):
        read(file, columns=["crop", "crops"])
    assert read(file, name_field="number", invalid="skip", on_notice=lambda _: None)[0].attributes == {
        "name": "P", "crop": "maize",
    }  # fmt: skip


def test_values_that_no_table_holds_become_text_or_nothing(tmp_path: Path) -> None:
    values = {"list": [1, {"a": "ä"}], "nan": float("nan"), "half": "x\ud800", "yes": True, "big": 10**30}
    (area,) = read(write(tmp_path / "a.geojson", collection(feature(POLYGON, name="P", **values))))
    assert area.attributes == {
        "list": '[1, {"a": "ä"}]', "nan": None, "half": "x?", "yes": True, "big": 10**30,
    }  # fmt: skip


def seasonal(path: Path, *rows: tuple[str, str, str, str]) -> Path:
    lines = [f'{name},{start},{end},"{wkt}"' for name, start, end, wkt in rows]
    return write(path, "\n".join(["name,valid_from,valid_to,wkt", *lines]))


def test_seasons_are_those_of_two_columns(tmp_path: Path) -> None:
    file = seasonal(tmp_path / "a.csv", ("P", "2024-04-01", "2024-09-30", SQUARE), ("Q", "", "2023-12-31", OTHER))
    p, q = read(file)
    assert (p.start, p.end) == (date(2024, 4, 1), date(2024, 9, 30))
    assert (q.start, q.end) == (None, date(2023, 12, 31))
    assert p.attributes == {}, "an area has its season anyway"
    with pytest.raises(
        AreaError, match=r'b\.csv:2: area "P": valid_to 2024-03-01 is before valid_from 2024-04-01'
    ):
        read(seasonal(tmp_path / "b.csv", ("P", "2024-04-01", "2024-03-01", SQUARE)))
    with pytest.raises(AreaError, match=r'a\.csv:2: area "P": valid_from is "spring"; write a day'):
        read(seasonal(tmp_path / "a.csv", ("P", "spring", "", SQUARE)))


def test_names_may_repeat_where_seasons_do_not_overlap(tmp_path: Path) -> None:
    years = [("P", "2023-01-01", "2023-12-31", SQUARE), ("P", "2024-01-01", "", OTHER)]
    first, second = read(seasonal(tmp_path / "a.csv", *years))
    assert first.folder == second.folder == "P"
    again = ("P", "2023-12-31", "2024-01-01", BOW.replace("16 53, 16 52", "16 52, 16 53"))
    with pytest.raises(AreaError) as caught:
        read(seasonal(tmp_path / "a.csv", *years, again))
    assert str(caught.value).endswith(
        'a.csv:4: area "P": its season (2023-12-31 to 2024-01-01) overlaps that of line 2 '
        "(2023-01-01 to 2023-12-31), which has the same name; "
        "correct valid_from or valid_to, or give each its own name"
    )
    with pytest.raises(AreaError, match=r"\(2024-02-01\) overlaps that of line 3 \(from 2024-01-01\)"):
        read(seasonal(tmp_path / "a.csv", *years, ("P", "2024-02-01", "2024-02-01", SQUARE)))
    with pytest.raises(AreaError, match=r"\(all days\) overlaps that of line 2"):
        read(seasonal(tmp_path / "a.csv", *years, ("P", "", "", SQUARE)))
    with pytest.raises(AreaError, match=r"of this name, line 2; give each its own"):
        read(table(tmp_path / "b.csv", ("P", SQUARE), ("P", OTHER)))
    named = [InlineArea(name=name, wkt=wkt) for name, wkt in (("Q", OTHER), ("P", SQUARE), ("P", OTHER))]
    with pytest.raises(AreaError, match=r"of this name, \[\[areas\]\] 2; give each its own"):
        read(named)


def test_seasons_of_areas_in_the_configuration(tmp_path: Path) -> None:
    text = f'[[areas]]\nname = "P"\nwkt = "{SQUARE}"\nvalid_from = 2024-04-01\nvalid_to = "2024-09-30"\n'
    (area,) = load(Config.load(write(tmp_path / "c.toml", text)))
    assert (area.start, area.end, area.attributes) == (date(2024, 4, 1), date(2024, 9, 30), {})
    with pytest.raises(ConfigError, match=r"c\.toml:4: \[\[areas\]\] valid_from: 3 is not a day"):
        Config.load(write(tmp_path / "c.toml", text.replace("2024-04-01", "3")))


def test_the_collector_is_as_before_when_areas_have_been_read(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", ("P", SQUARE))
    for source in (file, tmp_path / "bad.csv"):
        write(tmp_path / "bad.csv", "name")
        with contextlib.suppress(AreaError):
            read(source)
        assert gc.isenabled()
    gc.disable()
    try:
        read(file)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13"])
def test_an_encoding_that_is_none_of_text_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(AreaError, match=rf'encoding: "{encoding}" is not a known encoding; write one such as'):
        read(table(tmp_path / "a.csv", ("P", SQUARE)), encoding=encoding)
