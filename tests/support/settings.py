"""Settings of a worker: those of a plain run, but for what a test says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s2async.clouds.scl import SclRule
from s2async.engine.tools import Settings

RULE = SclRule.from_percent(classes=[1, 3, 8, 9, 10], max_cloud=2, min_valid=0)


def settings_in(folder: Path, **other: Any) -> Settings:
    """Settings of a worker that saves masked crops of ``visual`` in a folder, which is made.

    Args:
        folder: for the crops.
        **other: fields of `Settings` that are to have another value.
    """
    folder.mkdir(exist_ok=True)
    plain: dict[str, Any] = {
        "rule": RULE,
        "assets": ("visual",),
        "mask": True,
        "folder": folder,
        "token": "s2async-test",
        "reserve": 1,
        "verify": False,
        "attribution": "synthetic {year}",
    }
    return Settings(**(plain | other))
