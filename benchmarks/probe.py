"""Run ``s2async`` and record how late its event loop is: ``python -P probe.py NOTES ARGUMENT...``.

It imports nothing of this repository, so that ``PYTHONPATH`` determines which version of the package runs. The
notes are pairs of doubles: the time of a reading of the clock, in seconds since 1970, and the delay in seconds.
"""

from __future__ import annotations

import array
import asyncio
import runpy
import sys
import time
from collections.abc import Coroutine
from contextvars import Context
from pathlib import Path
from typing import Any

TICK = 0.005
"""Seconds between two readings of the clock."""


def main() -> None:
    """Run the command line, and write the notes when it ends."""
    notes = array.array("d")
    plain = asyncio.Runner.run

    def run(runner: asyncio.Runner, work: Coroutine[Any, Any, Any], *, context: Context | None = None) -> Any:
        async def watched() -> Any:
            watching = asyncio.create_task(_watch(notes))
            try:
                return await work
            finally:
                watching.cancel()

        return plain(runner, watched(), context=context)

    asyncio.Runner.run = run  # type: ignore[assignment,method-assign]
    path, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    try:
        runpy.run_module("s2async", run_name="__main__", alter_sys=True)
    finally:
        with Path(path).open("wb") as file:
            notes.tofile(file)


async def _watch(notes: array.array[float]) -> None:
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late = time.perf_counter() - due
        notes.extend((time.time(), late))


if __name__ == "__main__":
    main()
