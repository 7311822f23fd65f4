"""The cluster of a run: the connection to its scheduler, and its workers as they join and leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from distributed import Client, LocalCluster

from s2async._version import __version__
from s2async.engine import clusters, dask_worker
from s2async.engine.clusters import Cluster
from s2async.engine.dask_messages import Farewell, Fitness, Parting
from s2async.engine.dask_worker import Shop
from s2async.engine.workplaces import Workplaces
from s2async.errors import ClusterError, ConfigError
from s2async.log import log
from s2async.text import one_line

CONNECT: Final = 20.0
"""Seconds within which a scheduler must respond at the start of a run."""
CLOSING: Final = 4.0
"""Seconds that a worker has to close its tools when a run ends; if it takes longer, what it received is not
counted. A run that is stopped by a signal has 7 seconds in total (`cli.signals.PATIENCE`)."""
HEEDLESS: Final = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
"""Code that workers on this machine run first: Ctrl-C in a terminal is handled by the run, which stops them."""
PAUSED: Final = 60.0
"""Seconds for which Dask may pause a worker that is short of memory before its batches go to other workers."""
LOOK_EVERY: Final = 0.2
"""Seconds between two checks of the connection to the scheduler."""

_log: Final = logging.getLogger("s2async.engine")


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[Client]:
    """Connect to a scheduler. If none is named, start a cluster on this machine."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_silenced())
        address: Any = cluster.scheduler
        if not address:
            workers = cluster.workers or os.cpu_count() or 1
            threads = max(1, (os.cpu_count() or 1) // workers)
            address = LocalCluster(
                n_workers=workers,
                threads_per_worker=threads,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                preload=HEEDLESS,
                asynchronous=True,
            )
            address = await stack.enter_async_context(address)
        if cluster.scheduler.endswith(clusters.FILE):
            address = _address_in(Path(cluster.scheduler))
        try:
            client = await Client(address, asynchronous=True, timeout=CONNECT, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            where = cluster.scheduler or "this machine"
            raise ClusterError(
                f"no Dask scheduler answers at {where}: start one, or correct its address"
            ) from error
        try:
            yield client
        finally:
            with contextlib.suppress(Exception):  # it may be waiting for a scheduler that is gone
                await client.close(timeout=2 if client.status == "running" else 0.1)


def _address_in(file: Path) -> str:
    """Return the address that a scheduler has written to its file.

    Raises:
        ConfigError: the file contains none.
    """
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is not the file of a Dask scheduler; is it running?") from error


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep Dask's log messages off the terminal; the run reports what matters."""
    logger = logging.getLogger("distributed")
    former = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(former)


class Members:
    """The workers of a cluster that can process the batches of a run.

    Args:
        client: a client connected to the scheduler.
        shop: the plugin that opens the tools of the run on each worker.
        tell: called with messages for the user.
        on_workers: called with the number of workers whenever it changes.
    """

    def __init__(
        self, client: Client, shop: Shop, tell: Callable[[str], None], on_workers: Callable[[int], None]
    ) -> None:
        self.places = Workplaces()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the scheduler no longer responds."""
        self.gone: dict[str, asyncio.Future[bool]] = {}
        """By worker: done when the worker has left; the result says whether it was told to leave."""
        self.on_parting: Callable[[Parting], None] = lambda _: None
        """Called with what a leaving worker reports."""
        self._client = client
        self._shop = shop
        self._tell = tell
        self._on_workers = on_workers
        self._known: set[str] = set()
        """Workers that have joined and not left, including those that cannot process batches."""
        self._changed = asyncio.Event()
        """Set, and replaced by a new event, whenever a waiting batch may find a worker."""
        self._paused: dict[str, asyncio.TimerHandle] = {}
        """Workers that Dask has paused, each with the timer after which it is given up."""
        self._beside = set[asyncio.Task[None]]()

    async def open(self) -> None:
        """Open the tools on all workers, and check that every worker can be used.

        Raises:
            ConfigError: the scheduler or a worker cannot be used; the message is one line.
            ClusterError: the scheduler no longer responds.
        """
        client, name = self._client, self._shop.name
        self.aside(self._watch())
        client.subscribe_topic("all", self._on_event)
        client.subscribe_topic(self._shop.topic, lambda event: self.on_parting(Parting.unpacked(event[1])))
        try:
            there = await client.run_on_scheduler(dask_worker.version)
            if there != self._shop.version:
                raise ConfigError(
                    f"the Dask scheduler has s2async {there}, and this run is of version {self._shop.version}: "
                    "install the same on the scheduler and all workers"
                )
            await client.register_plugin(self._shop, name=name)
            # The client's own message may arrive after the next calls; workers that join before would be missed.
            await client.run_on_scheduler(dask_worker.tell_events, client.id, ["all", self._shop.topic])
            workers = list(await client.nthreads())
            self._known.update(workers)  # until an event says that they leave
            fitness = await self._looked(workers)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"the Dask scheduler or a worker cannot load s2async {__version__} ({one_line(str(error))}): "
                "install it there, with the extra dask"
            ) from error
        except OSError as error:
            raise ClusterError(f"the Dask scheduler no longer answers ({one_line(str(error))})") from error
        for address, found in fitness.items():
            if found.fault:
                raise ConfigError(f"the worker {address} {found.fault}")
            if address in self._known and address not in self.places:
                self._join(address, found)
        if not self.places:
            self._tell("the cluster has no workers yet: waiting for the first")

    async def _looked(self, workers: Sequence[str]) -> dict[str, Fitness]:
        """Return whether workers can process batches, omitting those that have left in the meantime."""
        if not workers:  # the client would call all workers
            return {}
        asked = await self._client.run(dask_worker.look, self._shop.name, workers=workers, on_error="return")
        found: dict[str, Fitness] = {}
        for address, one in asked.items():
            if isinstance(one, OSError):
                log(_log, logging.WARNING, "worker_unfit", {"worker": address, "reason": one_line(str(one))})
                self._known.discard(address)
            elif isinstance(one, Exception):
                raise one
            else:
                found[address] = one
        return found

    async def close(self, untaken: Collection[int]) -> list[Farewell]:
        """Close the tools on all workers that still respond, and return their farewells.

        Args:
            untaken: numbers of orders whose deliveries the run has not received.
        """
        for timer in self._paused.values():
            timer.cancel()
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        if self._client.status != "running":
            return []
        found: list[Farewell | None] = []
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSING + 1):
                workers = await self._client.nthreads()
                found = await asyncio.gather(*(self._farewell(address, untaken) for address in workers))
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1):  # the scheduler removes it first, and then asks the workers
                await self._client.unregister_worker_plugin(self._shop.name)
        return [farewell for farewell in found if farewell]

    async def _farewell(self, address: str, untaken: Collection[int]) -> Farewell | None:
        """Close the tools on a worker and return its farewell; None if this takes too long or it has no tools."""
        farewell: Farewell | None = None
        with contextlib.suppress(Exception):  # such as a worker that leaves at this moment
            async with asyncio.timeout(CLOSING):
                found = await self._client.run(
                    dask_worker.close, self._shop.name, tuple(untaken), workers=[address]
                )
                farewell = found[address]
        return farewell

    def check(self) -> None:
        """Check that the scheduler still responds.

        Raises:
            ClusterError: it does not.
        """
        if self.lost.done() or self._client.status != "running":
            raise ClusterError(
                "the Dask scheduler no longer answers: what is recorded is kept; start it and run again to resume"
            )

    def lose(self) -> None:
        """Record that the scheduler no longer responds."""
        if not self.lost.done():
            self.lost.set_result(None)
        self.wake()

    async def change(self) -> None:
        """Wait until a waiting batch may find a worker, or a server is used again.

        Raises:
            ClusterError: the scheduler no longer responds.
        """
        await self._changed.wait()
        self.check()

    def wake(self) -> None:
        """Wake everything that waits in `change`."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine next to the batches; it is cancelled when the run ends."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def leave(self, address: str, *, expected: bool = False) -> None:
        """Stop using a worker.

        Args:
            address: address of the worker.
            expected: whether it was told to leave.
        """
        self._known.discard(address)
        if self.places.leave(address):
            self.gone.pop(address).set_result(expected)
            self._tell(f"a worker has left ({address}): {len(self.places) or 'none'} now")
            self._on_workers(len(self.places))
            self.wake()

    async def _watch(self) -> None:
        """Wait until the scheduler no longer responds, and record it."""
        while self._client.status == "running":  # noqa: ASYNC110 - the client signals no change
            await asyncio.sleep(LOOK_EVERY)
        self.lose()

    def _on_event(self, event: tuple[float, Any]) -> None:
        """Handle the event that a worker joins or leaves."""
        _, said = event
        match said:
            case {"action": "add-worker", "worker": address} if address not in self._known:
                self.aside(self._greet(address))
            case {"action": "remove-worker", "worker": address}:
                if timer := self._paused.pop(address, None):
                    timer.cancel()
                self.leave(address, expected=bool(said.get("expected")))

    def _on_status(self, address: str, said: Any) -> None:
        """Handle a change of a worker's status: while Dask pauses it for lack of memory, it gets no batches."""
        match said:
            case {"action": "worker-status-change", "status": "paused"} if address in self.places:
                self._pause(address)
            case {"action": "worker-status-change", "status": "running"} if address in self._paused:
                self._paused.pop(address).cancel()
                self.places.resume(address)
                self.wake()
                if address not in self.places:  # it was given up in the meantime
                    self.aside(self._greet(address))

    def _pause(self, address: str) -> None:
        if timer := self._paused.pop(address, None):  # it went on meanwhile, which nobody has told
            timer.cancel()
        self.places.pause(address)
        self._tell(f"the worker {address} is short of memory: it gets no batches until it has some")
        give_up = partial(self.leave, address, expected=True)
        self._paused[address] = asyncio.get_running_loop().call_later(PAUSED, give_up)

    async def _greet(self, address: str) -> None:
        """Start to use a worker that has joined, if it can process batches."""
        self._known.add(address)
        try:
            found = (await self._looked([address])).get(address)
        except Exception as error:  # noqa: BLE001 - an error of this worker does not affect the others
            log(_log, logging.WARNING, "worker_unfit", {"worker": address, "reason": one_line(str(error))})
            return
        if found is None:  # it has already left
            return
        if found.fault:
            self._tell(f"the worker {address} is not used: it {found.fault}")
        elif address in self._known and address not in self.places:
            self._join(address, found)
            self._tell(f"a worker has joined ({address}): {len(self.places)} now")

    def _join(self, address: str, found: Fitness) -> None:
        self._known.add(address)
        self.places.join(address)
        self._client.subscribe_topic(address, lambda event: self._on_status(address, event[1]))
        self.gone[address] = asyncio.get_running_loop().create_future()
        self._on_workers(len(self.places))
        if found.is_paused:
            self._pause(address)
        self.wake()
