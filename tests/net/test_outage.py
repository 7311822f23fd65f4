"""A server that is down while a run goes on: its jobs stay open, nothing spins, and it is asked again when up."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2async.areas.loader import load
from s2async.cli import main as cli
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.errors import HostParked
from s2async.events import Event, Notice
from s2async.models import Status
from s2async.net import breaker, outages, retries
from s2async.plan.survey import survey
from s2async.sandbox.server.process import Sandbox
from tests.support import worlds
from tests.support.worlds import Stage

DOWN = breaker.FAILURES + 8 + 6
"""Failures that a server is known to be down by, those under way when it is noticed, and some of the probes."""


@pytest.fixture
def stage(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The world of every kind; a server that is parked is tried again soon."""
    monkeypatch.setattr(breaker, "PERIOD", 0.2)
    monkeypatch.setattr(retries, "_longest_wait", lambda _attempt: 0.01)
    return stage


def states(config: Config) -> Counter[str]:
    return Counter(worlds.statuses(config).values())


def tries(config: Config) -> set[int]:
    """How often the open jobs are said to have been tried."""
    rows = worlds.query(config.run.state, "SELECT DISTINCT attempts FROM jobs WHERE status = 'open'")
    return {count for (count,) in rows}


def stopped(path: Path) -> tuple[HostParked, list[Event]]:
    """How a run ends that a server ends, and what it told."""
    config, events = Config.load(path), list[Event]()
    with pytest.raises(HostParked) as caught:
        asyncio.run(pipeline.run(config, load(config), on_event=events.append))
    return caught.value, events


def test_an_outage_is_waited_for_and_costs_no_job_a_try(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path=".tif", count=DOWN, status=503)
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 20})
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.clean
    assert not ran.summary.left
    assert Status.FAILED not in ran.progress.done
    assert sum(states(ran.config).values()) == 66
    assert not worlds.faults_of(ran.config, stage.world)
    told = [event.text for event in ran.events if isinstance(event, Notice) and "no good answer" in event.text]
    assert 1 <= len(told) <= DOWN - breaker.FAILURES + 1, "once a period at most, whoever waits"
    assert all(stage.sandbox.origin in text for text in told)


def test_a_server_that_stays_down_ends_the_run_with_its_jobs_open(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path=".tif", count=None, status=503)
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 20, "patience": 1})
    config = Config.load(path)
    error, _ = stopped(path)
    assert str(error).startswith(f"{stage.sandbox.origin} gave no good answer for 1 s ")
    assert error.origin == stage.sandbox.origin
    asked = [entry for entry in stage.sandbox.log() if entry.kind != "search"]
    assert len(asked) <= breaker.FAILURES + 8 + 6, "it does not spin: one probe a period"
    assert set(states(config)) == {"open", "missing"}, "what has no file needs no server"
    assert tries(config) == {0}

    stage.sandbox.clear_faults()
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.clean
    assert not worlds.faults_of(ran.config, stage.world)


@pytest.mark.parametrize(("where", "left"), [(".tif", {"open", "missing"}), ("/TCI", None)])
def test_a_server_that_wants_to_be_left_alone_for_a_day_ends_the_run_with_its_jobs_open(
    tmp_path: Path, stage: Stage, where: str, left: set[str] | None
) -> None:
    """Also those whose own requests were told so: it says nothing of their files."""
    stage.sandbox.fault("code", path=where, count=None, status=503, retry_after=86_400)
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 5})
    config = Config.load(path)
    error, _ = stopped(path)
    assert "asks to wait 86,400 s" in str(error)
    assert error.retry_after == 86_400
    assert "failed" not in states(config)
    assert states(config)["open"] > 0
    assert left is None or set(states(config)) == left
    asked = [entry for entry in stage.sandbox.log() if entry.status == 503]
    assert 1 <= len(asked) <= 8, "those that were under way together"

    stage.sandbox.clear_faults()
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.clean
    assert not worlds.faults_of(ran.config, stage.world)


