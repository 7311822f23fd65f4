"""A bound on the bytes of tiles and pixels that are in memory, over all readers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Share:
    """Bytes that a reader holds; it may give them back one by one."""

    def __init__(self, wanted: int, given: int, give: Callable[[int], None]) -> None:
        self._wanted = wanted
        self._given = given
        self._give = give

    def give_back(self, size: int) -> None:
        """So many bytes are no longer needed. What was wanted beyond the whole budget is given back first."""
        self._wanted = max(0, self._wanted - size)
        self._give(max(0, self._given - self._wanted))
        self._given = min(self._given, self._wanted)


class Budget:
    """Bytes that may be in memory at once, given first come, first served.

    A reader that wants more than all of it gets it all, alone.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, wanted: int) -> AsyncIterator[Share]:
        """Wait until so many bytes are free, and keep them meanwhile."""
        size = min(wanted, self._size)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._give(0)
        try:
            await turn
        except asyncio.CancelledError:
            self._give(0 if turn.cancelled() else size)  # it may be cancelled after the bytes were given
            raise
        share = Share(wanted, size, self._give)
        try:
            yield share
        finally:
            share.give_back(wanted)

    def _give(self, back: int) -> None:
        self._free += back
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)
