"""Memory for blocks and pixels: a bound over all readers, large pieces, and free pages returned to the system."""

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
"""Batches of a run between two calls of :func:`give_back`: a few tenths of a second at full speed."""
EVERY_JOBS: Final = 8192
"""Jobs after which it is called sooner: batches of thousands leave as many gaps as hundreds of small ones."""
_ARENAS: Final = 2
"""Heaps of glibc for all threads."""
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1
"""Parameters of mallopt(3)."""
_MAPPED: Final = 4 << 20
"""Bytes from which on a piece has pages of its own. By default, glibc raises this to up to 32 MiB, and keeps twice
as much at the end of each heap: in a run over 100,000 areas, 20 MB more."""
_UNTRIMMED: Final = 16 << 20
"""Free bytes at the end of a heap that are kept."""
LARGE: Final = 65536
"""Smallest size in bytes for which :func:`zeros` maps pages of its own."""
_PRIVATE: Final[Any] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}

# ---- the bound --------------------------------------------------------------------------------------------


class Share:
    """Bytes of the budget that one reader holds and can release in steps."""

    def __init__(self, wanted: int, given: int, give: Callable[[int], None]) -> None:
        self._wanted = wanted
        self._given = given
        self._give = give

    def give_back(self, size: int) -> None:
        """Release ``size`` bytes.

        A reader that wanted more than the whole budget was given less than it wanted; that excess is released
        first, so that what it still uses stays reserved.
        """
        self._wanted = max(0, self._wanted - size)
        self._give(max(0, self._given - self._wanted))
        self._given = min(self._given, self._wanted)


class Budget:
    """A bound on the bytes in memory over all readers, which are served in the order in which they ask.

    A reader that wants more than the whole budget waits until all of it is free, and then runs alone.

    Args:
        size: of the budget in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, wanted: int) -> AsyncIterator[Share]:
        """Wait until ``wanted`` bytes are free, and reserve them inside the context."""
        size = min(wanted, self._size)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._give(0)
        try:
            await turn
        except asyncio.CancelledError:
            # The task may be cancelled after its turn came but before it ran: then the bytes are its own already.
            self._give(0 if turn.cancelled() else size)
            raise
        share = Share(wanted, size, self._give)
        try:
            yield share
        finally:
            share.give_back(wanted)

    def _give(self, back: int) -> None:
        self._free += back
        # Strictly first come, first served: a large request is not overtaken by small ones, or it might never run.
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


# ---- the machine's memory ---------------------------------------------------------------------------------


def zeros(size: int) -> bytearray | mmap.mmap:
    """Return writable memory that is all zeros.

    A large piece is mapped: it leaves no gap in the heap, goes back to the system when the last reference goes,
    and its untouched pages take no memory. The C library maps large pieces too, but only until the first one was
    freed; after that it keeps all but the largest (``M_MMAP_THRESHOLD`` in mallopt(3)). New pages cost 2 us each
    on a virtual machine: using this for response bodies made a run 4 % slower and saved no memory.

    Args:
        size: in bytes.

    Raises:
        MemoryError: the machine has no more.
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
    """Return whether ``size`` bytes can be allocated at this moment."""
    try:
        zeros(size)
    except MemoryError:
        return False
    return True


def share_heaps() -> None:
    """Let all threads share two heaps of glibc; call it before there are many threads.

    By default there are up to eight for each processor, and a thread's heap keeps the room that it once needed: a
    run over 100,000 areas took 60 MB more. Threads hardly wait for each other: what is large has pages of its own.
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
    """Return free pages of the heap to the system, and whether there were any.

    Blocks of many sizes leave gaps in the heap, more of them the longer a program runs: without this call, a run
    of 72,000 jobs took a fifth more memory than one of 9,000. It takes a few milliseconds, without the interpreter
    lock.
    """
    return _TRIM is not None and bool(_TRIM(0))
