"""Tables of areas as CSV, in the variants that programs and people write."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from s2async.areas.csv_file import read_csv
from s2async.areas.loader import read
from s2async.areas.table import ReadOptions, Table
from s2async.errors import AreaError

SQUARE = "POLYGON ((13 52, 14 52, 14 53, 13 53, 13 52))"
OTHER = "POLYGON ((15 52, 16 52, 16 53, 15 53, 15 52))"
BOX = shapely.from_wkt(SQUARE)


def table(folder: Path, text: str | bytes, *, name_field: str = "name", encoding: str | None = None) -> Table:
    file = folder / "a.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_csv(file, ReadOptions(name_field=name_field, encoding=encoding))


def ewkb(shape: shapely.Geometry, srid: int | None = None) -> str:
    if srid is not None:
        shape = shapely.set_srid(shape, srid)
    return str(shapely.to_wkb(shape, hex=True, include_srid=srid is not None))


# ---- geometry -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["wkt", "geometry", "geom", "the_geom", "WKT", "Geometry"])
@pytest.mark.parametrize("cell", [SQUARE, ewkb(BOX), ewkb(BOX).lower(), "\\x" + ewkb(BOX), f" {SQUARE} "])
def test_columns_and_forms_of_a_geometry(tmp_path: Path, column: str, cell: str) -> None:
    read = table(tmp_path, f'name,{column},n\nP,"{cell}",1\n')
    assert list(read.geometries) == [BOX]
    assert read.columns == {"name": ["P"], "n": [1]}
    assert (read.crs, read.srids, read.unreadable, read.malformed) == (None, None, {}, {})


def test_wkt_comes_before_other_columns(tmp_path: Path) -> None:
    read = table(tmp_path, f'geom,name,wkt\n"{OTHER}",P,"{SQUARE}"\n')
    assert list(read.geometries) == [BOX]
    assert read.columns == {"geom": [OTHER], "name": ["P"]}


@pytest.mark.parametrize(
    "cells", [[f"SRID=25833;{SQUARE}"] * 2, [ewkb(BOX, 25833), f"srid = 25833 ;{OTHER}"], [ewkb(BOX, 25833), ""]]
)
def test_an_srid_of_all_geometries_is_the_crs_of_the_file(tmp_path: Path, cells: list[str]) -> None:
    read = table(tmp_path, "name,geom\n" + "".join(f'{n},"{cell}"\n' for n, cell in enumerate(cells)))
    assert (read.crs, read.srids) == ("EPSG:25833", None)
    assert shapely.get_srid(read.geometries[0]) == 0


def test_srids_that_differ_are_returned_by_record(tmp_path: Path) -> None:
    read = table(
        tmp_path,
        f'name,geom\nP,SRID=4326;"{SQUARE}"\nQ,"{ewkb(BOX, 25833)}"\nR,"{OTHER}"\nS,\n'.replace(
            'SRID=4326;"', '"SRID=4326;'
        ),
    )
    assert (read.crs, read.srids) == (None, [4326, 25833, None, None])
    assert read.geometries[3] is None


def test_geometries_that_cannot_be_read_are_told_by_record(tmp_path: Path) -> None:
    open_ring = "POLYGON ((13 52, 14 52, 14 53, 13 53))"
    wkb = ewkb(BOX)
    unclosed = wkb[:18] + "04" + wkb[20 : -2 * 16]
    cells = [SQUARE, open_ring, "POLYGON ((13 52, 14", "POLYGON ((13 52, 13 52))", wkb[:-4], unclosed]
    read = table(tmp_path, "name,wkt\n" + "".join(f'{n},"{cell}"\n' for n, cell in enumerate(cells)))
    assert list(shapely.is_missing(read.geometries)) == [False, True, True, True, True, True]
    assert set(read.unreadable) == {1, 2, 3, 4, 5}
    assert "a ring is not closed; repeat its first point" in read.unreadable[1]
    assert "cannot be read (" in read.unreadable[2]
    assert "fewer than three different points" in read.unreadable[3]
    assert "cannot be read (" in read.unreadable[4]
    assert "a ring is not closed" in read.unreadable[5]
    assert read.closed == {1: BOX, 5: BOX}


def test_a_curve_does_not_spoil_its_neighbours(tmp_path: Path) -> None:
    curve = "CURVEPOLYGON (CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0))"
    read = table(tmp_path, f'name,wkt\nP,"{SQUARE}"\nQ,"{curve}"\nR,"{OTHER}"\n')
    assert read.unreadable == {1: "curves cannot be used; convert them to straight lines"}
    assert [shape is None for shape in read.geometries] == [False, True, False]


# ---- points -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lon", [0, 1])
@pytest.mark.parametrize(
    "pair",
    ["lon,lat", "Longitude,Latitude", "LONG,LAT", "lng,lat", "x,Y"],
    ids=lambda pair: pair.replace(",", "-"),
)
def test_columns_of_points(tmp_path: Path, pair: str, lon: int) -> None:
    header, cells = pair.split(","), ["13.41", "52.475"]
    if lon:
        header, cells = header[::-1], cells[::-1]
    read = table(tmp_path, f"name,{','.join(header)}\nP,{','.join(cells)}\n")
    assert list(read.geometries) == [shapely.Point(13.41, 52.475)]
    assert list(read.columns) == ["name", *header]
    assert read.crs is None


def test_lon_and_lat_come_before_x_and_y_and_after_a_geometry(tmp_path: Path) -> None:
    read = table(tmp_path, "name,x,y,lat,lon\nP,392000.5,5819000,52.475,13.41\n")
    assert list(read.geometries) == [shapely.Point(13.41, 52.475)]
    assert read.columns["x"] == [392000.5]
    read = table(tmp_path, f'name,lat,lon,wkt\nP,1,2,"{SQUARE}"\n')
    assert list(read.geometries) == [BOX]


def test_decimal_commas_where_semicolons_part_columns(tmp_path: Path) -> None:
    text = 'name;lon;lat;ha\nP;13,41;"52,475";1,5\nQ;-13.41;+52;2\n'
    read = table(tmp_path, text)
    assert list(read.geometries) == [shapely.Point(13.41, 52.475), shapely.Point(-13.41, 52)]
    assert read.columns["ha"] == [1.5, 2.0]
    with_commas = table(tmp_path, 'name,lon,lat\nP,"13,41","52,475"\n')
    assert list(with_commas.geometries) == [None]
    assert with_commas.unreadable == {0: 'lon is "13,41"; write a number such as 13.41'}


def test_points_without_numbers_are_told_by_record(tmp_path: Path) -> None:
    read = table(tmp_path, "name,lat,lon\nP,52.4,\nQ,,\nR,52°28'N,13.4\nS,nan,1\nT,1e1,.5\nU,1_0,1\n")
    assert read.unreadable == {
        0: 'lon is ""; write a number such as 13.41',
        2: 'lat is "52°28\'N"; write a number such as 13.41',
        3: 'lat is "nan"; write a number such as 13.41',
        5: 'lat is "1_0"; write a number such as 13.41',
    }
    assert list(read.geometries) == [None, None, None, None, shapely.Point(0.5, 10), None]


@pytest.mark.parametrize("header", ["lon,height", "x,lat", "lon,y", "latitude,x"])
def test_half_a_pair_makes_no_points(tmp_path: Path, header: str) -> None:
    with pytest.raises(AreaError, match=r'a\.csv:1: no column "wkt", .* and no "lon" and "lat"; rename one of'):
        table(tmp_path, f"name,{header}\nP,1,2\n")


# ---- delimiters and text ------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_first_line_of_excel(tmp_path: Path, first: str, end: str, encoding: str) -> None:
    text = f'{first}{end}name;wkt{end}Mühle, alt;"{SQUARE}"{end}Q;"{OTHER}"{end}'
    read = table(tmp_path, text.encode(encoding))
    assert list(read.columns["name"]) == ["Mühle, alt", "Q"]
    assert read.places == [f"{tmp_path / 'a.csv'}:3", f"{tmp_path / 'a.csv'}:4"]


def test_the_delimiter_is_that_with_which_there_is_a_geometry(tmp_path: Path) -> None:
    read = table(tmp_path, f'name;"length, width";geom\nP;1;{SQUARE}\n')
    assert read.columns == {"name": ["P"], "length, width": [1]}
    read = table(tmp_path, f"name\tremark (a;b), c\tgeom\nP\t1\t{SQUARE}\n")
    assert read.columns == {"name": ["P"], "remark (a;b), c": [1]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_names_of_columns_may_be_in_quotes(tmp_path: Path, delimiter: str) -> None:
    rows = [["name", "wkt", "remark"], ["a, b; c\td", SQUARE, ";,"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    read = table(tmp_path, text)
    assert read.columns == {"name": ["a, b; c\td"], "remark": [";,"]}
    assert list(read.geometries) == [BOX]


def test_any_delimiter_may_be_stated(tmp_path: Path) -> None:
    read = table(tmp_path, f"sep=|\nname|wkt\nP|{SQUARE}\n")
    assert list(read.geometries) == [BOX]


def test_latin_1_needs_the_setting(tmp_path: Path) -> None:
    raw = f'name;wkt\nMühlenfeld;"{SQUARE}"\n'.encode("latin-1")
    with pytest.raises(AreaError, match=r"a\.csv:2: not UTF-8 .*; save the file as UTF-8, or set encoding"):
        table(tmp_path, raw)
    assert table(tmp_path, raw, encoding="latin-1").columns == {"name": ["Mühlenfeld"]}


def test_control_characters_are_a_notice(tmp_path: Path) -> None:
    read = table(tmp_path, f'name;wkt\nM\x81hle;"{SQUARE}"\n')
    assert [notice.text.split(":")[1] for notice in read.notices] == ["2"]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("", "a.csv: ", "is empty; write a header line"),
        ("\n\r\n", "a.csv: ", "is empty"),
        ("sep=;\n", "a.csv: ", "is empty"),
        (f'name,shape\nP,"{SQUARE}"\n', "a.csv:1: ", 'no column "wkt"'),
        (f'\nname,shape\nP,"{SQUARE}"\n', "a.csv:2: ", "rename one of the columns: name, shape"),
        ('"name";"shape"\nP;1\n', "a.csv:1: ", "rename one of the columns: name, shape"),
        ('name,"wkt\nP,1\n', "a.csv:2: ", "not CSV (unexpected end of data); close every double quote"),
        ("name|wkt\nP|1\n", "a.csv:1: ", "separate the columns by commas, semicolons or tabs"),
        (f'name,wkt\nP,"{SQUARE}', "a.csv:2: ", "not CSV (unexpected end of data); close every double quote"),
        (f'sep=,\nname,wkt\nP,"{SQUARE}', "a.csv:3: ", "not CSV"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, text: str, place: str, says: str) -> None:
    with pytest.raises(AreaError) as caught:
        table(tmp_path, text)
    line = str(caught.value).removeprefix(f"{tmp_path}/")
    assert line.startswith(place), line
    assert says in line
    assert "; " in line


def test_rows_that_do_not_fit_are_malformed_and_all_others_are_read(tmp_path: Path) -> None:
    read = table(tmp_path, f'name,wkt,n\nP,{SQUARE},1\nQ,"{OTHER}",2\nR\n , ,\n\nS,"{SQUARE}",3\n')
    assert read.malformed == {
        0: "7 cells under 3 columns; put the WKT in double quotes",
        2: "1 cells under 3 columns; put the WKT in double quotes",
    }
    assert read.columns == {"name": [None, "Q", None, "S"], "n": [None, 2, None, 3]}
    assert [place.rpartition(":")[2] for place in read.places or ()] == ["2", "3", "4", "7"]


# ---- other columns ------------------------------------------------------------------------------------------


def test_a_name_stays_what_it_is(tmp_path: Path) -> None:
    for cells, wanted in (("1.10 1.2", ["1.10", "1.2"]), ("007 8", ["007", "8"]), ("7 8", [7, 8])):
        one, other = cells.split()
        read = table(tmp_path, f'Name,wkt\n{one},"{SQUARE}"\n{other},"{OTHER}"\n')
        assert read.columns == {"Name": wanted}


def test_columns_without_a_name_or_with_the_same(tmp_path: Path) -> None:
    read = table(tmp_path, f',name,crop,crop,wkt,\n0,P,rye,oats,"{SQUARE}",\n')
    assert read.columns == {"column_1": [0], "name": ["P"], "crop": ["rye"], "crop_2": ["oats"]}
    read = table(tmp_path, f'name,crop,crop,crop_2,wkt\nP,rye,oats,maize,"{SQUARE}"\n')
    assert read.columns == {"name": ["P"], "crop": ["rye"], "crop_2": ["oats"], "crop_2_2": ["maize"]}


@given(
    rows=st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(-(10**17), 10**17)),
        min_size=1,
        max_size=5,
    ),
    delimiter=st.sampled_from(",;\t"),
)
def test_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], delimiter: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerows([["name", "n", "wkt"], *([text, n, SQUARE] for text, n in rows)])
    read = read_csv(file, ReadOptions())
    assert read.columns["n"] == [n for _, n in rows]
    wanted = [text if text.strip() else None for text, _ in rows]
    if all(type(value) is int for value in read.columns["name"] if value is not None):
        assert [str(value) for value in read.columns["name"] if value is not None] == [
            text.strip() for text in wanted if text is not None
        ]
    else:
        assert read.columns["name"] == wanted
    assert np.all(read.geometries == BOX)


@pytest.mark.parametrize("name", ["a.tsv", "a.txt", "A.TSV"])
def test_text_files_with_other_suffixes_are_tables_too(tmp_path: Path, name: str) -> None:
    """As a spreadsheet saves "Unicode text": UTF-16, separated by tabs."""
    (tmp_path / name).write_bytes(f"name\twkt\r\nBühl\t{SQUARE}\r\n".encode("utf-16"))
    assert [area.name for area in read(tmp_path / name)] == ["Bühl"]
