"""How late the event loop is: what keeps it from turning keeps every request and every signal waiting."""

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
"""Seconds of lateness that are worth a word."""
QUIET: Final = 60.0
"""Seconds between two such words, at least."""


async def watch(on_beat: Callable[[float], None]) -> None:
    """Tell at every beat by how many seconds it came late; until cancelled."""
    while True:
        due = time.monotonic() + EVERY
        await asyncio.sleep(EVERY)
        on_beat(max(0.0, time.monotonic() - due))


def warning(tell: Callable[[str], None]) -> Callable[[float], None]:
    """For `watch`: a line when the loop stood still, once in a while at most."""
    last = float("-inf")

    def on_beat(late: float) -> None:
        nonlocal last
        now = time.monotonic()
        if late > LATE and now - last >= QUIET:
            last = now
            log(logging.getLogger("s2async.cli"), logging.WARNING, "loop_stood_still", {"seconds": late})
            tell(f"this machine is slow: the event loop stood still for {late:.1f} s (processor or disk too busy)")

    return on_beat
