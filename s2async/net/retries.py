"""Decides which failed requests are tried again, when, and how many retries are sent to a server.

Two rules limit retries. Each request has a maximum number of tries (:class:`Retries`), with a growing wait between
them. All requests to one server share a budget (:class:`RetryBudget`), so that retries do not make an outage
worse: a request that cannot pay for its retry waits in a queue (:class:`RetryQueue`). This slows the work down but
does not make it fail.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import tenacity

from s2async.errors import AccessDenied, BadAnswer, Diverted, HostParked, RemoteError, TransientError
from s2async.log import Fields, log

T = TypeVar("T")

_log: Final = logging.getLogger("s2async.net")

# ---- the budget of one server -----------------------------------------------------------------------------------

SHARE: Final = 0.1
"""Number of retries that one request earns."""
FLOOR: Final = 2.0
"""Number of retries per second that are earned by waiting: few enough for any server, and enough that no run waits
for hours."""
MOST: Final = 100.0
"""Largest balance in retries, and the balance at the start of a run (botocore: 500 tokens at 5 a retry)."""
TIMED_OUT: Final = 2.0
"""Cost of a retry after a time-out, which occupied the server longer than an error; all other retries cost 1."""


class RetryBudget:
    """A token bucket for retries, like botocore's retry quota. Pure.

    The cost of a retry is returned if its request is finally answered. Retries that help are therefore free. The
    number of retries that do not help is at most ``SHARE`` times the number of requests, plus ``FLOOR`` per
    second, plus ``MOST``: while a server is in trouble, they add a tenth to its load, not a multiple.
    """

    __slots__ = ("_floor", "_most", "_since", "left")

    def __init__(self, now: float) -> None:
        self.left = self._most = MOST
        self._floor = FLOOR
        self._since = now

    def share(self, parts: int) -> None:
        """Reduce this budget to one of ``parts`` budgets that together equal a whole one."""
        self._most, self._floor = max(TIMED_OUT, MOST / parts), FLOOR / parts  # enough for any single retry
        self.left = min(self._most, self.left)

    def earn(self) -> None:
        """Add the amount that the first try of a request earns."""
        self.left = min(self._most, self.left + SHARE)

    def give_back(self, cost: float) -> None:
        """Return the cost of retries to the balance after their request was answered."""
        self.left = min(self._most, self.left + cost)

    def spend(self, now: float, cost: float = 1.0) -> bool:
        """Pay for a retry if the balance allows it.

        Args:
            now: seconds of a monotonic clock.
            cost: 1, or :data:`TIMED_OUT`.

        Returns:
            Whether the retry may be made.
        """
        self.left = min(self._most, self.left + (now - self._since) * self._floor)
        self._since = now
        if self.left < cost:
            return False
        self.left -= cost
        return True

    def wait(self, cost: float = 1.0) -> float:
        """Return the seconds until the balance covers ``cost``, if it grows only with time."""
        return max(0.0, cost - self.left) / self._floor


class RetryQueue:
    """The retry budget of one server, and the requests that wait until they can pay for a retry.

    The request that has paid most goes first. If its next try is answered, everything it paid is returned. If
    other requests paid for their first retries instead, the budget could be spent before any request succeeds.
    """

    def __init__(self) -> None:
        self._budget = RetryBudget(_now())
        self._waiting: list[tuple[float, int, float, asyncio.Future[None]]] = []
        """A heap of (minus the amount paid before, order of arrival, cost, future)."""
        self._arrivals = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self.retries = 0
        """Number of tries beyond the first of each request, including retries that cost nothing."""

    def share(self, parts: int) -> None:
        """Share the budget with other programs; see `RetryBudget.share`."""
        self._budget.share(parts)
        self._serve()

    def earn(self) -> None:
        """Note the first try of a request."""
        self._budget.earn()
        self._serve()

    async def pay(self, cost: float, paid: float) -> None:
        """Pay for a retry; wait until the budget allows it.

        Args:
            cost: cost of the retry.
            paid: amount paid for earlier retries of the same request.
        """
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-paid, next(self._arrivals), cost, place))
        self._serve()
        try:
            await place
        except asyncio.CancelledError:
            # The task can be cancelled after the payment and before it runs again.
            if not place.cancelled():
                self.give_back(cost)
            raise

    def give_back(self, cost: float) -> None:
        """Return the cost of retries that helped or were not made."""
        self._budget.give_back(cost)
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            _, _, cost, place = self._waiting[0]
            if not place.done():  # otherwise it was cancelled
                if not self._budget.spend(_now(), cost):
                    self._serve_after(self._budget.wait(cost))
                    return
                place.set_result(None)
            heapq.heappop(self._waiting)

    def _serve_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._serve)


# ---- the tries of one request -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """One try of a request."""

    number: int = 1
    """1 for the first try."""
    fresh: bool = False
    """Whether to bypass caches and pooled connections, because an earlier response was odd."""
    before: int = 0
    """Number of earlier tries that failed in a way that may be temporary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """The rules by which requests to one server are tried again.

    Args:
        queue: the shared budget of the server.
        attempts: maximum number of tries of one request.
        patience: longest Retry-After in seconds after which a request is tried again.
        wait: returns the seconds to wait after try number n, counted from 1.
    """

    queue: RetryQueue
    attempts: int
    patience: float
    wait: Callable[[int], float]

    async def run(
        self,
        once: Callable[[Try], Awaitable[T]],
        *,
        odd: Callable[[RemoteError], int],
        final: frozenset[int] = frozenset(),
        about: Fields = {},  # noqa: B006 - it is never changed
    ) -> T:
        """Make a request, trying again until it is answered or its tries are used up.

        Three kinds of failures are tried again:

        - The retry of a failure that may be temporary costs budget, which is returned if a later try is answered.
        - After an odd response (`AccessDenied`, `BadAnswer`, `Diverted`), one retry is free, because the number of
          such responses does not depend on the state of the server. Further retries cost budget.
        - A refusal while other requests were answered (``crowded``) does not count as a try, up to ``attempts``
          times.

        Args:
            once: makes one try.
            odd: returns how many odd responses like the given one are tried again.
            final: statuses of transient failures that are not tried again.
            about: fields for the log.

        Raises:
            RemoteError: the error of the last try.
        """
        request = _Request(self, odd, final, about)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(request.is_retryable),
            wait=request.wait,
            before_sleep=request.log_retry,
            sleep=request.sleep,
        )
        self.queue.earn()
        try:
            answer: T = await retrying(request.attempt, once)
        except HostParked:
            self.queue.give_back(request.cost)  # the last retry was paid for but not sent
            raise
        except TransientError as error:
            if error.status not in final:
                request.log_failure(error)
            raise
        except RemoteError as error:
            if request.made > 1:
                request.log_failure(error)
            self.queue.give_back(request.paid)  # the server responded, even if with an error
            raise
        self.queue.give_back(request.paid)
        return answer


