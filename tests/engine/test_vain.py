"""Runs that got nothing, or next to nothing: they say so, once, with what to do; never a success that is none."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from s2async.causes import Cause
from s2async.config.model import Config
from s2async.models import Status
from s2async.net import retries
from tests.support import worlds
from tests.support.lanes import long
from tests.support.shell import Ended, Shell
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow

# ---- the hand-out: nothing that can be read --------------------------------------------------------------


@pytest.fixture(scope="module")
def small_worlds(bug_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    subprocess.run([sys.executable, bug_cases / "_harness" / "worlds.py", folder], check=True, timeout=200)
    return folder


@contextmanager
def served(bug_cases: Path, world: Path, folder: Path, **assets: str) -> Iterator[Path]:
    """A hand-out's world at a free port, and the configuration of the cases for it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, bug_cases / "_harness" / "serve.py", world, str(port), "{}", folder / "log.jsonl"],
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith(b"ready")
        text = (bug_cases / "_harness" / "base.toml").read_text().replace("8801", str(port))
        for key, name in assets.items():
            text = text.replace(f'{key} = "{key}"', f'{key} = "{name}"')
        (folder / "base.toml").write_text(text)
        yield folder / "base.toml"
    finally:
        server.terminate()
        server.communicate()


def files_asked(folder: Path) -> list[str]:
    entries = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [entry["p"] for entry in entries if entry["p"].startswith("/files/")]


@pytest.mark.parametrize(
    ("world", "assets", "reason", "why"),
    [
        ("cdse", {"scl": "SCL_20m", "visual": "TCI_10m"}, "only as JPEG 2000", "only as JPEG 2000"),
        ("s3only", {}, "not public over https", "s3:// bucket africa-sentinel-2 is not public over https"),
    ],
)
def test_a_catalogue_of_which_nothing_can_be_read_is_the_settings_fault(
    bug_cases: Path,
    small_worlds: Path,
    tmp_path: Path,
    world: str,
    assets: dict[str, str],
    reason: str,
    why: str,
    s2: Shell,
) -> None:
    with served(bug_cases, small_worlds / world, tmp_path, **assets) as config:
        run, quiet = s2("run", config, cwd=tmp_path), s2("-q", "run", config, cwd=tmp_path)
        status = s2("status", config, cwd=tmp_path)
        told = json.loads(s2("status", config, "--json", cwd=tmp_path).out)
    assert (run.code, quiet.code, status.code) == (2, 2, 0)
    assert f"  12 missing: 12 {reason}" in run.out.splitlines()
    said = f"base.toml:3: catalog: scl and visual cannot be read in any of 6 scenes: {why}; "
    assert len([line for line in run.error.splitlines() if said in line]) == 1
    assert len(quiet.error.splitlines()) == 1
    assert said in quiet.error
    assert not quiet.out
    assert f"12 missing: 12 {reason}" in status.out.splitlines()
    assert f"12 of 12 jobs have no file that can be read: 12 {reason}; " in status.out
    assert told["reasons"]["missing"] == {told["problems"][0]["cause"]: 12}
    assert len(told["alarms"]) == 1
    assert len(told["lacking"]) == 24
    assert files_asked(tmp_path) == []


def test_files_that_are_public_by_their_alternate_address_only_are_read(
    bug_cases: Path, small_worlds: Path, tmp_path: Path, s2: Shell
) -> None:
    with served(bug_cases, small_worlds / "s3alt", tmp_path) as config:
        run, quiet = s2("run", config, cwd=tmp_path), s2("-q", "run", config, cwd=tmp_path)
    assert (run.code, quiet) == (0, Ended(0, "", ""))
    assert "  10 saved   2 cloudy" in run.out.splitlines()
    assert len(list((tmp_path / "data").rglob("*_visual.tif"))) == 10


