"""Text of area files: which encoding applies, and where it is refused."""

from __future__ import annotations

import codecs
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from s2async.areas.text_files import (
    column_notices,
    dbf_encoding,
    decoded,
    known_encoding,
    read_text,
    xml_declaration,
)
from s2async.errors import AreaError

NAME = "Mühlenfeld"


@pytest.mark.parametrize(
    ("raw", "encoding", "declared", "wanted"),
    [
        (NAME.encode(), None, None, "utf-8"),
        (b"plain", None, "cp1252", "utf-8"),  # what is valid UTF-8 is UTF-8, whatever is declared
        (NAME.encode(), None, "cp1252", "utf-8"),
        (NAME.encode("utf-8-sig"), None, None, "utf-8-sig"),
        (NAME.encode("utf-8-sig"), "utf-8", None, "utf-8-sig"),
        (NAME.encode("utf-16"), None, None, "utf-16"),
        (codecs.BOM_UTF16_BE + NAME.encode("utf-16-be"), None, "utf-8", "utf-16"),
        (NAME.encode("utf-32"), None, None, "utf-32"),
        (NAME.encode("utf-16-le"), "UTF-16LE", None, "utf-16-le"),
        (NAME.encode("latin-1"), None, "ISO-8859-1", "iso8859-1"),
        (NAME.encode("latin-1"), "latin1", "utf-8", "iso8859-1"),
        (NAME.encode("cp850"), "850", None, "cp850"),
    ],
)
def test_rule(tmp_path: Path, raw: bytes, encoding: str | None, declared: str | None, wanted: str) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(raw)
    read = read_text(file, encoding, declared)
    assert (read.text, read.encoding, read.notices) == ("plain" if raw == b"plain" else NAME, wanted, ())


def test_a_setting_wins_even_where_the_bytes_are_utf_8() -> None:
    assert decoded(NAME.encode(), "a", "latin-1").text == "MÃ¼hlenfeld"


characters = st.characters(min_codepoint=1, exclude_categories=["Cs"])


@given(text=st.text(characters), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_unicode_is_read_as_it_was_written(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding), "a").text == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("raw", "encoding", "declared", "place", "says"),
    [
        (
            b"a\nb\nM\xfchle",
            None,
            None,
            "a.csv:3: ",
            "not UTF-8 (byte 0xfc); save the file as UTF-8, or set encoding",
        ),
        (b"a\nM\x81hle", "cp1252", None, "a.csv:2: ", "not cp1252 (byte 0x81)"),
        (b"a\nM\xfchle", None, "ascii", "a.csv:2: ", "not ascii"),
        (b"a", "latin-x", None, "encoding: ", '"latin-x" is not a known encoding; write one such as'),
        (b"a", "base64", None, "encoding: ", "is not a known encoding"),
        (b"a", "a\0b", None, "encoding: ", "is not a known encoding"),
        (b"M\xfchle", None, "nonsense", "a.csv: its declared encoding: ", '"nonsense" is not a known'),
        ("name,wkt".encode("utf-16-le"), None, None, "a.csv: ", 'set encoding = "utf-16-le"'),
        ("name,wkt".encode("utf-16-be"), None, None, "a.csv: ", 'set encoding = "utf-16-be"'),
        (b"abc", "utf-16-le", None, "a.csv:1: ", "not utf-16-le"),
    ],
)
def test_refusals_say_where_and_what_to_do(
    raw: bytes, encoding: str | None, declared: str | None, place: str, says: str
) -> None:
    with pytest.raises(AreaError) as caught:
        decoded(raw, "a.csv", encoding, declared)
    line = str(caught.value)
    assert line.startswith(place), line
    assert says in line
    assert line.isprintable()


def test_control_characters_are_told() -> None:
    read = decoded("name\ttab\r\nM\x81hle\x07".encode(), "a.csv")
    (notice,) = read.notices
    assert notice.text.startswith("a.csv:2: 2 control characters, the first (U+0081); ")
    (notice,) = decoded("a\ufffdb".encode(), "a.csv").notices
    assert "(U+FFFD)" in notice.text


def test_each_odd_character_of_utf_8_is_told_and_no_other() -> None:
    for code in (*range(0x800), 0x2028, 0xFFFC, 0xFFFD, 0xFFFE, 0x1F33E):
        is_odd = chr(code) not in "\t\n\r" and (code < 0x20 or 0x7F <= code < 0xA0 or code == 0xFFFD)
        raw = f"a\t{NAME}\r\n{chr(code)}".encode()
        assert len(decoded(raw, "a.csv").notices) == is_odd, f"U+{code:04X}"


