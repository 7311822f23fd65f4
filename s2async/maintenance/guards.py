"""What a job has on disk: its state, crops that have lost it, and what nobody may write over."""

from __future__ import annotations

import contextlib
import os.path
import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from s2async import files
from s2async.areas import loader as area_files
from s2async.config.model import TABLE, Config
from s2async.errors import ConfigError
from s2async.maintenance import notes, owners
from s2async.models import Area
from s2async.output import crops, strangers
from s2async.state.reader import Ledger

_BESIDE_STATE = r"(-wal|-shm|-journal|\.lock|\.decoding|\.new|\.rebuilt|(\.v|\.damaged)\d+)?"
"""What may follow the state's name: SQLite's files, the lock, the marks of a run, copies."""
_PICTURES = (".tif", ".png")
"""Suffixes of crops and of their quicklooks."""


def check_state(config: Config) -> None:
    """Refuse to look into a state that is not there.

    Raises:
        ConfigError: Nothing has been run yet, or the state is gone or away; the text says what comes next.
        LocalError: The output folder cannot be read.
    """
    if config.run.state.exists():
        return
    notes.check(config)
    owners.check(config, None)
    lost = lost_state(config)
    text = lost or f"no state at {config.run.state}: nothing has been run yet"
    raise ConfigError(f"{text}; next: {config.command('rebuild' if lost else 'run')}")


def opened(config: Config) -> Ledger:
    """The state of a job, to be read, unless it or the output folder belongs to somebody else.

    Raises:
        ConfigError: So it is; or there is no state, see `check_state`.
        StateError: The state cannot be used.
        LocalError: This machine cannot read it, or the output folder.
    """
    check_state(config)
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.read(config.run.state))
        owners.check(config, ledger)
        stack.pop_all()  # all is well: whoever asked closes it
    return ledger


def check_start(
    config: Config, areas: Sequence[Area], tell: Callable[[str], None], *, new_state: bool = False
) -> None:
    """Look around before a state is made: it may only be away, and where its crops would go others may lie.

    Args:
        config: Settings of the job.
        areas: Those of the job.
        tell: Told what a person should know.
        new_state: Start anew, also where the former state is away.

    Raises:
        ConfigError: It is away, or the output folder belongs to another state, or holds other crops.
        LocalError: The output folder cannot be read.
    """
    if not new_state:
        notes.check(config)
    owners.check(config, None)
    _check_crops(config, areas, lambda _: ())
    if lost := lost_state(config, areas):
        again = f"stop, remove the new state, and {config.command('rebuild')}"
        tell(f"{lost}: all is searched and read anew; to keep what they tell, {again}")
    elif notes.deleted(config):
        tell(f"the state {config.run.state} of earlier runs is gone: this is a new start")


def adopt(config: Config, areas: Sequence[Area], state: Ledger, tell: Callable[[str], None]) -> None:
    """Mark an output folder that has no owner, or one that was deleted.

    Args:
        config: Settings of the job; the folder is there.
        areas: Those of the job.
        state: The new owner.
        tell: Told what a person should know.

    Raises:
        ConfigError: It holds other crops where those of the job would go, or another run was quicker.
        LocalError: It cannot be read or written.
    """
    _check_crops(config, areas, state.files_in)
    folder, known = config.output.folder, owners.is_marked(config.output.folder)
    table = folder / TABLE
    if not known and table.exists() and not any(state.crop_paths()):
        tell(f"{table} was there before: every run writes it anew")
    if not owners.put(folder, state.id, config.run.state, anew=known):
        owners.check(config, state)


def _check_crops(config: Config, areas: Sequence[Area], recorded: Callable[[str], Container[str]]) -> None:
    """Refuse a folder that holds crops of another outline or mask which the state does not know."""
    found = strangers.first(config.output.folder, areas, recorded, mask=config.output.mask)
    if found is not None:
        path, whose = found
        raise ConfigError(
            f"{path} is a crop of {whose} than this job's, which would be written over it: name another folder "
            "under [output] folder, or move that crop away"
        )


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
    names = f"*_*{crops.SUFFIX}"
    with files.local_errors("read", output):
        there = {path.name for path in output.iterdir()}
        areas = areas or area_files.load(config, lambda _: None)  # for their folders, wherever they lie
        folders = [output / area.folder for area in areas if area.folder in there]
        if not any(next(folder.glob(names), None) for folder in folders):
            return ""
    return f"the state {state} is gone, but crops of earlier runs are in {output}"


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
        "the mark of the output folder": target == config.output.folder / owners.NAME,
        "a picture in the output folder of this job": in_output and target.exists(),
    }
    for what, found in owned.items():
        if found:
            raise ConfigError(f"{path} is {what}: nothing was written; name another file with --output")
