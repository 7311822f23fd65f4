"""Where batches are worked on: here, or in the worker processes of a cluster (`dask_executor`)."""

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
"""Notes that a worker process was lost that had nothing but these jobs; returns the ids of those that are set
aside."""


class Executor(Protocol):
    """Works on batches. Only who calls it writes the state."""

    @property
    def transport(self) -> Transport:
        """The client of this process: for searches."""
        ...

    @property
    def network(self) -> Network:
        """What is known of the servers."""
        ...

    async def process(self, batch: Batch, set_aside: SetAside) -> BatchResult:
        """Work on a batch; the arguments and the outcome are those of `worker.process`.

        Args:
            batch: jobs of one scene.
            set_aside: called where a batch ended the process that worked on it, and nothing else was there.

        Returns:
            What a worker found out. Jobs that ``set_aside`` returned are not part of it.

        Raises:
            worker.Stopped, LocalError: see `worker.process`.
            ClusterError: the cluster is lost.
        """
        ...

    def alone(self) -> AbstractAsyncContextManager[Executor]:
        """An executor for jobs that may end the process that works on them."""
        ...

    def is_given_up(self, origin: str) -> bool:
        """Whether callers should stop waiting for a server in this run."""
        ...

    def is_parked(self, origin: str) -> bool:
        """Whether no requests but a few probes are sent to a server."""
        ...

    async def reopened(self, origin: str) -> None:
        """Wait until a parked server may be asked again.

        Raises:
            HostParked: the server is given up; callers should leave their work for another run.
        """
        ...


class LocalExecutor:
    """Works on batches in this process.

    Args:
        settings: of every batch.
        tools: what to work with.
        marks: which jobs are being decoded.
    """

    def __init__(self, settings: Settings, tools: Tools, marks: Marks) -> None:
        self.transport = tools.transport
        self.network: Network = tools.transport
        self._settings = settings
        self._tools = tools
        self._marks = marks
        self._batches = self._jobs = 0
        """Batches since free memory was given back, and their jobs."""

    async def process(self, batch: Batch, set_aside: SetAside) -> BatchResult:  # noqa: ARG002 - see `Executor`
        """See `Executor.process`. A batch that ends this process is found out by the next run."""
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
        """One thread decodes for all batches, one job or one block of a file at a time.

        So a crash tells the job, or the block and with it all jobs that need it.
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
    """Open the tools of this process for batches, and close them in the end; see `open_tools`."""
    async with open_tools(tools, meter=meter, replaced=replaced, plans=plans) as opened:
        yield LocalExecutor(settings, opened, marks)
