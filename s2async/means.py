"""What this machine lets a program have: open files, room for addresses, threads.

`prepare` comes before anything heavy is loaded, so this module needs the standard library alone. A C library that
gets no memory ends the process without a word: what is too little is told before. Measured (Linux, x86-64, Python
3.11, the wheels of numpy, GDAL and PROJ): to load everything takes 246 MB of addresses, and a run of 1,428 jobs
with the default settings 341 MB, with 16 MiB of tiles 304 MB.
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
"""Open files that no run needs more of; the soft limit is raised to them where that is allowed."""
LEAST_FILES: Final = 16
"""Open files that every command needs."""
LEAST_SPACE: Final = 256 << 20
"""Bytes of addresses that loading the libraries takes."""
STACK: Final = 2 << 20
"""Bytes of a thread's stack where addresses are few; 8 MiB is what Linux gives."""

_OWN_FILES: Final = 12
"""Files that a run keeps open beside its connections, threads and writers: state, lock, marks, and some to spare
for name servers and tables."""
_THREAD_FILES: Final = 2
"""Of each thread that decodes: PROJ's database, once for GDAL and once for pyproj."""
_OWN_SPACE: Final = 32 << 20
"""Bytes of addresses that a run takes beside what grows with its settings."""
_CONNECTION_SPACE: Final = 256 << 10
_LEAST_MEMORY: Final = 16 << 20
"""Bytes of tiles and pixels with which a run still gets on."""
_OTHER_THREADS: Final = 4
"""Threads of a run that neither decode nor write: they look names up."""
_FEW: Final = 2
"""Threads that decode where files or addresses are few."""

_SHORT: Final = {
    errno.EMFILE: "too many open files; raise the limit (ulimit -n) and run again",
    errno.ENFILE: "this machine has too many open files; close other programs and run again",
    errno.ENOMEM: "out of memory; close other programs or raise the limit (ulimit -v), and run again",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """What a process may still take; None where there is no limit."""

    files: int | None = None
    """Open files beyond those of now."""
    space: int | None = None
    """Bytes of addresses beyond those of now."""
    stack: int = 8 << 20
    """Bytes of addresses that a thread's stack takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """How much a run does at once."""

    connections: int
    """To one host."""
    threads: int
    """That decode."""
    writers: int
    """That put crops on disk."""
    memory: int
    """Bytes of tiles and pixels."""


# ---- before anything is loaded ----------------------------------------------------------------------------


def prepare() -> None:
    """Make the best of the limits of this process, for which it must be ours alone.

    Raises:
        LocalError: they are too low for any command.
    """
    _open_streams()
    # nothing here multiplies matrices, and OpenBLAS ends the process when it cannot start its threads
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
    """Put the null device where standard streams are closed.

    Else the next file that is opened takes their place, and what libraries print there goes into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None and os.name == "posix":
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _raise_soft(kind: int, wanted: int) -> None:
    soft, hard = resource.getrlimit(kind)
    best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < best:
        try:
            resource.setrlimit(kind, (best, hard))
        except (OSError, ValueError):  # some systems have a limit of their own below the hard one
            return


def _limit(name: str) -> int | None:
    """The soft limit; None where there is none."""
    kind = getattr(resource, name, None)
    if kind is None:
        return None
    soft: int = resource.getrlimit(kind)[0]
    return None if soft == resource.RLIM_INFINITY or soft < 0 else soft


def _one_arena() -> None:
    """Keep glibc from setting aside 64 MiB of addresses for each thread (M_ARENA_MAX in mallopt(3))."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(-8, 1)


# ---- before a run -----------------------------------------------------------------------------------------


def look() -> Means:
    """What this process may still take. Where addresses are few, its threads share one heap from now on."""
    files, space = _limit("RLIMIT_NOFILE"), _limit("RLIMIT_AS")
    if files is not None:
        files -= _files_open()
    if space is not None:
        _one_arena()
        used = _space_used()
        space = None if used is None else space - used
    return Means(files=files, space=space, stack=_stack())


def _stack() -> int:
    """Bytes of a new thread's stack."""
    import threading

    size = threading.stack_size()
    threading.stack_size(size)  # to ask for it sets it back
    return size or _limit("RLIMIT_STACK") or STACK


def fit(wanted: Work, means: Means, *, hosts: int = 1, files_written: int = 8) -> Work:
    """As much of the wanted work as there are means for. Pure.

    Args:
        wanted: by the settings.
        means: of this process.
        hosts: that are asked.
        files_written: that one writer has open at once.

    Raises:
        LocalError: there is too little even for the least.
    """
    fitted = _fit_files(wanted, means, min(hosts, 2) + 1, files_written + 1)
    return _fit_space(fitted, means)


def told(wanted: Work, found: Work) -> str:
    """The words for a run that does less at once than was wanted; the empty string where it does not."""
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
        # half as much memory again is kept of tiles that others may want
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
        return len(os.listdir("/dev/fd")) - 1  # noqa: PTH208 - nothing is loaded for this; less the one that lists
    except OSError:
        return LEAST_FILES


def _space_used() -> int | None:
    """Bytes of addresses that this process has; None where the system does not tell."""
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
    """The error to tell where this machine ran short of something; None for all others."""
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
    if type(error).__module__ == "_hashlib":  # OpenSSL gave no hash function
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
    """Whether it is an error of the library for TLS, which is not loaded for that; its numbers are its own."""
    return any(kind.__module__ == "ssl" for kind in type(error).__mro__)


def short_of_tls(why: str) -> LocalError:
    """The error to tell where TLS cannot be set up, for which libraries give odd reasons when memory is short."""
    return LocalError(
        f"TLS cannot be set up ({why}): too little memory (ulimit -v), too few open files (ulimit -n), or the "
        "configuration of OpenSSL (OPENSSL_CONF) is damaged"
    )


@contextlib.contextmanager
def told_short() -> Iterator[None]:
    """Turn what runs short inside into a `LocalError` of one line."""
    try:
        yield
    except BaseException as error:
        if local := shortage(error):
            raise local from error
        raise


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import libraries inside this context: fast, and with one line where the machine has too little for them.

    Raises:
        LocalError: the imports failed for lack of memory or open files.
    """
    # imports create many objects and hardly any garbage: the collector would take a seventh of the time
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
    """The same while libraries are loaded, of which some tell it in words only."""
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
"""What comes of it where a library, or Python's own compiler, is given no memory and does not say so."""
_TLS_REASONS: Final = "MALLOC_FAILURE", "LIBRARY_HAS_NO_CIPHERS"
"""What OpenSSL says where it is given no memory."""
_LOADER_WORDS: Final = ("failed to map segment", "cannot allocate", "cannot create shared object", "cannot apply")
"""How the dynamic loader says that there is no room."""
