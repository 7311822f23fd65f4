"""A small note in the user's state directory: which state a configuration has, and on which device.

It distinguishes a state that was deleted from one whose disk is not mounted, or whose symbolic link has changed.
Notes are optional: if a note cannot be read or written, the program behaves as if it did not exist.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os.path
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import platformdirs

from s2async import files
from s2async.config.model import Config
from s2async.errors import ConfigError, LocalError
from s2async.maintenance import owners

FORMAT: Final = 1
_TOKEN: Final = "s2async-note"  # noqa: S105 - not a password


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What a run of a configuration has noted."""

    config: str
    id: str
    """Id of the state."""
    state: str
    """Path of the state, without symbolic links."""
    device: int
    """Device of the folder that contains the state."""
    output: str
    output_device: int
    named: str = ""
    """Path of the state as given in the configuration, with symbolic links; empty in notes of earlier versions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Away:
    """A state or folder that a run noted and that cannot be reached although nobody deleted it."""

    text: str
    """What is not reachable."""
    advice: str
    """How to make it reachable."""

    def __str__(self) -> str:
        return self.text


def write(config: Config, state: str) -> None:
    """Write the note of a configuration; a configuration from a mapping has no note.

    Args:
        config: settings whose folders exist.
        state: id of the state.
    """
    path = _path(config)
    if path is None:
        return
    note = Note(
        config=str(owners.config_path(config)),
        id=state,
        state=str(config.run.state),
        device=device(config.run.state.parent),
        output=str(config.output.folder),
        output_device=device(config.output.folder),
        named=str(config.named_state()),
    )
    if note == read(config):
        return
    text = json.dumps({"format": FORMAT, **asdict(note)}, indent=1) + "\n"
    with contextlib.suppress(LocalError, OSError):
        files.make_folder(path.parent, parents=True)
        with files.writing(path, files.temporary(path, _TOKEN), sync=False) as file:
            file.write(text.encode())


def read(config: Config) -> Note | None:
    """Return the note of a configuration, or None if there is none."""
    path = _path(config)
    if path is None:
        return None
    try:
        values = json.loads(path.read_bytes())
        if values.pop("format") != FORMAT:
            return None
        note = Note(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    numbers = isinstance(note.device, int) and isinstance(note.output_device, int)
    numbers = numbers and isinstance(note.named, str) and isinstance(note.state, str)
    return note if numbers and note.config == str(owners.config_path(config)) else None


def away(config: Config) -> Away | None:
    """Return which noted state or output folder cannot be reached; None if both can, or nothing is noted.

    An output folder with its mark counts as reachable even if its device number differs, because that can change
    with a restart.
    """
    note, state, output = read(config), config.run.state, config.output.folder
    if note is None:
        return None
    marked = owners.is_marked(output)
    there = device(output)
    if _is_of(note, config) and not state.exists():
        former = Path(note.state)
        here = device(former.parent)
        renumbered = marked and note.device == note.output_device and here == there
        if here != note.device and not renumbered and not os.path.exists(former):  # noqa: PTH110 - False for a path without access
            return Away(text=f"there was a state {former}, and its disk is away", advice="mount it")
        if former != state:
            return Away(
                text=f"there was a state {note.id} at {former}; the path now leads to {state}",
                advice="have the symbolic link lead there again",
            )
    if note.output == str(output) and not marked and there != note.output_device:
        return Away(text=f"there was an output folder {output}, and its disk is away", advice="mount it")
    return None


def _is_of(note: Note, config: Config) -> bool:
    """Return whether a note belongs to the path that the configuration gives now."""
    return note.state == str(config.run.state) or (note.named != "" and note.named == str(config.named_state()))


def check(config: Config) -> None:
    """Check that the noted state and output folder are reachable.

    Raises:
        ConfigError: one of them is not; the message says what to do.
    """
    if lost := away(config):
        raise ConfigError(f"{lost}: {lost.advice}; or start anew with {config.command('run --new-state')}")


def deleted(config: Config) -> bool:
    """Return whether the state of a configuration was deleted, rather than its disk unmounted."""
    note, state = read(config), config.run.state
    return note is not None and note.state == str(state) and not state.exists() and not away(config)


def device(path: Path) -> int:
    """Return the device of a folder, or of its nearest existing parent."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError, ValueError):
            return folder.stat().st_dev
    return 0


def _path(config: Config) -> Path | None:
    file = owners.config_path(config)
    folder = platformdirs.user_state_path("s2async")
    if file is None or not folder.is_absolute():  # without a home directory, it would be a folder named ~
        return None
    key = hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return folder / "jobs" / f"{key}.json"
