"""What the next run does when settings, areas or the catalogue have changed: only what is new, nothing twice."""

from __future__ import annotations

import asyncio
import csv
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import from_bounds
from shapely import Polygon

import s2async
from s2async.areas import loader as area_files
from s2async.causes import Cause
from s2async.config.model import Config
from s2async.engine import cut
from s2async.engine.job_queue import JobQueue
from s2async.events import JobDone, Notice
from s2async.maintenance import rebuild, verify
from s2async.models import Job, Status
from s2async.net import client, retries
from s2async.plan.forecast import Plan
from s2async.plan.survey import survey
from s2async.sandbox.server.process import start as start_server
from s2async.sandbox.truth import oracle
from s2async.state.writer import State
from tests.support import worlds
from tests.support.lanes import long
from tests.support.states import VISUAL
from tests.support.worlds import SHAPES, Ran, Stage

pytestmark = pytest.mark.slow

CLEAR, MIXED, OTHER = "S2A_33UUU_20220101_0_L2A", "S2A_33UUU_20220105_0_L2A", "S2A_33UUU_20220115_0_L2A"
AREAS = {name: worlds.polygon(name) for name in ("North", "Wide", "Tall", "South")}


def items() -> list[worlds.Item]:
    """Two clear ones, and one with clouds over two areas."""
    return [worlds.day(0), worlds.day(4, clouded=frozenset({"North", "Tall"})), worlds.day(14)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), items())


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """A world that stays as it is."""
    yield shared
    shared.sandbox.clear_faults()


@pytest.fixture
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The same, for a test that changes it."""
    yield from worlds.staged(tmp_path_factory.mktemp("world"), items())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_longest_wait", lambda _attempt: 0.0)


def run(folder: Path, stage: Stage, *, areas: Mapping[str, Polygon] = AREAS, **sections: Any) -> Ran:
    """Write the config anew, and run it."""
    return worlds.run(worlds.write_config(folder, stage.sandbox, areas=areas, **sections), stage.sandbox)


def index(ran: Ran) -> set[tuple[str, str, str]]:
    """Area, item and asset of each row; every row's file is there."""
    with ran.summary.index.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    folder = ran.config.output.folder
    assert all((folder / row["path"]).stat().st_size == int(row["file_bytes"]) for row in rows)
    return {(row["area"], row["item_id"], row["asset"]) for row in rows}


def crop(ran: Ran, area: str, item: str, asset: str = "visual") -> Path:
    return ran.config.output.folder / area / f"{item}_{asset}.tif"


# ---- limits and outputs -----------------------------------------------------------------------------------


