"""Writes many files durably: the file system is synced twice for all of them, not once for each.

`files.replace_all` syncs every file and every folder, which costs about a millisecond each. For at least `LEAST`
files, `write_all` does this instead (its steps are numbered in the code):

1. Every file is written under a temporary name. Nothing that has a final name changes. After a crash or a power
   cut, the temporary files are complete, partial or absent; the next run sweeps them (`files.sweep`).
2. syncfs(2) returns when all of them are on the disk: their bytes, their sizes and their temporary names. ext4
   writes out what it has not yet allocated, commits its journal and flushes the disk's cache; xfs writes out the
   data and forces its log, with a flush; btrfs commits a transaction.
3. Every file is renamed. A rename is atomic, in memory and on the disk: it is in one transaction of the journal
   (ext4), of the log (xfs) or of the tree (btrfs). After a power cut, some renames may have happened and others
   not. If one has, the name points to a file whose bytes have been on the disk since step 2; if not, it points to
   the former file or to none. So a final name never shows a partial file.
4. A second syncfs returns when the new names are on the disk, with the folders that were made for them.

The caller then records in the state that the files exist. After a crash before that, some jobs are still open
although their crops may exist; these are written again, by the same steps.

Tested on a device that logs writes and flushes: the file system was mounted from everything that was flushed
before an instant and a random part of what was written after it. In 150 instants on ext4 and 40 each on xfs and
btrfs (Linux 6.18), every final name pointed to a complete file, and every file of a call that had returned
existed. Without step 2, ext4 showed partial files.

A failed sync must not go unnoticed. Therefore this is only done where syncfs reports errors (syncfs(2): since
Linux 5.8), and on file systems that are known to behave as described above. The kernel reports failures since the
descriptor was opened, so the descriptor is opened before the first write. Up to Linux 5.16, syncfs ignored that a
journal or log could not be written (see the commit "vfs: make sync_filesystem return errors from ->sync_fs").
fsync does not, so the first file is also fsynced after each syncfs, when nothing of it is left to write. In all
other cases, files are synced one by one: on other operating systems; on network file systems and FUSE, where the
other side decides what a sync means; and on overlayfs, which does not learn of errors in the layer that it writes
to.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import stat
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from s2async import files

LEAST: Final = 16
"""Minimum number of files for which the whole file system is synced."""
MOST: Final = 512
"""Maximum number of files written with two syncs: with more, a crash would cost more work than the syncs."""
MOST_BYTES: Final = 64 << 20
"""Total size in bytes after which no more files are added to those written with two syncs."""
_OPEN: Final = 8
"""Maximum number of open files when each is synced."""
_PATIENCE: Final = 2.0
"""Duration of a sync in seconds beyond which it must have waited for writes of other programs."""
_PAUSE: Final = 60.0
"""Seconds during which files are synced one by one after such a sync."""
_OLDEST: Final = (5, 8)
"""The first version of Linux whose syncfs reports errors."""
_KNOWN: Final = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994})
"""Types of file systems (linux/magic.h) on which two syncs do what is said above: ext4 (also ext2 and ext3), xfs,
btrfs, and tmpfs, which keeps nothing and has nothing to sync."""
_STATFS_BYTES: Final = 512
"""Buffer size for a ``struct statfs``, which has about 120 bytes."""

_paused: Final[dict[int, float]] = {}
"""Until when files are synced one by one, by device: a monotonic time in seconds."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written."""

    path: Path
    """Its final name. The folder is made if it is missing, but not its parents."""
    data: bytes
    """Its whole content."""


def write_all(contents: Sequence[NewFile], *, token: str) -> None:
    """Write files so that none is ever partly visible under its final name, and all survive a power cut.

    Files of one folder get their final names in the order of the list.

    Args:
        contents: files with different names; existing files are replaced.
        token: start of the temporary names (after a dot), by which `files.sweep` finds what a killed run left.

    Raises:
        LocalError: disk full, read-only, no such folder, or a disk failure. In this case no temporary file is
            left, and the files that have their final names are complete.
        ConfigError: a name cannot be written (see `files.check_names`).
    """
    files.check_names(new.path for new in contents)
    for device, those in _by_device(contents).items():
        for some in _batches(those):
            _write(some, token, device)


def _by_device(contents: Sequence[NewFile]) -> dict[int, list[NewFile]]:
    """Return the files by the device that they are written to, because a folder may be a mount point or a link.

    Missing folders are made.
    """
    devices: dict[Path, int] = {}
    found: dict[int, list[NewFile]] = defaultdict(list)
    for new in contents:
        folder = new.path.parent
        if folder not in devices:
            devices[folder] = _device(folder)
        found[devices[folder]].append(new)
    return found


