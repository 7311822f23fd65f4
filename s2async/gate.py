"""The gate before one server: so many requests at once as its window allows, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque

from s2async.congestion import CongestionWindow


class Gate:
    """Lets requests to one server begin, and learns from their ends how many it bears at once.

    Every :meth:`enter` that returned is followed by one :meth:`leave`; what the request told of the server is
    said in between.
    """

    def __init__(self, most: int) -> None:
        self.window = CongestionWindow.initial(most)
        self.in_flight = 0
        """Requests that entered and have not left."""
        self._begun = 0
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._parked: asyncio.TimerHandle | None = None

    async def enter(self) -> int:
        """Wait for a place; gives the request's number."""
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it may be cancelled after its turn had come
                self.leave()
            raise

    def answered(self, number: int) -> None:
        """The request with this number was answered well."""
        self.window = self.window.answered(number, self.in_flight)

    def overloaded(self, number: int) -> None:
        """The request with this number met a server that has too much to do."""
        self.window = self.window.overloaded(number, self._begun)

    def park(self, seconds: float) -> None:
        """Let nobody in for some time, for the longest where it is said again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._parked is None or self._parked.when() < until:
            if self._parked is not None:
                self._parked.cancel()
            self._parked = loop.call_at(until, self._open)

    def leave(self) -> None:
        """The request has ended."""
        self.in_flight -= 1
        self._admit()

    def _open(self) -> None:
        self._parked = None
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._parked is None and self.in_flight < self.window.size:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled
                self.in_flight += 1
                self._begun += 1
                turn.set_result(self._begun)
