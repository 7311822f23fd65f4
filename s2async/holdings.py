"""What a job has on disk: crops that have lost their state, and what nobody may write over."""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from s2async import areas as area_files
from s2async import crops, files
from s2async.config import Config
from s2async.errors import ConfigError
from s2async.models import Area

_BESIDE_STATE = r"(-wal|-shm|-journal|\.lock|\.decoding|\.new|\.rebuilt|(\.v|\.damaged)\d+)?"
"""What may follow the state's name: SQLite's files, the lock, the marks of a run, copies."""
_PICTURES = (".tif", ".png")
"""Suffixes of crops and of their quicklooks."""


def check_state(config: Config) -> None:
    """Refuse to look into a state that is not there.

    Raises:
        ConfigError: Nothing has been run yet, or the state is gone; the text says what comes next.
        LocalError: The output folder cannot be read.
    """
    if config.run.state.exists():
        return
    lost = lost_state(config)
    text = lost or f"no state at {config.run.state}: nothing has been run yet"
    raise ConfigError(f"{text}; next: {command('rebuild' if lost else 'run', config)}")


def lost_state(config: Config, areas: Sequence[Area] | None = None) -> str:
    """That the state is gone while its crops are there, in words; the empty string where it is not so.

    Args:
        config: Settings of the job.
        areas: Those of the job; read where they are not given.

    Raises:
        AreaError: The areas cannot be used.
        LocalError: The output folder cannot be read.
    """
    state, output = config.run.state, config.output.folder
    if state.exists() or not output.is_dir():
        return ""
    names = f"*_*{crops.SUFFIXES['gtiff']}"
    with files.local_errors("read", output):
        there = {path.name for path in output.iterdir()}
        folders = [output / a.folder for a in areas or area_files.load(config) if a.folder in there]
        if not any(next(folder.glob(names), None) for folder in folders):
            return ""
    return f"the state {state} is gone, but crops of earlier runs are in {output}"


def command(name: str, config: Config) -> str:
    """A command about this job, as one types it."""
    return f"s2async {name} {shlex.quote(str(config.file)) if config.file else 'CONFIG'}"


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
