"""Files that are either whole or not there: temporary name, fsync, replace, fsync of the folder."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from s2async.errors import ConfigError, LocalError

try:
    import fcntl
except ImportError:  # Windows locks in another way, which works on its shares
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".part"
PROBE = "s2async-probe"
"""Token of the empty file that finds out whether a folder can be written."""
_RANDOM_BYTES = 6
"""In a temporary name, so that no two are the same."""

_ADVICE = {
    errno.EIO: "look after the disk and run again",
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
"""What file systems answer that cannot wait for a folder: SMB, FUSE, drvfs. A rename lasts there as well as they
make it; EIO says that it does not."""
_NO_FOLDER_OPEN: Final = _NO_FOLDER_SYNC | {errno.EISDIR, errno.EACCES, errno.EPERM}
"""The same where a folder is opened for that, which may be written in but not read."""
_IN_USE: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES})
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


@contextlib.contextmanager
def local_errors(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError into a LocalError of one line: what could not be done, where, why, and what to do."""
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
    """Write a file so that its final name never shows a part of it, and that it survives a power cut.

    Args:
        path: final name; its folder exists.
        data: the whole content.
        token: begins the temporary name (after a dot), so that :func:`sweep` finds what a killed run left.
        sync: wait for the disk; False for one of many files that :func:`sync_all` waits for at once.

    Raises:
        LocalError: disk full, read-only, no such folder.
    """
    replace_all([(path, data)], token=token, sync=sync)


def replace_all(contents: Sequence[tuple[Path, bytes]], *, token: str, sync: bool = True) -> None:
    """Write some files, each as :func:`replace` does it. They get their final names in the order of the list.

    Side by side: disks and file systems take many small changes together in little more than the time of one.

    Args:
        contents: final names, and the whole content of each.
        token: begins the temporary names.
        sync: wait for the disk.

    Raises:
        LocalError: as for :func:`replace`; no file is changed, or some at the start of the list are.
    """
    check_names(path for path, _ in contents)
    parts = [(path, temporary(path, token)) for path, _ in contents]
    with contextlib.ExitStack() as undo:
        opened = []
        for (path, part), (_, data) in zip(parts, contents, strict=True):
            undo.callback(_remove, part)
            with local_errors("write", path):
                file = undo.enter_context(part.open("xb", buffering=0))
                rest = memoryview(data)
                while rest:
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
        for path in {path.parent: path for path, _ in contents}.values():
            with local_errors("write", path):
                sync_folder(path.parent)


def create(path: Path, data: bytes, *, token: str) -> bool:
    """Write a file that must not be there yet, as `replace` does it; of several who try at once, one succeeds.

    Args:
        path: final name; its folder exists.
        data: the whole content.
        token: begins the temporary name.

    Returns:
        False when there is a file of this name, which stays as it is.

    Raises:
        LocalError: as for :func:`replace`.
    """
    part = temporary(path, token)
    with contextlib.ExitStack() as undo, local_errors("write", path):
        undo.callback(_remove, part)
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(part)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if os.path.lexists(path):
                return False
            part.replace(path)
        sync_folder(path.parent)
    return True


def temporary(path: Path, token: str) -> Path:
    """A name beside the final one that nobody else has; see :func:`replace`."""
    return path.with_name(f".{token}-{secrets.token_hex(_RANDOM_BYTES)}{SUFFIX}")


@contextlib.contextmanager
def writing(path: Path, part: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to be written bit by bit, which gets its final name when the block ends well; else nothing is left.

    Args:
        path: final name; its folder exists.
        part: name until then, in the same folder; what is there is written over.
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
            _remove(part)
            raise
        if sync:
            sync_folder(path.parent)


def _remove(part: Path) -> None:
    with contextlib.suppress(OSError):  # on a sick disk the first fault is the one to tell
        part.unlink(missing_ok=True)


def sync_all() -> None:
    """Wait until all that was written is on the disks. Systems that cannot (Windows) are not waited for."""
    if hasattr(os, "sync"):
        os.sync()


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder last, where the file system can be told to.

    Systems that cannot open a folder (Windows) do this by themselves.
    """
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in _NO_FOLDER_OPEN:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def check_locks(path: Path, *, what: str, make: bool = False) -> None:
    """Find out whether files can be locked where a file lies, in both ways: as programs do it and as SQLite does.

    Args:
        path: a file that SQLite does not use, for to close it lets go of locks. Where it cannot be opened, nothing
            is found out.
        what: the file for which locks are needed, as the complaint names it.
        make: create the file where there is none.

    Raises:
        LocalError: they cannot.
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


def check_names(names: Iterable[str | Path]) -> None:
    """Refuse names that this process cannot give to files as all others see them, which is in UTF-8.

    Plain ASCII is the same in all encodings that locales have, so a job without other names runs anywhere.

    Raises:
        ConfigError: a name is not ASCII where names of files are not UTF-8, or is not UTF-8 itself.
    """
    encoding = sys.getfilesystemencoding()
    for name in names:
        text = str(name)
        if text.isascii():
            continue
        if encoding.lower().replace("-", "") != "utf8":
            raise ConfigError(f"file names are {_named(encoding)} here; use a UTF-8 locale or PYTHONUTF8=1")
        if any("\ud800" <= char <= "\udfff" for char in text):  # bytes that Python could not decode
            shown = text.encode("utf-8", "backslashreplace").decode()
            raise ConfigError(f"the name of {shown} is not UTF-8; rename it, or work in another folder")


def _named(encoding: str) -> str:
    """An encoding as locales write it: ISO-8859-1, ASCII."""
    name = encoding.upper().replace("_", "-")
    return name.replace("ISO8859", "ISO-8859")


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Create a folder where missing.

    Args:
        folder: to be there.
        parents: also what it lies in. Not while a run goes on: what has vanished by then was unmounted or removed,
            and what came after would be put somewhere else.

    Raises:
        LocalError: not possible.
    """
    with local_errors("make the folder", folder):
        if not folder.is_dir():  # mostly it is, and to look takes a third of the time of trying
            folder.mkdir(parents=parents, exist_ok=True)


def check_writable(folder: Path) -> None:
    """Find out before the first request whether files can be written into the folder.

    Raises:
        LocalError: they cannot.
    """
    probe = folder / f".{PROBE}-{secrets.token_hex(_RANDOM_BYTES)}{SUFFIX}"
    with local_errors("write into", folder):
        probe.touch()
        probe.unlink(missing_ok=True)  # another run may sweep the folder at this moment


def sweep(folder: Path, *, token: str) -> int:
    """Remove temporary files that a killed run left in the folder and one level below; tells how many.

    Raises:
        LocalError: one of them cannot be removed.
    """
    random = "[0-9a-f]" * 2 * _RANDOM_BYTES  # all of it, so that one token may begin with another
    left = [path for below in ("", "*/") for path in folder.glob(f"{below}.{glob.escape(token)}-{random}{SUFFIX}")]
    with local_errors("remove half-written files in", folder):
        for path in left:
            path.unlink(missing_ok=True)
    return len(left)


def check_space(folder: Path, reserve: int) -> None:
    """Refuse to go on when less than ``reserve`` bytes are free.

    Raises:
        LocalError: too little is free, or the folder cannot be asked.
    """
    with local_errors("look at the disk of", folder):
        usage = shutil.disk_usage(folder)
    free = usage.free
    if usage.total and free < reserve:  # some shares do not tell how large they are
        raise LocalError(
            f"disk full at {folder}: {free >> 20} MiB free, {reserve >> 20} MiB are kept in reserve; "
            "free some space and run again"
        )
