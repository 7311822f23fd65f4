"""The account of what comes over the network: bodies received within their limits, requests and bytes counted."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterable, Iterable
from typing import Final

from s2async.errors import BadAnswer, TooSlow
from s2async.models import Traffic, Use
from s2async.text import shown

SPAN: Final = 5.0
"""Seconds over which the bytes of a body are counted."""
LEAST: Final = 100.0
"""Minimum bytes per second of a body that arrives.

A body at ten bytes per second never runs into a time-out between bytes, and a header of 8 kB takes a quarter of an
hour. A slow line must not be mistaken for such a server: 50 kB/s shared by 64 requests are 780 bytes per second
each, in packets of 1.4 kB, with gaps of seconds where packets are lost. One packet in five seconds is enough
here."""


class Meter:
    """Counts requests and body bytes by stage, asset and use.

    A request counts when its answer begins, a byte when it arrives, both as they come over the wire. So the counts
    equal the log of the server, except where connections break: then they are lower.

    Args:
        whole: its totals also count what this meter counts, as it comes; its entries do not.
    """

    def __init__(self, whole: Meter | None = None) -> None:
        self._whole = whole
        self._counts: dict[tuple[str, str, Use], list[int]] = defaultdict(lambda: [0, 0])
        self.requests = 0
        """Requests since the start."""
        self.bytes = 0
        """Body bytes received since the start."""

    def add(self, stage: str, asset: str, use: Use, *, requests: int, size: int) -> None:
        """Count ``requests`` requests that received ``size`` body bytes together."""
        entry = self._counts[stage, asset, use]
        entry[0] += requests
        entry[1] += size
        self.requests += requests
        self.bytes += size
        if self._whole is not None:
            self._whole.requests += requests
            self._whole.bytes += size

    def hand_over(self) -> None:
        """Leave what was counted since the last `drain` to the whole meter."""
        if self._whole is not None:
            self._whole.take_back(self.drain())

    def take_back(self, entries: Iterable[Traffic]) -> None:
        """Return entries that could not be recorded to the next `drain`; the totals have counted them."""
        for entry in entries:
            counts = self._counts[entry.stage, entry.asset, entry.use]
            counts[0] += entry.requests
            counts[1] += entry.bytes

    def waste(self, stage: str, asset: str, size: int) -> None:
        """Move ``size`` bytes from useful to wasted: they were not needed after all.

        If the counts were drained in between, the useful bytes of the next drain may be negative. The sum over all
        drains is exact.
        """
        self._counts[stage, asset, Use.USEFUL][1] -= size
        self._counts[stage, asset, Use.WASTED][1] += size

    def drain(self) -> list[Traffic]:
        """Return what was counted since the last call."""
        counts, self._counts = self._counts, defaultdict(lambda: [0, 0])
        return [
            Traffic(stage=stage, asset=asset, use=use, requests=requests, bytes=size)
            for (stage, asset, use), (requests, size) in counts.items()
            if requests or size
        ]


class Flow:
    """Judges how fast one body arrives. Pure: the caller gives the time.

    Only bytes that arrive are judged; silence is left to the time-outs.

    Args:
        span: seconds over which it is judged.
    """

    __slots__ = ("_begun", "_bytes", "span")

    def __init__(self, span: float = SPAN) -> None:
        self.span = span
        self._begun: float | None = None
        self._bytes = 0

    def is_slow(self, now: float, size: int) -> bool:
        """Whether the body arrives too slowly, now that ``size`` more bytes are there.

        The first bytes begin a span. The first bytes after its end are counted in it, close it and begin the next.

        Args:
            now: seconds of a monotonic clock.
            size: bytes that arrived.
        """
        if self._begun is None:
            self._begun = now
        self._bytes += size
        if now - self._begun < self.span:
            return False
        slow = self._bytes < LEAST * self.span
        self._begun, self._bytes = now, 0
        return slow


class Tally:
    """Receives the body of one request and counts it piece by piece, so that bytes before a failure count too.

    Args:
        flow: judges how fast bodies arrive; None accepts any speed.
    """

    def __init__(self, flow: Flow | None = None) -> None:
        self._flow = flow
        self.requests = 0
        """Answers that began: more than one if redirects were followed."""
        self.bytes = 0
        """Body bytes received."""

    async def receive(self, body: AsyncIterable[bytes], limit: int, href: str) -> bytes:
        """Receive a body of unknown size.

        Raises:
            BadAnswer: it has more than ``limit`` bytes; the rest is not read.
            TooSlow: it arrives too slowly.
        """
        pieces, size = [], 0
        async for piece in body:
            pieces.append(piece)
            size += len(piece)
            self._count(len(piece), href)
            if size > limit:
                raise BadAnswer(f"a body of more than {limit:,} bytes: {shown(href)}")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def fill(
        self, body: AsyncIterable[bytes], size: int, href: str, *, exact: bool = False
    ) -> bytes | bytearray:
        """Receive a body of known size, or the part of it that arrives. It is in memory only once.

        Args:
            body: pieces as they arrive.
            size: bytes that the body should have.
            href: URL, for messages.
            exact: whether the headers announce the same size, so that no more can arrive.

        Raises:
            BadAnswer: it has more than ``size`` bytes; the rest is not read.
            TooSlow: it arrives too slowly.
        """
        data, end, only = bytearray(), 0, b""
        async for piece in body:
            self._count(len(piece), href)
            if end + len(piece) > size:
                raise BadAnswer(f"a body of more than {size:,} bytes: {shown(href)}")
            # A body in one piece, the usual case, is returned without a copy.
            if len(piece) == size:
                if exact:
                    return piece
                only = piece  # go on, to see whether more arrives
            else:
                data = data or bytearray(size)
                data[end : end + len(piece)] = piece
            end += len(piece)
        del data[end:]
        return only or data

    def _count(self, size: int, href: str) -> None:
        self.bytes += size
        if self._flow and self._flow.is_slow(time.monotonic(), size):
            raise TooSlow(f"arrives at less than {LEAST:.0f} bytes per second: {shown(href)}")
