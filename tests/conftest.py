"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Recorded answers of the real services and real pixels, or a skip that says where they were looked for."""
    named = os.environ.get("S2ASYNC_REAL_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data" / "real"
    if not (folder / "README.md").is_file():
        pytest.skip(f"no real data at {folder}; name their folder in S2ASYNC_REAL_DATA")
    return folder
