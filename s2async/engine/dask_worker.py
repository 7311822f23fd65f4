"""Code for the worker processes of a Dask cluster: the tools of a run, and the tasks that process its batches.

Dask runs coroutines on the event loop of a worker. Decoding there would delay heartbeats until the scheduler
considers the worker lost. The tools therefore have their own thread and event loop (`Shop`), and a task only waits
for its batch. While it waits, the task secedes from the worker's thread pool, because a batch spends most of its
time waiting for the network, and a worker has many more batches in progress than compute threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

from distributed import WorkerPlugin, get_worker, secede

from s2async import means
from s2async._version import __version__
from s2async.cog import memory
from s2async.engine import run_mark, worker
from s2async.engine.dask_messages import Farewell, Fitness, Kit, Parting, Reopened
from s2async.engine.parcels import Delivery, Parcel, Trouble, pack_delivery, unpack_order
from s2async.engine.run_mark import Fenced
from s2async.engine.saving import Encoded
from s2async.engine.tools import Settings, Tools, ToolSettings, open_tools
from s2async.errors import HostParked, LocalError, S2AsyncError
from s2async.models import BatchResult, Traffic
from s2async.net.accounting import Meter
from s2async.net.connections import check_proxies
from s2async.net.limiter import TURN
from s2async.output.strangers import Replaced

T = TypeVar("T")

LOOK_EVERY: Final = 0.5
"""Seconds between two checks by a task that its batch is still needed."""
PLUGIN_WAIT: Final = 30.0
"""Seconds within which a worker that has just joined must have its plugin."""
PROFILER: Final = "profile"
"""Dask's name for the callback that samples the stacks of all tasks every 10 ms. Python 3.11 may hang forever in
``sys._current_frames`` (CPython issue 106883). For this reason, Dask does not sample event loops there, but it
does sample tasks. The tasks of a run only wait, so sampling them would show nothing."""
DROPPED: Final = frozenset({"cancelled", "released", "forgotten"})
"""Dask's names for the states of a task whose result is no longer needed."""


