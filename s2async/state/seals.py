"""The seal of a state: a small file next to it, which says that a run has ended and nothing has changed it since.

Reading a whole state to check it takes seconds. A state that SQLite closed at the end of a run is as valid as
before, so a run that finds an intact seal does not check it. The seal contains size, time and inode of the state;
it does not match a damaged file, a copy, or a state that an earlier version of the program has written. The seal
is durably removed before anything is written, so there is none after a kill or a power cut.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from s2async import files

_STEP: Final = 2_000_000_000
"""Nanoseconds by which the time of a sealed state is set back. File systems store times in steps of up to two
seconds (FAT), so a later write within the same step would leave no trace."""


def put(path: Path) -> None:
    """Seal a state that was closed. If this fails, the next run checks the state."""
    with contextlib.suppress(OSError):
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns - _STEP))
        _seal(path).write_bytes(_content(path))


def is_broken(path: Path) -> bool:
    """Remove the seal of a state. The caller holds the state's lock.

    Returns:
        Whether the state has no seal, or was changed since it was sealed.

    Raises:
        LocalError: the seal cannot be removed.
    """
    seal = _seal(path)
    try:
        content = seal.read_bytes()
    except OSError:
        return True
    with files.local_errors("remove", seal):
        seal.unlink()
        files.sync_folder(path.parent)
    try:
        return content != _content(path) or _has_journal(path)
    except OSError:
        return True


def _seal(path: Path) -> Path:
    return path.with_name(path.name + ".sealed")


def _content(path: Path) -> bytes:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}\n".encode()


def _has_journal(path: Path) -> bool:
    """Return whether part of the state is in a journal next to it."""
    journal = path.with_name(path.name + "-wal")
    return journal.exists() and journal.stat().st_size > 0
