"""Lines of keys, and text that is fit for one line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.config.toml import Key, key_lines, read
from s2async.errors import ConfigError

TEXT = '''# [not] = "a table"
areas = "x" # "y = 1"
a.b = 3.5
"q.z" = [
 1, # ]
 2]
m = """
[no]
k = 1 \\""" """
l = \'\'\'
[[no]]\'\'\'
[s]
c = { url = "x", b = [1,
2] }
d=1
[ s . 'e' ]
f = 2022-01-01T00:00:00Z
[[areas]]
name = 'a'
[areas.sub]
z = 3
[[areas]]
name = "a = b"
'''


def test_lines_of_every_kind_of_key() -> None:
    assert key_lines(TEXT) == {
        ("areas",): 2,
        ("a",): 3,
        ("a", "b"): 3,
        ("q.z",): 4,
        ("m",): 7,
        ("l",): 10,
        ("s",): 12,
        ("s", "c"): 13,
        ("s", "d"): 15,
        ("s", "e"): 16,
        ("s", "e", "f"): 17,
        ("areas", 0): 18,
        ("areas", 0, "name"): 19,
        ("areas", 0, "sub"): 20,
        ("areas", 0, "sub", "z"): 21,
        ("areas", 1): 22,
        ("areas", 1, "name"): 23,
    }


def test_place_falls_back_to_the_table_around(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(TEXT.replace('areas = "x"', 'other = "x"'))
    found = read(file)
    assert found.place(("s", "c", "url")) == f"{file}:13"
    assert found.place(("areas", 1, "name")) == f"{file}:23"
    assert found.place(("nothing",)) == found.place() == str(file)


values = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(
        ["true", "1.5", "[1, 2]", "[\n  1, # x = 2 ]\n  '[a]',\n]", "{ x = 1, y = [2] }", "'[a] = 1'"]
    ),
    st.sampled_from(['"a \\" = 1 # b"', '"""\n[a]\nb = 1 ""\\"\n"""', "'''\nx = '1'\n'''", '""', "'' # x = 1"]),
)


@given(st.lists(st.tuples(st.sampled_from(["", "t", "u"]), values, st.integers(0, 2)), max_size=8))
def test_lines_are_those_where_keys_were_written(entries: list[tuple[str, str, int]]) -> None:
    text, tables = "", 0
    wanted: dict[Key, int] = {}
    table: Key = ()
    for number, (header, value, blank) in enumerate(entries):
        if header:
            table = ("u", tables) if header == "u" else (f"t{number}",)
            tables += header == "u"
            wanted[table] = text.count("\n") + 1
            text += "[[u]]\n" if header == "u" else f"[t{number}]\n"
        text += "# [c]\n" * blank
        wanted[(*table, f"k{number}")] = text.count("\n") + 1
        text += f"k{number} = {value}\n"
    tomllib.loads(text)
    assert key_lines(text) == wanted


@given(text=st.one_of(st.text(), st.text("ab=[]{}\"'#.,\\\n 1", max_size=20)))
def test_any_file_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read(file)
    except ConfigError as error:
        said = str(error)
        assert said.isprintable(), said
        assert said.startswith(f"{file}:"), said
    else:
        assert {key[0] for key in found.lines} == set(found.data)


# ---- Windows paths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        r'areas = "C:\Users\anna\fields.geojson"',
        r'areas = "C:\data\fields.geojson"',
        r'areas = "\\server\gis\fields.geojson"',
        r'areas = "C:\UDDDDDDDD\fields.geojson"',
        'areas = "C:\\"',
    ],
)
def test_a_windows_path_in_double_quotes_is_told_what_to_write(tmp_path: Path, line: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"# fields\n{line}\n[search]\n")
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}:2: not TOML: a backslash in double quotes is an escape; write C:/Users/... or single quotes"
    )


@pytest.mark.parametrize(
    "line", [r"areas = 'C:\Users\anna\fields.geojson'", 'areas = "C:/Users/anna/fields.geojson"']
)
def test_a_windows_path_in_either_advised_form_is_read(tmp_path: Path, line: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(line)
    assert read(path).data["areas"].replace("\\", "/") == "C:/Users/anna/fields.geojson"


def test_another_fault_on_a_line_with_an_escape_is_not_taken_for_a_path(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(r'areas = "a\tb" c')
    with pytest.raises(ConfigError, match="correct this line"):
        read(path)
