from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine

from s2async import files, geo
from s2async.cog.grid import Grid
from s2async.masks import drawing, keeper, packing, store
from s2async.masks.plan import GridPlan
from s2async.masks.store import Plans
from s2async.models import Area
from tests.support.hard_polygons import on_grid

GRID = Grid(width=900, height=900, transform=Affine(10, 0, 399_960, 0, -10, 5_800_020), epsg=32633)
COARSE = Grid(width=450, height=450, transform=Affine(20, 0, 399_960, 0, -20, 5_800_020), epsg=32633)


def area(column: float, row: float, side: float = 7.3) -> Area:
    ring = on_grid(shapely.box(column, row, column + side, row + side), GRID.transform)
    polygon = shapely.transform(ring, lambda points: geo.unprojected(points, GRID.epsg))
    name = hashlib.sha256(polygon.wkb).hexdigest()[:16]
    return Area(name="", wkb=polygon.wkb, fingerprint=name, folder="")


AREAS = [area(30 * column - 4, 30 * row - 4) for column in range(20) for row in range(20)]


def names(areas: Sequence[Area]) -> list[str]:
    return [area.fingerprint for area in areas]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many areas were drawn, call by call."""
    numbers: list[int] = []

    def noted(areas: Sequence[Area], grid: Grid) -> GridPlan:
        numbers.append(len(areas))
        return drawing.draw(areas, grid)

    monkeypatch.setattr(store, "draw", noted)
    return numbers


def assert_right(plans: Plans, areas: Sequence[Area], grid: Grid = GRID) -> GridPlan:
    whole, indices = plans.of(areas, grid)
    found, expected = whole.take(indices), drawing.draw(areas, grid)
    for name in ("windows", "starts", "rows", "columns", "lengths", "totals", "skipped"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    return whole


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir()) if folder.exists() else []


def test_a_plan_is_drawn_once_and_read_by_the_next_run(tmp_path: Path, drawn: list[int]) -> None:
    folder = store.folder_of(tmp_path / "state.sqlite")
    assert_right(Plans(folder), AREAS)
    assert [path.name for path in kept(folder)] == [packing.file_name(GRID)]
    assert folder == tmp_path / "state.sqlite.plans"
    plans = Plans(folder)
    assert_right(plans, AREAS)
    assert_right(plans, AREAS[::-3])
    assert drawn == [len(AREAS)]


def test_each_grid_has_a_plan_of_its_own(tmp_path: Path, drawn: list[int]) -> None:
    grids = [GRID, COARSE, replace(GRID, width=899), replace(GRID, epsg=32632)]
    for _ in range(2):
        plans = Plans(tmp_path)
        for grid in grids:
            assert_right(plans, AREAS, grid)
    assert drawn == [len(AREAS)] * 4
    assert len(kept(tmp_path)) == 4


def test_a_changed_polygon_alone_is_drawn_anew_and_the_one_that_is_gone_is_dropped(
    tmp_path: Path, drawn: list[int]
) -> None:
    assert_right(Plans(tmp_path), AREAS)
    changed = [area(3, 5, 9.1), *AREAS[1:]]
    plans = Plans(tmp_path, names(changed))
    assert len(assert_right(plans, changed)) == len(AREAS)
    plans.close()
    _, keys = packing.unpacked(kept(tmp_path)[0].read_bytes(), GRID)
    assert sorted(keys) == sorted(packing.keys_of(names(changed)))
    assert_right(Plans(tmp_path, names(changed)), changed)
    assert drawn == [len(AREAS), 1]


def test_areas_that_come_later_are_added(tmp_path: Path, drawn: list[int]) -> None:
    plans = Plans(tmp_path)
    for stop in (300, 310, 310, 400):
        assert_right(plans, AREAS[:stop])
    assert drawn == [300, 10, 90]
    plans.close()
    assert_right(Plans(tmp_path), AREAS)
    assert drawn == [300, 10, 90]


def test_areas_are_found_in_a_plan_of_several_pieces(
    tmp_path: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece grows up to `PIECE` areas. Areas of several pieces are copied, in any order and even twice."""
    monkeypatch.setattr(keeper, "PIECE", 100)
    plans = Plans(tmp_path)
    for start, stop in ((0, 40), (40, 90), (90, 280), (280, 300), (300, 380), (380, 400)):
        assert_right(plans, AREAS[start:stop])
    (one,) = plans._keeper.plans
    assert [len(piece) for piece in one.pieces] == [90, 190, 100, 20]
    for indices in ([5, 89, 5], [89, 90], [399, 0, 300, 399, 280, 1], [*range(399, -1, -7)], [], [*range(400)]):
        whole = assert_right(plans, [AREAS[index] for index in indices])
        assert len(whole) in (90, len(indices))
    assert sorted(one.keys_of_areas) == sorted(packing.keys_of(names(AREAS)))
    assert one.find(one.keys_of_areas).tolist() == [*range(400)]
    assert one.nbytes == sum(piece.nbytes for piece in one.pieces) + 12 * 400
    plans.close()
    (path,) = kept(tmp_path)
    plan, keys = packing.unpacked(path.read_bytes(), GRID)
    assert packing.packed([plan], keys) == path.read_bytes()
    assert_right(Plans(tmp_path), AREAS)
    assert drawn == [40, 50, 190, 20, 80, 20]


