"""A small note in the user's state directory: which state a configuration has, and on which device that lies.

It tells a state that was deleted from one whose disk is away, or to which a symbolic link leads no longer. A note
is a help: where it cannot be read or written, everything goes on as if there were none.
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
    """What a run of a configuration noted."""

    config: str
    id: str
    """Of the state."""
    state: str
    """Its place, without symbolic links."""
    device: int
    """Of the folder that the state lies in."""
    output: str
    output_device: int
    named: str = ""
    """The state's place as the configuration names it, with symbolic links; notes of earlier versions lack it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Away:
    """That what a run noted is not where it was, though nobody has deleted it."""

    text: str
    """What is away."""
    mend: str
    """What brings it back."""

    def __str__(self) -> str:
        return self.text


def write(config: Config, state: str) -> None:
    """Note the state of a configuration; nothing of one that is no file.

    Args:
        config: Settings; their folders are there.
        state: Id of the state.
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
    """What was noted of a configuration; None when nothing is known."""
    path = _path(config)
    if path is None:
        return None
    try:
        told = json.loads(path.read_bytes())
        if told.pop("format") != FORMAT:
            return None
        note = Note(**told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    numbers = isinstance(note.device, int) and isinstance(note.output_device, int)
    numbers = numbers and isinstance(note.named, str) and isinstance(note.state, str)
    return note if numbers and note.config == str(owners.config_path(config)) else None


def away(config: Config) -> Away | None:
    """Say that the state of a configuration or its output folder is away; None where nothing says so.

    A folder with its mark is there, whatever number its device has now: after a restart that may be another one.
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
        if here != note.device and not renumbered and not os.path.exists(former):  # noqa: PTH110 - one that may not be looked at is away
            return Away(text=f"there was a state {former}, and its disk is away", mend="mount it")
        if former != state:
            return Away(
                text=f"there was a state {note.id} at {former}; the path now leads to {state}",
                mend="have the symbolic link lead there again",
            )
    if note.output == str(output) and not marked and there != note.output_device:
        return Away(text=f"there was an output folder {output}, and its disk is away", mend="mount it")
    return None


def _is_of(note: Note, config: Config) -> bool:
    """Whether a note is of the place that a configuration names today."""
    return note.state == str(config.run.state) or (note.named != "" and note.named == str(config.named_state()))


def check(config: Config) -> None:
    """Refuse to go on without what is away.

    Raises:
        ConfigError: So it is; the text says what to do.
    """
    if found := away(config):
        raise ConfigError(f"{found}: {found.mend}; or start anew with {config.command('run --new-state')}")


def deleted(config: Config) -> bool:
    """Whether the state of a configuration is gone from a place that is there."""
    note, state = read(config), config.run.state
    return note is not None and note.state == str(state) and not state.exists() and not away(config)


def device(path: Path) -> int:
    """The device of a folder, or of the nearest folder above it that is there."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError, ValueError):
            return folder.stat().st_dev
    return 0


def _path(config: Config) -> Path | None:
    file = owners.config_path(config)
    folder = platformdirs.user_state_path("s2async")
    if file is None or not folder.is_absolute():  # without a home it would be a folder of the name ~
        return None
    key = hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return folder / "jobs" / f"{key}.json"
