"""The run: its limits, exact counts, faults of servers and of this machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from shapely import box

from s2async import files
from s2async.areas import loader as area_files
from s2async.cog import memory
from s2async.config.model import Config
from s2async.engine import context, feeding, pipeline, worker
from s2async.engine.job_queue import JobQueue
from s2async.errors import LocalError, StateInUse
from s2async.events import JobDone, JobsFound, Notice, SearchDone
from s2async.models import Batch, BatchResult, Job, Status, Traffic, Use
from s2async.net import client, retries
from s2async.net.limiter import TURN
from s2async.sandbox.truth import least, oracle
from s2async.state.reader import Ledger
from s2async.state.records import AreaCounts
from s2async.state.writer import State
from tests.support import worlds
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once."""
    monkeypatch.setattr(retries, "_longest_wait", lambda _attempt: 0.0)


# ---- exact counts -----------------------------------------------------------------------------------------


def booked(config: Config) -> tuple[int, int]:
    """Requests and bytes in the state's table."""
    row = worlds.query(config.run.state, "SELECT sum(requests), sum(bytes) FROM traffic")[0]
    return int(row[0]), int(row[1])


def assert_counts_equal_the_log(ran: worlds.Ran) -> None:
    meter = ran.progress.meter
    assert (meter.requests, meter.bytes) == (len(ran.log), ran.bytes)
    assert booked(ran.config) == (len(ran.log), ran.bytes)
    assert (ran.summary.requests, ran.summary.bytes) == (len(ran.log), ran.bytes)
    with State.create_or_open(ran.config.run.state) as state:
        by_use: dict[str, int] = Counter()
        for entry in state.traffic():
            by_use[entry.stage] += entry.bytes
            assert entry.bytes >= 0
    assert by_use["search"] == sum(entry.bytes for entry in ran.log if entry.kind == "search")
    assert by_use["header"] + by_use["tiles"] == sum(entry.bytes for entry in ran.cogs)


def traffic(ran: worlds.Ran) -> dict[tuple[str, str, Use], Traffic]:
    with State.create_or_open(ran.config.run.state) as state:
        return {(entry.stage, entry.asset, entry.use): entry for entry in state.traffic()}


def test_requests_are_files_and_runs_of_neighbouring_tiles_and_every_byte_is_known(
    tmp_path: Path, stage: Stage
) -> None:
    """One clear scene, whose polygons touch the tiles 0 | 3 4 5 6 | 10 | 13 of the picture, as files count."""
    path = worlds.write_config(
        tmp_path, stage.sandbox, search={"datetime": "2022-01-01/2022-01-01"}, clouds={"min_area_valid": 0}
    )
    ran = worlds.run(path, stage.sandbox)
    name = "S2A_33UUU_20220101_0_L2A"
    assert ran.paths == {f"{name}/SCL.tif": 1 + 1, f"{name}/TCI.tif": 1 + 4}
    assert ran.summary.done == {Status.SAVED: 5, Status.OUTSIDE: 1}
    assert_counts_equal_the_log(ran)

    shapes = [worlds.polygon(area) for area in worlds.SHAPES]
    place = stage.world.folder / "cogs" / name
    tiles = {key: oracle.touched_blocks(place / f"{key}.tif", shapes) for key in ("SCL", "TCI")}
    assert sorted(row * 4 + col for row, col in tiles["TCI"]) == [0, 3, 4, 5, 6, 10, 13]
    found = traffic(ran)
    between = 8  # GDAL keeps a length before and four bytes after each tile
    for asset, key, gaps in (("scl", "SCL", 3 * between), ("visual", "TCI", 3 * between)):
        useful, wasted = (found["tiles", asset, use].bytes for use in (Use.USEFUL, Use.WASTED))
        assert useful + wasted == sum(tiles[key].values()) + gaps, "so small tiles are read whole"
        needed = sum(least.needed_parts(place / f"{key}.tif", shapes, frozenset(tiles[key])))
        if asset == "scl":
            assert needed < useful == sum(tiles[key].values()), "to its checksum, all of a tile is needed"
        else:
            assert needed <= useful <= needed + 16 * len(tiles[key]) < sum(tiles[key].values())
        headers = found["header", asset, Use.USEFUL].bytes + found["header", asset, Use.WASTED].bytes
        assert headers == 8192
        assert 500 < found["header", asset, Use.USEFUL].bytes < 2000
    assert not [use for _, _, use in found if use is Use.RETRIED]


