"""Files as people have them, from the file to the areas: each gives the polygon that was meant."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import shapely
from pyproj import Transformer

from s2async.areas.loader import read
from s2async.config.sections import InlineArea
from s2async.errors import AreaError
from s2async.events import Notice
from s2async.geo import area_km2
from s2async.models import Area

UPPER = "POLYGON ((13.42 52.47, 13.42 52.48, 13.4 52.48, 13.4 52.47, 13.42 52.47))"
LOWER = "POLYGON ((13.44 52.47, 13.44 52.478, 13.425 52.478, 13.425 52.47, 13.44 52.47))"


def areas(folder: Path, name: str, text: str | bytes, **settings: Any) -> list[Area]:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(file, **settings)


def prints(found: list[Area]) -> list[tuple[str, str]]:
    return [(area.name, area.fingerprint) for area in found]


def wanted(**wkts: str) -> list[tuple[str, str]]:
    return prints(read([InlineArea(name=name.replace("_", " "), wkt=wkt) for name, wkt in wkts.items()]))


def ewkb(wkt: str, srid: int | None = 4326) -> str:
    return str(
        shapely.to_wkb(shapely.set_srid(shapely.from_wkt(wkt), srid or 0), hex=True, include_srid=bool(srid))
    )


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (f'name,geometry\nUpper field,"{UPPER}"\nLower field,"{LOWER}"\n', {}),  # of geopandas
        (f"name,geom\nUpper field,{ewkb(UPPER)}\nLower field,{ewkb(LOWER)}\n", {}),  # of PostGIS
        (f"the_geom;name\n{ewkb(UPPER, None)};Upper field\n{LOWER};Lower field\n", {}),
        (f'\ufeffsep=;\r\nname;wkt\r\nUpper field;"{UPPER}"\r\nLower field;"{LOWER}"\r\n', {}),  # of Excel
        (f'name\twkt\nUpper field\t"SRID=4326;{UPPER}"\nLower field\t{LOWER}\n'.encode("utf-16"), {}),
        (f'n,wkt\n"Upper field","{UPPER}"\n"Lower field","{LOWER}"\n', {"name_field": "N"}),
    ],
)
def test_csv_of_other_programs(tmp_path: Path, text: str | bytes, settings: dict[str, Any]) -> None:
    found = areas(tmp_path, "a.csv", text, **settings)
    assert sorted(prints(found)) == sorted(wanted(Upper_field=UPPER, Lower_field=LOWER))


def test_latin_1_needs_to_be_said(tmp_path: Path) -> None:
    raw = f'name;wkt\nMühlenfeld;"{UPPER}"\n'.encode("latin-1")
    with pytest.raises(AreaError, match=r"a\.csv:2: not UTF-8 .* set encoding"):
        areas(tmp_path, "a.csv", raw)
    assert prints(areas(tmp_path, "a.csv", raw, encoding="latin-1")) == wanted(Mühlenfeld=UPPER)


def test_points_need_a_buffer(tmp_path: Path) -> None:
    table = "name,lat,lon\nstation 7,52.475,13.41\n"
    features = (
        '{"type": "Feature", "properties": {"name": "station 7"}, '
        '"geometry": {"type": "Point", "coordinates": [13.41, 52.475]}}'
    )
    for name, text in (("a.csv", table), ("a.geojson", features)):
        with pytest.raises(AreaError, match=r'area "station 7": is a Point; .* set buffer in metres'):
            areas(tmp_path, name, text)
    (one,) = areas(tmp_path, "a.csv", table, buffer=500)
    (other,) = areas(tmp_path, "a.geojson", features, buffer=500)
    assert one.fingerprint == other.fingerprint
    assert area_km2(one) == pytest.approx(math.pi * 0.5**2, rel=1e-3)
    assert dict(one.attributes) == {"lat": 52.475, "lon": 13.41}


def test_points_in_metres_need_the_crs(tmp_path: Path) -> None:
    text = "name;x;y\nP;391980,5;5815000,25\n"
    with pytest.raises(AreaError, match="looks like metres; give crs"):
        areas(tmp_path, "a.csv", text, buffer=100)
    (found,) = areas(tmp_path, "a.csv", text, buffer=100, crs="EPSG:25833")
    place = Transformer.from_crs("EPSG:25833", "OGC:CRS84", always_xy=True).transform(391980.5, 5815000.25)
    assert found.polygon.centroid.distance(shapely.Point(place)) < 1e-6


def test_all_rows_are_judged_at_once(tmp_path: Path) -> None:
    rows = [f'P,"{UPPER}"', f"Q,{UPPER}", 'R,"POLYGON ((1 2"', f',"{LOWER}"', f'S,"{LOWER}"']
    text = "name,wkt\n" + "\n".join(rows)
    with pytest.raises(AreaError) as caught:
        areas(tmp_path, "a.csv", text)
    for line, says in ((3, "6 cells under 2 columns"), (4, 'area "R": cannot be read'), (5, "the name is empty")):
        assert f":{line}: {says}" in str(caught.value)
    assert prints(areas(tmp_path, "a.csv", text, invalid="skip")) == wanted(P=UPPER, S=LOWER)


def test_numbers_of_rows_and_names_with_leading_zeros(tmp_path: Path) -> None:
    text = f'code,wkt\n007,"{UPPER}"\n1.10,"{LOWER}"\n'
    assert prints(areas(tmp_path, "a.csv", text, name_field="code")) == [
        (name, identity) for name, (_, identity) in zip(("007", "1.10"), wanted(a=UPPER, b=LOWER), strict=True)
    ]
    assert [area.name for area in areas(tmp_path, "a.csv", text, name_field="row")] == ["1", "2"]


def test_open_rings_and_hair_wide_crossings_are_repaired(tmp_path: Path) -> None:
    crossing = UPPER.replace(
        "13.4 52.48,", "13.41001 52.48, 13.41 52.48000001, 13.41001 52.48000001, 13.41 52.48, 13.4 52.48,"
    )
    rows = f'open,"{LOWER.replace(", 13.44 52.47))", "))")}"\ncrossing,"{crossing}"\n'
    with pytest.raises(AreaError, match="2 of 2 areas cannot be used"):
        areas(tmp_path, "a.csv", f"name,wkt\n{rows}")
    notices: list[Notice] = []
    found = {
        area.name: area
        for area in areas(tmp_path, "a.csv", f"name,wkt\n{rows}", invalid="repair", on_notice=notices.append)
    }
    assert found["open"].fingerprint == dict(wanted(open=LOWER))["open"]
    assert area_km2(found["crossing"]) == pytest.approx(1.512, abs=1e-3)
    assert "2 of 2 areas were repaired" in " ".join(notice.text for notice in notices)


def ring(wkt: str) -> str:
    xy = shapely.get_coordinates(shapely.from_wkt(wkt))
    text = " ".join(f"{x!r},{y!r},0" for x, y in xy.tolist())
    shell = f"<LinearRing><coordinates>{text}</coordinates></LinearRing>"
    return f"<Polygon><outerBoundaryIs>{shell}</outerBoundaryIs></Polygon>"


def test_kml_with_folders(tmp_path: Path) -> None:
    def folder(name: str, wkt: str) -> str:
        data = f'<ExtendedData><Data name="crop"><value>{name} rye</value></Data></ExtendedData>'
        return f"<Folder><name>{name}</name><Placemark><name>1</name>{data}{ring(wkt)}</Placemark></Folder>"

    text = f"<kml><Document>{folder('North', UPPER)}{folder('South', LOWER)}</Document></kml>"
    found = areas(tmp_path, "a.kml", text)
    assert prints(found) == wanted(**{"North/1": UPPER, "South/1": LOWER})
    assert [dict(area.attributes) for area in found] == [{"crop": "North rye"}, {"crop": "South rye"}]
    assert prints(areas(tmp_path, "a.kml", text, layer="South")) == wanted(**{"1": LOWER})
