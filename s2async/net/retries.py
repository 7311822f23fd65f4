"""How many requests to one server are made again: a share of all of them, so that trouble is not made worse. Pure.

A token bucket, as botocore's retry quota has it: what a retry costs is given back when the request is answered in
the end. So tries that help are free, however many they are; and when a server is in trouble for long, those that
do not help add a tenth to what it is asked, not a multiple of it.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.1
"""Retries that one request earns."""
FLOOR: Final = 2.0
"""Retries a second that are earned by waiting: to no server they are a burden, and nobody waits for hours."""
MOST: Final = 100.0
"""Retries that can be saved up, and that a run begins with (botocore: 500 tokens at 5 a retry)."""
TIMED_OUT: Final = 2.0
"""What a retry costs after a time-out, which took the server longer than an error; all others cost 1."""


class RetryBudget:
    """Retries that may still be made to one server.

    Over any time, those that were in vain are at most ``SHARE`` of the requests, ``FLOOR`` a second, and ``MOST``.
    """

    __slots__ = ("_since", "left")

    def __init__(self, now: float) -> None:
        self.left = MOST
        self._since = now

    def earn(self) -> None:
        """A request is made for the first time."""
        self.left = min(MOST, self.left + SHARE)

    def give_back(self, cost: float) -> None:
        """The retries that cost so much have helped: their request was answered."""
        self.left = min(MOST, self.left + cost)

    def spend(self, now: float, cost: float = 1.0) -> bool:
        """Whether a retry may be made; if so, it is paid for.

        Args:
            now: seconds on a clock that never goes back.
            cost: 1, or :data:`TIMED_OUT`.
        """
        self.left = min(MOST, self.left + (now - self._since) * FLOOR)
        self._since = now
        if self.left < cost:
            return False
        self.left -= cost
        return True

    def wait(self, cost: float = 1.0) -> float:
        """Seconds after which a retry can be paid for that cannot be now, if nobody else earns or gives back."""
        return max(0.0, cost - self.left) / FLOOR