def test_every_kind_of_item_gets_its_answer_and_counts_equal_the_log(tmp_path: Path, stage: Stage) -> None:
    ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox)
    assert_counts_equal_the_log(ran)
    assert ran.summary.clean
    assert ran.summary.left == 0
    found = worlds.statuses(ran.config)
    assert len(found) == 11 * 6, "not the item of 95 % cloud, not the older twin"
    days: dict[str, dict[str, str]] = {}
    for (area, item), status in found.items():
        days.setdefault(item[10:20], {})[area] = status
    sound = {"North": "saved", "Wide": "saved", "Tall": "saved", "South": "saved", "Rim": "nodata",
             "Beyond": "outside"}  # fmt: skip
    west_empty = sound | {"North": "nodata", "Wide": "nodata"}
    missing = dict.fromkeys(sound, "missing")
    assert days == {
        "20220101_0": sound,
        "20220103_0": dict.fromkeys(sound, "cloudy") | {"Rim": "nodata", "Beyond": "outside"},
        "20220105_0": sound | {"North": "cloudy", "Tall": "cloudy"},
        "20220107_0": west_empty,
        "20220109_0": missing,
        "20220111_0": missing,
        "20220113_0": missing | {"Wide": "cloudy", "Rim": "nodata", "Beyond": "outside"},
        "20220115_0": sound,
        "20220120_1": sound,
        "20220131_0": sound,
        "20220131_1": west_empty,
    }
    reasons = {job.item[10:18]: job.reason for job in worlds.jobs(ran.config).values() if job.status == "missing"}
    assert "only as JPEG 2000" in reasons["20220109"]
    assert "scl: not there (404)" in reasons["20220111"]
    assert "visual: not there (404)" in reasons["20220113"]
    assert not worlds.faults_of(ran.config, stage.world)
    files = {f"{entry.path}" for entry in ran.cogs}
    headers = [entry for entry in ran.cogs if entry.range.startswith("bytes=0-")]
    assert len(headers) == len(files), "the header of each file is asked for once"


def test_progress_and_events_tell_what_happened(tmp_path: Path, stage: Stage) -> None:
    ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox)
    done = Counter(event.outcome.status for event in ran.events if isinstance(event, JobDone))
    assert done == ran.progress.done == Counter(ran.summary.done)
    found = sum(event.jobs for event in ran.events if isinstance(event, JobsFound))
    assert found == ran.progress.found == sum(done.values()) == 66
    assert ran.progress.searches == ran.progress.searches_done == 1
    assert [event.report.complete for event in ran.events if isinstance(event, SearchDone)] == [True]


@pytest.mark.usefixtures("impatient")
def test_orderly_failures_are_retried_and_counted(tmp_path: Path, stage: Stage) -> None:
    calm = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="calm"), stage.sandbox)
    for path, count in (("SCL", 3), ("20220101_0_L2A/TCI", 4), ("20220131_1_L2A/TCI", 1), ("/v1/search", 2)):
        stage.sandbox.fault("code", path=path, count=count, status=503)
    ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="rough"), stage.sandbox)
    assert_counts_equal_the_log(ran)
    assert len(ran.log) == len(calm.log) + 10
    retried = {key[:2]: entry.requests for key, entry in traffic(ran).items() if key[2] is Use.RETRIED}
    lost = {key[:2]: entry.requests for key, entry in traffic(calm).items() if key[2] is Use.RETRIED}
    assert sum(retried.values()) - sum(lost.values()) == 10
    assert retried["search", ""] == 2
    assert worlds.result(ran.config) == worlds.result(calm.config)


