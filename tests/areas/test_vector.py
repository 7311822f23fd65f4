"""Vector files through GDAL: layers, fids, types of columns, and plain words for what cannot be read."""

from __future__ import annotations

import sqlite3
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely

from s2async.areas.loader import load, read
from s2async.areas.readers import read_file
from s2async.areas.table import ReadOptions
from s2async.config.model import Config
from s2async.errors import AreaError

BOXES = [shapely.box(13 + number, 52, 13.5 + number, 52.5) for number in range(4)]


def write(path: Path, count: int = 2, layer: str | None = None, shift: int = 0, **columns: Any) -> Path:
    """A vector file of boxes with these columns; lists with None become nullable integers."""
    columns = columns or {"name": np.array([f"P{number + shift}" for number in range(count)], object)}
    missing = [np.array([value is None for value in column]) for column in columns.values()]
    values = [
        np.array([value or 0 for value in column], np.int64) if isinstance(column, list) else column
        for column in columns.values()
    ]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(BOXES[shift : shift + count])),
        values,
        list(columns),
        field_mask=missing,
        layer=layer,
        geometry_type="Polygon",
        crs="EPSG:4326",
        append=path.exists(),
    )
    return path


def test_tables_without_geometry_are_no_layers(bug_cases: Path) -> None:
    folder = bug_cases / "05-gpkg-layers"
    assert len(load(Config.load(folder / "styles.toml"))) == 2
    assert [area.name for area in load(Config.load(folder / "fid.toml"))] == ["1", "2"]


def test_of_several_layers_one_is_selected(tmp_path: Path) -> None:
    file = write(tmp_path / "a.gpkg", 2, "fields")
    write(file, 1, "parks", shift=2)
    with pytest.raises(AreaError, match=r"holds 2 layers; set layer to one of: fields \(2 f.*\), parks \(1 feat"):
        read(file)
    assert [area.name for area in read(file, layer="parks")] == ["P2"]
    assert [area.name for area in read(file, layer="fields")] == ["P0", "P1"]
    with pytest.raises(AreaError, match=r'layer "field" is not in the file; set layer to one of: fields \(2'):
        read(file, layer="field")


def test_a_layer_and_a_name_field_that_are_lacking_are_told_together(tmp_path: Path) -> None:
    file = write(tmp_path / "a.gpkg", 2, "fields")
    write(file, 1, "parks", shift=2)
    for layer in (None, "field"):
        with pytest.raises(AreaError) as caught:
            read(file, layer=layer, name_field="title")
        assert "set layer to one of: fields (2 features), parks (1 features); and no layer has" in str(
            caught.value
        )
        assert "(fields: name, fid, row; parks: name, fid, row)" in str(caught.value)
    with pytest.raises(AreaError) as caught:
        read(file, name_field="FID")
    assert "no layer has" not in str(caught.value)


def test_a_layer_without_geometries_cannot_be_selected(tmp_path: Path) -> None:
    file = write(tmp_path / "a.gpkg", 2, "fields")
    pyogrio.raw.write(
        file, None, [np.array(["x"], object)], ["style"], layer="styles", append=True, geometry_type=None
    )
    assert len(read(file)) == 2
    with pytest.raises(AreaError, match=r'layer "styles" has no geometries; set layer to one of: fields'):
        read(file, layer="styles")


def test_an_empty_layer_beside_one_with_areas_is_no_question(tmp_path: Path) -> None:
    file = write(tmp_path / "a.gpkg", 2, "fields")
    write(file, 1, "draft", shift=2)
    with sqlite3.connect(file) as db:
        db.execute("DROP TRIGGER IF EXISTS rtree_draft_geom_delete")
        db.execute("DROP TRIGGER IF EXISTS trigger_delete_feature_count_draft")
        db.execute("UPDATE gpkg_ogr_contents SET feature_count = 0 WHERE table_name = 'draft'")
        db.execute("DELETE FROM draft")
    assert [area.name for area in read(file)] == ["P0", "P1"]