def _device(folder: Path) -> int:
    """Return the device of a folder, which is made if it is missing."""
    # The folder nearly always exists. Each system call lets other threads run, which costs more than the call.
    with contextlib.suppress(OSError):
        found = os.stat(folder)  # noqa: PTH116 - takes half the time of Path.stat
        if stat.S_ISDIR(found.st_mode):
            return found.st_dev
    files.make_folder(folder)
    with files.local_errors("write into", folder):
        return folder.stat().st_dev


def _batches(contents: Sequence[NewFile]) -> Iterator[list[NewFile]]:
    """Yield the files in groups of at most `MOST` and about `MOST_BYTES`."""
    some: list[NewFile] = []
    size = 0
    for new in contents:
        if some and (len(some) >= MOST or size >= MOST_BYTES):
            yield some
            some, size = [], 0
        some.append(new)
        size += len(new.data)
    if some:
        yield some


def syncs_whole(folder: Path) -> bool:
    """Return whether two syncs of a folder's file system make many files in it durable."""
    try:
        device = folder.stat().st_dev
    except OSError:  # the first write will report it
        return False
    return _reports_errors() and _type(folder) in _KNOWN and time.monotonic() >= _paused.get(device, 0.0)


def _write(contents: Sequence[NewFile], token: str, device: int) -> None:
    """Write files of one device: with two syncs, or otherwise with a sync of each."""
    if len(contents) < LEAST or not syncs_whole(contents[0].path.parent):
        for start in range(0, len(contents), _OPEN):
            few = contents[start : start + _OPEN]
            files.replace_all([(new.path, new.data) for new in few], token=token)
        return
    parts = deque(files.temporaries([new.path for new in contents], token, device))
    with contextlib.ExitStack() as undo:
        undo.callback(_discard, parts)
        with files.local_errors("write", contents[0].path):
            first = _created(parts[0])  # stays open, so that the kernel reports all errors from now on
            undo.callback(os.close, first)
        for new, part in zip(contents, parts, strict=True):  # 1
            with files.local_errors("write", new.path):
                if part is parts[0]:
                    _write_to(first, new.data)
                else:
                    descriptor = _created(part)
                    try:
                        _write_to(descriptor, new.data)
                    finally:
                        os.close(descriptor)
        _sync(first, contents[0].path.parent, device)  # 2
        for new in contents:  # 3
            with files.local_errors("write", new.path):
                parts[0].replace(new.path)
            parts.popleft()
        _sync(first, contents[0].path.parent, device)  # 4


def _created(part: Path) -> int:
    return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _write_to(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):  # a write may write only a part
        written += os.write(descriptor, memoryview(data)[written:])


def _discard(parts: Iterable[Path]) -> None:
    for part in parts:
        files.discard(part)


# ---- the file system --------------------------------------------------------------------------------------


def _sync(descriptor: int, folder: Path, device: int) -> None:
    """Wait until everything that was written is on the disk.

    Args:
        descriptor: a file that was opened before the first write.
        folder: the folder that a message names.
        device: the device of the files, for which syncs pause if other programs write a lot to it.

    Raises:
        LocalError: something could not be written.
    """
    begun = time.monotonic()
    with files.local_errors("sync the file system of", folder):
        _call("syncfs", descriptor)
        os.fsync(descriptor)
    if time.monotonic() - begun > _PATIENCE:
        _paused[device] = time.monotonic() + _PAUSE


@cache
def _reports_errors() -> bool:
    """Return whether this system has a syncfs that reports errors."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    return (
        sys.platform == "linux"
        and version is not None
        and (int(version[1]), int(version[2])) >= _OLDEST
        and all(hasattr(_libc(), name) for name in ("syncfs", "statfs"))
    )


@cache
def _libc() -> ctypes.CDLL:
    """Return the C library, because Python has no functions for these calls."""
    return ctypes.CDLL(None, use_errno=True)


def _type(folder: Path) -> int:
    """Return the type of a file system (``f_type`` of statfs(2), the first field); 0 if it is unknown."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    try:
        _call("statfs", os.fsencode(folder), buffer)
    except OSError:
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF


def _call(name: str, *arguments: Any) -> None:
    """Make a system call; other threads run in the meantime.

    Raises:
        OSError: the call failed.
    """
    if getattr(_libc(), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
