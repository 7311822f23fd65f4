"""Where a run can be made to kill itself: ``python -m tests.chaos.points POINT NTH run CONFIG``.

The package knows nothing of this: its functions are wrapped from outside before its command line is called.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from s2async import file_batches
from s2async.cli.main import main
from s2async.cog import deflate
from s2async.net import client
from s2async.state.writer import State


def _after_fetch(hit: Callable[[], None]) -> None:
    plain = client.Transport.read

    async def read(*args: Any, **kwargs: Any) -> Any:
        piece = await plain(*args, **kwargs)
        hit()
        return piece

    client.Transport.read = read  # type: ignore[method-assign]


def _in_decode(hit: Callable[[], None]) -> None:
    plain = deflate.read_rows

    def read_rows(*args: Any, **kwargs: Any) -> Any:
        hit()
        return plain(*args, **kwargs)

    deflate.read_rows = read_rows


def _around_replace(hit: Callable[[], None], *, before: bool) -> None:
    plain = os.replace

    def replace(source: Any, target: Any, **kwargs: Any) -> None:
        crop = str(target).endswith(".tif")
        if crop and before:
            hit()
        plain(source, target, **kwargs)
        if crop and not before:
            hit()

    vars(os)["replace"] = replace


def _around_sync(hit: Callable[[], None], *, before: bool) -> None:
    plain = file_batches._call

    def call(name: str, *arguments: Any) -> None:
        sync = name == "syncfs"
        if sync and before:
            hit()
        plain(name, *arguments)
        if sync and not before:
            hit()

    file_batches._call = call


def _around_commit(hit: Callable[[], None], *, before: bool) -> None:
    plain = State.record

    def record(*args: Any) -> None:
        if before:
            hit()
        plain(*args)
        if not before:
            hit()

    State.record = record  # type: ignore[assignment, method-assign]


POINTS: Final[dict[str, Callable[[Callable[[], None]], None]]] = {
    "after fetch": _after_fetch,
    "in decode": _in_decode,
    "after write": lambda hit: _around_replace(hit, before=True),
    "after replace": lambda hit: _around_replace(hit, before=False),
    "before sync": lambda hit: _around_sync(hit, before=True),
    "after sync": lambda hit: _around_sync(hit, before=False),
    "before commit": lambda hit: _around_commit(hit, before=True),
    "after commit": lambda hit: _around_commit(hit, before=False),
}
"""By name; each gets a function to be called whenever a run comes by. Crops are written under other names
and synced, renamed, synced again where they are many, and committed with their batch."""


def arm(point: str, nth: int) -> None:
    """Let this process die of SIGKILL when it comes by a point the n-th time (counted from 1)."""
    visits = itertools.count(1)

    def hit() -> None:
        if next(visits) == nth:
            die()

    POINTS[point](hit)


def arm_clock(seconds: float) -> None:
    """Let this process die of SIGKILL in so many seconds."""

    def wait() -> None:
        time.sleep(seconds)
        die()

    threading.Thread(target=wait, daemon=True).start()


def die() -> None:
    """As `kill -9` does it."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    main(sys.argv[3:])
