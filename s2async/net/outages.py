"""Reports to the user that a server does not respond, and how long the program keeps trying."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from s2async.net.client import Transport
from s2async.text import duration

EVERY: Final = 0.5
"""Seconds between two checks of the servers."""
SILENT: Final = 10.0
"""Seconds without the beginning of a response after which a server is reported. A busy catalogue may take several
seconds for a page."""
QUIET: Final = 60.0
"""Seconds that must pass since the last trouble of a server before it is reported again."""


class Outages:
    """Reports each server that does not respond once, however many tasks wait for it.

    Args:
        patience: seconds for which requests are sent to a server that only fails.
        tell: called with a one-line message for the user.
    """

    def __init__(self, patience: float, tell: Callable[[str], None]) -> None:
        self._patience = patience
        self._tell = tell
        self._noted: dict[str, float] = {}
        """When each server was last in trouble, keyed by origin."""

    def note(self, origin: str, trouble: str = "gives no good answer") -> None:
        """Note that a server is in trouble; report it unless it was in trouble in the last `QUIET` seconds.

        Args:
            origin: origin of the server.
            trouble: what the server does, for the message.
        """
        now = time.monotonic()
        before = self._noted.get(origin)
        self._noted[origin] = now
        if before is None or now - before >= QUIET:
            self._tell(f"{origin} {trouble}: it is asked again for up to {duration(self._patience)}")

    @contextlib.asynccontextmanager
    async def watching(self, transport: Transport) -> AsyncIterator[None]:
        """Watch the servers of a client while this context is open."""
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
