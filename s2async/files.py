"""Writes files so that they are either complete or absent: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from s2async.errors import ConfigError, LocalError

SUFFIX = ".part"
"""Suffix of temporary files."""
PROBE = "s2async-probe"
"""Token of the empty file that `disk_checks.check_writable` writes to test a folder."""
PARTS = ".s2async-parts"
"""Folder for the temporary files of all folders next to it, so that :func:`sweep` need not search these."""
RANDOM_BYTES = 6
"""Random bytes in a temporary name, which make it unique; names made together have consecutive numbers."""

_ADVICE = {
    errno.EIO: "check the disk and run again",
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some of your quota and run again",
    errno.EFBIG: "raise the limit on the size of files and run again",
    errno.EROFS: "make it writable and run again",
    errno.EACCES: "make it writable and run again",
    errno.ENOENT: "put the folder back and run again",
    errno.EEXIST: "move that file away, or name another folder",
    errno.ENOTDIR: "move away the file where a folder should be, or name another folder",
    errno.EISDIR: "name a file, or move that folder away",
    errno.EMFILE: "raise the limit on open files (ulimit -n) and run again",
    errno.ENFILE: "close other programs, which have too many files open, and run again",
    errno.ENOMEM: "close other programs, or raise the limit (ulimit -v), and run again",
    errno.ENODEV: "the file system cannot map files into memory; name a place on a local disk",
}
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS})
"""Errors of file systems that cannot fsync a folder: SMB, FUSE, drvfs. There, whether a rename survives a power
cut is up to the file system. (EIO is not one of them: it means that the rename may be lost.)"""
_NO_FOLDER_OPEN: Final = _NO_FOLDER_SYNC | {errno.EISDIR, errno.EACCES, errno.EPERM}
"""Errors when a folder is opened for fsync: it may be writable, but not readable."""


@contextlib.contextmanager
def local_errors(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError into a LocalError of one line: what cannot be done, where, why, and what to do.

    Args:
        what: the action, as inserted between "cannot" and the path: "write".
        path: the file or folder.

    Raises:
        LocalError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        text = f"cannot {what} {path}: {error.strerror or error}"
        raise LocalError(f"{text}; {advice}" if advice else text) from error


def replace(
    path: Path,
    data: bytes,
    *,
    token: str = "s2async",  # noqa: S107 - not a password
    sync: bool = True,
) -> None:
    """Write a file so that it is never partly visible under its final name, and survives a power cut.

    Args:
        path: final name, in an existing folder.
        data: the whole content.
        token: start of the temporary name (after a dot), by which :func:`sweep` finds what a killed run left.
        sync: wait for the disk; False for one of many files for which :func:`sync_all` waits together.

    Raises:
        LocalError: disk full, read-only, no such folder.
    """
    replace_all([(path, data)], token=token, sync=sync)


def replace_all(contents: Sequence[tuple[Path, bytes]], *, token: str, sync: bool = True) -> None:
    """Write several files, each like :func:`replace`. They get their final names in the order of the list.

    All files are written first and synced afterwards: disks and file systems commit many small changes together in
    little more than the time of one.

    Args:
        contents: final name and whole content of each file.
        token: start of the temporary names.
        sync: wait for the disk.

    Raises:
        LocalError: as for :func:`replace`; then no file is changed, or only some at the start of the list.
    """
    check_names(path for path, _ in contents)
    parts = [(path, temporary(path, token)) for path, _ in contents]
    with contextlib.ExitStack() as undo:
        opened = []
        for (path, part), (_, data) in zip(parts, contents, strict=True):
            undo.callback(discard, part)
            with local_errors("write", path):
                file = undo.enter_context(part.open("xb", buffering=0))
                rest = memoryview(data)
                while rest:  # an unbuffered write may write only a part
                    rest = rest[file.write(rest) :]
            opened.append((path, file))
        for path, file in opened:
            with local_errors("write", path):
                if sync:
                    os.fsync(file.fileno())
                file.close()
        for path, part in parts:
            with local_errors("write", path):
                part.replace(path)
        undo.pop_all()
    if sync:
        # The new names are entries of the folder, which is synced once for all of its files.
        for path in {path.parent: path for path, _ in contents}.values():
            with local_errors("write", path):
                sync_folder(path.parent)


def create(path: Path, data: bytes, *, token: str) -> bool:
    """Write a file that does not exist yet, like `replace`. If several processes try at once, only one succeeds.

    Args:
        path: final name, in an existing folder.
        data: the whole content.
        token: start of the temporary name.

    Returns:
        False if there is already a file of this name, which is not changed.

    Raises:
        LocalError: as for :func:`replace`.
    """
    part = temporary(path, token)
    with contextlib.ExitStack() as undo, local_errors("write", path):
        undo.callback(discard, part)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(part)  # unlike a rename, this fails if the name is taken
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                return False
            part.replace(path)
        sync_folder(path.parent)
    return True


def temporary(path: Path, token: str) -> Path:
    """Return a unique temporary name on the file system of the final one; see :func:`replace`.

    It is in the folder `PARTS` next to the file's folder if there is one, otherwise in the file's folder itself.
    """
    try:
        device = os.stat(path.parent).st_dev  # noqa: PTH116 - takes half the time of Path.stat
    except OSError:
        device = None
    return temporaries([path], token, device)[0]


def temporaries(paths: Sequence[Path], token: str, device: int | None) -> list[Path]:
    """Return unique temporary names of files on one device, like `temporary`, without querying the device again.

    Args:
        paths: final names.
        token: start of the temporary names.
        device: the device of all their folders, because a folder may be a mount point of another file system or a
            link. None if the folders do not exist.
    """
    first = secrets.randbits(8 * RANDOM_BYTES)
    near: dict[Path, bool] = {}
    found = []
    for number, path in enumerate(paths):
        parts = path.parent.parent / PARTS
        if parts not in near:
            try:
                near[parts] = parts.stat().st_dev == device
            except OSError:
                near[parts] = False
        random = f"{(first + number) % (1 << 8 * RANDOM_BYTES):0{2 * RANDOM_BYTES}x}"
        name = f".{token}-{random}{SUFFIX}"
        found.append(parts / name if near[parts] else path.with_name(name))
    return found


@contextlib.contextmanager
def writing(path: Path, part: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing in steps. It gets its final name if the block succeeds; otherwise it is removed.

    Args:
        path: final name, in an existing folder.
        part: temporary name in the same folder; an existing file is overwritten.
        sync: wait for the disk; see :func:`replace`.

    Raises:
        LocalError: disk full, read-only, no such folder.
    """
    with local_errors("write", path):
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            discard(part)
            raise
        if sync:
            sync_folder(path.parent)


