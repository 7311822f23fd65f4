"""What came over the network: bodies taken in within their limits, requests and bytes counted."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterable

from s2async.errors import BadAnswer, TooSlow
from s2async.models import Traffic, Use
from s2async.net.flow import LEAST, Flow
from s2async.text import shown


class Meter:
    """Counts requests and body bytes by stage, asset and use.

    A request counts when its answer begins, and a byte when it arrives: so the counts equal a server's log where
    connections hold, and never exceed it where they break.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, Use], list[int]] = defaultdict(lambda: [0, 0])
        self.requests = 0
        """Requests sent since the start."""
        self.bytes = 0
        """Body bytes received since the start."""

    def add(self, stage: str, asset: str, use: Use, *, requests: int, size: int) -> None:
        """Book requests that received ``size`` body bytes together."""
        entry = self._counts[stage, asset, use]
        entry[0] += requests
        entry[1] += size
        self.requests += requests
        self.bytes += size

    def waste(self, stage: str, asset: str, size: int) -> None:
        """Book ``size`` bytes, counted as useful before, as not needed after all.

        When the count was drained in between, the next one takes them back: its useful bytes may be negative, and
        the sum over all is right.
        """
        self._counts[stage, asset, Use.USEFUL][1] -= size
        self._counts[stage, asset, Use.WASTED][1] += size

    def drain(self) -> list[Traffic]:
        """What was counted since the last call."""
        counts, self._counts = self._counts, defaultdict(lambda: [0, 0])
        return [
            Traffic(stage=stage, asset=asset, use=use, requests=requests, bytes=size)
            for (stage, asset, use), (requests, size) in counts.items()
            if requests or size
        ]


class Tally:
    """Counts what comes of one request, piece by piece, so that what came before a fault is counted too.

    Args:
        flow: judges how fast bodies come; by default, any is fast enough.
    """

    def __init__(self, flow: Flow | None = None) -> None:
        self._flow = flow
        self.requests = 0
        """Answers that began: more than one where redirects were followed."""
        self.bytes = 0
        """Body bytes that came."""

    async def receive(self, body: AsyncIterable[bytes], limit: int, href: str) -> bytes:
        """A body of unknown size.

        Raises:
            BadAnswer: it has more than ``limit`` bytes; the rest is not read.
            TooSlow: it comes too slowly.
        """
        pieces, size = [], 0
        async for piece in body:
            pieces.append(piece)
            size += len(piece)
            self._take(len(piece), href)
            if size > limit:
                raise BadAnswer(f"a body of more than {limit:,} bytes: {shown(href)}")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def fill(
        self, body: AsyncIterable[bytes], size: int, href: str, *, exact: bool = False
    ) -> bytes | bytearray:
        """A body of a known size, or what came of it; put together as it comes, so that it is in memory once.

        Args:
            body: as it comes.
            size: bytes that it should have.
            href: for messages.
            exact: its headers tell the same size: more cannot come.

        Raises:
            BadAnswer: it has more than ``size`` bytes; the rest is not read.
            TooSlow: it comes too slowly.
        """
        data, end, only = bytearray(), 0, b""
        async for piece in body:
            self._take(len(piece), href)
            if end + len(piece) > size:
                raise BadAnswer(f"a body of more than {size:,} bytes: {shown(href)}")
            if len(piece) == size:
                if exact:
                    return piece
                only = piece  # and see whether more comes
            else:
                data = data or bytearray(size)
                data[end : end + len(piece)] = piece
            end += len(piece)
        del data[end:]
        return only or data

    def _take(self, size: int, href: str) -> None:
        self.bytes += size
        if self._flow and self._flow.is_slow(time.monotonic(), size):
            raise TooSlow(f"less than {LEAST:.0f} bytes a second come: {shown(href)}")
