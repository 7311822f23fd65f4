"""Whose a folder and a state are: what belongs to others is refused, what has no owner is adopted with care."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from shapely import Polygon

import s2async
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.errors import ConfigError, LocalError
from s2async.events import Notice
from s2async.maintenance import owners
from s2async.state import database
from s2async.state.reader import Ledger
from s2async.state.writer import State
from tests.support import worlds
from tests.support.worlds import SHAPES, Ran, Stage

pytestmark = pytest.mark.slow

ITEMS = [worlds.day(0), worlds.day(4, clouded=frozenset({"North"}))]
NORTH = {"North": worlds.polygon("North")}
MOVED = {"North": worlds.lonlat([(x + 300, y + 100) for x, y in SHAPES["North"]])}
COMMANDS = (
    ("status",),
    ("verify",),
    ("prune",),
    ("retry",),
    ("report",),
    ("plan",),
    ("export", "--format", "csv"),
    ("run",),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), ITEMS)


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def write(folder: Path, stage: Stage, name: str, areas: dict[str, Polygon] | None = None, **more: Any) -> Path:
    """A config beside others, whose state is one of its own, and whose folder is shared by all."""
    sections: dict[str, Any] = {"output": {"folder": "shared"}, "run": {"state": f"shared/{name}.sqlite"}}
    return worlds.write_config(folder, stage.sandbox, name=name, areas=areas or NORTH, **sections | more)


def crops(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.tif"))}


def notices(ran: Ran) -> list[str]:
    return [event.text for event in ran.events if isinstance(event, Notice)]


def refusal(path: Path, *command: str) -> str:
    """The one line by which a command is refused."""
    name, *options = command or ("run",)
    error = ask(name, path, *options).exception
    assert isinstance(error, ConfigError), error
    assert error.exit_code == 2
    assert "\n" not in str(error)
    return str(error)


# ---- a folder and its state -------------------------------------------------------------------------------


def test_a_folder_of_another_state_is_refused_by_every_command(tmp_path: Path, stage: Stage) -> None:
    full, core = write(tmp_path, stage, "full"), write(tmp_path, stage, "core", MOVED)
    config = worlds.run(full, stage.sandbox).config
    before = crops(tmp_path / "shared")
    assert before
    for command in COMMANDS:
        text = refusal(core, *command)
        assert text.startswith(f"the output folder {tmp_path}/shared belongs to another state, ")
        assert f"{config.run.state}: name a folder and a state of its own" in text
    with pytest.raises(ConfigError, match="belongs to another state"):
        next(s2async.read(core))
    assert not (tmp_path / "shared" / "core.sqlite").exists()
    assert crops(tmp_path / "shared") == before
    assert not worlds.run(full, stage.sandbox).cogs
    assert ask("verify", full).return_value == 0


def test_a_state_that_was_there_before_is_refused_as_well(tmp_path: Path, stage: Stage) -> None:
    """Both have run: the folder of one of them was named in the other's configuration later."""
    full, core = write(tmp_path, stage, "full"), write(tmp_path, stage, "core", MOVED, output={"folder": "own"})
    worlds.run(core, stage.sandbox)
    worlds.run(full, stage.sandbox)
    core = write(tmp_path, stage, "core", MOVED)
    before = crops(tmp_path / "shared")
    for command in COMMANDS:
        assert "belongs to another state" in refusal(core, *command)
    with pytest.raises(ConfigError, match="belongs to another state"):
        next(s2async.read(core))
    assert crops(tmp_path / "shared") == before


def test_the_mark_of_another_folder_is_that_of_another_state(tmp_path: Path, stage: Stage) -> None:
    """As when a whole folder is copied over another one: both states lie at the same place in it."""
    one, two = (worlds.write_config(tmp_path / name, stage.sandbox, areas=NORTH) for name in ("one", "two"))
    for path in (one, two):
        worlds.run(path, stage.sandbox)
    shutil.copy(tmp_path / "one/config-data" / owners.NAME, tmp_path / "two/config-data")
    for command in COMMANDS:
        assert "belongs to another state than the one at" in refusal(two, *command)
    assert ask("verify", one).return_value == 0


def test_a_rebuild_takes_no_folder_from_a_state_that_is_there(tmp_path: Path, stage: Stage) -> None:
    full, core = write(tmp_path, stage, "full"), write(tmp_path, stage, "core", MOVED)
    state = worlds.run(full, stage.sandbox).config.run.state
    assert f"belongs to the state {state}, which exists" in refusal(core, "rebuild")
    assert not (tmp_path / "shared" / "core.sqlite").exists()
    for left in state.parent.glob("full.sqlite*"):
        left.unlink()
    assert f"if that is lost, run s2async rebuild {core}" in refusal(core, "status")
    made = ask("rebuild", core)
    assert made.exception is None
    assert "is a crop of another outline" in made.output
    ran = worlds.run(core, stage.sandbox)
    assert ran.summary.clean
    (told,) = notices(ran)
    assert told.startswith("files that were there before were overwritten: 1 of another outline; the first: ")
    assert not worlds.faults_of(ran.config, stage.world)
    assert "belongs to another state" in refusal(full)


