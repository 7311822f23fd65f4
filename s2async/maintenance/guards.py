"""Checks before a command uses or overwrites files: the state, crops without a state, and output files."""

from __future__ import annotations

import contextlib
import os.path
import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from s2async import files
from s2async.config.model import Config
from s2async.config.sections import TABLE, VALUES_TABLE
from s2async.errors import ConfigError
from s2async.maintenance import notes, owners
from s2async.models import Area
from s2async.state.reader import Ledger

# The functions of a run import the modules that read areas and crops; opening a state for `status` needs neither.

_BESIDE_STATE = r"(-wal|-shm|-journal|\.lock|\.decoding|\.new|\.rebuilt|(\.v|\.damaged)\d+)?"
"""Suffixes of files next to the state: SQLite's own files, the lock, the marks of a run, and copies."""
_PICTURES = (".tif", ".png")
"""Suffixes of crops and of their quicklooks."""


def check_state(config: Config) -> None:
    """Check that the state exists.

    Raises:
        ConfigError: nothing has been run yet, or the state is lost or not mounted; the message says what to do.
        LocalError: the output folder cannot be read.
    """
    if config.run.state.exists():
        return
    notes.check(config)
    owners.check(config, None)
    lost = lost_state(config)
    text = lost or f"no state at {config.run.state}: nothing has been run yet"
    raise ConfigError(f"{text}; next: {config.command('rebuild' if lost else 'run')}")


def opened(config: Config) -> Ledger:
    """Open the state of a project for reading.

    Raises:
        ConfigError: the state or the output folder belongs to another project, or there is no state; see
            `check_state`.
        StateError: the state cannot be used.
        LocalError: this machine cannot read the state or the output folder.
    """
    check_state(config)
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.read(config.run.state))
        owners.check(config, ledger)
        stack.pop_all()  # no error, so from here on the caller closes it
    return ledger


def check_start(
    config: Config, areas: Sequence[Area], tell: Callable[[str], None], *, new_state: bool = False
) -> None:
    """Check before a new state is created that no state is lost and no other crops would be overwritten.

    Args:
        config: settings of the project.
        areas: areas of the project.
        tell: called with messages for the user.
        new_state: allow a new state even if the former one is not mounted.

    Raises:
        ConfigError: the former state is not mounted, or the output folder belongs to another state, or contains
            other crops.
        LocalError: the output folder cannot be read.
    """
    if not new_state:
        notes.check(config)
    owners.check(config, None)
    _check_crops(config, areas, lambda _: ())
    if lost := lost_state(config, areas):
        again = f"stop, remove the new state and run {config.command('rebuild')}"
        tell(f"{lost}: this run searches and reads everything again; to reuse them, {again}")
    elif notes.deleted(config):
        tell(f"the state {config.run.state} of earlier runs is gone: this is a new start")


def adopt(config: Config, areas: Sequence[Area], state: Ledger, tell: Callable[[str], None]) -> None:
    """Mark an output folder that has no owner, or whose owner was deleted.

    Args:
        config: settings of the project; the folder exists.
        areas: areas of the project.
        state: the new owner.
        tell: called with messages for the user.

    Raises:
        ConfigError: the folder contains other crops that would be overwritten, or another run marked it first.
        LocalError: the folder cannot be read or written.
    """
    _check_crops(config, areas, state.files_in)
    folder, known = config.output.folder, owners.is_marked(config.output.folder)
    for table in (folder / TABLE, *([folder / VALUES_TABLE] if config.values else ())):
        if not known and table.exists() and not any(state.crop_paths()):
            tell(f"{table} existed before: every run overwrites it")
    if not owners.put(folder, state.id, config.run.state, anew=known):
        owners.check(config, state)


def _check_crops(config: Config, areas: Sequence[Area], recorded: Callable[[str], Container[str]]) -> None:
    """Check that the folder contains no unrecorded crops of another outline or kind."""
    from s2async.output import strangers

    other = strangers.first(
        config.output.folder,
        areas,
        recorded,
        mask=config.output.mask,
        harmonised=config.output.reflectance == "harmonised",
    )
    if other is not None:
        path, whose = other
        raise ConfigError(
            f"{path} is a crop of {whose} than this job's, which would overwrite it: name another folder "
            "under [output] folder, or move that crop away"
        )


def lost_state(config: Config, areas: Sequence[Area] | None = None) -> str:
    """Describe a state that is gone although its crops exist; otherwise return an empty string.

    Args:
        config: settings of the project.
        areas: areas of the project; by default the areas of the configuration.

    Raises:
        AreaError: the areas are not valid.
        LocalError: the output folder cannot be read.
    """
    state, output = config.run.state, config.output.folder
    if state.exists() or not output.is_dir():
        return ""
    from s2async.areas import loader as area_files
    from s2async.output import crops

    names = f"*_*{crops.SUFFIX}"
    with files.local_errors("read", output):
        there = {path.name for path in output.iterdir()}
        areas = areas or area_files.load(config, lambda _: None)  # only for the names of their folders
        folders = [output / area.folder for area in areas if area.folder in there]
        if not any(next(folder.glob(names), None) for folder in folders):
            return ""
    return f"the state {state} is gone, but crops of earlier runs are in {output}"


def check_target(path: Path, config: Config) -> None:
    """Check that a result does not overwrite a file that the project needs; other files may be overwritten.

    Args:
        path: the file to write.
        config: settings of the project.

    Raises:
        ConfigError: the file is the state or belongs to it, or is the areas, the configuration, the mark, or a
            crop.
    """
    target, state = Path(os.path.realpath(path)), config.run.state
    beside = target.parent == state.parent and re.fullmatch(re.escape(state.name) + _BESIDE_STATE, target.name)
    in_output = target.is_relative_to(config.output.folder) and target.suffix.lower() in _PICTURES
    owned = {
        "the state of this job, or a file of it": bool(beside),
        "the areas of this job": target == config.areas,
        "the configuration of this job": config.file is not None and target == config.file.resolve(),
        "the mark of the output folder": target == config.output.folder / owners.NAME,
        "a crop or quicklook of this job": in_output and target.exists(),
    }
    for what, is_it in owned.items():
        if is_it:
            raise ConfigError(f"{path} is {what}: nothing was written; name another file with --output")
