"""What belongs to whom: an output folder to one state, and a state to one configuration.

A folder says so in a small file beside the crops, a state in one of its rows. Both name the other by a path that
is relative to themselves, so that a project can be moved or copied as a whole. What says nothing belongs to who
comes first.
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
"""Of the mark."""
_MOST: Final = 16384
"""Bytes of a mark, at most."""
_OWN = "name a folder and a state of its own under [output] folder and [run] state"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What an output folder says of its owner."""

    state: str
    """Id of the state that its crops are recorded in."""
    path: str
    """Where that was, seen from the folder: for people, and to know a state that was deleted."""

    def place(self, folder: Path) -> Path:
        """Where the state was, when this is the mark of that folder."""
        return _from(folder, self.path)


# ---- folders ----------------------------------------------------------------------------------------------


def check(config: Config, state: Ledger | None) -> bool:
    """Refuse what belongs to others: a state of another configuration, an output folder of another state.

    Args:
        config: Settings of the job.
        state: Its state; None while there is no file.

    Returns:
        Whether the folder is marked as this state's. Otherwise it is nobody's, or that of a state that lay at the
        same place and was deleted.

    Raises:
        ConfigError: So it is; or the mark cannot be understood.
        LocalError: The mark cannot be read.
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
    if here and (state is None or state.last_run() is None):  # it was deleted; the new one has no crop to lose
        return False
    if here:
        raise ConfigError(
            f"the output folder {folder} belongs to another state than that which is now at {path}: put the right "
            f"one in its place, or {_OWN}; if that is lost, move this one away and {config.command('rebuild')}"
        )
    lost = "" if mark.place(folder).exists() else f"; if that is lost, {config.command('rebuild')}"
    raise ConfigError(f"the output folder {folder} belongs to another state, {mark.place(folder)}: {_OWN}{lost}")


def check_alive(config: Config) -> None:
    """Refuse an output folder whose state is another one and is where the mark says: it is not lost.

    Raises:
        ConfigError: So it is.
        LocalError: The mark cannot be read.
    """
    folder = config.output.folder
    try:
        mark = read(folder)
    except ConfigError:  # it says nothing, and will be written anew
        return
    if mark is not None and mark.place(folder) != _real(config.run.state) and mark.place(folder).exists():
        raise ConfigError(
            f"the output folder {folder} belongs to the state {mark.place(folder)}, which is there: {_OWN}"
        )


def is_marked(folder: Path) -> bool:
    """Whether a folder has a mark, whatever that says."""
    return os.path.lexists(folder / NAME)


def read(folder: Path) -> Mark | None:
    """The mark of a folder; None where there is none.

    Raises:
        ConfigError: It cannot be understood.
        LocalError: It cannot be read.
    """
    path = folder / NAME
    with files.local_errors("read", path):
        try:
            with path.open("rb") as file:
                data = file.read(_MOST)
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        told = json.loads(data)
        if isinstance(told, dict) and isinstance(told["format"], int) and told["format"] > FORMAT:
            raise ConfigError(f"{path} was written by a newer version of the program: update this one")
        mark = Mark(state=told["state"], path=told["path"])
        if told["format"] != FORMAT or not re.fullmatch("[0-9a-f]{8}", mark.state) or "\0" in mark.path:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(
            f"{path}, which tells the state that the folder belongs to, is damaged: remove it, and the next run "
            "writes it anew"
        ) from None
    return mark


def put(folder: Path, state: str, path: Path, *, anew: bool = False) -> bool:
    """Mark a folder as that of a state.

    Args:
        folder: The output folder, which exists.
        state: Id of the state.
        path: Where the state is.
        anew: Whatever a mark says that is there already.

    Returns:
        False when somebody else has marked it meanwhile: nothing was changed.

    Raises:
        LocalError: The folder cannot be written.
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
    """What a state remembers of its configuration: where that is, seen from the state's folder.

    Returns:
        None for one that is no file, such as a mapping: of these nothing is remembered.
    """
    path = config_path(config)
    return None if path is None else _seen_from(config.run.state.parent, path)


def config_path(config: Config) -> Path | None:
    """The file of a configuration, whatever folder it was named from; None for one that is no file."""
    if config.path is None or not _is_file(config.path):
        return None
    return _real(config.path.parent) / config.path.name


def renamed(config: Config, state: Ledger) -> Path | None:
    """The configuration that a state belonged to until this one took its place; None when it is the same."""
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
            "this one takes the place of that, remove that"
        )


# ---- paths ------------------------------------------------------------------------------------------------


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _seen_from(folder: Path, path: Path) -> str:
    """A path as seen from a folder; its last part may be a link, and stays one."""
    real = _real(path.parent) / path.name
    try:
        return Path(os.path.relpath(real, _real(folder))).as_posix()
    except ValueError:  # another drive of Windows
        return real.as_posix()


def _from(folder: Path, relative: str) -> Path:
    """The path that `_seen_from` told."""
    return Path(os.path.normpath(_real(folder) / relative))


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    """Whether a file is there; one that cannot be looked at is."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
