"""The table of values in whole runs: what settings that change ask for, and what they do not."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from shapely.geometry.base import BaseGeometry

from s2async.areas import loader as area_files
from s2async.cli import status
from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.maintenance.guards import opened
from s2async.plan.survey import survey
from s2async.sandbox.truth import oracle
from tests.support import worlds
from tests.support.worlds import Ran, Stage

pytestmark = pytest.mark.slow

MY = {"name": "MY", "formula": "red / (red + 0.01)"}
DAYS = [
    worlds.day(0),
    worlds.day(2, clouded=frozenset({"North"})),
    worlds.day(4, lacks=frozenset({"key:red"})),
    worlds.day(6, empty_metres=1500.0),
]
AREAS = {name: worlds.polygon(name) for name in ("North", "Tall", "South")}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), DAYS)


def go(folder: Path, stage: Stage, values: dict[str, Any] | None, **clouds: Any) -> Ran:
    settings: dict[str, Any] = {} if values is None else {"values": {"indices": [], **values}}
    path = worlds.write_config(
        folder, stage.sandbox, areas=AREAS, output={"assets": []}, clouds=clouds, **settings
    )
    return worlds.run(path, stage.sandbox)


def rows(ran: Ran) -> list[dict[str, str]]:
    with (ran.config.output.folder / "values.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def truth(stage: Stage, polygon: BaseGeometry, item: str) -> Any:
    """Mean reflectance of the red pixels of an area, by rasterio.mask of the local file."""
    found = oracle.plain_crop(stage.world.folder / "cogs" / item / "B04.tif", polygon)
    assert found is not None
    return (found.pixels[found.pixels != 0] / 10_000).mean()


def test_settings_that_change_ask_for_what_is_missing_alone(tmp_path: Path, stage: Stage) -> None:
    first = go(tmp_path, stage, {"bands": ["red"]})
    assert first.summary.clean
    table = rows(first)
    # North is cloudy on the second day, and half empty on the last; the third day has no red
    expected = {("North", 0), ("Tall", 0), ("South", 0), ("Tall", 2), ("South", 2), ("Tall", 6), ("South", 6)}
    assert {(row["area"], int(row["date"][-2:]) - 1) for row in table} == expected
    polygons = {area.name: area.polygon for area in area_files.load(first.config)}
    for row in table:
        expected_mean = truth(stage, polygons[row["area"]], row["item"])
        assert float(row["mean"]) == pytest.approx(expected_mean, rel=1e-12)
    files = {path.split("/")[1] for path in first.paths}
    assert files == {"SCL.tif", "B04.tif"}

    again = go(tmp_path, stage, {"bands": ["red"]})
    assert (again.cogs, rows(again)) == ([], table)
    index = again.config.output.folder / "values.csv"
    before = index.stat()
    third = go(tmp_path, stage, {"bands": ["red"]})
    assert index.stat().st_mtime_ns == before.st_mtime_ns, "nothing has changed"

    fewer = go(tmp_path, stage, {"bands": ["red"], "statistics": ["max", "mean"]})
    assert fewer.cogs == []
    assert [row["mean"] for row in rows(fewer)] == [row["mean"] for row in table]
    assert "median" not in rows(fewer)[0]

    low = go(tmp_path, stage, {"bands": ["red"], "max_area_cloud": 1})
    assert (low.cogs, rows(low)) == ([], table), "North was left out before"

    new = go(tmp_path, stage, {"bands": ["red"], "indices": [MY]})
    items = {row["item"] for row in table}
    assert {path.split("/")[0] for path in new.paths} == items
    found = rows(new)
    assert len(found) == 2 * len(table)
    assert [row for row in found if row["name"] == "red"] == table
    for row in found:
        red = [other for other in table if (other["area"], other["item"]) == (row["area"], row["item"])]
        assert float(row["max"]) <= 1
        assert row["valid_count"] == red[0]["valid_count"]

    high = go(tmp_path, stage, {"bands": ["red"], "indices": [MY], "max_area_cloud": 100})
    assert {path.split("/")[0] for path in high.paths} == {"S2A_33UUU_20220103_0_L2A"}
    assert ("North", "2022-01-03", "red") in {(row["area"], row["date"], row["name"]) for row in rows(high)}

    gone = go(tmp_path, stage, None)
    assert gone.cogs == []
    back = go(tmp_path, stage, {"bands": ["red"], "indices": [MY], "max_area_cloud": 100})
    assert (back.cogs, rows(back)) == ([], rows(high))
    assert third.summary.values == index


def test_other_classes_read_again_where_a_pixel_has_one(tmp_path: Path, stage: Stage) -> None:
    values = {"bands": ["red"], "max_area_cloud": 100}
    first = go(tmp_path, stage, values, classes=[3, 9])
    more = go(tmp_path, stage, values, classes=[3, 8, 9, 10])
    assert (more.cogs, rows(more)) == ([], rows(first)), "no pixel has one of the classes that are new"
    less = go(tmp_path, stage, values, classes=[3])
    assert {path.split("/")[0] for path in less.paths} == {"S2A_33UUU_20220103_0_L2A"}
    assert len(rows(less)) == len(rows(first))


def test_a_plan_prices_what_a_run_then_reads(tmp_path: Path, stage: Stage) -> None:
    def planned(values: dict[str, Any]) -> Any:
        path = worlds.write_config(
            tmp_path, stage.sandbox, areas=AREAS, output={"assets": []}, values={"indices": [], **values}
        )
        config = Config.load(path)
        areas = area_files.load(config)
        return asyncio.run(survey(config, areas, connections=8, bandwidth=1e7)).plan

    before = planned({"bands": ["red"]})
    assert before.values.low <= 7 <= before.values.high
    ran = go(tmp_path, stage, {"bands": ["red"]})
    assert planned({"bands": ["red"]}).values.high == 0
    new = planned({"bands": ["red"], "indices": [MY]})
    assert (new.values.low, new.values.high) == (7, 7)
    assert new.bytes.high < before.bytes.high
    with opened(ran.config) as state:
        told = status.to_json(state, ran.config)
        assert (told["values"]["dates"], told["values"]["rows"]) == (7, 7)
        assert told["whole_files"]["all"]["files"] == 4 + 3


def test_a_lost_state_is_rebuilt_and_its_values_are_computed_again(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(
        tmp_path,
        stage.sandbox,
        areas=AREAS,
        output={"assets": ["red"]},
        values={"bands": ["red"], "indices": [MY]},
    )
    first = worlds.run(path, stage.sandbox)
    table = rows(first)
    assert {row["name"] for row in table} == {"red", "MY"}
    for end in ("", "-wal", "-shm", ".sealed"):
        first.config.run.state.with_name(first.config.run.state.name + end).unlink(missing_ok=True)
    assert CliRunner().invoke(cli, ["rebuild", str(path)]).exit_code == 0
    assert set(worlds.statuses(first.config).values()) == {"open"}
    second = worlds.run(path, stage.sandbox)
    if second.summary.left:  # jobs that began before a search had told of the classification
        second = worlds.run(path, stage.sandbox)
    assert rows(second) == table
    assert worlds.faults_of(second.config, stage.world) == []