def test_large_areas_are_read_as_they_were_written(tmp_path: Path, drawn: list[int]) -> None:
    """In the file runs have 16 bits, in memory 8 bits if no window is larger."""
    large = [*AREAS, area(100, 200, 300.0)]
    assert_right(Plans(tmp_path), large)
    plans = Plans(tmp_path, names(large))
    assert assert_right(plans, large).lengths.dtype == np.uint16
    assert assert_right(Plans(tmp_path, names(AREAS)), AREAS).lengths.dtype == np.uint8
    assert drawn == [len(large)]


def test_a_failure_to_draw_loses_no_area(monkeypatch: pytest.MonkeyPatch, drawn: list[int]) -> None:
    plans = Plans(None)
    assert_right(plans, AREAS[:300])
    monkeypatch.setattr(plans._keeper, "_draw", failing)
    with pytest.raises(ValueError, match="no"):
        plans.of(AREAS, GRID)
    assert_right(plans, AREAS[:300])
    assert drawn == [300]


def failing(_: Sequence[Area], __: Grid) -> GridPlan:
    raise ValueError("no")


def test_areas_may_share_a_polygon(tmp_path: Path, drawn: list[int]) -> None:
    plans = Plans(tmp_path)
    whole, indices = plans.of([AREAS[3], AREAS[2], AREAS[3]], GRID)
    assert indices[0] == indices[2] != indices[1]
    assert (len(whole), drawn) == (2, [2])
    assert_right(plans, [AREAS[2]])


def test_few_areas_are_not_worth_a_file(tmp_path: Path) -> None:
    plans = Plans(tmp_path / "plans")
    assert_right(plans, AREAS[: store.KEPT_FROM - 1])
    plans.close()
    assert kept(tmp_path) == []
    assert_right(plans, AREAS[: store.KEPT_FROM])
    plans.close()
    assert len(kept(tmp_path / "plans")) == 1


def test_without_a_folder_plans_stay_in_memory(drawn: list[int]) -> None:
    plans = Plans(None)
    assert_right(plans, AREAS)
    assert_right(plans, AREAS)
    plans.close()
    assert drawn == [len(AREAS)]


# ---- files that are not believed ---------------------------------------------------------------------------


def test_a_file_that_is_torn_or_altered_anywhere_is_not_believed() -> None:
    data = packing.packed([drawing.draw(AREAS, GRID)], packing.keys_of(names(AREAS)))
    packing.unpacked(data, GRID)
    random = np.random.default_rng(1)
    for length in [*range(200), *random.integers(200, len(data), 300).tolist()]:
        with pytest.raises(ValueError, match="not all of it"):
            packing.unpacked(data[:length], GRID)
    for place in [*range(200), *random.integers(200, len(data), 300).tolist()]:
        altered = bytearray(data)
        altered[place] ^= 1 << int(random.integers(8))
        with pytest.raises(ValueError, match="not a plan"):
            packing.unpacked(bytes(altered), GRID)
    with pytest.raises(ValueError, match="not a plan"):
        packing.unpacked(data + b"\0", GRID)
    with pytest.raises(ValueError, match="another grid"):
        packing.unpacked(data, COARSE)


def test_a_damaged_file_is_replaced(tmp_path: Path, drawn: list[int], caplog: pytest.LogCaptureFixture) -> None:
    assert_right(Plans(tmp_path), AREAS)
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert_right(Plans(tmp_path), AREAS)
    assert [record.event for record in caplog.records] == ["plan_not_used"]  # type: ignore[attr-defined]
    assert path.read_bytes() == whole
    assert drawn == [len(AREAS)] * 2