class Shop(WorkerPlugin):  # type: ignore[misc]  # the library may not be installed
    """The tools of one run in one worker process, with their own event loop.

    A plugin of the same name replaces it. This happens when the next run of the same state starts, which is only
    after the batches of this run have ended.

    Args:
        name: name of the plugin, the same for all runs of a state.
        version: version of the package in the run's own process.
        kit: a pickled `Kit`, which is not unpickled if the versions differ.
    """

    idempotent = False

    def __init__(self, name: str, version: str, kit: bytes) -> None:
        self.name = name
        self.version = version
        self.topic = f"{name}-{secrets.token_hex(4)}"
        """Topic of the events by which it reports to the run what it received when its worker leaves."""
        self._kit = kit
        self.is_set_up = False
        """Whether `setup` has ended."""
        self.fault = ""
        """Why this worker cannot process batches; empty if it can."""

    # ---- on the worker's event loop ----

    async def setup(self, worker: Any) -> None:
        """Open the tools. An error is stored for `look` to report: raised here, it would only reach the log."""
        self._tasks = set[asyncio.Task[Any]]()
        self._meter = Meter()
        self._delivered: dict[int, tuple[Traffic, ...]] = {}
        """Traffic of deliveries by order number, kept until the run has received them."""
        self._opened = False
        self._is_wanted = True
        """False once `close` or `teardown` has been called."""
        self._thread: threading.Thread | None = None
        self._profiler = worker.periodic_callbacks.pop(PROFILER, None)
        if self._profiler:
            self._profiler.stop()
        self._batches = 0
        self._parts = 0
        """Number of workers that shared the connections at the time of the last order."""
        if self.version == __version__:
            await self._open(worker)
        else:
            self.fault = f"has s2async {__version__}, and this run is of version {self.version}: install the same"
        self.is_set_up = True

    async def _open(self, worker: Any) -> None:
        self._threads = max(1, worker.state.nthreads)
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=[opened], name="s2async-shop", daemon=True)
        self._thread.start()
        try:
            await asyncio.wrap_future(opened)
        except S2AsyncError as error:
            self.fault = str(error)
        except Exception as error:  # noqa: BLE001 - reported by the run
            self.fault = f"cannot open its tools ({type(error).__name__}: {' '.join(str(error).split())})"

    async def teardown(self, worker: Any) -> None:
        """When the worker leaves: stop the batches, close the tools, and report to the run what they received."""
        await self._stop()
        if self._profiler:
            worker.periodic_callbacks[PROFILER] = self._profiler
            self._profiler.start()
        parting = Parting(traffic=tuple(self._meter.drain()), deliveries=self._delivered)
        if parting.traffic or parting.deliveries:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                worker.log_event(self.topic, parting.packed())

    @property
    def is_open(self) -> bool:
        """Whether batches can start."""
        return self._opened and self.is_alive and not self._closing.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether the thread of the tools is running."""
        return self._thread is not None and self._thread.is_alive()

    async def close(self, untaken: Collection[int] = ()) -> Farewell:
        """Stop the batches, close the tools, and return the traffic that has not been reported yet.

        Args:
            untaken: numbers of orders whose deliveries the run has not received.
        """
        await self._stop()
        missed = [entry for number in untaken for entry in self._delivered.get(number, ())]
        self._delivered.clear()
        return Farewell(traffic=(*self._meter.drain(), *missed))

    async def _stop(self) -> None:
        """Stop the batches and close the tools."""
        self._is_wanted = False
        if self._opened:
            with contextlib.suppress(RuntimeError):  # already closed
                self._loop.call_soon_threadsafe(self._closing.set)
        if self._thread:
            await asyncio.to_thread(self._thread.join)

    # ---- in the thread of the tools ----

    def _main(self, opened: Future[None]) -> None:
        try:
            kit: Kit = pickle.loads(self._kit)  # noqa: S301 - from our own run
            if kit.mark:
                run_mark.check(kit.mark)
            asyncio.run(self._serve(kit, opened))
        except BaseException as error:  # noqa: BLE001 - raised in `setup`
            if not opened.done():
                opened.set_exception(error)

    async def _serve(self, kit: Kit, opened: Future[None]) -> None:
        self._loop, self._closing, self._settings = asyncio.get_running_loop(), asyncio.Event(), kit.settings
        check_proxies(kit.tools.client.origins)
        values = kit.settings.values
        if values and values.weights == "coverage" and find_spec("exactextract") is None:
            raise LocalError("needs exactextract for weights by coverage: pip install 's2async[coverage]'")
        wanted, client = replace(kit.tools.work, threads=self._threads), kit.tools.client
        work = means.fit(wanted, means.look(), hosts=len(client.origins))
        client = replace(client, connections=work.connections)
        async with open_tools(ToolSettings(client=client, work=work), meter=self._meter) as tools:
            self._own_writers = tools.writers
            if kit.mark:
                tools = replace(tools, writers=Fenced(tools.writers, kit.mark))
            self._tools: Tools = tools
            self._sends = kit.mark is None
            self._connections = kit.connections
            self._opened = True
            opened.set_result(None)
            if not self._is_wanted:  # it was closed before `_closing` could be set
                self._closing.set()
            await self._closing.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T] | None:
        """From any thread: start work in the thread of the tools; return None if that thread has ended."""
        noted = self._noted(work)
        try:
            return asyncio.run_coroutine_threadsafe(noted, self._loop)
        except RuntimeError:  # the loop is closed
            noted.close()
            return None

    async def _noted(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        if self._closing.is_set():  # the tools are closed without waiting for this task
            raise asyncio.CancelledError
        self._tasks.add(task)
        try:
            return await work()
        finally:
            self._tasks.discard(task)

    async def work_on(self, parcel: Parcel) -> Parcel:
        """Process a batch. Any error is reported in the delivery."""
        order = unpack_order(parcel)
        crops, replaced = list[Encoded](), _Noted()
        tools = replace(self._tools, replaced=replaced)
        if self._sends:

            def keep(some: Sequence[Encoded], settings: Settings, theirs: Replaced) -> None:  # noqa: ARG001
                crops.extend(some)

            tools = replace(tools, save=keep)
        self._share(order.parts)
        TURN.set(order.turn)
        result: BatchResult | None = None
        trouble: Trouble | None = None
        reason = ""
        try:
            result = await worker.process(order.batch, self._settings, tools)
        except worker.Stopped as stopped:
            result, trouble = stopped.result, "stopped"
        except asyncio.CancelledError:
            trouble = "stopped"
        except LocalError as error:
            trouble, reason = "local", str(error)
        except MemoryError:
            trouble, reason = "local", "out of memory; lower memory in [run], or connections in [network]"
        except Exception:  # noqa: BLE001 - raised in the process of the run
            trouble, reason = "bug", traceback.format_exc()
        self._batches += 1
        if self._batches % memory.EVERY == 0:
            self._own_writers.submit(memory.give_back)
        # What a stopped batch received is reported in the farewell, because its delivery may never be received.
        beside = () if trouble == "stopped" else tuple(self._meter.drain())
        self._delivered = {
            number: told
            for number, told in self._delivered.items()
            if number >= order.oldest or number in order.dropped
        }
        self._delivered[order.number] = (*(result.traffic if result else ()), *beside)
        delivery = Delivery(
            result=result,
            trouble=trouble,
            reason=reason,
            crops=tuple(crops),
            replaced=tuple(replaced.files),
            beside=beside,
            retries=tools.transport.retries,
        )
        return pack_delivery(delivery, order.batch)

    async def reopened(self, origin: str) -> Reopened:
        """Wait until requests may again be sent to a server that this worker has parked."""
        try:
            await self._tools.transport.reopened(origin)
        except HostParked as error:
            return Reopened(given_up=str(error), retry_after=error.retry_after)
        return Reopened()

    def _share(self, parts: int) -> None:
        if parts != self._parts:
            self._parts = parts
            self._tools.transport.share(parts, self._connections)


class _Noted(Replaced):
    """Records the foreign files that are overwritten, for the process that counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[tuple[Path, str]] = []

    def add(self, path: Path, whose: str) -> None:
        """See `Replaced.add`."""
        if whose:
            self.files.append((path, whose))


