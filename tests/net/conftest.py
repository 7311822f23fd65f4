"""Fixtures of the tests of the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from s2async.net.limiter import Turnstile
from tests.support.fault_server import FaultServer
from tests.support.transports import CONTENT


@pytest.fixture
def clean_environment(no_proxies: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that names neither a proxy nor a file of passwords."""
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def name(server: FaultServer) -> str:
    (server.folder / "data.bin").write_bytes(CONTENT)
    return "data.bin"


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which servers were left alone because they asked for it, as they are asked for."""
    asked: list[float] = []
    plain = Turnstile.pause

    def noted(self: Turnstile, seconds: float) -> None:
        asked.append(seconds)
        plain(self, seconds)

    monkeypatch.setattr(Turnstile, "pause", noted)
    return asked
