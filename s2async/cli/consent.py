"""Asks before a command does something that may be unintended: a large run, a new state, removal of files."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

import click
import numpy as np
from numpy.typing import NDArray

from s2async.catalog import search
from s2async.catalog.periods import TOLERANCE, spans
from s2async.catalog.planning import seasons
from s2async.config.model import Config
from s2async.engine.limits import NO_LIMITS, RunLimits
from s2async.errors import ConfigError, LocalError, StateError
from s2async.maintenance import guards, notes
from s2async.models import Area
from s2async.plan import costs
from s2async.text import size

DAY = timedelta(days=1)


def large_run(config: Config, areas: Sequence[Area], *, limits: RunLimits, yes: bool) -> None:
    """Ask before a run that may read more than ``confirm_above``; a smaller run starts without a question.

    Raises:
        ConfigError: the answer is no, or there is no terminal to ask on.
    """
    above = config.run.confirm_above
    expected = 0.0 if yes else bytes_ahead(config, areas, limits)
    if expected <= above:
        return
    text = (
        f"this run may read about {size(expected)}, more than confirm_above in [run] "
        f"({size(above)}); s2async plan gives a better estimate"
    )
    if not _has_terminal():
        raise ConfigError(f"{text}; add --yes to go on")
    if not click.confirm(f"{text}. Go on?", err=True):
        raise ConfigError("nothing was read")


def new_start(config: Config) -> bool:
    """Ask before a run makes a new state because its previous one is not available, such as on another disk.

    Returns:
        Whether the run starts with a new state because the user agreed.

    Raises:
        ConfigError: the answer is no, or there is no terminal to ask on.
    """
    away = None if config.run.state.exists() else notes.away(config)
    if not away:
        return False
    if not _has_terminal():
        notes.check(config)
    if not click.confirm(f"{away}. Start with a new state?", err=True):
        raise ConfigError(f"{away}: {away.advice} and run again")
    return True


def removal(text: str, *, yes: bool) -> None:
    """Ask before files are removed.

    Args:
        text: description of what is removed.
        yes: do not ask.

    Raises:
        ConfigError: the answer is no, or there is no terminal to ask on.
    """
    if yes:
        return
    if not _has_terminal():
        raise ConfigError(f"{text}; add --yes to go on")
    if not click.confirm(f"{text}. Go on?", err=True):
        raise ConfigError("nothing was removed")


def _has_terminal() -> bool:
    """Return whether a user can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def bytes_ahead(config: Config, areas: Sequence[Area], limits: RunLimits = NO_LIMITS) -> float:
    """Estimate roughly how many bytes a run may read, from areas, dates and state, without sending a request.

    If earlier searches were complete, only the jobs that are still open count.
    """
    tomorrow = datetime.now(UTC) + TOLERANCE
    period = config.search.period
    days = _days(areas, spans(period.start, period.end, now=tomorrow))
    selection = config.selection()
    whole = costs.rough(
        areas,
        days,
        selection.assets,
        measured=selection.measured,
        max_scene_cloud=config.search.max_scene_cloud,
        one_per_overpass=selection.one_per_overpass,
        bands=selection.values.bands if selection.values else (),
        max_area_cloud=config.values.max_area_cloud if config.values else 0,
    )
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
            ahead = share * whole.bytes + ledger.counts(selection).open * each
            if whole.values:
                from s2async.export.values import asking  # imports array libraries

                ahead += ledger.valueless(asking(config)) * whole.values / whole.jobs
    return min(ahead, limits.most_bytes(each))


def _days(areas: Sequence[Area], periods: Sequence[tuple[datetime, datetime]]) -> NDArray[np.float64]:
    """Return the number of days of the period in each area's season."""
    opens, closes = seasons(areas)
    days = np.zeros(len(areas))
    for first, last in periods:
        start, end = (
            at.toordinal() + (at - datetime.combine(at, time(), at.tzinfo)) / DAY for at in (first, last)
        )
        days += np.maximum(0.0, np.minimum(closes + 1, end) - np.maximum(opens, start))
    return days
