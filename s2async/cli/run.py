"""The command run: from a configuration to an exit code, on the terminal."""

from __future__ import annotations

import asyncio
import gc
import shlex
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from rich.text import Text

from s2async.areas import loader as area_files
from s2async.cli import consent, console, heartbeat, run_summary
from s2async.cli.log_options import LogChoice
from s2async.cli.run_view import RunView
from s2async.cli.signals import Stop
from s2async.cli.status import print_json, to_json
from s2async.config.model import Config
from s2async.engine import clusters, pipeline
from s2async.engine.clusters import Cluster
from s2async.engine.limits import NO_LIMITS, RunLimits
from s2async.engine.metrics_file import MetricsFile
from s2async.engine.progress import Progress, Summary
from s2async.errors import HostParked
from s2async.state.reader import Ledger
from s2async.text import safe

NEW_OBJECTS = 20_000
"""New objects between two passes of the garbage collector: the usual value of 700 costs 3 % of a run."""


def run_file(
    path: Path,
    *,
    executor: str | None,
    scheduler: str | None,
    send_crops: bool,
    limit: int | None,
    max_bytes: int | None,
    max_time: float | None,
    as_json: bool,
    yes: bool,
    new_state: bool,
    metrics: Path | None,
    log: LogChoice,
    verbose: bool,
    quiet: bool,
) -> int:
    """Run a configuration from a file with the options of the command line, and return the exit code.

    Args:
        path: the configuration.
        executor: where scenes are read: ``local`` or ``dask``; None for the default.
        scheduler: address of the Dask scheduler; None for the default.
        send_crops: the workers of the cluster send their crops to this process.
        limit: maximum number of jobs.
        max_bytes: number of received bytes after which nothing new is started.
        max_time: seconds after which nothing new is started.
        as_json: print the summary as JSON.
        yes: do not ask before a large run.
        new_state: start with a new state if the previous one is missing.
        metrics: file to which metrics are written; None to write none.
        log: the log options of the command line.
        verbose: print the outcome of every job.
        quiet: print only failures.
    """
    limits = RunLimits(jobs=limit, bytes=max_bytes, seconds=max_time)
    cluster = clusters.chosen(executor, scheduler, send_crops=send_crops)
    again = f"s2async run {shlex.quote(str(path))}{' --yes' * yes}"
    if cluster:
        again += " --executor dask" + (f" --scheduler {shlex.quote(scheduler)}" if scheduler else "")
        again += " --send-crops" * send_crops
    kept = None
    if metrics:
        kept = MetricsFile(metrics, str(path.absolute()), lambda text: click.echo(safe(text), err=True))
    try:
        config = Config.load(path)
        with log.writing(config, verbose=verbose):
            code = run_config(
                config,
                again,
                cluster=cluster,
                limits=limits,
                as_json=as_json,
                yes=yes,
                new_state=new_state,
                verbose=verbose,
                quiet=quiet,
                metrics=kept,
            )
    except BaseException as error:
        if kept:
            kept.fail(error)
        raise
    if kept:
        kept.end(code)
    return code


def run_config(
    config: Config,
    again: str,
    *,
    cluster: Cluster | None = None,
    limits: RunLimits = NO_LIMITS,
    as_json: bool = False,
    yes: bool = False,
    new_state: bool = False,
    verbose: bool = False,
    quiet: bool = False,
    metrics: MetricsFile | None = None,
) -> int:
    """Run a configuration on the terminal, and return the exit code.

    Args:
        config: settings.
        again: the command that resumes this run after it is stopped.
        cluster: cluster that processes the batches; None for this process.
        limits: when to stop even if jobs are left.
        as_json: print the summary as JSON.
        yes: do not ask before a large run.
        new_state: start with a new state if the previous one is missing.
        verbose: print the outcome of every job.
        quiet: print only failures.
        metrics: file to which metrics are written.
    """
    config.check_period(datetime.now(UTC))
    error = console.standard_error()
    loaded = area_files.examine(config, partial(console.tell, error, quiet=quiet))
    areas = loaded.areas
    pipeline.check(config, areas)
    if not quiet:
        error.print(Text(safe(run_summary.where(areas))), soft_wrap=True)
    new_state = new_state or consent.new_start(config)
    consent.large_run(config, areas, limits=limits, yes=yes)
    progress = Progress()
    if metrics:
        metrics.progress = progress
    view = RunView(progress, error, verbose=verbose, quiet=quiet, crops=bool(config.output.assets))

    def tell_stopped() -> None:
        error.show_cursor()
        view.tell(f"stopped; finished work is kept. To go on: {again}")

    async def work() -> Summary:
        watching = [asyncio.create_task(heartbeat.watch(heartbeat.warning(view.warn)))]
        if metrics:
            watching.append(asyncio.create_task(metrics.keep()))
        try:
            async with view.showing():
                return await pipeline.run(
                    config,
                    areas,
                    cluster=cluster,
                    limits=limits,
                    changes=loaded.changes,
                    new_state=new_state,
                    progress=progress,
                    on_event=view.on_event,
                )
        finally:
            for task in watching:
                task.cancel()

    gc.freeze()  # modules and settings stay, so the collector need not examine them repeatedly
    gc.set_threshold(NEW_OBJECTS)
    stop = Stop(tell_stopped, lambda: progress.let_go())

    def show(result: Summary) -> None:
        with Ledger.read(config.run.state) as state:
            if as_json:
                print_json(to_json(state, config, result))
            elif not quiet:
                run_summary.show_run(console.standard_output(), state, config, areas, result)

    try:
        result = stop.run(work)
    except HostParked:
        if progress.ended:
            show(progress.ended)
        raise
    finally:
        gc.unfreeze()  # otherwise a process with several runs would never collect the garbage of earlier ones
    if result is None:
        return stop.exit_code
    show(result)
    for alarm in result.alarms:
        view.tell(alarm.text, "red")
    if quiet and not result.clean and not view.printed:  # no event of this run mentions earlier failures
        view.tell(run_summary.unclean(config, result), "red")
    return result.exit_code
