"""Notes of runs: a state that was deleted, and one whose disk is away."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from click.testing import CliRunner, Result

import s2async
from s2async.cli import consent
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.events import Notice
from s2async.maintenance import notes, owners
from tests.support import worlds
from tests.support.shell import on_terminal
from tests.support.worlds import Stage

NORTH = {"North": worlds.polygon("North")}
LOCAL, DISK = 1, 2
"""Devices."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(0)])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "s2async" / "jobs"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(tmp_path)
    monkeypatch.setattr(notes, "device", made.device)
    return made


class Disk:
    """A folder that stands for a disk: `unmount` leaves an empty one, on the device of all others."""

    def __init__(self, folder: Path) -> None:
        self.mount_point = folder / "disk"
        self.mount_point.mkdir()
        self._away = folder / "away"
        self.mounted = True

    def device(self, path: Path) -> int:
        """Stands for `maintenance.notes.device`."""
        return DISK if self.mounted and path.is_relative_to(self.mount_point) else LOCAL

    def unmount(self, *, leave: bool = True) -> None:
        self.mount_point.rename(self._away)
        if leave:
            self.mount_point.mkdir()
        self.mounted = False

    def mount(self) -> None:
        shutil.rmtree(self.mount_point, ignore_errors=True)
        self._away.rename(self.mount_point)
        self.mounted = True


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def config_on(
    folder: Path, stage: Stage, *, output: str = "disk/data", state: str = "disk/data/state.sqlite"
) -> Path:
    sections: dict[str, Any] = {"output": {"folder": output}, "run": {"state": state}}
    return worlds.write_config(folder, stage.sandbox, areas=NORTH, **sections)


def told(ran: worlds.Ran) -> list[str]:
    return [event.text for event in ran.events if isinstance(event, Notice)]


def test_a_run_notes_where_its_state_is(tmp_path: Path, stage: Stage, home: Path) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    config = worlds.run(path, stage.sandbox).config
    note = notes.read(config)
    assert note is not None
    assert (note.config, note.state, note.output) == (str(path), str(config.run.state), str(config.output.folder))
    assert note.named == str(config.run.state)
    assert note.device == note.output_device == tmp_path.stat().st_dev
    mark = owners.read(config.output.folder)
    assert mark is not None
    assert note.id == mark.state
    (file,) = home.iterdir()
    before = file.stat().st_mtime_ns
    worlds.run(path, stage.sandbox)
    assert file.stat().st_mtime_ns == before, "the same is not written again"


@pytest.mark.parametrize("leave", [True, False])
def test_a_state_whose_disk_is_away_is_not_begun_anew(
    tmp_path: Path, stage: Stage, disk: Disk, leave: bool
) -> None:
    path = config_on(tmp_path, stage)
    config = worlds.run(path, stage.sandbox).config
    result = worlds.result(config)
    disk.unmount(leave=leave)
    for command in ("run", "status", "verify", "prune", "retry", "report", "rebuild"):
        error = ask(command, path).exception
        assert isinstance(error, ConfigError)
        assert error.exit_code == 2
        assert str(error).startswith(f"there was a state {config.run.state}, and its disk is away: mount it")
    assert f"start anew with s2async run --new-state {path}" in str(ask("run", path).exception)
    with pytest.raises(ConfigError, match="its disk is away"):
        next(s2async.read(path))
    with pytest.raises(ConfigError, match="its disk is away"):
        s2async.run_sync(path)
    planned = ask("plan", path)
    assert planned.return_value == 0
    assert "its disk is away; to include finished jobs in the plan, mount it" in planned.stderr
    assert not list(tmp_path.glob("disk/*")), "nothing is written to where a disk should be"
    disk.mount()
    again = worlds.run(path, stage.sandbox)
    assert not again.cogs
    assert told(again) == []
    assert worlds.result(config) == result


