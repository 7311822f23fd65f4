"""The resources that this machine grants a process: open files, address space, threads.

`prepare` runs before anything heavy is loaded, so this module needs only the standard library. A C library that
gets no memory ends the process without a message, so a shortage is reported beforehand. Measured (Linux, x86-64,
Python 3.11, the wheels of numpy, GDAL and PROJ): loading everything takes 246 MB of address space, and a run of
1,428 jobs takes 341 MB with the default settings and 304 MB with 16 MiB of tiles.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from s2async.errors import LocalError

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

ENOUGH_FILES: Final = 8192
"""Number of open files that is enough for any run; the soft limit is raised to it if that is allowed."""
LEAST_FILES: Final = 16
"""Number of open files that every command needs."""
LEAST_SPACE: Final = 256 << 20
"""Bytes of address space that loading the libraries takes."""
STACK: Final = 2 << 20
"""Bytes of a thread's stack if address space is limited; the default of Linux is 8 MiB."""

_OWN_FILES: Final = 12
"""Files that a run keeps open in addition to those of its connections, threads and writers: state, lock, marks,
and some to spare for name servers and tables."""
_THREAD_FILES: Final = 2
"""Open files of each thread that decodes: PROJ's database, once for GDAL and once for pyproj."""
_OWN_SPACE: Final = 32 << 20
"""Bytes of address space that a run takes in addition to what depends on its settings."""
_CONNECTION_SPACE: Final = 256 << 10
_LEAST_MEMORY: Final = 16 << 20
"""Minimum memory for tiles and pixels, in bytes, with which a run still works."""
_OTHER_THREADS: Final = 4
"""Threads of a run that neither decode nor write: they resolve host names."""
_FEW: Final = 2
"""Number of threads that decode if open files or address space are limited."""

