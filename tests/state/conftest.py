"""A state that is open, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from s2async.state.writer import State
from tests.support.states import new_state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def state(path: Path) -> Iterator[State]:
    with new_state(path) as opened:
        yield opened
