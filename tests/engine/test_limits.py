"""Limits of a run: what is begun before them is finished and recorded, and nothing is begun after them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from s2async.config.model import Config
from s2async.engine import worker
from s2async.engine.limit_watch import LimitWatch
from s2async.engine.limits import RunLimits
from s2async.engine.progress import Progress
from s2async.errors import ConfigError
from s2async.models import BatchResult, Use
from tests.support import worlds
from tests.support.worlds import Stage

ALL_JOBS = 66


def booked(config: Config) -> tuple[int, int]:
    row = worlds.query(config.run.state, "SELECT sum(requests), sum(bytes) FROM traffic")[0]
    return int(row[0]), int(row[1])


@pytest.mark.parametrize("name", ["jobs", "bytes", "seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_is_greater_than_0(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"limit of {name}"):
        RunLimits(**cast("dict[str, Any]", {name: value}))


def test_limits_that_are_set_bound_the_bytes_of_a_run() -> None:
    assert RunLimits(bytes=7, seconds=0.5).given == {"bytes": 7, "seconds": 0.5}
    assert RunLimits(jobs=3, bytes=1000).most_bytes(each=100) == 300
    assert RunLimits(jobs=3, bytes=200).most_bytes(each=100) == 200
    assert RunLimits(seconds=1).most_bytes(each=100) == float("inf")


def test_a_run_without_time_begins_nothing_and_is_in_order(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    ran = worlds.run(path, stage.sandbox, limits=RunLimits(seconds=1e-9))
    assert ran.log == []
    assert (ran.summary.limit, ran.summary.exit_code, ran.summary.cut_short) == ("seconds", 0, True)
    assert ran.summary.done == {}
    assert not ran.summary.found_nothing, "nobody has searched"
    again = worlds.run(path, stage.sandbox)
    assert (again.summary.limit, again.summary.left) == (None, 0)
    assert sum(again.summary.done.values()) == ALL_JOBS


def test_without_time_not_even_jobs_that_are_known_are_begun(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    worlds.run(path, stage.sandbox)
    config = Config.load(path)
    with worlds.writing(config) as db:
        worlds.forget_answers(db)
        db.execute("INSERT INTO suspects (job, deaths) SELECT min(id), 0 FROM jobs")
    ran = worlds.run(path, stage.sandbox, limits=RunLimits(seconds=1e-9))
    assert ran.log == []
    assert (ran.summary.left, ran.summary.limit, ran.summary.exit_code) == (ALL_JOBS, "seconds", 0)


@pytest.mark.parametrize("budget", [1, 10_000, 50_000, 120_000])
def test_bytes_that_are_received_end_a_run_and_what_is_under_way_is_recorded(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    """With one connection at most two batches are under way: each began while there were bytes left."""
    path = worlds.write_config(tmp_path, stage.sandbox, network={"connections": 1})
    progress, plain, batches = Progress(), worker.process, list[int]()

    async def watched(batch: Any, settings: Any, tools: Any) -> BatchResult:
        batches.append(progress.meter.bytes)
        return await plain(batch, settings, tools)

    monkeypatch.setattr(worker, "process", watched)
    ran = worlds.run(path, stage.sandbox, limits=RunLimits(bytes=budget), progress=progress)
    summary = ran.summary
    assert (summary.limit, summary.exit_code) == ("bytes", 0)
    assert summary.bytes == ran.bytes == booked(ran.config)[1] >= budget
    assert all(before < budget for before in batches), "nothing is begun when they are used up"
    done = [status for status in worlds.statuses(ran.config).values() if status != "open"]
    assert sum(summary.done.values()) == len(done) < ALL_JOBS
    assert summary.left == len(worlds.statuses(ran.config)) - len(done)
    monkeypatch.undo()
    rest = worlds.run(path, stage.sandbox)
    assert rest.summary.limit is None
    assert sum(rest.summary.done.values()) + len(done) == ALL_JOBS
    whole = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="whole"), stage.sandbox)
    assert worlds.result(ran.config) == worlds.result(whole.config)


def test_limits_that_are_not_reached_end_nothing(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    ran = worlds.run(path, stage.sandbox, limits=RunLimits(jobs=1000, bytes=1 << 40, seconds=86_400))
    assert (ran.summary.limit, ran.summary.left, ran.summary.cut_short) == (None, 0, False)
    assert sum(ran.summary.done.values()) == ALL_JOBS


def test_a_search_without_an_answer_does_not_hold_a_run_beyond_its_time(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("stall", path="/v1/search", count=None)
    path = worlds.write_config(tmp_path, stage.sandbox, network={"idle_timeout": 3600, "total_timeout": 3600})
    ran = worlds.run(path, stage.sandbox, limits=RunLimits(seconds=0.5))
    assert (ran.summary.limit, ran.summary.cut_short, ran.summary.incomplete) == ("seconds", True, ())


# ---- the watch --------------------------------------------------------------------------------------------


def test_a_watch_names_the_first_limit_alone() -> None:
    progress = Progress()
    watch = LimitWatch(RunLimits(jobs=2, bytes=100), progress)
    assert not watch.over
    assert watch.jobs_left(5) == 2
    progress.found = 2
    assert watch.are_jobs_enough()
    assert (watch.reached, watch.over) == ("jobs", False), "what is in the queue is worked on"
    progress.meter.add("tiles", "scl", Use.USEFUL, requests=1, size=99)
    assert not watch.over
    progress.meter.add("tiles", "scl", Use.WASTED, requests=1, size=1)
    assert watch.over
    assert watch.reached == "bytes"
    assert LimitWatch(RunLimits(), progress).jobs_left(5) == 5
    progress.found = 4
    assert watch.jobs_left(5) == 0, "a choice among overpasses may add jobs beyond the limit"


def test_work_that_waits_is_cancelled_by_a_limit() -> None:
    async def main() -> None:
        progress = Progress()
        cancelled = list[bool]()

        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(True)

        async def broken() -> None:
            raise KeyError("a bug")

        watch = LimitWatch(RunLimits(seconds=1e-9), progress)
        assert await watch.comes_first(forever())
        assert cancelled == [True]
        assert watch.reached == "seconds"
        patient = LimitWatch(RunLimits(seconds=3600), progress)
        assert not await patient.comes_first(asyncio.sleep(0))
        with pytest.raises(KeyError):
            await patient.comes_first(broken())
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
