"""A small note in the user's state directory: which state a configuration has, and on which device that lies.

It tells a state that was deleted from one whose disk is away. A note is a help: where it cannot be read or
written, everything goes on as if there were none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import platformdirs

from s2async import files, owners
from s2async.config import Config
from s2async.errors import ConfigError, LocalError

FORMAT: Final = 1
_TOKEN: Final = "s2async-note"  # noqa: S105 - not a password


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What a run of a configuration noted."""

    config: str
    id: str
    """Of the state."""
    state: str
    device: int
    """Of the folder that the state lies in."""
    output: str
    output_device: int


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
    return note if numbers and note.config == str(owners.config_path(config)) else None


def away(config: Config) -> str:
    """That the disk of a state or of its output folder is away, in words; the empty string where nothing says so.

    A folder with its mark is there, whatever number its device has now: after a restart that may be another one.
    """
    note, state, output = read(config), config.run.state, config.output.folder
    if note is None:
        return ""
    here, there = device(state.parent), device(output)
    marked = owners.is_marked(output)
    renumbered = marked and note.device == note.output_device and here == there
    if note.state == str(state) and not state.exists() and here != note.device and not renumbered:
        return f"there was a state {state}, and its disk is away"
    if note.output == str(output) and not marked and there != note.output_device:
        return f"there was an output folder {output}, and its disk is away"
    return ""


def check(config: Config) -> None:
    """Refuse to go on without what is on a disk that is away.

    Raises:
        ConfigError: So it is; the text says what to do.
    """
    if found := away(config):
        raise ConfigError(f"{found}: mount it; or start anew with {config.command('run --new-state')}")


def deleted(config: Config) -> bool:
    """Whether the state of a configuration is gone from a disk that is there."""
    note, state = read(config), config.run.state
    return note is not None and note.state == str(state) and not state.exists() and not away(config)


def device(path: Path) -> int:
    """The device of a folder, or of the nearest folder above it that is there."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return folder.stat().st_dev
    return 0


def _path(config: Config) -> Path | None:
    file = owners.config_path(config)
    folder = platformdirs.user_state_path("s2async")
    if file is None or not folder.is_absolute():  # without a home it would be a folder of the name ~
        return None
    key = hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return folder / "jobs" / f"{key}.json"
