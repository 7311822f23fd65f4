"""The turnstile of one server: how many requests at once, how many a second, and in the order of their turns."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextvars import ContextVar
from typing import Final

from s2async.net.congestion import CongestionWindow
from s2async.net.pace import Pace

TURN: Final = ContextVar("TURN", default=0)
"""Whose requests go first: those of the lowest turn; of one turn, whoever came first.

A batch of work asks for one thing after the other. Were its second request to wait behind the first ones of all
batches that began after it, all would go through their steps together, and the step that needs the most of the
network, the last, would begin late. So batches count their turns, and what a search asks has the very first.
"""


class Turnstile:
    """Lets requests to one server begin, and learns from their ends how many it bears, at once and in a second.

    Args:
        most: requests under way at once, at most.
    """

    def __init__(self, most: int) -> None:
        self.window = CongestionWindow.initial(most)
        self.pace = Pace()
        self.in_flight = 0
        """Requests that entered and have not left."""
        self.begun = 0
        """Requests that ever entered: the number of the last."""
        self._waiting: list[tuple[int, int, asyncio.Future[int], object]] = []
        """A heap: turn, number of the arrival, and whoever waits behind which gate."""
        self._arrivals = itertools.count()
        self._shut = float("-inf")
        """Until when nobody is let in."""
        self._opening: asyncio.TimerHandle | None = None

    async def enter(self, gate: object = None) -> int:
        """Wait for a place; gives the request's number, or 0 when those behind its gate are turned away."""
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (TURN.get(), next(self._arrivals), place, gate))
        self._admit()
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.result():  # it may be cancelled after its turn had come
                self.leave()
            raise

    def turn_away(self, gate: object) -> None:
        """End the waiting of all who wait behind a gate."""
        for _, _, place, behind in self._waiting:
            if behind is gate and not place.done():
                place.set_result(0)

    def leave(self) -> None:
        """A request has ended."""
        self.in_flight -= 1
        self._admit()

    def answered(self, number: int, *, before: int = 0) -> None:
        """The request with this number was answered well; see `Pace.answered`."""
        self.window = self.window.answered(number, self.in_flight)
        self.pace.answered(number, asyncio.get_running_loop().time(), before=before)

    def refused(self, number: int, *, asks: bool = False, before: int = 0) -> None:
        """The server turned the request with this number away, for it has too much to do; see `Pace.refused`.

        It may mean requests at once or in a second. The window, which grows fast at first, has gone too far then;
        later it is left as it is: a limit of requests a second holds for those at once as well.
        """
        if self.window.slow_start:
            self.overloaded(number)
        now = asyncio.get_running_loop().time()
        self.pace.refused(number, self.begun, now, asks=asks, before=before)

    def overloaded(self, number: int) -> None:
        """The request with this number was given no answer in time: the server has too many at once."""
        self.window = self.window.overloaded(number, self.begun)

    def shut(self, seconds: float) -> None:
        """Let nobody in for some time, for the longest where it is said again; whoever comes waits."""
        self._shut = max(self._shut, asyncio.get_running_loop().time() + seconds)

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self.window.size:
            now = asyncio.get_running_loop().time()
            opens = max(self._shut, self.pace.due)
            if opens > now:
                self._open_at(opens)
                return
            _, _, place, _ = heapq.heappop(self._waiting)
            if not place.done():  # else it was cancelled, or turned away
                self.in_flight += 1
                self.begun += 1
                self.pace.begun(now)
                place.set_result(self.begun)

    def _open_at(self, when: float) -> None:
        if self._opening is not None:
            if self._opening.when() == when:
                return
            self._opening.cancel()
        self._opening = asyncio.get_running_loop().call_at(when, self._open)

    def _open(self) -> None:
        self._opening = None
        self._admit()
