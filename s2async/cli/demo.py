"""The door to the sandbox: the main job without internet, and the sandbox alone."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from s2async import files
from s2async.config.example import render
from s2async.errors import ConfigError
from s2async.models import Area
from s2async.sandbox.server import process
from s2async.sandbox.world import make

PORT = 8722
"""Asked for first, so that a second demo finds the same addresses and goes on where the first one stopped."""


@contextmanager
def prepared(folder: Path, *, tell: Callable[[str], None]) -> Iterator[Path]:
    """A running sandbox and the path of a configuration for it.

    Args:
        folder: where configuration, crops and state go; made when missing.
        tell: told what is going on, a line at a time.

    Raises:
        ConfigError: the folder holds a configuration that is no demo's.
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


def serve(
    folder: Path | None,
    *,
    port: int,
    delay: float,
    bandwidth: float | None,
    areas: Sequence[Area] | None,
    items: int | None,
    tell: Callable[[str], None],
) -> None:
    """Make scenes where they are missing, and serve them in this process until it is stopped.

    Args:
        folder: where the scenes are kept; by default where a demo's are.
        port: 0 for any free one.
        delay: round trip to pretend, milliseconds.
        bandwidth: limit of all connections, Mbit/s.
        areas: to make scenes for, instead of the nine parks.
        items: how many dates to make, instead of a year.
        tell: told what is going on, a line at a time.

    Raises:
        LocalError: the scenes cannot be written, or the port is taken.
    """
    from s2async.sandbox.server import server  # a demo's is in a process of its own

    named = [(area.name, area.polygon) for area in areas] if areas else None
    server.check_port(port)
    made = make.make_world(folder or make.default_folder(), areas=named, items=items, progress=tell)
    server.serve(made.folder, port=port, delay=delay, bandwidth=bandwidth)


def _known_port(config: Path) -> int:
    """The port of the folder's earlier demo, so that addresses stay the same."""
    if not config.exists():
        return PORT
    with files.local_errors("read", config):
        found = re.search(r"127\.0\.0\.1:(\d{1,5})", config.read_text("utf-8", errors="replace"))
    if found is None:
        raise ConfigError(f"{config} is not a demo's: it is left as it is; name another folder with --folder")
    return int(found[1])


def _free_or_any(port: int) -> int:
    with socket.socket() as probe:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return 0
    return port
