"""Adapts crops to changed areas: moves them to their folders, and writes the areas' names into their tags.

The state records the work before it begins and after it is done. After a kill, the next run (or command that uses
crops) first finishes the recorded work, even if the configuration has changed by then.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from s2async import files
from s2async.output import folder_moves, geotiff
from s2async.state.records import RenamedCrop

if TYPE_CHECKING:  # only runs and commands that write the state open it
    from s2async.state.writer import State

TOGETHER: Final = 16
"""Number of crops whose tags are rewritten between two transactions. All of them are open at the same time."""


def finish(state: State, output: Path, *, token: str, tell: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Finish the recorded moves and changes of tags.

    Args:
        state: the state, open for writing.
        output: the output folder, which need not exist.
        token: prefix of the names of temporary files.
        tell: called with messages for the user.

    Returns:
        Foreign files that were overwritten because they had the name of a crop.

    Raises:
        LocalError: a folder or a crop cannot be written.
    """
    if not state.is_moving():
        return []
    moves = state.folder_moves()
    folder_moves.park(output, moves)
    state.park_folders()
    overwritten = folder_moves.place(output, moves)
    renamed = state.renamed_crops()
    if len(renamed) > TOGETHER:
        tell(f"writing new names into the tags of {len(renamed):,} crops")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(renamed), TOGETHER):
            some = renamed[start : start + TOGETHER]
            _write(
                state, output, token, [one for one in pool.map(lambda crop: _tagged(output, crop), some) if one]
            )
    state.commit_folders()
    return overwritten


def _tagged(output: Path, crop: RenamedCrop) -> tuple[RenamedCrop, bytes] | None:
    """Return a crop's new record and bytes with its name in the tags; None if nothing has to or may be written.

    Nothing may be written if the file is not as recorded. The same file always gives the same bytes, so the hash
    shows whether a kill has left a file with its former tags after the new ones were recorded.
    """
    with files.local_errors("read", output / crop.path):
        try:
            data = (output / crop.path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
    new = geotiff.with_tag(data, "AREA", crop.name)
    if new is None or new == data:
        return None
    sha256 = hashlib.sha256(new).hexdigest()
    if crop.sha256 not in (sha256, hashlib.sha256(data).hexdigest()):
        return None
    return replace(crop, bytes=len(new), sha256=sha256), new


def _write(state: State, output: Path, token: str, tagged: Sequence[tuple[RenamedCrop, bytes]]) -> None:
    if tagged:
        state.note_tags([crop for crop, _ in tagged])
        files.replace_all([(output / crop.path, data) for crop, data in tagged], token=token)
