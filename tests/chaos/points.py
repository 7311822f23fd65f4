"""Where a run can be made to kill itself: ``python -m tests.chaos.points POINT NTH run CONFIG``.

The package knows nothing of this: its functions are wrapped from outside before its command line is called.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from s2async import file_batches
from s2async.cli.main import main
from s2async.cog import deflate
from s2async.net import client
from s2async.state import database
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


def _around_replace(hit: Callable[[], None], suffix: str, *, before: bool) -> None:
    plain = os.replace

    def replace(source: Any, target: Any, **kwargs: Any) -> None:
        ours = str(target).endswith(suffix)
        if ours and before:
            hit()
        plain(source, target, **kwargs)
        if ours and not before:
            hit()

    vars(os)["replace"] = replace


def _in_file(hit: Callable[[], None]) -> None:
    plain = file_batches._write_to

    def write_to(descriptor: int, data: bytes) -> None:
        half = os.write(descriptor, data[: len(data) // 2])
        hit()
        plain(descriptor, data[half:])

    file_batches._write_to = write_to


def _in_plan(hit: Callable[[], None]) -> None:
    plain = Path.open

    class Halfway(io.FileIO):
        """Takes half of what it is given, as a system may, and the rest in further calls."""

        def write(self, data: Any, /) -> int:
            written = super().write(data[: -(-len(data) // 2)])
            hit()
            return written

    def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        is_plan = path.name.startswith(".s2async-plan-") and mode == "xb"
        return Halfway(path, mode) if is_plan else plain(path, mode, *args, **kwargs)

    Path.open = opened  # type: ignore[method-assign, assignment]


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


def _in_transaction(hit: Callable[[], None]) -> None:
    plain = database.transaction

    @contextlib.contextmanager
    def transaction(db: database.Connection) -> Iterator[database.Connection]:
        with plain(db):
            yield db
            hit()

    database.transaction = transaction


Arming = Callable[[Callable[[], None]], None]
"""Has a function called whenever a run comes by."""

POINTS: Final[dict[str, Arming]] = {
    "after fetch": _after_fetch,
    "in decode": _in_decode,
    "after write": lambda hit: _around_replace(hit, ".tif", before=True),
    "after replace": lambda hit: _around_replace(hit, ".tif", before=False),
    "before commit": lambda hit: _around_commit(hit, before=True),
    "in transaction": _in_transaction,
    "after commit": lambda hit: _around_commit(hit, before=False),
}
"""By name. Crops are written under other names and synced, renamed, synced again where they are many, and
committed with their batch. Where they are many, the points around a rename are inside a batch of renames."""
MANY: Final[dict[str, Arming]] = {
    "in file": _in_file,
    "before sync": lambda hit: _around_sync(hit, before=True),
    "after sync": lambda hit: _around_sync(hit, before=False),
    "in plan": _in_plan,
    "before plan": lambda hit: _around_replace(hit, ".plan", before=True),
    "after plan": lambda hit: _around_replace(hit, ".plan", before=False),
}
"""Those that a run comes by only with many areas: half of a crop is in its temporary file; the two syncs of a
batch of files; half of a plan (then three quarters ...) is in its temporary file; the rename of a plan."""


def arm(point: str, nth: int) -> None:
    """Let this process die of SIGKILL when it comes by a point the n-th time (counted from 1)."""
    visits = itertools.count(1)

    def hit() -> None:
        if next(visits) == nth:
            die()

    (POINTS | MANY)[point](hit)


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
