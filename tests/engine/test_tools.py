"""Batches in another process: settings go there, results and traffic come back."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from s2async.engine import worker
from s2async.engine.tools import ToolSettings, open_tools
from s2async.means import Work
from s2async.models import Asset, Batch, BatchResult, Job, Status
from s2async.net.accounting import Meter
from s2async.net.client import ClientSettings
from tests.support import batches, worlds
from tests.support.settings import settings_in
from tests.support.states import make_scene
from tests.support.worlds import Stage

ITEM = worlds.day(1, clouded=frozenset({"South"}))
ASSETS = ("visual", "red")
THERE = """
import asyncio, pickle, sys
from s2async.engine import worker
from s2async.engine.tools import open_tools

settings, tool_settings, batch = pickle.load(sys.stdin.buffer)

async def main():
    async with open_tools(tool_settings) as tools:
        return await worker.process(batch, settings, tools)

result = asyncio.run(main())
assert not {"s2async.state", "s2async.config", "sqlite3", "rich", "pydantic"} & sys.modules.keys()
sys.stdout.buffer.write(pickle.dumps(result))
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [ITEM])


def batch_of(stage: Stage) -> Batch:
    place = f"{stage.sandbox.origin}/cogs/{ITEM.id}"
    names = {"scl": "SCL", "visual": "TCI", "red": "B04"}
    assets = {key: Asset(key=key, href=f"{place}/{name}.tif") for key, name in names.items()}
    scene = replace(make_scene(ITEM.id), assets=assets)
    jobs = [Job(id=number, area=area, scene=scene) for number, area in enumerate(batches.areas(), 1)]
    return Batch(scene=scene, jobs=tuple(jobs), shared=True)


def tool_settings(stage: Stage) -> ToolSettings:
    client = ClientSettings(origins=(stage.sandbox.origin,), connections=4)
    return ToolSettings(client=client, work=Work(connections=4, threads=2, writers=1, memory=1 << 24))


def test_a_batch_in_another_process_gives_the_same_result_and_traffic(tmp_path: Path, stage: Stage) -> None:
    batch, how, meter = batch_of(stage), tool_settings(stage), Meter()

    async def main() -> BatchResult:
        async with open_tools(how, meter=meter) as tools:
            return await worker.process(batch, settings_in(tmp_path / "here", assets=ASSETS), tools)

    here = asyncio.run(main())
    assert [outcome.status for outcome in here.outcomes].count(Status.SAVED) == 4
    seen = len(stage.sandbox.log())
    log = stage.sandbox.log()
    assert sum(entry.requests for entry in here.traffic) == meter.requests == len(log)
    assert sum(entry.bytes for entry in here.traffic) == meter.bytes == sum(entry.bytes for entry in log)

    sent = pickle.dumps((settings_in(tmp_path / "there", assets=ASSETS), how, batch))
    done = subprocess.run([sys.executable, "-c", THERE], input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    there: BatchResult = pickle.loads(done.stdout)
    assert there == here
    assert len(stage.sandbox.log()) == 2 * seen
    names = sorted(path.relative_to(tmp_path / "here") for path in (tmp_path / "here").rglob("*.tif"))
    assert len(names) == 8
    for name in names:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_traffic_of_a_batch_that_fails_is_counted_by_the_tools(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.reset()
    batch, meter = batch_of(stage), Meter()
    settings = replace(settings_in(tmp_path / "here", assets=ASSETS), reserve=1 << 62)

    async def main() -> None:
        async with open_tools(tool_settings(stage), meter=meter) as tools:
            await worker.process(batch, settings, tools)

    with pytest.raises(Exception, match="disk full"):
        asyncio.run(main())
    log = stage.sandbox.log()
    assert log
    drained = meter.drain()
    assert sum(entry.requests for entry in drained) == meter.requests == len(log)
    assert sum(entry.bytes for entry in drained) == meter.bytes == sum(entry.bytes for entry in log)


def test_batches_side_by_side_carry_their_own_traffic(tmp_path: Path, stage: Stage) -> None:
    """Two batches of two assets each: together they carry all that the server sent, and nothing is left over."""
    stage.sandbox.reset()
    batch, meter = batch_of(stage), Meter()
    settings = settings_in(tmp_path / "here", assets=ASSETS)
    alone = replace(batch, shared=False)
    halves = [replace(alone, jobs=batch.jobs[:2]), replace(alone, jobs=batch.jobs[2:])]

    async def main() -> list[BatchResult]:
        async with open_tools(tool_settings(stage), meter=meter) as tools:
            return await asyncio.gather(*[worker.process(half, settings, tools) for half in halves])

    results = asyncio.run(main())
    log = stage.sandbox.log()
    headers = [entry for entry in log if entry.range.startswith("bytes=0-")]
    for result in results:
        own = [entry for entry in result.traffic if entry.stage == "header"]
        assert sum(entry.requests for entry in own) == 3 == len(headers) / 2
    assert sum(entry.bytes for result in results for entry in result.traffic) == sum(entry.bytes for entry in log)
    assert meter.drain() == []