# ---- what the run calls -----------------------------------------------------------------------------------


def version() -> str:
    """Return the version of the package in the process that calls this function."""
    return __version__


def tell_events(client: str, topics: Sequence[str], dask_scheduler: Any) -> None:
    """On the scheduler: subscribe a client to topics immediately; `Client.subscribe_topic` takes effect later."""
    for topic in topics:
        dask_scheduler.subscribe_topic(topic, client)


async def look(name: str, dask_worker: Any) -> Fitness:
    """On a worker's event loop: return whether it can process batches. Waits for a plugin that is being set up."""
    until = time.monotonic() + PLUGIN_WAIT
    while not isinstance(shop := dask_worker.plugins.get(name), Shop) or not shop.is_set_up:
        if time.monotonic() > until:
            return Fitness(version=__version__, fault="did not start the plugin of this run")
        await asyncio.sleep(0.05)
    return Fitness(version=__version__, fault=shop.fault, is_paused=dask_worker.status.name == "paused")


async def close(name: str, untaken: Collection[int], dask_worker: Any) -> Farewell | None:
    """On a worker's event loop: close the tools of a run; see `Shop.close`."""
    shop = dask_worker.plugins.get(name)
    return await shop.close(untaken) if isinstance(shop, Shop) else None


def process(name: str, parcel: Parcel) -> Parcel | None:
    """A task: process a batch; return None if this worker cannot, or if the result is no longer needed."""
    shop = _shop(name)
    return _awaited(shop, lambda: shop.work_on(parcel)) if shop else None


def reopened(name: str, origin: str) -> Reopened | None:
    """A task: wait until a parked server may be used again; return None as in `process`."""
    shop = _shop(name)
    return _awaited(shop, lambda: shop.reopened(origin)) if shop else None


def _shop(name: str) -> Shop | None:
    shop = get_worker().plugins.get(name)
    return shop if isinstance(shop, Shop) and shop.is_open else None


def _awaited(shop: Shop, work: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
    """Run a coroutine in the shop without occupying a thread of the worker's pool.

    Dask does not interrupt tasks in threads. When the process of the run is gone or has dropped the task, only the
    state of the task shows this.

    Returns:
        The result, or None if it is no longer needed or if the shop closes.
    """
    worker = get_worker()
    key = worker.get_current_task()
    doing = shop.begin(work)
    if doing is None:
        return None
    secede()
    while not wait([doing], LOOK_EVERY).done:
        task = worker.state.tasks.get(key)
        is_lost = not shop.is_alive and not doing.done()
        if task is None or task.state in DROPPED or is_lost:
            doing.cancel()
            return None
    return None if doing.cancelled() else doing.result()
