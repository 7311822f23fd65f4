"""A thread with its own event loop, for blocking functions that may be called while a loop is running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def waited_for(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do some work and return its result.

    If no event loop is running, the work is done in this thread, so that Ctrl-C interrupts it; otherwise in
    another.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    result: T = LoopThread(work).result()
    return result


class LoopThread:
    """A thread with an event loop for one coroutine."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._outcome: tuple[Any, BaseException | None] = (None, None)
        self._begun = threading.Event()
        self._task: asyncio.Task[Any] | None = None
        self._thread = threading.Thread(target=self._main, args=[work], name="s2async", daemon=True)
        self._thread.start()
        self._begun.wait()

    def _main(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async def main() -> Any:
            self._task = asyncio.current_task()
            self._begun.set()
            return await work()

        try:
            self._outcome = asyncio.run(main()), None
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._outcome = None, error
        finally:
            self._begun.set()

    def result(self) -> Any:
        """Wait for the result of the work, or raise its error. An interrupt while waiting cancels the work."""
        try:
            self._thread.join()
        except BaseException:
            self.cancel()
            raise
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    def cancel(self) -> None:
        """Cancel the work, and wait until it has stopped."""
        if self._task is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        self._thread.join()
