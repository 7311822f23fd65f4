"""How many requests a second one server is asked to begin: a limit that is learned from its refusals. Pure.

A server that allows so many requests a second answers 429 or 503 (S3: SlowDown) to those beyond. How many may be
under way at once does not tell it: with round trips of 10 ms even four of them are 400 a second. So refusals set a
limit, as those of TCP's CUBIC (RFC 9438) and of botocore's adaptive mode do; there is none before the first.
"""

from __future__ import annotations

import math
from typing import Final

SPAN: Final = 1.0
"""Seconds over which good answers are counted: as long as the windows in which most servers count."""
FIRST_SPAN: Final = 0.01
"""Seconds that a run takes at least to its first refusal."""
FAST: Final = 1000.0
"""Requests a second that are more than this program makes: where a limit begins of which nothing is known."""
SLOW: Final = 1.0
"""Requests a second that are always allowed."""
BELOW: Final = 0.9
"""Where the limit begins after a refusal, as a share of what the server answered in the last second."""
AT_ONCE: Final = 0.7
"""To what share of itself it falls at most at once: the last second may have begun when less was asked for."""
FEW: Final = 1 / 3
"""But where the server answered less than this share of what the limit allowed, it falls to that."""
TOLERATED: Final = 0.1
"""Share of refused requests that sets no limit: to be refused one time in ten costs less than to be too slow."""
STRIKES: Final = 2
"""How often in a row a lower limit may not help, each for a second at least. Then refusals are not for the rate: a
server or something on the way turns away whom it likes, and to ask less often would only take longer."""
DEAF: Final = 10.0
"""Seconds for which refusals set no limit then; twice as long each time."""
USELESS: Final = 0.6
"""A lower limit has not helped when the share of refused requests is still more than this part of what it was."""
HOPELESS: Final = 0.8
"""Share of refused requests above which they set a limit all the same."""
PLATEAU: Final = 2.0
"""Seconds in which the limit comes back to what the server answered; after as many more it is twice that, and so
on. One that is real is met at once again, and costs a refusal or two; one that has passed is soon forgotten."""
REQUESTS: Final = 20
"""Requests in which it comes back, where that takes longer: at 5 a second, a refusal is dear."""
LONGEST: Final = 0.25
"""Seconds between requests while all are refused, at most: a server that counts by the second opens again soon."""
SLACK: Final = 0.01
"""Seconds by which requests may be late, and the next ones early: timers and the loop are not exact."""


class Pace:
    """When the next request to one server may begin.

    Requests are numbered from 1 in the order in which they begin; times are seconds of a clock that only goes on.
    """

    __slots__ = (
        "_answers", "_base", "_deaf", "_deafness", "_judged", "_recover", "_refusals", "_row", "_share", "_since",
        "_strikes", "due",
    )  # fmt: skip

    def __init__(self) -> None:
        self.due = -math.inf
        """When the next request may begin."""
        self._base = math.inf
        """Requests a second that the server answered when the limit was set."""
        self._judged = 0.0
        """When it was last judged whether that helped."""
        self._share = 0.0
        """Share of the requests that were refused then."""
        self._since = 0.0
        """When the server last answered again after it had refused."""
        self._row = 0
        """Refusals in a row: each makes the next request wait twice as long."""
        self._recover = 0
        """Number of the last request that had begun when the last of them was noted: those before are no news."""
        self._strikes = 0
        """How often in a row a lower limit did not help."""
        self._deaf = -math.inf
        """Until when refusals set no limit."""
        self._deafness = DEAF
        """Seconds that this lasts the next time."""
        self._answers, self._refusals = Counter(), Counter()

    def limit(self, now: float) -> float:
        """Requests a second that may begin."""
        if self._base == math.inf:
            return math.inf
        progress = self._progress(now)
        if progress < 1:
            return self._base * (1 - (1 - BELOW) * (1 - progress) ** 3)
        return self._base * 2 ** min(progress - 1, 64)

    def begun(self, now: float) -> None:
        """A request begins."""
        self._answers.begin(now)
        self._refusals.begin(now)
        if self._row or self._base < math.inf:
            self.due = max(self.due, now - SLACK) + self._gap(now)

    def answered(self, number: int, now: float) -> None:
        """The request with this number was answered well."""
        self._answers.count(now)
        if self._row and number > self._recover:
            self._row, self._since = 0, now
            self.due = min(self.due, now + self._gap(now))

    def refused(self, number: int, last: int, now: float) -> None:
        """The server turned the request with this number away; ``last`` has begun last."""
        self._refusals.count(now)
        if number <= self._recover:
            return
        if not self._row:
            self._learn(now)
        self._row += 1
        self._recover = last
        self.due = now + self._gap(now)

    def _learn(self, now: float) -> None:
        """Set the limit, after an answer that was followed by a refusal."""
        limit, seen, refused = min(self.limit(now), FAST), self._answers.rate(now), self._refusals.rate(now)
        share = refused / (seen + refused)
        if now < self._deaf:
            if share < HOPELESS:
                return
            self._deaf = now
        if share < TOLERATED:
            return
        few = seen < limit * FEW
        judged = self._base < math.inf and now - self._judged >= SPAN
        if judged:
            useless = self._progress(now) < 1 and share >= USELESS * self._share
            self._strikes = self._strikes + 1 if useless else 0
            self._share = share
        elif self._base < math.inf and not few:
            return  # what was learned lately has not had its second yet
        if judged or self._base == math.inf:
            self._judged = now
        if self._strikes > STRIKES:
            self._base, self._strikes = math.inf, 0
            self._deaf, self._deafness = now + self._deafness, 2 * self._deafness
            return
        if not few:
            seen = max(seen, AT_ONCE * limit)
        self._base, self._since = max(SLOW, min(seen or limit, limit)), now

    def _progress(self, now: float) -> float:
        """How far the limit has come back, from 0 to 1 and beyond."""
        return (now - self._since) / max(PLATEAU, REQUESTS / self._base)

    def _gap(self, now: float) -> float:
        """Seconds from one request to the next."""
        gap = 1 / self.limit(now)
        if not self._row:
            return gap
        return max(gap, min(max(gap, 1 / FAST) * 2.0 ** min(self._row, 16), LONGEST))


class Counter:
    """Counts what happens in a second: this one, and the one before it."""

    __slots__ = ("_count", "_former", "_started")

    def __init__(self) -> None:
        self._started: float | None = None
        self._count = 0
        self._former: int | None = None

    def begin(self, now: float) -> None:
        """Begin to count, unless that was done."""
        if self._started is None:
            self._started = now

    def count(self, now: float) -> None:
        """It happens."""
        self._roll(now)
        self._count += 1

    def rate(self, now: float) -> float:
        """How often a second, over the last one or since the counting began."""
        elapsed = now - self._roll(now)
        if self._former is None:
            return self._count / max(elapsed, FIRST_SPAN)
        return self._former * (1 - elapsed / SPAN) + self._count / SPAN

    def _roll(self, now: float) -> float:
        """Begin anew when a second is over; gives when this one began."""
        started = now if self._started is None else self._started
        spans = int((now - started) / SPAN)
        if spans:
            self._former, self._count = self._count if spans == 1 else 0, 0
        self._started = started + spans * SPAN
        return self._started
