"""Checks whether a disk provides what a run needs: files can be written and locked there, and there is space."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from s2async import files
from s2async.errors import LocalError

try:
    import fcntl
except ImportError:  # Windows has other locks, which also work on network shares
    fcntl = None  # type: ignore[assignment]

_IN_USE: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES})
"""Errors when a file is locked that another process has locked."""
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


def check_writable(folder: Path) -> None:
    """Check, before the first request, whether files can be written into a folder.

    Raises:
        LocalError: they cannot be written.
    """
    probe = folder / f".{files.PROBE}-{secrets.token_hex(files.RANDOM_BYTES)}{files.SUFFIX}"
    with files.local_errors("write into", folder):
        probe.touch()
        probe.unlink(missing_ok=True)  # another run may be sweeping the folder


def check_space(folder: Path, reserve: int) -> None:
    """Check that a disk has ``reserve`` free bytes.

    Args:
        folder: a folder on the disk.
        reserve: number of bytes.

    Raises:
        LocalError: fewer bytes are free, or the file system does not respond.
    """
    with files.local_errors("read the free space of the disk at", folder):
        usage = shutil.disk_usage(folder)
    free = usage.free
    if usage.total and free < reserve:  # some network shares report a size of 0
        raise LocalError(
            f"disk full at {folder}: {free >> 20} MiB free, {reserve >> 20} MiB are kept in reserve; "
            "free some space and run again"
        )


def check_locks(path: Path, *, what: str, make: bool = False) -> None:
    """Check whether files can be locked on a file system: both with flock, and with fcntl as SQLite does.

    Args:
        path: a file that SQLite does not use, because closing a file releases the process's locks on it. Nothing
            is checked if it cannot be opened.
        what: the file that needs locks, as named in the message.
        make: create the file if it does not exist.

    Raises:
        LocalError: files cannot be locked.
    """
    if fcntl is None:
        return
    try:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o666)
    except OSError:
        return
    try:
        for lock in (fcntl.lockf, fcntl.flock):
            lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock(descriptor, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise LocalError(
                f"{what} cannot be locked: locks do not work on its file system ({error.strerror}); put `state` "
                "under [run] on a local disk"
            ) from error
        if error.errno not in _IN_USE:
            raise LocalError(f"{what} cannot be locked: {error.strerror}") from error
    finally:
        os.close(descriptor)
