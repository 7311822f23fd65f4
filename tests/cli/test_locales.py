"""Locales whose file names are not UTF-8: names that are not ASCII are refused, all else works as anywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from s2async import files
from s2async.config.model import Config
from s2async.errors import ConfigError
from tests.support import worlds
from tests.support.lanes import long
from tests.support.worlds import Ran, Stage

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale that every system has. (Without the others, Python itself would take UTF-8.)"""
ADVICE = "use a UTF-8 locale or PYTHONUTF8=1"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="names of files are UTF-16 on Windows")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in range(0, 8, 2)])


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Ran:
    return worlds.run(worlds.write_config(tmp_path_factory.mktemp("calm"), stage.sandbox), stage.sandbox)


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The German locale of old."""
    folder = tmp_path_factory.mktemp("locales")
    localedef = shutil.which("localedef")
    made = localedef and subprocess.run(
        [localedef, "-i", "de_DE", "-f", "ISO-8859-1", folder / "de_DE.ISO-8859-1"], capture_output=True
    )
    if not made or not (folder / "de_DE.ISO-8859-1").exists():
        pytest.skip("no localedef with the sources of locales at hand")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.ISO-8859-1"}


def command(locale: Mapping[str, str], *arguments: str | Path | bytes, cwd: Path | bytes) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHONUTF8"))}
    done = subprocess.run(
        [sys.executable, "-m", "s2async", *arguments],
        cwd=cwd,
        env={**environment, **locale},
        capture_output=True,
        timeout=200,
    )
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(locale: Mapping[str, str], says: str, path: Path, stage: Stage, *before: str) -> None:
    stage.sandbox.reset()
    there = [name for name in names(path.parent) if not name.endswith(".sealed")]
    code, out, said = command(locale, *before, path.name, cwd=path.parent)
    assert (code, out, said) == (2, "", f"s2async: file names are {says} here; {ADVICE}\n")
    assert not stage.sandbox.log()
    made = [name for name in names(path.parent) if not name.endswith(("-wal", "-shm", ".sealed"))]
    assert made == there, "nothing is made"


@pytest.mark.parametrize("area", ["Поле", *long("Mühlenfeld")])
def test_an_area_whose_folder_is_not_ascii(tmp_path: Path, stage: Stage, area: str) -> None:
    path = worlds.write_config(
        tmp_path, stage.sandbox, areas={"A": worlds.polygon("North"), area: worlds.polygon("South")}
    )
    refused(ASCII, "ASCII", path, stage, "plan" if area == "Поле" else "run")


@pytest.mark.parametrize("sections", [{"output": {"folder": "Größe"}}, {"run": {"state": "Größe.sqlite"}}])
def test_a_path_of_the_settings_that_is_not_ascii(
    tmp_path: Path, stage: Stage, sections: dict[str, object]
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, **sections)  # type: ignore[arg-type]
    refused(ASCII, "ASCII", path, stage, *(("-q", "run") if "output" in sections else ("status",)))


def test_a_configuration_whose_own_path_is_not_ascii(tmp_path: Path, stage: Stage) -> None:
    folder = tmp_path / "Größe"
    path = worlds.write_config(folder, stage.sandbox)
    refused(ASCII, "ASCII", path, stage, "run")


def test_an_argument_that_is_not_ascii(tmp_path: Path) -> None:
    for arguments in (("init", "größe.toml"), ("init", "--areas", "größe.geojson"), ("run", "größe.toml")):
        code, _, said = command(ASCII, *arguments, cwd=tmp_path)
        assert (code, said) == (2, f"s2async: file names are ASCII here; {ADVICE}\n")
    assert not names(tmp_path)


@pytest.mark.parametrize("before", ["status", "verify", "rebuild"])
def test_what_a_run_in_utf_8_has_made_is_not_taken_for_gone(tmp_path: Path, stage: Stage, before: str) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas={"Mühlenfeld": worlds.polygon("North")})
    worlds.run(path, stage.sandbox)
    if before == "rebuild":
        for left in tmp_path.rglob("state.sqlite*"):
            left.unlink()
    refused(ASCII, "ASCII", path, stage, before)


def test_a_job_of_plain_names_is_the_same_in_every_locale(
    tmp_path: Path, stage: Stage, calm: Ran, latin_1: Mapping[str, str]
) -> None:
    for number, locale in enumerate((ASCII, latin_1)):
        path = worlds.write_config(tmp_path / str(number), stage.sandbox)
        for arguments in (("-v", "run"), ("status",)):
            code, out, said = command(locale, *arguments, path, cwd=tmp_path)
            assert code == 0, said
            assert out
        assert worlds.result(Config.load(path)) == worlds.result(calm.config)


@pytest.mark.parametrize(
    "area", ["Поле|Mühlenfeld", *(pytest.param(name, marks=pytest.mark.long) for name in ("Поле", "Mühlenfeld"))]
)
def test_a_locale_of_old(
    tmp_path: Path, stage: Stage, bug_cases: Path, latin_1: Mapping[str, str], area: str
) -> None:
    """Of two areas, one cannot be written there, and the other would be written otherwise than in UTF-8."""
    text = (bug_cases / "37-latin1-locale" / "c.toml").read_text("utf-8")
    path = tmp_path / "c.toml"
    head, *tables = re.split(
        r"(?m)^(?=\[\[areas\]\])", text.replace("http://127.0.0.1:8801", stage.sandbox.origin)
    )
    path.write_text(head + "".join(table for table in tables if re.search(area, table)), encoding="utf-8")
    refused(latin_1, "ISO-8859-1", path, stage, "run")
    assert command({**latin_1, "PYTHONUTF8": "1"}, "run", path, cwd=tmp_path)[0] == 0
    folders = {path.name for path in (path.parent / "data").glob("[!.]*") if path.is_dir()}
    assert folders <= {"Поле", "Mühlenfeld"}


def test_a_folder_whose_name_is_not_utf_8(tmp_path: Path, stage: Stage) -> None:
    folder = os.fsencode(tmp_path) + b"/M\xfchle"
    try:
        os.mkdir(folder)  # noqa: PTH102 - its name is no text
    except OSError:
        pytest.skip("this file system has no such names")
    shutil.copy(worlds.write_config(tmp_path, stage.sandbox), os.fsdecode(folder))
    code, out, said = command({"PYTHONUTF8": "1"}, "run", "config.toml", cwd=folder)
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"s2async: the name of .*M\\udcfchle.* is not UTF-8; rename it, or work in another folder\n", said
    )
    assert os.listdir(folder) == [b"config.toml"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("iso8859-1", "ISO-8859-1"),
        ("iso8859-15", "ISO-8859-15"),
        ("ascii", "ASCII"),
        ("koi8-r", "KOI8-R"),
        ("cp1252", "CP1252"),
    ],
)
def test_encodings_are_named_as_locales_name_them(
    monkeypatch: pytest.MonkeyPatch, encoding: str, says: str
) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    files.check_names(["plain", Path("a/b.tif")])
    with pytest.raises(ConfigError, match=f"^file names are {says} here; "):
        files.check_names(["plain", "Mühle"])


def test_in_utf_8_every_name_that_is_one_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "utf-8")
    files.check_names(["Mühle", "Поле", "🌲", Path("/a/日本")])
    with pytest.raises(ConfigError, match="is not UTF-8"):
        files.check_names(["M\udcfchle"])


def test_an_item_with_such_a_name_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    with pytest.raises(ConfigError, match=r"^file names are ASCII here; "):
        files.replace(tmp_path / "Sänger_visual.tif", b"")
    assert not names(tmp_path)
