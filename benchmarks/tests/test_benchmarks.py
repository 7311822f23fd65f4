"""The benchmarks measure what they say: same jobs, compared pixels, valid bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.errors import WindowError

from benchmarks import __main__ as command
from benchmarks import answers, contest, export, growth, link, measure, plots, resume, scenes, state, tables
from benchmarks.options import Options
from benchmarks.peers import rules
from benchmarks.scenes import Order, Scene
from s2async.sandbox.server.process import start
from s2async.sandbox.truth import oracle
from s2async.sandbox.world.make import World, default_folder, make_world

pytestmark = pytest.mark.slow
FAST = Options(items=2, rounds=1, delay=0, bandwidth=100_000, connections=4)


@pytest.fixture(scope="module")
def whole() -> World:
    return make_world(default_folder())


@pytest.fixture(scope="module")
def stage(whole: World) -> Iterator[contest.Contest]:
    with scenes.world_of(whole, 2) as world, start(world.folder) as sandbox:
        order = scenes.order(world, sandbox.origin, scenes.parks())
        yield contest.Contest(world=world, sandbox=sandbox, order=order, options=FAST, folder=world.folder)


# ---- scenes -------------------------------------------------------------------------------------------


def test_more_items_than_the_year_has_are_files_of_their_own(whole: World) -> None:
    known = len(scenes.complete_items(whole, list(scenes.parks().values())))
    with scenes.world_of(whole, known + 40) as world:
        order = scenes.order(world, "http://x", scenes.parks())
        assert len({scene.id for scene in order.scenes}) == len(order.scenes) == world.items == known + 40
        files = [world.local(href) for scene in order.scenes for href in (scene.scl, scene.visual)]
        assert len(set(files)) == 2 * len(order.scenes)
        assert all(file.is_file() for file in files)
        assert order.jobs == 9 * len(order.scenes)
        taken = [scene.document["properties"]["datetime"] for scene in order.scenes]
        assert taken == sorted(set(taken))
        assert [scene.id.split("_")[2] for scene in order.scenes] == [day[:10].replace("-", "") for day in taken]
    assert not world.folder.exists()


def test_many_items_are_the_same_mixture_at_any_time(whole: World) -> None:
    with scenes.world_of(whole, 600) as world:
        order = scenes.order(world, "http://x", scenes.parks())
    products = [scene.document["properties"]["s2:product_uri"].partition(".")[0] for scene in order.scenes]
    assert len(set(products)) == len(scenes.complete_items(whole, list(scenes.parks().values())))
    assert min(len(set(products[start : start + 30])) for start in range(0, 600, 30)) > 20


def test_single_items_are_wanted_by_one_area(whole: World) -> None:
    with scenes.world_of(whole, 10, single=True) as world:
        order = scenes.order(world, "http://x", scenes.parks())
    assert [scene.areas for scene in order.scenes] == [(name,) for name in scenes.LONE * 2]


def test_more_areas_lie_where_the_pixels_are_real() -> None:
    areas = scenes.parks_and_more(60)
    assert len(areas) == 60
    assert list(areas)[:9] == list(scenes.parks())
    parks = shapely.union_all([oracle.project(park, 32633) for park in scenes.parks().values()])
    assert all(parks.buffer(2000).contains(oracle.project(area, 32633)) for area in areas.values())
    assert scenes.parks_and_more(4) == dict(list(scenes.parks().items())[:4])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(1, 60))
def test_a_sample_is_spread_over_all_jobs(sizes: list[int], jobs: int) -> None:
    def made(number: int, size: int) -> Scene:
        areas = tuple("abcde"[:size])
        return Scene(id=str(number), epsg=32633, scl="s", visual="v", areas=areas, document={})

    order = Order(areas={}, scenes=[made(*pair) for pair in enumerate(sizes)])
    sample = order.sample(jobs)
    assert sample.jobs == min(jobs, order.jobs)
    known = {scene.id: scene for scene in order.scenes}
    assert all(set(scene.areas) <= set(known[scene.id].areas) for scene in sample.scenes)
    assert len({scene.id for scene in sample.scenes}) == len(sample.scenes) >= min(jobs, len(sizes)) // 5


def test_an_order_is_read_as_it_was_written(stage: contest.Contest, tmp_path: Path) -> None:
    stage.order.save(tmp_path / "order.json")
    assert Order.load(tmp_path / "order.json") == stage.order


# ---- the contest --------------------------------------------------------------------------------------

HERE = [name for name, (package, _) in contest.PEERS.items() if package == "rasterio"]


def test_all_contenders_give_the_same_answers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = ",".join([*HERE, contest.OURS])
    settings = "--items 2 --rounds 1 --delay 0 --connections 4 --contenders"
    assert command.main(["throughput", *settings.split(), names, "--save", str(tmp_path / "lines.jsonl")]) == 0
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert lines == [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert lines[0]["settings"]["items"] == 2
    found = {line["contender"]: line for line in lines if "median_of" in line}
    assert list(found) == [*HERE, contest.OURS]
    assert {(line["jobs"], line["clear"]) for line in found.values()} == {(18, found["s2async"]["clear"])}
    assert 0 < found["s2async"]["clear"] < 18
    assert all(line["bytes_over_least"] > 1 for name, line in found.items() if name != contest.OURS)
    assert all(line["bytes_over_least_prefix"] > 1 for line in found.values())
    assert all(line["cpu_ms_per_job"] > 1 and 30 < line["peak_megabytes"] < 1000 for line in found.values())
    whole_files = lines[-1]
    assert whole_files["bytes"] > 20 * max(line["bytes"] for line in found.values())
    assert all(tables.NAMES[name] in printed for name in found)


@pytest.mark.parametrize("name", [name for name in contest.PEERS if name not in HERE])
def test_a_peer_of_the_extra_gives_the_plain_answers(stage: contest.Contest, name: str) -> None:
    package, oldest = contest.PEERS[name]
    if sys.version_info < oldest:
        pytest.skip(f"{name} needs Python {oldest}")
    pytest.importorskip(package)
    stage.answers.clear()
    for number, contender in enumerate(("gdal_threads", name)):
        assert stage.once(f"{contender}", number + sum(map(ord, name)))["differing"] == []
    assert len(stage.answers) == 18


def test_an_answer_that_differs_is_a_fault(stage: contest.Contest) -> None:
    stage.answers.clear()
    line = stage.once("gdal_threads", 1)
    (job, answer), *_ = [(key, found) for key, found in stage.answers.items() if found.digest]
    stage.answers[job] = replace(answer, digest="other")
    again = stage.once("gdal_threads", 2)
    assert line["differing"] == []
    assert again["differing"] == [f"{job[1]} {job[0]}"]


def test_who_cannot_run_is_left_out_with_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(contest.PEERS, "geotiff", ("no_such_package", (3, 11)))
    monkeypatch.setitem(contest.PEERS, "odc_stac", ("rasterio", (9, 0)))
    lines = list(contest.run(replace(FAST, contenders=("geotiff", "odc_stac"))))
    assert [line.get("left_out") for line in lines][:2] == ["geotiff", "odc_stac"]
    assert [line["why"] for line in lines[:2]] == [
        "no_such_package is not installed: pip install 's2async[bench]'",
        "needs Python 9.0 or later",
    ]
    tables.contest(lines)
    assert "left out: geotiff: no_such_package is not installed" in capsys.readouterr().out


def test_medians_and_ratios() -> None:
    def line(name: str, rate: float, size: int) -> dict[str, Any]:
        return {"contender": name, "round": 1, "jobs": 10, "jobs_per_second": rate, "bytes": size, "differing": []}

    found = {
        "geotiff": [line("geotiff", rate, 1000) for rate in (1.0, 50.0, 3.0)],
        "s2async": [line("s2async", rate, 400) for rate in (9.0, 6.0, 4.0)],
    }
    other, own = contest.medians(found)
    assert (other["jobs_per_second"], own["jobs_per_second"]) == (3.0, 6.0)
    assert (other["times_faster"], other["times_the_bytes"], other["median_of"]) == (2.0, 0.4, 3)
    assert "times_faster" not in own


def test_every_other_round_goes_backwards() -> None:
    assert [contest.turns(["a", "b", "c"], number) for number in (1, 2, 3)] == [
        ["a", "b", "c"],
        ["c", "b", "a"],
        ["a", "b", "c"],
    ]


# ---- the rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "valid", "clear"), [(0, 0, False), (2, 100, True), (3, 100, False), (0, 1, True), (20, 999, False)]
)
def test_the_rule_of_two_per_cent(bad: int, valid: int, clear: bool) -> None:
    assert rules.is_clear(bad, valid) is clear


def test_a_cut_is_that_of_rasterio_mask(stage: contest.Contest) -> None:
    scene = stage.order.scenes[0]
    path = stage.world.local(scene.scl)
    with rasterio.open(path) as raster:
        for park in scenes.parks().values():
            found = rules.cut(park.wkt, scene.epsg, raster.transform, raster.width, raster.height)
            window = rasterio.windows.Window(found.col, found.row, found.width, found.height)
            plain = oracle.plain_crop(path, park)
            assert plain is not None
            assert np.array_equal(found.masked(raster.read(window=window)), plain.pixels)
        with pytest.raises(WindowError):
            rules.cut(shapely.box(0, 0, 1, 1).wkt, scene.epsg, raster.transform, raster.width, raster.height)


def test_an_answer_tells_place_and_shape_and_type_and_pixels_apart(tmp_path: Path) -> None:
    crop = np.arange(24, dtype=np.uint8).reshape(1, 4, 6)
    here = Affine(10, 0, 300_000, 0, -10, 5_900_000)
    others: list[tuple[rules.Pixels, Affine, int]] = [
        (crop, here, 32633),
        (crop.reshape(1, 6, 4), here, 32633),
        (crop.astype(np.uint16), here, 32633),
        (crop + np.uint8(1), here, 32633),
        (crop[:, ::-1], here, 32633),
        (crop, here * Affine.translation(0, 1), 32633),
        (crop, here, 32632),
    ]
    files = [rules.save(tmp_path / f"{number}.tif", *other) for number, other in enumerate(others)]
    found = [answers.answer_of("item", "area", 0, 1, file) for file in files]
    assert len({answer.digest for answer in found}) == 7
    again = rules.save(tmp_path / "again.tif", np.asfortranarray(crop), here, 32633)
    assert answers.answer_of("item", "area", 0, 1, again) == found[0]
    assert answers.answer_of("item", "area", 0, 1, None).digest is None


# ---- exports ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(export.READERS))
def test_the_export_counts_the_rows_that_it_put_in(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="GeoParquet needs the extra parquet")
    config, file = export.fill(tmp_path, 9, 2), tmp_path / "out"
    command = [sys.executable, "-m", "s2async", "export", str(config), "--format", kind, "--output", str(file)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout == f"wrote {file}: 18 rows\n"
    assert export.READERS[kind](file) == 18


# ---- a resumed run ------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("overlaps", ["all", "one"])
def test_a_run_goes_on_from_a_state_as_a_killed_run_leaves_it(tmp_path: Path, overlaps: str) -> None:
    with resume.FarArchive() as archive:
        config = state.fill(tmp_path / "made", 9, 20, archive, overlaps)
        lines = {line["what"]: line for line in resume.run(config, archive)}
    assert list(lines) == ["resume", "status during resume", "again", "status during again"]
    assert not any("fault" in line for line in lines.values())
    assert lines["resume"]["files"] == 2  # the headers of the last overpass: no other job was opened
    assert lines["again"]["requests"] > lines["again"]["files"] == 0


# ---- measuring ----------------------------------------------------------------------------------------


def test_what_a_process_used() -> None:
    program = "import time; held = bytearray(150_000_000); end = time.process_time() + 0.3\n"
    program += "while time.process_time() < end: pass\n"
    used = measure.run([sys.executable, "-c", program])
    assert 0.3 <= used.cpu_seconds < 3
    assert used.seconds >= 0.3
    assert 150e6 < used.peak_bytes < 250e6


def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        measure.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_emulated_link_is_not_faster_than_it_says(whole: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LOADS", ((1, 2, 1000), (4, 1, 500_000)))
    lines = list(link.run(replace(FAST, delay=50, bandwidth=40)))
    assert [line["expected_seconds"] for line in lines] == [0.1, 0.45]
    assert all(line["seconds"] > line["expected_seconds"] - 0.06 for line in lines)


def test_slopes_are_those_of_the_data() -> None:
    lines = [
        {
            "areas": n,
            "requests": 5 * n,
            "bytes": 7,
            "seconds": n**0.5,
            "cpu_seconds": 1,
            "peak_megabytes": 2,
            "files": n,
        }
        for n in (1, 10, 100)
    ]
    found = list(growth.slopes("areas", lines))
    assert [line["power"] for line in found] == [1.0, 0.0, 0.5, 0.0, 0.0, 1.0]
    assert (
        found[0]["says"] == "requests: 10.0 x for ten times the areas (10.0 x from 1 to 10, 10.0 x from 10 to 100)"
    )


# ---- pictures -----------------------------------------------------------------------------------------


def test_plots_show_every_contender_and_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures = {"kilobytes_per_job": 500.0, "cpu_ms_per_job": 4.2, "peak_megabytes": 170.0}
    lines = [{"contender": name, "median_of": 3, "jobs_per_second": 60.0, **figures} for name in contest.PEERS]
    plots.contest(lines, tmp_path / "contest.svg")
    text = (tmp_path / "contest.svg").read_text()
    assert all(tables.NAMES[name] in text for name in contest.PEERS)
    runs = [
        {
            "axis": axis,
            "jobs": 1,
            "areas": n,
            "items": n,
            "requests": n,
            "bytes": n,
            "seconds": n,
            "cpu_seconds": n,
            "peak_megabytes": n,
            "files": n,
        }
        for axis in ("areas", "items")
        for n in (1, 10, 100)
    ]
    plots.growth(runs, tmp_path / "growth.svg")
    assert "items (with 1 areas)" in (tmp_path / "growth.svg").read_text()
