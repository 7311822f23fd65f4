"""Moves the crops of areas to other folders of the output folder, in two steps that can be resumed after a kill.

Areas may have swapped names, so a folder cannot always be renamed directly, because its new name may still be in
use. First, everything that moves is parked under a name derived from its area's fingerprint; then each part gets
its new name. The caller records the end of each step in the state. After a kill, the interrupted step is repeated.

A folder moves as a whole, with everything that a user has put into it. Only if it also contains crops that stay or
that move elsewhere, the crops that move are taken out of it one by one, with their quicklooks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from s2async import files
from s2async.areas.folders import PARKING, parking
from s2async.models import FolderMove
from s2async.output import quicklook


def park(output: Path, moves: Sequence[FolderMove]) -> None:
    """Do the first step: move the affected folders and crops to a folder with a temporary name.

    Args:
        output: the output folder, which need not exist.
        moves: folders to move.

    Raises:
        LocalError: a folder cannot be renamed.
    """
    for move in moves:
        parked = _parked(output, move)
        if move.parked or parked == output / move.old:
            continue
        if move.whole:
            _move(output / move.old, parked, move)
        else:
            _take_out(output / move.old, parked, move)
    _sync(output, moves)


def place(output: Path, moves: Sequence[FolderMove]) -> list[Path]:
    """Do the second step: give each parked folder its new name. Other files in the target folder stay.

    Args:
        output: the output folder, which need not exist.
        moves: folders that are parked.

    Returns:
        Files that were overwritten because they had the name of a crop.

    Raises:
        LocalError: a folder cannot be renamed.
    """
    overwritten = [path for move in moves for path in _move(_parked(output, move), output / move.new, move)]
    _sync(output, moves)
    return overwritten


def _parked(output: Path, move: FolderMove) -> Path:
    # Earlier versions recorded the temporary name as the name of the folder.
    old = move.old
    return output / (old if old.startswith(PARKING) else parking(move.fingerprint, old, move.new))


def _move(source: Path, target: Path, move: FolderMove) -> list[Path]:
    """Rename a folder; if the target exists, move the files into it. Return the files overwritten there."""
    with files.local_errors("move to", target):
        if not source.is_dir():
            return []
        if not target.exists():
            source.replace(target)
            return []
        overwritten = _into(target, source.iterdir(), move)
        # The files must be on disk in the target before their old folder is removed.
        files.sync_folder(target)
        source.rmdir()
    return overwritten


def _take_out(source: Path, target: Path, move: FolderMove) -> None:
    """Move some crops with their quicklooks out of a folder, and remove the folder if it is then empty."""
    there = [source / name for name in _names(move) if (source / name).is_file()]
    if not there:
        return
    files.make_folder(target)
    with files.local_errors("move to", target):
        _into(target, there, move)
        files.sync_folder(target)
        with contextlib.suppress(OSError):  # the folder contains other files
            source.rmdir()


def _into(target: Path, paths: Iterable[Path], move: FolderMove) -> list[Path]:
    """Move files into a folder, and return the files there that recorded crops overwrote.

    Other files never overwrite anything, because it may be a recorded crop; they get another name instead.
    """
    overwritten, ours = [], set(_names(move))
    for path in list(paths):
        new = target / path.name
        if new.exists() and path.name in ours:
            overwritten.append(new)
        while path.name not in ours and new.exists():
            new = new.with_name(f"{new.name}.old")
        path.replace(new)
    return overwritten


def _names(move: FolderMove) -> list[str]:
    """Return the names of the crops that move, each after its quicklook."""
    return [name for file in move.files for name in (quicklook.beside(Path(file)).name, file)]


def _sync(output: Path, moves: Sequence[FolderMove]) -> None:
    if moves and output.is_dir():
        with files.local_errors("move folders in", output):
            files.sync_folder(output)