def test_new_limits_judge_again_without_the_classification(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    assert first.summary.done == {"saved": 10, "cloudy": 2}
    cloudy = {("North", MIXED, "visual"), ("Tall", MIXED, "visual")}
    everything = {(area, item, "visual") for area in AREAS for item in (CLEAR, MIXED, OTHER)}
    assert index(first) == everything - cloudy

    loose = run(tmp_path, stage, clouds={"max_area_cloud": 100})
    assert {*loose.paths} == {f"{MIXED}/TCI.tif"}, "what was cloudy needs its picture, and nothing else"
    assert loose.summary.done == {"saved": 2}
    assert index(loose) == everything
    notices = [event.text for event in loose.events if isinstance(event, Notice)]
    assert "judged 2 measured jobs again by new settings" in notices
    assert not worlds.faults_of(loose.config, stage.world)

    strict = run(tmp_path, stage)
    assert not strict.cogs
    assert not strict.summary.done
    assert index(strict) == everything - cloudy, "what is cloudy now leaves the index"
    assert crop(strict, "North", MIXED).exists(), "its file stays"

    again = run(tmp_path, stage, clouds={"max_area_cloud": 100})
    assert not again.cogs
    assert index(again) == everything

    by_class = run(tmp_path, stage, clouds={"classes": [4]})
    assert not by_class.cogs, "other classes need no new look either"
    assert index(by_class) == cloudy, "under class 9 there is no class 4, and elsewhere it is a third of all"


def test_new_assets_cost_their_own_files_only(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    more = run(tmp_path, stage, output={"assets": ["visual", "red"]})
    assert {*more.paths} == {f"{item}/B04.tif" for item in (CLEAR, MIXED, OTHER)}
    assert more.summary.done == {"saved": 10}
    assert index(more) == index(first) | {(area, item, "red") for area, item, _ in index(first)}
    assert not worlds.faults_of(more.config, stage.world)
    less = run(tmp_path, stage, output={"assets": ["red"]})
    assert not less.cogs
    none = run(tmp_path, stage, output={"assets": []})
    assert not none.cogs
    assert none.summary.clean


def test_measuring_only_reads_the_classification_only(tmp_path: Path, stage: Stage) -> None:
    ran = run(tmp_path, stage, output={"assets": []})
    assert {path[-7:] for path in ran.paths} == {"SCL.tif"}
    assert ran.summary.done == {"saved": 10, "cloudy": 2}
    assert not list(ran.config.output.folder.rglob("*.tif"))
    later = run(tmp_path, stage)
    assert {path[-7:] for path in later.paths} == {"TCI.tif"}


def test_crops_of_the_classification_cost_no_request_of_their_own(tmp_path: Path, stage: Stage) -> None:
    plain = run(tmp_path / "plain", stage)
    ran = run(tmp_path, stage, output={"assets": ["visual", "scl"]})
    assert ran.paths == plain.paths
    assert len(index(ran)) == 20
    assert not worlds.faults_of(ran.config, stage.world)
    later = run(tmp_path / "plain", stage, output={"assets": ["scl"]})
    assert {path[-7:] for path in later.paths} == {"SCL.tif"}
    assert later.summary.done == {"saved": 10}
    assert not worlds.faults_of(later.config, stage.world)


def test_without_a_mask_crops_are_rectangles_of_pictures_read_again(tmp_path: Path, stage: Stage) -> None:
    run(tmp_path, stage)
    ran = run(tmp_path, stage, output={"mask": False})
    assert {path[-7:] for path in ran.paths} == {"TCI.tif"}
    assert ran.summary.done == {"saved": 10}
    assert len(index(ran)) == 10
    picture = stage.world.folder / "cogs" / CLEAR / "TCI.tif"
    masked = oracle.plain_crop(picture, AREAS["Wide"])
    assert masked is not None
    with rasterio.open(crop(ran, "Wide", CLEAR)) as ours, rasterio.open(picture) as scene:
        assert np.array_equal(ours.read(), scene.read(window=from_bounds(*ours.bounds, scene.transform)))
        assert ours.transform == masked.transform
        assert np.count_nonzero(ours.read()) > np.count_nonzero(masked.pixels)
    back = run(tmp_path, stage)
    assert {path[-7:] for path in back.paths} == {"TCI.tif"}
    assert not worlds.faults_of(back.config, stage.world)


class _KilledError(BaseException):
    """Ends a run where a signal would."""


@pytest.mark.parametrize("batches", [0, 1])
def test_a_change_of_the_mask_that_is_interrupted_and_undone_leaves_no_wrong_crop(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    first = run(tmp_path, stage)
    before = {path: path.read_bytes() for path in first.config.output.folder.rglob("*.tif")}
    with monkeypatch.context() as patch:
        plain, calls = State.record, Counter[str]()

        def record(self: State, *args: Any) -> None:
            calls["all"] += 1
            if calls["all"] > batches:
                raise _KilledError  # the batch's crops have replaced the old ones
            plain(self, *args)

        patch.setattr(State, "record", record)
        with pytest.raises(_KilledError):
            run(tmp_path, stage, output={"mask": False})
    assert any(path.read_bytes() != data for path, data in before.items()), "some are without a mask now"
    back = run(tmp_path, stage)
    assert back.summary.clean
    assert index(back) == index(first)
    assert not worlds.faults_of(back.config, stage.world)


# ---- areas ------------------------------------------------------------------------------------------------


def test_a_renamed_area_keeps_its_answers_and_its_files_move(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    (first.config.output.folder / "North" / "notes.txt").write_text("mine")
    renamed = {"Nord-Park": AREAS["North"]} | {name: AREAS[name] for name in ("Wide", "Tall", "South")}
    second = run(tmp_path, stage, areas=renamed)
    assert not second.cogs
    fresh = run(tmp_path / "fresh", stage, areas=renamed)
    assert worlds.result(second.config) == worlds.result(fresh.config), "tags, pixels and index"
    assert crop(second, "Nord-Park", CLEAR).read_bytes() == crop(fresh, "Nord-Park", CLEAR).read_bytes()
    assert not (second.config.output.folder / "North").exists()
    assert (second.config.output.folder / "Nord-Park" / "notes.txt").read_text() == "mine"
    assert {area for area, _, _ in index(second)} == set(renamed)
    with State.create_or_open(second.config.run.state) as state:
        faults = [verify.fault(one, second.config.output.folder) for one in state.stored_crops(VISUAL)]
        assert set(faults) == {""}


def test_swapped_names_swap_the_folders(tmp_path: Path, stage: Stage) -> None:
    run(tmp_path, stage)
    swapped = {"North": AREAS["Wide"], "Wide": AREAS["Tall"], "Tall": AREAS["North"], "South": AREAS["South"]}
    second = run(tmp_path, stage, areas=swapped)
    assert not second.cogs
    fresh = run(tmp_path / "fresh", stage, areas=swapped)
    assert worlds.result(second.config) == worlds.result(fresh.config)
    assert not worlds.faults_of(second.config, stage.world)


def test_a_new_polygon_of_an_old_name_is_a_new_area(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    before = crop(first, "North", CLEAR).read_bytes()
    moved = AREAS | {"North": worlds.lonlat([(x + 300, y + 100) for x, y in SHAPES["North"]])}
    second = run(tmp_path, stage, areas=moved)
    assert second.summary.done == {"saved": 2, "cloudy": 1}, "answers of the new area only"
    assert index(second) == index(first)
    assert not worlds.faults_of(second.config, stage.world)
    assert crop(second, "North", CLEAR).read_bytes() != before
    folder = second.config.output.folder
    (old,) = (path for path in folder.iterdir() if path.name.startswith("North-"))
    assert (old / crop(first, "North", CLEAR).name).read_bytes() == before, "the old area's crops are kept aside"
    back = run(tmp_path, stage)
    assert not back.cogs
    assert crop(back, "North", CLEAR).read_bytes() == before


def test_areas_come_and_go(tmp_path: Path, stage: Stage) -> None:
    two = {name: AREAS[name] for name in ("North", "South")}
    first = run(tmp_path, stage, areas=two)
    assert sum(first.summary.done.values()) == 6
    more = run(tmp_path, stage)
    assert {event.outcome.job.area.name for event in more.events if isinstance(event, JobDone)} == {"Wide", "Tall"}
    assert sum(more.summary.done.values()) == 6
    less = run(tmp_path, stage, areas=two)
    assert not less.cogs
    assert index(less) == index(first)
    assert crop(less, "Wide", CLEAR).exists()
    back = run(tmp_path, stage)
    assert not back.cogs
    assert index(back) == index(more)


def told(ran: Ran) -> list[str]:
    return [event.text for event in ran.events if isinstance(event, Notice)]


def test_areas_that_leave_are_named(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    assert told(first) == []
    two = {name: AREAS[name] for name in ("North", "South")}
    less = run(tmp_path, stage, areas=two)
    (text,) = told(less)
    assert text.startswith("2 areas of the last run are no longer in the configuration: their crops stay on disk")
    assert text.endswith(": Wide, Tall")
    assert told(run(tmp_path, stage, areas=two)) == [], "those of the last run only"
    one = run(tmp_path, stage, areas={"Renamed": AREAS["South"]})
    renamed, removed = told(one)
    assert renamed.startswith("1 area has another name: its folder, tags and rows follow")
    assert renamed.endswith(": South is now Renamed")
    assert removed.startswith("1 area of the last run is no longer in the configuration")
    assert removed.endswith(": North")
    assert crop(one, "North", CLEAR).exists()


def test_a_former_outline_leaves_as_well(tmp_path: Path, stage: Stage) -> None:
    run(tmp_path, stage, areas={"North": AREAS["North"]})
    second = run(tmp_path, stage, areas={"North": AREAS["South"]})
    (text,) = told(second)
    assert text.startswith("1 area has another outline: it is read anew")
    assert text.endswith(": North")


# ---- headers that are known -------------------------------------------------------------------------------


def headers(ran: Ran) -> list[str]:
    """Files whose header was asked for."""
    return sorted(entry.path.removeprefix("/cogs/") for entry in ran.cogs if entry.range.startswith("bytes=0-"))


def test_a_new_area_reads_no_header_of_a_known_file(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage, areas={"North": AREAS["North"]})
    assert headers(first) == sorted(
        [f"{i}/SCL.tif" for i in (CLEAR, MIXED, OTHER)] + [f"{i}/TCI.tif" for i in (CLEAR, OTHER)]
    )
    second = run(tmp_path, stage, areas={name: AREAS[name] for name in ("North", "South")})
    assert second.summary.done == {"saved": 3}
    assert headers(second) == [f"{MIXED}/TCI.tif"], "North was cloudy there: its picture was never opened"
    known = [entry for entry in second.cogs if not entry.path.endswith(f"{MIXED}/TCI.tif")]
    assert len(known) == 3 + 2, "the tiles of one area in each file, and nothing else"
    assert all(entry.headers.get("If-Match") for entry in known), "had the file changed, that would show"
    third = run(tmp_path, stage)
    assert third.summary.done == {"saved": 5, "cloudy": 1}
    assert headers(third) == []
    at_once = run(tmp_path / "at once", stage)
    assert worlds.result(third.config) == worlds.result(at_once.config)
    assert len(headers(at_once)) == 6


def test_jobs_that_are_opened_again_read_no_header(tmp_path: Path, stage: Stage) -> None:
    run(tmp_path, stage)
    plain = run(tmp_path, stage, output={"mask": False})
    assert plain.summary.done == {"saved": 10}
    assert headers(plain) == []
    assert len(plain.cogs) > 3


def test_a_file_that_has_changed_is_read_anew_and_remembered_anew(tmp_path: Path, changing: Stage) -> None:
    """The same item, version and address, other pixels: nobody said so."""
    run(tmp_path, changing, areas={"North": AREAS["North"]})
    cogs = changing.world.folder / "cogs"
    for name in ("SCL.tif", "TCI.tif"):
        shutil.copyfile(cogs / OTHER / name, cogs / CLEAR / name)

    def differs(ran: Ran, area: str) -> str | None:
        polygon = worlds.jobs(ran.config)[area, CLEAR].polygon
        return oracle.crop_differs(crop(ran, area, CLEAR), cogs / CLEAR / "TCI.tif", polygon)

    two = {name: AREAS[name] for name in ("North", "South")}
    second = run(tmp_path, changing, areas=two)
    assert second.summary.done == {"saved": 3}
    assert headers(second) == sorted([f"{CLEAR}/SCL.tif", f"{CLEAR}/TCI.tif", f"{MIXED}/TCI.tif"])
    asked = [(entry.path[-7:], entry.status) for entry in second.cogs if f"/{CLEAR}/" in entry.path]
    assert asked == [(name, status) for name in ("SCL.tif", "TCI.tif") for status in (412, 206, 206)]
    assert differs(second, "South") is None
    third = run(tmp_path, changing)
    assert headers(third) == []
    assert {entry.status for entry in third.cogs} == {206}, "the new header is the one that was kept"
    assert differs(third, "Wide") is None
    assert differs(third, "North") is not None, "of the file as it was"


def test_a_damaged_header_is_read_anew(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage, areas={"North": AREAS["North"]})
    with State.create_or_open(first.config.run.state) as state:
        state._db.execute("UPDATE headers SET header = substr(header, 1, 99)")
    second = run(tmp_path, stage)
    at_once = run(tmp_path / "at once", stage)
    assert headers(second) == headers(at_once)
    assert worlds.result(second.config) == worlds.result(at_once.config)
    assert headers(run(tmp_path, stage, output={"mask": False})) == []


# ---- the catalogue ----------------------------------------------------------------------------------------


def test_a_new_version_of_an_item_is_a_new_question(tmp_path: Path, changing: Stage) -> None:
    first = run(tmp_path, changing)
    before = crop(first, "North", CLEAR).read_bytes()
    changing.world.change(CLEAR, version="2", clouded=frozenset({"South"}), updated="2022-05-01T00:00:00Z")
    changing.restart()
    second = run(tmp_path, changing)
    assert {*second.paths} == {f"{CLEAR}/SCL.tif", f"{CLEAR}/TCI.tif"}
    assert second.summary.done == {"saved": 3, "cloudy": 1}
    assert crop(second, "North", CLEAR).read_bytes() != before
    assert not worlds.faults_of(second.config, changing.world)
    assert index(second) == index(first) - {("South", CLEAR, "visual")}
    assert not run(tmp_path, changing).cogs


@pytest.mark.parametrize("begun", [True, False])
def test_an_edition_that_is_replaced_while_its_jobs_wait_or_are_worked_on(
    tmp_path: Path, changing: Stage, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """Open jobs of the old edition go first, then the search brings the new one: both write the same file."""
    one: dict[str, Any] = {
        "areas": {"North": AREAS["North"]},
        "search": {"datetime": "2022-01-01/2022-01-01"},
        "output": {"assets": ["visual", "red"]},
    }
    run(tmp_path, changing, **one | {"output": {"assets": ["red"]}})
    changing.world.change(CLEAR, version="2")
    changing.restart()
    read, fetch, add_scene, take_run = (
        client.Transport.read,
        client.Transport.json,
        State.add_scene,
        JobQueue.take_run,
    )

    async def until(event: threading.Event) -> None:
        for _ in range(2000):
            if event.is_set():
                break
            await asyncio.sleep(0.01)

    pictures, started, found = Counter[str](), threading.Event(), threading.Event()

    async def slow_read(self: client.Transport, href: str, *args: Any, **kwargs: Any) -> client.Piece:
        name = href[-7:]
        pictures[name] += 1
        started.set()
        if name == "TCI.tif" and pictures[name] == 1:  # the old edition's, until the new one has its picture
            await until(found)
            await asyncio.sleep(0.3)
        if name == "B04.tif":  # the new edition's, until the old one has its answer
            await asyncio.sleep(0.6)
        return await read(self, href, *args, **kwargs)

    async def late_page(self: client.Transport, *args: Any, **kwargs: Any) -> Any:
        if begun:  # the search finds the new edition when a file of the old one is being read
            await until(started)
        return await fetch(self, *args, **kwargs)

    def add_and_tell(self: State, *args: Any, **kwargs: Any) -> Sequence[Job]:
        added = add_scene(self, *args, **kwargs)
        found.set()
        return added

    async def take_late(self: JobQueue) -> tuple[list[Job], bool]:
        if not begun:
            await until(found)
            await asyncio.sleep(0.05)
        return await take_run(self)

    monkeypatch.setattr(client.Transport, "read", slow_read)
    monkeypatch.setattr(client.Transport, "json", late_page)
    monkeypatch.setattr(State, "add_scene", add_and_tell)
    monkeypatch.setattr(JobQueue, "take_run", take_late)
    ran = run(tmp_path, changing, **one)
    assert ran.summary.done == {"saved": 1 + begun}
    assert ran.progress.found == 1 + begun
    assert ran.summary.left == 0
    with State.create_or_open(ran.config.run.state) as state:
        stored = list(state.stored_crops(VISUAL))
    assert {made.asset: verify.fault(made, ran.config.output.folder) for made in stored} == {
        "red": "",
        "visual": "",
    }
    assert not worlds.faults_of(ran.config, changing.world)
    with rasterio.open(crop(ran, "North", CLEAR)) as picture:
        assert picture.tags()["ITEM_VERSION"] == f"{CLEAR}_2.SAFE"


def test_an_update_without_a_new_version_changes_nothing(tmp_path: Path, changing: Stage) -> None:
    run(tmp_path, changing)
    changing.world.change(CLEAR, updated="2022-05-01T00:00:00Z")
    changing.restart()
    assert not run(tmp_path, changing).cogs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that a test sets."""
    found = Clock()
    monkeypatch.setattr("s2async.state.writer.seconds", lambda: found.now)
    return found


@dataclass
class Clock:
    now: int = 1_700_000_000


def test_a_file_that_is_not_there_is_asked_for_four_times(tmp_path: Path, changing: Stage, clock: Clock) -> None:
    """By the next run, for it may just have been late; and twice more, at least a day apart."""
    changing.world.change(CLEAR, lacks=frozenset({"scl"}))
    changing.world.change(OTHER, lacks=frozenset({"visual"}))
    changing.restart()
    first = run(tmp_path, changing)
    assert first.summary.done == {"missing": 8, "saved": 2, "cloudy": 2}
    assert first.summary.causes == {(Status.MISSING, Cause.NOT_THERE): 8}
    assert first.summary.clean, "a file that does not exist is an answer"
    gone = {f"{CLEAR}/SCL.tif", f"{OTHER}/TCI.tif"}
    for wait, asked in (
        (0, gone),
        (0, set()),
        (86_399, set()),
        (1, gone),
        (86_399, set()),
        (1, gone),
        (86_400, set()),
        (1_000_000, set()),
    ):
        clock.now += wait
        again = run(tmp_path, changing)
        assert {*again.paths} == asked, "what was measured is known"
        assert again.summary.done == ({"missing": 8} if asked else {})
        assert again.summary.clean
        assert worlds.statuses(again.config)["North", CLEAR] == Status.MISSING
    # the files turn up
    changing.world.change(CLEAR, lacks=frozenset())
    changing.world.change(OTHER, lacks=frozenset())
    changing.restart()
    assert not run(tmp_path, changing).cogs, "nobody said so"
    changing.world.change(CLEAR, updated="2022-05-01T00:00:00Z")
    changing.restart()
    second = run(tmp_path, changing)
    assert {*second.paths} == {f"{CLEAR}/SCL.tif", f"{CLEAR}/TCI.tif"}
    assert second.summary.done == {"saved": 4}
    with State.create_or_open(second.config.run.state) as state:
        assert state.retry() == 0
        assert state.retry(missing=True) == 4
    third = run(tmp_path, changing)
    assert {*third.paths} == {f"{OTHER}/TCI.tif"}, "what was measured is known"
    assert third.summary.done == {"saved": 4}


def test_a_file_that_is_published_after_its_item_is_had_by_the_next_run(
    tmp_path: Path, changing: Stage, clock: Clock
) -> None:
    changing.world.change(CLEAR, lacks=frozenset({"visual"}))
    changing.restart()
    assert run(tmp_path, changing).summary.done == {"missing": 4, "saved": 6, "cloudy": 2}
    changing.world.change(CLEAR, lacks=frozenset())
    changing.restart()
    clock.now -= 5_000_000
    second = run(tmp_path, changing)
    assert {*second.paths} == {f"{CLEAR}/TCI.tif"}
    assert second.summary.done == {"saved": 4}
    assert not worlds.faults_of(second.config, changing.world)


def test_a_clock_that_went_backwards_makes_nobody_wait(tmp_path: Path, changing: Stage, clock: Clock) -> None:
    changing.world.change(CLEAR, lacks=frozenset({"visual"}))
    changing.restart()
    asked = []
    for wait in (0, 0, 0, -10_000_000, 0):
        clock.now += wait
        asked.append(f"{CLEAR}/TCI.tif" in run(tmp_path, changing).paths)
    assert asked == [True, True, False, True, False]


def test_what_the_plan_counts_is_what_a_run_would_ask_for_again(
    tmp_path: Path, changing: Stage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s2async.state.reader.time.time", lambda: clock.now)
    changing.world.change(CLEAR, lacks=frozenset({"scl"}))
    changing.world.change(OTHER, lacks=frozenset({"visual"}))
    changing.restart()
    opened = []
    for wait in (0, 0, 0, 86_400, 86_400):
        clock.now += wait
        ran = run(tmp_path, changing)
        plan = planned(ran)
        opened.append((sum(ran.summary.done.values()), plan.open, plan.kept.high > 0))
    assert opened == [(12, 8, True), (8, 0, False), (0, 0, False), (8, 0, False), (8, 0, False)]
    clock.now += 86_400
    changing.world.change(CLEAR, updated="2022-05-01T00:00:00Z")
    changing.restart()
    assert planned(ran).open == 4
    assert run(tmp_path, changing).summary.done == {"missing": 4}


def planned(ran: Ran) -> Plan:
    areas = area_files.load(ran.config)
    return asyncio.run(survey(ran.config, areas, connections=8, bandwidth=1e7)).plan


def test_transient_failures_are_tried_by_five_more_runs(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path=f"{CLEAR}/SCL", count=None, status=500)
    plain: dict[str, Any] = {"network": {"attempts": 2}}
    asked = []
    for number in range(8):
        ran = run(tmp_path, stage, **plain)
        asked.append(ran.paths[f"{CLEAR}/SCL.tif"])
        assert not ran.summary.clean
        assert ran.summary.failed == 4
        assert ran.progress.done[Status.FAILED] == (4 if number < 6 else 0)
    assert asked == [2] * 6 + [0] * 2
    stage.sandbox.clear_faults()
    assert not run(tmp_path, stage, **plain).cogs
    with State.create_or_open(ran.config.run.state) as state:
        assert state.retry() == 4
    mended = run(tmp_path, stage, **plain)
    assert mended.summary.clean
    assert mended.summary.done == {"saved": 4}


@pytest.mark.parametrize("status", [403, 400])
def test_what_is_denied_is_tried_again(tmp_path: Path, stage: Stage, status: int) -> None:
    stage.sandbox.fault("code", path=f"{CLEAR}/TCI", count=None, status=status)
    first = run(tmp_path, stage)
    assert first.summary.done == {"failed": 4, "saved": 6, "cloudy": 2}
    assert first.summary.exit_code == 3
    stage.sandbox.clear_faults()
    second = run(tmp_path, stage)
    assert {*second.paths} == {f"{CLEAR}/TCI.tif"}
    assert second.summary.done == {"saved": 4}
    assert second.summary.clean


@pytest.mark.parametrize(("file", "status"), [("TCI", 403), ("TCI", 401), ("SCL", 403)])
def test_a_file_that_is_denied_while_others_are_given_counts_as_missing_after_five_runs(
    tmp_path: Path, stage: Stage, file: str, status: int
) -> None:
    stage.sandbox.fault("code", path=f"{CLEAR}/{file}", count=None, status=status)
    for number in range(1, 6):
        ran = run(tmp_path, stage)
        assert f"{CLEAR}/{file}.tif" in ran.paths
        assert ran.progress.done[Status.FAILED] == 4
        assert ran.summary.exit_code == (3 if number < 5 else 0)
    settled = [event.text for event in ran.events if isinstance(event, Notice)]
    expected = r"4 crops are no longer requested, such as (scl|visual): missing or not public: access denied"
    assert len([text for text in settled if re.match(expected, text)]) == 1
    sixth = run(tmp_path, stage)
    assert (sixth.cogs, sixth.summary.exit_code) == ([], 0)
    told = {job.reason for job in worlds.jobs(sixth.config).values() if job.status == "missing"}
    (reason,) = told
    assert re.match(rf"(scl|visual): missing or not public: access denied \({status}\): http", reason)
    stage.sandbox.clear_faults()
    assert not run(tmp_path, stage).cogs, "settled"
    with State.create_or_open(sixth.config.run.state) as state:
        assert state.without(VISUAL).by_status == {"missing": {Cause.DENIED: 4}}
        assert state.retry(missing=True) == 4
    assert run(tmp_path, stage).summary.done == {"saved": 4}


def test_a_server_that_denies_everything_settles_nothing(tmp_path: Path, stage: Stage) -> None:
    """A token that is out of date for days."""
    stage.sandbox.fault("code", path="/cogs/", count=None, status=403)
    for _ in range(5):
        assert run(tmp_path, stage).summary.done == {"failed": 12}
    stage.sandbox.clear_faults()
    well = run(tmp_path, stage)
    assert well.summary.done == {"saved": 10, "cloudy": 2}
    assert well.summary.clean


def test_a_file_that_was_denied_alone_is_not_settled_while_its_server_denies_everything(
    tmp_path: Path, changing: Stage
) -> None:
    changing.sandbox.fault("code", path=f"{CLEAR}/TCI", count=None, status=403)
    for _ in range(4):
        assert run(tmp_path, changing).progress.done[Status.FAILED] == 4
    changing.sandbox.fault("code", path="/cogs/", count=None, status=403)
    changing.world.put(worlds.day(20))
    changing.restart()
    changing.sandbox.fault("code", path="/cogs/", count=None, status=403)
    fifth = run(tmp_path, changing)
    assert fifth.summary.failed == 8, "a new scene was denied as well"
    changing.sandbox.clear_faults()
    assert run(tmp_path, changing).summary.done == {"saved": 8}


def test_crops_made_before_another_asset_failed_are_kept_and_count(tmp_path: Path, stage: Stage) -> None:
    both: dict[str, Any] = {"output": {"assets": ["red", "visual"]}, "network": {"attempts": 1}}
    stage.sandbox.fault("code", path=f"{CLEAR}/B04", count=1, status=500)
    first = run(tmp_path, stage, **both)
    assert first.summary.done == {"failed": 4, "saved": 6, "cloudy": 2}
    assert {asset for _, item, asset in index(first) if item == CLEAR} == {"visual"}, "what is there is listed"
    assert len(list(s2async.read(first.config, item=CLEAR))) == 4
    second = run(tmp_path, stage, **both)
    assert {*second.paths} == {f"{CLEAR}/B04.tif"}
    assert second.summary.done == {"saved": 4}
    assert not worlds.faults_of(second.config, stage.world)


def test_a_lost_crop_of_a_job_that_failed_is_written_anew(tmp_path: Path, stage: Stage) -> None:
    both: dict[str, Any] = {"output": {"assets": ["red", "visual"]}, "network": {"attempts": 1}}
    stage.sandbox.fault("code", path=f"{CLEAR}/B04", count=None, status=503)
    for _ in range(6):
        first = run(tmp_path, stage, **both)
    assert not run(tmp_path, stage, **both).cogs, "given up"
    crop(first, "North", CLEAR).unlink()
    with State.create_or_open(first.config.run.state) as state:
        stored = list(state.stored_crops(VISUAL))
        state.forget_crops([each for each in stored if verify.fault(each, first.config.output.folder)])
    again = run(tmp_path, stage, **both)
    assert again.paths[f"{CLEAR}/TCI.tif"] == 1
    assert crop(again, "North", CLEAR).exists()
    assert ("North", CLEAR, "visual") in index(again)


# ---- one asset of several ---------------------------------------------------------------------------------

BOTH: dict[str, Any] = {"output": {"assets": ["red", "scl", "visual"]}}


@pytest.mark.parametrize("lacks", ["red", *long("key:red")])
def test_an_asset_that_some_items_lack_costs_that_asset_only(tmp_path: Path, changing: Stage, lacks: str) -> None:
    changing.world.change(CLEAR, lacks=frozenset({lacks}))
    changing.restart()
    first = run(tmp_path, changing, **BOTH)
    assert first.summary.done == {"saved": 10, "cloudy": 2}
    assert first.summary.exit_code == 0
    assert {asset for _, item, asset in index(first) if item == CLEAR} == {"scl", "visual"}
    assert {asset for _, item, asset in index(first) if item == OTHER} == {"red", "scl", "visual"}
    cause = Cause.NO_ASSET if lacks == "key:red" else Cause.NOT_THERE
    assert first.summary.without == {("red", cause): 4}
    job = worlds.jobs(first.config)["North", CLEAR]
    assert (job.status, job.reason.startswith("without red: ")) == ("saved", True)
    assert not worlds.faults_of(first.config, changing.world)
    again = run(tmp_path, changing, **BOTH)
    assert {*again.paths} == ({f"{CLEAR}/B04.tif"} if lacks == "red" else set()), "and never the classification"
    # other wishes, back and forth
    alone = run(tmp_path, changing, output={"assets": ["red"]})
    assert not alone.cogs
    assert worlds.statuses(alone.config)["North", CLEAR] == Status.MISSING
    assert {asset for _, item, asset in index(alone) if item == CLEAR} == {"scl", "visual"}, "they are still there"
    back = run(tmp_path, changing, **BOTH)
    assert not back.cogs
    assert worlds.statuses(back.config) == worlds.statuses(first.config)
    # published at last
    changing.world.change(CLEAR, lacks=frozenset(), updated="2022-05-01T00:00:00Z")
    changing.restart()
    healed = run(tmp_path, changing, **BOTH)
    assert {*healed.paths} == {f"{CLEAR}/B04.tif"}
    assert healed.summary.done == {"saved": 4}
    assert len(index(healed)) == 30
    assert not worlds.query(healed.config.run.state, "SELECT * FROM absences")


def test_an_update_of_an_item_that_still_lacks_the_asset_costs_no_request(tmp_path: Path, changing: Stage) -> None:
    changing.world.change(CLEAR, lacks=frozenset({"key:red"}))
    changing.restart()
    run(tmp_path, changing, **BOTH)
    changing.world.change(CLEAR, updated="2022-05-01T00:00:00Z")
    changing.restart()
    again = run(tmp_path, changing, **BOTH)
    assert not again.cogs
    assert worlds.statuses(again.config)["North", CLEAR] == Status.SAVED


def test_retry_missing_asks_for_the_lacking_asset_of_saved_jobs(tmp_path: Path, changing: Stage) -> None:
    changing.world.change(CLEAR, lacks=frozenset({"red"}))
    changing.restart()
    for _ in range(3):
        ran = run(tmp_path, changing, **BOTH)
    assert not ran.cogs, "not before tomorrow"
    with State.create_or_open(ran.config.run.state) as state:
        assert state.retry() == 0
        assert state.retry(missing=True) == 4
    assert {*run(tmp_path, changing, **BOTH).paths} == {f"{CLEAR}/B04.tif"}


def test_a_kill_between_two_assets_costs_neither(
    tmp_path: Path, changing: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing.world.change(CLEAR, lacks=frozenset({"red"}))
    changing.restart()
    with monkeypatch.context() as patch:
        plain, calls = cut.Cut.do, Counter[str]()

        async def failing(self: Any, asset: Any, jobs: Any) -> None:
            calls[asset.key] += 1
            if calls["visual"]:
                raise _KilledError
            await plain(self, asset, jobs)

        patch.setattr(cut.Cut, "do", failing)
        with pytest.raises(_KilledError):
            run(tmp_path, changing, **BOTH)
    again = run(tmp_path, changing, **BOTH)
    assert again.summary.clean
    statuses = worlds.statuses(again.config)
    assert Counter(statuses.values()) == {"saved": 10, "cloudy": 2}
    assert len(index(again)) == 26
    assert not worlds.faults_of(again.config, changing.world)


@pytest.mark.parametrize("late", [False, True], ids=["", "searches are late"])
def test_a_state_made_from_the_crops_goes_on_without_the_asset_that_lacks(
    tmp_path: Path, changing: Stage, late: bool
) -> None:
    changing.world.change(CLEAR, lacks=frozenset({"red"}))
    changing.restart()
    first = run(tmp_path, changing, **BOTH)
    before = worlds.result(first.config)
    first.config.run.state.unlink()
    config, areas = first.config, area_files.load(first.config)
    rule, wanted = config.cloud_rule(), config.selection()
    made = rebuild.rebuild(config, areas, rule, wanted, "1")
    assert made.known == 26
    if late:
        changing.sandbox.fault("code", path="/search", status=503)
    again = run(tmp_path, changing, **BOTH)
    assert {*again.paths} - {f"{MIXED}/SCL.tif"} == {f"{CLEAR}/B04.tif"}
    worked_on = [event.outcome.job.scene for event in again.events if isinstance(event, JobDone)]
    assert all("red" in scene.assets for scene in worked_on), "where a file lacks, the search may know more"
    assert worlds.result(again.config) == before


# ---- twins and searches -----------------------------------------------------------------------------------

STRIP = "S20220101T102025"
OLD, NEW = "S2A_33UUU_20220101_0_L2A", "S2A_33UUU_20220101_1_L2A"


def test_twins_come_go_and_are_switched(tmp_path: Path, changing: Stage) -> None:
    changing.world.change(OLD, datastrip=STRIP, baseline="04.00")
    changing.restart()
    first = run(tmp_path, changing)
    assert ("North", OLD, "visual") in index(first)

    changing.world.put(worlds.day(0, id=NEW, datastrip=STRIP, baseline="05.10", clouded=frozenset({"South"})))
    changing.restart()
    newer = run(tmp_path, changing)
    assert {path[:24] for path in newer.paths} == {NEW}
    assert {item for _, item, _ in index(newer)} == {NEW, MIXED, OTHER}, "superseded crops leave the index"
    assert crop(newer, "North", OLD).exists(), "and stay on disk"
    assert newer.summary.clean

    both = run(tmp_path, changing, search={"reprocessed": "all"})
    assert not both.cogs, "the answers of the older one are known"
    assert index(both) == index(first) | index(newer)
    assert index(run(tmp_path, changing)) == index(newer)


def test_only_the_newest_twin_is_read_and_all_on_request(tmp_path: Path, changing: Stage) -> None:
    changing.world.change(OLD, datastrip=STRIP, baseline="04.00")
    changing.world.put(worlds.day(0, id=NEW, datastrip=STRIP, baseline="05.10"))
    changing.restart()
    newest = run(tmp_path, changing)
    assert not [path for path in newest.paths if path.startswith(OLD)]
    everything = run(tmp_path, changing, search={"twins": "all"})  # the former name of the setting
    notices = [event.text for event in everything.events if isinstance(event, Notice) and "twins" in event.text]
    assert ["reprocessed" in text for text in notices] == [True]
    assert {path[:24] for path in everything.paths} == {OLD}
    assert everything.summary.done == {"saved": 4}


def test_a_newer_twin_that_is_offered_no_more_hides_nothing_from_a_new_area(
    tmp_path: Path, changing: Stage
) -> None:
    changing.world.change(OLD, datastrip=STRIP, baseline="04.00")
    changing.world.put(worlds.day(0, id=NEW, datastrip=STRIP, baseline="05.10"))
    changing.restart()
    run(tmp_path, changing, areas={"North": AREAS["North"]})
    del changing.world.items[NEW]
    changing.restart()
    ran = run(tmp_path, changing, areas={name: AREAS[name] for name in ("North", "Wide")})
    assert ran.summary.clean
    assert ran.summary.left == 0
    assert {place[:2] for place in index(ran)} == {
        ("North", NEW), ("North", OTHER), ("Wide", OLD), ("Wide", MIXED), ("Wide", OTHER),
    }  # fmt: skip


def test_two_halves_of_a_pass_are_no_twins(tmp_path: Path, changing: Stage) -> None:
    changing.world.change(OLD, datastrip=STRIP)
    half = worlds.day(0, id=NEW, datastrip="S20220101T102050", baseline="05.10")
    changing.world.put(replace(half, when=half.when.replace(second=33)))
    changing.restart()
    ran = run(tmp_path, changing)
    assert {item for _, item, _ in index(ran)} == {OLD, NEW, MIXED, OTHER}


def test_a_scene_of_two_searches_is_worked_on_once(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = run(tmp_path / "calm", stage)
    monkeypatch.setattr("s2async.catalog.planning.GROUP_DEGREES", 0.001)
    ran = run(tmp_path, stage)
    assert ran.progress.searches == 4
    assert ran.paths == calm.paths
    assert ran.summary.done == calm.summary.done
    assert Counter(worlds.statuses(ran.config).values()) == {"saved": 10, "cloudy": 2}


@pytest.mark.parametrize("reprocessed", ["newest", *long("all")])
def test_another_collection_with_the_same_ids_has_crops_of_its_own_names(
    tmp_path: Path, changing: Stage, reprocessed: str
) -> None:
    """Also after a rebuild, and then for crops that are new."""
    first = run(tmp_path, changing)
    before = {path: path.read_bytes() for path in worlds.crops(first.config)}
    items = changing.world.folder / "items.jsonl"
    items.write_text(items.read_text().replace('"collection":"sentinel-2-l2a"', '"collection":"other"'))
    with start_server(changing.world.folder) as sandbox:
        catalog = {"url": sandbox.api, "collection": "other", "assets": {"scl": "scl"}}
        search = {"catalog": catalog, "reprocessed": reprocessed}
        path = worlds.write_config(tmp_path, sandbox, areas=AREAS, search=search)
        second = worlds.run(path, sandbox)
        assert second.summary.done == first.summary.done
        others = {one: one.with_name(one.name.replace("_visual", "_other_visual")) for one in before}
        assert {*worlds.crops(second.config)} == {*before, *others.values()}
        for one, other in others.items():
            assert one.read_bytes() == before[one]
            with rasterio.open(one) as plain, rasterio.open(other) as renamed:
                assert (plain.read() == renamed.read()).all()
                assert renamed.tags()["COLLECTION"] == "other"
        with second.summary.index.open(encoding="utf-8", newline="") as file:
            assert sorted(row["path"] for row in csv.DictReader(file)) == sorted(
                one.relative_to(second.config.output.folder).as_posix() for one in worlds.crops(second.config)
            )

        second.config.run.state.unlink()
        config = second.config
        made = rebuild.rebuild(config, area_files.load(config), config.cloud_rule(), config.selection(), "1.0")
        assert (made.known, made.strange) == (20, [])
        path = worlds.write_config(tmp_path, sandbox, areas=AREAS, search=search, clouds={"max_area_cloud": 100})
        third = worlds.run(path, sandbox)
        assert {*third.paths} == {f"{MIXED}/SCL.tif", f"{MIXED}/TCI.tif"}
        assert {*worlds.crops(third.config)} - {*before, *others.values()} == {
            third.config.output.folder / area / f"{MIXED}_other_visual.tif" for area in ("North", "Tall")
        }
    assert all(one.read_bytes() == data for one, data in before.items())


def test_an_item_that_is_gone_from_the_catalogue_is_not_deleted(tmp_path: Path, changing: Stage) -> None:
    first = run(tmp_path, changing)
    del changing.world.items[OTHER]
    changing.restart()
    second = run(tmp_path, changing)
    assert not second.cogs
    assert index(second) == index(first)


def test_a_wider_period_adds_and_a_shorter_one_keeps(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage, search={"datetime": "2022-01-01/2022-01-03"})
    assert sum(first.summary.done.values()) == 4
    wider = run(tmp_path, stage)
    assert sum(wider.summary.done.values()) == 8
    again = run(tmp_path, stage, search={"datetime": "2022-01-01/2022-01-03"})
    assert not again.cogs
    assert index(again) == index(wider)


def test_the_order_of_areas_in_a_config_means_nothing(tmp_path: Path, stage: Stage) -> None:
    first = run(tmp_path, stage)
    second = run(tmp_path, stage, areas=dict(reversed(AREAS.items())))
    assert not second.cogs
    assert index(second) == index(first)
    assert Config.load(tmp_path / "config.toml").areas != first.config.areas
