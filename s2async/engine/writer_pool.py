"""A thread pool for work that mostly waits: it uses few threads, and more only while work piles up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PILE: Final = 8
"""Number of waiting calls per thread at which another thread starts to help."""


class PatientPool(Executor):
    """Like a `ThreadPoolExecutor`, but uses only as many threads as are needed to keep up with the work.

    A `ThreadPoolExecutor` adds a thread whenever none is idle. Threads that need the interpreter from time to time
    delay each other and all other threads: on a fast disk a run took 10 % longer with four writers than with one,
    while a slow disk needs all of them.

    Args:
        most: maximum number of threads.
        name: prefix of the thread names.
    """

    def __init__(self, most: int, *, name: str) -> None:
        self._threads = ThreadPoolExecutor(most, thread_name_prefix=name)
        self._most = most
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._working = 0
        self._closed = False

    @property
    def working(self) -> int:
        """Number of threads currently at work."""
        return self._working

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Executor.submit`."""
        future = Future[T]()
        with self._lock:
            if self._closed:
                raise RuntimeError("work for a pool that was shut down")
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            if self._working < self._most and len(self._waiting) > self._working * PILE:
                self._working += 1
                self._threads.submit(self._work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor.shutdown`."""
        with self._lock:
            self._closed = True
            if cancel_futures:
                for future, _ in self._waiting:
                    future.cancel()
        self._threads.shutdown(wait=wait)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._working -= 1
                    return
                future, work = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                    future.set_exception(error)
            del future, work  # they may refer to large objects
