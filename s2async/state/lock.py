"""The lock of a state: one process at a time has it, and a killed one lets go of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from filelock import FileLock, Timeout

from s2async import files
from s2async.errors import LocalError, StateError, StateInUse
from s2async.state import schema, sql

__all__ = ["FileLock", "take_lock"]

LOCK_SECONDS = 0.3
"""Longest wait for the lock: a run that is just ending lets go of it."""


def take_lock(path: Path) -> FileLock:
    """Take the lock of a state, which need not be there. The caller lets go of it; a killed process does, too.

    Raises:
        StateInUse: Another process holds it; told within a second.
        LocalError: This machine cannot write there, or files cannot be locked there.
    """
    files.make_folder(path.parent, parents=True)
    lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS)
    with files.local_errors("lock the state", path):
        # asked for here, because what cannot be locked looks like a lock that somebody else has
        files.check_locks(Path(lock.lock_file), what=f"the state {path}", make=True)
        try:
            lock.acquire()
        except Timeout:
            raise StateInUse(f"the state {path} is in use by {_holder(path)}; wait until it ends") from None
    return lock


def _holder(path: Path) -> str:
    """Who has the lock, as far as the file tells."""
    try:
        with schema.told(path), contextlib.closing(schema.open_for_reading(path)) as db:
            found = db.execute(sql.HOLDER).fetchone()
    except (StateError, LocalError):
        found = None
    return found[0] if found else "another run"
