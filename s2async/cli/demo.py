"""The commands demo and sandbox: the main job without internet access, and the sandbox alone."""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from s2async import files
from s2async.areas import loader as area_files
from s2async.cli import console
from s2async.cli.run import run_config
from s2async.config.example import render
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.sandbox.server import process
from s2async.sandbox.world import make
from s2async.text import safe

PORT = 8722
"""The preferred port: with the same addresses, a second demo resumes where the first one stopped."""


def run_demo(folder: Path, *, verbose: bool, quiet: bool) -> int:
    """Start a sandbox, write a configuration for it, run that, and return the exit code.

    Args:
        folder: folder for configuration, crops and state.
        verbose: print every outcome.
        quiet: print failures only.
    """
    with prepared(folder, tell=_printer(quiet)) as config:
        again = f"s2async demo --folder {shlex.quote(str(folder))}"
        return run_config(Config.load(config), again, verbose=verbose, quiet=quiet)


@contextmanager
def prepared(folder: Path, *, tell: Callable[[str], None]) -> Iterator[Path]:
    """Start a sandbox, and give the path of a configuration for it.

    Args:
        folder: folder for configuration, crops and state; created if missing.
        tell: called with each line about the progress.

    Raises:
        ConfigError: the folder holds a configuration that no demo wrote.
        LocalError: the folder or the scenes cannot be written.
    """
    path = folder / "config.toml"
    files.make_folder(folder, parents=True)
    known = _known_port(path)
    made = make.make_world(make.default_folder(), progress=tell)
    with process.start(made.folder, port=_free_or_any(known)) as sandbox:
        tell(f"sandbox with {made.items} generated scenes at {sandbox.api}")
        text = render(
            catalog_url=sandbox.api,
            origin=sandbox.origin,
            attribution="synthetic scenes of the s2async sandbox, {year}",
        )
        files.replace(path, text.encode())
        yield path


def run_sandbox(
    folder: Path | None,
    *,
    port: int,
    delay: float,
    bandwidth: float | None,
    areas: Path | None,
    items: int | None,
    quiet: bool,
) -> None:
    """Generate the scenes that are missing, and serve them in this process until it is stopped.

    Args:
        folder: folder for the scenes; None for the folder that the demo uses.
        port: 0 for any free port.
        delay: simulated round-trip time, milliseconds.
        bandwidth: limit for all connections together, Mbit/s.
        areas: file of areas to generate scenes for; None for the nine parks.
        items: number of dates to generate; None for a year.
        quiet: print failures only.

    Raises:
        LocalError: the scenes cannot be written, or the port is in use.
    """
    from s2async.sandbox.server import server  # a demo runs it in another process, and does not import it

    named = None
    if areas is not None:
        notice = partial(console.tell, console.standard_error(), quiet=quiet)
        named = [(area.name, area.polygon) for area in area_files.read(areas, on_notice=notice)]
    server.check_port(port)
    world = make.make_world(folder or make.default_folder(), areas=named, items=items, progress=_printer(quiet))
    server.serve(world.folder, port=port, delay=delay, bandwidth=bandwidth)


def _known_port(config: Path) -> int:
    """The port that an earlier demo in this folder used, so that addresses stay the same."""
    if not config.exists():
        return PORT
    with files.local_errors("read", config):
        found = re.search(r"127\.0\.0\.1:(\d{1,5})", config.read_text("utf-8", errors="replace"))
    if found is None:
        raise ConfigError(f"{config} is not from a demo: it is left unchanged; name another folder with --folder")
    return int(found[1])


def _free_or_any(port: int) -> int:
    with socket.socket() as probe:
        if os.name == "posix":  # on Windows this option lets two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return 0
    return port


def _printer(quiet: bool) -> Callable[[str], None]:
    """A function that prints a line to standard error, unless only failures are printed."""

    def tell(text: str) -> None:
        if not quiet:
            click.echo(safe(text), err=True)

    return tell
