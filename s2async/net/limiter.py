"""The gate before one server: its turnstile, and whether it is asked at all.

While the server is parked, whoever comes is turned away at once.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Hashable
from contextlib import suppress
from typing import Final

from s2async.errors import HostParked
from s2async.net.breaker import BROKEN, DOUBT, PROBES, REFUSED, TIMED_OUT, Circuit
from s2async.net.congestion import CongestionWindow
from s2async.net.turnstile import TURN, Turnstile

__all__ = ["TURN", "Gate"]

NEXT: Final = 0.05
"""Seconds after which others try, when those before them made no request."""


class Gate:
    """Lets requests to one server begin, and learns from their ends how many it bears, and if any.

    Every :meth:`enter` that returned is followed by one :meth:`leave`; what the request told of the server is
    said in between.

    Args:
        most: requests under way at once, at most.
        name: of the server, for messages.
        patience: seconds for which a server that is parked is tried, until it is given up.
        doubt: seconds after which a few files that fail are left to their own tries.
        beside: another gate of the same server, for what is asked of another part of it, such as its API: both
            have one turnstile, but what fails behind one of them is no sign for the other.
    """

    def __init__(
        self,
        most: int,
        *,
        name: str = "the server",
        patience: float = 300,
        doubt: float = DOUBT,
        beside: Gate | None = None,
    ) -> None:
        self.circuit = Circuit(patience=patience, doubt=doubt)
        self._turnstile: Turnstile = beside._turnstile if beside else Turnstile(most)
        self._name = name
        self._patience = patience
        self._turns: list[int] = []
        """Of those who wait until the server may be asked again, in order."""
        self.answers = 0
        """Good answers so far."""
        self._changed = asyncio.Event()

    @property
    def window(self) -> CongestionWindow:
        """How many requests may be under way."""
        return self._turnstile.window

    @property
    def in_flight(self) -> int:
        """Requests that entered and have not left."""
        return self._turnstile.in_flight

    async def enter(self) -> int:
        """Wait for a place; gives the request's number.

        Raises:
            HostParked: the server is not asked at present.
        """
        self._check_circuit()
        number = await self._turnstile.enter(self)
        if not number:
            raise self.turned_away()
        if not self.circuit.closed:  # as may have happened while it waited
            self._probe(number)
        return number

    def answered(self, number: int, *, before: int = 0) -> None:
        """The request with this number was answered well, after so many tries that failed."""
        self.answers += 1
        self._turnstile.answered(number, before=before)
        self.alive(number)

    def alive(self, number: int) -> None:
        """The server answered, in whatever way, but for those that may pass."""
        if self.circuit.noted or not self.circuit.closed:
            self._become(self.circuit.answered(number))

    def refused(self, number: int, file: Hashable = None, *, asks: bool = False, before: int = 0) -> None:
        """The request with this number was turned away: the server has too much to do; see `Turnstile.refused`."""
        self._turnstile.refused(number, asks=asks, before=before)
        self._failed(number, file, REFUSED, before)

    def failed(self, number: int, file: Hashable = None, *, before: int = 0) -> None:
        """The request with this number failed in another way that may pass; see `Circuit.failed`."""
        self._failed(number, file, BROKEN, before)

    def silent(self, number: int, file: Hashable = None, *, before: int = 0) -> None:
        """The request with this number was given no answer in time, or not all of it."""
        self._turnstile.overloaded(number)
        self._failed(number, file, TIMED_OUT, before)

    def incomplete(self, number: int, file: Hashable = None) -> None:
        """The answer to the request with this number began, and broke off, or came too slowly.

        The server is there, and that is no sign of too many requests.
        """
        self._failed(number, file, 0)

    def heed(self, seconds: float | None) -> None:
        """Do as the server asks that wants to be left alone: wait, or where it asks for too much, stop asking."""
        if not seconds:
            return
        if seconds <= self._patience:
            self._turnstile.shut(seconds)
        else:
            self._become(self.circuit.told(asyncio.get_running_loop().time(), seconds))

    def leave(self, number: int = 0) -> None:
        """The request has ended; with its number, if it may have been the probe."""
        if number in self.circuit.probes:
            self._become(self.circuit.abandoned(number))
        self._turnstile.leave()

    async def reopened(self) -> None:
        """Wait until the server may be asked again, be it as a probe.

        Raises:
            HostParked: it was given up for this run.
        """
        loop, turn = asyncio.get_running_loop(), TURN.get()
        insort(self._turns, turn)
        try:
            while not self.circuit.admits(loop.time() - self._late(turn)):
                if self.circuit.hopeless:
                    raise self.turned_away()
                full = len(self.circuit.probes) >= PROBES
                wait = None if full else (self.circuit.until or 0) + self._late(turn) - loop.time()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
        finally:
            self._turns.remove(turn)

    def _late(self, turn: int) -> float:
        """Seconds by which others come before those of this turn: the probes are for the lowest ones that wait."""
        before = bisect_left(self._turns, turn) + len(self.circuit.probes)
        return before // PROBES * NEXT

    def _failed(self, number: int, file: Hashable, weight: int, before: int = 0) -> None:
        now = asyncio.get_running_loop().time()
        last = self._turnstile.begun
        self._become(self.circuit.failed(number, now, last=last, file=file, weight=weight, before=before))

    def _check_circuit(self) -> None:
        if not self.circuit.closed and not self.circuit.admits(asyncio.get_running_loop().time()):
            raise self.turned_away()

    def _probe(self, number: int) -> None:
        try:
            self._check_circuit()
        except HostParked:
            self.leave()
            raise
        self._become(self.circuit.probed(number))

    def turned_away(self) -> HostParked:
        """What whoever is not let through is told."""
        if self.circuit.wish:
            text = f"asks to wait {self.circuit.wish:,.0f} s, longer than anybody does: what needs it stays open"
        elif self.circuit.hopeless:
            waited = self.circuit.waited(asyncio.get_running_loop().time())
            text = f"only failed while it was waited for ({waited:,.0f} s): what needs it stays open"
        else:
            text = "is not asked at present: it only fails"
        return HostParked(f"{self._name} {text}", origin=self._name, retry_after=self.circuit.wish or None)

    def _become(self, circuit: Circuit) -> None:
        if circuit is not self.circuit:
            self.circuit = circuit
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            if not circuit.closed:
                self._turnstile.turn_away(self)
