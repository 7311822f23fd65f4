"""Areas that were edited after the last run: told by status and by the report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import shapely
from click.testing import CliRunner

from s2async.areas import loader as area_files
from s2async.cli import outdated
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.state.reader import Ledger
from s2async.state.writer import State
from tests.support.pages import Page
from tests.support.states import start

SQUARES = {name: shapely.box(13 + lon, 52, 13.01 + lon, 52.01).wkt for lon, name in enumerate("abc")}


def write(folder: Path, names: str, crop: str = "rye") -> Path:
    rows = [f'{name},{crop},"{SQUARES[name]}"' for name in names]
    (folder / "a.csv").write_text("\n".join(["name,crop,wkt", *rows]))
    return folder / "a.csv"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration whose run is over."""
    write(tmp_path, "ab")
    path = tmp_path / "config.toml"
    path.write_text('areas = "a.csv"\n')
    config = Config.load(path)
    config.output.folder.mkdir()
    with State.create_or_open(config.run.state) as state:
        start(state, area_files.load(config))
    return path


def told(path: Path) -> str:
    config = Config.load(path)
    with Ledger.read(config.run.state) as state:
        return outdated.changed(config, state)


def test_areas_of_the_last_run_are_no_news(path: Path) -> None:
    assert not told(path)
    write(path.parent, "ba")
    assert not told(path), "another order"
    (path.parent / "a.csv").unlink()
    assert not told(path), "the state has them"


@pytest.mark.parametrize(("names", "crop"), [("abc", "rye"), ("a", "rye"), ("ac", "rye"), ("ab", "oats")])
def test_other_areas_and_other_columns_are_told(path: Path, names: str, crop: str) -> None:
    write(path.parent, names, crop)
    assert told(path) == outdated.CHANGED


def test_areas_that_cannot_be_used_any_more_are_told_in_one_line(path: Path) -> None:
    (path.parent / "a.csv").write_text("name,wkt\na,POINT EMPTY\nb,POINT EMPTY\n")
    text = told(path)
    assert "have changed since the last run, and cannot be used: " in text
    assert "2 of 2 areas cannot be used" in text
    assert "\n" not in text


def test_files_that_are_older_than_the_run_are_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path.parent, "abc")
    monkeypatch.setattr(outdated, "_times", lambda _: (0.0,))
    assert not told(path)


def test_an_older_file_that_replaces_the_newer_one_is_noticed(path: Path) -> None:
    file = write(path.parent, "abc")
    os.utime(file, (0, 0))
    os.utime(path, (0, 0))
    assert told(path) == outdated.CHANGED


def test_status_and_the_report_tell(path: Path) -> None:
    def command(*arguments: str) -> str:
        done = CliRunner().invoke(cli, [*arguments, str(path)], standalone_mode=False)
        assert done.exception is None
        return done.output

    assert outdated.CHANGED not in command("status")
    assert json.loads(command("status", "--json"))["areas_changed"] == ""
    write(path.parent, "abc")
    assert outdated.CHANGED in command("status").splitlines()
    assert json.loads(command("status", "--json"))["areas_changed"] == outdated.CHANGED
    assert outdated.CHANGED in command("report", "--offline")
    assert outdated.CHANGED in Page.read(path.parent / "data" / "report.html").text
