"""Runs from Python: until they end, or outcome by outcome, and their blocking counterparts.

The coroutines need a running event loop, such as that of a notebook. The functions that end in ``_sync`` may be
called anywhere; a running event loop is blocked until they return.
"""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from s2async import log_file
from s2async.api.loop_thread import LoopThread, waited_for
from s2async.api.settings import ConfigLike, load_config
from s2async.areas import loader as area_files
from s2async.areas.faults import Changes
from s2async.config.model import Config
from s2async.engine import clusters, pipeline
from s2async.engine.clusters import Cluster
from s2async.engine.limits import RunLimits
from s2async.engine.metrics_file import MetricsFile
from s2async.engine.progress import Progress, Summary
from s2async.errors import ConfigError
from s2async.events import Event, JobDone, Notice
from s2async.models import Area, Outcome


async def run(
    config: ConfigLike,
    *,
    areas: Sequence[Area] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    new_state: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    send_crops: bool = False,
    metrics: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Summary:
    """Search, check, crop and save; continue where an earlier run of the same state stopped.

    If it is cancelled, the run stops normally, and its results are kept.

    Args:
        config: settings.
        areas: some of `load_areas`, or others; by default, those of the configuration. They become the areas of
            the state: jobs of other areas wait for a run with these areas, and until then their crops stay on
            disk, but are neither in the index nor known to `read` and `status`. To process many areas in parts,
            use a separate state and output folder for each part, or all areas and a ``limit``.
        limit: maximum number of jobs to process.
        max_bytes: number of received bytes after which the run starts nothing new; work in progress is finished,
            so somewhat more may be received.
        max_seconds: seconds after which the run starts nothing new; work in progress is finished.
        new_state: start a new state even if the disk with the state of earlier runs is not mounted.
        executor: ``local``, the default, or ``dask`` to have the workers of a Dask cluster read and crop.
        scheduler: address of its scheduler, such as ``tcp://10.0.0.5:8786``, a scheduler file (``*.json``), or
            ``dask://local?workers=4`` for a cluster on this machine that the run starts and ends. The default is
            the last of these, with a worker for each core.
        send_crops: workers send crops to this process, which writes them, so that they need no access to the
            output folder.
        metrics: file to which metrics for Prometheus are written every few seconds and at the end.
        on_event: called with every event, in the event loop's thread.

    Returns:
        How the run ended. ``summary.clean`` is true if no job has failed, every search is complete and there is no
        alarm; ``summary.alarms`` says why hardly any files could be read, and what to do.

    Raises:
        ConfigError: the configuration, the areas or a limit cannot be used; or the state or the output folder
            belongs to another configuration, or is on a disk that is not mounted.
        StateInUse, StateError: the state cannot be used.
        LocalError: this machine stopped the run; it can be resumed.
        ClusterError: the Dask cluster does not respond, or no longer does; the run can be resumed.
        HostParked: a server did not respond within the patience of the configuration; the run can be resumed.

    Example::

        summary = await s2async.run("fields.toml")
        print(summary.done, summary.bytes)
    """
    cluster = clusters.chosen(executor, scheduler, send_crops=send_crops)
    kept = None
    if metrics is not None:
        kept = MetricsFile(Path(metrics), _name(config), lambda text: on_event(Notice(text=text, grave=True)))
    try:
        summary = await _run(
            load_config(config),
            areas,
            RunLimits(jobs=limit, bytes=max_bytes, seconds=max_seconds),
            cluster=cluster,
            new_state=new_state,
            metrics=kept,
            on_event=on_event,
        )
    except BaseException as error:
        if kept:
            kept.fail(error)
        raise
    if kept:
        kept.end(summary.exit_code)
    return summary


async def _run(
    settings: Config,
    areas: Sequence[Area] | None,
    limits: RunLimits,
    *,
    cluster: Cluster | None,
    new_state: bool,
    metrics: MetricsFile | None,
    on_event: Callable[[Event], None],
) -> Summary:
    """See `run`."""

    def on_notice(notice: Notice) -> None:
        area_files.warn(notice)
        on_event(notice)

    changes = None
    if areas is None:
        wanted, changes = await _examined(settings, on_notice)
    else:
        wanted = list(areas)
    if not wanted:
        raise ConfigError("areas is empty: nothing would be left in the index; pass at least one area")
    progress = Progress()
    keeping = None
    if metrics:
        metrics.progress = progress
        keeping = asyncio.create_task(metrics.keep())
    try:
        with log_file.writing(settings.run.log):
            return await pipeline.run(
                settings,
                wanted,
                cluster=cluster,
                limits=limits,
                changes=changes,
                new_state=new_state,
                progress=progress,
                on_event=on_event,
            )
    finally:
        if keeping:
            keeping.cancel()


def _name(config: ConfigLike) -> str:
    """Return the name of a configuration for metrics: that of its file, or otherwise of its state."""
    if isinstance(config, Mapping):
        config = load_config(config)
    if isinstance(config, Config):
        return str((config.file or config.run.state).absolute())
    return str(Path(config).absolute())


async def _examined(config: Config, on_notice: Callable[[Notice], None]) -> tuple[list[Area], Changes]:
    """Load the areas of a configuration in a thread, so that other tasks of the event loop continue."""
    notices: list[Notice] = []
    try:
        loaded = await asyncio.to_thread(area_files.examine, config, notices.append)
    finally:
        for notice in notices:
            on_notice(notice)
    return loaded.areas, loaded.changes


async def stream(
    config: ConfigLike,
    *,
    areas: Sequence[Area] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    new_state: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    send_crops: bool = False,
) -> AsyncGenerator[Outcome, None]:
    """Run, and yield each outcome as soon as it is recorded: of saved crops and of cloudy areas.

    If the loop is left early, the run stops normally. Outcomes that are not consumed yet wait in memory, about 1
    kB each.

    Args:
        config: settings.
        areas: as for `run`.
        limit: maximum number of jobs to process.
        max_bytes: number of received bytes after which the run starts nothing new; work in progress is finished,
            so somewhat more may be received.
        max_seconds: seconds after which the run starts nothing new; work in progress is finished.
        new_state: start a new state even if the disk with the state of earlier runs is not mounted.
        executor: as for `run`.
        scheduler: as for `run`.
        send_crops: as for `run`.

    Raises:
        ConfigError, StateError, LocalError, ClusterError, HostParked: as for `run`, after all outcomes.

    Example::

        async for outcome in s2async.stream("fields.toml"):
            if outcome.status == "saved":
                print(outcome.job.area.name, outcome.job.scene.datetime)
    """
    done = asyncio.Queue[Outcome | None]()

    def on_event(event: Event) -> None:
        if isinstance(event, JobDone):
            done.put_nowait(event.outcome)

    running = asyncio.create_task(
        run(
            config,
            areas=areas,
            limit=limit,
            max_bytes=max_bytes,
            max_seconds=max_seconds,
            new_state=new_state,
            executor=executor,
            scheduler=scheduler,
            send_crops=send_crops,
            on_event=on_event,
        )
    )
    running.add_done_callback(lambda _: done.put_nowait(None))
    try:
        while (outcome := await done.get()) is not None:
            yield outcome
        running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def run_sync(
    config: ConfigLike,
    *,
    areas: Sequence[Area] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    new_state: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    send_crops: bool = False,
    metrics: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Summary:
    """Like `run`, but block until the run has ended. Ctrl-C stops the run normally.

    If an event loop is running, as in a notebook, the run has its own thread, in which ``on_event`` is called.

    Example::

        summary = s2async.run_sync("fields.toml", limit=20)
    """
    return waited_for(
        lambda: run(
            config,
            areas=areas,
            limit=limit,
            max_bytes=max_bytes,
            max_seconds=max_seconds,
            new_state=new_state,
            executor=executor,
            scheduler=scheduler,
            send_crops=send_crops,
            metrics=metrics,
            on_event=on_event,
        )
    )


def stream_sync(
    config: ConfigLike,
    *,
    areas: Sequence[Area] | None = None,
    limit: int | None = None,
    max_bytes: int | None = None,
    max_seconds: float | None = None,
    new_state: bool = False,
    executor: str | None = None,
    scheduler: str | None = None,
    send_crops: bool = False,
) -> Generator[Outcome, None, None]:
    """Like `stream`, but for a plain ``for`` loop. The run has its own thread.

    Example::

        for outcome in s2async.stream_sync("fields.toml"):
            print(outcome.status, outcome.job.area.name)
    """
    found = queue.SimpleQueue[Outcome | None]()

    async def work() -> None:
        try:
            streamed = stream(
                config,
                areas=areas,
                limit=limit,
                max_bytes=max_bytes,
                max_seconds=max_seconds,
                new_state=new_state,
                executor=executor,
                scheduler=scheduler,
                send_crops=send_crops,
            )
            async with aclosing(streamed) as outcomes:
                async for outcome in outcomes:
                    found.put(outcome)
        finally:
            found.put(None)

    thread = LoopThread(work)
    try:
        while (outcome := found.get()) is not None:
            yield outcome
    except BaseException:
        thread.cancel()
        raise
    thread.result()
