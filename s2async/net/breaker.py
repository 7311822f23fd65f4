"""When a server that only fails is left alone, and when it is tried again: a circuit breaker. Pure.

After some failures in a row the server is parked: nobody asks it. When the time is over, a few requests try (the
probes): the first good answer lets all others in, the first failure parks the server again. A circuit is a value;
an event makes another. Requests have numbers, as the gate gives them: those that were under way together when one
of them failed tell the same thing, and count once.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

FAILURES: Final = 10
"""What failures in a row count together that park a server."""
STUBBORN: Final = 3
"""Tries of one request whose failures do so when nothing was answered for as long as the first pause takes: others
may still be few or none, and it would use up its tries."""
REFUSED: Final = 1
"""What one counts that is an answer of 429 or 503: after it the pace waits, and that may do."""
BROKEN: Final = 2
"""What any other counts."""
TIMED_OUT: Final = 4
"""What one counts that only a time-out shows: it has cost half a minute, and a try of its request."""
GLITCH: Final = 0.3
"""Seconds that failures in a row last at least: what is over sooner costs no pause."""
FIRST: Final = 1.0
"""Seconds of the first pause; each one after it is twice as long."""
PERIOD: Final = 30.0
"""Seconds of the longest pause."""
UNPARKED: Final = 60.0
"""Seconds without an answer after which a server that there is no reason to park is given up, or longer if the
patience is longer: all its answers come too slowly, or break off, or it asks for patience each time."""
PROBES: Final = 8
"""Requests that try at once, as many as a run begins with: of a server that fails now and then, one may answer."""
MANY: Final = 8
"""Files that fail together, of which the server is the cause and not they."""
DOUBT: Final = 6.0
"""Seconds after which fewer files are left to their own tries. Else two that are out of order, the last of a run,
would be taken for a server that is down, and waited for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circuit:
    """Whether one server may be asked, and what is remembered to decide it."""

    patience: float = 10 * PERIOD
    """Seconds for which a server that was parked is tried, after which it is given up for this run."""
    doubt: float = DOUBT
    """Seconds after which a few files, or whatever else was asked for, are left to their own tries."""
    failures: int = 0
    """What failures count together since the last answer."""
    since: float | None = None
    """When the first of them was noted."""
    tries: int = 0
    """How many tries of one request had failed by then, at most."""
    noted: int = 0
    """Number of the last request that had begun when the last of them was noted."""
    files: frozenset[Hashable] = frozenset()
    """What these requests were for; no more than :data:`MANY`."""
    parked: float | None = None
    """When the server was first parked since the last answer."""
    pauses: int = 0
    """How often it was."""
    until: float | None = None
    """When probes may be made, while the server is parked; None: everybody may ask."""
    probes: frozenset[int] = frozenset()
    """Numbers of the requests that try."""
    wish: float = 0.0
    """Seconds that the server asked to be left alone, where they are more than anybody waits."""
    hopeless: bool = False
    """It is given up: probes go on, but nobody should wait for them."""

    @property
    def closed(self) -> bool:
        """Everybody may ask."""
        return self.until is None

    def admits(self, now: float) -> bool:
        """Whether a request may begin now; while the server is parked, as a probe."""
        return self.until is None or (now >= self.until and len(self.probes) < PROBES)

    def waited(self, now: float) -> float:
        """Seconds since the server was first parked, or failed first, after the last answer."""
        first = self.since if self.parked is None else self.parked
        return 0.0 if first is None else now - first

    def probed(self, number: int) -> Circuit:
        """The circuit when the request with this number begins as a probe."""
        return replace(self, probes=self.probes | {number})

    def answered(self, number: int) -> Circuit:
        """The circuit after an answer: whoever asked for it, the server is there.

        But one that asked to be left alone means it, whatever it still answers.
        """
        return (
            self if self.wish and number not in self.probes else Circuit(patience=self.patience, doubt=self.doubt)
        )

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
        """The circuit after the request with this number failed in a way that may pass.

        What began before the last failure was noted tells nothing new.

        Args:
            number: of the request.
            now: seconds on a clock that never goes back.
            last: number of the last request that has begun.
            file: what it was for; by default, what nobody else asks for.
            weight: what it counts. With 0 the server is there, and is not parked; it is given up all the same
                when the patience is used up.
            before: tries of the same request that had failed.
        """
        if number in self.probes:
            there = replace(self, until=None, probes=frozenset(), failures=0, noted=last)
            return self._pause(now) if weight else there
        if not self.closed:
            return self
        files = self.files if len(self.files) >= MANY else self.files | {number if file is None else file}
        if number <= self.noted:
            return replace(self, files=files)
        since = now if self.since is None else self.since
        tries = max(self.tries, before + 1 if weight else 0)
        failed = replace(self, failures=self.failures + weight, since=since, tries=tries, noted=last, files=files)
        return failed._pause(now) if failed._is_ill(now) else failed

    def _is_ill(self, now: float) -> bool:
        waited = self.waited(now)
        if len(self.files) < MANY and waited >= self.doubt:
            return self._is_hopeless(now)
        many = self.failures >= FAILURES and waited >= min(GLITCH, PERIOD)
        return many or (self.tries >= STUBBORN and waited >= _length(0)) or self._is_hopeless(now)

    def _is_hopeless(self, now: float) -> bool:
        return self.waited(now) >= (max(self.patience, UNPARKED) if self.parked is None else self.patience)

    def _pause(self, now: float) -> Circuit:
        """The circuit with the server parked from now on; the last pause ends with the patience."""
        if not self._is_ill(now):
            return replace(self, until=None, probes=frozenset())
        hopeless, length = self._is_hopeless(now), _length(self.pauses)
        parked = now if self.parked is None else self.parked
        end = now + length if hopeless else min(now + length, parked + self.patience)
        return replace(
            self, until=end, probes=frozenset(), parked=parked, pauses=self.pauses + 1, hopeless=hopeless
        )

    def told(self, now: float, seconds: float) -> Circuit:
        """The circuit after the server asked to be left alone for longer than anybody waits."""
        return replace(self, until=now + seconds, probes=frozenset(), wish=seconds, hopeless=True)

    def abandoned(self, number: int) -> Circuit:
        """The circuit after the request with this number ended, cancelled perhaps, and told nothing."""
        return replace(self, probes=self.probes - {number}) if number in self.probes else self


def _length(pauses: int) -> float:
    """Seconds of the pause after so many."""
    return min(FIRST * 2.0 ** min(pauses, 16), PERIOD)
