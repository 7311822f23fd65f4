"""Signals: the first one stops a run normally; a second one, or a time limit, stops it immediately."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

PATIENCE = 7.0
"""Seconds that a run may take to stop normally; then the process exits immediately, which the state survives."""
LAST_WORDS = 0.5
"""Seconds for the last line and for closing the state, because a terminal or a disk may block."""


class Stop:
    """Ctrl-C and SIGTERM: the first one stops a run normally; a second one, or `PATIENCE`, immediately.

    Closing the terminal (SIGHUP) does not stop the run.

    Args:
        tell: prints the last line.
        let_go: closes the state.
    """

    def __init__(self, tell: Callable[[], None], let_go: Callable[[], None]) -> None:
        self._tell = tell
        self._let_go = let_go
        self._number: int | None = None
        self._cancel: Callable[[], object] = lambda: None
        self._timer: threading.Timer | None = None

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, as reported by shells."""
        return 128 + (self._number or 0)

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Run the work, and return its result; None if a signal stopped it."""

        async def main() -> T | None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            self._cancel = lambda: task and loop.call_soon_threadsafe(task.cancel)
            try:
                return None if self._number else await work()
            except asyncio.CancelledError:
                if self._number is None:
                    raise
                self._tell_once()
                return None
            finally:
                self._cancel = lambda: None

        # not loop.add_signal_handler: these handlers also run while the loop is blocked or waits for a thread
        former = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        if sys.platform != "win32":
            former[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            return asyncio.run(main())
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            if self._timer is not None:
                self._timer.cancel()

    def _on_signal(self, number: int, _: object) -> None:
        if self._number is not None:
            self._end_now()
        self._number = number
        # some work cannot be cancelled, such as a thread that resolves a host name
        self._timer = _timer(PATIENCE, self._lose_patience)
        self._cancel()

    def _lose_patience(self) -> None:
        """Act like a second signal, because the main thread must close the state.

        If that hangs, exit nevertheless.
        """
        _timer(2 * LAST_WORDS, os._exit, self.exit_code)
        if sys.platform != "win32":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _end_now(self) -> NoReturn:
        _timer(2 * LAST_WORDS, os._exit, self.exit_code)
        with contextlib.suppress(Exception):  # the state survives an error here
            self._let_go()
        telling = threading.Thread(target=self._tell_once, daemon=True)  # a terminal may block
        telling.start()
        telling.join(LAST_WORDS)
        os._exit(self.exit_code)

    def _tell_once(self) -> None:
        tell, self._tell = self._tell, lambda: None
        tell()


def _timer(seconds: float, call: Callable[..., object], *values: object) -> threading.Timer:
    """Start a timer that does not keep the process alive."""
    timer = threading.Timer(seconds, call, values)
    timer.daemon = True
    timer.start()
    return timer
