"""The command export, from the arguments to the files."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from s2async import files
from s2async.cli.commands import cli
from s2async.errors import ConfigError, LocalError
from s2async.export import csv_table
from s2async.export.formats import FORMATS
from s2async.state.reader import Ledger
from s2async.state.writer import State
from tests.support.shelves import SHAPES, Shelf, fill
from tests.support.states import add, cloudy, make_scene, record, start


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return fill(tmp_path, rejected=True)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)], catch_exceptions=False)


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("kind", ["csv", "geojson", "parquet"])
@pytest.mark.parametrize(("more", "name", "rows"), [([], "overview", 12), (["--all"], "overview-all", 15)])
def test_a_table_lies_beside_the_crops(shelf: Shelf, kind: str, more: list[str], name: str, rows: int) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="GeoParquet needs the extra parquet")
    path = shelf.output / f"{name}.{kind}"
    result = call(shelf.config, "--format", kind, *more)
    assert (result.exit_code, result.output) == (0, f"wrote {path}: {rows} rows\n")
    assert path.stat().st_size > 1000
    assert not list(shelf.output.glob(".*"))


def test_all_jobs_are_told_with_their_status(shelf: Shelf) -> None:
    found = lines(call(shelf.config, "--format", "csv", "--all", "--output", "-").stdout)
    endings = dict(zip(SHAPES, ("cloudy", "missing", "failed"), strict=True))
    assert [(row["area"].lstrip("'"), row["status"]) for row in found] == [
        (name, status) for name in sorted(SHAPES) for status in (*["saved"] * 4, endings[name])
    ]
    (rejected,) = [row for row in found if row["status"] == "cloudy"]
    assert (rejected["area_cloud_percent"], rejected["asset"], rejected["path"]) == ("60.0000", "", "")
    reasons = {row["status"]: row["reason"] for row in found}
    assert reasons == {"saved": "", "cloudy": "", "missing": "visual: not there", "failed": "timed out"}


def test_the_csv_is_that_of_a_run_and_its_texts_are_no_formulas(shelf: Shelf) -> None:
    call(shelf.config, "--format", "csv", "--output", shelf.output / "again" / "mine.csv")
    with Ledger.read(shelf.settings.run.state) as state:
        rows = state.saved_rows(shelf.settings.selection())
        own = csv_table.write_csv(rows, shelf.output, shelf.settings.clouds.classes)
    assert (shelf.output / "again" / "mine.csv").read_bytes() == own.read_bytes()
    assert {row["area"] for row in lines(own.read_text("utf-8"))} == {"'=Park", 'Müggelsee "🏞",\n<b>', "plain"}


@pytest.mark.slow
def test_standard_output_is_the_same_file_in_utf8(shelf: Shelf) -> None:
    call(shelf.config, "--format", "csv")
    command = [sys.executable, "-m", "s2async", "export", str(shelf.config), "--format", "csv", "--output", "-"]
    done = subprocess.run(command, capture_output=True, check=True, env={"PYTHONIOENCODING": "ascii"})
    assert (done.stdout, done.stderr) == ((shelf.output / "overview.csv").read_bytes(), b"")
    call(shelf.config, "--format", "geojson")
    shown = call(shelf.config, "--format", "geojson", "--output", "-").stdout
    assert shown == (shelf.output / "overview.geojson").read_text("utf-8")


@pytest.mark.slow
def test_a_reader_that_goes_is_no_fault(shelf: Shelf) -> None:
    command = f"{sys.executable} -m s2async export {shelf.config} --format csv --output - | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=True)
    assert done.stdout.startswith(b"area,item_id,")
    assert done.stderr == b""


def test_while_a_run_goes_on_what_is_there_is_written(shelf: Shelf) -> None:
    with State.create_or_open(shelf.settings.run.state) as state:
        scene = make_scene("S2C_33UUU_new", minutes=9 * 1440)
        wanted = shelf.settings.selection()
        start(state, list(shelf.areas.values()), wanted)
        (job, *_) = add(state, scene, list(shelf.areas.values()), wanted)
        record(state, cloudy(job))
        found = lines(call(shelf.config, "--format", "csv", "--all", "--output", "-").stdout)
    assert len(found) == 15 + 3
    assert sorted(row["status"] for row in found if row["item_id"] == scene.id) == ["cloudy", "open", "open"]


def test_the_collection_tells_what_it_left_out(shelf: Shelf) -> None:
    assert call(shelf.config, "--format", "stac").output == f"wrote {shelf.output / 'collection.json'}: 6 items\n"
    (shelf.output / "plain" / "S2A_33UUU_00000000_0_L2A_nir.tif").unlink()
    result = call(shelf.config, "--format", "stac")
    assert result.stderr == (
        "plain/S2A_33UUU_00000000_0_L2A_nir.tif is missing or damaged: left out; s2async verify reopens its job\n"
    )
    collection = json.loads((shelf.output / "collection.json").read_bytes())
    assert len([link for link in collection["links"] if link["rel"] == "item"]) == 6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--format", "stac", "--all"], "stac holds crops only: leave out --all"),
        (["--format", "stac", "--output", "-"], "stac cannot be written to standard output: name a file"),
        (["--format", "parquet", "--output", "-"], "parquet cannot be written to standard output: name a file"),
    ],
)
def test_what_makes_no_sense_is_refused(shelf: Shelf, arguments: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        call(shelf.config, *arguments)


def test_before_the_first_run_there_is_nothing(shelf: Shelf) -> None:
    shelf.output.rename(shelf.output.with_name("elsewhere"))
    with pytest.raises(ConfigError, match=r"nothing has been run yet; next: s2async run .*config\.toml"):
        call(shelf.config, "--format", "csv")


def test_without_arrow_it_says_what_to_install(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("s2async.export.geoparquet", raising=False)
    monkeypatch.setitem(sys.modules, "s2async.export.geoparquet", None)
    with pytest.raises(ConfigError, match=r"GeoParquet needs pyarrow: pip install 's2async\[parquet\]'"):
        call(shelf.config, "--format", "parquet")
    assert not list(shelf.output.glob("*.parquet"))
    assert not list(shelf.output.glob(".*"))


def test_a_name_that_cannot_be_written_is_told(shelf: Shelf) -> None:
    with pytest.raises(
        LocalError, match=r"cannot write .*data: Is a directory; name a file, or move that folder away"
    ):
        call(shelf.config, "--format", "csv", "--output", shelf.output)
    assert not list(shelf.output.parent.glob(f".*{files.SUFFIX}"))


def test_the_command_offers_every_format() -> None:
    (format_,) = (option for option in cli.commands["export"].params if option.name == "name")
    assert isinstance(format_.type, click.Choice)
    assert [*format_.type.choices] == [*FORMATS]
