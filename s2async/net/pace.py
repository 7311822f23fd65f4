"""How many requests a second one server is asked to begin: a limit that is learned from its refusals. Pure.

A server that allows so many requests a second answers 429 or 503 (S3: SlowDown) to those beyond. How many may be
under way at once does not tell it: with round trips of 10 ms even four of them are 400 a second. So refusals set a
limit, as those of TCP's CUBIC (RFC 9438) and of botocore's adaptive mode do; there is none before the first.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

SPAN: Final = 1.0
"""Seconds over which good answers are counted: as long as the windows in which most servers count."""
FIRST_SPAN: Final = 0.01
"""Seconds that a run takes at least to its first refusal."""
FAST: Final = 1000.0
"""Requests a second that are more than this program makes: where a limit begins of which nothing is known."""
SLOW: Final = 1.0
"""Requests a second that are always allowed."""
LEAST: Final = 0.25
"""Share that is always allowed of the most that the server ever answered in a second."""
BELOW: Final = 0.9
"""Where the limit begins after a refusal, as a share of what the server answered in the last second."""
FEW: Final = 0.7
"""Share of what the limit allows: where less than that is answered, the limit is too high by far, and is lowered
again at once; else not before a second has passed."""
TOLERATED: Final = 0.1
"""Share of refused requests up to which a limit is not lowered."""
STRIKES: Final = 3
"""How often in a row a lower limit may not help, each for a second. Then refusals are not for the rate: the server
or something on the way turns away whom it likes, and to ask less often only takes longer."""
USELESS: Final = 0.7
"""It has not helped when the share of refused requests is still more than this part of what it was."""
DEAF: Final = 10.0
"""Seconds for which refusals set no limit then; twice as long each time."""
PICKY: Final = 4
"""Refusals of what is new, and answers to what is not, that tell more than chance; see `_Taste`."""
MUCH: Final = 0.3
"""Share of what is new that is refused then, where some is answered."""
ROUNDS: Final = 4
"""Failed tries of one request that are told apart for that."""
HOPELESS: Final = 0.8
"""Share of refused requests above which they set one all the same."""
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

    def __init__(self) -> None:
        self.due = -math.inf
        """When the next request may begin."""
        self._base = math.inf
        """Requests a second that the server answered when the limit was set."""
        self._since = 0.0
        """When that was, or when the server began to answer again."""
        self._row = 0
        """Refusals in a row: each makes the next request wait twice as long."""
        self._recover = 0
        """Number of the last request that had begun when the last of them was noted: those before are no news."""
        self._judged = 0.0
        """When it was last judged whether a lower limit helps, or when a limit was first set."""
        self._share = 0.0
        """Share of the requests that were refused then."""
        self._strikes = 0
        """How often in a row it did not help."""
        self._deaf = -math.inf
        """Until when refusals set no limit."""
        self._deafness = DEAF
        """Seconds that this lasts the next time."""
        self._answers, self._refusals = _Counter(), _Counter()
        self._taste = _Taste()

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
        self._answers.roll(now)
        self._refusals.roll(now)
        if self._base < math.inf:
            self.due = max(self.due, now - SLACK) + self._gap(now)

    def answered(self, number: int, now: float, *, before: int = 0) -> None:
        """The request with this number was answered well, after so many tries that failed."""
        self._answers.add(now)
        self._taste.answered(before)
        if self._row and number > self._recover:
            self._row, self._since = 0, now
            self.due = min(self.due, now + self._gap(now))

    def refused(self, number: int, last: int, now: float, *, asks: bool = False, before: int = 0) -> None:
        """The server turned the request with this number away.

        Args:
            number: of the request.
            last: number of the last request that has begun.
            now: the time.
            asks: it asked for patience as well (Retry-After): then all have to wait for each refusal.
            before: how many tries of the same had failed.
        """
        self._refusals.add(now)
        if self._taste.refused(before, now) and not asks:
            self._base, self.due = math.inf, -math.inf
            return
        if number <= self._recover:
            return
        if not self._row:
            self._learn(now, 0.0 if asks else TOLERATED)
        self._row += 1
        self._recover = last
        self.due = now + self._gap(now)

    def _learn(self, now: float, tolerated: float) -> None:
        """Set a limit, or doubt the one that is set, after an answer that was followed by a refusal."""
        limit, answered, refused = min(self.limit(now), FAST), self._answers.rate(now), self._refusals.rate(now)
        share = refused / (refused + answered)
        if now < self._deaf and share < HOPELESS:
            return
        if self._base < math.inf and share < tolerated:
            self._base = max(self._base, min(answered, limit))
            return
        if self._base == math.inf:
            self._judged, self._share, self._strikes = now, 0.0, 0
        elif now - self._judged >= SPAN:
            useless = self._progress(now) < 1 and share >= USELESS * self._share
            strike = STRIKES if self._taste.shows() else 1
            self._judged, self._share, self._strikes = now, share, self._strikes + strike if useless else 0
            if self._strikes >= STRIKES:
                self._forget(now)
                return
        elif answered >= FEW * limit:
            return  # it has not had its second yet
        self._base = max(SLOW, LEAST * self._answers.most, min(answered or limit, limit))
        self._since = now

    def _forget(self, now: float) -> None:
        """Refusals are not for the rate: set no limit for a while."""
        self._base = math.inf
        self._deaf, self._deafness = now + self._deafness, 2 * self._deafness

    def _progress(self, now: float) -> float:
        """How far the limit has come back to what the server answered: from 0 to 1, and beyond."""
        return (now - self._since) / max(PLATEAU, REQUESTS / self._base)

    def _gap(self, now: float) -> float:
        """Seconds from one request to the next."""
        gap = 1 / self.limit(now)
        if not self._row:
            return gap
        return max(gap, min(gap * 2.0 ** min(self._row, 16), LONGEST))


class _Taste:
    """Tells a server that refuses what it is asked for the first time, or the first few times, however seldom.

    A limit of requests a second makes no such difference: as soon as it is kept, most is answered, new or not.
    """

    __slots__ = ("_fresh", "_known", "_new", "_since")

    def __init__(self) -> None:
        self._new = [0] * ROUNDS
        """Refusals of what had not failed before, or not twice, and so on."""
        self._known = [0] * ROUNDS
        """Answers to what had."""
        self._since = [math.inf] * ROUNDS
        """When the first of the refusals was, nothing having told the contrary since."""
        self._fresh: Counter[tuple[bool, bool]] = Counter()
        """What came of requests since it was last asked for: whether new, whether refused."""

    def answered(self, before: int) -> None:
        """Something was answered that had failed so often."""
        self._fresh[not before, False] += 1
        for index in range(ROUNDS):
            if before > index:
                self._known[index] += 1
            else:
                self._contradict(index)

    def refused(self, before: int, now: float) -> bool:
        """Something was refused that had failed so often; gives whether that goes by taste, and nothing else."""
        self._fresh[not before, True] += 1
        for index in range(ROUNDS):
            if before > index:
                self._contradict(index)
            else:
                self._new[index] += 1
                self._since[index] = min(self._since[index], now)
        return any(
            new >= PICKY and known >= PICKY and now - since >= SPAN
            for new, known, since in zip(self._new, self._known, self._since, strict=True)
        )

    def shows(self) -> bool:
        """Whether it goes by taste mostly, since that was last asked: much is refused, and nothing twice."""
        seen, self._fresh = self._fresh, Counter()
        refused, answered, again = seen[True, True], seen[True, False], seen[False, False]
        much = refused >= PICKY and refused >= MUCH * (refused + answered)
        return much and again >= PICKY and not seen[False, True]

    def _contradict(self, index: int) -> None:
        self._new[index], self._known[index], self._since[index] = 0, 0, math.inf


class _Counter:
    """How often something happens in a second."""

    __slots__ = ("_count", "_former", "_most", "_started")

    def __init__(self) -> None:
        self._started: float | None = None
        """When this second began."""
        self._count = 0
        self._former: int | None = None
        """The count of the second before it, if there was one."""
        self._most = 0

    @property
    def most(self) -> int:
        """The most in a second."""
        return max(self._most, self._count)

    def add(self, now: float) -> None:
        """It happens."""
        self.roll(now)
        self._count += 1

    def rate(self, now: float) -> float:
        """How often, over the last second, or since the counting began."""
        elapsed = self.roll(now)
        if self._former is None:
            return self._count / max(elapsed, FIRST_SPAN)
        return self._former * (1 - elapsed / SPAN) + self._count / SPAN

    def roll(self, now: float) -> float:
        """Begin to count, and anew when a second is over; gives how long this one lasts."""
        if self._started is None:
            self._started = now
        spans = int((now - self._started) / SPAN)
        if spans:
            self._most = self.most
            self._former, self._count = self._count if spans == 1 else 0, 0
            self._started += spans * SPAN
        return now - self._started
