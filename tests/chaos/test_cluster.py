"""Processes of a cluster that are killed: nothing is lost or there twice, and a job that kills is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from s2async.config.model import Config
from s2async.state.items import MOST_KILLS
from tests.chaos import cluster
from tests.chaos.cluster import Driver, clustered
from tests.chaos.traces import WORDS
from tests.support import worlds
from tests.support.streams import layout_of
from tests.support.worlds import Stage

pytest.importorskip("distributed")

from s2async.engine import dask_executor

pytestmark = pytest.mark.long

POISON = """
import os, signal
from s2async.cog import deflate

def deadly(plain, start=bytes.fromhex("{start}")):
    def read_rows(layout, data, rows, **options):
        if bytes(data[: len(start)]) == start:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(layout, data, rows, **options)

    return read_rows

deflate.read_rows = deadly(deflate.read_rows)
"""
"""A decoder that does not survive the first tile of one picture, which one area needs.

A worker may run this more than once."""

ITEM = worlds.day(4).id
AREA = "North"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in (0, 2, 4, 6)])


def test_kills_of_all_kinds_of_processes_leave_no_trace(tmp_path: Path) -> None:
    """As `python -m tests.chaos cluster` does it ten times, and with crops that are sent."""
    found = cluster.campaign(tmp_path, items=14, workers_killed=1, runs_killed=1)
    assert found.kills == {"worker": 1, "run": 1, "scheduler": 1}
    assert not {name: getattr(found, name) for name in WORDS if getattr(found, name)}


def test_a_job_that_kills_workers_is_set_aside_and_the_others_are_done(tmp_path: Path, stage: Stage) -> None:
    calm = worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="calm"), stage.sandbox)
    file = (stage.world.folder / "cogs" / ITEM / "TCI.tif").read_bytes()
    offset = int(layout_of(file).block_offsets[0])
    prelude = POISON.format(start=file[offset : offset + 32].hex())
    config = worlds.write_config(tmp_path, stage.sandbox)
    with clustered(tmp_path / "cluster", prelude, workers=7) as workers:
        driver = Driver(config, workers)
        assert driver.end() == 3, driver.said
        lost = sum(worker.poll() is not None for worker in workers.workers)
    assert lost == dask_executor.BESIDE_OTHERS + 1 + MOST_KILLS, "beside others, as a batch, and by itself"
    found = worlds.statuses(Config.load(config))
    expected = worlds.statuses(calm.config) | {(AREA, ITEM): "failed"}
    assert found == expected
    reason = worlds.jobs(Config.load(config))[AREA, ITEM].reason
    assert reason == "set aside: decoding it saw the program killed 3 times; retry brings it back"
