"""What a run does before its first request and after its last: nothing twice that was done before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from s2async.config.model import Config
from s2async.config.sections import TABLE
from tests.support import worlds
from tests.support.worlds import Ran, Stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"), [worlds.day(number) for number in range(0, 12, 2)])


def run(path: Path, stage: Stage) -> Ran:
    ran = worlds.run(path, stage.sandbox)
    assert ran.summary.clean
    return ran


def table(config: Config) -> tuple[int, bytes]:
    path = config.output.folder / TABLE
    return path.stat().st_ino, path.read_bytes()


def test_a_run_writes_the_table_only_when_it_changes(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    run(path, stage)
    first = table(config)
    assert first[1].count(b"\n") > 1
    held = (config.output.folder / TABLE).open("rb")  # so that a new file cannot get its inode
    with held:
        run(path, stage)
        assert table(config) == first
    (config.output.folder / TABLE).write_text("edited\n")
    run(path, stage)
    assert table(config)[1] == first[1]
    (config.output.folder / TABLE).unlink()
    run(path, stage)
    assert table(config)[1] == first[1]
    path = worlds.write_config(tmp_path, stage.sandbox, output={"mask": False})
    run(path, stage)
    assert table(config)[1] != first[1]
