"""Batches in the workers of a Dask cluster: what a run leaves is what it leaves without one, whatever happens."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s2async._version import __version__
from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.engine.clusters import Cluster
from s2async.engine.limits import RunLimits
from s2async.engine.progress import Progress
from s2async.engine.tools import Settings, ToolSettings
from s2async.errors import ClusterError, ConfigError, HostParked
from s2async.events import Event, JobDone, Notice
from s2async.means import Work
from s2async.models import Traffic, Use
from s2async.net.client import ClientSettings
from tests.support import worlds
from tests.support.worlds import Ran, Stage

distributed = pytest.importorskip("distributed")

from s2async.engine import dask_executor, dask_members, dask_worker, run_mark  # noqa: E402 - they need it
from s2async.engine.dask_calls import Calls, Lost  # noqa: E402
from s2async.engine.dask_messages import Farewell, Fitness, Kit  # noqa: E402
from s2async.engine.dask_worker import Shop  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the engine and its web server
]


PATIENCE = 60.0
"""Seconds after which a run counts as one that would never end."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Ran:
    """The same run without a cluster."""
    folder = tmp_path_factory.mktemp("here")
    return worlds.run(config_in(folder, stage), stage.sandbox)


class Made:
    """A scheduler and workers that are tasks of this process, with real connections between them."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.workers: list[Any] = []

    async def add(self) -> None:
        address = self.scheduler.address
        name = f"worker-{len(self.workers)}"
        worker = distributed.Worker(address, nthreads=1, name=name, host="127.0.0.1", dashboard=False)
        self.workers.append(await worker)

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close(nanny=False, executor_wait=False)


@asynccontextmanager
async def made(workers: int) -> AsyncIterator[Made]:
    async with distributed.Scheduler(
        host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as scheduler:
        cluster = Made(scheduler)
        try:
            for _ in range(workers):
                await cluster.add()
            yield cluster
        finally:
            await cluster.close()


def run(
    path: Path,
    stage: Stage,
    *,
    workers: int = 2,
    send_crops: bool = False,
    during: Callable[[Any, Event], Awaitable[None] | None] = lambda _cluster, _event: None,
    limits: RunLimits | None = None,
    running: list[asyncio.Task[Any]] | None = None,
) -> Ran:
    """Run a config on a cluster of this process; ``during`` is told its events."""
    config = Config.load(path)
    areas = area_files.load(config)
    before = len(stage.sandbox.log())
    progress, events, tasks = Progress(), list[Event](), list[asyncio.Future[None]]()

    async def work() -> Any:
        async with made(workers) as cluster:

            def note(event: Event) -> None:
                events.append(event)
                if doing := during(cluster, event):
                    tasks.append(asyncio.ensure_future(doing))

            address = Cluster(scheduler=cluster.scheduler.address, send_crops=send_crops)
            how: dict[str, Any] = {"limits": limits} if limits else {}
            going = asyncio.create_task(
                pipeline.run(config, areas, cluster=address, progress=progress, on_event=note, **how)
            )
            if running is not None:
                running.append(going)
            try:
                async with asyncio.timeout(PATIENCE):
                    return await going
            finally:
                await asyncio.gather(*tasks)

    summary = asyncio.run(work())
    log = stage.sandbox.log()[before:]
    return Ran(config=config, summary=summary, progress=progress, events=events, log=log)


def config_in(folder: Path, stage: Stage, **sections: Any) -> Path:
    return worlds.write_config(folder, stage.sandbox, output={"assets": ["visual", "red"]}, **sections)


def files_of(config: Config) -> dict[str, bytes]:
    folder = config.output.folder
    return {str(path.relative_to(folder)): path.read_bytes() for path in worlds.crops(config)}


def traffic_of(config: Config) -> dict[tuple[str, str, str], tuple[int, int]]:
    rows = worlds.query(
        config.run.state, "SELECT stage, asset, use, sum(requests), sum(bytes) FROM traffic GROUP BY 1, 2, 3"
    )
    return {(stage, asset, use): (requests, size) for stage, asset, use, requests, size in rows}


def requests_of(traffic: dict[tuple[str, str, str], tuple[int, int]]) -> dict[tuple[str, str, str], int]:
    return {key: requests for key, (requests, _) in traffic.items() if requests}


def without_headers(traffic: dict[tuple[str, str, str], tuple[int, int]]) -> Any:
    return {key: value for key, value in traffic.items() if key[0] != "header"}


@pytest.mark.parametrize("send_crops", [False, True])
def test_a_run_on_workers_leaves_what_a_run_here_leaves(
    tmp_path: Path, stage: Stage, here: Ran, send_crops: bool
) -> None:
    there = run(config_in(tmp_path, stage), stage, send_crops=send_crops)
    assert worlds.result(there.config) == worlds.result(here.config)
    assert files_of(there.config) == files_of(here.config)
    assert there.summary.exit_code == here.summary.exit_code
    assert (there.summary.done, there.summary.requests) == (here.summary.done, here.summary.requests)
    assert there.paths == here.paths
    assert there.summary.bytes == there.progress.meter.bytes == sum(entry.bytes for entry in there.log)
    found, expected = traffic_of(there.config), traffic_of(here.config)
    assert sum(size for _, size in found.values()) == there.summary.bytes
    assert requests_of(found) == requests_of(expected)
    # how much of a header is requested first is learned by each process
    assert without_headers(found) == without_headers(expected)
    assert not list(tmp_path.rglob("*.part")), "the mark of the run is gone"


def test_one_item_of_each_overpass_counts_on_workers_as_here(tmp_path: Path, stage: Stage) -> None:
    search = {"overlaps": "one"}
    here = worlds.run(config_in(tmp_path / "here", stage, search=search), stage.sandbox)
    there = run(config_in(tmp_path / "there", stage, search=search), stage)
    assert worlds.result(there.config) == worlds.result(here.config)
    assert there.paths == here.paths


@pytest.mark.long
def test_a_limit_of_bytes_ends_a_run_on_workers(tmp_path: Path, stage: Stage, here: Ran) -> None:
    path = config_in(tmp_path, stage, network={"connections": 1})
    ran = run(path, stage, limits=RunLimits(bytes=1))
    assert ran.summary.limit == "bytes"
    assert ran.summary.left
    assert run(path, stage).summary.left == 0
    assert worlds.result(Config.load(path)) == worlds.result(here.config)


def once(wanted: Callable[[Event], bool], what: Callable[[Any], Awaitable[None]]) -> Any:
    """Do something at the first event of a kind."""
    done = list[Event]()

    def during(cluster: Any, event: Event) -> Awaitable[None] | None:
        if done or not wanted(event):
            return None
        done.append(event)
        return what(cluster)

    return during


def is_done(event: Event) -> bool:
    return isinstance(event, JobDone)


def test_a_worker_that_leaves_and_one_that_joins_change_nothing(tmp_path: Path, stage: Stage, here: Ran) -> None:
    async def change(cluster: Any) -> None:
        await cluster.workers[0].close(nanny=False)
        await cluster.add()

    path = config_in(tmp_path, stage, network={"connections": 2})
    ran = run(path, stage, during=once(is_done, change))
    assert worlds.result(ran.config) == worlds.result(here.config)
    counted = traffic_of(ran.config)
    assert 0 <= len(ran.log) - sum(requests for requests, _ in counted.values()) <= 2, "answers that had not begun"
    assert ran.progress.meter.bytes == sum(size for _, size in counted.values())
    told = [event.text for event in ran.events if isinstance(event, Notice)]
    assert any("a worker has left" in text for text in told)
    assert any("a worker has joined" in text for text in told)


@pytest.mark.parametrize("how", ["removed", pytest.param("unreachable", marks=pytest.mark.long)])
def test_a_worker_that_leaves_while_the_run_begins_is_not_waited_for(
    tmp_path: Path, stage: Stage, here: Ran, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(name: str, dask_worker: Any) -> Fitness:
        if dask_worker.name == "worker-0":
            if how == "unreachable":
                raise OSError("the connection is broken")
            told = {"workers": [dask_worker.address], "close_workers": False, "remove": True}
            await dask_worker.scheduler.retire_workers(**told, stimulus_id="test")
        assert dask_worker.plugins[name].is_set_up, "whoever registers a plugin waits for that"
        return Fitness(version=__version__, fault="")

    monkeypatch.setattr(dask_worker, "look", look)
    ran = run(config_in(tmp_path, stage), stage)
    assert worlds.result(ran.config) == worlds.result(here.config)


@pytest.mark.parametrize("late", [False, True])
def test_a_run_waits_for_its_first_worker(
    tmp_path: Path, stage: Stage, here: Ran, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = distributed.Client._send_to_scheduler

    def keep_back(client: Any, message: dict[str, Any]) -> None:
        if message["op"] != "subscribe-topic":
            send(client, message)

    if late:  # messages to the scheduler may arrive after later calls
        monkeypatch.setattr(distributed.Client, "_send_to_scheduler", keep_back)

    async def add(cluster: Any) -> None:
        await cluster.add()

    during = once(lambda event: isinstance(event, Notice) and "no workers yet" in event.text, add)
    ran = run(config_in(tmp_path, stage), stage, workers=0, during=during)
    assert worlds.result(ran.config) == worlds.result(here.config)


def test_a_lost_scheduler_ends_a_run_that_can_go_on_anywhere(tmp_path: Path, stage: Stage, here: Ran) -> None:
    async def end(cluster: Any) -> None:
        await cluster.scheduler.close()

    path = config_in(tmp_path, stage, network={"connections": 1})
    with pytest.raises(ClusterError, match="no longer answers: what is recorded is kept") as failed:
        run(path, stage, during=once(is_done, end))
    assert failed.value.exit_code == 7
    answered = [key for key, status in worlds.statuses(Config.load(path)).items() if status != "open"]
    assert 0 < len(answered) < len(worlds.statuses(here.config))
    assert worlds.run(path, stage.sandbox).summary.exit_code == here.summary.exit_code
    assert worlds.result(Config.load(path)) == worlds.result(here.config)


def test_no_scheduler_is_one_line(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_members, "CONNECT", 0.2)
    config = Config.load(config_in(tmp_path, stage))
    address = Cluster(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1:9: [^\n]*$"):
        asyncio.run(pipeline.run(config, area_files.load(config), cluster=address))


def test_a_server_that_only_fails_is_given_up_by_all_workers(tmp_path: Path, stage: Stage, here: Ran) -> None:
    path = config_in(tmp_path, stage, network={"connections": 4})
    stage.sandbox.fault("code", status=503, retry_after=3600, path="/cogs/", count=None)
    try:
        with pytest.raises(HostParked, match="asks to wait 3,600 s, more than patience"):
            run(path, stage)
    finally:
        stage.sandbox.clear_faults()
    assert "open" in worlds.statuses(Config.load(path)).values()
    run(path, stage)
    assert worlds.result(Config.load(path)) == worlds.result(here.config)


@pytest.mark.long
def test_a_server_that_is_parked_is_asked_again(tmp_path: Path, stage: Stage, here: Ran) -> None:
    stage.sandbox.fault("code", status=500, path="/cogs/", count=24)
    try:
        ran = run(config_in(tmp_path, stage), stage)
    finally:
        stage.sandbox.clear_faults()
    assert any("no good answer" in event.text for event in ran.events if isinstance(event, Notice))
    assert worlds.result(ran.config) == worlds.result(here.config)
    network = ran.progress.network
    assert network is not None
    assert (network.retries > 0, network.parked) == (True, [])


@pytest.mark.long
def test_a_worker_that_is_short_of_memory_does_not_keep_a_run_waiting(
    tmp_path: Path, stage: Stage, here: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_members, "PAUSED", 1.0)

    async def pause(cluster: Any) -> None:
        worker = cluster.workers[0]
        worker.memory_manager.memory_pause_fraction = False  # nobody looks at its memory any more
        worker.status = distributed.Status.paused

    ran = run(config_in(tmp_path, stage, network={"connections": 2}), stage, during=once(is_done, pause))
    assert worlds.result(ran.config) == worlds.result(here.config)
    assert any("is short of memory" in event.text for event in ran.events if isinstance(event, Notice))


def test_a_worker_that_was_paused_twice_and_goes_on_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is paused when it joins. That it goes on is told too early, and that it is paused again is told."""
    monkeypatch.setattr(dask_members, "PAUSED", 0.05)

    async def main() -> None:
        client = SimpleNamespace(subscribe_topic=lambda topic, handler: None)
        members = dask_members.Members(client, SimpleNamespace(), lambda text: None, lambda workers: None)  # type: ignore[arg-type]
        members._join("tcp://worker", Fitness(version="", fault="", is_paused=True))
        for status in ("paused", "running"):
            members._on_status("tcp://worker", {"action": "worker-status-change", "status": status})
        await asyncio.sleep(0.2)
        assert members.places.choose("scene") == "tcp://worker"

    asyncio.run(main())


