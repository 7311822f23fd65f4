"""Two checkouts in turn: the counts are those of the actual work, and wrong answers are reported."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import numpy as np
import pytest
import rasterio

from benchmarks import __main__ as command
from benchmarks import fields, measure, ours, scenes, tables
from benchmarks.fields import OTHER, THIS, Trial, Truth
from benchmarks.options import Options
from s2async.sandbox.server.process import start
from s2async.sandbox.world.make import default_folder, make_world

FAST = Options(items=2, rounds=1, delay=0, bandwidth=100_000, connections=4, sample=18)


@pytest.mark.long
def test_two_checkouts_of_the_same_version_do_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    settings = "--items 2 --rounds 1 --delay 0 --connections 4 --sample 18 --against"
    assert command.main(["parks", *settings.split(), str(measure.REPOSITORY)]) == 0
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    this, other = (line for line in lines if "round" in line)
    assert (this["contender"], other["contender"]) == (THIS, OTHER)
    assert this["commit"] == other["commit"]
    for key in ("jobs", "saved", "searches", "files", "differing"):
        assert this[key] == other[key]
    assert (this["jobs"], this["differing"]) == (18, [])
    assert this["searches"] > 0
    assert this["requests"] > 2
    assert this["files"] > this["saved"] > 0
    assert this["first_cog_seconds"] < this["seconds"]
    assert max(this["megabytes_by_quarter"]) <= this["peak_megabytes"] < 1000
    assert 0 < this["late_p999"] <= this["late_most"] < this["seconds"]
    assert this["status_cpu_seconds"] > 0
    ratios = lines[-1]["ratios"]
    assert ratios["files"] == 1
    # how requests are merged depends on their order of arrival
    assert ratios["requests"] == pytest.approx(1, abs=0.3)
    assert ratios["bytes"] == pytest.approx(1, abs=0.1)
    assert "this version to the other: jobs per cpu second" in printed


@pytest.mark.slow
def test_a_wrong_crop_and_a_wrong_share_are_told(tmp_path: Path) -> None:
    whole = make_world(default_folder())
    areas = ours.write_areas(tmp_path, scenes.parks())
    with scenes.world_of(whole, 2) as world, start(world.folder) as sandbox:
        trial = Trial(tree=measure.REPOSITORY, folder=tmp_path / "run", sandbox=sandbox, areas=areas)
        assert trial.once(FAST)["jobs"] == 18
        truth = Truth(world, areas)
        assert list(truth.faults(trial, 18, seed=1)) == []
        crop = min(trial.output.rglob("*.tif"))
        with rasterio.open(crop, "r+") as raster:
            pixels = raster.read()
            raster.write(pixels ^ np.uint8(1))
        (fault,) = truth.faults(trial, 18, seed=1)
        assert fault.startswith(f"{crop.parent.name} ")
        assert fault.endswith("pixels differ")
        rows = (tmp_path / "run" / "all.csv").read_text()
        # the scene is not the one that the run read
        one, two = sorted({row.split(",")[1] for row in rows.splitlines()[1:]})
        truth.files[one], truth.files[two] = truth.files[two], truth.files[one]
        assert len(list(truth.faults(trial, 18, seed=1))) > 9


def test_how_late_a_loop_was_counts_from_a_time_on(tmp_path: Path) -> None:
    notes = array("d")
    for second in range(3000):
        notes.extend((float(second), 9.0 if second < 1000 else second / 1e6))
    (tmp_path / "late").write_bytes(notes.tobytes())
    assert fields.lateness(tmp_path / "late", since=1000.0) == {"late_p999": 0.003, "late_most": 0.003}
    assert fields.lateness(tmp_path / "late", since=0.0) == {"late_p999": 9.0, "late_most": 9.0}
    assert fields.lateness(tmp_path / "late", since=1e9) == {"late_p999": 0.0, "late_most": 0.0}


def test_memory_is_told_by_quarters() -> None:
    memory = fields.Memory(looks=[(float(second), second * 1_000_000) for second in range(12)])
    assert memory.quarters(since=4.0) == [5.0, 7.0, 9.0, 11.0]
    assert memory.quarters(since=11.0) == [11.0, 0.0, 0.0, 0.0]


def test_ratios_are_those_of_the_medians(capsys: pytest.CaptureFixture[str]) -> None:
    line = {"contender": THIS, "round": 1, "jobs": 10, "saved": 5, **dict.fromkeys(fields.FIGURES, 4.0)}
    found = {
        THIS: [{**line, "cpu_seconds": seconds} for seconds in (9.0, 1.0, 2.0)],
        OTHER: [{**line, "cpu_seconds": 8.0}],
    }
    this, other, last = fields.summary(found)
    assert (this["median_of"], this["cpu_seconds"], other["cpu_seconds"]) == (3, 2.0, 8.0)
    assert last["ratios"]["cpu_seconds"] == 0.25
    assert last["ratios"]["bytes"] == 1.0
    tables.fields([this, other, last])
    assert "cpu seconds 0.25 x" in capsys.readouterr().out
    assert [line["contender"] for line in fields.summary({THIS: found[THIS]})] == [THIS]


def test_a_sample_is_of_as_many_rows_as_asked_for(tmp_path: Path) -> None:
    table = tmp_path / "all.csv"
    table.write_text("area,note\n" + "".join(f'{number},"two\nlines"\n' for number in range(1000)))
    some = [int(row["area"]) for row in fields.some_rows(table, 50, seed=1)]
    assert len(set(some)) == 50
    assert some == sorted(some)
    assert some[0] < 200 < 800 < some[-1]
    assert [int(row["area"]) for row in fields.some_rows(table, 5000, seed=1)] == list(range(1000))