def test_it_is_begun_anew_when_somebody_wants_that(tmp_path: Path, stage: Stage, disk: Disk) -> None:
    path = config_on(tmp_path, stage)
    config = worlds.run(path, stage.sandbox).config
    disk.unmount()
    assert ask("run", path, "--new-state").return_value == 0
    assert config.run.state.exists()
    again = ask("run", path, "--new-state").exception
    assert isinstance(again, ConfigError)
    assert "exists; to start anew, move it" in str(again)
    assert not worlds.run(path, stage.sandbox).cogs
    disk.mount()
    assert ask("verify", path).return_value == 0, "the old state with its own crops"


def test_from_python_too(tmp_path: Path, stage: Stage, disk: Disk) -> None:
    path = config_on(tmp_path, stage)
    worlds.run(path, stage.sandbox)
    disk.unmount()
    assert s2async.run_sync(path, new_state=True).done == {"saved": 1}


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_is_asked(
    tmp_path: Path, stage: Stage, disk: Disk, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    path = config_on(tmp_path, stage)
    config = worlds.run(path, stage.sandbox).config
    assert not consent.new_start(config)
    disk.unmount()
    asked = on_terminal(monkeypatch, answer=answer)
    if answer:
        assert consent.new_start(config)
    else:
        with pytest.raises(ConfigError, match="its disk is away: mount it and run again"):
            consent.new_start(config)
    assert asked == [f"there was a state {config.run.state}, and its disk is away. Start with a new state?"]


@pytest.mark.parametrize("state", ["there", "deleted"])
def test_an_output_folder_whose_disk_is_away(tmp_path: Path, stage: Stage, disk: Disk, state: str) -> None:
    """Nothing was saved so far: no crop tells whether the folder is the right one."""
    path = config_on(tmp_path, stage, state="state.sqlite")
    path.write_text(path.read_text().replace("[clouds]", "[clouds]\nmax_area_cloud = 0\nclasses = [4, 5, 6]"))
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.done == {"cloudy": 1}
    disk.unmount()
    if state == "deleted":
        ran.config.run.state.unlink()
    error = ask("run", path).exception
    assert isinstance(error, ConfigError)
    assert f"there was an output folder {ran.config.output.folder}, and its disk is away" in str(error)
    assert not list(disk.mount_point.iterdir())
    disk.mount()
    assert worlds.run(path, stage.sandbox).summary.clean


def test_a_device_that_has_another_number_after_a_restart(
    tmp_path: Path, stage: Stage, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config_on(tmp_path, stage)
    config = worlds.run(path, stage.sandbox).config
    monkeypatch.setattr(notes, "device", lambda _: 77)
    assert told(worlds.run(path, stage.sandbox)) == []
    monkeypatch.setattr(notes, "device", lambda _: 78)
    config.run.state.unlink()
    ran = worlds.run(path, stage.sandbox)
    assert "is gone, but crops of earlier runs" in told(ran)[0], "its folder has a mark: the disk is there"
    assert ran.summary.clean


def test_another_place_in_the_configuration_is_no_disk_that_is_away(
    tmp_path: Path, stage: Stage, disk: Disk
) -> None:
    worlds.run(config_on(tmp_path, stage), stage.sandbox)
    disk.unmount()
    ran = worlds.run(config_on(tmp_path, stage, output="data", state="data/state.sqlite"), stage.sandbox)
    assert ran.summary.done == {"saved": 1}
    assert told(ran) == []


# ---- symbolic links ---------------------------------------------------------------------------------------

links = pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")


class Link:
    """A project whose folder of crops and state is a symbolic link."""

    def __init__(self, folder: Path, stage: Stage, *, of: str) -> None:
        self.folder, self.there = folder, folder / "mnt" / "a" / "data"
        self.there.mkdir(parents=True)
        (folder / "project").mkdir()
        self.link = folder / "project" / {"folder": "data", "folder above": "disk", "state": "state.sqlite"}[of]
        within = {"folder": "", "folder above": "/data", "state": ""}[of]
        data = f"{self.link.name}{within}" if of != "state" else "crops"
        state = f"{data}/state.sqlite" if of != "state" else "state.sqlite"
        self.target = {
            "folder": self.there, "folder above": self.there.parent, "state": self.there / "state.sqlite"
        }[of]  # fmt: skip
        self.link.symlink_to(self.target)
        self.config = config_on(folder / "project", stage, output=data, state=state)

    def turn(self) -> Path:
        """Let it lead to an empty folder, or a file in one; where the state would be then."""
        empty = self.folder / "mnt" / "b"
        empty.mkdir()
        other = empty / "state.sqlite" if self.target.suffix else empty
        self.link.unlink()
        self.link.symlink_to(other)
        return Path(os.path.realpath(Config.load(self.config).run.state))

    def turn_back(self) -> None:
        self.link.unlink()
        self.link.symlink_to(self.target)


OF = ["folder", "folder above", "state"]


@links
@pytest.mark.parametrize("of", OF)
def test_a_link_that_leads_elsewhere_is_no_new_start(tmp_path: Path, stage: Stage, of: str) -> None:
    job = Link(tmp_path, stage, of=of)
    config = worlds.run(job.config, stage.sandbox).config
    note = notes.read(config)
    assert note is not None
    before = worlds.result(config)
    place = job.turn()
    text = f"there was a state {note.id} at {job.there / 'state.sqlite'}; the path now leads to {place}"
    stage.sandbox.reset()
    for command in ("run", "status", "verify", "retry", "rebuild"):
        error = ask(command, job.config).exception
        assert isinstance(error, ConfigError)
        assert error.exit_code == 2
        assert str(error).startswith(f"{text}: have the symbolic link lead there again")
    assert str(ask("run", job.config).exception).endswith(f"start anew with s2async run --new-state {job.config}")
    if of != "state":  # else its crops are what plan speaks of
        assert f"{text}; to include finished jobs in the plan, have the" in ask("plan", job.config).stderr
    assert not [entry for entry in stage.sandbox.log() if entry.kind == "cogs"]
    assert not list((tmp_path / "mnt" / "b").iterdir())
    job.turn_back()
    again = worlds.run(job.config, stage.sandbox)
    assert not again.cogs
    assert told(again) == []
    assert worlds.result(config) == before


@links
@pytest.mark.parametrize("of", OF)
def test_it_leads_elsewhere_on_purpose(tmp_path: Path, stage: Stage, of: str) -> None:
    job = Link(tmp_path, stage, of=of)
    worlds.run(job.config, stage.sandbox)
    place = job.turn()
    if of == "state":  # its crops would be in the way of a new state
        shutil.rmtree(tmp_path / "project" / "crops")
    assert ask("run", job.config, "--new-state").return_value == 0
    assert place.is_file()
    again = worlds.run(job.config, stage.sandbox)
    assert not again.cogs
    assert told(again) == []


@links
def test_a_link_that_leads_to_another_disk(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state that is still there says more than the number of a device."""
    job = Link(tmp_path, stage, of="folder")
    mount = tmp_path / "mnt" / "b"
    monkeypatch.setattr(notes, "device", lambda path: DISK if path.is_relative_to(mount) else LOCAL)
    worlds.run(job.config, stage.sandbox)
    place = job.turn()
    assert f"; the path now leads to {place}" in str(ask("run", job.config).exception)


@links
def test_the_disk_behind_a_link_is_away(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Link(tmp_path, stage, of="state")
    worlds.run(job.config, stage.sandbox)
    job.there.rename(tmp_path / "away")
    job.there.mkdir()
    monkeypatch.setattr(notes, "device", lambda path: LOCAL if path.is_relative_to(job.there) else DISK)
    error = ask("run", job.config).exception
    assert isinstance(error, ConfigError)
    assert "its disk is away: mount it" in str(error)
    assert not list(job.there.iterdir())


@links
@pytest.mark.parametrize("of", OF)
def test_a_state_that_was_deleted_behind_a_link_is_a_new_start(tmp_path: Path, stage: Stage, of: str) -> None:
    job = Link(tmp_path, stage, of=of)
    config = worlds.run(job.config, stage.sandbox).config
    job.there.joinpath("state.sqlite").unlink()
    shutil.rmtree(config.output.folder / "North")
    ran = worlds.run(job.config, stage.sandbox)
    assert ran.summary.done == {"saved": 1}
    assert told(ran)[0] == f"the state {config.run.state} of earlier runs is gone: this is a new start"


@links
@pytest.mark.parametrize("of", ["folder", "folder above"])
def test_a_project_with_links_can_be_moved_and_copied(tmp_path: Path, stage: Stage, of: str) -> None:
    job = Link(tmp_path, stage, of=of)
    worlds.run(job.config, stage.sandbox)
    job.there.parent.rename(tmp_path / "mnt" / "c")  # and the link is mended
    job.link.unlink()
    job.link.symlink_to(tmp_path / "mnt" / "c" / ("data" if of == "folder" else ""))
    moved = (tmp_path / "project").rename(tmp_path / "moved") / job.config.name
    copied = Path(shutil.copytree(tmp_path / "moved", tmp_path / "copied")) / job.config.name  # follows the link
    for config in (moved, copied):
        ran = worlds.run(config, stage.sandbox)
        assert not ran.cogs
        assert ran.summary.clean
    assert "there was" not in str(ask("run", moved).stderr)


@links
def test_notes_of_earlier_versions_go_on_as_before(tmp_path: Path, stage: Stage, home: Path) -> None:
    job = Link(tmp_path, stage, of="folder")
    config = worlds.run(job.config, stage.sandbox).config
    file = note_file(home)
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "named"}))
    job.turn()
    assert notes.away(config) is None
    assert worlds.run(job.config, stage.sandbox).summary.done == {"saved": 1}
    assert json.loads(file.read_text())["state"] == str(tmp_path / "mnt" / "b" / "state.sqlite")


# ---- notes that say nothing -------------------------------------------------------------------------------


def note_file(home: Path) -> Path:
    (file,) = home.iterdir()
    return file


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"[" * 100_000),
        lambda file: file.write_bytes(b"[1]"),
        lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | {"device": "x"})),
        lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | {"named": 1})),
        lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | {"config": "/other.toml"})),
        lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2})),
        lambda file: (file.unlink(), file.mkdir()),
    ],
)
def test_a_note_that_says_nothing_stops_nobody(
    tmp_path: Path, stage: Stage, home: Path, damage: Callable[[Path], object]
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, areas=NORTH)
    config = worlds.run(path, stage.sandbox).config
    damage(note_file(home))
    assert notes.read(config) is None
    assert notes.away(config) is None
    assert not notes.deleted(config)
    assert not worlds.run(path, stage.sandbox).cogs


def test_a_folder_of_notes_that_cannot_be_written_stops_nobody(tmp_path: Path, stage: Stage) -> None:
    (tmp_path / "home").write_text("a file")
    assert worlds.run(worlds.write_config(tmp_path, stage.sandbox, areas=NORTH), stage.sandbox).summary.clean
    assert (tmp_path / "home").read_text() == "a file"


def test_without_a_home_nothing_is_noted(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setattr(platformdirs, "user_state_path", lambda _: Path("~/.local/state/s2async"))
    monkeypatch.chdir(tmp_path)
    assert worlds.run(worlds.write_config(tmp_path, stage.sandbox, areas=NORTH), stage.sandbox).summary.clean
    assert not (tmp_path / "~").exists()


def test_of_a_mapping_nothing_is_noted(tmp_path: Path, stage: Stage, home: Path) -> None:
    config = Config.load(worlds.write_config(tmp_path, stage.sandbox, areas=NORTH))
    mapping = config.model_dump(exclude_unset=True) | {
        "areas": [{"name": "North", "wkt": NORTH["North"].wkt}],
        "output": {"folder": str(config.output.folder)},
        "run": {"state": str(config.run.state), "reserve": 1 << 20},
    }
    s2async.run_sync(mapping)
    assert not home.exists()


def test_the_device_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    assert notes.device(tmp_path / "no" / "such" / "folder") == tmp_path.stat().st_dev
    assert notes.device(Path("/")) == Path("/").stat().st_dev
