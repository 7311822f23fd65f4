"""The command demo: the main task without internet access, from generated scenes to the report."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final

import click

from s2async import files
from s2async.cli import report, season_table
from s2async.cli.console import short
from s2async.cli.run import run_config
from s2async.cli.sandbox import ATTRIBUTION, printer
from s2async.config.example import render, with_values
from s2async.config.model import Config
from s2async.errors import ConfigError, S2AsyncError
from s2async.export.values import asking
from s2async.maintenance.guards import opened
from s2async.sandbox.server import process
from s2async.sandbox.world import make
from s2async.sandbox.world.assets import RED, SCL, VISUAL
from s2async.state.reader import Ledger
from s2async.text import safe

PORT = 8722
"""The preferred port: with the same addresses, a second demo resumes where the first one stopped."""
INDEX: Final = "NDVI"
"""The index for which the demo computes values."""
_ASSETS: Final = (SCL, VISUAL, RED, "nir")
_SQUARES: Final = ("33UUU", "33UVU")
"""Grid squares with scenes. The parks are in two UTM zones; these squares are in the zone that contains most of
each park. Scenes of the other zone would add nothing but take a minute to generate."""
_ENDED: Final = (0, 3)
"""Exit codes of runs that ended without being stopped."""


def run_demo(folder: Path, *, verbose: bool, quiet: bool) -> int:
    """Start a sandbox, write a configuration for it, run that, write its report, and return the run's exit code.

    Args:
        folder: folder for configuration, crops, state and report.
        verbose: print the outcome of every job.
        quiet: print failures only.
    """
    with prepared(folder, tell=printer(quiet)) as config:
        again = f"s2async demo --folder {shlex.quote(str(folder))}"
        settings = Config.load(config)
        code = run_config(settings, again, verbose=verbose, quiet=quiet)
        if code in _ENDED:  # now, because the report reads the whole scenes from the sandbox
            _write_report(settings, quiet=quiet)
            if not quiet:
                _show_values(settings)
        return code


def _write_report(config: Config, *, quiet: bool) -> None:
    """Write the report of a run that has ended; a failure does not change the result of the run."""
    try:
        _, page = report.write_page(config, "config.toml", quiet=True)
    except S2AsyncError as error:
        click.echo(f"no report: {safe(str(error))}", err=True)
        return
    if not quiet:
        click.echo(f"report      {safe(short(page))}")


def _show_values(config: Config) -> None:
    """Print the mean NDVI of each park in each season of the year."""
    with opened(config) as state:
        lines = list(season_table.lines(INDEX, _means(state, config)))
    if lines:
        click.echo("\n" + "\n".join(lines))


def _means(state: Ledger, config: Config) -> Iterator[tuple[str, date, float]]:
    """Yield the means of all areas and dates that have one, by area, then time."""
    asked = asking(config)
    column = asked.wanted.statistics.index("mean")
    names = [variable.name for variable in asked.wanted.variables]
    for page in state.value_pages(asked):
        numbers = page.statistics[:, column].tolist()
        rows = zip(page.place.tolist(), page.item.tolist(), page.variable.tolist(), numbers, strict=True)
        for place, item, variable, mean in rows:
            if names[variable] == INDEX and mean == mean:  # NaN if no pixel is valid
                yield page.places[place].name, page.items[item].datetime.date(), mean


@contextmanager
def prepared(folder: Path, *, tell: Callable[[str], None]) -> Iterator[Path]:
    """Start a sandbox, and yield the path of a configuration for it.

    Args:
        folder: folder for configuration, crops and state; created if missing.
        tell: called with messages about progress.

    Raises:
        ConfigError: the folder contains a configuration that was not written by a demo.
        LocalError: the folder or the scenes cannot be written.
    """
    path = folder / "config.toml"
    files.make_folder(folder, parents=True)
    known = _known_port(path)
    place = make.default_folder().with_name("sandbox-demo")  # next to that of s2async sandbox, which has no bands
    made = make.make_world(place, assets=_ASSETS, only=_SQUARES, progress=tell)
    with process.start(made.folder, port=_free_or_any(known)) as sandbox:
        tell(f"sandbox with {made.items} generated scenes at {sandbox.api}")
        text = render(
            catalog_url=sandbox.api,
            origin=sandbox.origin,
            assets={key: key for key in _ASSETS},
            attribution=ATTRIBUTION,
            offsets="earth-search",
        )
        files.replace(path, with_values(text, [INDEX]).encode())
        yield path


def _known_port(config: Path) -> int:
    """Return the port that an earlier demo in this folder used, so that addresses stay the same."""
    if not config.exists():
        return PORT
    with files.local_errors("read", config):
        found = re.search(r"127\.0\.0\.1:(\d{1,5})", config.read_text("utf-8", errors="replace"))
    if found is None:
        raise ConfigError(f"{config} is not from a demo: it is left unchanged; name another folder with --folder")
    return int(found[1])


def _free_or_any(port: int) -> int:
    with socket.socket() as probe:
        if os.name == "posix":  # on Windows, this option lets two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return 0
    return port
