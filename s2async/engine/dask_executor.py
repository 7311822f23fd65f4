"""Processes batches on the workers of a Dask cluster; each batch is a future of its own.

Only this process searches, writes the state, counts traffic and watches limits. If a worker is lost, the batches
that it was processing are given to other workers. Batches are assigned to workers by name (`workplaces`), because
Dask would move them, and batches of one scene share headers and blocks within one process.

A batch that was in progress on two lost workers then runs alone on a worker, and is split into smaller parts each
time it loses a worker. A job that is left alone is set aside by the rule for jobs that crash a run
(`state.items.MOST_KILLS`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import Final

from s2async._version import __version__
from s2async.engine import dask_worker, run_mark, saving, worker
from s2async.engine.clusters import Cluster
from s2async.engine.dask_calls import Calls, Lost
from s2async.engine.dask_members import Members, connected
from s2async.engine.dask_messages import Kit, Reopened
from s2async.engine.dask_worker import Shop
from s2async.engine.deliveries import Deliveries
from s2async.engine.executor import Executor, SetAside
from s2async.engine.parcels import Delivery, Order, Parcel, pack_order, unpack_delivery
from s2async.engine.progress import Network
from s2async.engine.tools import Settings, ToolSettings
from s2async.engine.writer_pool import PatientPool
from s2async.errors import ClusterError, HostParked, LocalError
from s2async.log import log
from s2async.models import Batch, BatchResult, Traffic
from s2async.net.accounting import Meter
from s2async.net.client import Transport, open_client
from s2async.net.limiter import TURN
from s2async.output.strangers import Replaced
from s2async.text import origin

BESIDE_OTHERS: Final = 2
"""Number of workers that may be lost while processing a batch before it runs alone."""
PARTS: Final = 16
"""Number of parts into which a batch is split if its worker is lost while it ran alone, to find the part at
fault."""

_log: Final = logging.getLogger("s2async.engine")


@asynccontextmanager
async def open_dask(
    cluster: Cluster,
    settings: Settings,
    tools: ToolSettings,
    *,
    meter: Meter,
    replaced: Replaced,
    tell: Callable[[str], None],
    connections: int,
    on_workers: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[Executor]:
    """Use a cluster for the duration of a run.

    Args:
        cluster: the cluster.
        settings: settings of every batch.
        tools: limits on the concurrency of a process, and which servers it may use.
        meter: counts all requests.
        replaced: counts the foreign files that crops overwrite.
        tell: called with messages for the user.
        connections: maximum number of simultaneous requests to one server, shared by all workers.
        on_workers: called with the number of workers whenever it changes.

    Raises:
        ClusterError: no scheduler responds.
        ConfigError: the scheduler or a worker has another version, or a worker cannot see the output folder.
    """
    async with contextlib.AsyncExitStack() as stack:
        transport = await stack.enter_async_context(open_client(tools.client, meter))
        client = await stack.enter_async_context(connected(cluster))
        mark = stack.enter_context(run_mark.made(settings.folder, settings.token))
        writers = stack.enter_context(PatientPool(tools.work.writers, name="s2async-write"))
        # API keys of the catalogue stay here, because workers do not search.
        kit = Kit(
            settings=settings,
            tools=replace(tools, client=replace(tools.client, api_headers={})),
            mark=None if cluster.send_crops else mark,
            connections=connections,
        )
        shop = Shop(settings.token, __version__, pickle.dumps(kit))
        members = Members(client, shop, tell, on_workers)
        calls = Calls(client, members, settings.token)
        executor = DaskExecutor(calls, members, settings, transport, meter, replaced, writers)
        try:
            await members.open()
            yield executor
        finally:
            await executor.close()


class DaskExecutor:
    """Processes batches on the workers of a cluster; see `executor.Executor`.

    Args:
        calls: calls tasks on the workers.
        members: the workers of the cluster.
        settings: settings of every batch.
        transport: client for searches.
        meter: counts all requests.
        replaced: counts the foreign files that crops overwrite.
        writers: threads that write the crops that workers send.
    """

    def __init__(
        self,
        calls: Calls,
        members: Members,
        settings: Settings,
        transport: Transport,
        meter: Meter,
        replaced: Replaced,
        writers: PatientPool,
    ) -> None:
        self.transport = transport
        self.network: Network = _Servers(self)
        self.places = members.places
        self._calls = calls
        self._members = members
        self._settings = settings
        self._meter = meter
        self._replaced = replaced
        self._writers = writers
        self._given_up: dict[str, HostParked] = {}
        self._deliveries = Deliveries(self._count)
        members.on_parting = self._deliveries.part
        self._alone = asyncio.Lock()
        self._retries: dict[str, int] = {}
        """Number of retried requests by worker, including workers that have left."""
        self._sent = self._received = 0
        """Bytes of the batches sent, and of the deliveries received."""

    async def close(self) -> None:
        """Close the tools of the workers, and count the traffic that no delivery reported."""
        orders = self._deliveries.end(await self._members.close(self._deliveries.untold))
        told = {"batches": orders, "sent": self._sent, "received": self._received}
        log(_log, logging.INFO, "cluster_left", told)

    # ---- batches --------------------------------------------------------------------------------------------

    async def process(self, batch: Batch, set_aside: SetAside) -> BatchResult:
        """See `Executor.process`."""
        losses = 0
        while losses < BESIDE_OTHERS:
            address = await self._place(batch)
            try:
                return await self._on(address, batch)
            except Lost as lost:
                losses += not lost.expected
        return await self.process_alone(batch, set_aside)

    async def process_alone(self, batch: Batch, set_aside: SetAside) -> BatchResult:
        """Process a batch on workers that do nothing else, in smaller parts each time a worker is lost."""
        results = list[BatchResult]()
        try:
            await self._work_alone(batch, set_aside, results)
        except asyncio.CancelledError:
            raise worker.Stopped(_joined(results)) from None
        except BaseException:
            for result in results:
                self._meter.take_back(result.traffic)
            raise
        return _joined(results)

    async def _work_alone(self, batch: Batch, set_aside: SetAside, results: list[BatchResult]) -> None:
        """Append the results of a batch, or of the parts into which it is split, one by one."""
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            try:
                async with self._reserved() as address:
                    results.append(await self._on(address, part))
            except Lost as lost:
                if lost.expected:
                    waiting.append(part)
                    continue
                aside = await set_aside(part.jobs)
                rest = tuple(job for job in part.jobs if job.id not in aside)
                step = max(1, -(-len(part.jobs) // PARTS))
                waiting += [replace(part, jobs=rest[at : at + step]) for at in range(0, len(rest), step)]

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Executor]:
        """See `Executor.alone`. Each batch has a worker to itself."""
        yield _Alone(self)

    async def _place(self, batch: Batch) -> str:
        """Wait for a worker for a batch, and return its address."""
        scene = batch.scene
        servers = {origin(asset.href) for asset in scene.assets.values()}
        key = scene.collection, scene.id, scene.version
        while (address := self.places.choose(key, servers, square=scene.grid, jobs=len(batch.jobs))) is None:
            await self._members.change()
        return address

    @asynccontextmanager
    async def _reserved(self) -> AsyncIterator[str]:
        """Wait for an idle worker, and give it no other batches until the context exits."""
        async with self._alone:
            address: str | None = None
            while address is None or not self.places.is_idle(address):
                address = address or self.places.reserve()
                if address is None or not self.places.is_idle(address):
                    await self._members.change()
                if address not in self.places:
                    address = None
            try:
                yield address
            finally:
                self.places.release(address)
                self._members.wake()

    async def _on(self, address: str, batch: Batch) -> BatchResult:
        """Process a batch on a worker.

        Raises:
            Lost: the worker left, or can no longer process batches.
        """
        number = self._deliveries.begin()
        order = Order(
            batch=batch,
            number=number,
            oldest=self._deliveries.oldest,
            dropped=self._deliveries.dropped,
            turn=TURN.get(),
            parts=len(self.places),
        )
        self.places.begin(address, len(batch.jobs))
        try:
            sent = pack_order(order)
            self._sent += len(sent.data)
            parcel: Parcel | None = await self._calls.call(address, dask_worker.process, sent)
            if parcel is None:
                self._members.leave(address)
                raise Lost(expected=True)
            self._deliveries.take(number)
            self._received += len(parcel.data)
            return await self._taken(unpack_delivery(parcel, batch), address)
        except Lost:
            self._deliveries.drop(number)
            raise
        finally:
            self.places.end(address, len(batch.jobs))
            self._members.wake()

    async def _taken(self, delivery: Delivery, address: str) -> BatchResult:
        """Process a delivery: count its traffic, write its crops, raise its error; return the result."""
        self._retries[address] = delivery.retries
        for entry in delivery.beside:
            self._count(entry)
        for path, whose in delivery.replaced:
            self._replaced.add(path, whose)
        result = delivery.result
        if result is None or delivery.trouble:
            match delivery.trouble:
                case "local":
                    raise LocalError(f"the worker {address}: {delivery.reason}")
                case "bug":
                    raise RuntimeError(f"the worker {address} failed:\n{delivery.reason}")
                case _:
                    self._members.leave(address)
                    raise Lost(expected=True)
        totals = Meter(self._meter)
        for entry in result.traffic:
            totals.add(entry.stage, entry.asset, entry.use, requests=entry.requests, size=entry.bytes)
        if delivery.crops:
            try:
                await self._write(delivery)
            except BaseException:
                totals.hand_over()  # the state would have counted these with the result
                raise
        if result.parked:
            self._park(address, result.parked)
        return result

    def _count(self, entry: Traffic) -> None:
        self._meter.add(entry.stage, entry.asset, entry.use, requests=entry.requests, size=entry.bytes)

    async def _write(self, delivery: Delivery) -> None:
        """Write crops that a worker has sent. They are durable when this returns."""
        loop, settings = asyncio.get_running_loop(), self._settings
        calls = [
            loop.run_in_executor(self._writers, saving.save, some, settings, self._replaced)
            for some in saving.groups(delivery.crops, settings)
        ]
        await asyncio.gather(*calls)

    # ---- servers --------------------------------------------------------------------------------------------

    def _park(self, address: str, server: str) -> None:
        """Give a worker no batches that need a server it has parked, until it uses the server again."""
        if self.places.close(address, server):
            self._members.aside(self._wait_for(address, server))

    async def _wait_for(self, address: str, server: str) -> None:
        try:
            found: Reopened | None = await self._calls.call(address, dask_worker.reopened, server)
        except (Lost, ClusterError):
            return
        if found and found.given_up:
            self._given_up[server] = HostParked(found.given_up, origin=server, retry_after=found.retry_after)
            self.places.close(address, server, given_up=True)
        else:
            self.places.reopen(address, server)
        self._members.wake()

    def is_parked(self, origin: str) -> bool:
        """See `Executor.is_parked`."""
        return self.places.is_parked(origin)

    def is_given_up(self, origin: str) -> bool:
        """See `Executor.is_given_up`."""
        return self.places.is_given_up(origin)

    async def reopened(self, origin: str) -> None:
        """See `Executor.reopened`. One worker that uses the server again is enough."""
        while self.places.is_parked(origin):
            if self.places.is_given_up(origin):
                raise self._given_up[origin]
            await self._members.change()

    @property
    def retries(self) -> int:
        """Number of retried requests of this process and all workers."""
        return self.transport.retries + sum(self._retries.values())


class _Servers:
    """The servers as seen by all workers; see `progress.Network`."""

    def __init__(self, executor: DaskExecutor) -> None:
        self._executor = executor

    @property
    def retries(self) -> int:
        """Number of retried requests."""
        return self._executor.retries

    @property
    def parked(self) -> list[str]:
        """Servers to which no process sends requests at present."""
        return sorted({*self._executor.transport.parked, *self._executor.places.parked})


class _Alone:
    """Processes each batch on a worker that does nothing else; see `executor.Executor`."""

    def __init__(self, executor: DaskExecutor) -> None:
        self._executor = executor
        self.transport = executor.transport
        self.network = executor.network
        self.alone = executor.alone
        self.is_given_up = executor.is_given_up
        self.is_parked = executor.is_parked
        self.reopened = executor.reopened

    async def process(self, batch: Batch, set_aside: SetAside) -> BatchResult:
        """See `Executor.process`."""
        return await self._executor.process_alone(batch, set_aside)


def _joined(results: list[BatchResult]) -> BatchResult:
    """Return the results of the parts of a batch as one result, whatever fields a result has."""
    joined = BatchResult(outcomes=())
    for result in results:
        values = {
            field.name: before + after if isinstance(before, tuple) else before or after
            for field in fields(BatchResult)
            for before, after in [(getattr(joined, field.name), getattr(result, field.name))]
        }
        joined = replace(joined, **values)
    return joined
