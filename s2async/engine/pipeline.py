"""The run as a whole: the feeder finds jobs, a bounded queue holds some of them, and the recorder processes them.

One task group owns every task, and the number of tasks does not depend on the number of areas. While tasks run,
one thread reads and writes the state in short transactions. An outcome is recorded only after its crops have their
final names.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from s2async import files, means
from s2async._version import __version__
from s2async.areas.faults import Changes
from s2async.cog import memory
from s2async.config.model import Config
from s2async.engine import closing, event_log, start
from s2async.engine.clusters import Cluster
from s2async.engine.context import Context
from s2async.engine.crash_marker import Left, Marks, take
from s2async.engine.executor import Executor, open_local
from s2async.engine.feeding import Feeder
from s2async.engine.limits import NO_LIMITS, RunLimits
from s2async.engine.progress import Progress, Summary
from s2async.engine.recording import Recorder
from s2async.engine.start import check
from s2async.engine.tools import Settings, ToolSettings
from s2async.errors import ConfigError, LocalError
from s2async.events import Event, Notice
from s2async.masks import store
from s2async.masks.store import Plans
from s2async.models import LONGEST_BATCH, Area
from s2async.output.strangers import Replaced
from s2async.state.writer import State

__all__ = ["check", "run"]


async def run(
    config: Config,
    areas: Sequence[Area],
    *,
    cluster: Cluster | None = None,
    limits: RunLimits = NO_LIMITS,
    changes: Changes | None = None,
    new_state: bool = False,
    progress: Progress | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Summary:
    """Search, check, crop and save, resuming where an earlier run of the same state stopped.

    Args:
        config: settings.
        areas: areas as returned by :func:`s2async.areas.loader.load`.
        cluster: cluster that processes the batches; None to use this process.
        limits: when to stop even if jobs are left.
        changes: how the areas differ from those that the configuration gives, for ``status``.
        new_state: start a new state even if the former one cannot be reached.
        progress: updated during the run.
        on_event: called with every event, in the event loop's thread.

    Raises:
        ConfigError: the state, its crops or the output folder are not accessible or belong to another
            configuration; the state contains the same items from another collection; or no scene can lie in the
            period.
        StateInUse, StateError: the state cannot be used.
        LocalError: this machine stopped the run; it can be resumed.
        ClusterError: the cluster does not respond; the run can be resumed.
        HostParked: a server did not respond within the patience, or requested a longer wait. Everything else has
            been done, and ``progress.ended`` describes it; the run can be resumed.
        asyncio.CancelledError: the run was stopped; it can be resumed.
    """
    memory.share_heaps()
    config.check_period(datetime.now(UTC))
    check(config, areas)
    progress, on_event = progress or Progress(), event_log.logged(on_event)

    def tell(text: str) -> None:
        on_event(Notice(text=text))

    for text in config.notices:
        tell(text)
    start.check_state(config, areas, tell, new_state=new_state)
    files.make_folder(config.run.state.parent, parents=True)
    with contextlib.ExitStack() as held:
        held.enter_context(means.told_short())
        wanted = start.wanted_work(config)
        work = start.fitted(config, wanted)
        if less := means.told(wanted, work):
            tell(less)
        state = held.enter_context(State.create_or_open(config.run.state))
        progress.begun = True
        start.take_folder(config, areas, state, tell, new_state=new_state)
        state.note_changes(changes or Changes())
        path = config.run.state.with_name(config.run.state.name + ".decoding")
        left = take(path)
        marks = held.enter_context(Marks(path, threads=work.threads, jobs=LONGEST_BATCH))
        progress.let_go = held.close
        context = Context(config, areas, state, limits, progress, on_event)
        held.callback(context.state_thread.close)
        return await _Run(context, cluster, limits, marks, work).run(left)


class _Run:
    """One run, from the opened state to the summary."""

    def __init__(
        self, context: Context, cluster: Cluster | None, limits: RunLimits, marks: Marks, work: means.Work
    ) -> None:
        config, state = context.config, context.state
        self.context = context
        self.cluster = cluster
        self.marks = marks
        self.limits = limits
        self.replaced = Replaced()
        self.settings = Settings(
            rule=context.rule,
            assets=context.selection.assets,
            mask=context.selection.mask,
            harmonised=context.selection.harmonised,
            conventions=state.conventions.noted(context.catalog),
            quicklook=config.output.quicklook,
            folder=config.output.folder,
            token=f"s2async-{state.id}",
            reserve=config.run.reserve,
            verify=config.run.verify,
            attribution=context.catalog.attribution,
            values=context.selection.values,
            values_rule=context.values_rule,
        )
        client = replace(config.client_settings(), connections=work.connections)
        self.tools = ToolSettings(client=client, work=work)
        self.feeder = Feeder(context)
        self.recorder = Recorder(context, config.network.connections if cluster else work.connections)

    async def run(self, left: Left) -> Summary:
        context = self.context
        self.feeder.begin()
        start.mark_crashed(context, left)
        start.bring_in_line(context, self.settings.token, self.replaced)
        memory.give_back()  # memory that was needed to load the areas
        context.state.begin_run(context.config.model_dump_json(), __version__)
        event_log.log_begin(context.config, context.areas, self.limits)
        try:
            await self._work()
            memory.give_back()
            settled = closing.settle(context, self.settings.token)
        except BaseException as fault:
            with contextlib.suppress(LocalError):  # if the disk is failing, the first error is the one to raise
                self._end("stopped", str(fault) or type(fault).__name__)
            raise
        self._end("finished")
        context.progress.ended = summary = closing.sum_up(context, settled)
        for error in context.given_up.values():
            raise error
        return summary

    async def _work(self) -> None:
        try:
            async with self._executor() as executor:
                self.context.progress.network = executor.network
                async with self.context.outages.watching(executor.transport):
                    await self.recorder.work_alone(executor)
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self.feeder.feed(executor.transport))
                        self.recorder.start(group, executor)
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            self.context.state_thread.close()  # from now on, this thread uses the state

    @contextlib.asynccontextmanager
    async def _executor(self) -> AsyncIterator[Executor]:
        """Yield the executor that processes the batches."""
        context, meter = self.context, self.context.progress.meter
        if self.cluster is None:
            with contextlib.closing(self._plans()) as plans:
                async with open_local(
                    self.settings, self.tools, marks=self.marks, meter=meter, replaced=self.replaced, plans=plans
                ) as executor:
                    yield executor
            return
        try:
            from s2async.engine.dask_executor import open_dask
        except ImportError as error:
            raise ConfigError("the executor dask needs: pip install 's2async[dask]'") from error
        async with open_dask(
            self.cluster,
            self.settings,
            self.tools,
            meter=meter,
            replaced=self.replaced,
            tell=context.tell,
            connections=context.config.network.connections,
            on_workers=context.queue.suit,
        ) as executor:
            yield executor

    def _plans(self) -> Plans:
        """Return the plans of all areas, which are cached next to the state."""
        fingerprints = (area.fingerprint for area in self.context.areas)
        return Plans(store.folder_of(self.context.config.run.state), fingerprints)

    def _end(self, how: str, reason: str = "") -> None:
        event_log.log_end(how, self.context.progress, reason)
        if self.replaced.summary:
            self.context.tell(self.replaced.summary)
        self.context.state.add_traffic(self.context.progress.meter.drain())
        self.context.state.end_run(how)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in nested groups; the others are cancelled siblings or say the same."""
    fault: BaseException = failures
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault
