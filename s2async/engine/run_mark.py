"""A file in the output folder that exists during a run: workers write crops only while they see it.

A run whose process was killed may be resumed elsewhere before a worker notices. The next run removes the mark of
the killed run before it writes, as it removes all half-written files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from s2async import disk_checks, files
from s2async.errors import LocalError

P = ParamSpec("P")
T = TypeVar("T")

WAIT: Final = 3.0
"""Seconds within which a new file must become visible on another machine. NFS asks its server for names that it
has never seen."""


@contextmanager
def made(folder: Path, token: str) -> Iterator[Path]:
    """Create the mark of a run, and remove it when the context ends.

    Args:
        folder: the output folder, from which half-written files were removed.
        token: start of the names of temporary files.

    Raises:
        LocalError: the folder cannot be written.
    """
    mark = files.temporary(folder / files.PARTS / "run", token)
    with files.local_errors("write into", folder):
        mark.touch(exist_ok=False)
    try:
        yield mark
    finally:
        files.discard(mark)


def check(mark: Path) -> None:
    """Check that this process can see and write the folder of the crops.

    Raises:
        LocalError: it cannot; the message is one line.
    """
    folder, until = mark.parent.parent, time.monotonic() + WAIT
    while not mark.exists():
        if time.monotonic() > until:
            raise LocalError(
                f"does not see the files of the run in {folder}; give it the same folder under the same path, or "
                "let it send the crops (--send-crops)"
            )
        time.sleep(0.2)
    disk_checks.check_writable(folder)


class Fenced(Executor):
    """Threads that write only while the mark of their run exists.

    Args:
        threads: the threads that write.
        mark: the mark of the run.
    """

    def __init__(self, threads: Executor, mark: Path) -> None:
        self._threads = threads
        self._mark = mark

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`."""
        return self._threads.submit(self._work, partial(fn, *args, **kwargs))

    def _work(self, work: Callable[[], T]) -> T:
        if not self._mark.exists():
            raise LocalError(f"the run that wanted crops in {self._mark.parent.parent} has ended")
        return work()
