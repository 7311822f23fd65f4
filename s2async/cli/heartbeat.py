"""Measures how late the event loop is: while it is blocked, every request and every signal waits."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from s2async.log import log

EVERY: Final = 0.05
"""Seconds between two beats."""
LATE: Final = 0.25
"""Seconds of delay that cause a warning."""
QUIET: Final = 60.0
"""Minimum number of seconds between two warnings."""


async def watch(on_beat: Callable[[float], None]) -> None:
    """Call `on_beat` with the delay of every beat in seconds, until cancelled."""
    while True:
        due = time.monotonic() + EVERY
        await asyncio.sleep(EVERY)
        on_beat(max(0.0, time.monotonic() - due))


def warning(tell: Callable[[str], None]) -> Callable[[float], None]:
    """Return a callback for `watch` that warns if the loop was blocked, at most once in `QUIET` seconds."""
    last = float("-inf")

    def on_beat(late: float) -> None:
        nonlocal last
        now = time.monotonic()
        if late > LATE and now - last >= QUIET:
            last = now
            log(logging.getLogger("s2async.cli"), logging.WARNING, "loop_stood_still", {"seconds": late})
            tell(f"this machine is slow: the event loop was blocked for {late:.1f} s (processor or disk too busy)")

    return on_beat
