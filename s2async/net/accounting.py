"""Receives the bodies of responses within limits of size and speed, and counts requests and bytes."""

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
"""Minimum bytes per second at which a body must arrive.

A body that arrives at ten bytes per second never hits the time-out between bytes, but a header of 8 kB takes a
quarter of an hour. A slow line must not be mistaken for such a server: 50 kB/s shared by 64 requests gives each
780 bytes per second, in packets of 1.4 kB, with gaps of seconds when packets are lost. With this minimum, one
packet in five seconds is enough."""


class Meter:
    """Counts requests and body bytes by stage, asset and use.

    A request is counted when its response begins, a byte when it is received (before decompression). The counts
    match the server's log, except when connections break: then they are lower.

    Args:
        whole: a meter whose totals, but not entries, immediately include everything counted here (see
            `hand_over`).
    """

    def __init__(self, whole: Meter | None = None) -> None:
        self._whole = whole
        self._counts: dict[tuple[str, str, Use], list[int]] = defaultdict(lambda: [0, 0])
        self.requests = 0
        """Requests since the start."""
        self.bytes = 0
        """Body bytes received since the start."""

    def add(self, stage: str, asset: str, use: Use, *, requests: int, size: int) -> None:
        """Count ``requests`` requests that together received ``size`` body bytes."""
        entry = self._counts[stage, asset, use]
        entry[0] += requests
        entry[1] += size
        self.requests += requests
        self.bytes += size
        if self._whole is not None:
            self._whole.requests += requests
            self._whole.bytes += size

    def hand_over(self) -> None:
        """Move what was counted since the last `drain` to the entries of the whole meter, if there is one."""
        if self._whole is not None:
            self._whole.take_back(self.drain())

    def take_back(self, entries: Iterable[Traffic]) -> None:
        """Keep entries that could not be recorded for the next `drain`; the totals already include them."""
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
    """Judges how fast one body arrives. Pure: the caller passes the time.

    The speed is judged only when bytes arrive; silence is left to the time-outs.

    Args:
        span: seconds over which the speed is measured.
    """

    __slots__ = ("_begun", "_bytes", "span")

    def __init__(self, span: float = SPAN) -> None:
        self.span = span
        self._begun: float | None = None
        self._bytes = 0

    def is_slow(self, now: float, size: int) -> bool:
        """Return whether the body arrives too slowly, now that ``size`` more bytes have arrived.

        The first bytes begin a span. The first bytes after its end still count in it; they end it and begin
        another.

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
    """Receives the response bodies of one request and counts them piece by piece, so bytes before a failure count.

    Args:
        flow: judges how fast bodies arrive; None accepts any speed.
    """

    def __init__(self, flow: Flow | None = None) -> None:
        self._flow = flow
        self.requests = 0
        """Responses that began: more than one if redirects were followed."""
        self.bytes = 0
        """Body bytes received."""

    async def receive(self, body: AsyncIterable[bytes], limit: int, href: str) -> bytes:
        """Receive a body of unknown size.

        Raises:
            BadAnswer: the body has more than ``limit`` bytes; the rest is not read.
            TooSlow: the body arrives too slowly.
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
        """Receive a body of known size, or the part of it that arrives; only one copy is in memory.

        Args:
            body: the pieces, in the order in which they arrive.
            size: bytes that the body should have.
            href: URL, for messages.
            exact: whether the headers announce the same size, so that no more can arrive.

        Raises:
            BadAnswer: the body has more than ``size`` bytes; the rest is not read.
            TooSlow: the body arrives too slowly.
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
                only = piece  # continue, to see whether more bytes arrive
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