@pytest.mark.usefixtures("impatient")
def test_cut_connections_never_count_more_than_the_log(tmp_path: Path, stage: Stage) -> None:
    calm = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="calm"), stage.sandbox)
    # at most four cuts can meet in one request, which has five tries
    for path, count, after in (("SCL", 3, 100), ("TCI", 2, 5000), ("TCI", 2, None), ("/v1/search", 3, 50)):
        settings: dict[str, Any] = {} if after is None else {"after": after}
        stage.sandbox.fault("cut", path=path, count=count, **settings)
    ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="rough"), stage.sandbox)
    meter = ran.progress.meter
    assert len(calm.log) + 8 <= len(ran.log) <= len(calm.log) + 10  # a cut search is one page
    assert len(calm.log) < meter.requests <= len(ran.log)
    assert calm.bytes <= meter.bytes <= ran.bytes
    assert booked(ran.config) == (meter.requests, meter.bytes)
    assert worlds.result(ran.config) == worlds.result(calm.config)


# ---- limits -----------------------------------------------------------------------------------------------


def test_the_queue_stays_in_its_bound_and_nothing_is_lost(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[tuple[int, int]] = []

    class Watched(JobQueue):
        async def put_run(self, jobs: Sequence[Job]) -> None:
            await super().put_run(jobs)
            lengths.append((len(self), len(jobs)))

    monkeypatch.setattr(context, "JobQueue", Watched)
    path = worlds.write_config(tmp_path, stage.sandbox, run={"queue": 4})
    ran = worlds.run(path, stage.sandbox)
    assert sum(ran.summary.done.values()) == 66
    assert max(jobs for _, jobs in lengths) > 4, "a scene with more jobs than the bound"
    assert all(length <= max(4, jobs) for length, jobs in lengths), "goes in alone"
    calm = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="calm"), stage.sandbox)
    assert worlds.statuses(calm.config) == worlds.statuses(ran.config)


@pytest.mark.parametrize("connections", [1, 3])
def test_requests_in_flight_stay_in_their_bound(tmp_path: Path, shared: Stage, connections: int) -> None:
    with Stage(shared.world, delay=10) as slow:
        path = worlds.write_config(tmp_path, slow.sandbox, network={"connections": connections})
        ran = worlds.run(path, slow.sandbox)
        assert slow.sandbox.totals()["cogs"].max_in_flight == connections
        assert slow.sandbox.totals()["search"].max_in_flight <= connections
    assert sum(ran.summary.done.values()) == 66


def test_batches_have_turns_in_the_order_in_which_they_begin(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, searching = list[int](), set[int]()
    work, ask = worker.process, client.Transport.json

    async def process(*args: Any) -> BatchResult:
        turns.append(TURN.get())
        return await work(*args)

    async def json(*args: Any, **kwargs: Any) -> Any:
        searching.add(TURN.get())
        return await ask(*args, **kwargs)

    monkeypatch.setattr(worker, "process", process)
    monkeypatch.setattr(client.Transport, "json", json)
    assert worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox).summary.clean
    assert turns == list(range(1, len(turns) + 1))
    assert len(turns) > 8, "more than there are workers at once"
    assert searching == {0}, "searches go first, for they feed all others"


