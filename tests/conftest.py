"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fault_server import FaultServer
from tests.support.shell import Shell

if TYPE_CHECKING:
    from tests.support.worlds import Stage


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Recorded answers of the real services and real pixels, or a skip that says where they were looked for."""
    return _handed_out("S2ASYNC_REAL_DATA", "real", "real data")


@pytest.fixture(scope="session")
def bug_cases() -> Path:
    """Small inputs that once failed, or a skip that says where they were looked for."""
    return _handed_out("S2ASYNC_BUG_CASES", "bugs", "bug cases")


def _handed_out(variable: str, folder: str, what: str) -> Path:
    """A folder that is not part of the repository: where the environment says, or beside the repository."""
    named = os.environ.get(variable)
    found = Path(named) if named else Path(__file__).parents[2] / "shared" / "data" / folder
    if not (found / "README.md").is_file():
        pytest.skip(f"no {what} at {found}; name their folder in {variable}")
    return found


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no proxy."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The world of every kind behind a server; a module that needs another has a fixture of this name."""
    from tests.support import worlds  # loads slowly, and most tests need none

    yield from worlds.staged(tmp_path_factory.mktemp("world"))


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """The world of the module, without faults, and with an empty log."""
    shared.sandbox.reset()
    yield shared
    shared.sandbox.clear_faults()


@pytest.fixture(scope="session")
def fault_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """A server that fails as its paths say, in a process of its own, over an empty folder."""
    process = FaultServer(tmp_path_factory.mktemp("served"))
    yield process
    process.stop()


@pytest.fixture
def server(fault_process: FaultServer) -> FaultServer:
    """The fault server, with an empty log."""
    fault_process.ask("/__reset")
    return fault_process


@pytest.fixture
def s2(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(capfd, monkeypatch)
