"""Ownership: an output folder belongs to one state, and a state to one configuration.

The folder has a small file with its mark next to the crops; the state records its configuration. Both use relative
paths, so that a project can be moved or copied as a whole. The first state or configuration to use a folder or
state without an owner becomes its owner.
"""

from __future__ import annotations

import contextlib
import json
import os.path
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from s2async import files
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.state.reader import Ledger

NAME: Final = ".s2async.json"
"""The mark of an output folder."""
FORMAT: Final = 1
"""Version of the mark's format."""
_MOST: Final = 16384
"""Maximum number of bytes of a mark."""
_OWN = "name a folder and a state of its own under [output] folder and [run] state"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """The owner of an output folder."""

    state: str
    """Id of the state that records its crops."""
    path: str
    """Path of the state, relative to the folder: for messages, and to detect that the state was deleted."""

    def place(self, folder: Path) -> Path:
        """Return the path of the state, for the mark of this folder."""
        return _from(folder, self.path)


# ---- folders ----------------------------------------------------------------------------------------------


def check(config: Config, state: Ledger | None) -> bool:
    """Check that the state belongs to this configuration, and the output folder to this state.

    Args:
        config: settings of the project.
        state: its state; None if the file does not exist.

    Returns:
        True if the folder is marked as belonging to this state; False if it has no owner, or if its owner was a
        state at the same path that was deleted.

    Raises:
        ConfigError: one of them belongs to another project, or the mark is not valid.
        LocalError: the mark cannot be read.
    """
    if state is not None:
        _check_configuration(config, state)
    folder, path = config.output.folder, config.run.state
    mark = read(folder)
    if mark is None:
        return False
    if state is not None and mark.state == state.id:
        return True
    here = mark.place(folder) == _real(path)
    if here and (state is None or state.last_run() is None):  # the owner was deleted, and no run has crops to lose
        return False
    if here:
        raise ConfigError(
            f"the output folder {folder} belongs to another state than the one at {path}: put the right "
            f"one there, or {_OWN}; if it is lost, move this one away and run {config.command('rebuild')}"
        )
    lost = "" if mark.place(folder).exists() else f"; if that is lost, run {config.command('rebuild')}"
    raise ConfigError(f"the output folder {folder} belongs to another state, {mark.place(folder)}: {_OWN}{lost}")


def check_alive(config: Config) -> None:
    """Check that the output folder does not belong to another state that still exists.

    Raises:
        ConfigError: it does.
        LocalError: the mark cannot be read.
    """
    folder = config.output.folder
    try:
        mark = read(folder)
    except ConfigError:  # a damaged mark is overwritten later
        return
    if mark is not None and mark.place(folder) != _real(config.run.state) and mark.place(folder).exists():
        raise ConfigError(
            f"the output folder {folder} belongs to the state {mark.place(folder)}, which exists: {_OWN}"
        )


def is_marked(folder: Path) -> bool:
    """Return whether a folder has a mark, valid or not."""
    return os.path.lexists(folder / NAME)


def read(folder: Path) -> Mark | None:
    """Read the mark of a folder; return None if there is none.

    Raises:
        ConfigError: the mark is not valid.
        LocalError: the mark cannot be read.
    """
    path = folder / NAME
    with files.local_errors("read", path):
        try:
            with path.open("rb") as file:
                data = file.read(_MOST)
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        values = json.loads(data)
        if isinstance(values, dict) and isinstance(values["format"], int) and values["format"] > FORMAT:
            raise ConfigError(f"{path} was written by a newer version of the program: update this one")
        mark = Mark(state=values["state"], path=values["path"])
        if values["format"] != FORMAT or not re.fullmatch("[0-9a-f]{8}", mark.state) or "\0" in mark.path:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(
            f"{path}, the mark of the state that the folder belongs to, is damaged: remove it, and the next run "
            "writes it again"
        ) from None
    return mark


def put(folder: Path, state: str, path: Path, *, anew: bool = False) -> bool:
    """Mark a folder as belonging to a state.

    Args:
        folder: the output folder, which exists.
        state: id of the state.
        path: path of the state.
        anew: overwrite an existing mark.

    Returns:
        False if another process has marked the folder in the meantime; in that case, nothing is changed.

    Raises:
        LocalError: the folder cannot be written.
    """
    place, token = folder / NAME, f"s2async-{state}"
    mark = Mark(state=state, path=_seen_from(folder, path))
    with contextlib.suppress(ConfigError):
        if read(folder) == mark:
            return True
    data = (json.dumps({"format": FORMAT, **asdict(mark)}) + "\n").encode()
    if not anew:
        return files.create(place, data, token=token)
    with files.writing(place, files.temporary(place, token)) as file:
        file.write(data)
    return True


# ---- configurations ---------------------------------------------------------------------------------------


def configuration(config: Config) -> str | None:
    """Return the path of a configuration relative to the state's folder, as the state records it.

    Returns:
        None if the configuration is not a file, such as a mapping; nothing is recorded in this case.
    """
    path = config_path(config)
    return None if path is None else _seen_from(config.run.state.parent, path)


def config_path(config: Config) -> Path | None:
    """Return the absolute path of a configuration, or None if it is not a file."""
    if config.path is None or not _is_file(config.path):
        return None
    return _real(config.path.parent) / config.path.name


def renamed(config: Config, state: Ledger) -> Path | None:
    """Return the recorded configuration of a state if it differs from this one, otherwise None."""
    own, known = config_path(config), state.configuration()
    if own is None or known is None:
        return None
    former = _from(config.run.state.parent, known)
    return None if _same(former, own) else former


def _check_configuration(config: Config, state: Ledger) -> None:
    former = renamed(config, state)
    if former is not None and _is_file(former):
        raise ConfigError(
            f"the state {config.run.state} belongs to the configuration {former}: for {config.file}, {_OWN}; if "
            "it replaces the former one, remove that"
        )


# ---- paths ------------------------------------------------------------------------------------------------


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _seen_from(folder: Path, path: Path) -> str:
    """Return a path relative to a folder. If its last part is a symbolic link, it is not resolved."""
    real = _real(path.parent) / path.name
    try:
        return Path(os.path.relpath(real, _real(folder))).as_posix()
    except ValueError:  # on another drive in Windows
        return real.as_posix()


def _from(folder: Path, relative: str) -> Path:
    """Return the path that `_seen_from` made relative."""
    return Path(os.path.normpath(_real(folder) / relative))


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    """Return whether a file exists; True if access is denied."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
