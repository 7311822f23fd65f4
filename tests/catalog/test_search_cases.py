"""Searches over the small inputs that once failed: their own world and server, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.shell import Shell


@dataclass(frozen=True)
class Served:
    """The harness's plain world behind a server with some manners, and a config that asks it."""

    config: Path
    log: Path

    @property
    def searches(self) -> int:
        """Requests so far."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines()]
        return len([entry for entry in entries if entry["m"] == "POST"])


@pytest.fixture(scope="module")
def world(bug_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    subprocess.run([sys.executable, bug_cases / "_harness" / "make.py", folder], check=True, timeout=200)
    return folder


@contextlib.contextmanager
def serving(bug_cases: Path, world: Path, folder: Path, manners: Mapping[str, Any]) -> Iterator[Served]:
    harness = bug_cases / "_harness"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log, config = folder / "log.jsonl", folder / "base.toml"
    config.write_text((harness / "base.toml").read_text().replace("8801", str(port)))
    command: list[str | Path] = [sys.executable, harness / "serve.py", world, str(port), json.dumps(manners), log]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith(b"ready")
            yield Served(config, log)
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("manners", "first"),
    [
        ({"matched": 1.3}, 1 + 2),  # six items in a page, then in pages of four
        ({"matched": 1.3, "page": 2}, 3 + 6),
        ({"matched": 100}, 1 + 2),
        ({"matched": 1.0}, 1),
        ({"matched": 0.5}, 1),
    ],
)
def test_a_count_that_is_an_estimate_alarms_nobody(
    bug_cases: Path, world: Path, tmp_path: Path, s2: Shell, manners: Mapping[str, Any], first: int
) -> None:
    with serving(bug_cases, world, tmp_path, manners) as served:
        ran = s2("run", served.config)
        assert ran.code == 0
        assert "10 saved   2 cloudy" in ran.out
        assert served.searches == first
        assert ("its count is taken for an estimate" in ran.error) is (manners["matched"] > 1)
        again = s2("run", "-q", served.config)
        assert (again.code, again.out, again.error) == (0, "", "")
        assert served.searches == first + (3 if "page" in manners else 1), "no second look"