def test_a_rebuild_marks_the_folder_anew(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    config = worlds.run(path, stage.sandbox).config
    old = owners.read(config.output.folder)
    config.run.state.unlink()
    assert ask("rebuild", path).exception is None
    new = owners.read(config.output.folder)
    with Ledger.read(config.run.state) as state:
        assert new == owners.Mark(state=state.id, path="state.sqlite") != old
        assert state.configuration() == "../config.toml"
        assert state.output() == config.output.folder
    ran = worlds.run(path, stage.sandbox)
    assert not ran.cogs or all("SCL" in entry.path for entry in ran.cogs)
    assert notices(ran) == []


def test_a_rebuild_that_is_killed_at_the_mark_can_be_repeated(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    config = worlds.run(path, stage.sandbox).config
    config.run.state.write_bytes(b"damaged")

    def killed(_: Path) -> Path:
        raise LocalError("killed between the mark and the state")

    with monkeypatch.context() as patch:
        patch.setattr(database, "move_aside", killed)
        assert isinstance(ask("rebuild", path).exception, LocalError)
    assert config.run.state.read_bytes() == b"damaged"
    assert ask("rebuild", path).exception is None
    assert worlds.run(path, stage.sandbox).summary.clean


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 9000,
        b"null",
        b'{"format": 1}',
        b'{"format": 1, "state": "UPPER", "path": "x"}',
        b'{"format": 1, "state": 7, "path": "x"}',
        b'{"format": 1, "state": "0123abcd", "path": "a\\u0000b"}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_mark_is_one_clear_line(tmp_path: Path, stage: Stage, data: bytes) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    worlds.run(path, stage.sandbox)
    mark = tmp_path / "config-data" / owners.NAME
    mark.write_bytes(data)
    for command in (("run",), ("status",), ("verify",)):
        text = refusal(path, *command)
        assert text.startswith(f"{mark}, the mark of the state that the folder belongs to, is damaged: remove it")
    assert mark.read_bytes() == data
    mark.unlink()
    assert not worlds.run(path, stage.sandbox).cogs
    assert owners.read(tmp_path / "config-data") is not None


def test_a_mark_of_a_newer_version_and_one_that_cannot_be_read(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    worlds.run(path, stage.sandbox)
    mark = tmp_path / "config-data" / owners.NAME
    mark.write_text(json.dumps({"format": 2, "owner": {}}))
    assert "newer version of the program: update this one" in refusal(path)
    mark.unlink()
    mark.mkdir()
    error = ask("run", path).exception
    assert isinstance(error, LocalError)
    assert str(mark) in str(error)


# ---- folders without an owner -----------------------------------------------------------------------------


def test_a_folder_without_a_mark_is_adopted(tmp_path: Path, stage: Stage) -> None:
    """As of the runs of older versions."""
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    worlds.run(path, stage.sandbox)
    mark = tmp_path / "config-data" / owners.NAME
    data = mark.read_bytes()
    mark.unlink()
    for command in COMMANDS[:-1]:
        assert ask(*command[:1], path, *command[1:]).exception is None
        assert not mark.exists(), "who only looks marks nothing"
    ran = worlds.run(path, stage.sandbox)
    assert mark.read_bytes() == data
    assert not ran.cogs
    assert notices(ran) == []


@pytest.mark.parametrize("what", ["outline", "mask"])
def test_one_with_other_crops_is_not(tmp_path: Path, stage: Stage, what: str) -> None:
    full = write(tmp_path, stage, "full")
    worlds.run(full, stage.sandbox)
    (tmp_path / "shared" / owners.NAME).unlink()
    before = crops(tmp_path / "shared")
    more: dict[str, Any] = {"output": {"folder": "shared", "mask": what != "mask"}}
    core = write(tmp_path, stage, "core", MOVED if what == "outline" else NORTH, **more)
    text = refusal(core)
    assert text.startswith(f"{tmp_path}/shared/{min(before)} is a crop of another {what} than this job's")
    assert crops(tmp_path / "shared") == before
    assert not (tmp_path / "shared" / owners.NAME).exists()
    assert not (tmp_path / "shared" / "core.sqlite").exists()
    assert not worlds.run(full, stage.sandbox).cogs, "those that the state knows may be what they are"


def test_crops_of_other_areas_are_no_reason(tmp_path: Path, stage: Stage) -> None:
    worlds.run(write(tmp_path, stage, "full"), stage.sandbox)
    (tmp_path / "shared" / owners.NAME).unlink()
    before = crops(tmp_path / "shared")
    other = {"Elsewhere": MOVED["North"]}
    ran = worlds.run(write(tmp_path, stage, "core", other), stage.sandbox)
    assert notices(ran) == [f"{tmp_path}/shared/overview.csv existed before: every run overwrites it"]
    assert before.items() < crops(tmp_path / "shared").items()


def test_of_two_runs_that_begin_at_once_one_gets_the_folder(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, core = write(tmp_path, stage, "full"), write(tmp_path, stage, "core", MOVED)
    put = owners.put

    def slow_put(folder: Path, *args: Any, **kwargs: Any) -> bool:
        monkeypatch.setattr(owners, "put", put)  # the other one is quicker
        s2async.run_sync(full)
        return put(folder, *args, **kwargs)

    monkeypatch.setattr(owners, "put", slow_put)
    with pytest.raises(ConfigError, match="belongs to another state"):
        worlds.run(core, stage.sandbox)
    assert ask("verify", full).return_value == 0


# ---- a state that was deleted -----------------------------------------------------------------------------


def test_a_state_that_was_deleted_is_a_new_start(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    config = worlds.run(path, stage.sandbox).config
    config.run.state.unlink()
    ran = worlds.run(path, stage.sandbox)
    (told,) = notices(ran)
    assert "is gone, but crops of earlier runs are in" in told
    with Ledger.read(config.run.state) as state:
        assert owners.read(config.output.folder) == owners.Mark(state=state.id, path="state.sqlite")
    assert ask("verify", path).return_value == 0


def test_also_one_of_a_run_that_saved_nothing(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH, output={"assets": []})
    config = worlds.run(path, stage.sandbox).config
    config.run.state.unlink()
    assert notices(worlds.run(path, stage.sandbox)) == [
        f"the state {config.run.state} of earlier runs is gone: this is a new start"
    ]


def test_also_where_the_new_one_was_made_and_nothing_more(tmp_path: Path, stage: Stage) -> None:
    """As when a run is killed between its state and the mark."""
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    config = worlds.run(path, stage.sandbox).config
    config.run.state.unlink()
    State.create_or_open(config.run.state).close()
    assert worlds.run(path, stage.sandbox).summary.clean
    assert ask("verify", path).return_value == 0


@pytest.mark.parametrize("change", ["outline", "mask"])
def test_a_new_start_writes_over_no_other_crops_in_silence(tmp_path: Path, stage: Stage, change: str) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    config = worlds.run(path, stage.sandbox).config
    before = crops(config.output.folder)
    config.run.state.unlink()
    path = worlds.write_config(
        tmp_path,
        stage.sandbox,
        areas=MOVED if change == "outline" else NORTH,
        output={"mask": change != "mask"},
    )
    assert f"is a crop of another {change}" in refusal(path)
    assert crops(config.output.folder) == before
    assert not config.run.state.exists()


# ---- what may be moved ------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", [shutil.copytree, Path.rename])
def test_a_project_can_be_moved_and_copied_as_a_whole(
    tmp_path: Path, stage: Stage, move: Callable[[Path, Path], object]
) -> None:
    path = worlds.write_config(tmp_path / "here", stage.sandbox, areas=NORTH)
    worlds.run(path, stage.sandbox)
    move(tmp_path / "here", tmp_path / "there")
    path = tmp_path / "there" / path.name
    assert ask("status", path).exception is None
    ran = worlds.run(path, stage.sandbox)
    assert not ran.cogs
    assert notices(ran) == []
    assert ask("verify", path).return_value == 0


def test_a_state_that_was_moved_is_found_again_by_the_mark(tmp_path: Path, stage: Stage) -> None:
    worlds.run(write(tmp_path, stage, "full"), stage.sandbox)
    (tmp_path / "shared/full.sqlite").rename(tmp_path / "elsewhere.sqlite")
    path = write(tmp_path, stage, "full", run={"state": "elsewhere.sqlite"})
    assert not worlds.run(path, stage.sandbox).cogs
    found = owners.read(tmp_path / "shared")
    assert found is not None
    assert found.path == "../elsewhere.sqlite"


# ---- a state and its configuration ------------------------------------------------------------------------


def test_a_state_of_another_configuration_is_refused_by_every_command(tmp_path: Path, stage: Stage) -> None:
    """As of two with the defaults, side by side."""
    both: dict[str, Any] = {"output": {"folder": "data"}, "run": {"state": "data/state.sqlite"}}
    one = worlds.write_config(tmp_path, stage.sandbox, name="one", areas=NORTH, **both)
    two = worlds.write_config(
        tmp_path, stage.sandbox, name="two", areas={"South": worlds.polygon("South")}, **both
    )
    worlds.run(one, stage.sandbox)
    before = worlds.statuses(Config.load(one))
    for command in COMMANDS:
        text = refusal(two, *command)
        assert text.startswith(f"the state {tmp_path}/data/state.sqlite belongs to the configuration {one}: ")
        assert f"for {two}, name a folder and a state of its own" in text
    with pytest.raises(ConfigError, match="belongs to the configuration"):
        next(s2async.read(two))
    assert worlds.statuses(Config.load(one)) == before
    assert not worlds.run(one, stage.sandbox).cogs


def test_one_that_was_renamed_keeps_its_state(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    worlds.run(path, stage.sandbox)
    new = path.rename(tmp_path / "new.toml")
    for _ in range(2):
        assert ask("status", new).exception is None, "who only looks remembers nothing"
    ran = worlds.run(new, stage.sandbox)
    assert not ran.cogs
    assert notices(ran) == [f"the configuration {path} is gone: its state goes on with {new}"]
    assert notices(worlds.run(new, stage.sandbox)) == []
    shutil.copy(new, path)
    assert f"belongs to the configuration {new}" in refusal(path)


@pytest.mark.parametrize("way", ["link", "from elsewhere", "hard link"])
def test_other_names_of_one_file_are_the_same_configuration(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    worlds.run(path, stage.sandbox)
    (tmp_path / "link.toml").symlink_to(path.name)
    (tmp_path / "hard.toml").hardlink_to(path)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    other = {"link": tmp_path / "link.toml", "hard link": tmp_path / "hard.toml"}.get(way, Path("../config.toml"))
    ran = worlds.run(other, stage.sandbox)
    assert not ran.cogs
    assert notices(ran) == []


def test_a_configuration_that_was_loaded_elsewhere_keeps_its_name(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        worlds.write_config(tmp_path / name, stage.sandbox, areas=NORTH)
    monkeypatch.chdir(tmp_path / "one")
    config = Config.load(Path("config.toml"))
    monkeypatch.chdir(tmp_path / "two")
    s2async.run_sync(config)
    assert owners.config_path(config) == tmp_path / "one" / "config.toml"
    with Ledger.read(config.run.state) as state:
        assert state.configuration() == "../config.toml"
    assert not worlds.run(tmp_path / "one" / "config.toml", stage.sandbox).cogs


def test_a_mapping_has_no_name_and_is_not_asked_for_one(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    config = Config.load(path)
    mapping = {
        "areas": [{"name": "North", "wkt": NORTH["North"].wkt}],
        "search": config.search.model_dump(),
        "network": {"origins": [stage.sandbox.origin]},
        "output": {"folder": str(config.output.folder)},
        "run": {"state": str(config.run.state), "reserve": 1 << 20},
    }
    s2async.run_sync(mapping)
    with Ledger.read(config.run.state) as state:
        assert state.configuration() is None
    assert not worlds.run(path, stage.sandbox).cogs
    with Ledger.read(config.run.state) as state:
        assert state.configuration() == "../config.toml"
    assert s2async.run_sync(mapping).done == {}
    assert list(s2async.read(mapping))
    mapping["run"] = {"state": str(tmp_path / "other.sqlite")}
    with pytest.raises(ConfigError, match="belongs to another state"):
        s2async.run_sync(mapping)


# ---- the hand-out -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory, bug_cases: Path) -> Iterator[Path]:
    """The two configurations of the hand-out, with their server."""
    folder = tmp_path_factory.mktemp("case")
    harness = bug_cases / "_harness"
    made = folder / "worlds"
    subprocess.run([sys.executable, harness / "worlds.py", made], check=True, capture_output=True, timeout=200)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("full", "core"):
        text = (bug_cases / f"30-two-states-one-folder/{name}.toml").read_text()
        (folder / f"{name}.toml").write_text(text.replace("8801", str(port)))
    server = subprocess.Popen([sys.executable, harness / "serve.py", made / "plain", str(port)])
    try:
        for _ in range(2000):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield folder
    finally:
        server.terminate()
        server.wait(200)


def test_two_states_and_one_folder(handed: Path) -> None:
    def command(*arguments: str) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "s2async", "-q", *arguments],
            cwd=handed,
            check=False,
            capture_output=True,
            text=True,
            timeout=200,
            env=os.environ | {"XDG_STATE_HOME": str(handed / "home")},
        )
        return ended.returncode, ended.stderr

    assert command("run", "full.toml") == (0, "")
    before = crops(handed / "shared")
    assert len(before) == 5
    code, told = command("run", "core.toml")
    assert code == 2
    assert told.count("\n") == 1
    assert "belongs to another state" in told
    assert command("run", "full.toml") == (0, "")
    assert command("verify", "full.toml") == (0, "")
    assert crops(handed / "shared") == before
