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
    """What the steps of one batch use."""

    settings: Settings
    """What is requested."""
    tools: Tools
    """Threads, memory and network."""
    endings: Endings
    """What is known about each job; a step adds its results here."""
    files: SceneFiles
    """The files of the scene."""


class Step(Protocol):
    """One kind of work on the jobs of a batch. A step is created for each batch.

    To add a kind: write its module, add it to `worker.STEPS`, and have the state store its results, which it adds
    to `Endings.results`.
    """

    async def run(self) -> None:
        """Do the work; most steps use `each_asset` for it.

        Raises:
            HostParked: a server currently receives no requests.
            LocalError: this machine cannot continue.
        """
        ...


class ByAsset(Protocol):
    """Work that reads one asset after another."""

    @property
    def assets(self) -> Sequence[str]:
        """Keys of the assets that it reads, in order."""
        ...

    def wanting(self, asset: str) -> list[Job]:
        """Return the jobs without an outcome that need this asset for the work."""
        ...

    async def do(self, asset: Asset, jobs: Sequence[Job], /) -> None:
        """Read an asset for jobs, and add the results. It may be called twice if the file changes.

        Raises:
            RemoteError: the asset cannot be read; jobs without a result lack it.
            LocalError: this machine cannot continue.
        """
        ...


async def each_asset(work: ByAsset, files: SceneFiles) -> bool:
    """Do some work for each asset that jobs need; jobs whose asset cannot be read lack it.

    Returns:
        Whether there was anything to do.

    Raises:
        HostParked: a server currently receives no requests.
        LocalError: this machine cannot continue.
    """
    done = False
    for key in work.assets:
        if wanting := work.wanting(key):
            done = True
            await files.guarded(key, wanting, work.do)
    return done


class StepKind(Protocol):
    """Creates a step for one batch."""

    def __call__(self, bench: Bench, /) -> Step:
        """Return a step that uses this bench."""
        ...
