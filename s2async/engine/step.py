"""A step: one kind of work on the jobs of a batch, with its own kind of result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from s2async.engine.endings import Endings
from s2async.engine.scene_files import SceneFiles
from s2async.engine.tools import Settings, Tools
from s2async.models import Asset, Job


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What the steps of one batch work with."""

    settings: Settings
    """What is wanted."""
    tools: Tools
    """Threads, memory and network."""
    endings: Endings
    """What is known of each job; a step adds its results here."""
    files: SceneFiles
    """The files of the scene."""


class Step(Protocol):
    """One kind of work on the jobs of a batch. A step is made for each batch.

    To add a kind: write its module, add it to `worker.STEPS`, and have the state store its results, which it puts
    into `Endings.results`.
    """

    @property
    def assets(self) -> Sequence[str]:
        """Keys of the assets that it reads, in order."""
        ...

    def wanting(self, asset: str) -> list[Job]:
        """The jobs without an outcome that need this asset for the step."""
        ...

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        """Read an asset for jobs, and add the results. It may be called twice when the file changes.

        Raises:
            RemoteError: the asset cannot be read; jobs without a result lack it.
            LocalError: this machine cannot go on.
        """
        ...

    def finish(self) -> None:
        """End the jobs whose outcome follows from this step; called when all its assets were read."""
        ...


class StepKind(Protocol):
    """Makes a step for one batch."""

    def __call__(self, bench: Bench, /) -> Step:
        """A step that works with these."""
        ...
