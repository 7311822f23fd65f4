"""The sandbox's whole year over the nine parks, run in a separate process."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import measure
from s2async.config.example import render
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.world.make import World, default_folder, make_world


@dataclass(frozen=True)
class Year:
    """A finished run and the world that it ran on."""

    world: World
    sandbox: Sandbox
    folder: Path
    summary: dict[str, Any]
    """The output of ``--json``."""
    peak_bytes: int
    """Maximum resident size of the run's process, in bytes."""
    cpu_seconds: float
    """User and system time of the run's process."""

    @property
    def output(self) -> Path:
        """Folder of the crops."""
        return self.folder / "data"

    @property
    def state(self) -> Path:
        """Path of the state file."""
        return self.output / "state.sqlite"


@contextmanager
def finished(changes: dict[str, str] | None = None) -> Iterator[Year]:
    """Run the nine parks over the year in a temporary folder.

    Args:
        changes: lines of the example configuration to replace, by key, such as ``{"reprocessed": '"all"'}``.
    """
    world = make_world(default_folder(), progress=lambda text: print(text, file=sys.stderr))
    with tempfile.TemporaryDirectory(prefix="s2async-") as name, start(world.folder) as sandbox:
        folder = Path(name)
        text = render(catalog_url=sandbox.api, origin=sandbox.origin, attribution="synthetic")
        for key, value in (changes or {}).items():
            lines = text.splitlines()
            (place,) = [i for i, line in enumerate(lines) if line.startswith(f"{key} = ")]
            lines[place] = f"{key} = {value}"
            text = "\n".join(lines)
        (folder / "config.toml").write_text(text)
        command = [sys.executable, "-m", "s2async", "-q", "run", str(folder / "config.toml"), "--json"]
        with (folder / "summary.json").open("wb") as out:
            usage = measure.run(command, stdout=out)
        summary = json.loads((folder / "summary.json").read_bytes())
        yield Year(
            world=world,
            sandbox=sandbox,
            folder=folder,
            summary=summary,
            peak_bytes=usage.peak_bytes,
            cpu_seconds=usage.cpu_seconds,
        )
