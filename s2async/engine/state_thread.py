"""A thread of its own for the state: whoever waits for the disk there does not keep the event loop waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class StateThread:
    """Runs calls one after another in one thread. What uses the state while it is open goes through it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="s2async-state")
        self._calls: set[Future[Any]] = set()
        """Calls that wait or go on."""

    async def call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` with the other arguments.

        Where the caller is cancelled, a call that has begun goes on to its end, and one that waits does not begin.
        """
        future = self._pool.submit(work, *args, **kwargs)
        self._calls.add(future)
        future.add_done_callback(self._calls.discard)
        return await asyncio.wrap_future(future)

    async def brief(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `call`, for work of a few milliseconds: while no other call goes on, the loop's thread does it.

        To change threads and back takes a third of a millisecond of processor time.
        """
        return await self.call(work, *args, **kwargs) if self._calls else work(*args, **kwargs)

    def close(self) -> None:
        """Wait for the call that goes on; a second call does nothing."""
        self._pool.shutdown()


async def to_the_end(work: Awaitable[T]) -> T:
    """Wait for some work even where the caller is cancelled meanwhile.

    Raises:
        asyncio.CancelledError: the caller was cancelled; the work is done all the same.
    """
    doing = asyncio.ensure_future(work)
    stopped: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError as error:
            stopped = error
        except BaseException:  # noqa: BLE001, S110 - raised below
            pass
    result = doing.result()
    if stopped:
        raise stopped
    return result
