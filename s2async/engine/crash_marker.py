"""Marks the jobs that are being decoded in a small file next to the state, which remains after a crash.

Encoding a crop is marked in the same way.

A crash in native code ends the process without a message. The marks name the jobs that may have caused it, namely
those whose bytes were being decoded. Setting a mark writes to a memory-mapped file, which takes less than a
microsecond and no system call, so every decode can be marked; the operating system keeps the data when the process
ends. A power cut may lose marks, but this loses only the names of these jobs. After the marks, `faulthandler`
writes the signal of a crash, unless it is already in use.
"""

from __future__ import annotations

import contextlib
import faulthandler
import mmap
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar

from s2async.files import local_errors

P = ParamSpec("P")
T = TypeVar("T")

_HEADER: Final = struct.Struct("<8sIII")
"""Magic number, number of slots, jobs per slot, and 1 if no two jobs are decoded at the same time."""
_MAGIC: Final = b"s2marks1"
_ALONE_AT: Final = _HEADER.size - 4
_NOBODY: Final = bytes(8)
"""Terminates the jobs of a slot; job numbers begin with 1."""
_FATAL: Final = "Fatal Python error: "
"""Start of the text that `faulthandler` writes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What a crashed or killed run left behind."""

    jobs: frozenset[int] = frozenset()
    """Jobs that were being decoded."""
    alone: bool = False
    """Whether no two jobs were decoded at the same time."""
    crash: str = ""
    """The fatal signal, such as ``Segmentation fault``; empty if the process was killed from outside."""


class Marks:
    """The marker file of a running process. It is removed when the run ends normally."""

    def __init__(self, path: Path, *, threads: int, jobs: int) -> None:
        """Create the file.

        Args:
            path: path of the file.
            threads: maximum number of threads that decode at the same time.
            jobs: maximum number of jobs in one decode.

        Raises:
            LocalError: the disk is full or read-only.
        """
        self._path = path
        slot = (jobs + 1) * len(_NOBODY)
        size = _HEADER.size + threads * slot
        self._free = [_HEADER.size + number * slot for number in range(threads)]
        with local_errors("write", path):
            # Every byte is written, because on a full disk a write to a hole of a mapped file kills the process.
            path.write_bytes(_HEADER.pack(_MAGIC, threads, jobs, 0) + bytes(size - _HEADER.size))
            self._file = path.open("r+b", buffering=0)
            self._map = mmap.mmap(self._file.fileno(), size)
            self._file.seek(size)
        self._tells = not faulthandler.is_enabled()
        if self._tells:
            faulthandler.enable(self._file, all_threads=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file. Further calls do nothing."""
        if self._tells:
            faulthandler.disable()
            self._tells = False
        self._map.close()
        self._file.close()
        with contextlib.suppress(OSError):  # the next run isolates the marked jobs, which does no harm
            self._path.unlink(missing_ok=True)

    def alone(self, alone: bool) -> None:
        """Record whether, from now on, no two jobs are decoded at the same time."""
        self._map[_ALONE_AT : _ALONE_AT + 4] = struct.pack("<I", alone)

    def during(self, pool: Executor, jobs: Sequence[int]) -> Executor:
        """Return a pool that marks these jobs while it works. Job numbers begin with 1."""
        return _Marking(self, pool, struct.pack(f"<{len(jobs)}q", *jobs) + _NOBODY)

    def run(self, marked: bytes, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` with the other arguments while a slot contains the jobs of ``marked``."""
        slot = self._free.pop()
        self._map[slot : slot + len(marked)] = marked
        try:
            return work(*args, **kwargs)
        finally:
            self._map[slot : slot + len(_NOBODY)] = _NOBODY
            self._free.append(slot)


class _Marking(Executor):
    """An executor that marks the work of another executor."""

    def __init__(self, marks: Marks, pool: Executor, marked: bytes) -> None:
        self._marks = marks
        self._pool = pool
        self._marked = marked

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`."""
        return self._pool.submit(self._marks.run, self._marked, fn, *args, **kwargs)


def take(path: Path) -> Left:
    """Read and remove the marks of the last run. There are none if it ended normally or if the file is damaged.

    Raises:
        LocalError: the file cannot be read or removed.
    """
    with local_errors("read", path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return Left()
        path.unlink()
    return parse(data)


def parse(data: bytes) -> Left:
    """Parse the bytes of a marker file; malformed entries are ignored."""
    if len(data) < _HEADER.size:
        return Left()
    magic, threads, longest, alone = _HEADER.unpack_from(data)
    slot = (longest + 1) * len(_NOBODY)
    end = _HEADER.size + threads * slot
    if magic != _MAGIC or len(data) < end:
        return Left()
    jobs: set[int] = set()
    for start in range(_HEADER.size, end, slot):
        for (job,) in struct.iter_unpack("<q", data[start : start + slot]):
            if job <= 0:
                break
            jobs.add(job)
    first = data[end:].decode(errors="replace").partition("\n")[0]
    crash = first.removeprefix(_FATAL).strip() if first.startswith(_FATAL) else ""
    return Left(jobs=frozenset(jobs), alone=alone == 1, crash=crash)
