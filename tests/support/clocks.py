"""An event loop whose time passes only when all tasks wait: what depends on time is the same on any machine."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
TURN = 1e-6
"""Seconds that a turn of the loop takes: where none passes, whoever asks again at once may never be done."""


class _Selector(selectors.SelectSelector):
    """Does not wait for the next timer, but sets the clock to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As of any selector, at once."""
        found = super().select(0)
        self.now += TURN
        if not found:
            if timeout is None:
                raise RuntimeError("all tasks wait for one another")
            self.now += max(timeout, 0)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds on the clock of the selector."""
        return self._clock.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, with a clock of its own. For tasks alone: threads and other processes need real time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