def test_files_without_layers_refuse_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f'name,wkt\nP,"{BOXES[0].wkt}"\n')
    with pytest.raises(AreaError, match=r'a\.csv: a file of this format has no layer "x"; remove layer'):
        read(tmp_path / "a.csv", layer="x")


@pytest.mark.parametrize(("suffix", "first"), [(".gpkg", 1), (".shp", 0), (".fgb", 0)])
def test_fids_are_names_if_they_are_asked_for(tmp_path: Path, suffix: str, first: int) -> None:
    areas = read(write(tmp_path / f"a{suffix}", 3), name_field="fid")
    assert sorted(area.name for area in areas) == [str(first + number) for number in range(3)]
    assert all("fid" not in area.attributes for area in areas)


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
def test_whole_numbers_stay_whole_where_some_are_missing(tmp_path: Path, suffix: str) -> None:
    numbers = [123, None, 2**60 + 1]
    file = write(tmp_path / f"a{suffix}", 3, name=np.array(["a", "b", "c"], object), number=numbers)
    found = {area.name: area.attributes for area in read(file)}
    assert {name: row["number"] for name, row in found.items()} == dict(zip("abc", numbers, strict=True))
    assert type(found["a"]["number"]) is int


def test_types_of_columns_are_kept(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.gpkg",
        2,
        name=np.array(["a", "b"], object),
        share=np.array([0.5, np.nan]),
        good=np.array([True, False]),
        sown=np.array(["2024-04-01", "NaT"], "datetime64[D]"),
        seen=np.array(["2024-04-01T10:20:30", "NaT"], "datetime64[ms]"),
        crop=np.array(["maize", None], object),
    )
    first, second = (area.attributes for area in read(file))
    assert first["share"] == 0.5
    assert first["good"] is True
    assert (first["sown"], first["crop"]) == (date(2024, 4, 1), "maize")
    seen = first["seen"]
    assert isinstance(seen, datetime)
    assert seen.replace(tzinfo=UTC) == datetime(2024, 4, 1, 10, 20, 30, tzinfo=UTC)
    assert [second[name] for name in ("share", "sown", "seen", "crop")] == [None] * 4
    assert second["good"] is False


def test_folders_of_kml_are_read_as_one_file(tmp_path: Path) -> None:
    def mark(name: str, number: int) -> str:
        ring = " ".join(f"{x},{y},0" for x, y in BOXES[number].exterior.coords)
        return (
            f"<Placemark><name>{name}</name><Polygon><outerBoundaryIs><LinearRing><coordinates>{ring}"
            "</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>"
        )

    file = tmp_path / "a.kml"
    file.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
        f"<Folder><name>North</name>{mark('1', 0)}{mark('2', 1)}</Folder>"
        f"<Folder><name>South</name>{mark('1', 2)}{mark('3', 3)}</Folder></Document></kml>"
    )
    table = read_file(file, ReadOptions(name_field="Name"))
    assert list(table.pseudo["folder"]) == ["North", "North", "South", "South"]
    assert [area.name for area in read(file, name_field="Name")] == ["North/1", "2", "South/1", "3"]
    assert [area.name for area in read(file, name_field="Name", layer="South")] == ["1", "3"]


@pytest.mark.parametrize("inside", [None, "", "fields/2024/"], ids=["alone", "zipped", "zipped in a folder"])
@pytest.mark.parametrize(
    ("encoding", "cpg"), [("cp1252", None), (None, "1252"), (None, "UTF-8"), (None, "none, but UTF-8")]
)
def test_shapefiles_in_several_encodings(
    tmp_path: Path, encoding: str | None, cpg: str | None, inside: str | None
) -> None:
    names = np.array(["Bühl", "Straße"], object)
    file = write(tmp_path / "a.shp", name=names)
    table = file.with_suffix(".dbf")
    if cpg == "none, but UTF-8":
        file.with_suffix(".cpg").unlink()
    elif cpg != "UTF-8":
        raw = table.read_bytes()
        for name in names:
            wide, narrow = name.encode(), name.encode("cp1252")
            raw = raw.replace(wide, narrow.ljust(len(wide)))
        table.write_bytes(raw)
        file.with_suffix(".cpg").unlink()
        if cpg:
            file.with_suffix(".cpg").write_text(cpg)
    if inside is not None:
        file = zipped(file, inside)
    assert [area.name for area in read(file, encoding=encoding)] == list(names)


