"""How fast a body comes, and when it comes so slowly that it is not waited for. Pure.

Not each byte that comes is a sign of life: at ten a second a header of 8 kB takes a quarter of an hour. What must
never be taken for that is a slow line: 50 kB a second, shared by 64 requests, are 780 for each, in packets of 1.4
kB, with pauses of seconds where packets are lost. So only bytes that come are judged, and silence is left to the
time-outs; and one packet in five seconds is enough.
"""

from __future__ import annotations

from typing import Final

SPAN: Final = 5.0
"""Seconds over which the bytes of a body are counted."""
LEAST: Final = 100.0
"""Bytes a second that a body brings at least while it comes."""


class Flow:
    """How fast one body comes.

    Args:
        span: seconds over which it is judged.
    """

    __slots__ = ("_begun", "_bytes", "span")

    def __init__(self, span: float = SPAN) -> None:
        self.span = span
        self._begun: float | None = None
        self._bytes = 0

    def is_slow(self, now: float, size: int) -> bool:
        """Whether the body comes too slowly, now that so many more bytes of it are there.

        The first bytes begin a span. The first that come after its end close it: they count, and begin the next.

        Args:
            now: seconds on a clock that never goes back.
            size: bytes that came.
        """
        if self._begun is None:
            self._begun = now
        self._bytes += size
        if now - self._begun < self.span:
            return False
        slow = self._bytes < LEAST * self.span
        self._begun, self._bytes = now, 0
        return slow
