"""Folder names: safe everywhere, short, and one for each area whatever the order."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.areas.folder_names import folder_name, folder_names

HASHED = re.compile(r".+-[0-9a-f]{10}")
names = st.one_of(
    st.text(min_size=1, max_size=120),
    st.text("aAbB ._-/\\é\u0301e\u00e9ß\u017fs\u202e:", min_size=1, max_size=5),
    st.sampled_from(["con", "CON ", "nul.txt", "COM1.a.b", "..", ".", "state.sqlite", "Overview.CSV", "a.lock"]),
)


def folded(folder: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", folder).casefold())


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Tiergarten", "Tiergarten"),
        ("Park am Gleisdreieck", "Park_am_Gleisdreieck"),
        ("Gärten der Welt", "Gärten_der_Welt"),
        ("Ga\u0308rten", "Gärten"),
        ("上野公園 1", "上野公園_1"),
        ("नमस्ते", "नमस्ते"),
        ("حديقة", "حديقة"),
        ("St.-Pauli_2.b", "St.-Pauli_2.b"),
        ("St. Partick", "St._Partick"),
        ("x" * 80, "x" * 80),
        ("é" * 40, "é" * 40),
        ("con2", "con2"),
    ],
)
def test_safe_names_keep_their_look(name: str, folder: str) -> None:
    assert folder_name(name) == folder


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("St. James's Park", "St._James_s_Park"),
        ("a/b", "a_b"),
        ("..\\..\\etc", "etc"),
        ("..", "area"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("a.", "a"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("COM¹", "_COM¹"),
        ("state.sqlite", "state.sqlite"),
        ("overview.CSV", "overview.CSV"),
        ("a\nb\x00c", "a_b_c"),
        ("\u202eabc", "abc"),
        ("\U0001f3de" * 70, "area"),
        ("x" * 81, "x" * 69),
        ("é" * 200, "é" * 34),
        ("\u0301a", "_\u0301a"),
        ("a:b", "a_b"),
        ("~", "area"),
    ],
)
def test_unsafe_names_get_a_hash(name: str, stem: str) -> None:
    folder = folder_name(name)
    assert HASHED.fullmatch(folder)
    assert folder[:-11] == stem


@given(names)
def test_every_name_becomes_a_safe_short_folder(name: str) -> None:
    folder = folder_name(name)
    assert folder
    assert len(folder.encode()) <= 80
    assert unicodedata.is_normalized("NFC", folder)
    assert folder[0] not in "-. "
    assert folder[-1] not in ". "
    for char in folder:
        assert char in "-_." or unicodedata.category(char)[0] in "LMN", char
    device = unicodedata.normalize("NFKC", folder).casefold().split(".")[0]
    assert not re.fullmatch(r"con|prn|aux|nul|com[0-9]|lpt[0-9]", device)
    assert not folder.casefold().endswith((".sqlite", ".csv", ".lock", ".part", ".html", "-wal.sqlite"))
    assert folder_name(folder) == folder, "a folder is a safe name itself"


@given(st.lists(names, unique=True, max_size=12), st.randoms())
def test_folders_are_distinct_and_do_not_depend_on_order(several: list[str], random: object) -> None:
    folders = folder_names(several, taken=["jobs"])
    assert list(folders) == several
    assert len({folded(folder) for folder in folders.values()} | {"jobs"}) == len(several) + 1
    shuffled = list(several)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert folder_names(shuffled, taken=["jobs"]) == folders
    for name, folder in folders.items():
        assert folder == folder_name(name) or HASHED.fullmatch(folder)


def test_a_hash_only_where_folders_clash() -> None:
    folders = folder_names(["Park", "park", "Parks", "\u00e9", "e\u0301", "a b", "a_b", "jobs"], taken=["Jobs"])
    assert {name for name, folder in folders.items() if HASHED.fullmatch(folder)} == set(folders) - {"Parks"}
    assert folders["Parks"] == "Parks"


def test_a_name_that_looks_like_a_hashed_one() -> None:
    """The folder of an unsafe name may be a safe name itself: then that one gives way too."""
    folders = folder_names(["a/b", folder_name("a/b")])
    assert len(set(folders.values())) == 2
    assert folders["a/b"] == folder_name("a/b")
