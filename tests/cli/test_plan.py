"""The command plan, and the question before a large run."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from shapely import box

from s2async.areas import loader as area_files
from s2async.cli import consent
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.engine.limits import NO_LIMITS, RunLimits
from s2async.errors import ConfigError
from tests.support import worlds
from tests.support.shell import on_terminal
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"))


def command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def ahead(path: Path, limits: RunLimits = NO_LIMITS) -> float:
    config = Config.load(path)
    return consent.bytes_ahead(config, area_files.load(config), limits)


# ---- plan -------------------------------------------------------------------------------------------------


def test_the_command_tells_a_plan_and_writes_nothing(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    ended = command("plan", path)
    assert ended.return_value == 0, ended.output
    assert "66 jobs: 6 areas in 11 scenes" in ended.stdout
    assert "with 8 connections and 100 Mbit/s" in ended.stdout
    assert "Beyond: no crop can be kept: no scene holds more than 0% of it" in ended.stdout
    assert "no cloud cover, kept" in ended.stderr
    assert "no cloud cover" not in command("-q", "plan", path).output
    assert {found.name for found in tmp_path.iterdir()} == {"config.toml"}


def test_a_plan_as_json(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    told = json.loads(command("plan", path, "--json", "--bandwidth", 1000, "--connections", 3).stdout)
    assert (told["jobs"], told["answered"], told["connections"], told["megabits"]) == (66, 0, 3, 1000)
    assert [area["name"] for area in told["areas"]] == list(worlds.SHAPES)
    assert sum(area["jobs"] for area in told["areas"]) == 66
    assert sum(sum(area["months"].values()) for area in told["areas"]) == 66
    for name in ("kept", "requests", "bytes", "disk", "seconds", "whole_files"):
        low, high = told[name]
        assert 0 < low <= high
    assert [search["complete"] for search in told["searches"]] == [True]


def test_a_plan_that_is_not_whole_exits_with_3(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.fault("code", path="search", count=None, status=400)
    try:
        ended = command("plan", path)
    finally:
        stage.sandbox.clear_faults()
    assert ended.return_value == 3
    assert re.fullmatch(
        r"no plan: a search is incomplete: North and 5 more, .*: the server answers 400.*\n", ended.stdout
    )


@pytest.fixture
def unreachable(tmp_path: Path, stage: Stage) -> Iterator[Path]:
    """A config of a catalogue at a port where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{bound.getsockname()[1]}"
        catalog = {"url": f"{origin}/v1", "collection": "sentinel-2-l2a", "assets": {"scl": "scl"}}
        network = {"origins": [origin], "patience": 1}
        yield worlds.write_config(tmp_path, stage.sandbox, search={"catalog": catalog}, network=network)


def test_a_plan_without_network_says_so_in_one_line_and_shows_no_number(unreachable: Path) -> None:
    ended = command("plan", unreachable)
    assert ended.return_value == 3
    (line,) = ended.stdout.splitlines()
    assert line.startswith("no plan without the network: ")
    assert "127.0.0.1" in line
    assert all("does not answer: it is asked again" in told for told in ended.stderr.splitlines())


def test_a_plan_without_network_has_no_numbers_in_json(unreachable: Path) -> None:
    ended = command("plan", unreachable, "--json")
    assert ended.return_value == 3
    told = json.loads(ended.stdout)
    for name in ("scenes", "jobs", "answered", "kept", "requests", "bytes", "disk", "seconds", "whole_files"):
        assert told[name] is None
    assert told["areas"] == []
    assert [search["complete"] for search in told["searches"]] == [False]


# ---- the question -----------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, stage: Stage) -> Path:
    """A config of a run that is larger than its user likes."""
    return worlds.write_config(tmp_path, stage.sandbox, run={"confirm_above": "1 kB"})


def test_a_small_run_is_not_asked_for(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click, "confirm", None)
    assert command("run", worlds.write_config(tmp_path, stage.sandbox), "--limit", 1).return_value == 0