@pytest.mark.parametrize("queue", [2, 1000])
@pytest.mark.parametrize("limit", [1, 7, 20, 66, 1000])
def test_a_limit_is_met_exactly_and_the_rest_comes_next_time(
    tmp_path: Path, stage: Stage, limit: int, queue: int
) -> None:
    """Four searches at once, and a queue that is full: whoever waits to put jobs in must not lose them."""
    path = worlds.write_config(
        tmp_path, stage.sandbox, run={"queue": queue}, search={"datetime": "2021-05-01/2022-03-31"}
    )
    first = worlds.run(path, stage.sandbox, limit=limit)
    worlds.settle(first.config)
    assert sum(first.summary.done.values()) == first.progress.found == min(limit, 66)
    assert first.summary.cut_short == (limit <= 66), "after the last job nobody knows that it was the last"
    second = worlds.run(path, stage.sandbox)
    assert sum(first.summary.done.values()) + sum(second.summary.done.values()) == 66
    assert second.summary.left == 0
    assert second.summary.clean


def test_a_limit_waits_for_what_other_searches_still_put_in(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches side by side, and room for one job: most searchers wait when the limit comes."""
    far = {
        f"far {at}": worlds.lonlat([(at, at), (at + 300, at), (at + 300, at + 300)]) for at in range(0, 2000, 400)
    }
    monkeypatch.setattr("s2async.catalog.planning.GROUP_DEGREES", 0.001)
    path = worlds.write_config(tmp_path, stage.sandbox, areas=far, run={"queue": 1}, network={"connections": 1})
    ran = worlds.run(path, stage.sandbox, limit=9)
    assert ran.progress.searches > 1
    assert sum(ran.summary.done.values()) == 9


def test_jobs_of_a_scene_stay_together_over_the_pages_of_the_state(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    whole = worlds.run(path, stage.sandbox)
    with State.create_or_open(config.run.state) as state:
        worlds.forget_answers(state._db)
    monkeypatch.setattr(feeding, "STATE_PAGE", 4)
    again = worlds.run(path, stage.sandbox)
    known = {entry.path.removeprefix("/cogs/"): 1 for entry in whole.cogs if entry.status == 206}
    assert again.paths == whole.paths - Counter(known), "all but the headers once more, and no more"
    assert worlds.statuses(config) == worlds.statuses(whole.config)


def test_areas_of_many_batches_share_a_scene(tmp_path: Path, stage: Stage) -> None:
    """70 areas on one scene: two batches, and one result."""
    many = {
        f"plot {number}": worlds.lonlat([(x, y), (x + 90, y), (x + 90, y + 70), (x, y + 60)])
        for number, (x, y) in enumerate((100 + 480 * (n % 10), 100 + 700 * (n // 10)) for n in range(70))
    }
    path = worlds.write_config(tmp_path, stage.sandbox, areas=many, search={"datetime": "2022-01-01/2022-01-01"})
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.done == {Status.SAVED: 70}
    assert not worlds.faults_of(ran.config, stage.world)
    headers = [entry for entry in ran.cogs if entry.range.startswith("bytes=0-")]
    assert len(headers) == 2
    tiles = [entry for entry in ran.cogs if entry.path.endswith("TCI.tif")]
    size = (stage.world.folder / tiles[0].path.lstrip("/")).stat().st_size
    assert sum(entry.bytes for entry in tiles) < 1.1 * size, "twice come only bytes that lie between tiles"


def test_areas_that_give_nothing_are_told(tmp_path: Path, stage: Stage) -> None:
    """One smaller than a pixel, between the centres of four; and one where no scene is."""
    shapes = {
        "Park": worlds.polygon("North"),
        "Well": worlds.lonlat([(1001, 1001), (1005, 1001), (1005, 1005), (1001, 1005)]),
        "Far": box(-60, 10, -59.9, 10.1),
    }
    ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox, areas=shapes), stage.sandbox)
    assert ran.summary.sceneless == ("Far",)
    assert [event.text for event in ran.events if isinstance(event, Notice) and "smaller" in event.text] == [
        "1 area is smaller than a pixel of 20 m, and will most likely have no crop: Well"
    ]
    found = worlds.query(
        ran.config.run.state,
        "SELECT DISTINCT j.status, j.reason FROM jobs j JOIN places l ON l.area = j.area "
        "WHERE l.name = 'Well' AND j.status = 'nodata'",
    )
    assert found == [("nodata", "no centre of a pixel lies in the area: it is too small")]


@pytest.mark.slow
def test_areas_that_no_scene_holds_are_told_apart_from_the_edge_of_a_swath(tmp_path: Path) -> None:
    """West of the swath there is no data on these two dates; over the raster's edge there never will be."""
    shapes = {name: worlds.polygon(name) for name in ("North", "Rim", "Beyond", "South")}
    dates = [worlds.day(number, empty_metres=1500.0) for number in (1, 6)]
    for stage in worlds.staged(tmp_path / "world", dates):
        path = worlds.write_config(tmp_path, stage.sandbox, areas=shapes)
        ran = worlds.run(path, stage.sandbox)
        assert [set(area.by_status) for area in counted(ran.config)] == [
            {"outside"}, {"nodata"}, {"nodata"}, {"saved"},
        ]  # fmt: skip
        beyond, rim = ran.summary.unheld
        assert (beyond.name, beyond.share) == ("Beyond", 0.0)
        assert rim.name == "Rim"
        assert 0.5 < rim.share < 0.53
        assert worlds.run(path, stage.sandbox).summary.unheld == (beyond, rim), "also when nothing is left to do"
        lower = worlds.write_config(tmp_path, stage.sandbox, areas=shapes, clouds={"min_area_valid": 51})
        again = worlds.run(lower, stage.sandbox)
        assert (again.summary.unheld, again.summary.done[Status.SAVED]) == ((beyond,), 2)
        other = worlds.write_config(tmp_path, stage.sandbox, name="other", areas=shapes)
        short = worlds.run(other, stage.sandbox, limit=3)
        assert short.summary.unheld == (), "nobody knows yet"


def counted(config: Config) -> Sequence[AreaCounts]:
    with Ledger.read(config.run.state) as state:
        return state.counts(config.selection()).areas


# ---- faults -----------------------------------------------------------------------------------------------


def failing(path: Path, sandbox: Any, error: type[BaseException], match: str | None = None) -> None:
    with pytest.raises(error, match=match):
        worlds.run(path, sandbox)


def test_a_full_disk_is_told_before_any_request(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, run={"reserve": "1000000 GiB"})
    failing(path, stage.sandbox, LocalError, "disk full")
    assert not stage.sandbox.log()


def test_a_disk_that_fills_up_stops_the_run_and_leaves_the_jobs_open(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config, saved = Config.load(path), 0
    save = files.replace_all

    def fill_up(*args: Any, **kwargs: Any) -> Any:
        nonlocal saved
        saved += 1
        if saved > 3:
            raise LocalError("cannot write it: No space left on device")
        return save(*args, **kwargs)

    monkeypatch.setattr(files, "replace_all", fill_up)
    failing(path, stage.sandbox, LocalError, "No space")
    found = Counter(worlds.statuses(config).values())
    assert found["open"] > 0
    assert found["failed"] == 0
    assert worlds.query(config.run.state, "SELECT how FROM runs") == [("stopped",)]
    monkeypatch.undo()
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.clean
    assert Counter(worlds.statuses(config).values())["saved"] == 22
    assert not list(config.output.folder.rglob("*.part"))


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("worker", KeyError("a bug")),
        ("worker", UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")),
        ("search", KeyError("a bug")),
        ("record", SystemError("a bug")),
    ],
)
def test_a_bug_ends_the_run_at_once_and_harms_nothing(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    """Neither hidden nor hanging: with a queue for one job, everybody waits for everybody."""
    path = worlds.write_config(tmp_path, stage.sandbox, run={"queue": 1}, network={"connections": 2})
    with monkeypatch.context() as patch:
        calls = Counter[str]()

        def fail_at_third(*args: Any) -> None:
            calls["all"] += 1
            if calls["all"] == 3:
                raise error

        if place == "worker":
            process = worker.process

            async def broken(*args: Any) -> BatchResult:
                fail_at_third()
                return await process(*args)

            patch.setattr(worker, "process", broken)
        elif place == "search":
            add_scene = State.add_scene

            def broken_add(self: State, *args: Any, **kwargs: Any) -> Any:
                fail_at_third()
                return add_scene(self, *args, **kwargs)

            patch.setattr(State, "add_scene", broken_add)
        else:
            record = State.record

            def broken_record(self: State, *args: Any) -> None:
                fail_at_third()
                record(self, *args)

            patch.setattr(State, "record", broken_record)
        failing(path, stage.sandbox, type(error))
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.clean
    assert Counter(worlds.statuses(ran.config).values())["saved"] == 22


def test_memory_that_runs_out_is_told_with_what_to_do(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def greedy(*_: object) -> BatchResult:
        raise MemoryError

    monkeypatch.setattr(worker, "process", greedy)
    failing(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox, LocalError, "out of memory; lower memory")


def test_free_memory_is_given_back_now_and_then(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, batches, process = list[bool](), list[int](), worker.process

    async def counting(batch: Batch, settings: worker.Settings, tools: worker.Tools) -> BatchResult:
        batches.append(len(batch.jobs))
        return await process(batch, settings, tools)

    monkeypatch.setattr(worker, "process", counting)
    monkeypatch.setattr(memory, "EVERY", 2)
    monkeypatch.setattr(memory, "give_back", lambda: given.append(True))
    worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox)
    assert len(batches) > 3
    assert len(given) == 3 + len(batches) // 2  # before the work, after the plan of searches, and at the end


def test_a_second_run_of_the_same_state_is_refused(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    with State.create_or_open(config.run.state):
        failing(path, stage.sandbox, StateInUse, "in use by pid")
    assert not stage.sandbox.log()


@pytest.mark.parametrize("turns", [0, 5, 30, 100, 300])
def test_a_run_that_is_cancelled_anywhere_can_go_on(tmp_path: Path, stage: Stage, turns: int) -> None:
    """Cancelled after so many turns of the event loop: no hang, no half-written file, and the rest comes later."""
    path = worlds.write_config(tmp_path, stage.sandbox, run={"queue": 3}, network={"connections": 2})
    config = Config.load(path)

    async def main() -> None:
        running = asyncio.create_task(pipeline.run(config, area_files.load(config)))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        async with asyncio.timeout(60):
            with pytest.raises(asyncio.CancelledError):
                await running
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    asyncio.run(main())
    assert not list(tmp_path.rglob("*.part"))
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.clean
    assert Counter(worlds.statuses(config).values()) == {
        "saved": 22, "cloudy": 7, "nodata": 13, "outside": 9, "missing": 15,
    }  # fmt: skip
    assert not worlds.faults_of(config, stage.world)


@pytest.mark.usefixtures("impatient")
def test_a_search_that_fails_is_named_and_what_was_known_is_worked_on(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 2})
    worlds.run(path, stage.sandbox, limit=6)
    stage.sandbox.fault("code", path="/v1/search", count=None, status=500)
    ran = worlds.run(path, stage.sandbox)
    assert not ran.summary.clean
    (report,) = ran.summary.incomplete
    assert "the server answers 500" in report.reason
    assert sum(ran.summary.done.values()) + 6 == len(worlds.jobs(ran.config))
    stage.sandbox.clear_faults()
    assert worlds.run(path, stage.sandbox).summary.clean
    assert len(worlds.jobs(ran.config)) == 66


def test_a_search_that_finds_nothing_is_told(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2019-01-01/2019-01-31"})
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.found_nothing
    assert ran.summary.clean
    ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="other"), stage.sandbox)
    assert not ran.summary.found_nothing