@pytest.mark.long
def test_a_scheduler_that_allows_no_second_try_does_not_end_a_run(
    tmp_path: Path, stage: Stage, here: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = dask_members.Members._on_event

    def hear_late(members: Any, event: tuple[float, Any]) -> None:
        asyncio.get_running_loop().call_later(0.3, original, members, event)

    monkeypatch.setattr(dask_members.Members, "_on_event", hear_late)

    async def lose(cluster: Any) -> None:
        known = cluster.scheduler.workers
        cluster.scheduler.allowed_failures = 0
        busy = max(cluster.workers, key=lambda worker: len(known[worker.address].processing))
        busy.batched_stream.comm.abort()

    ran = run(config_in(tmp_path, stage, network={"connections": 2}), stage, during=once(is_done, lose))
    assert worlds.result(ran.config) == worlds.result(here.config)


# ---- batches that lose their worker -----------------------------------------------------------------------


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], None]], None]:
    """Lose the worker of every batch that has a job of the area South; tell a function all others."""

    def apply(tell: Callable[[Any], None]) -> None:
        original = dask_executor.DaskExecutor._on

        async def lose(executor: Any, address: str, batch: Any) -> Any:
            if any(job.area.name == "South" for job in batch.jobs):
                raise Lost
            result = await original(executor, address, batch)
            tell(batch)
            return result

        monkeypatch.setattr(dask_executor.DaskExecutor, "_on", lose)
        monkeypatch.setattr(dask_executor, "BESIDE_OTHERS", 1)
        monkeypatch.setattr(dask_executor, "PARTS", 2)

    return apply


