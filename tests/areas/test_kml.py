"""Placemarks: what GDAL reads is the oracle for geometries, and more is read than by it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from s2async.areas.kml import read_kml
from s2async.areas.naming import names
from s2async.areas.table import ReadOptions, Table
from s2async.errors import AreaError

RING = "<LinearRing><coordinates>13,52,0 14,52,0\n 14,53,0 13,53,0 13,52,0</coordinates></LinearRing>"
POLYGON = f"<Polygon><outerBoundaryIs>{RING}</outerBoundaryIs></Polygon>"
BOX = shapely.Polygon([(13, 52), (14, 52), (14, 53), (13, 53), (13, 52)])
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2">'


def mark(name: str = "P", geometry: str = POLYGON, more: str = "", attributes: str = "") -> str:
    return f"<Placemark{attributes}><name>{name}</name>{more}{geometry}</Placemark>"


def kml(body: str) -> str:
    return f"{HEAD}<Document><name>Fields</name>{body}</Document></kml>"


def table(folder: Path, text: str | bytes, **options: str) -> Table:
    file = folder / "a.kml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_kml(file, ReadOptions(**options))


@pytest.mark.parametrize(
    "head",
    [
        HEAD,
        '<kml xmlns="http://earth.google.com/kml/2.1">',
        "<kml>",
        '\ufeff<kml xmlns="http://www.opengis.net/kml/2.2">',
        '<k:kml xmlns:k="http://www.opengis.net/kml/2.2">',
    ],
)
def test_a_placemark(tmp_path: Path, head: str) -> None:
    end = "</k:kml>" if "k:kml" in head else "</kml>"
    read = table(tmp_path, f"{head}{mark()}{end}")
    assert list(read.geometries) == [BOX]
    assert read.columns == {"Name": ["P"]}
    assert names(read, "name") == (["P"], {})
    assert (read.crs, read.pseudo, read.unreadable) == ("OGC:CRS84", {}, {})


HOLE = "<LinearRing><coordinates>13.2,52.2 13.4,52.2 13.4,52.4 13.2,52.2</coordinates></LinearRing>"
POINT = "<Point><coordinates> 13.5,52.5,34 </coordinates></Point>"
LINE = "<LineString><tessellate>1</tessellate><coordinates>13,52 14,53.5</coordinates></LineString>"
WITH_HOLE = POLYGON.replace("</Polygon>", f"<innerBoundaryIs>{HOLE}</innerBoundaryIs></Polygon>")
SHAPES = [
    POLYGON,
    WITH_HOLE,
    POINT,
    LINE,
    f"<MultiGeometry>{POLYGON}{WITH_HOLE}</MultiGeometry>",
    f"<MultiGeometry>{POLYGON}</MultiGeometry>",
    f"<MultiGeometry>{POINT}{POINT}</MultiGeometry>",
    f"<MultiGeometry>{LINE}{LINE}</MultiGeometry>",
    f"<MultiGeometry>{POINT}{POLYGON}</MultiGeometry>",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_geometries_are_those_of_gdal(tmp_path: Path, shape: str) -> None:
    read = table(tmp_path, kml(mark(geometry=shape)))
    _, _, shapes, _ = pyogrio.raw.read(tmp_path / "a.kml", force_2d=True)
    (wanted,) = shapely.from_wkb(shapes)
    assert read.geometries[0].wkt == wanted.wkt


def test_a_ring_alone_is_a_line(tmp_path: Path) -> None:
    assert list(table(tmp_path, kml(mark(geometry=RING))).geometries) == [shapely.LineString(BOX.exterior)]


numbers = st.floats(-180, 180).map(repr)


@settings(max_examples=30)
@given(rings=st.lists(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=6), min_size=1, max_size=3))
def test_coordinates_are_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, rings: list[list[tuple[str, str]]]
) -> None:
    closed = [[*ring, ring[0]] for ring in rings]
    texts = [" ".join(",".join(xy) for xy in ring) for ring in closed]
    parts = [f"<LinearRing><coordinates>{text}</coordinates></LinearRing>" for text in texts]
    body = f"<outerBoundaryIs>{parts[0]}</outerBoundaryIs>" + "".join(
        f"<innerBoundaryIs>{part}</innerBoundaryIs>" for part in parts[1:]
    )
    read = table(tmp_path_factory.getbasetemp(), kml(mark(geometry=f"<Polygon>{body}</Polygon>")))
    wanted = [(float(x), float(y)) for ring in closed for x, y in ring]
    assert shapely.get_coordinates(read.geometries[0]).tolist() == [list(xy) for xy in wanted]


def test_folders_tell_equal_names_apart(tmp_path: Path) -> None:
    body = (
        f"<Folder><name>North</name>{mark('1')}{mark('2')}<Folder><name>2024</name>{mark('1')}</Folder></Folder>"
        f"<Folder><name>South</name>{mark('1')}</Folder>{mark('3')}"
    )
    read = table(tmp_path, kml(body))
    assert read.pseudo == {"folder": ["North", "North", "North/2024", "South", ""]}
    assert names(read, "name") == (["North/1", "2", "North/2024/1", "South/1", "3"], {})
    assert read.where(3) == f"{tmp_path / 'a.kml'}: feature 4"
    assert len(table(tmp_path, kml(body), layer="South")) == 1
    assert len(table(tmp_path, kml(body), layer="North/2024")) == 1
    assert len(table(tmp_path, kml(body), layer="2024")) == 1
    with pytest.raises(
        AreaError, match=r'no folder "East"; set layer to one of: North \(2\), North/2024 \(1\), S'
    ):
        table(tmp_path, kml(body), layer="East")


def test_extended_data_become_columns(tmp_path: Path) -> None:
    schema = (
        '<Schema name="s" id="s"><SimpleField name="code" type="string"/>'
        '<SimpleField name="ha" type="float"/></Schema>'
    )
    first = (
        '<ExtendedData><SchemaData schemaUrl="#s"><SimpleData name="code">1</SimpleData>'
        '<SimpleData name="ha">1.5</SimpleData></SchemaData></ExtendedData>'
    )
    second = (
        '<ExtendedData><Data name="owner"><displayName>x</displayName><value>Anna</value></Data>'
        '<Data name="id"><value>17</value></Data></ExtendedData>'
    )
    read = table(
        tmp_path,
        kml(
            schema
            + mark("P", more=first, attributes=' id="k1"')
            + mark("Q", more=f"<description>a &amp; b</description>{second}")
        ),
    )
    assert read.columns == {
        "id": ["k1", None],
        "Name": ["P", "Q"],
        "description": [None, "a & b"],
        "code": ["1", None],
        "ha": [1.5, None],
        "owner": [None, "Anna"],
        "id_2": [None, 17],
    }


def test_names_of_the_extended_data_stay_what_they_are(tmp_path: Path) -> None:
    def data(value: str) -> str:
        return f'<ExtendedData><Data name="parcel"><value>{value}</value></Data></ExtendedData>'

    body = kml(mark("P", more=data("1.0")) + mark("Q", more=data("1.10")))
    assert names(table(tmp_path, body, name_field="PARCEL"), "PARCEL") == (["1.0", "1.10"], {})
    assert table(tmp_path, body).columns["parcel"] == [1.0, 1.1]


def test_gdal_agrees_on_names_and_data(tmp_path: Path) -> None:
    """LIBKML reads extended data, too."""
    if "LIBKML" not in pyogrio.list_drivers():
        pytest.skip("this GDAL has no LIBKML")
    file = tmp_path / "b.kml"
    shapes = np.array([BOX, shapely.box(1, 2, 3, 4)])
    pyogrio.raw.write(
        file,
        shapely.to_wkb(shapes),
        [np.array(["P", "Q ü"], object), np.array(["rye", None], object), np.array([1.5, 2.25])],
        ["Name", "crop", "ha"],
        geometry_type="Polygon",
        crs="EPSG:4326",
        driver="LIBKML",
    )
    read = read_kml(file, ReadOptions())
    assert [shapely.equals(*pair) for pair in zip(read.geometries, shapes, strict=True)] == [True, True]
    assert read.columns["Name"] == ["P", "Q ü"]
    assert read.columns["crop"] == ["rye", None]
    assert read.columns["ha"] == [1.5, 2.25]


def test_geometries_that_cannot_be_read_are_told_by_record(tmp_path: Path) -> None:
    open_ring = POLYGON.replace(" 13,52,0<", "<")
    marks = [
        mark("open", open_ring),
        mark("letters", POLYGON.replace("14,53,0", "x,y")),
        mark("half", POLYGON.replace("14,53,0", "14")),
        mark("short", POLYGON.replace(RING, RING.replace("14,53,0 13,53,0 ", "").replace("14,52,0\n", ""))),
        mark("none", ""),
        mark("empty", "<Polygon/>"),
        mark("fine"),
    ]
    read = table(tmp_path, kml("".join(marks)))
    assert set(read.unreadable) == {0, 1, 2, 3}
    assert "a ring is not closed; repeat its first point" in read.unreadable[0]
    assert "fewer than three different points" in read.unreadable[3]
    assert read.closed == {0: BOX}
    assert read.geometries[4] is None
    assert read.geometries[5].is_empty
    assert read.geometries[6] == BOX


def test_blanks_after_commas_and_nested_multigeometries(tmp_path: Path) -> None:
    loose = POLYGON.replace(",52,0", ", 52 ,0")
    nested = f"<MultiGeometry><MultiGeometry>{loose}</MultiGeometry>{POLYGON}</MultiGeometry>"
    read = table(tmp_path, kml(mark(geometry=nested)))
    assert list(read.geometries) == [shapely.MultiPolygon([BOX, BOX])]


def test_text_follows_the_rule_of_all_text(tmp_path: Path) -> None:
    text = kml(mark("Mühle")).replace("UTF-8", "ISO-8859-1")
    assert table(tmp_path, text.encode("latin-1")).columns["Name"] == ["Mühle"]
    assert table(tmp_path, text.encode()).columns["Name"] == ["Mühle"], "valid UTF-8 is UTF-8"
    assert table(tmp_path, text.encode("utf-16")).columns["Name"] == ["Mühle"]
    with pytest.raises(AreaError, match=r"a\.kml:2: not UTF-8"):
        table(tmp_path, kml(mark("Mühle")).replace(' encoding="UTF-8"', "").encode("latin-1"))


@pytest.mark.parametrize("member", ["doc.kml", "fields.KML"])
def test_archives(tmp_path: Path, member: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.kmz", "w") as archive:
        archive.writestr("other/z.kml", kml(""))
        archive.writestr(member, kml(mark()))
    if member == "doc.kml":
        assert list(read_kml(tmp_path / "a.kmz", ReadOptions()).geometries) == [BOX]
    else:
        with pytest.raises(AreaError, match="holds no placemarks; save polygons in it"):
            read_kml(tmp_path / "a.kmz", ReadOptions())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEAD}\n<Document></kml>", "a.kml:3: not KML (mismatched tag); correct it or export it again"),
        ("no xml", "a.kml:1: not KML (syntax error)"),
        (kml(""), "a.kml: holds no placemarks; save polygons in it"),
        (kml("<NetworkLink/>"), "a.kml: holds no placemarks; it links to another file: save that one"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(AreaError) as caught:
        table(tmp_path, text)
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(says)


def test_a_broken_archive_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "a.kmz"
    file.write_bytes(b"PK no zip")
    with pytest.raises(AreaError, match=r"a\.kmz: cannot be read \(.*\); save the areas as KML"):
        read_kml(file, ReadOptions())
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(AreaError, match=r"a\.kmz: holds no \.kml; save the areas as KML"):
        read_kml(file, ReadOptions())


def test_entities_do_not_expand_without_bounds(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 100}">' for n in range(10))
    with pytest.raises(AreaError, match="not KML"):
        table(tmp_path, f"<!DOCTYPE kml [{entities}]><kml>{mark('&e9;')}</kml>")