def test_a_plan_of_another_rule_is_not_read(
    tmp_path: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_right(Plans(tmp_path), AREAS)
    monkeypatch.setattr(packing, "RULE", packing.RULE + 1)
    assert_right(Plans(tmp_path), AREAS)
    assert drawn == [len(AREAS)] * 2


# ---- where plans cannot be kept ----------------------------------------------------------------------------


def test_a_folder_that_cannot_be_used_costs_nothing_but_the_plan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "plans").write_text("not a folder")
    plans = Plans(tmp_path / "plans")
    with caplog.at_level(logging.WARNING):
        assert_right(plans, AREAS)
        assert_right(plans, AREAS, COARSE)
        plans.close()
    events = [record.event for record in caplog.records]  # type: ignore[attr-defined]
    assert events == ["plan_not_used", "plan_not_kept"]


def test_a_full_disk_costs_nothing_but_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    plans = Plans(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    assert_right(plans, AREAS)
    monkeypatch.undo()
    plans.close()
    assert kept(tmp_path) == []


def test_plans_in_memory_are_bounded_and_saved_before_they_are_forgotten(tmp_path: Path, drawn: list[int]) -> None:
    plans = Plans(tmp_path, memory=1)
    assert_right(plans, AREAS[:300])
    assert_right(plans, AREAS[:301])  # not saved at once
    for grid in (COARSE, GRID, COARSE):
        assert_right(plans, AREAS[:301], grid)
        assert len(plans._keeper.plans) == 1
    assert drawn == [300, 1, 301]


def test_plans_on_disk_are_bounded_and_those_used_last_stay(tmp_path: Path) -> None:
    grids = [replace(GRID, width=width) for width in (801, 802, 803)]
    for age, grid in zip((300, 200, 100), grids, strict=True):
        assert_right(Plans(tmp_path), AREAS, grid)
        path = tmp_path / packing.file_name(grid)
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert_right(Plans(tmp_path), AREAS, grids[0])
    size = path.stat().st_size
    assert_right(Plans(tmp_path, disk=3 * size + size // 2), AREAS)
    assert kept(tmp_path) == sorted(tmp_path / packing.file_name(grid) for grid in (grids[0], grids[2], GRID))


@pytest.mark.parametrize("place", ["plans", files.PARTS])
def test_what_a_killed_process_has_left_is_removed_after_an_hour(tmp_path: Path, place: str) -> None:
    """Temporary files lie in the folder of the plans, or in that of all temporary files beside the state."""
    old, new, other = (tmp_path / place / f".{name}.part" for name in ("s2async-plan-01", "s2async-plan-2", "x-1"))
    for folder in {"plans", place}:
        (tmp_path / folder).mkdir()
    for part in (old, new, other):
        part.write_bytes(b"half")
    for part in (old, other):
        os.utime(part, (1, 1))
    assert_right(Plans(tmp_path / "plans"), AREAS)
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {new, other, tmp_path / "plans" / packing.file_name(GRID)}


def test_those_who_write_at_once_leave_a_whole_plan(tmp_path: Path) -> None:
    """Threads with stores of their own stand for processes."""

    def work(first: int) -> None:
        for start in range(first, first + 8):
            plans = Plans(tmp_path, names(AREAS[start:]))
            plans.of(AREAS[start:], GRID)
            plans.close()

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 40, 80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, keys = packing.unpacked(kept(tmp_path)[0].read_bytes(), GRID)
    assert len(kept(tmp_path)) == 1
    assert len(keys) > 300
    assert_right(Plans(tmp_path), AREAS)


@pytest.mark.long
def test_a_killed_writer_leaves_no_half_plan(tmp_path: Path) -> None:
    """The writer replaces one plan by another without an end; it is killed at 30 random moments."""
    plan, keys = drawing.draw(AREAS, GRID), packing.keys_of(names(AREAS))
    contents = [packing.packed([plan], keys), packing.packed([plan.take(range(300))], keys[:300])]
    for number, data in enumerate(contents):
        (tmp_path / f"{number}.bytes").write_bytes(data)
    folder = tmp_path / "plans"
    folder.mkdir()
    path, random, seen = folder / packing.file_name(GRID), np.random.default_rng(), set()
    for number in range(30):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(path), str(number % 2)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert writer.stdout
        assert writer.stdout.read(1) == b"."
        time.sleep(random.uniform(0, 0.05))
        writer.kill()
        writer.communicate()
        seen.add(len(packing.unpacked(path.read_bytes(), GRID)[1]))
        assert_right(Plans(folder), AREAS)  # what is missing in it is drawn
    assert seen == {300, 400}


WRITER = """
import itertools, sys
from pathlib import Path
from s2async import files
contents = [(Path(sys.argv[1]) / f"{number}.bytes").read_bytes() for number in range(2)]
begin = int(sys.argv[3])  # where nothing more is written before the kill, each of them has its turn
for number in itertools.count(begin):
    files.replace(Path(sys.argv[2]), contents[number % 2], token="s2async-plan")
    if number == begin + 1:
        print(".", end="", flush=True)
"""