def zipped(file: Path, inside: str) -> Path:
    """A zip archive of a Shapefile, in a folder of it, as macOS makes them."""
    archive = file.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as made:
        for part in sorted(file.parent.glob(f"{file.stem}.*")):
            if part != archive:
                made.write(part, inside + part.name)
                made.writestr(f"__MACOSX/{inside}._{part.name}", b"\0\5\x16\7")
    return archive


def test_text_of_a_zipped_shapefile_in_no_known_encoding_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.shp", name=np.array(["Bühl", "Straße"], object))
    table = file.with_suffix(".dbf")
    raw = bytearray(table.read_bytes().replace("ü".encode(), b"\xfc ").replace("ß".encode(), b"\xdf "))
    raw[29] = 0  # no language driver
    table.write_bytes(raw)
    file.with_suffix(".cpg").unlink()
    with pytest.raises(AreaError, match=r"a\.zip/sub/a\.dbf: its text is not UTF-8 .*; set encoding"):
        read(zipped(file, "sub/"))


def test_an_archive_without_shapefiles_is_left_to_gdal(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as made:
        made.write(write(tmp_path / "b.gpkg"), "b.gpkg")
    assert [area.name for area in read(file)] == ["P0", "P1"]
    file.write_bytes(b"no archive")
    with pytest.raises(AreaError, match=r"a\.zip: .*; name a vector file"):
        read(file)


def test_a_file_that_gdal_cannot_read_is_refused_in_plain_words(tmp_path: Path) -> None:
    for name, data in (("a.gpkg", b"no areas"), ("b.xyz", b"\0\1\2"), ("c.duckdb", b"DUCK")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AreaError) as caught:
            read(tmp_path / name)
        said = str(caught.value)
        assert said.startswith(f"{tmp_path / name}: ")
        assert ".so" not in said
        assert "adbc" not in said.lower()
        assert "driver" not in said.lower()


def test_curves_are_refused_and_others_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "a.gpkg", 2)
    with sqlite3.connect(file) as db:
        db.execute("DROP TRIGGER IF EXISTS rtree_a_geom_update1")
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f'DROP TRIGGER "{trigger}"')
        curve = shapely.to_wkb(BOXES[0])
        header = db.execute("SELECT geom FROM a WHERE fid = 1").fetchone()[0][: -len(curve)]
        broken = header + curve[:1] + (10).to_bytes(4, "little") + curve[5:]
        db.execute("UPDATE a SET geom = ? WHERE fid = 1", (broken,))
    with pytest.raises(AreaError, match=r"feature 1: area \"P0\": "):
        read(file)
    assert [area.name for area in read(file, invalid="skip")] == ["P1"]


@pytest.mark.parametrize("suffix", ["shp", "fgb", "geojsonl"])
@pytest.mark.parametrize("field", ["OGC_FID", "wkb_geometry"])
def test_a_field_may_have_the_name_that_gdal_gives_to_fids_and_geometries(
    tmp_path: Path, suffix: str, field: str
) -> None:
    """As files that were exported from databases have."""
    name = field[:10] if suffix == "shp" else field  # which dBASE cuts off
    columns: dict[str, Any] = {"name": np.array(["a", "b"], object), name: [7, 8]}
    areas = read(write(tmp_path / f"a.{suffix}", **columns))
    assert {area.name: dict(area.attributes) for area in areas} == {"a": {name: 7}, "b": {name: 8}}
    assert {area.polygon for area in areas} == {shapely.normalize(box) for box in BOXES[:2]}
