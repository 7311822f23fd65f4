"""The gate before one server: so many requests at once as its window allows, in the order of their turns.

And none at all while the server is parked: whoever comes then is turned away at once.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextvars import ContextVar
from typing import Final

from s2async.breaker import Circuit
from s2async.congestion import CongestionWindow
from s2async.errors import HostParked

TURN: Final = ContextVar("TURN", default=0)
"""Whose requests go first: those of the lowest turn; of one turn, whoever came first.

A batch of work asks for one thing after the other. Were its second request to wait behind the first ones of all
batches that began after it, all would go through their steps together, and the step that needs the most of the
network, the last, would begin late. So batches count their turns, and what a search asks has the very first.
"""


class Gate:
    """Lets requests to one server begin, and learns from their ends how many it bears at once, and if any.

    Every :meth:`enter` that returned is followed by one :meth:`leave`; what the request told of the server is
    said in between.

    Args:
        most: requests under way at once, at most.
        name: of the server, for messages.
        patience: seconds parked without an answer after which the server is given up.
    """

    def __init__(self, most: int, *, name: str = "the server", patience: float = 300) -> None:
        self.window = CongestionWindow.initial(most)
        self.circuit = Circuit(patience=patience)
        self.in_flight = 0
        """Requests that entered and have not left."""
        self._name = name
        self._begun = 0
        self._waiting: list[tuple[int, int, asyncio.Future[int]]] = []
        """A heap: turn, number of the arrival, and whoever waits."""
        self._arrivals = itertools.count()
        self._parked: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    async def enter(self) -> int:
        """Wait for a place; gives the request's number.

        Raises:
            HostParked: the server is not asked at present.
        """
        self._check_circuit()
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (TURN.get(), next(self._arrivals), place))
        self._admit()
        try:
            number = await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it may be cancelled after its turn had come
                self.leave()
            raise
        if not self.circuit.closed:  # as may have happened while it waited
            self._probe(number)
        return number

    def answered(self, number: int) -> None:
        """The request with this number was answered well."""
        self.window = self.window.answered(number, self.in_flight)
        self.alive()

    def alive(self) -> None:
        """The server answered, in whatever way, but for those that may pass."""
        if self.circuit.failures or not self.circuit.closed:
            self._become(self.circuit.answered())

    def failed(self, number: int) -> None:
        """The request with this number failed in a way that may pass."""
        self._become(self.circuit.failed(number, asyncio.get_running_loop().time()))

    def overloaded(self, number: int) -> None:
        """The request with this number met a server that has too much to do."""
        self.window = self.window.overloaded(number, self._begun)

    def park(self, seconds: float) -> None:
        """Let nobody in for some time, for the longest where it is said again; whoever comes waits."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._parked is None or self._parked.when() < until:
            if self._parked is not None:
                self._parked.cancel()
            self._parked = loop.call_at(until, self._open)

    def heed(self, seconds: float | None, most: float) -> None:
        """Do as the server asks that wants to be left alone: wait, or where it asks for too much, stop asking."""
        if not seconds:
            return
        if seconds <= most:
            self.park(seconds)
        elif self.circuit.closed:
            self._become(self.circuit.park(asyncio.get_running_loop().time(), most))

    def leave(self, number: int = 0) -> None:
        """The request has ended; with its number, if it may have been the probe."""
        self.in_flight -= 1
        if number and number == self.circuit.probe:
            self._become(self.circuit.abandoned(number))
        self._admit()

    async def reopened(self) -> None:
        """Wait until the server may be asked again, be it for a probe.

        Raises:
            HostParked: it was given up for this run.
        """
        loop = asyncio.get_running_loop()
        while not self.circuit.admits(loop.time()):
            if self.circuit.hopeless:
                raise self._turned_away()
            wait = None if self.circuit.probe else (self.circuit.until or 0) - loop.time()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _check_circuit(self) -> None:
        if not self.circuit.closed and not self.circuit.admits(asyncio.get_running_loop().time()):
            raise self._turned_away()

    def _probe(self, number: int) -> None:
        try:
            self._check_circuit()
        except HostParked:
            self.leave()
            raise
        self._become(self.circuit.probed(number))

    def _turned_away(self) -> HostParked:
        text = "is not asked at present: it only fails, or asks for patience"
        if self.circuit.hopeless:
            text = f"only failed while it was waited for ({self.circuit.parked:,.0f} s): what needs it stays open"
        return HostParked(f"{self._name} {text}", origin=self._name)

    def _become(self, circuit: Circuit) -> None:
        if circuit is not self.circuit:
            self.circuit = circuit
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _open(self) -> None:
        self._parked = None
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._parked is None and self.in_flight < self.window.size:
            _, _, place = heapq.heappop(self._waiting)
            if not place.done():  # else it was cancelled
                self.in_flight += 1
                self._begun += 1
                place.set_result(self._begun)
