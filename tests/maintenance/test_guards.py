"""Crops without a state, and what nobody may write over."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import s2async
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.events import Notice
from s2async.maintenance.guards import check_target
from tests.support.lanes import few_quick, slow
from tests.support.shelves import Shelf, fill
from tests.support.worlds import Stage, World, day, run, write_config

AREAS = 'name,wkt\nplain,"POLYGON ((13.40 52.50, 13.41 52.50, 13.41 52.505, 13.40 52.50))"\n'


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A job whose areas are in a file."""
    made = fill(tmp_path)
    (tmp_path / "lakes.csv").write_text(AREAS)
    text = made.config.read_text().splitlines()
    made.config.write_text("\n".join(['areas = "lakes.csv"', *(line for line in text if "wkt" not in line)]))
    return Shelf(config=made.config, settings=Config.load(made.config), areas=made.areas)


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OWN = [
    "lakes.csv",
    "config.toml",
    "data/../lakes.csv",
    "link.csv",
    "data/.s2async.json",
    "data/plain/S2A_33UUU_00000000_0_L2A_nir.tif",
    *(f"data/state.sqlite{end}" for end in ("", "-wal", "-shm", ".lock", ".decoding", ".v1", ".damaged2")),
]


@pytest.mark.parametrize("name", few_quick(OWN, 5))
def test_no_table_is_written_over_what_the_job_lives_by(shelf: Shelf, tmp_path: Path, name: str) -> None:
    (tmp_path / "link.csv").symlink_to("lakes.csv")
    before = everything(tmp_path)
    result = ask("export", shelf.config, "--format", "csv", "--output", tmp_path / name)
    assert isinstance(result.exception, ConfigError)
    assert "nothing was written; name another file with --output" in str(result.exception)
    assert everything(tmp_path) == before


def test_nor_where_no_name_was_given(shelf: Shelf, tmp_path: Path) -> None:
    areas = shelf.output / "overview.geojson"
    areas.write_text("the areas")
    shelf.config.write_text(shelf.config.read_text().replace("lakes.csv", "data/overview.geojson"))
    assert "is the areas of this job" in str(ask("export", shelf.config, "--format", "geojson").exception)
    assert areas.read_text() == "the areas"


def test_nor_a_report(shelf: Shelf, tmp_path: Path) -> None:
    page = tmp_path / "state.html"
    shelf.settings.run.state.replace(page)
    shelf.config.write_text(shelf.config.read_text().replace("data/state.sqlite", "state.html"))
    before = page.read_bytes()
    assert "is the state of this job" in str(ask("report", shelf.config, "--output", page).exception)
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["other.csv", "data/overview.csv", "data/state.csv", "data/new.tif", "lakes.geojson", "state.sqlite"]
)
def test_any_other_file_may_be_written_over(shelf: Shelf, tmp_path: Path, name: str) -> None:
    check_target(tmp_path / name, shelf.settings)


# ---- a state that is gone ---------------------------------------------------------------------------------

COMMANDS = [
    "status",
    *slow("verify", "retry", "prune", "report"),
    pytest.param(("export", "--format", "csv"), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_state_that_is_gone_while_its_crops_are_there_can_be_made_again(
    shelf: Shelf, command: str | tuple[str, ...]
) -> None:
    shelf.settings.run.state.unlink()
    name, *options = [command] if isinstance(command, str) else command
    text = str(ask(name, shelf.config, *options).exception)
    assert text == (
        f"the state {shelf.settings.run.state} is gone, but crops of earlier runs are in {shelf.output}; "
        f"next: s2async rebuild {shelf.config}"
    )
    with pytest.raises(ConfigError, match="next: s2async rebuild"):
        next(s2async.read(shelf.config))
    assert not shelf.settings.run.state.exists()


@pytest.mark.parametrize("others", ["none", "of another area", "of another program"])
def test_without_crops_of_its_areas_nothing_has_been_run(shelf: Shelf, others: str) -> None:
    shelf.settings.run.state.unlink()
    area = shelf.output / "plain"
    if others == "of another area":
        area.rename(shelf.output / "elsewhere")
    else:
        for crop in area.iterdir():
            crop.rename(crop.with_name("mine.tif")) if others == "of another program" else crop.unlink()
    assert "nothing has been run yet; next: s2async run" in str(ask("status", shelf.config).exception)


@pytest.mark.slow
def test_a_run_and_a_plan_say_so_and_go_on(tmp_path: Path) -> None:
    with Stage(World(tmp_path / "world", [day(0)])) as stage:
        path = write_config(tmp_path, stage.sandbox)
        config = run(path, stage.sandbox).config
        config.run.state.unlink()
        planned = ask("plan", path)
        assert f"is gone, but crops of earlier runs are in {config.output.folder}" in planned.stderr
        assert planned.return_value == 0
        ran = run(path, stage.sandbox)
        (notice,) = [event.text for event in ran.events if isinstance(event, Notice)]
        assert "this run searches and reads everything again" in notice
        assert notice.endswith(f"stop, remove the new state and run s2async rebuild {path}")
        assert ran.summary.clean
        assert not [event for event in run(path, stage.sandbox).events if isinstance(event, Notice)]
