"""The command retry: failed jobs become open again."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from s2async.config.model import Config
from s2async.maintenance import owners
from s2async.maintenance.guards import check_state
from s2async.state.writer import State


def reopen(path: Path, *, missing: bool) -> None:
    """Reopen the failed jobs of a configuration.

    Args:
        path: the configuration.
        missing: also jobs whose files did not exist.
    """
    config = Config.load(path)
    check_state(config)
    with State.create_or_open(config.run.state) as state:
        owners.check(config, state)
        count = state.retry(missing=missing)
    click.echo(f"{count:,} jobs are open again; next: s2async run {shlex.quote(str(path))}")
