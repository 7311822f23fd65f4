"""The command plan: what a run would find and cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import click

from s2async.areas import loader as area_files
from s2async.cli import console, plan_tables
from s2async.cli.log_options import LogChoice
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.events import Event, Notice
from s2async.maintenance import guards, notes, owners
from s2async.plan.survey import survey


def show_plan(
    path: Path,
    *,
    bandwidth: float,
    connections: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log: LogChoice,
) -> int:
    """Print what a run of a configuration would find and cost, and return the exit code.

    Args:
        path: the configuration.
        bandwidth: bandwidth for the time estimate, in Mbit/s.
        connections: number of connections for the time estimate; None for the setting in the configuration.
        as_json: print JSON instead of tables.
        quiet: print only grave notices.
        verbose: also log every request.
        log: the log options of the command line.
    """
    config = Config.load(path)
    error = console.standard_error()

    def on_event(event: Event) -> None:
        if isinstance(event, Notice):
            console.tell(error, event, quiet=quiet)

    areas = area_files.load(config, on_event)
    pipeline.check(config, areas)
    wanted = connections or config.network.connections
    if not config.run.state.exists():
        owners.check(config, None)
        if away := notes.away(config):
            on_event(Notice(text=f"{away}; to include finished jobs in the plan, {away.advice}"))
        elif lost := guards.lost_state(config, areas):
            on_event(Notice(text=f"{lost}; to include them in the plan: {config.command('rebuild')}"))
    waiting = error.status("searching") if error.is_terminal and not quiet else contextlib.nullcontext()
    with waiting, log.writing(config, verbose=verbose):
        found = asyncio.run(
            survey(config, areas, connections=wanted, bandwidth=bandwidth * 125_000, on_event=on_event)
        )
    if as_json:
        click.echo(json.dumps(plan_tables.as_json(found, connections=wanted, bandwidth=bandwidth), indent=2))
    else:
        output, crops = console.standard_output(), bool(config.output.assets)
        plan_tables.show(output, found, connections=wanted, bandwidth=bandwidth, crops=crops)
    return 3 if found.incomplete else 0
