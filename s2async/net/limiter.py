"""Admits requests to one server: decides whether, when and in which order they are sent.

A request passes two objects. The :class:`Gate` refuses it while the server is parked (see `breaker`). The
:class:`Turnstile` behind the gate delays it until the window and the pace of the server allow another request
(see `pace`). The files and the API of one origin each have their own gate: the capacity of one, and whether it is
parked, says nothing about the other.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from bisect import bisect_left, insort
from collections.abc import Hashable
from contextlib import suppress
from contextvars import ContextVar
from typing import Final

from s2async.errors import HostParked
from s2async.log import log
from s2async.net.breaker import BROKEN, DOUBT, PROBES, REFUSED, TIMED_OUT, Circuit
from s2async.net.pace import CongestionWindow, Pace

TURN: Final = ContextVar("TURN", default=0)
"""Priority of the requests of the current task: the lowest turn goes first; requests of the same turn go in order
of arrival.

A batch sends its requests one after the other. If its second request waited behind the first requests of all later
batches, all batches would advance in lockstep, and the last step, which transfers most of the bytes, would begin
late. Therefore batches have increasing turns, and the requests of searches have turn 0.
"""
PROBE_DELAY: Final = 0.05
"""Seconds by which each further group of waiting tasks delays its probes. The groups before it may have no
requests left; without the delay, all groups would send probes at once."""

_log: Final = logging.getLogger("s2async.net")


class Turnstile:
    """Admits requests to one server, and learns from their results how many the server can handle.

    Args:
        most: maximum number of concurrent requests.
        name: name of the server, for the log.
    """

    def __init__(self, most: int, name: str = "") -> None:
        self._name = name
        self.window = CongestionWindow.initial(most)
        self.pace = Pace()
        self.in_flight = 0
        """Number of requests that have entered and not left."""
        self.begun = 0
        """Number of requests that have entered so far; also the number of the last request."""
        self._waiting: list[tuple[int, int, asyncio.Future[int]]] = []
        """A heap of (turn, order of arrival, future)."""
        self._arrivals = itertools.count()
        self._paused_until = float("-inf")
        """Loop time before which no request is admitted."""
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> int:
        """Wait for admission.

        Returns:
            The number of the request, or 0 if `dismiss` was called while it waited.
        """
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (TURN.get(), next(self._arrivals), place))
        self._admit()
        try:
            return await place
        except asyncio.CancelledError:
            # If the task is cancelled after it was admitted and before it runs again, it must leave as well.
            if not place.cancelled() and place.result():
                self.leave()
            raise

    def dismiss(self) -> None:
        """Let :meth:`enter` return 0 for all requests that wait."""
        for _, _, place in self._waiting:
            if not place.done():
                place.set_result(0)

    def leave(self) -> None:
        """Note that a request has ended."""
        self.in_flight -= 1
        self._admit()

    def answered(self, number: int, *, before: int = 0) -> None:
        """Note a good response to request ``number``; see `Pace.answered`."""
        self.window = self.window.answered(number, self.in_flight)
        self.pace.answered(number, asyncio.get_running_loop().time(), before=before)

    def refused(self, number: int, *, asks: bool = False, before: int = 0) -> None:
        """Note that the server refused request ``number`` because it is overloaded; see `Pace.refused`.

        The server may limit concurrent requests or requests per second; the response does not say which. During
        slow start the window grows so fast that it is the likelier cause, so it shrinks. Later the window stays,
        and only the pace slows down: fewer requests per second also means fewer concurrent requests.
        """
        if self.window.slow_start:
            self.overloaded(number)
        now = asyncio.get_running_loop().time()
        former = self.pace.limit(now)
        self.pace.refused(number, self.begun, now, asks=asks, before=before)
        limit = self.pace.limit(now)
        if (former < math.inf) != (limit < math.inf):
            event = "rate_limited" if limit < math.inf else "rate_unlimited"
            per_second = limit if limit < math.inf else None
            log(_log, logging.INFO, event, {"host": self._name, "per_second": per_second}, inherit=False)

    def overloaded(self, number: int) -> None:
        """Note that request ``number`` got no response in time: too many requests run at once."""
        former, self.window = self.window, self.window.overloaded(number, self.begun)
        if self.window.size < former.size:
            fields = {"host": self._name, "at_once": self.window.size, "before": former.size}
            log(_log, logging.INFO, "slowed", fields, inherit=False)

    def share(self, most: int, parts: int) -> None:
        """Admit at most ``most`` concurrent requests from now on; ``parts`` programs share the server."""
        self.window = self.window.bounded(most)
        self.pace.parts = parts
        self._admit()

    def pause(self, seconds: float) -> None:
        """Admit no requests for ``seconds``. Pauses do not add up: the one that ends last applies."""
        now = asyncio.get_running_loop().time()
        # Responses that arrive together ask for the same pause; it is logged once.
        if now + seconds > self._paused_until + 0.1 * seconds:
            log(_log, logging.INFO, "pause", {"host": self._name, "wait": seconds}, inherit=False)
        self._paused_until = max(self._paused_until, now + seconds)

    def _admit(self) -> None:
        """Admit waiting requests in order, as many as window and pace allow; set a timer for the next request."""
        while self._waiting and self.in_flight < self.window.size:
            now = asyncio.get_running_loop().time()
            opens = max(self._paused_until, self.pace.due)
            if opens > now:
                self._admit_at(opens)
                return
            _, _, place = heapq.heappop(self._waiting)
            # Cancelled and dismissed requests stay in the heap until they reach its top.
            if not place.done():
                self.in_flight += 1
                self.begun += 1
                self.pace.begun(now)
                place.set_result(self.begun)

    def _admit_at(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.when() == when:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._admit()


class Gate:
    """The entrance to one server: admits requests, and parks the server when all requests fail.

    For each call of :meth:`enter` that returns, the caller must call :meth:`leave` once. Between the two, it
    reports the result of the request with :meth:`answered`, :meth:`alive`, :meth:`refused`, :meth:`failed`,
    :meth:`silent` or :meth:`incomplete`.

    Args:
        most: maximum number of concurrent requests.
        name: name of the server, for messages: ``scheme://host[:port]``.
        patience: seconds for which a parked server is probed before it is given up.
        doubt: seconds after which failures of a few files no longer park the server (see `breaker.DOUBT`).
    """

    def __init__(
        self,
        most: int,
        *,
        name: str = "the server",
        patience: float = 300,
        doubt: float = DOUBT,
    ) -> None:
        self.circuit = Circuit(patience=patience, doubt=doubt)
        self.answers = 0
        """Number of good responses so far."""
        self._turnstile = Turnstile(most, name)
        self._name = name
        self._patience = patience
        self._unanswered: set[int] = set()
        """Numbers of the requests under way to which the server has not begun a response."""
        self._unheard: float | None = None
        """Loop time since which the server has not begun any response; None if no request waits for one."""
        self._waiting_turns: list[int] = []
        """Turns of the tasks in :meth:`reopened`, sorted."""
        self._changed = asyncio.Event()
        """Event that is set, and replaced with a new event, whenever the circuit changes."""

    @property
    def window(self) -> CongestionWindow:
        """The window that limits concurrent requests."""
        return self._turnstile.window

    @property
    def in_flight(self) -> int:
        """Number of requests that have entered and not left."""
        return self._turnstile.in_flight

    @property
    def silence(self) -> float:
        """Seconds in which no response has begun while requests wait for one or keep failing; otherwise 0.

        A request whose response has begun does not count, even if the response takes long to arrive.
        """
        asked = self._unanswered or self.circuit.noted or not self.circuit.closed
        return asyncio.get_running_loop().time() - self._unheard if asked and self._unheard is not None else 0.0

    def share(self, most: int, parts: int) -> None:
        """Set a new limit for concurrent requests; see `Turnstile.share`."""
        self._turnstile.share(most, parts)

    # ---- before and after a request -------------------------------------------------------------------------

    async def enter(self) -> int:
        """Wait for admission.

        Returns:
            The number of the request.

        Raises:
            HostParked: the server is parked.
        """
        self._check_circuit()
        number = await self._turnstile.enter()
        if not number:
            raise self.parked()
        # The server may have been parked, and its pause may have ended, while this request waited.
        if not self.circuit.closed:
            self._enter_as_probe(number)
        if self._unheard is None or not (self._unanswered or self.circuit.noted):
            self._unheard = asyncio.get_running_loop().time()
        self._unanswered.add(number)
        return number

    def _enter_as_probe(self, number: int) -> None:
        try:
            self._check_circuit()
        except HostParked:
            self.leave()
            raise
        self._set_circuit(self.circuit.probed(number))

    def leave(self, number: int = 0) -> None:
        """Note that a request has ended.

        Args:
            number: number of the request; required if it may have been a probe, or got no response.
        """
        self._unanswered.discard(number)
        if number in self.circuit.probes:
            self._set_circuit(self.circuit.abandoned(number))
        self._turnstile.leave()

    # ---- results --------------------------------------------------------------------------------------------

    def heard(self, number: int) -> None:
        """Note that the server has begun a response, good or bad, to request ``number``."""
        self._unanswered.discard(number)
        self._unheard = asyncio.get_running_loop().time() if self._unanswered else None

    def answered(self, number: int, *, before: int = 0) -> None:
        """Note that request ``number`` got a good response after ``before`` failed tries."""
        self.answers += 1
        self._turnstile.answered(number, before=before)
        self.alive(number)

    def alive(self, number: int) -> None:
        """Note that request ``number`` got a final response, good or bad, which shows that the server is up."""
        if self.circuit.noted or not self.circuit.closed:
            self._set_circuit(self.circuit.answered(number))

    def refused(self, number: int, file: Hashable = None, *, asks: bool = False, before: int = 0) -> None:
        """Note that an overloaded server refused request ``number`` (429, 503); see `Turnstile.refused`."""
        self._turnstile.refused(number, asks=asks, before=before)
        self._failed(number, file, REFUSED, before)

    def failed(self, number: int, file: Hashable = None, *, before: int = 0) -> None:
        """Note that request ``number`` failed in another way that may be temporary; see `Circuit.failed`."""
        self._failed(number, file, BROKEN, before)

    def silent(self, number: int, file: Hashable = None, *, before: int = 0) -> None:
        """Note that request ``number`` got no response in time, or that its response stopped arriving."""
        self._turnstile.overloaded(number)
        self._failed(number, file, TIMED_OUT, before)

    def incomplete(self, number: int, file: Hashable = None) -> None:
        """Note that the response to request ``number`` began and then broke off, or arrived too slowly.

        The server is up, and too many requests are not the likely cause, so neither window nor pace changes.
        """
        self._failed(number, file, 0)

    def heed(self, seconds: float | None) -> None:
        """Obey a Retry-After of the server: pause, or give the server up if it asks for more than the patience.

        Args:
            seconds: the wait that the server asks for; None or 0 if it does not ask for one.
        """
        if not seconds:
            return
        if seconds <= self._patience:
            self._turnstile.pause(seconds)
        else:
            self._set_circuit(self.circuit.told_to_wait(asyncio.get_running_loop().time(), seconds))

    def _failed(self, number: int, file: Hashable, weight: int, before: int = 0) -> None:
        now = asyncio.get_running_loop().time()
        last = self._turnstile.begun
        self._set_circuit(self.circuit.failed(number, now, last=last, file=file, weight=weight, before=before))

    # ---- parking --------------------------------------------------------------------------------------------

    async def reopened(self) -> None:
        """Wait until a request, possibly as a probe, may be sent to the server again.

        Raises:
            HostParked: the server is given up for this run.
        """
        loop, turn = asyncio.get_running_loop(), TURN.get()
        insort(self._waiting_turns, turn)
        try:
            while not self.circuit.admits(loop.time() - self._probe_delay(turn)):
                if self.circuit.given_up:
                    raise self.parked()
                # While the maximum number of probes is under way, only their results can change anything, so the
                # wait has no time limit.
                full = len(self.circuit.probes) >= PROBES
                wait = None if full else (self.circuit.until or 0) + self._probe_delay(turn) - loop.time()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
        finally:
            self._waiting_turns.remove(turn)

    def _probe_delay(self, turn: int) -> float:
        """Return the seconds by which a waiting task delays its probe; the lowest turns probe first."""
        before = bisect_left(self._waiting_turns, turn) + len(self.circuit.probes)
        return before // PROBES * PROBE_DELAY

    def parked(self) -> HostParked:
        """Return the error for a request that is not admitted."""
        if self.circuit.wish:
            text = f"asks to wait {self.circuit.wish:,.0f} s, more than patience in [network]: its jobs stay open"
        elif self.circuit.given_up:
            waited = self.circuit.waited(asyncio.get_running_loop().time())
            text = f"gave no good answer for {waited:,.0f} s and is given up: its jobs stay open"
        else:
            text = "is paused: all requests to it fail"
        return HostParked(f"{self._name} {text}", origin=self._name, retry_after=self.circuit.wish or None)

    def _check_circuit(self) -> None:
        if not self.circuit.closed and not self.circuit.admits(asyncio.get_running_loop().time()):
            raise self.parked()

    def _set_circuit(self, circuit: Circuit) -> None:
        if circuit is self.circuit:
            return
        former, self.circuit = self.circuit, circuit
        self._log_change(former)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if not circuit.closed:
            # Requests in the turnstile must not be sent to a parked server; their tasks wait in `reopened`.
            self._turnstile.dismiss()

    def _log_change(self, former: Circuit) -> None:
        now, circuit = asyncio.get_running_loop().time(), self.circuit
        fields = {"host": self._name, "seconds": former.waited(now)}
        if circuit.given_up and not former.given_up:
            log(_log, logging.WARNING, "host_given_up", fields | {"reason": str(self.parked())}, inherit=False)
        elif circuit.pauses > former.pauses:
            wait = (circuit.until or now) - now
            fields |= {"wait": wait, "failures": circuit.failures, "files": len(circuit.files)}
            log(_log, logging.INFO, "parked", fields, inherit=False)
        elif circuit.closed and not former.closed:
            log(_log, logging.INFO, "reopened", fields, inherit=False)
