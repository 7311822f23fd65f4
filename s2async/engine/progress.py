"""What a run has done so far, and how it ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from s2async.alarms import Alarm
from s2async.causes import Cause
from s2async.engine.limits import LimitName
from s2async.engine.time_left import Outlook, TimeLeft
from s2async.events import SearchReport
from s2async.models import Job, Outcome, Scene, Status
from s2async.net.accounting import Meter
from s2async.scene_jobs import counted
from s2async.state.records import Unheld
from s2async.zonal.wanted import AreaValues


class Network(Protocol):
    """What is known about the servers of a run; `net.client.Transport` implements it."""

    @property
    def retries(self) -> int: ...  # noqa: D102 - as in `net.client.Transport`
    @property
    def parked(self) -> list[str]: ...  # noqa: D102


@dataclass
class Progress:
    """What a run has done so far."""

    meter: Meter = field(default_factory=Meter)
    found: int = 0
    """Number of jobs that entered the queue."""
    done: Counter[Status] = field(default_factory=Counter)
    """Number of outcomes of this run, by status."""
    causes: Counter[tuple[Status, Cause]] = field(default_factory=Counter)
    """Number of missing and failed outcomes, by status and cause."""
    without: Counter[tuple[str, Cause]] = field(default_factory=Counter)
    """Number of saved outcomes that lack an asset, by asset and cause."""
    valued: int = 0
    """Number of outcomes with values that this run has computed."""
    values: int = 0
    """Number of these values: an outcome has one for each band and index, which is a row of the table of
    values."""
    searches: int = 0
    searches_done: int = 0
    searches_incomplete: int = 0
    started: float = field(default_factory=time.monotonic)
    outlook: Outlook = field(default_factory=Outlook)
    """Estimates the time that the run will still take."""
    begun: bool = False
    """Whether the run has locked the state."""
    network: Network | None = None
    """The servers of the run; None before the first request."""
    ended: Summary | None = None
    """How the run ended, if it ended normally; also set if `HostParked` is raised for a server that is given
    up."""
    let_go: Callable[[], None] = lambda: None
    """Closes the state immediately, before the process is ended; must be called in the run's thread."""

    def enter(self, jobs: Sequence[Job], *, resumed: bool) -> None:
        """Count jobs that enter the queue.

        Args:
            jobs: jobs of one scene, or of the scenes of an overpass.
            resumed: whether an earlier run left them open.
        """
        self.found += len(jobs)
        scenes: Counter[object] = Counter()
        for scene, number in counted(jobs):
            scenes[_scene(scene)] += number
        self.outlook.tally.enter(scenes, resumed=resumed)
        if resumed:
            self.outlook.ahead = max(0, self.outlook.ahead - len(jobs))

    def add(self, outcome: Outcome) -> None:
        """Count an outcome that has been recorded."""
        self.done[outcome.status] += 1
        self.outlook.tally.leave(_scene(outcome.job.scene))
        if outcome.status in (Status.MISSING, Status.FAILED) and outcome.cause:
            self.causes[outcome.status, outcome.cause] += 1
        if values := sum(isinstance(result, AreaValues) for result in outcome.results):
            self.valued += 1
            self.values += values
        if outcome.status is Status.SAVED:
            self.without.update((lack.asset, lack.cause) for lack in outcome.lacks)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def open(self) -> int:
        """Number of jobs in the queue or in progress."""
        return max(0, self.found - self.done.total())

    def time_left(self) -> TimeLeft | None:
        """Return how long the run will still take, or None if unknown. Should be called often."""
        return self.outlook.left(self.seconds, self.open)


def _scene(scene: Scene) -> tuple[str, str]:
    return scene.collection, scene.id


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """How a run ended."""

    done: dict[Status, int]
    """Number of outcomes of this run, by status."""
    causes: Mapping[tuple[Status, Cause], int]
    """Number of missing and failed outcomes, by status and cause."""
    without: Mapping[tuple[str, Cause], int]
    """Number of saved outcomes that lack an asset, by asset and cause."""
    failed: int
    """Number of jobs of all runs that have failed so far."""
    left: int
    """Number of jobs that are known and still open."""
    cut_short: bool
    """Whether a limit ended the searches, so that there may be more jobs than are known."""
    limit: LimitName | None = None
    """The limit of `RunLimits` that ended the run; None if no limit did."""
    found_nothing: bool
    """Whether no search returned an item and no job is known."""
    sceneless: tuple[str, ...]
    """Names of areas for which no scene was ever found."""
    incomplete: tuple[SearchReport, ...]
    """Searches that did not end normally."""
    unheld: tuple[Unheld, ...] = ()
    """Areas that no raster covers sufficiently; empty while there may be scenes that have not been read."""
    alarms: tuple[Alarm, ...] = ()
    """Why this run, or all runs so far, read next to nothing, and what to do."""
    index: Path
    """Table of the saved crops."""
    values: Path | None = None
    """Table of values; None if no values are requested."""
    seconds: float
    requests: int
    bytes: int

    @property
    def clean(self) -> bool:
        """Whether no job has failed, every search is complete, and there is no alarm."""
        return not (self.failed or self.incomplete or self.alarms)

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 2 if only other settings can help."""
        if any(alarm.settings for alarm in self.alarms):
            return 2
        return 0 if self.clean else 3
