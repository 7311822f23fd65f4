"""What a job has on disk, and what nobody may write over."""

from __future__ import annotations

import os.path
import re
from pathlib import Path

from s2async.config import Config
from s2async.errors import ConfigError

_BESIDE_STATE = r"(-wal|-shm|-journal|\.lock|\.decoding|\.new|\.rebuilt|(\.v|\.damaged)\d+)?"
"""What may follow the state's name: SQLite's files, the lock, the marks of a run, copies."""
_PICTURES = (".tif", ".png")
"""Suffixes of crops and of their quicklooks."""


def check_target(path: Path, config: Config) -> None:
    """Refuse to write a result over what a job lives by; a file of any other kind may be written over.

    Args:
        path: The file that somebody wants to write.
        config: Settings of the job.

    Raises:
        ConfigError: It is the state or lies with it, the areas, the configuration, or a crop.
    """
    target, state = Path(os.path.realpath(path)), config.run.state
    beside = target.parent == state.parent and re.fullmatch(re.escape(state.name) + _BESIDE_STATE, target.name)
    in_output = target.is_relative_to(config.output.folder) and target.suffix.lower() in _PICTURES
    owned = {
        "the state of this job, or a file of it": bool(beside),
        "the areas of this job": target == config.areas,
        "the configuration of this job": config.file is not None and target == config.file.resolve(),
        "a picture in the output folder of this job": in_output and target.exists(),
    }
    for what, found in owned.items():
        if found:
            raise ConfigError(f"{path} is {what}: nothing was written; name another file with --output")