def test_without_a_terminal_a_large_run_is_refused_in_one_line(large: Path, stage: Stage) -> None:
    stage.sandbox.reset()
    ended = command("run", large)
    assert isinstance(ended.exception, ConfigError)
    assert re.fullmatch(
        r"this run may read about [\d.]+ MB, more than confirm_above in \[run\] \(1.0 kB\); "
        r"s2async plan gives a better estimate; add --yes to go on",
        str(ended.exception),
    )
    assert ended.exception.exit_code == 2
    assert stage.sandbox.log() == []
    assert {path.name for path in large.parent.iterdir()} == {"config.toml"}
    assert command("run", large, "--yes").return_value == 0


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_asks(large: Path, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    asked = on_terminal(monkeypatch, answer=answer)
    config = Config.load(large)
    if answer:
        consent.large_run(config, area_files.load(config), limits=NO_LIMITS, yes=False)
    else:
        with pytest.raises(ConfigError, match="nothing was read"):
            consent.large_run(config, area_files.load(config), limits=NO_LIMITS, yes=False)
    assert len(asked) == 1
    assert asked[0].endswith("better estimate. Go on?")


def test_the_guess_grows_with_areas_and_days(tmp_path: Path, stage: Stage) -> None:
    def of(name: str, interval: str, count: int) -> float:
        areas = {f"a{i}": box(i, 50.0, i + 0.01, 50.01) for i in range(count)}
        path = worlds.write_config(tmp_path, stage.sandbox, areas=areas, name=name, search={"datetime": interval})
        return ahead(path)

    year = of("year", "2022-01-01/2022-12-31", 3)
    assert of("month", "2022-01-01/2022-01-31", 3) == pytest.approx(year * 31 / 365)
    assert of("more", "2022-01-01/2022-12-31", 9) == pytest.approx(3 * year, rel=0.3)  # some touch two tiles
    assert of("future", "2099-01-01/..", 3) == 0


def test_what_was_found_and_answered_before_is_not_asked_for_again(large: Path, stage: Stage) -> None:
    """Or cron would be refused each night, once a backfill is done."""
    whole = ahead(large)
    assert ahead(large, RunLimits(jobs=1)) < whole / 5
    assert ahead(large, RunLimits(bytes=1000)) == 1000
    assert command("run", large, "--yes", "--limit", 20).return_value == 0
    assert whole <= ahead(large) < 1.5 * whole, "its searches were not complete"
    assert command("run", large, "--yes").return_value == 0
    assert ahead(large) == 0
    assert command("run", large).return_value == 0
    text = large.read_text().replace("2022-01-01/2022-03-31", "2022-01-01/2022-06-30")
    large.write_text(text)
    assert ahead(large) == pytest.approx(whole * 91 / 90, rel=0.01)


def test_values_are_ahead_of_a_run_as_their_bands_are(tmp_path: Path, stage: Stage) -> None:
    def of(name: str, assets: list[str], **values: object) -> float:
        settings: dict[str, Any] = {"values": values} if values else {}
        path = worlds.write_config(tmp_path, stage.sandbox, name=name, output={"assets": assets}, **settings)
        return ahead(path)

    plain, red = of("plain", []), of("red", ["red"])
    strict = of("strict", [], bands=["red"], indices=[], max_area_cloud=0)
    lax = of("lax", ["red"], bands=["red"], indices=[], max_area_cloud=80)
    assert plain < strict < red < lax, "where one item of an overpass counts, less is read"
    assert lax < 2 * red


def test_only_days_in_a_season_are_ahead(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, run={"confirm_above": "1 KiB"})
    config = Config.load(path)
    areas = area_files.load(config)
    whole = consent.bytes_ahead(config, areas)  # of January to March
    assert whole > 1e6
    for start, end, part in (
        (date(2022, 1, 1), date(2022, 1, 9), 0.1),
        (date(2021, 1, 1), date(2022, 1, 9), 0.1),
        (date(2022, 3, 23), None, 0.1),
        (date(2022, 1, 1), date(2022, 3, 31), 1),
        (None, date(2021, 12, 31), 0),
        (date(2022, 4, 1), None, 0),
    ):
        some = [replace(area, start=start, end=end) for area in areas]
        assert consent.bytes_ahead(config, some) == pytest.approx(whole * part)
