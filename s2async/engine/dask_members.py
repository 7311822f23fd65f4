"""The cluster of a run: the connection with its scheduler, and its workers as they come and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from distributed import Client, LocalCluster

from s2async._version import __version__
from s2async.engine import clusters, dask_worker
from s2async.engine.clusters import Cluster
from s2async.engine.dask_worker import Farewell, Shop
from s2async.engine.workplaces import Workplaces
from s2async.errors import ClusterError, ConfigError
from s2async.log import log
from s2async.text import one_line

CONNECT: Final = 20.0
"""Seconds in which a scheduler must answer at the start of a run."""
CLOSING: Final = 10.0
"""Seconds in which workers close their tools when a run ends; what they received after that is not counted."""
HEEDLESS: Final = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
"""What workers of this machine run first: Ctrl-C in a terminal is for the run, which ends them."""
LOOK_EVERY: Final = 0.2
"""Seconds between two looks at the connection with the scheduler."""

_log: Final = logging.getLogger("s2async.engine")


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[Client]:
    """Connect with a scheduler, which may be one that this process starts with its workers."""
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
    """The address that a scheduler has written to its file.

    Raises:
        ConfigError: there is none.
    """
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is not the file of a Dask scheduler; is it running?") from error


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep what the engine prints from the terminal: what matters of it is told by the run."""
    logger = logging.getLogger("distributed")
    former = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(former)


class Members:
    """The workers of a cluster that can work on the batches of a run.

    Args:
        client: connected with the scheduler.
        shop: the tools of the run, to be opened on each worker.
        tell: called with lines that a person should read.
        on_workers: called with the number of workers whenever it changes.
    """

    def __init__(
        self, client: Client, shop: Shop, tell: Callable[[str], None], on_workers: Callable[[int], None]
    ) -> None:
        self.places = Workplaces()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the scheduler no longer answers."""
        self.gone: dict[str, asyncio.Future[bool]] = {}
        """By worker: done when it has left; the result tells whether it was told to."""
        self._client = client
        self._shop = shop
        self._tell = tell
        self._on_workers = on_workers
        self._known: set[str] = set()
        """Workers that joined and have not left, those included that cannot work on batches."""
        self._changed = asyncio.Event()
        """Set, and replaced by a new one, whenever a batch that waits may find a worker."""
        self._beside = set[asyncio.Task[None]]()

    async def open(self) -> None:
        """Open the tools on all workers, and check that every one of them can be used.

        Raises:
            ConfigError: the scheduler or a worker cannot be used; one line.
            ClusterError: the scheduler no longer answers.
        """
        client, name = self._client, self._shop.name
        self.aside(self._watch())
        client.subscribe_topic("all", self._on_event)
        try:
            there = await client.run_on_scheduler(dask_worker.version)
            if there != self._shop.version:
                raise ConfigError(
                    f"the Dask scheduler has s2async {there}, and this run is of version {self._shop.version}: "
                    "install the same on the scheduler and all workers"
                )
            await client.register_plugin(self._shop, name=name)
            # its own message may arrive later than the next calls: workers that join meanwhile would be missed
            await client.run_on_scheduler(dask_worker.tell_events, client.id)
            workers = list(await client.nthreads())
            fitness = await client.run(dask_worker.look, name, workers=workers) if workers else {}
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
            if address not in self.places:  # it may have been greeted meanwhile
                self._join(address)
        if not self.places:
            self._tell("the cluster has no workers yet: waiting for the first")

    async def close(self, untaken: Collection[int]) -> list[Farewell]:
        """Close the tools on all workers, as far as they still answer.

        Args:
            untaken: numbers of orders whose deliveries nobody has taken.
        """
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        found: dict[str, Farewell | None] = {}
        if self._client.status == "running":
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSING):
                    found = await self._client.run(
                        dask_worker.close, self._shop.name, tuple(untaken), on_error="ignore"
                    )
                    await self._client.unregister_worker_plugin(self._shop.name)
        return [farewell for farewell in found.values() if farewell]

    def check(self) -> None:
        """Check that the scheduler still answers.

        Raises:
            ClusterError: it does not.
        """
        if self.lost.done() or self._client.status != "running":
            raise ClusterError(
                "the Dask scheduler no longer answers: what is recorded is kept; start it and run again to resume"
            )

    def lose(self) -> None:
        """Note that the scheduler no longer answers."""
        if not self.lost.done():
            self.lost.set_result(None)
        self.wake()

    async def change(self) -> None:
        """Wait until a batch that waits may find a worker, or a server is asked again.

        Raises:
            ClusterError: the scheduler no longer answers.
        """
        await self._changed.wait()
        self.check()

    def wake(self) -> None:
        """End all waits of `change`."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def aside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work beside the batches; it is cancelled when the run ends."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    def leave(self, address: str, *, expected: bool = False) -> None:
        """Use a worker no longer.

        Args:
            address: of the worker.
            expected: it was told to go.
        """
        self._known.discard(address)
        if self.places.leave(address):
            self.gone.pop(address).set_result(expected)
            self._tell(f"a worker has left ({address}): {len(self.places) or 'none'} now")
            self._on_workers(len(self.places))
            self.wake()

    async def _watch(self) -> None:
        """Wait until the scheduler no longer answers."""
        while self._client.status == "running":  # noqa: ASYNC110 - the client tells nobody
            await asyncio.sleep(LOOK_EVERY)
        self.lose()

    def _on_event(self, event: tuple[float, Any]) -> None:
        """Take notice of workers that join and leave."""
        _, said = event
        match said:
            case {"action": "add-worker", "worker": address} if address not in self._known:
                self.aside(self._greet(address))
            case {"action": "remove-worker", "worker": address}:
                self.leave(address, expected=bool(said.get("expected")))

    async def _greet(self, address: str) -> None:
        """Use a worker that has joined, if it can work on batches."""
        self._known.add(address)
        try:
            found = (await self._client.run(dask_worker.look, self._shop.name, workers=[address]))[address]
        except Exception as error:  # noqa: BLE001 - such as a worker that leaves at once
            log(_log, logging.WARNING, "worker_unfit", {"worker": address, "reason": one_line(str(error))})
            return
        if found.fault:
            self._tell(f"the worker {address} is not used: it {found.fault}")
        elif address in self._known and address not in self.places:
            self._join(address)
            self._tell(f"a worker has joined ({address}): {len(self.places)} now")

    def _join(self, address: str) -> None:
        self._known.add(address)
        self.places.join(address)
        self.gone[address] = asyncio.get_running_loop().create_future()
        self._on_workers(len(self.places))
        self.wake()
