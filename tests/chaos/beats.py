"""A run that notes how late its event loop was: ``python -m tests.chaos.beats FILE run CONFIG``.

It asks as much at once as it may from the start: who never answers could not widen its window.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from s2async.cli import heartbeat
from s2async.cli.main import main
from s2async.net import pace

EVERY: Final = 0.01
"""Seconds between two beats: five times as often as the command line looks."""


def run(file: Path, arguments: list[str]) -> None:
    """The command line; afterwards the file holds every beat as JSON: when (monotonic), and how late, seconds."""
    late: list[tuple[float, float]] = []
    plain = heartbeat.watch

    async def watch(on_beat: Callable[[float], None]) -> None:
        def note(seconds: float) -> None:
            late.append((time.monotonic(), seconds))
            on_beat(seconds)

        await plain(note)

    vars(heartbeat).update(EVERY=EVERY, watch=watch)
    vars(pace).update(INITIAL=1 << 16)
    try:
        main(arguments)
    finally:
        file.write_text(json.dumps(late))


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
