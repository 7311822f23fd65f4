"""Limits for the requests to one server, concurrent and per second, learned from its responses. Pure.

**Concurrent requests** (:class:`CongestionWindow`): TCP's congestion control, counted in requests. Additive
increase, multiplicative decrease (RFC 5681); one decrease per round trip (RFC 6582); no increase by responses that
arrive while fewer requests run than are allowed (RFC 7661).

**Requests per second** (:class:`Pace`): a server that allows a number of requests per second responds with 429 or
503 (S3: SlowDown) to requests beyond it. The window cannot express such a limit: with round trips of 10 ms, even
four concurrent requests are 400 a second. Refusals therefore set a rate limit, as in TCP's CUBIC (RFC 9438) and
botocore's adaptive mode. Before the first refusal there is no rate limit.

Requests are numbered from 1 in the order in which they begin. Times are seconds of a monotonic clock.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final, Self

# ---- at once ----------------------------------------------------------------------------------------------------

INITIAL: Final = 8
"""Concurrent requests to a server about which nothing is known yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CongestionWindow:
    """The limit for concurrent requests to one server. Immutable: the methods for events return a new value."""

    size: int
    """Number of concurrent requests allowed, at least 1."""
    most: int
    """Upper bound of ``size``, at least 1."""
    slow_start: bool = True
    """Whether no decrease has happened yet. Until then, every response widens the window by one, which doubles it
    per round trip."""
    credit: int = 0
    """Responses since ``size`` last changed; after slow start, ``size`` responses widen the window by one."""
    recover: int = 0
    """Number of the last request that had begun when the window was last halved.

    Requests up to this number were sent under the old window, so their results say nothing about the new one.
    """

    @classmethod
    def initial(cls, most: int) -> Self:
        """Return the window for a server about which nothing is known yet."""
        return cls(size=min(INITIAL, most), most=most)

    def answered(self, number: int, in_flight: int) -> CongestionWindow:
        """Return the window after a good response.

        Args:
            number: number of the request that was answered.
            in_flight: requests under way just before the response, including the answered request.
        """
        unused = in_flight < self.size
        if unused or number <= self.recover or self.size == self.most:
            return self
        credit = self.credit + 1
        if self.slow_start or credit >= self.size:
            return replace(self, size=self.size + 1, credit=0)
        return replace(self, credit=credit)

    def overloaded(self, number: int, last: int) -> CongestionWindow:
        """Return the window after a sign of overload.

        Args:
            number: number of the request that showed the overload.
            last: number of the last request that has begun.
        """
        if number <= self.recover:
            return self
        return replace(self, size=max(1, self.size // 2), slow_start=False, credit=0, recover=last)

    def bounded(self, most: int) -> CongestionWindow:
        """Return the window with another upper bound, which must be at least 1."""
        return replace(self, most=most, size=min(self.size, most))


# ---- per second -------------------------------------------------------------------------------------------------

SPAN: Final = 1.0
"""Seconds over which responses are counted, as in the rate limits of most servers."""
FIRST_SPAN: Final = 0.01
"""Shortest time in seconds over which a rate is computed; used for a refusal right after the start."""
FAST: Final = 1000.0
"""Requests per second from which the first limit is derived if no request was answered yet; no run sends more."""
SLOW: Final = 1.0
"""Requests per second that are always allowed."""
LEAST: Final = 0.25
"""Fraction of the highest number of responses counted in any second that is always allowed."""
BELOW: Final = 0.9
"""The limit after a refusal, as a fraction of the responses in the last second."""
TOLD: Final = 3
"""Number of responses needed to derive a rate from them. With fewer, refusals only double the gap."""
FEW: Final = 0.7
"""Fraction of the limit: if fewer requests per second are answered, the limit is far too high and is lowered at
once; otherwise not before a second has passed."""
TOLERATED: Final = 0.1
"""Fraction of refused requests up to which a limit is not lowered."""
STRIKES: Final = 3
"""Number of consecutive lower limits, each in force for a second, that do not help. It shows that refusals do not
depend on the rate: the server refuses some requests at any rate, and a limit would only cost time."""
USELESS: Final = 0.7
"""A lower limit did not help if the fraction of refused requests is at least this part of the former fraction."""
IGNORED: Final = 10.0
"""Seconds for which refusals set no limit after `STRIKES` such limits; twice as long each time."""
PICKY: Final = 4
"""Number of refused first tries, and of answered later tries, that rules out chance; see `_FirstTryRefusals`."""
MUCH: Final = 0.15
"""Minimum fraction of first tries that such a server refuses. If a limit on the rate is respected, the fraction is
about `TOLERATED`."""
ROUNDS: Final = 4
"""Number of failed tries up to which requests are distinguished to detect such a server."""
HOPELESS: Final = 0.8
"""Fraction of refused requests from which refusals set a limit even while they are ignored."""
PLATEAU: Final = 2.0
"""Seconds in which the limit returns to the rate that was answered; it doubles in each further period. If the
server still limits the rate, that costs one or two refusals; if not, the limit soon has no effect."""
REQUESTS: Final = 20
"""Number of requests in which the limit returns, if they take longer than `PLATEAU`: at 5 requests per second, a
refusal is expensive."""
LONGEST: Final = 0.25
"""Longest gap in seconds while all requests are refused: a server that counts per second soon admits some."""
SLACK: Final = 0.01
"""Maximum delay of a request in seconds that the next request may make up for: timers are not exact."""


class Pace:
    """Decides when the next request to one server may begin."""

    def __init__(self) -> None:
        self.parts = 1
        """Number of programs that send requests to the same server and adapt to it as this one does. Rates that
        are always allowed are divided by this number."""
        self.due = -math.inf
        """Time from which the next request may begin."""
        self._base = math.inf
        """Requests per second that the server answered when the limit was set; infinite without a limit."""
        self._since = 0.0
        """When the limit was set, or when the server began to answer again after refusals."""
        self._row = 0
        """Consecutive refusals: each one doubles the gap before the next request."""
        self._recover = 0
        """Number of the last request that had begun at the last refusal; refusals up to it say nothing new."""
        self._judged = 0.0
        """When it was last checked whether a lower limit helps, or when the first limit was set."""
        self._share = 0.0
        """Fraction of refused requests at that time."""
        self._strikes = 0
        """Number of consecutive checks in which a lower limit did not help."""
        self._ignored_until = -math.inf
        """Time before which refusals set no limit."""
        self._ignore_for = IGNORED
        """Seconds for which refusals are ignored the next time."""
        self._answered = 0
        """Number of good responses so far."""
        self._answers, self._refusals = _PerSecond(), _PerSecond()
        self._first_tries = _FirstTryRefusals()

    def limit(self, now: float) -> float:
        """Return how many requests may begin per second; infinite if there is no limit.

        The curve is that of CUBIC: it starts at ``BELOW`` times the answered rate, rises quickly, is flat where it
        reaches that rate (which is most likely the real limit), and grows exponentially beyond.
        """
        if self._base == math.inf:
            return math.inf
        progress = self._progress(now)
        if progress < 1:
            return self._base * (1 - (1 - BELOW) * (1 - progress) ** 3)
        return self._base * 2 ** min(progress - 1, 64)

    def begun(self, now: float) -> None:
        """Note that a request begins."""
        self._answers.roll(now)
        self._refusals.roll(now)
        if self._base < math.inf:
            self.due = max(self.due, now - SLACK) + self._gap(now)

    def answered(self, number: int, now: float, *, before: int = 0) -> None:
        """Note a good response to request ``number``, which came after ``before`` failed tries."""
        self._answered += 1
        self._answers.add(now)
        self._first_tries.answered(before)
        if self._row and number > self._recover:
            self._row, self._since = 0, now
            self.due = min(self.due, now + self._gap(now))

    def refused(self, number: int, last: int, now: float, *, asks: bool = False, before: int = 0) -> None:
        """Note that the server refused a request.

        Args:
            number: number of the request.
            last: number of the last request that has begun.
            now: the time.
            asks: whether the response has a Retry-After. In that case every refusal pauses all requests, so no
                refusals are tolerated.
            before: number of earlier tries of the same request that failed.
        """
        self._refusals.add(now)
        if self._first_tries.refused(before, now) and not asks:
            self._base, self.due = math.inf, -math.inf
            return
        # Requests that were under way at the last refusal were sent too fast for the same reason.
        if number <= self._recover:
            return
        if not self._row:
            self._learn(now, 0.0 if asks else TOLERATED)
        self._row += 1
        self._recover = last
        self.due = now + self._gap(now)

    def _learn(self, now: float, tolerated: float) -> None:
        """Set, lower or remove the limit, after the first refusal that follows a response.

        Args:
            now: the time.
            tolerated: fraction of refused requests up to which an existing limit is kept.
        """
        limit = min(self.limit(now), FAST / self.parts)
        answered, refused = self._answers.rate(now), self._refusals.rate(now)
        share = refused / (refused + answered)
        if now < self._ignored_until and share < HOPELESS:
            return
        if self._base < math.inf and self._answered < TOLD:
            return
        # A limit that works grows until a few requests are refused. That is no reason to lower it.
        if self._base < math.inf and share < tolerated:
            self._base = max(self._base, min(answered, limit))
            return
        if self._base == math.inf:
            self._judged, self._share, self._strikes = now, 0.0, 0
        elif now - self._judged >= SPAN:
            # The limit was in force for a second and has not grown beyond the answered rate. If the server refused
            # requests because of their rate, the fraction of refusals must have dropped by now.
            useless = self._progress(now) < 1 and share >= USELESS * self._share
            strike = STRIKES if self._first_tries.dominate() else 1
            self._judged, self._share, self._strikes = now, share, self._strikes + strike if useless else 0
            if self._strikes >= STRIKES:
                self._drop_limit(now)
                return
        elif answered >= FEW * limit:
            return  # the limit has not been in force for a second yet
        self._base = max(SLOW / self.parts, LEAST * self._answers.most, min(answered or limit, limit))
        self._since = now

    def _drop_limit(self, now: float) -> None:
        """Remove the limit and set none for a while, because the refusals do not depend on the rate."""
        self._base = math.inf
        self._ignored_until, self._ignore_for = now + self._ignore_for, 2 * self._ignore_for

    def _progress(self, now: float) -> float:
        """Return how far the limit has returned to the answered rate: 0 to 1, or more if it exceeds that rate."""
        return (now - self._since) / max(PLATEAU, REQUESTS / self._base)

    def _gap(self, now: float) -> float:
        """Return the seconds from one request to the next."""
        gap = 1 / self.limit(now)
        if not self._row:
            return gap
        return max(gap, min(gap * 2.0 ** min(self._row, 16), LONGEST))


class _FirstTryRefusals:
    """Detects a server that refuses the first try, or the first few tries, of every request at any rate.

    Some caches and fault injectors do so. A limit on requests per second does not distinguish between tries: if
    requests stay below the limit, most are answered, whether it is their first try or a later one. With a server
    that refuses first tries, slowing down does not help, but trying again does.
    """

    __slots__ = ("_answered_later", "_recent", "_refused_first", "_since")

    def __init__(self) -> None:
        # Index n stands for a hypothesis: the server refuses a request until it has failed more than n times.
        self._refused_first = [0] * ROUNDS
        """Number of refusals of requests that had failed at most n times."""
        self._answered_later = [0] * ROUNDS
        """Number of responses to requests that had failed more than n times."""
        self._since = [math.inf] * ROUNDS
        """Time of the first of these refusals since the last contradiction of the hypothesis."""
        self._recent: Counter[tuple[int, bool]] = Counter()
        """Results since :meth:`dominate` last found a contradiction, by (failed tries, refused)."""

    def answered(self, before: int) -> None:
        """Note a good response to a request that had failed ``before`` times."""
        self._recent[min(before, ROUNDS), False] += 1
        for index in range(ROUNDS):
            if before > index:
                self._answered_later[index] += 1
            else:
                self._contradict(index)

    def refused(self, before: int, now: float) -> bool:
        """Note a refusal of a request that had failed ``before`` times.

        Returns:
            Whether the number of failed tries alone explains all refusals and responses of the last second.
        """
        self._recent[min(before, ROUNDS), True] += 1
        for index in range(ROUNDS):
            if before > index:
                self._contradict(index)
            else:
                self._refused_first[index] += 1
                self._since[index] = min(self._since[index], now)
        return any(
            refused >= PICKY and answered >= PICKY and now - since >= SPAN
            for refused, answered, since in zip(
                self._refused_first, self._answered_later, self._since, strict=True
            )
        )

    def dominate(self) -> bool:
        """Return whether the number of failed tries explains most refusals since the last contradiction.

        This is so if many first tries were refused, and there is a number of failed tries below which all later
        tries were refused, and from which all were answered.
        """
        seen = self._recent
        refused, answered = seen[0, True], seen[0, False]
        first = min((n for n in range(1, ROUNDS + 1) if seen[n, False]), default=ROUNDS)
        later = range(first, ROUNDS + 1)
        if any(seen[n, True] for n in later) or refused < MUCH * (refused + answered):
            self._recent = Counter()
            return False
        return refused >= PICKY and sum(seen[n, False] for n in later) >= PICKY

    def _contradict(self, index: int) -> None:
        self._refused_first[index], self._answered_later[index], self._since[index] = 0, 0, math.inf


class _PerSecond:
    """Counts events per second, in the current second and in the previous one."""

    __slots__ = ("_count", "_former", "_most", "_started")

    def __init__(self) -> None:
        self._started: float | None = None
        """When the current second began."""
        self._count = 0
        self._former: int | None = None
        """The count of the previous second; None in the first second."""
        self._most = 0

    @property
    def most(self) -> int:
        """The highest count in any second so far."""
        return max(self._most, self._count)

    def add(self, now: float) -> None:
        """Count an event."""
        self.roll(now)
        self._count += 1

    def rate(self, now: float) -> float:
        """Return the events per second over the last second, or since counting began if that is shorter.

        The last second overlaps the current and the previous counting period. The count of the previous period is
        weighted with the part of it that overlaps.
        """
        elapsed = self.roll(now)
        if self._former is None:
            return self._count / max(elapsed, FIRST_SPAN)
        return self._former * (1 - elapsed / SPAN) + self._count / SPAN

    def roll(self, now: float) -> float:
        """Start counting if that has not happened yet, and begin the next second if the current one is over.

        Returns:
            Seconds since the current second began.
        """
        if self._started is None:
            self._started = now
        spans = int((now - self._started) / SPAN)
        if spans:
            self._most = self.most
            self._former, self._count = self._count if spans == 1 else 0, 0
            self._started += spans * SPAN
        return now - self._started