def discard(part: Path) -> None:
    """Remove a temporary file after an error, if it exists and can be removed."""
    with contextlib.suppress(OSError):  # the error that led here is the one to report
        part.unlink(missing_ok=True)


def sync_all() -> None:
    """Wait until everything that was written is on disk. Does nothing on systems without such a call (Windows)."""
    if hasattr(os, "sync"):
        os.sync()


def sync_folder(folder: Path) -> bool:
    """Make renames in a folder durable, if the file system supports this.

    Does nothing on systems that cannot open a folder (Windows), where renames are durable without it.

    Returns:
        False if the file system does not support it.

    Raises:
        OSError: the disk failed.
    """
    if os.name == "nt":
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in _NO_FOLDER_OPEN:
            return False
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def check_names(names: Iterable[str | Path]) -> None:
    """Check that this process can write names in UTF-8, as other programs read them.

    ASCII is the same in the encodings of all locales, so a job with ASCII names runs anywhere.

    Raises:
        ConfigError: a name is not ASCII although file names are not UTF-8, or cannot be encoded in UTF-8.
    """
    encoding = sys.getfilesystemencoding()
    for name in names:
        text = str(name)
        if text.isascii():
            continue
        if encoding.lower().replace("-", "") != "utf8":
            raise ConfigError(f"file names are {_named(encoding)} here; use a UTF-8 locale or PYTHONUTF8=1")
        if any("\ud800" <= char <= "\udfff" for char in text):  # how Python represents bytes it cannot decode
            shown = text.encode("utf-8", "backslashreplace").decode()
            raise ConfigError(f"the name of {shown} is not UTF-8; rename it, or work in another folder")


def _named(encoding: str) -> str:
    """Return the name of an encoding as in the names of locales: ISO-8859-1, ASCII."""
    name = encoding.upper().replace("_", "-")
    return name.replace("ISO8859", "ISO-8859")


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Create a folder if it is missing.

    Args:
        folder: the folder to create.
        parents: also create its parents. Not during a run: a parent that vanishes then was unmounted or removed,
            and later files would be written in the wrong place.

    Raises:
        LocalError: the folder cannot be created.
    """
    with local_errors("make the folder", folder):
        if not folder.is_dir():  # it usually exists, and looking takes a third of the time of trying
            folder.mkdir(parents=parents, exist_ok=True)


def sweep(folder: Path, *, token: str) -> int:
    """Remove temporary files that a killed run left in a folder and one level below, and create `PARTS` there.

    If an earlier sweep created `PARTS`, temporary files are only there, in the folder itself and in folders that
    links point to. The other folders, of which there may be 100,000, are not searched.

    Args:
        folder: the folder to sweep.
        token: token of the run; see :func:`replace`. Empty files of `disk_checks.check_writable` are removed as
            well.

    Returns:
        The number of removed files.

    Raises:
        LocalError: a file cannot be removed, or the folder cannot be created.
    """
    # The random part is matched in full, because a token may be the start of another one.
    ours = re.compile(rf"\.(?:{re.escape(token)}|{PROBE})-[0-9a-f]{{{2 * RANDOM_BYTES}}}{re.escape(SUFFIX)}")
    parts = folder / PARTS
    is_prepared = parts.is_dir()
    left, below = list[Path](), [parts] * is_prepared
    with local_errors("remove half-written files in", folder):
        if not folder.is_dir():
            return 0
        with os.scandir(folder) as entries:
            for entry in entries:
                if ours.fullmatch(entry.name):
                    left.append(Path(entry.path))
                elif (entry.is_symlink() or not is_prepared) and entry.is_dir():
                    below.append(Path(entry.path))
        for place in below:
            with os.scandir(place) as entries:
                left += [Path(entry.path) for entry in entries if ours.fullmatch(entry.name)]
        for path in left:
            path.unlink(missing_ok=True)
    if not is_prepared:
        make_folder(parts)
        with local_errors("make the folder", parts):
            sync_folder(folder)  # the folder must be durable before files are written into it
    return len(left)
