"""Measuring only: one park's whole year, and the tutorial's finding in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from s2async.areas import loader as area_files
from s2async.config.example import render
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.engine.progress import Summary
from s2async.report.data import Scatter, Watched, looks
from s2async.sandbox.server import process
from s2async.sandbox.world import make
from s2async.state.reader import Ledger

PARK = "VolksparkFriedrichshain"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, Summary]]:
    """A year of one park without a crop, of all scenes however cloudy."""
    folder = tmp_path_factory.mktemp("measured")
    made = make.make_world(make.default_folder())
    with process.start(made.folder) as sandbox:
        text = render(catalog_url=sandbox.api, origin=sandbox.origin, attribution="synthetic")
        for old, new in (
            ("max_scene_cloud = 80", "max_scene_cloud = 100"),
            ('assets = ["visual"]', "assets = []"),
        ):
            assert old in text
            text = text.replace(old, new)
        path = folder / "config.toml"
        path.write_text(text)
        config = Config.load(path)
        park = [area for area in area_files.load(config) if area.name == PARK]
        yield config, asyncio.run(pipeline.run(config, park))


def scatter_of(config: Config) -> Scatter:
    scatter = Scatter()
    with Ledger.read(config.run.state) as state:
        (area,) = state.areas()
        rows = state.job_rows(config.selection(), area=area)
        scatter.add(Watched(area=area, looks=tuple(looks(rows, config.clouds.classes))))
    return scatter


def test_every_scene_of_the_year_is_a_point(measured: tuple[Config, Summary]) -> None:
    config, summary = measured
    assert not summary.failed
    assert not summary.incomplete
    scatter = scatter_of(config)
    print(f"{scatter.count} points of {sum(summary.done.values())} jobs")
    assert scatter.count >= 200
    assert scatter.count == len(scatter.points)
    assert scatter.count >= 0.8 * sum(summary.done.values())


def test_the_scenes_number_says_little_of_the_park(measured: tuple[Config, Summary]) -> None:
    points = scatter_of(measured[0]).points
    between = [point.area for point in points if 15 <= point.scene <= 85]
    clear, covered = between.count(0.0), between.count(100.0)
    print(f"{len(between)} points with scene cloud in between: {clear} at 0, {covered} at 100 %")
    assert min(clear, covered) >= 10
    assert clear + covered >= len(between) / 2
    highest = max(point.scene for point in points if point.area == 0)
    lowest = min(point.scene for point in points if point.area == 100)
    print(f"clear under scenes of up to {highest:.0f} %, covered under scenes from {lowest:.0f} %")
    assert lowest < highest - 20, "one threshold for scenes cannot tell them apart"


def test_nothing_is_written_but_the_answers(measured: tuple[Config, Summary]) -> None:
    config, summary = measured
    assert not list(config.output.folder.rglob("*.tif"))
    assert (config.output.folder / "overview.csv").read_text().count("\n") == 1
    with Ledger.read(config.run.state) as state:
        stages = {(traffic.stage, traffic.asset) for traffic in state.traffic()}
    assert stages == {("search", ""), ("header", "scl"), ("tiles", "scl")}
    assert summary.bytes < 60e6