def test_no_job_is_set_aside_for_another_one(
    tmp_path: Path, stage: Stage, here: Ran, poisoned: Callable[[Callable[[Any], None]], None]
) -> None:
    poisoned(lambda _: None)
    config = run(config_in(tmp_path, stage), stage).config
    expected = worlds.statuses(here.config)
    lost = {key: "failed" for key in expected if key[0] == "South"}
    assert worlds.statuses(config) == expected | lost
    assert all(worlds.jobs(config)[key].reason.startswith("set aside: ") for key in lost)


def test_parts_of_a_batch_count_where_a_run_is_stopped_before_the_last_one(
    tmp_path: Path, stage: Stage, here: Ran, poisoned: Callable[[Callable[[Any], None]], None]
) -> None:
    running, done = list[asyncio.Task[Any]](), list[Any]()

    def stop(batch: Any) -> None:
        done.append(batch)
        running[0].cancel()

    path = config_in(tmp_path, stage, network={"connections": 1})
    poisoned(stop)
    with pytest.raises(asyncio.CancelledError):
        run(path, stage, running=running)
    statuses = worlds.statuses(Config.load(path))
    assert done
    assert all(statuses[job.area.name, job.scene.id] != "open" for batch in done for job in batch.jobs)


@pytest.mark.long
def test_a_worker_that_does_not_close_its_tools_costs_no_other_count(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close(name: str, _: Any, dask_worker: Any) -> Farewell:
        if dask_worker.name == "worker-0":
            await asyncio.sleep(60)
        return Farewell(traffic=(Traffic(stage="tiles", asset="told", use=Use.WASTED, requests=7, bytes=77),))

    monkeypatch.setattr(dask_worker, "close", close)
    monkeypatch.setattr(dask_members, "CLOSING", 1.0)
    counted = traffic_of(run(config_in(tmp_path, stage), stage).config)
    assert counted["tiles", "told", "wasted"] == (7, 77)


# ---- what a worker needs ----------------------------------------------------------------------------------


def test_another_version_is_refused_in_one_line(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_executor, "__version__", "0.0.1")
    with pytest.raises(ConfigError, match=rf"^the Dask scheduler has s2async {__version__}, and this run is"):
        run(config_in(tmp_path, stage), stage)


@pytest.mark.parametrize(
    ("version", "mark", "fault"),
    [
        ("0.0.1", "", f"has s2async {__version__}, and this run is of version 0.0.1: install the same"),
        (
            __version__,
            "away/.s2async-parts/.mark.part",
            "does not see the files of the run in {folder}/away; give",
        ),
        (__version__, "", ""),
    ],
)
def test_a_worker_tells_whether_it_can_work(
    tmp_path: Path, stage: Stage, version: str, mark: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_mark, "WAIT", 0.1)
    rule = Config.load(config_in(tmp_path, stage)).cloud_rule()
    shop = shop_for(tmp_path, rule, mark=tmp_path / mark if mark else None)
    shop.version = version

    async def ask() -> Any:
        async with made(1) as cluster, distributed.Client(cluster.scheduler.address, asynchronous=True) as client:
            await client.register_plugin(shop)
            (found,) = (await client.run(dask_worker.look, "s2async-x")).values()
            return found

    found = asyncio.run(ask())
    assert found.version == __version__
    assert found.fault.startswith(fault.format(folder=tmp_path))
    assert bool(found.fault) == bool(fault)


def shop_for(folder: Path, rule: Any, *, mark: Path | None = None) -> Shop:
    """The tools of a run that has no servers to ask."""
    client = ClientSettings(origins=("http://127.0.0.1:9",), connections=2)
    work = Work(connections=2, threads=1, writers=1, memory=1 << 20)
    kit = Kit(
        settings=Settings(
            rule=rule,
            assets=("visual",),
            mask=True,
            folder=folder,
            token="s2async-x",
            reserve=1,
            verify=False,
            attribution="synthetic",
        ),
        tools=ToolSettings(client=client, work=work),
        mark=mark,
        connections=2,
    )
    return Shop("s2async-x", __version__, pickle.dumps(kit))


def test_tools_that_are_closed_while_they_open_are_closed(tmp_path: Path, stage: Stage) -> None:
    rule = Config.load(config_in(tmp_path, stage)).cloud_rule()
    mark = tmp_path / "parts" / "mark"
    mark.parent.mkdir()
    shop = shop_for(tmp_path, rule, mark=mark)

    async def work() -> None:
        opening = asyncio.create_task(
            shop.setup(SimpleNamespace(state=SimpleNamespace(nthreads=1), periodic_callbacks={}))
        )
        await asyncio.sleep(0)
        closing = asyncio.create_task(shop.close())
        await asyncio.sleep(0)
        mark.touch()
        async with asyncio.timeout(60):
            await closing
            await opening

    asyncio.run(work())
    assert (shop.fault, shop.is_alive) == ("", False)


def test_tools_that_are_closed_begin_no_batch(tmp_path: Path, stage: Stage) -> None:
    shop = shop_for(tmp_path, Config.load(config_in(tmp_path, stage)).cloud_rule())

    async def work() -> list[str | bool]:
        await shop.setup(SimpleNamespace(state=SimpleNamespace(nthreads=1), periodic_callbacks={}))
        assert shop.is_open
        doing = shop.begin(lambda: asyncio.sleep(0, "done"))
        assert doing is not None
        found = await asyncio.wrap_future(doing)
        shop._loop.call_soon_threadsafe(shop._closing.set)
        late = shop.begin(lambda: asyncio.sleep(0, "done"))
        await shop.close()
        assert shop.begin(lambda: asyncio.sleep(0, "done")) is None
        return [found, late is None or late.cancelled()]

    assert asyncio.run(work()) == ["done", True]


def test_nobody_looks_at_the_stacks_of_tasks_during_a_run(tmp_path: Path, stage: Stage) -> None:
    shop = shop_for(tmp_path, Config.load(config_in(tmp_path, stage)).cloud_rule())

    async def work() -> list[bool]:
        found = list[bool]()
        async with made(1) as cluster, distributed.Client(cluster.scheduler.address, asynchronous=True) as client:
            for during in (True, False):
                if during:
                    await client.register_plugin(shop)
                else:
                    await client.unregister_worker_plugin(shop.name)
                profiler = cluster.workers[0].periodic_callbacks.get("profile")
                found.append(profiler is not None and profiler.is_running())
        return found

    assert asyncio.run(work()) == [False, True]


def test_workers_are_sent_no_keys_of_the_catalogue(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", "hunter2")
    sent = list[bytes]()

    def shop(name: str, version: str, kit: bytes) -> Shop:
        sent.append(kit)
        raise ConfigError("that is all")

    monkeypatch.setattr(dask_executor, "Shop", shop)
    with pytest.raises(ConfigError, match="that is all"):
        run(config_in(tmp_path, stage, network={"headers": {"x-api-key": "env:KEY_OF_A_TEST"}}), stage, workers=0)
    (kit,) = sent
    assert b"hunter2" not in kit
    assert pickle.loads(kit).tools.client.api_headers == {}


@pytest.mark.long
def test_a_cluster_of_this_machine_is_started_and_ended(tmp_path: Path, stage: Stage, here: Ran) -> None:
    path = config_in(tmp_path, stage)
    command = [sys.executable, "-m", "s2async", "-q", "run", str(path), "--executor", "dask"]
    ended = subprocess.run(
        [*command, "--scheduler", "dask://local?workers=2"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (here.summary.exit_code, "")
    assert worlds.result(Config.load(path)) == worlds.result(here.config)


def check_stopped(path: Path, stage: Stage, here: Ran, run_and_stop: Callable[[], object]) -> None:
    """Stop a run: what its workers received is counted, and the next run does the rest."""
    before = len(stage.sandbox.log())
    with pytest.raises(asyncio.CancelledError):
        run_and_stop()
    log = stage.sandbox.log()[before:]
    counted = traffic_of(Config.load(path))
    assert 0 <= len(log) - sum(requests for requests, _ in counted.values()) <= 2, "answers that had not begun"
    assert sum(size for _, size in counted.values()) <= sum(entry.bytes for entry in log)
    assert run(path, stage).summary.left == 0
    assert worlds.result(Config.load(path)) == worlds.result(here.config)


@pytest.mark.long
def test_a_run_that_is_stopped_counts_what_its_workers_received(tmp_path: Path, stage: Stage, here: Ran) -> None:
    running: list[asyncio.Task[Any]] = []

    async def stop(_: Any) -> None:
        running[0].cancel()

    path = config_in(tmp_path, stage, network={"connections": 2})
    check_stopped(path, stage, here, lambda: run(path, stage, during=once(is_done, stop), running=running))


CALL, WRITE = (Calls, "call"), (dask_executor.DaskExecutor, "_write")


@pytest.mark.parametrize(("send_crops", "where"), [(False, CALL), (True, CALL), (True, WRITE)])
def test_what_has_come_back_counts_where_a_run_is_stopped_before_it_is_recorded(
    tmp_path: Path,
    stage: Stage,
    here: Ran,
    send_crops: bool,
    where: tuple[type[Any], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running: list[asyncio.Task[Any]] = []
    original = getattr(*where)
    held = list[Any]()

    async def hold(whose: Any, *args: Any) -> Any:
        found = await original(whose, *args)
        held.append(found)
        if len(held) == 2:
            running[0].cancel()
        await asyncio.Event().wait()

    def run_and_stop() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(*where, hold)
            run(path, stage, send_crops=send_crops, running=running)

    path = config_in(tmp_path, stage, network={"connections": 2})
    check_stopped(path, stage, here, run_and_stop)
    assert len(held) >= 2


# ---- values -----------------------------------------------------------------------------------------------


class WithInfrared(worlds.World):
    """A world with a near infrared band: of each item, the red one of the next."""

    def write(self) -> None:
        """As `World.write`."""
        super().write()
        path = self.folder / "items.jsonl"
        items = [json.loads(line) for line in path.read_text().splitlines()]
        for item, other in zip(items, [*items[1:], items[0]], strict=True):
            red, infrared = (
                self.folder / "cogs" / one["id"] / name for one, name in ((other, "B04.tif"), (item, "B08.tif"))
            )
            if "red" in item["assets"] and red.exists():
                infrared.write_bytes(red.read_bytes())
                href = item["assets"]["red"]["href"].replace("B04", "B08")
                item["assets"]["nir"] = {**item["assets"]["red"], "href": href}
        path.write_text("".join(f"{json.dumps(item)}\n" for item in items))


@pytest.mark.long
@pytest.mark.parametrize("weights", ["centre", "coverage"])
def test_values_on_workers_are_those_of_a_run_here(tmp_path: Path, weights: str) -> None:
    if weights == "coverage":
        pytest.importorskip("exactextract")
    with Stage(WithInfrared(tmp_path / "world", worlds.every_kind())) as stage:
        values = {"bands": ["red", "nir"], "indices": ["NDVI"], "weights": weights}
        here, there = (
            worlds.write_config(tmp_path / name, stage.sandbox, output={"assets": []}, values=values)
            for name in ("here", "there")
        )
        expected = worlds.run(here, stage.sandbox)
        command = [sys.executable, "-m", "s2async", "-q", "run", str(there), "--executor", "dask"]
        ended = subprocess.run(
            [*command, "--scheduler", "dask://local?workers=2"], capture_output=True, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (expected.summary.exit_code, "")
    tables = [(Config.load(path).output.folder / "values.csv").read_bytes() for path in (here, there)]
    assert tables[1] == tables[0]
    rows = list(csv.DictReader(io.StringIO(tables[0].decode())))
    assert {row["name"] for row in rows} == {"red", "nir", "NDVI"}
    assert len({row["mean"] for row in rows}) > len(rows) / 2, "not only the same number again and again"
