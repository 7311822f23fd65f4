"""When a server that only fails is left alone, and when it is tried again: a circuit breaker. Pure.

After so many failures in a row the server is parked: nobody asks it. When the time is over, one request tries (the
probe); its end decides for all. A circuit is a value; an event makes another. Requests have numbers, as the gate
gives them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

FAILURES: Final = 20
"""Failures in a row that park a server."""
PERIOD: Final = 30.0
"""Seconds that it is parked before a probe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circuit:
    """Whether one server may be asked, and what is remembered to decide it."""

    patience: float = 10 * PERIOD
    """Seconds parked without an answer after which the server is given up for this run."""
    failures: int = 0
    """Failures since the last answer."""
    until: float | None = None
    """When a probe may be made, while the server is parked; None: everybody may ask."""
    parked: float = 0.0
    """Seconds of all parked periods since the last answer, this one included."""
    probe: int = 0
    """Number of the request that tries; 0: none does."""
    hopeless: bool = False
    """The patience is used up: probes go on, but nobody should wait for them."""

    @property
    def closed(self) -> bool:
        """Everybody may ask."""
        return self.until is None

    def admits(self, now: float) -> bool:
        """Whether a request may begin now; while the server is parked, as its probe."""
        return self.until is None or (not self.probe and now >= self.until)

    def probed(self, number: int) -> Circuit:
        """The circuit when the request with this number begins as the probe."""
        return replace(self, probe=number)

    def answered(self) -> Circuit:
        """The circuit after an answer: whoever asked for it, the server is there."""
        return Circuit(patience=self.patience)

    def failed(self, number: int, now: float) -> Circuit:
        """The circuit after the request with this number failed in a way that may pass.

        What began before the server was parked tells nothing new.
        """
        if not self.closed:
            if number != self.probe:
                return self
            return replace(self.park(now), hopeless=self.parked >= self.patience)
        counted = replace(self, failures=self.failures + 1)
        return counted.park(now) if counted.failures >= FAILURES else counted

    def park(self, now: float, seconds: float | None = None) -> Circuit:
        """The circuit with the server parked from now on, a period or longer, but no longer than the patience."""
        seconds = min(seconds or PERIOD, self.patience)
        return replace(self, until=now + seconds, parked=self.parked + seconds, probe=0)

    def abandoned(self, number: int) -> Circuit:
        """The circuit after the request with this number ended, cancelled perhaps, and told nothing."""
        return replace(self, probe=0) if number == self.probe else self
