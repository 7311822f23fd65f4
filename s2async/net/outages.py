"""Tells a person that a server does not answer, and for how long the program goes on asking it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from s2async.net.client import Transport
from s2async.text import duration

EVERY: Final = 0.5
"""Seconds between two looks at the servers."""
SILENT: Final = 10.0
"""Seconds without the beginning of an answer that are told. A busy catalogue takes some of them for a page."""
QUIET: Final = 60.0
"""Seconds since the last trouble of a server before which another one is not told."""


class Outages:
    """The servers that give no answers, each of which is told once, however many tasks wait for it.

    Args:
        patience: seconds for which a server that only fails is asked.
        tell: called with a line that a person should read.
    """

    def __init__(self, patience: float, tell: Callable[[str], None]) -> None:
        self._patience = patience
        self._tell = tell
        self._noted: dict[str, float] = {}
        """When each server was last in trouble, by origin."""

    def note(self, origin: str, trouble: str = "gives no good answer") -> None:
        """Note that a server is in trouble, and tell it unless it was in trouble a moment ago.

        Args:
            origin: of the server.
            trouble: what it does, in words.
        """
        now = time.monotonic()
        before = self._noted.get(origin)
        self._noted[origin] = now
        if before is None or now - before >= QUIET:
            self._tell(f"{origin} {trouble}: it is asked again for up to {duration(self._patience)}")

    @contextlib.asynccontextmanager
    async def watching(self, transport: Transport) -> AsyncIterator[None]:
        """Watch the servers of a client as long as this context is open."""
        task = asyncio.create_task(self._watch(transport))
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self, transport: Transport) -> None:
        while True:
            await asyncio.sleep(EVERY)
            for origin, trouble in transport.troubles(SILENT).items():
                self.note(origin, trouble)
