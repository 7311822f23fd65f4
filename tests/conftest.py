"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fault_server import FaultServer
from tests.support.shell import Shell


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Recorded answers of the real services and real pixels, or a skip that says where they were looked for."""
    named = os.environ.get("S2ASYNC_REAL_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data" / "real"
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real data at {folder}; name their folder in S2ASYNC_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def bug_cases() -> Path:
    """Small inputs that once failed, or a skip that says where they were looked for."""
    named = os.environ.get("S2ASYNC_BUG_CASES")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data" / "bugs"
    if not (folder / "README.md").is_file():
        pytest.skip(f"no bug cases at {folder}; name their folder in S2ASYNC_BUG_CASES")
    return folder


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
