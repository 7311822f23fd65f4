"""Every request that came, with the body bytes of its answer: what a client's own numbers must equal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

KEPT = 1_000_000
"""Requests that are remembered; older ones are dropped."""


@dataclass(kw_only=True, slots=True)
class LogEntry:
    """One request. On the server's side it grows while the answer is written."""

    n: int
    """Counts the requests from 1, over resets too."""
    time: float
    """When the request came: seconds since 1970."""
    method: str
    path: str
    """Unquoted, without the query."""
    range: str
    """The Range header, or the empty string."""
    status: int | None = None
    """None while nothing has been answered, and for ever when the client left before that."""
    bytes: int = 0
    """Body bytes handed to the connection; on a connection that broke, the client may have got fewer."""
    done: bool = False
    """True when nothing more will be written."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of If-Match and User-Agent that were sent."""

    @property
    def kind(self) -> str:
        """``search`` for all of the API, ``cogs`` for files, ``other`` for strays."""
        if self.path.startswith("/cogs/"):
            return "cogs"
        return "search" if self.path == "/v1" or self.path.startswith("/v1/") else "other"


@dataclass(kw_only=True, slots=True)
class Count:
    """Requests and body bytes of one kind, and how many requests were open at once."""

    requests: int = 0
    bytes: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


class Journal:
    """The log and the sums over it, which the log's bound does not touch."""

    def __init__(self, kept: int = KEPT) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=kept)
        self._counts = {kind: Count() for kind in ("search", "cogs", "other", "all")}
        self._last = 0
        self._reset_at = 0

    def begin(self, method: str, path: str, headers: Mapping[str, str]) -> LogEntry:
        """Note a request that just came."""
        self._last += 1
        entry = LogEntry(
            n=self._last,
            time=time.time(),
            method=method,
            path=path,
            range=headers.get("Range", ""),
            headers={name: headers[name] for name in ("If-Match", "User-Agent", "X-Api-Key") if name in headers},
        )
        self._entries.append(entry)
        for count in self._of(entry):
            count.requests += 1
            count.in_flight += 1
            count.max_in_flight = max(count.max_in_flight, count.in_flight)
        return entry

    def wrote(self, entry: LogEntry, size: int) -> None:
        """Note body bytes, before they are handed over: a client that has them finds them in the log."""
        entry.bytes += size
        if entry.n > self._reset_at:
            for count in self._of(entry):
                count.bytes += size

    def end(self, entry: LogEntry) -> None:
        """Note that a request is over: as soon as the rest of its answer is about to be handed over.

        So whoever waits for an answer before asking again never has more requests in flight here than there.
        """
        if entry.done:
            return
        entry.done = True
        for count in self._of(entry):
            count.in_flight -= 1

    def since(self, n: int) -> Iterator[LogEntry]:
        """The remembered requests after number ``n``, in the order in which they came."""
        skipped = max(n + 1 - self._entries[0].n, 0) if self._entries else 0
        return islice(self._entries, skipped, None)

    def totals(self) -> dict[str, Any]:
        """Sums by kind and over all."""
        return {kind: asdict(count) for kind, count in self._counts.items()}

    def reset(self) -> None:
        """Forget the past. Requests that are still open stay in flight, but their bytes count no more."""
        self._entries.clear()
        self._reset_at = self._last
        for count in self._counts.values():
            count.requests = count.bytes = 0
            count.max_in_flight = count.in_flight

    def _of(self, entry: LogEntry) -> tuple[Count, Count]:
        return self._counts[entry.kind], self._counts["all"]
