"""What a run will cost: the command plan, and the question before a large run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from s2async.areas import loader as area_files
from s2async.catalog import search
from s2async.catalog.periods import TOLERANCE, spans
from s2async.cli import console
from s2async.cli.log_options import LogChoice, log_options
from s2async.cli.options import FiniteRange
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.errors import ConfigError, LocalError, StateError
from s2async.maintenance import guards, notes, owners
from s2async.models import Area, Event, Notice
from s2async.plan import costs
from s2async.text import size

DAY = timedelta(days=1)


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--bandwidth",
    default=100.0,
    type=FiniteRange(min=0.1),
    show_default=True,
    help="Mbit/s that the time goes by.",
)
@click.option(
    "--connections", type=click.IntRange(1, 256), help="Requests at once that it goes by; else CONFIG's."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@log_options
@click.pass_obj
def plan(
    told: dict[str, bool],
    config: Path,
    bandwidth: float,
    connections: int | None,
    as_json: bool,
    log: LogChoice,
) -> int:
    """Tell what a run of CONFIG will find and cost: jobs, images, requests, bytes, disk and time.

    Only the catalogue is asked, and nothing is written. What the state knows already is taken into account.
    Costs are ranges: what a run really costs lies in them, unless the weather is odd.

    \b
    Example: s2async plan config.toml
             s2async plan config.toml --bandwidth 1000 --json | jq .bytes
    """
    from s2async.cli import plan_tables  # these and what they need are only loaded where they are used
    from s2async.plan.survey import survey

    settings = Config.load(config)
    error, quiet = console.standard_error(), told.get("quiet", False)

    def on_event(event: Event) -> None:
        if isinstance(event, Notice):
            console.tell(error, event, quiet=quiet)

    areas = area_files.load(settings, on_event)
    pipeline.check(settings, areas)
    wanted = connections or settings.network.connections
    if not settings.run.state.exists():
        owners.check(settings, None)
        if away := notes.away(settings):
            on_event(Notice(text=f"{away}; to have it taken into account, {away.advice}"))
        elif lost := guards.lost_state(settings, areas):
            on_event(Notice(text=f"{lost}; to have them taken into account: {settings.command('rebuild')}"))
    watched = error.status("searching") if error.is_terminal and not quiet else contextlib.nullcontext()
    with watched, log.writing(settings, verbose=told.get("verbose", False)):
        found = asyncio.run(
            survey(settings, areas, connections=wanted, bandwidth=bandwidth * 125_000, on_event=on_event)
        )
    if as_json:
        click.echo(json.dumps(plan_tables.as_json(found, connections=wanted, bandwidth=bandwidth), indent=2))
    else:
        plan_tables.show(console.standard_output(), found, connections=wanted, bandwidth=bandwidth)
    return 3 if found.incomplete else 0


def consent(config: Config, areas: Sequence[Area], *, limit: int | None, yes: bool) -> None:
    """Ask before a run that may read more than ``confirm_above``; of a small one nothing is said.

    Raises:
        ConfigError: the answer is no, or nobody is there to answer.
    """
    above = config.run.confirm_above
    expected = 0.0 if yes else bytes_ahead(config, areas, limit)
    if expected <= above:
        return
    text = (
        f"this run may read about {size(expected)}, more than confirm_above in [run] "
        f"({size(above)}); s2async plan tells more exactly"
    )
    if not _is_asked():
        raise ConfigError(f"{text}; add --yes to go on")
    if not click.confirm(f"{text}. Go on?", err=True):
        raise ConfigError("nothing was read")


def new_start(config: Config) -> bool:
    """Ask before a run starts anew because its state is away, not deleted; of other states nothing is said.

    Returns:
        Whether it is to start anew.

    Raises:
        ConfigError: the answer is no, or nobody is there to answer.
    """
    away = None if config.run.state.exists() else notes.away(config)
    if not away:
        return False
    if not _is_asked():
        notes.check(config)
    if not click.confirm(f"{away}. Start anew without it?", err=True):
        raise ConfigError(f"{away}: {away.advice} and run again")
    return True


def _is_asked() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def bytes_ahead(config: Config, areas: Sequence[Area], limit: int | None = None) -> float:
    """Bytes that a run may read, roughly: from areas and dates, and from what the state knows; without a request.

    What complete searches of earlier runs found counts by the jobs that are still open.
    """
    tomorrow = datetime.now(UTC) + TOLERANCE
    period = config.search.period
    days = sum((last - first) / DAY for first, last in spans(period.start, period.end, now=tomorrow))
    whole = costs.rough(areas, days, config.output.assets, max_scene_cloud=config.search.max_scene_cloud)
    if whole.bytes <= config.run.confirm_above or not whole.jobs:
        return whole.bytes
    each = whole.bytes / whole.jobs
    ahead = whole.bytes
    if config.run.state.exists():
        with contextlib.suppress(StateError, LocalError), guards.opened(config) as ledger:
            catalog = config.search.resolve()
            searches = search.plan(areas, period.start, period.end, catalog, now=tomorrow)
            searched = ledger.searched()
            new = sum(((s.end - s.start) / DAY for s in searches if s.key not in searched), 0.0)
            share = new / sum((s.end - s.start) / DAY for s in searches)
            ahead = share * whole.bytes + ledger.counts(config.selection()).open * each
    return ahead if limit is None else min(ahead, limit * each)
