"""The `check` command: prints a table of what is right, odd or wrong, or JSON for a bug report."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import platform
from pathlib import Path
from typing import Final

import click
from rich.table import Table
from rich.text import Text

from s2async._version import __version__
from s2async.check import checkup
from s2async.check.findings import Checked, Verdict, without_people
from s2async.cli import bugs, console
from s2async.cli.log_options import LogChoice
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.text import safe, safe_lines, size

_STYLES: Final = {Verdict.RIGHT: "green", Verdict.ODD: "yellow", Verdict.WRONG: "bold red"}


def show_check(path: Path, *, as_json: bool, quiet: bool, verbose: bool, log: LogChoice) -> int:
    """Check a configuration, print the result, and return the exit code.

    Args:
        path: the configuration.
        as_json: print JSON without secrets or names of people.
        quiet: print only what is odd or wrong.
        verbose: also log every request.
        log: the log options of the command line.
    """
    error = console.standard_error()
    try:
        config = Config.load(path)
    except ConfigError as refusal:
        found = checkup.unreadable(refusal)
    else:
        waiting = error.status("checking") if error.is_terminal and not quiet else contextlib.nullcontext()
        with waiting, log.writing(config, verbose=verbose):
            found = asyncio.run(checkup.check(config))
    if as_json:
        click.echo(json.dumps(_json(found), indent=2))
    else:
        _show(found, quiet=quiet)
    return found.exit_code


def _show(found: Checked, *, quiet: bool) -> None:
    output = console.standard_output()
    shown = [
        one
        for one in found.findings
        if one.verdict in (Verdict.ODD, Verdict.WRONG) or (one.verdict is Verdict.RIGHT and not quiet)
    ]
    if shown:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column("check", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        table.add_column("found", overflow="fold")
        for one in shown:
            table.add_row(one.topic, Text(one.verdict, style=_STYLES[one.verdict]), Text(safe_lines(one.line)))
        output.print(table)
    if not quiet:
        for why, untried in _untried(found).items():
            output.print(Text(safe(f"not tried, because {why}: {', '.join(untried)}"), style="dim"))
        sent = f"{found.requests:,} requests, {size(found.bytes)}; nothing was kept"
        output.print(Text(f"{found.verdict} ({sent})", style="bold"), soft_wrap=True)


def _untried(found: Checked) -> dict[str, list[str]]:
    """Return the topics that were not tried, by the reason."""
    topics: dict[str, list[str]] = {}
    for one in found.findings:
        if one.verdict is Verdict.NOT_TRIED:
            topics.setdefault(one.text, []).append(one.topic)
    return topics


def _json(found: Checked) -> dict[str, object]:
    about = {
        "s2async": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    return {**about, **found.as_json(_hidden)}


def _hidden(text: str) -> str:
    """Return a string without secrets, home folders or user names."""
    homes, user = [], ""
    with contextlib.suppress(RuntimeError):  # an account without a home
        homes = [str(Path.home()), os.path.realpath(Path.home())]
    with contextlib.suppress(OSError, KeyError, ImportError):  # an account without a name
        user = getpass.getuser()
    return bugs.without_secrets(without_people(text, homes=homes, user=user))
