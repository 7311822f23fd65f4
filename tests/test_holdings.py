"""What nobody may write over, on a job whose runs are over."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from s2async.cli import cli
from s2async.config import Config
from s2async.errors import ConfigError
from s2async.holdings import check_target
from tests.shelves import Shelf, fill

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
    "data/plain/S2A_33UUU_00000000_0_L2A_nir.tif",
    *(f"data/state.sqlite{end}" for end in ("", "-wal", "-shm", ".lock", ".decoding", ".v1", ".damaged2")),
]


@pytest.mark.parametrize("name", OWN)
def test_no_table_is_written_over_what_the_job_lives_by(shelf: Shelf, tmp_path: Path, name: str) -> None:
    (tmp_path / "link.csv").symlink_to("lakes.csv")
    before = everything(tmp_path)
    result = ask("export", shelf.config, "--format", "csv", "--output", tmp_path / name)
    assert isinstance(result.exception, ConfigError)
    assert "nothing was written; name another file with --output" in str(result.exception)
    assert everything(tmp_path) == before


def test_nor_where_no_name_was_given(shelf: Shelf, tmp_path: Path) -> None:
    areas = shelf.output / "overview.csv"
    areas.write_text(AREAS)
    shelf.config.write_text(shelf.config.read_text().replace("lakes.csv", "data/overview.csv"))
    assert "is the areas of this job" in str(ask("export", shelf.config, "--format", "csv").exception)
    assert areas.read_text() == AREAS


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
