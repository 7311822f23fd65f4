"""Which jobs are inside a decode right now: marks in a small file beside the state, which a crash leaves behind.

Encoding a crop counts as part of it.

Native code can end the process without a word. The marks say whom to suspect: only the jobs whose bytes were being
decoded. They are stores into a mapped file, less than a microsecond each and no system call, so that every decode
can have them; the system keeps them whatever becomes of the process. A power cut may lose them, which loses a
suspicion and nothing else. Behind the marks, `faulthandler` writes what it knows of a crash, unless somebody else
uses it.
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
"""Magic, slots, jobs of a slot, 1 when each job that is marked was decoded alone."""
_MAGIC: Final = b"s2marks1"
_ALONE_AT: Final = _HEADER.size - 4
_NOBODY: Final = bytes(8)
"""Ends the jobs of a slot; they count from 1."""
_FATAL: Final = "Fatal Python error: "
"""How `faulthandler` begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What a run left behind that ended without a word."""

    jobs: frozenset[int] = frozenset()
    """Inside a decode at that moment."""
    alone: bool = False
    """No other job was."""
    crash: str = ""
    """The fatal signal, such as ``Segmentation fault``; empty when the process was killed from outside."""


class Marks:
    """The file of a run that goes on; removed when the run ends in order."""

    def __init__(self, path: Path, *, threads: int, jobs: int) -> None:
        """Make the file.

        Args:
            path: where.
            threads: that decode at once, at most.
            jobs: of one decode, at most.

        Raises:
            LocalError: disk full, read-only.
        """
        self._path = path
        slot = (jobs + 1) * len(_NOBODY)
        size = _HEADER.size + threads * slot
        self._free = [_HEADER.size + number * slot for number in range(threads)]
        with local_errors("write", path):
            # written, not just made long: a store into a hole of a file kills the process when the disk is full
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
        """Remove the file; a second time does nothing."""
        if self._tells:
            faulthandler.disable()
            self._tells = False
        self._map.close()
        self._file.close()
        with contextlib.suppress(OSError):  # marks that stay make suspects, which harms nobody
            self._path.unlink(missing_ok=True)

    def alone(self, alone: bool) -> None:
        """Say whether from now on no two jobs are decoded at once."""
        self._map[_ALONE_AT : _ALONE_AT + 4] = struct.pack("<I", alone)

    def during(self, pool: Executor, jobs: Sequence[int]) -> Executor:
        """The pool, with these jobs marked while it works; they count from 1."""
        return _Marking(self, pool, struct.pack(f"<{len(jobs)}q", *jobs) + _NOBODY)

    def run(self, marked: bytes, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work with a slot that says whose it is."""
        slot = self._free.pop()
        self._map[slot : slot + len(marked)] = marked
        try:
            return work(*args, **kwargs)
        finally:
            self._map[slot : slot + len(_NOBODY)] = _NOBODY
            self._free.append(slot)


class _Marking(Executor):
    """Another executor, whose work is marked."""

    def __init__(self, marks: Marks, pool: Executor, marked: bytes) -> None:
        self._marks = marks
        self._pool = pool
        self._marked = marked

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `Executor.submit`."""
        return self._pool.submit(self._marks.run, self._marked, fn, *args, **kwargs)


def take(path: Path) -> Left:
    """What the last run left behind; the file is removed. Nothing when it ended in order, or the file is damaged.

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
    """Read the bytes of such a file, whatever became of them: what does not fit is left out."""
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