# ---- outages ----------------------------------------------------------------------------------------------


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Ten scenes over two areas; what fails is tried again at once."""
    monkeypatch.setattr(retries, "_longest_wait", lambda _attempt: 0.0)
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(3 * number) for number in range(10)])


AREAS = {name: worlds.polygon(name) for name in ("North", "South")}


def config_of(folder: Path, stage: Stage, **sections: Any) -> Path:
    return worlds.write_config(folder, stage.sandbox, areas=AREAS, **sections)


@pytest.mark.parametrize("status", [404, 403, *long(410, 401, 400)])
def test_an_outage_of_all_files_is_said_and_the_next_run_makes_up_for_it(
    tmp_path: Path, stage: Stage, status: int, s2: Shell
) -> None:
    path = config_of(tmp_path, stage)
    stage.sandbox.fault("code", path="/cogs/", count=None, status=status)
    first = s2("-q", "run", path, cwd=tmp_path)
    assert first.code == 3
    last = first.error.splitlines()[-1]
    assert last.startswith(f"{stage.sandbox.origin} gave next to no file: 20 of 20 jobs of this run got none (20 ")
    missing = status in (404, 410)
    assert len(first.error.splitlines()) == (1 if missing else 12), "failures are told besides, up to ten"
    told = json.loads(s2("status", path, "--json", cwd=tmp_path).out)
    assert told["jobs"] == {"missing" if missing else "failed": 20}
    assert len(told["alarms"]) == 1
    stage.sandbox.clear_faults()
    assert s2("-q", "run", path, cwd=tmp_path) == Ended(0, "", "")
    assert set(worlds.statuses(Config.load(path)).values()) == {"saved"}
    assert not worlds.faults_of(Config.load(path), stage.world)


def test_files_that_are_still_away_are_asked_for_in_vain_but_not_in_silence(
    tmp_path: Path, stage: Stage, s2: Shell
) -> None:
    path = config_of(tmp_path, stage)
    stage.sandbox.fault("code", path="/cogs/", count=None, status=404)
    config, said = Config.load(path), []
    for day_passes in (False, False, False, True, True, True):
        if day_passes:
            worlds.day_passes(config)
        before = len(stage.sandbox.log())
        ended = s2("-q", "run", path, cwd=tmp_path)
        assert ended.code == 3
        (line,) = ended.error.splitlines()
        told = json.loads(s2("status", path, "--json", cwd=tmp_path).out)["alarms"]
        assert told[0].startswith("20 of 20 jobs have no file that can be read: 20 not there; ")
        when = line.partition("moved; " if "moved" in line else "not there; ")[2]
        assert told[0].endswith(f"; {when}"), "status says the same"
        asked = any(entry.kind == "cogs" for entry in stage.sandbox.log()[before:])
        said.append((asked, re.sub(r"\d\d\d\d-\S+ \S+ UTC", "DAY", when)))
    later = "runs from DAY on ask again; s2async retry --missing has the next run ask for all"
    settled = (
        "they count as settled: no run asks again until their items are updated; "
        "s2async retry --missing has the next run ask for all"
    )
    assert said == [
        (True, "the next run asks again"),
        (True, later),
        (False, later),
        (True, later),
        (True, settled),
        (False, settled),
    ]
    assert s2("retry", "--missing", path, cwd=tmp_path).out.startswith("20 jobs are open again")
    stage.sandbox.clear_faults()
    assert s2("-q", "run", path, cwd=tmp_path) == Ended(0, "", "")
    assert set(worlds.statuses(config).values()) == {"saved"}


def test_what_fails_for_good_is_not_said_to_be_asked_for_again(tmp_path: Path, stage: Stage, s2: Shell) -> None:
    """A denial is a failure that may pass: five runs try it again, and no sixth."""
    path = config_of(tmp_path, stage)
    stage.sandbox.fault("code", path="/cogs/", count=None, status=403)
    said = []
    for _ in range(7):
        before = len(stage.sandbox.log())
        ended = s2("-q", "run", path, cwd=tmp_path)
        assert ended.code == 3
        asked = any(entry.kind == "cogs" for entry in stage.sandbox.log()[before:])
        said.append((asked, "the next run asks again" in ended.error.splitlines()[-1]))
    until = [asked for asked, _ in said[1:]] + [said[-1][0]]
    assert [told for _, told in said] == until, "each says of the next one what that does"
    assert said[0] == (True, True)
    assert said[-1] == (False, False)


def test_a_few_scenes_that_are_not_there_are_no_alarm(tmp_path: Path, stage: Stage) -> None:
    """Nor is it one when the next run asks for those alone."""
    for number in range(9):
        stage.world.change(worlds.day(3 * number).id, lacks=frozenset({"visual"}))
    stage.world.write()
    ran = worlds.run(config_of(tmp_path, stage), stage.sandbox)
    assert ran.summary.done == {"missing": 18, "saved": 2}
    assert (ran.summary.alarms, ran.summary.exit_code) == ((), 0)
    again = worlds.run(config_of(tmp_path, stage), stage.sandbox)
    assert again.summary.done == {"missing": 18}
    assert (again.summary.alarms, again.summary.exit_code) == ((), 0)


def test_clouds_are_no_alarm(tmp_path: Path) -> None:
    items = [worlds.day(number, clouded=frozenset(AREAS)) for number in range(9)]
    with Stage(worlds.World(tmp_path / "world", items)) as stage:
        ran = worlds.run(config_of(tmp_path, stage), stage.sandbox)
        assert ran.summary.done == {"cloudy": 18}
        assert (ran.summary.alarms, ran.summary.exit_code) == ((), 0)


# ---- mixtures ---------------------------------------------------------------------------------------------


def test_half_only_jpeg2000_and_half_not_there(tmp_path: Path) -> None:
    items = [worlds.day(number, jp2=True) for number in range(5)]
    items += [worlds.day(number, lacks=frozenset({"scl"})) for number in range(5, 10)]
    with Stage(worlds.World(tmp_path / "world", items)) as stage:
        ran = worlds.run(config_of(tmp_path, stage), stage.sandbox)
    assert ran.summary.done == {"missing": 20}
    assert ran.summary.causes == {(Status.MISSING, Cause.JPEG2000): 10, (Status.MISSING, Cause.NOT_THERE): 10}
    (alarm,) = ran.summary.alarms
    assert alarm.text.startswith(
        "20 of 20 jobs have no file that can be read: 10 only as JPEG 2000, 10 not there; "
    )
    assert ran.summary.exit_code == 3, "some may be there by and by"


@pytest.mark.parametrize(
    ("lacks", "code", "said"),
    [
        ("key:red", 2, "assets: red is no asset of any of 10 scenes; there are: scl, visual; correct the key"),
        ("red", 3, "20 of 20 jobs are saved without red: 20 not there; "),
    ],
)
def test_an_asset_that_all_items_lack_costs_that_asset_only_and_is_said(
    tmp_path: Path, stage: Stage, lacks: str, code: int, said: str, s2: Shell
) -> None:
    for name in list(stage.world.items):
        stage.world.change(name, lacks=frozenset({lacks}))
    stage.restart()
    path = config_of(tmp_path, stage, output={"assets": ["red", "visual"]})
    run = s2("run", path, cwd=tmp_path)
    assert run.code == code
    assert "  20 saved" in run.out.splitlines()
    assert f"  saved, but without: red 20 {'no such asset' if code == 2 else 'not there'}" in run.out.splitlines()
    assert said in run.error.splitlines()[-1]
    quiet = s2("-q", "run", path, cwd=tmp_path)
    assert (quiet.code, len(quiet.error.splitlines())) == (code, 1)
    assert said in quiet.error
    config = Config.load(path)
    assert len(list(config.output.folder.rglob("*_visual.tif"))) == 20
    assert not worlds.faults_of(config, stage.world)
    status = s2("status", path, cwd=tmp_path)
    assert "saved, but without: red 20" in status.out
    stage.world.change(worlds.day(0).id, lacks=frozenset(), updated="2022-05-01T00:00:00Z")
    stage.restart()
    assert s2("-q", "run", path, cwd=tmp_path) == Ended(0, "", ""), "others do without it"


def test_an_alternate_of_an_origin_that_is_not_allowed_is_named_and_read_once_it_is(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, s2: Shell
) -> None:
    elsewhere = stage.sandbox.origin.replace("127.0.0.1", "localhost")
    plain = worlds.document

    def only_alternate(item: worlds.Item) -> dict[str, Any]:
        found = plain(item)
        for asset in found["assets"].values():
            file = asset["href"].removeprefix("{origin}")
            asset |= {"href": f"s3://bucket{file}", "alternate": {"https": {"href": f"{elsewhere}{file}"}}}
        return found

    monkeypatch.setattr(worlds, "document", only_alternate)
    stage.restart()
    path = config_of(tmp_path, stage)
    run = s2("-q", "run", path, cwd=tmp_path)
    assert (run.code, len(run.error.splitlines())) == (2, 1)
    assert f'if you trust it, add "{elsewhere}" to origins in [network]' in run.error
    assert set(worlds.statuses(Config.load(path)).values()) == {"missing"}
    assert not [entry for entry in stage.sandbox.log() if entry.kind == "cogs"], "nobody was asked"
    path = config_of(tmp_path, stage, network={"origins": [stage.sandbox.origin, elsewhere]})
    assert s2("-q", "run", path, cwd=tmp_path) == Ended(0, "", "")
    assert set(worlds.statuses(Config.load(path)).values()) == {"saved"}
