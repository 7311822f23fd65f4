"""Kills and full disks among many areas in short, and that the oracle would see what it looks for.

At full length: ``python -m tests.chaos kills --many`` and ``python -m tests.chaos disk --many``.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import rasterio

from s2async import file_batches
from s2async.areas.checks import fingerprint
from s2async.cog.grid import Grid
from s2async.masks import drawing, packing
from s2async.models import Area
from s2async.sandbox.server.process import start
from tests.chaos import dense, disk, kept_plans, kills, traces
from tests.chaos.traces import Found
from tests.support import worlds

pytestmark = pytest.mark.slow

together = pytest.mark.skipif(not file_batches.syncs_whole(Path.home()), reason="files are synced one by one here")


@pytest.mark.long
@together
def test_kills_among_many_areas_leave_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    points = kills.KINDS["many"].spread
    code = kills.main(["--many", "--count", str(2 * len(points))])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert [point for point in points if f"    1 {point}\n" not in printed] == []
    assert f"   {len(points)} {kills.RANDOM}\n" in printed


@pytest.mark.long
def test_a_full_disk_leaves_no_trace_among_many_areas(capsys: pytest.CaptureFixture[str]) -> None:
    code = disk.main(["--many", "--count", "2"])
    assert code == 0, capsys.readouterr().out


def test_the_oracle_sees_what_a_kill_might_leave(tmp_path: Path) -> None:
    """Without this, a table of zeros would prove nothing."""
    areas = dict(islice(dense.fields().items(), 100, 120))
    world = worlds.World(tmp_path / "world", [worlds.day(0)])
    with start(world.folder) as sandbox:
        ran = worlds.run(worlds.write_config(tmp_path, sandbox, areas=areas), sandbox)
    data = ran.config.output.folder

    def seen() -> dict[str, int]:
        found = Found()
        traces.judge(data, world.folder, areas, found)
        assert (found.jobs, len(areas)) == (20, 20)
        return {name: len(faults) for name in traces.WORDS if (faults := getattr(found, name))}

    assert seen() == {}
    first, second, third, *_ = sorted(data.rglob("*.tif"))
    with rasterio.open(first, "r+") as raster:
        raster.write(raster.read() ^ np.uint8(1))
    assert seen() == {"wrong": 1}
    second.unlink()
    shutil.copy(third, third.with_name("twice.tif"))
    (data / ".left.part").touch()
    assert seen() == {"wrong": 1, "lost": 1, "duplicate": 1, "half": 1}
    third.write_bytes(third.read_bytes()[:-9])
    assert traces.unreadable(data, {}) == [str(third.relative_to(data))]


def test_the_oracle_sees_plans_that_are_torn_or_wrong(tmp_path: Path) -> None:
    polygons = [*islice(dense.fields().values(), 0, 300, 10)]
    with rasterio.open(worlds_file(tmp_path)) as scene:
        grid = Grid(width=scene.width, height=scene.height, transform=scene.transform, epsg=worlds.EPSG)
    names = [fingerprint(polygon) for polygon in polygons]
    areas = [
        Area(name="", wkb=it.wkb, fingerprint=name, folder="") for it, name in zip(polygons, names, strict=True)
    ]
    plan, keys = drawing.draw(areas, grid), packing.keys_of(names)
    known = dict(zip(keys.tolist(), polygons, strict=True))
    data = packing.packed([plan], keys)
    assert kept_plans.is_whole(data)
    assert kept_plans.faults(data, known) == []
    wrong = packing.packed([replace(plan, windows=plan.windows + np.array([1, 0, 0, 0], np.int32))], keys)
    assert len(kept_plans.faults(wrong, known)) == np.count_nonzero(np.diff(plan.starts)) > 20
    file, chance, words = tmp_path / "a.plan", random.Random(1), set[bool]()
    for _ in range(30):
        file.write_bytes(data)
        if kept_plans.spoil(file, chance):
            words.add(kept_plans.is_whole(file.read_bytes()))
    assert words == {False}


def worlds_file(folder: Path) -> Path:
    """The picture of a scene."""
    return worlds.World(folder, [worlds.day(0)]).folder / "cogs" / worlds.day(0).id / "TCI.tif"


def test_a_plan_that_is_believed_though_it_is_damaged_is_told(tmp_path: Path) -> None:
    state, notes, found = tmp_path / "state.sqlite", tmp_path / "notes", Found()
    (kept := tmp_path / "state.sqlite.plans").mkdir()
    (kept / "a.plan").write_bytes(b"s2async plan\n" + bytes(100))
    watch = traces.PlanWatch(state, notes)
    watch.look(found)
    assert found.torn == ["a.plan: not whole"]
    name = kept_plans.name_of((kept / "a.plan").read_bytes())
    notes.write_text(f"refused {name}\nbelieved {name}\n")
    watch.look(found)
    assert found.believed == [name]
    assert found.plans == {"looked at": 1, "refused": 1, "believed": 1}