def test_control_characters_of_columns_are_told_once() -> None:
    columns: dict[str, list[Any]] = {
        "crop": ["rye", None, 3, "a\x96b", "a\x96b"],
        "note": ["two\nlines\tü", "-", None, None, None],
    }
    (notice,) = column_notices(columns, "a.shp")
    assert notice.text.startswith('a.shp: feature 4: column "crop" has a control character (U+0096); ')


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AreaError, match=r"none\.csv: cannot be read \(No such file.*\); name a readable file"):
        read_text(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("UTF-8", "utf-8"),
        ("ANSI 1252", "cp1252"),
        ("1252", "cp1252"),
        ("OEM 850", "cp850"),
        ("88591", "iso8859-1"),
        ("885915", "iso8859-15"),
        ("8859-2", "iso8859-2"),
        ("ISO 8859-2", "iso8859-2"),
        ("65001", "utf-8"),
        ("Big5", "big5"),
    ],
)
def test_names_of_encodings_in_cpg_files(name: str, wanted: str) -> None:
    assert known_encoding(name, "a.cpg") == wanted


def test_declaration_of_xml() -> None:
    assert xml_declaration(b"<?xml version='1.0' encoding='ISO-8859-1'?><kml/>") == "ISO-8859-1"
    assert xml_declaration(b'\n<?xml version="1.0"?><kml encoding="x"/>') is None


# ---- tables of Shapefiles -----------------------------------------------------------------------------------


def shapefile(folder: Path, encoding: str, cpg: str | None, driver: int = 0) -> Path:
    """A Shapefile whose attributes are in an encoding that its .cpg or language driver may state."""
    file = folder / "a.shp"
    pyogrio.raw.write(
        file,
        shapely.to_wkb(np.array([shapely.box(13, 52, 14, 53)] * 2)),
        [np.array(["Rübe" if encoding != "ascii" else "Kohl", "Kohl"], object), np.arange(2)],
        ["crop", "number"],
        geometry_type="Polygon",
        crs="EPSG:4326",
        encoding=encoding,
    )
    file.with_suffix(".cpg").unlink(missing_ok=True)
    if cpg is not None:
        file.with_suffix(".cpg").write_text(cpg)
    table = bytearray(file.with_suffix(".dbf").read_bytes())
    table[29] = driver
    file.with_suffix(".dbf").write_bytes(table)
    return file


@pytest.mark.parametrize(
    ("encoding", "cpg", "driver", "wanted"),
    [
        ("utf-8", None, 0, "utf-8"),
        ("utf-8", "ISO-8859-1", 87, "utf-8"),
        ("ascii", "ISO-8859-1", 0, "utf-8"),
        ("iso-8859-1", "ISO-8859-1\n", 0, "iso8859-1"),
        ("cp1252", "ANSI 1252", 38, "cp1252"),
        ("cp1252", None, 3, "cp1252"),
        ("cp850", None, 2, "cp850"),
    ],
)
def test_attributes_of_shapefiles(
    tmp_path: Path, encoding: str, cpg: str | None, driver: int, wanted: str
) -> None:
    file = shapefile(tmp_path, encoding, cpg, driver)
    assert dbf_encoding(tmp_path, file.stem) == wanted
    _, _, _, (crops, _) = pyogrio.raw.read(file, encoding=wanted)
    assert list(crops) == ["Rübe" if encoding != "ascii" else "Kohl", "Kohl"]


def test_attributes_in_no_known_encoding_are_refused(tmp_path: Path) -> None:
    file = shapefile(tmp_path, "cp1252", None)
    with pytest.raises(AreaError, match=r'a\.dbf: its text is not UTF-8 \(such as "Rübe".*set encoding'):
        dbf_encoding(tmp_path, "a")
    assert dbf_encoding(tmp_path, "a", "cp1252") == "cp1252"
    file.with_suffix(".CPG").write_text("nothing known")
    with pytest.raises(AreaError, match=r'a\.CPG: "nothing known" is not a known encoding'):
        dbf_encoding(tmp_path, "a")


def test_a_damaged_or_missing_table_is_left_to_its_reader(tmp_path: Path) -> None:
    assert dbf_encoding(tmp_path, "none") == "utf-8"
    (tmp_path / "a.dbf").write_bytes(b"\x03")
    assert dbf_encoding(tmp_path, "a") == "utf-8"
    (tmp_path / "a.dbf").write_bytes(b"\x03\0\0\0" + struct.pack("<IHH", 9, 65, 0) + b"\xff" * 60)
    dbf_encoding(tmp_path, "a", "utf-8")
