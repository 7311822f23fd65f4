"""How many requests one server is asked at once: TCP's congestion control, counted in requests. Pure.

Additive increase, multiplicative decrease (RFC 5681), the decrease once per round trip (RFC 6582), and no increase
by answers that came while fewer were asked than might be (RFC 7661). A window is a value; an event makes another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

INITIAL: Final = 8
"""Requests under way at once when nothing is known of a server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CongestionWindow:
    """How many requests may be under way to one server, and what is remembered to change it.

    Requests are numbered from 1 in the order in which they begin.
    """

    size: int
    """Requests that may be under way, at least 1."""
    most: int
    """What ``size`` never exceeds, at least 1."""
    slow_start: bool = True
    """No decrease so far: every answer widens the window by one, which doubles it per round trip."""
    credit: int = 0
    """Answers since the last change of ``size``; after slow start a window of them widens it by one."""
    recover: int = 0
    """Number of the last request that had begun when the window was last halved.

    What comes of that request and of those before says nothing about the window since.
    """

    @classmethod
    def initial(cls, most: int) -> Self:
        """The window towards a server of which nothing is known."""
        return cls(size=min(INITIAL, most), most=most)

    def answered(self, number: int, in_flight: int) -> CongestionWindow:
        """The window after a good answer.

        Args:
            number: of the request that was answered.
            in_flight: requests under way just before, that one included.
        """
        unused = in_flight < self.size
        if unused or number <= self.recover or self.size == self.most:
            return self
        credit = self.credit + 1
        if self.slow_start or credit >= self.size:
            return replace(self, size=self.size + 1, credit=0)
        return replace(self, credit=credit)

    def overloaded(self, number: int, last: int) -> CongestionWindow:
        """The window after the server let us know that it was too much.

        Args:
            number: of the request that told it.
            last: number of the last request that has begun.
        """
        if number <= self.recover:
            return self
        return replace(self, size=max(1, self.size // 2), slow_start=False, credit=0, recover=last)
