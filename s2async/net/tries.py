"""The tries of one request: which failure is tried again, after which wait, and at whose expense."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from s2async.errors import AccessDenied, BadAnswer, Diverted, HostParked, RemoteError, TransientError
from s2async.net.retries import TIMED_OUT, RetryBudget

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """One try of a request."""

    fresh: bool = False
    """It wants an answer past whatever gave an odd one."""
    before: int = 0
    """Tries before it that failed in a way that may pass."""


class Purse:
    """A server's budget of retries. Whoever finds it empty waits: the work slows down, and does not fail.

    Those come first that have paid most: their next try may be the one that is answered, which gives all of it
    back. Were others to pay for their first retries instead, nobody might ever get so far.
    """

    def __init__(self) -> None:
        self._budget = RetryBudget(_now())
        self._waiting: list[tuple[float, int, float, asyncio.Future[None]]] = []
        """A heap: less what was paid before, number of the arrival, cost, and whoever waits."""
        self._arrivals = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def earn(self) -> None:
        """A request is made for the first time."""
        self._budget.earn()
        self._serve()

    async def pay(self, cost: float, paid: float) -> None:
        """Pay for a retry, and wait until that can be done.

        Args:
            cost: of the retry.
            paid: for retries of the same request before.
        """
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-paid, next(self._arrivals), cost, place))
        self._serve()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self.give_back(cost)
            raise

    def give_back(self, cost: float) -> None:
        """Retries have helped, or were not made after all."""
        self._budget.give_back(cost)
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            _, _, cost, place = self._waiting[0]
            if not place.done():  # else it was cancelled
                if not self._budget.spend(_now(), cost):
                    self._look_again(self._budget.wait(cost))
                    return
                place.set_result(None)
            heapq.heappop(self._waiting)

    def _look_again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._serve)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tries:
    """How a request is tried.

    Args:
        purse: of its server.
        attempts: tries at most.
        patience: seconds of Retry-After that are waited for.
        wait: seconds to wait after try number n, counted from 1.
    """

    purse: Purse
    attempts: int
    patience: float
    wait: Callable[[int], float]

    async def made(
        self,
        once: Callable[[Try], Awaitable[T]],
        *,
        odd: Callable[[RemoteError], int],
        final: frozenset[int] = frozenset(),
    ) -> T:
        """Make a request until it is answered.

        A failure that may pass is tried again, and paid for until a try is answered. An odd answer is asked for
        once more for nothing: that does not depend on how ill the server is. More than once is paid for, too.
        To be refused while others are answered is no try at all, up to as many as there are tries.

        Args:
            once: makes a try.
            odd: how many odd answers, such as the one given, are put up with.
            final: statuses of transient failures that are not tried again.

        Raises:
            RemoteError: of the last try.
        """
        self.purse.earn()
        try:
            return await once(Try())
        except (TransientError, AccessDenied, BadAnswer, Diverted) as error:
            failed: RemoteError = error
        tried, strange, failures, cost, paid = 0, 0, 0, 0.0, 0.0

        def again(state: tenacity.RetryCallState) -> bool:
            nonlocal tried, strange, failures, cost
            error = state.outcome.exception() if state.outcome else None
            crowded = isinstance(error, TransientError) and error.crowded
            tried += not crowded or state.attempt_number > self.attempts
            if isinstance(error, HostParked) or tried >= self.attempts:
                return False
            if isinstance(error, TransientError):
                cost = TIMED_OUT if isinstance(error.__cause__, TimeoutError) else 1.0
                failures += 1
                return error.status not in final and (error.retry_after or 0) <= self.patience
            if isinstance(error, AccessDenied | BadAnswer | Diverted):
                strange += 1
                cost = 0.0 if strange == 1 else 1.0
                return strange <= odd(error)
            return False

        async def rest(seconds: float) -> None:
            nonlocal paid
            if cost:
                await self.purse.pay(cost, paid)
                paid += cost
            await asyncio.sleep(seconds)

        # tenacity takes 15 us, which only those pay that failed; it is told of that as of its first attempt
        try:
            async for attempt in tenacity.AsyncRetrying(
                retry=again, wait=lambda _: self.wait(max(1, tried)), sleep=rest, reraise=True
            ):
                with attempt:
                    if attempt.retry_state.attempt_number == 1:
                        raise failed
                    found = await once(Try(fresh=strange > 0, before=failures))
                    self.purse.give_back(paid)
                    return found
        except HostParked:
            self.purse.give_back(cost)  # the last was not made
            raise
        except TransientError:
            raise
        except RemoteError:  # an answer, too
            self.purse.give_back(paid)
            raise
        raise AssertionError("tenacity returns or raises")


def _now() -> float:
    return asyncio.get_running_loop().time()
