"""Calls of tasks on workers of a Dask cluster, each on the worker that the caller chooses."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable
from concurrent.futures import CancelledError as Dropped
from typing import Any, Final

from distributed import Client, KilledWorker

from s2async.engine.dask_members import Members

DISCONNECTED: Final = "scheduler-connection-lost"
"""The reason that a client gives for dropping futures after it has lost its scheduler."""


class Lost(Exception):
    """The worker that was called is gone.

    Args:
        expected: whether it was told to leave, which says nothing about the batch.
    """

    def __init__(self, *, expected: bool = False) -> None:
        super().__init__()
        self.expected = expected


class Calls:
    """Calls tasks on the workers of a cluster.

    Args:
        client: a client connected to the scheduler.
        members: the workers of the cluster.
        name: name of the run's tools on the workers, the first argument of every task.
    """

    def __init__(self, client: Client, members: Members, name: str) -> None:
        self._client = client
        self._members = members
        self._name = name
        self._run = secrets.token_hex(4)
        self._tasks = itertools.count(1)

    async def call(self, address: str, task: Callable[..., Any], *args: Any) -> Any:
        """Run a task on one worker, and return its result.

        Raises:
            Lost: the worker left.
            ClusterError: the scheduler no longer responds.
        """
        self._members.check()
        gone = self._members.gone.get(address)
        if gone is None:
            raise Lost(expected=True)
        key = f"{self._name}-{self._run}-{next(self._tasks)}"
        future = self._client.submit(task, self._name, *args, key=key, pure=False, workers=[address])
        getting = asyncio.ensure_future(future.result())
        try:
            await asyncio.wait({getting, gone, self._members.lost}, return_when=asyncio.FIRST_COMPLETED)
            self._members.check()
            if not getting.done():
                raise Lost(expected=gone.result())
            return getting.result()
        except Dropped as error:
            if getattr(error, "reason", "") == DISCONNECTED:  # it may be connected to another scheduler by now
                self._members.lose()
            self._members.check()
            raise Lost(expected=True) from error
        except KilledWorker as error:  # the scheduler allows no retry, and says so before the worker's end
            self._members.leave(address)
            raise Lost from error
        finally:
            getting.cancel()
            future.release()