_SHORT: Final = {
    errno.EMFILE: "too many open files; raise the limit (ulimit -n) and run again",
    errno.ENFILE: "this machine has too many open files; close other programs and run again",
    errno.ENOMEM: "out of memory; close other programs or raise the limit (ulimit -v), and run again",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """The resources that a process may still take; None if there is no limit."""

    files: int | None = None
    """Number of files that may be opened in addition to those open now."""
    space: int | None = None
    """Bytes of address space in addition to those used now."""
    stack: int = 8 << 20
    """Bytes of address space that a thread's stack takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """How much a run does at once."""

    connections: int
    """Maximum number of connections to one host."""
    threads: int
    """Number of threads that decode."""
    writers: int
    """Number of threads that write crops to disk."""
    memory: int
    """Maximum memory for tiles and pixels, in bytes."""


# ---- before anything is loaded ----------------------------------------------------------------------------


def prepare() -> None:
    """Adjust the limits of this process as needed. No other program may share the process.

    Raises:
        LocalError: they are too low for any command.
    """
    _open_streams()
    # nothing here multiplies matrices, and OpenBLAS ends the process if it cannot start its threads
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if resource is None:
        return
    _raise_soft(resource.RLIMIT_STACK, 8 << 20)
    _raise_soft(resource.RLIMIT_NOFILE, ENOUGH_FILES)
    files, space = _limit("RLIMIT_NOFILE"), _limit("RLIMIT_AS")
    if files is not None and files < LEAST_FILES:
        raise LocalError(
            f"only {files} files may be open at once, and {LEAST_FILES} are needed: raise the limit (ulimit -n)"
        )
    stack = _limit("RLIMIT_STACK")
    if space is not None or (stack is not None and stack < STACK):
        import threading

        threading.stack_size(STACK)
    if space is not None:
        if space < LEAST_SPACE:
            raise _too_little_space(space, LEAST_SPACE)
        _one_arena()


def _open_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    Otherwise the next file that is opened takes their place, and libraries print their messages into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
        if getattr(sys, name) is None and os.name == "posix":
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _raise_soft(kind: int, wanted: int) -> None:
    soft, hard = resource.getrlimit(kind)
    best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < best:
        try:
            resource.setrlimit(kind, (best, hard))
        except (OSError, ValueError):  # some systems have an additional limit below the hard one
            return


def _limit(name: str) -> int | None:
    """Return the soft limit; None if there is none."""
    kind = getattr(resource, name, None)
    if kind is None:
        return None
    soft: int = resource.getrlimit(kind)[0]
    return None if soft == resource.RLIM_INFINITY or soft < 0 else soft


def _one_arena() -> None:
    """Keep glibc from reserving 64 MiB of address space for each thread (M_ARENA_MAX in mallopt(3))."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(-8, 1)


# ---- before a run -----------------------------------------------------------------------------------------


def look() -> Means:
    """Return the resources that this process may still take.

    If address space is limited, its threads share one heap from now on.
    """
    files, space = _limit("RLIMIT_NOFILE"), _limit("RLIMIT_AS")
    if files is not None:
        files -= _files_open()
    if space is not None:
        _one_arena()
        used = _space_used()
        space = None if used is None else space - used
    return Means(files=files, space=space, stack=_stack())


def _stack() -> int:
    """Return the bytes of a new thread's stack."""
    import threading

    size = threading.stack_size()
    threading.stack_size(size)  # querying the size has reset it
    return size or _limit("RLIMIT_STACK") or STACK


def fit(wanted: Work, means: Means, *, hosts: int = 1, files_written: int = 8) -> Work:
    """Reduce the wanted work to what the resources allow. Pure.

    Args:
        wanted: work according to the settings.
        means: resources of this process.
        hosts: number of servers that receive requests.
        files_written: number of files that one writer has open at once.

    Raises:
        LocalError: the resources are not enough even for the minimum.
    """
    fitted = _fit_files(wanted, means, min(hosts, 2) + 1, files_written + 1)
    return _fit_space(fitted, means)


def told(wanted: Work, found: Work) -> str:
    """Return the message that a run does less at once than the settings say; the empty string if it does not."""
    less = [
        f"{have:,} {what} instead of {want:,}"
        for what, have, want in (
            ("connections", found.connections, wanted.connections),
            ("MB of tiles in memory", found.memory // 10**6, wanted.memory // 10**6),
            ("threads", found.threads + found.writers, wanted.threads + wanted.writers),
        )
        if have < want
    ]
    return f"this machine lets a program have little: {', '.join(less)}; for more, {_MORE}" if less else ""


_MORE: Final = "raise the limits on open files and on memory (ulimit -n, ulimit -v)"


def _fit_files(wanted: Work, means: Means, by_connection: int, by_writer: int) -> Work:
    if means.files is None:
        return wanted

    def needed(work: Work) -> int:
        by_threads = work.threads * _THREAD_FILES + work.writers * by_writer
        return _OWN_FILES + by_threads + work.connections * by_connection

    if needed(wanted) <= means.files:
        return wanted
    few = Work(connections=1, threads=min(_FEW, wanted.threads), writers=1, memory=wanted.memory)
    spare = means.files - needed(few)
    if spare < 0:
        limit = _limit("RLIMIT_NOFILE") or 0
        raise LocalError(
            f"only {limit} files may be open at once, and this run needs {limit - spare}: raise the limit "
            "(ulimit -n) and run again"
        )
    connections = min(wanted.connections, 1 + spare // by_connection)
    return Work(connections=connections, threads=few.threads, writers=1, memory=wanted.memory)


def _fit_space(wanted: Work, means: Means) -> Work:
    if means.space is None:
        return wanted

    def needed(work: Work) -> int:
        stacks = (work.threads + work.writers + _OTHER_THREADS) * means.stack
        # tiles that other jobs may need take up to half as much memory again
        return _OWN_SPACE + stacks + work.connections * _CONNECTION_SPACE + work.memory * 3 // 2

    if needed(wanted) <= means.space:
        return wanted
    threads, connections = min(_FEW, wanted.threads), min(8, wanted.connections)
    few = Work(connections=connections, threads=threads, writers=1, memory=min(_LEAST_MEMORY, wanted.memory))
    spare = means.space - needed(few)
    if spare < 0:
        limit = _limit("RLIMIT_AS") or 0
        raise _too_little_space(limit, limit - spare)
    memory = min(wanted.memory, few.memory + spare * 2 // 3)
    return Work(connections=connections, threads=threads, writers=1, memory=memory)


def _files_open() -> int:
    try:
        return len(os.listdir("/dev/fd")) - 1  # noqa: PTH208 - nothing is loaded for this; minus that of the listing
    except OSError:
        return LEAST_FILES


def _space_used() -> int | None:
    """Return the bytes of address space that this process uses; None if the system does not report it."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - nothing is loaded for this
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None


def _too_little_space(limit: int, needed: int) -> LocalError:
    return LocalError(
        f"this program may have {limit / 1e6:,.0f} MB of addresses, and needs {needed / 1e6:,.0f} MB: raise the "
        "limit (ulimit -v) and run again"
    )


# ---- when it was not enough -------------------------------------------------------------------------------


def shortage(error: BaseException | None) -> LocalError | None:
    """Return the error to report if this machine ran short of a resource; None for all other errors."""
    if isinstance(error, MemoryError) or (isinstance(error, _UNSAID) and _limit("RLIMIT_AS")):
        return LocalError("out of memory; lower memory in [run], or connections in [network], and run again")
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return LocalError(
            "this machine starts no more threads; raise the limit (ulimit -u, ulimit -v) and run again"
        )
    if isinstance(error, OSError) and error.errno in _SHORT and not is_of_tls(error):
        return LocalError(_SHORT[error.errno])
    if is_of_tls(error) and getattr(error, "reason", None) in _TLS_REASONS:
        return short_of_tls(str(error))
    # OpenSSL could not provide a hash function; before Python 3.11.3, the error has no type of its own
    if isinstance(error, ValueError) and (type(error).__module__ == "_hashlib" or str(error).startswith(_NO_HASH)):
        return LocalError(
            f"OpenSSL cannot be used ({error}): too little memory (ulimit -v), or its configuration "
            "(OPENSSL_CONF) is damaged"
        )
    words = str(error).lower()
    if isinstance(error, ImportError | SystemError | OSError) and any(word in words for word in _LOADER_WORDS):
        return LocalError(
            "too little memory to load the libraries; close other programs or raise the limit (ulimit -v), "
            "and run again"
        )
    return None


def is_of_tls(error: BaseException | None) -> bool:
    """Return whether an error comes from the TLS library (not loaded for this); its error numbers differ."""
    return any(kind.__module__ == "ssl" for kind in type(error).__mro__)


def short_of_tls(why: str) -> LocalError:
    """Return the error to report if TLS cannot be set up: libraries give odd reasons if memory is short."""
    return LocalError(
        f"TLS cannot be set up ({why}): too little memory (ulimit -v), too few open files (ulimit -n), or the "
        "configuration of OpenSSL (OPENSSL_CONF) is damaged"
    )


@contextlib.contextmanager
def told_short() -> Iterator[None]:
    """Turn a shortage of a resource inside the block into a `LocalError` of one line."""
    try:
        yield
    except BaseException as error:
        if local := shortage(error):
            raise local from error
        raise


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Context in which to import libraries: fast, and with a message of one line if resources are too low.

    Raises:
        LocalError: the imports failed for lack of memory or open files.
    """
    # imports create many objects and hardly any garbage; the collector would take a seventh of the time
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    except Exception as error:
        if local := short_of_libraries(error):
            raise local from error
        raise
    finally:
        if collects:
            gc.enable()


def short_of_libraries(error: BaseException) -> LocalError | None:
    """Like `shortage`, while libraries are loaded, some of which report a shortage only in words."""
    found: BaseException | None = error
    while found is not None:
        if local := shortage(found):
            return local
        if is_of_tls(found):
            return short_of_tls(str(found))
        if type(found).__module__.startswith("pyproj"):
            return LocalError(
                "PROJ cannot read its database: too few open files (ulimit -n), too little memory (ulimit -v), "
                "or pyproj has to be installed anew"
            )
        found = found.__cause__ or found.__context__
    return None


_UNSAID: Final = SystemError, SyntaxError
"""Errors that result if a library, or Python's own compiler, gets no memory and does not report it."""
_TLS_REASONS: Final = "MALLOC_FAILURE", "LIBRARY_HAS_NO_CIPHERS"
"""Reasons that OpenSSL gives if it gets no memory."""
_NO_HASH: Final = "[digital envelope routines]"
"""Begins the message of OpenSSL if it cannot provide a hash function."""
_LOADER_WORDS: Final = ("failed to map segment", "cannot allocate", "cannot create shared object", "cannot apply")
"""Words of the dynamic loader's messages if there is not enough memory."""