class _Request:
    """The tries of one request so far."""

    __slots__ = ("_about", "_final", "_odd", "_rules", "cost", "failures", "made", "odd_answers", "paid", "tried")

    def __init__(
        self, rules: Retries, odd: Callable[[RemoteError], int], final: frozenset[int], about: Fields
    ) -> None:
        self._rules, self._odd, self._final, self._about = rules, odd, final, about
        self.made = 0
        """Number of tries made."""
        self.tried = 0
        """Number of tries that count towards the maximum."""
        self.failures = 0
        """Number of tries that failed in a way that may be temporary."""
        self.odd_answers = 0
        self.cost = 0.0
        """Cost of the next retry."""
        self.paid = 0.0
        """Amount paid for all retries so far."""

    async def attempt(self, once: Callable[[Try], Awaitable[T]]) -> T:
        self.made += 1
        return await once(Try(number=self.made, fresh=self.odd_answers > 0, before=self.failures))

    def is_retryable(self, error: BaseException) -> bool:
        crowded = isinstance(error, TransientError) and error.crowded
        self.tried += not crowded or self.made > self._rules.attempts
        if isinstance(error, HostParked) or self.tried >= self._rules.attempts:
            return False
        if isinstance(error, TransientError):
            self.cost = TIMED_OUT if isinstance(error.__cause__, TimeoutError) else 1.0
            self.failures += 1
            return error.status not in self._final and (error.retry_after or 0) <= self._rules.patience
        if isinstance(error, AccessDenied | BadAnswer | Diverted):
            self.odd_answers += 1
            self.cost = 0.0 if self.odd_answers == 1 else 1.0
            return self.odd_answers <= self._odd(error)
        return False

    def wait(self, _: tenacity.RetryCallState) -> float:
        return self._rules.wait(max(1, self.tried))

    def log_retry(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._rules.queue.retries += 1
        self._log_event(logging.INFO, "retry", error, state.upcoming_sleep)

    def log_failure(self, error: RemoteError) -> None:
        self._log_event(logging.WARNING, "request_failed", error)

    def _log_event(self, level: int, event: str, error: BaseException | None, wait: float | None = None) -> None:
        status = getattr(error, "status", None)
        log(
            _log,
            level,
            event,
            {**self._about, "try": self.made, "status": status, "wait": wait, "reason": str(error)},
        )

    async def sleep(self, seconds: float) -> None:
        if self.cost:
            await self._rules.queue.pay(self.cost, self.paid)
            self.paid += self.cost
        await asyncio.sleep(seconds)


def _now() -> float:
    return asyncio.get_running_loop().time()


# ---- the wait before a retry ------------------------------------------------------------------------------------


def _longest_wait(attempt: int) -> float:
    """Return the longest wait in seconds after try number ``attempt``: 0.5, 1, 2, 4 ... 20."""
    return min(20.0, 0.5 * 2.0 ** (attempt - 1))


def full_jitter(attempt: int) -> float:
    """Return the wait in seconds before a retry for a file: random, up to the longest wait.

    Many requests for files fail together, so their retries are spread as widely as possible ("full jitter", AWS
    Architecture Blog, 2015).
    """
    return random.uniform(0, _longest_wait(attempt))  # noqa: S311 - not for secrets


def equal_jitter(attempt: int) -> float:
    """Return the wait in seconds before a retry for an API: random, from half the longest wait up to the longest.

    A search whose tries are used up leaves the run incomplete. With this "equal jitter" (ibid.), the waits between
    five tries add up to at least 3.75 s; with full jitter, all tries may fall into an interruption of one second.
    """
    longest = _longest_wait(attempt)
    return random.uniform(longest / 2, longest)  # noqa: S311 - not for secrets
