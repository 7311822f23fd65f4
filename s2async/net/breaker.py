"""A circuit breaker: decides when a failing server is parked, and when it is tried again. Pure.

After several failures in a row, the server is parked: no requests are sent to it. After a pause, a few requests,
the probes, are sent. The first final response (good, or an error that a retry would not change) ends the parking;
the first failed probe begins another pause, twice as long. When the patience is used up, the server is given up
for this run.

A :class:`Circuit` is an immutable value; the method for each event returns another value. The gate numbers the
requests. Requests that ran concurrently when one of them failed carry the same information, so their failures
count once.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

FAILURES: Final = 10
"""Total weight of failures in a row that parks a server."""
STUBBORN: Final = 3
"""Failed tries of one request that park a server, if it has not answered any request for at least :data:`FIRST`
seconds. A run with one request at a time would use up all tries of that request before it reached
:data:`FAILURES`."""
REFUSED: Final = 1
"""Weight of a response with status 429 or 503: the pace slows down after it, which may be enough."""
BROKEN: Final = 2
"""Weight of every other failure except a time-out."""
TIMED_OUT: Final = 4
"""Weight of a time-out, which costs half a minute and one try of its request."""
GLITCH: Final = 0.3
"""Seconds that failures in a row must last: a shorter interruption is not worth a pause."""
FIRST: Final = 1.0
"""Seconds of the first pause; each further pause is twice as long."""
PERIOD: Final = 30.0
"""Seconds of the longest pause."""
UNPARKED: Final = 60.0
"""Seconds without a good response after which a server is given up even if it was never parked; the patience, if
that is longer. Such a server responds, but all its responses are too slow, break off, or ask for a pause."""
PROBES: Final = 8
"""Maximum number of concurrent probes, the same as the number of requests with which a run begins: if a server
fails only now and then, one of the probes succeeds."""
MANY: Final = 8
"""Minimum number of files failing together for which the server, not the files, is the likely cause."""
DOUBT: Final = 6.0
"""Seconds after which failures of fewer than :data:`MANY` files no longer park the server: the requests for these
files use up their tries instead. Otherwise two damaged files at the end of a run would look like a server that is
down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circuit:
    """Whether requests may be sent to one server, and the history that determines this."""

    patience: float = 10 * PERIOD
    """Seconds for which a parked server is probed before it is given up."""
    doubt: float = DOUBT
    """Seconds after which failures of a few files no longer park the server."""
    failures: int = 0
    """Total weight of the failures since the last final response."""
    since: float | None = None
    """Time of the first of these failures."""
    tries: int = 0
    """Largest number of failed tries of one request among these failures."""
    noted: int = 0
    """Number of the last request that had begun when the last failure was counted."""
    files: frozenset[Hashable] = frozenset()
    """The files that the failed requests were for; at most :data:`MANY` entries."""
    parked: float | None = None
    """Time at which the server was first parked since the last final response."""
    pauses: int = 0
    """Number of pauses since then."""
    until: float | None = None
    """Time from which probes may be sent; None while the server is not parked."""
    probes: frozenset[int] = frozenset()
    """Numbers of the probes under way."""
    wish: float = 0.0
    """Seconds that the server asked clients to wait, if that exceeds the patience; otherwise 0."""
    given_up: bool = False
    """Whether tasks should stop waiting for the server. Requests that are made anyway are still sent as probes."""

    @property
    def closed(self) -> bool:
        """Whether the server is not parked (a closed circuit conducts)."""
        return self.until is None

    def admits(self, now: float) -> bool:
        """Return whether a request may begin now, possibly as a probe."""
        return self.until is None or (now >= self.until and len(self.probes) < PROBES)

    def waited(self, now: float) -> float:
        """Return the seconds since the server was first parked; if it was not parked, since the first failure."""
        first = self.since if self.parked is None else self.parked
        return 0.0 if first is None else now - first

    def probed(self, number: int) -> Circuit:
        """Return the circuit after request ``number`` began as a probe."""
        return replace(self, probes=self.probes | {number})

    def answered(self, number: int) -> Circuit:
        """Return the circuit after a final response to request ``number``.

        A final response shows that the server is up, and resets the circuit. The exception is a server that asked
        for a wait longer than the patience: responses to requests sent earlier do not revoke that, only the
        response to a probe does.
        """
        if self.wish and number not in self.probes:
            return self
        return Circuit(patience=self.patience, doubt=self.doubt)

    def failed(
        self,
        number: int,
        now: float,
        *,
        last: int,
        file: Hashable = None,
        weight: int = BROKEN,
        before: int = 0,
    ) -> Circuit:
        """Return the circuit after request ``number`` failed in a way that may pass.

        Args:
            number: number of the request.
            now: seconds of a monotonic clock.
            last: number of the last request that has begun.
            file: identifies the file that the request was for; by default a file that no other request is for.
            weight: :data:`REFUSED`, :data:`BROKEN`, :data:`TIMED_OUT`, or 0 if the server began a response. A
                failure of weight 0 does not park the server, but the server is given up when the patience is used
                up.
            before: number of earlier tries of the same request that failed.
        """
        if number in self.probes:
            responds = replace(self, until=None, probes=frozenset(), failures=0, noted=last)
            return self._pause(now) if weight else responds
        if not self.closed:
            return self
        files = self.files if len(self.files) >= MANY else self.files | {number if file is None else file}
        # A request that began before the last counted failure adds no information about the server, but its file
        # still counts.
        if number <= self.noted:
            return replace(self, files=files)
        since = now if self.since is None else self.since
        tries = max(self.tries, before + 1 if weight else 0)
        failed = replace(self, failures=self.failures + weight, since=since, tries=tries, noted=last, files=files)
        return failed._pause(now) if failed._is_down(now) else failed

    def _is_down(self, now: float) -> bool:
        waited = self.waited(now)
        # A few files that keep failing are more likely damaged themselves; the limit on tries applies to them.
        if len(self.files) < MANY and waited >= self.doubt:
            return self._is_out_of_patience(now)
        many = self.failures >= FAILURES and waited >= min(GLITCH, PERIOD)
        return many or (self.tries >= STUBBORN and waited >= _length(0)) or self._is_out_of_patience(now)

    def _is_out_of_patience(self, now: float) -> bool:
        return self.waited(now) >= (max(self.patience, UNPARKED) if self.parked is None else self.patience)

    def _pause(self, now: float) -> Circuit:
        """Return the circuit with a pause that begins now; the last pause ends when the patience is used up."""
        if not self._is_down(now):
            return replace(self, until=None, probes=frozenset())
        given_up, length = self._is_out_of_patience(now), _length(self.pauses)
        parked = now if self.parked is None else self.parked
        end = now + length if given_up else min(now + length, parked + self.patience)
        return replace(
            self, until=end, probes=frozenset(), parked=parked, pauses=self.pauses + 1, given_up=given_up
        )

    def told_to_wait(self, now: float, seconds: float) -> Circuit:
        """Return the circuit after the server asked for a wait longer than the patience."""
        return replace(self, until=now + seconds, probes=frozenset(), wish=seconds, given_up=True)

    def abandoned(self, number: int) -> Circuit:
        """Return the circuit after request ``number`` ended without a result, for example cancelled."""
        return replace(self, probes=self.probes - {number}) if number in self.probes else self


def _length(pauses: int) -> float:
    """Return the length in seconds of the pause that follows ``pauses`` pauses."""
    return min(FIRST * 2.0 ** min(pauses, 16), PERIOD)
