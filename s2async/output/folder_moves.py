"""Renames the folders of areas inside the output folder, in two steps that a kill cannot mix up.

Areas may have swapped names, so a folder cannot always be renamed directly: its new name may still be taken.
First every folder that moves is parked under a name derived from its area's fingerprint; then each gets its new
name. The caller records the end of each step in the state. After a kill, the interrupted step is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2async import files
from s2async.areas.folders import parking
from s2async.models import FolderMove


def park(output: Path, moves: Sequence[FolderMove]) -> None:
    """Do the first step: give each folder a name that identifies its area.

    Args:
        output: the output folder, which need not exist.
        moves: folders to move.

    Raises:
        LocalError: a folder cannot be renamed.
    """
    for move in moves:
        if move.old != parking(move.fingerprint):
            _move(output / move.old, output / parking(move.fingerprint))
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
    overwritten = [path for move in moves for path in _move(output / parking(move.fingerprint), output / move.new)]
    _sync(output, moves)
    return overwritten


def _move(source: Path, target: Path) -> list[Path]:
    """Rename a folder; where the target exists, move the files into it. Returns the files overwritten there."""
    overwritten = []
    with files.local_errors("move to", target):
        if not source.is_dir():
            return []
        if not target.exists():
            source.replace(target)
            return []
        for path in list(source.iterdir()):
            new = target / path.name
            if new.exists():
                overwritten.append(new)
            path.replace(new)
        # The files must be on disk in the target before their old folder goes.
        files.sync_folder(target)
        source.rmdir()
    return overwritten


def _sync(output: Path, moves: Sequence[FolderMove]) -> None:
    if moves and output.is_dir():
        with files.local_errors("move folders in", output):
            files.sync_folder(output)
