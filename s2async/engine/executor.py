"""Where batches are processed: in this process, or in the worker processes of a cluster (`dask_executor`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol

from s2async.cog import memory
from s2async.engine import worker
from s2async.engine.crash_marker import Marks
from s2async.engine.progress import Network
from s2async.engine.tools import Settings, Tools, ToolSettings, open_tools
from s2async.errors import LocalError
from s2async.masks.store import Plans
from s2async.models import Batch, BatchResult, Job
from s2async.net.accounting import Meter
from s2async.net.client import Transport
from s2async.output.strangers import Replaced

SetAside = Callable[[Sequence[Job]], Awaitable[Collection[int]]]
"""Records that a worker process was lost while it worked on nothing but these jobs; returns the ids of the jobs
that are set aside."""


class Executor(Protocol):
    """Processes batches. Only its caller writes the state."""

    @property
    def transport(self) -> Transport:
        """The HTTP client of this process, used for searches."""
        ...

    @property
    def network(self) -> Network:
        """What is known about the servers."""
        ...

    async def process(self, batch: Batch, set_aside: SetAside) -> BatchResult:
        """Process a batch; see `worker.process`.

        Args:
            batch: jobs of one scene.
            set_aside: called if the process that worked on a batch ended while it did nothing else.

        Returns:
            The result of the batch, without the jobs that ``set_aside`` returned.

        Raises:
            worker.Stopped, LocalError: see `worker.process`.
            ClusterError: the cluster is lost.
        """
        ...

    def alone(self) -> AbstractAsyncContextManager[Executor]:
        """Return an executor for jobs that may crash the process that works on them."""
        ...

    def is_given_up(self, origin: str) -> bool:
        """Return whether callers should no longer wait for a server in this run."""
        ...

    def is_parked(self, origin: str) -> bool:
        """Return whether no requests other than a few probes are sent to a server."""
        ...

    async def reopened(self, origin: str) -> None:
        """Wait until a parked server may be used again.

        Raises:
            HostParked: the server is given up; callers should leave their work to a later run.
        """
        ...


class LocalExecutor:
    """Processes batches in this process.

    Args:
        settings: settings of every batch.
        tools: the tools of this process.
        marks: marks the jobs that are being decoded.
    """

    def __init__(self, settings: Settings, tools: Tools, marks: Marks) -> None:
        self.transport = tools.transport
        self.network: Network = tools.transport
        self._settings = settings
        self._tools = tools
        self._marks = marks
        self._batches = self._jobs = 0
        """Batches, and their jobs, since free memory was last returned to the system."""

    async def process(self, batch: Batch, set_aside: SetAside) -> BatchResult:  # noqa: ARG002 - see `Executor`
        """See `Executor.process`. If a batch crashes this process, the next run finds out."""
        mark = partial(self._marks.during, self._tools.pool)
        marked = replace(self._tools, pool=mark([job.id for job in batch.jobs]), mark=mark)
        try:
            result = await worker.process(batch, self._settings, marked)
        except MemoryError as error:
            raise LocalError("out of memory; lower memory in [run], or connections in [network]") from error
        self._batches += 1
        self._jobs += len(batch.jobs)
        if self._batches >= memory.EVERY or self._jobs >= memory.EVERY_JOBS:
            self._batches = self._jobs = 0
            self._tools.writers.submit(memory.give_back)
        return result

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Executor]:
        """Yield an executor in which one thread decodes for all batches, one job or one block of a file at a time.

        A crash then identifies the job, or the block and thereby all jobs that need it.
        """
        self._marks.alone(True)
        with ThreadPoolExecutor(1, thread_name_prefix="s2async-alone") as pool:
            tools = replace(self._tools, pool=pool, writers=pool, alone=True)
            yield LocalExecutor(self._settings, tools, self._marks)
        self._marks.alone(False)

    def is_given_up(self, origin: str) -> bool:
        """See `Executor.is_given_up`."""
        return self.transport.is_given_up(origin)

    def is_parked(self, origin: str) -> bool:
        """See `Executor.is_parked`."""
        return self.transport.is_parked(origin)

    async def reopened(self, origin: str) -> None:
        """See `Executor.reopened`."""
        await self.transport.reopened(origin)


@asynccontextmanager
async def open_local(
    settings: Settings, tools: ToolSettings, *, marks: Marks, meter: Meter, replaced: Replaced, plans: Plans
) -> AsyncIterator[Executor]:
    """Open the tools of this process for batches, and close them on exit; see `open_tools`."""
    async with open_tools(tools, meter=meter, replaced=replaced, plans=plans) as opened:
        yield LocalExecutor(settings, opened, marks)
