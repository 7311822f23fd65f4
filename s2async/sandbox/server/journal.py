"""Logs every request with the body bytes of its response, for comparison with a client's own numbers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

KEPT = 1_000_000
"""Maximum number of requests in the log; older ones are dropped."""


@dataclass(kw_only=True, slots=True)
class LogEntry:
    """One request. On the server, it changes while the response is written."""

    n: int
    """Number of the request, counted from 1; a reset does not restart it."""
    time: float
    """When the request arrived, in seconds since 1970."""
    method: str
    path: str
    """Path, unquoted, without the query."""
    range: str
    """The Range header, or the empty string."""
    status: int | None = None
    """None until a response has begun, and also if the client left before that."""
    bytes: int = 0
    """Body bytes passed to the connection; if it broke, the client may have received fewer."""
    done: bool = False
    """True if nothing more will be written."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """If-Match, User-Agent and X-Api-Key, if they were sent."""

    @property
    def kind(self) -> str:
        """``search`` for the API, ``cogs`` for files, ``other`` for all other requests."""
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
    """The log and the totals, which also include dropped entries."""

    def __init__(self, kept: int = KEPT) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=kept)
        self._counts = {kind: Count() for kind in ("search", "cogs", "other", "all")}
        self._last = 0
        self._reset_at = 0

    def begin(self, method: str, path: str, headers: Mapping[str, str]) -> LogEntry:
        """Log a request that has just arrived."""
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
        """Log body bytes before they are sent, so that the log contains them when a client has received them."""
        entry.bytes += size
        if entry.n > self._reset_at:
            for count in self._of(entry):
                count.bytes += size

    def end(self, entry: LogEntry) -> None:
        """Log the end of a request, just before the rest of its response is sent.

        A client that waits for a response before its next request therefore never has more requests in flight here
        than it counts itself.
        """
        if entry.done:
            return
        entry.done = True
        for count in self._of(entry):
            count.in_flight -= 1

    def since(self, n: int) -> Iterator[LogEntry]:
        """Return the logged requests after number ``n``, in the order of their arrival."""
        skipped = max(n + 1 - self._entries[0].n, 0) if self._entries else 0
        return islice(self._entries, skipped, None)

    def totals(self) -> dict[str, Any]:
        """Return the totals by kind and over all kinds."""
        return {kind: asdict(count) for kind, count in self._counts.items()}

    def reset(self) -> None:
        """Clear the log and the totals.

        Requests that are still open stay in flight, but their bytes no longer count.
        """
        self._entries.clear()
        self._reset_at = self._last
        for count in self._counts.values():
            count.requests = count.bytes = 0
            count.max_in_flight = count.in_flight

    def _of(self, entry: LogEntry) -> tuple[Count, Count]:
        return self._counts[entry.kind], self._counts["all"]
