"""Manages memory for blocks and pixels: limits it for all readers, maps large pieces, returns free pages."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import mmap
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

EVERY: Final = 10
"""Number of batches of a run between two calls of :func:`give_back`: a few tenths of a second at full speed."""
EVERY_JOBS: Final = 8192
"""Number of jobs after which :func:`give_back` is called sooner: a batch of thousands of jobs leaves as many gaps
as hundreds of small batches."""
_ARENAS: Final = 2
"""Number of glibc's heaps for all threads."""
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
"""Parameters of mallopt(3)."""
_MAPPED: Final = 4 << 20
"""Minimum size in bytes of a piece for which glibc maps separate pages. By default, glibc raises this to up to 32
MiB, and keeps twice as much free at the end of each heap: in a run with 100,000 areas, that took 20 MB more."""
_UNTRIMMED: Final = 16 << 20
"""Maximum number of free bytes that glibc keeps at the end of a heap."""
LARGE: Final = 65536
"""Minimum size in bytes for which :func:`zeros` maps separate pages."""
_PRIVATE: Final[Any] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}

# ---- the bound --------------------------------------------------------------------------------------------


class Share:
    """Bytes of the budget that are reserved for one reader, which can release them in steps."""

    def __init__(self, wanted: int, given: int, give: Callable[[int], None]) -> None:
        self._wanted = wanted
        self._given = given
        self._give = give

    def give_back(self, size: int) -> None:
        """Release ``size`` bytes.

        If a reader requested more than the whole budget, fewer bytes are reserved than it requested. The first
        bytes that it releases then only reduce this excess, so that what it still uses stays reserved.
        """
        self._wanted = max(0, self._wanted - size)
        self._give(max(0, self._given - self._wanted))
        self._given = min(self._given, self._wanted)


class Budget:
    """A limit for the bytes in memory of all readers, which are served in the order of their requests.

    A reader that requests more than the whole budget waits until all of it is free, and then runs alone.

    Args:
        size: size of the budget in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, wanted: int) -> AsyncIterator[Share]:
        """Wait until ``wanted`` bytes are free, and reserve them while the context is open."""
        size = min(wanted, self._size)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._give(0)
        try:
            await turn
        except asyncio.CancelledError:
            # If the task is cancelled after its turn came but before it ran, it already has its bytes.
            self._give(0 if turn.cancelled() else size)
            raise
        share = Share(wanted, size, self._give)
        try:
            yield share
        finally:
            share.give_back(wanted)

    def _give(self, back: int) -> None:
        self._free += back
        # Strictly in order of arrival: if small requests could overtake a large one, it might never run.
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


# ---- the machine's memory ---------------------------------------------------------------------------------


def zeros(size: int) -> bytearray | mmap.mmap:
    """Return writable memory that is filled with zeros.

    A large piece is mapped: it leaves no gap in the heap, is returned to the system with its last reference, and
    its untouched pages take no memory. The C library also maps large pieces, but only until the first one is
    freed; after that it keeps all but the largest pieces in the heap (``M_MMAP_THRESHOLD`` in mallopt(3)). New
    pages cost 2 us each on a virtual machine: using this function for response bodies made a run 4 % slower and
    saved no memory.

    Args:
        size: size in bytes.

    Raises:
        MemoryError: the machine does not have enough memory.
    """
    if size < LARGE:
        return bytearray(size)
    try:
        return mmap.mmap(-1, size, **_PRIVATE)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise MemoryError(f"no room for {size:,} bytes") from error


def has_room(size: int) -> bool:
    """Return whether ``size`` bytes can be allocated now."""
    try:
        zeros(size)
    except MemoryError:
        return False
    return True


def share_heaps() -> None:
    """Make all threads share two heaps of glibc. Call this before many threads are started.

    By default there are up to eight heaps for each processor, and the heap of a thread keeps the memory that it
    once needed: a run with 100,000 areas took 60 MB more. With shared heaps, threads hardly wait for each other,
    because large pieces have separate pages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:
        mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED)
        mallopt(_M_TRIM_THRESHOLD, _UNTRIMMED)


def _trim() -> Any:
    """Return glibc's ``malloc_trim``, or None if the C library has no such function."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim:
        trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim


_TRIM = _trim()


def give_back() -> bool:
    """Give free pages of the heap back to the system; return whether there were any.

    Blocks of many sizes leave gaps in the heap, and the gaps become more numerous the longer a program runs:
    without this call, a run of 72,000 jobs took a fifth more memory than a run of 9,000 jobs. The call takes a few
    milliseconds, during which the interpreter lock is released.
    """
    return _TRIM is not None and bool(_TRIM(0))
