"""The sandbox for the areas of a configuration: scenes for it, and a copy of it that uses them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import rasterio
import shapely

from s2async.cli import sandbox
from s2async.cli.sandbox import Trial, days_of
from s2async.config.model import Config
from s2async.config.types import parse_period
from s2async.errors import ConfigError
from s2async.sandbox.settings import toml
from tests.support.shell import COMMAND, one_line, process

ORIGIN = "http://127.0.0.1:8722"
FIELDS = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "properties": {"label": "Nordfeld ä", "crop": "oats"},
            "geometry": shapely.geometry.mapping(shapely.box(13.35, 52.51, 13.354, 52.513)),
        }
    ],
}


def write(folder: Path, **changed: Any) -> Path:
    tables: dict[str, Any] = {
        "areas": "fields.geojson",
        "name_field": "label",
        "search": {"datetime": "2024-05-01/2024-05-20", "max_scene_cloud": 90},
        "output": {"assets": ["visual", "nir"], "folder": "crops"},
        "run": {"state": "crops/state.sqlite", "reserve": "1 MiB", "log": "fields.log"},
        "network": {"connections": 4},
    }
    (folder / "fields.geojson").write_text(json.dumps(FIELDS), "utf-8")
    path = folder / "fields.toml"
    path.write_text(toml(**(tables | changed)), "utf-8")
    return path


def trial(path: Path) -> Trial:
    return Trial.of(Config.load(path), path)


# ---- the copy ---------------------------------------------------------------------------------------------


def test_the_copy_has_all_settings_but_those_that_lead_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path)
    plan = trial(path)
    assert plan.path == tmp_path / "fields-sandbox.toml"
    plan.path.write_text(plan.text(ORIGIN), "utf-8")
    mine, copy = Config.load(path), Config.load(plan.path)
    assert (copy.areas, copy.name_field) == (mine.areas, "label")
    assert (copy.search.datetime, copy.search.max_scene_cloud) == ("2024-05-01/2024-05-20", 90)
    assert copy.output.assets == ("visual", "nir")
    assert copy.run.reserve == 1 << 20
    assert copy.output.folder == tmp_path / "fields-sandbox"
    assert copy.run.state == tmp_path / "fields-sandbox" / "state.sqlite"
    assert copy.run.log is None
    assert copy.allowed_origins() == (ORIGIN,)
    assert copy.search.resolve().url == f"{ORIGIN}/v1"
    assert copy.search.resolve().attribution == "synthetic data of the s2async sandbox, {year}"


def test_the_printed_lines_make_the_same_catalogue_of_any_configuration(tmp_path: Path) -> None:
    plan = trial(write(tmp_path))
    lines = tomllib.loads(sandbox.lines_for(ORIGIN, plan.assets))
    assert lines == {
        "search": {"catalog": sandbox.catalog_at(ORIGIN, plan.assets)},
        "network": {"origins": [ORIGIN]},
    }
    pasted = Config.of({"areas": [{"name": "a", "wkt": "POLYGON ((0 0, 1 0, 1 1, 0 0))"}], **lines})
    assert pasted.search.resolve().attribution == "synthetic data of the s2async sandbox, {year}"
    assert pasted.allowed_origins() == (ORIGIN,)


def test_areas_in_the_configuration_itself_are_copied(tmp_path: Path) -> None:
    tables = [{"name": 'A "quoted" ä', "wkt": "POLYGON ((13 52, 13.1 52, 13.1 52.1, 13 52))"}]
    path = write(tmp_path, areas=tables)
    plan = trial(path)
    plan.path.write_text(plan.text(ORIGIN), "utf-8")
    assert Config.load(plan.path).areas == Config.load(path).areas


@pytest.mark.parametrize(
    ("wanted", "mapping", "expected"),
    [
        (["visual", "nir"], {}, {"scl": "scl", "visual": "visual", "nir": "nir"}),
        ([], {}, {"scl": "scl"}),
        (["B04", "B8A"], {"scl": "SCL"}, {"scl": "scl", "B04": "red", "B8A": "nir08"}),
        (
            ["red", "tci"],
            {"scl": "SCL_20m", "red": "B04_10m", "tci": "TCI_10m"},
            {"scl": "scl", "red": "red", "tci": "visual"},
        ),
    ],
)
def test_assets_of_any_catalogue_are_those_of_the_sandbox(
    tmp_path: Path, wanted: list[str], mapping: dict[str, str], expected: dict[str, str]
) -> None:
    catalog = (
        {"url": "https://stac.example/v1", "collection": "c", "assets": mapping} if mapping else "earth-search"
    )
    path = write(tmp_path, search={"catalog": catalog}, output={"assets": wanted})
    assert trial(path).assets == expected


def test_a_key_that_the_known_catalogue_lacks_does_not_pass_the_trial(tmp_path: Path) -> None:
    path = write(tmp_path, output={"assets": ["red", "B08"]})
    with pytest.raises(
        ConfigError, match=r'fields\.toml:\d+: .*earth-search has no asset "B08": there it is "nir"; it has scl, '
    ):
        trial(path)
    own = {"url": "https://stac.example/v1", "collection": "c", "assets": {"scl": "SCL"}}
    assert trial(write(tmp_path, search={"catalog": own}, output={"assets": ["B08"]})).assets["B08"] == "nir"


def test_true_colour_is_served_in_any_case_because_a_report_shows_it(tmp_path: Path) -> None:
    assert trial(write(tmp_path, output={"assets": ["red", "nir"]})).served == ("scl", "red", "nir", "visual")
    assert trial(write(tmp_path, output={"assets": ["visual"]})).served == ("scl", "visual")


@pytest.mark.parametrize(
    ("catalog", "collection"),
    [("earth-search", "sentinel-2-l2a"), ("earth-search-c1", "sentinel-2-c1-l2a")],
)
def test_the_collection_is_that_of_the_configuration(tmp_path: Path, catalog: str, collection: str) -> None:
    plan = trial(write(tmp_path, search={"catalog": catalog}))
    plan.path.write_text(plan.text(ORIGIN), "utf-8")
    assert plan.collection == Config.load(plan.path).search.resolve().collection == collection


def test_an_asset_that_the_sandbox_lacks_is_named_with_those_that_it_has(tmp_path: Path) -> None:
    path = write(tmp_path, output={"assets": ["visual", "cloud"]})
    with pytest.raises(ConfigError, match=r'fields\.toml:\d+: .*no asset "cloud"; it has scl, visual, red, .*wvp'):
        trial(path)


def test_no_file_of_the_user_is_overwritten_and_a_copy_has_no_copy(tmp_path: Path) -> None:
    path = write(tmp_path)
    mine = tmp_path / "fields-sandbox.toml"
    mine.write_text("# mine\n")
    with pytest.raises(ConfigError, match=r"fields-sandbox\.toml exists and is not from the sandbox"):
        trial(path)
    assert mine.read_text() == "# mine\n"
    mine.unlink()
    mine.write_text(trial(path).text(ORIGIN))
    assert trial(path).path == mine
    with pytest.raises(ConfigError, match="is for a trial already"):
        trial(mine)


# ---- the period -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024-05-01/2024-05-20", "2024-05-01", "2024-05-20"),
        ("2024-05-01T10:00Z/2024-05-20T12:00:00Z", "2024-05-01", "2024-05-20"),
        ("2024-05-01", "2024-05-01", "2024-05-01"),
        ("../2016-01-01", "2015-06-23", "2016-01-01"),
        ("2024-05-01/..", "2024-05-01", "2026-10-31"),
        ("2026-11-02/..", "2026-11-02", "2026-11-30"),
    ],
)
def test_the_days_of_a_period(text: str, first: str, last: str) -> None:
    found = days_of(parse_period(text), today=date(2026, 11, 30))
    assert found == (date.fromisoformat(first), date.fromisoformat(last))


# ---- the command ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_areas_come_from_one_place(tmp_path: Path) -> None:
    ended = process("sandbox", write(tmp_path), "--areas", tmp_path / "fields.geojson", "--port", 0)
    assert ended.code == 2
    assert "exclude each other" in one_line(ended)


@pytest.mark.slow
def test_a_run_on_the_copy_saves_crops_that_do_not_claim_to_be_copernicus_data(tmp_path: Path) -> None:
    path = write(tmp_path)
    command = [*COMMAND, "sandbox", str(path), "--port", "0", "--items", "3"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            told: list[str] = []
            while not told or not told[-1].startswith("next, in another terminal: s2async run "):
                told.append(server.stderr.readline())
                assert told[-1], f"the sandbox ended: {told}"
            copy = Path(told[-1].split(" run ")[1].split(";")[0])
            assert copy == tmp_path / "fields-sandbox.toml"
            ran = process("run", copy)
            assert ran.code == 0, ran.error
            os.killpg(server.pid, signal.SIGINT)
            lines = server.stdout.read()
            assert server.wait(200) == 0
        finally:
            server.kill()
    config = Config.load(copy)
    assert tomllib.loads(lines)["network"]["origins"] == list(config.network.origins)
    crops = sorted((tmp_path / "fields-sandbox").rglob("*.tif"))
    assert crops
    assert {re.sub(r".*_", "", crop.stem) for crop in crops} == {"visual", "nir"}
    for crop in crops:
        with rasterio.open(crop) as file:
            tags = file.tags()
            assert tags["TIFFTAG_COPYRIGHT"] == "synthetic data of the s2async sandbox, 2024"
            assert "opernicus" not in str(tags)
            assert tags["AREA"] == "Nordfeld ä"
            assert "2024-05-01" <= tags["DATETIME"][:10] <= "2024-05-20"
    assert not (tmp_path / "crops").exists(), "the real folder is not touched"


def test_the_folder_of_the_scenes_is_that_of_the_configuration(tmp_path: Path) -> None:
    one, other = sandbox._cache(tmp_path / "a.toml"), sandbox._cache(tmp_path / "b.toml")
    assert one != other
    assert one == sandbox._cache(tmp_path / "a.toml")
    assert one.parent == other.parent
