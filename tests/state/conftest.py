"""A state that is open, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from s2async.state.writer import State


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def state(path: Path) -> Iterator[State]:
    with State.create_or_open(path) as opened:
        yield opened
