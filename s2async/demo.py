"""The main job without internet: the sandbox, a configuration that points at it, and nothing more."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from s2async import files
from s2async.config import render
from s2async.sandbox import process, world

PORT = 8722
"""Asked for first, so that a second demo finds the same addresses and goes on where the first one stopped."""


@contextmanager
def prepared(folder: Path, *, tell: Callable[[str], None]) -> Iterator[Path]:
    """A running sandbox and the path of a configuration for it.

    Args:
        folder: where configuration, crops and state go; made when missing.
        tell: told what is going on, a line at a time.

    Raises:
        LocalError: the folder or the scenes cannot be written.
    """
    path = folder / "config.toml"
    files.make_folder(folder)
    made = world.make_world(world.default_folder(), progress=tell)
    with process.start(made.folder, port=_port(path)) as sandbox:
        tell(f"sandbox with {made.items} generated scenes at {sandbox.api}")
        text = render(
            catalog_url=sandbox.api,
            origin=sandbox.origin,
            attribution="synthetic scenes of the s2async sandbox, {year}",
        )
        files.replace(path, text.encode())
        yield path


def _port(config: Path) -> int:
    """The port of the folder's earlier demo if it is free, so that addresses stay the same; else any."""
    found = re.search(r"127\.0\.0\.1:(\d+)", config.read_text("utf-8")) if config.exists() else None
    port = int(found[1]) if found else PORT
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
