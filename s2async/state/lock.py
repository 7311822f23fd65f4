"""The lock of a state file: only one process at a time writes a state.

Reading needs no lock. The lock is a file next to the state; the system releases it when its process ends.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from s2async import disk_checks, files
from s2async.errors import LocalError, StateError, StateInUse
from s2async.state import writer_sql
from s2async.state.database import open_for_reading, state_errors

if TYPE_CHECKING:
    from filelock import FileLock

LOCK_SECONDS: Final = 0.3
"""Maximum wait for the lock, because a run that is just ending releases it."""


def take_lock(path: Path) -> FileLock:
    """Take the lock of a state, which need not exist. The caller releases it; if it is killed, the system does.

    Raises:
        StateInUse: another process holds the lock; raised within a second.
        LocalError: this machine cannot write or lock files there.
    """
    from filelock import FileLock, Timeout  # imported only here, because reading a state needs no lock

    files.make_folder(path.parent, parents=True)
    lock = FileLock(f"{path}.lock", timeout=LOCK_SECONDS)
    with files.local_errors("lock the state", path):
        # Checked first: if locks do not work at all, it looks as if another process held this lock.
        disk_checks.check_locks(Path(lock.lock_file), what=f"the state {path}", make=True)
        try:
            lock.acquire()
        except Timeout:
            raise StateInUse(f"the state {path} is in use by {_holder(path)}; wait until it ends") from None
    return lock


def _holder(path: Path) -> str:
    """Return which process holds the lock, if the state says so."""
    try:
        with state_errors(path), contextlib.closing(open_for_reading(path)) as db:
            row = db.execute(writer_sql.HOLDER).fetchone()
    except (StateError, LocalError):
        row = None
    return row[0] if row else "another run"