def test_what_was_answered_before_the_outage_is_kept(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path="/TCI", count=None, status=503)
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 20, "patience": 0.5})
    stopped(path)
    found = states(Config.load(path))
    assert set(found) == {"open", "cloudy", "nodata", "outside", "missing"}
    assert not worlds.query(Config.load(path).run.state, "SELECT 1 FROM jobs WHERE status = 'failed'")
    stage.sandbox.clear_faults()
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.clean
    assert not worlds.faults_of(ran.config, stage.world)


def test_the_command_says_so_in_one_line_and_ends_with_3(
    tmp_path: Path, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.sandbox.fault("code", path=".tif", count=None, status=503)
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 20, "patience": 0.5})
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", str(path)])
    assert ended.value.code == 3
    out, err = capfd.readouterr()
    last = err.strip().splitlines()[-1]
    assert last.startswith(f"s2async: {stage.sandbox.origin} gave no good answer for")
    assert "Traceback" not in out + err


def test_a_wait_can_be_interrupted(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path=".tif", count=None, status=503)
    config = Config.load(worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 20, "patience": 600}))
    waiting = threading.Event()

    def notice(event: Event) -> None:
        if isinstance(event, Notice) and "no good answer" in event.text:
            waiting.set()

    async def main() -> None:
        run = asyncio.create_task(pipeline.run(config, load(config), on_event=notice))
        while not waiting.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    assert set(states(config)) == {"open", "missing"}, "what has no file needs no server"
    assert tries(config) == {0}


# ---- a server that does not answer at all ----------------------------------------------------------------------


def at(listening: socket.socket, folder: Path) -> Sandbox:
    """What a configuration needs to know of a server at this socket."""
    origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
    return Sandbox(origin=origin, api=f"{origin}/v1", pid=0, folder=folder)


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Sandbox]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield at(listening, tmp_path)


@pytest.fixture
def gone(tmp_path: Path) -> Iterator[Sandbox]:
    """A server that has ended; nobody else gets its port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield at(bound, tmp_path)


def told(path: Path) -> list[str]:
    """What a run says of servers that do not answer."""
    events: list[Event] = []
    config = Config.load(path)
    summary = asyncio.run(pipeline.run(config, load(config), on_event=events.append))
    assert summary.incomplete
    return [event.text for event in events if isinstance(event, Notice) and "asked again" in event.text]


def test_a_server_that_has_ended_is_told_once_and_for_how_long_it_is_asked(
    tmp_path: Path, gone: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "EVERY", 0.02)
    monkeypatch.setattr(breaker, "PERIOD", 0.2)
    path = worlds.write_config(tmp_path, gone, network={"patience": 1.5})
    line = f"{gone.origin} does not answer: it is asked again for up to 2 s"
    assert told(path) == [line]
    config, events = Config.load(path), list[Event]()
    asyncio.run(survey(config, load(config), connections=8, bandwidth=1e6, on_event=events.append))
    assert [event.text for event in events if isinstance(event, Notice)] == [line], "a plan tells it, too"


def test_a_server_that_says_nothing_is_told_before_its_time_is_over(
    tmp_path: Path, mute: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "EVERY", 0.02)
    monkeypatch.setattr(outages, "SILENT", 0.2)
    path = worlds.write_config(tmp_path, mute, network={"idle_timeout": 1, "attempts": 1})
    assert told(path) == [f"{mute.origin} does not answer: it is asked again for up to 5 min 00 s"]


def test_a_server_that_answers_slowly_is_not_told(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer comes in time, though all of them together take longer."""
    monkeypatch.setattr(outages, "EVERY", 0.01)
    monkeypatch.setattr(outages, "SILENT", 5.0)
    stage.sandbox.fault("code", path=".tif", count=3, status=503)
    ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox)
    assert ran.summary.clean
    assert not [event for event in ran.events if isinstance(event, Notice) and "asked again" in event.text]
