"""What a run has done so far, and how it ended: what it tells those who watch it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from s2async.meter import Meter
from s2async.models import SearchReport, Status
from s2async.records import Unheld


@dataclass
class Progress:
    """What a run has done so far, for whoever watches it."""

    meter: Meter = field(default_factory=Meter)
    found: int = 0
    """Jobs that entered the queue."""
    done: Counter[Status] = field(default_factory=Counter)
    """Outcomes of this run by status."""
    searches: int = 0
    searches_done: int = 0
    started: float = field(default_factory=time.monotonic)
    let_go: Callable[[], None] = lambda: None
    """Closes the state at once, for whoever is about to end the process; to be called in the run's thread."""

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.started


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """How a run ended."""

    done: dict[Status, int]
    """Outcomes of this run by status."""
    failed: int
    """Jobs of all runs that have failed so far."""
    left: int
    """Jobs that are known and still open (after ``--limit``)."""
    cut_short: bool
    """A limit ended the searches: there may be more jobs than are known."""
    found_nothing: bool
    """No search returned an item, and no job is known."""
    sceneless: tuple[str, ...]
    """Areas of which no scene was ever found."""
    incomplete: tuple[SearchReport, ...]
    """Searches that did not end normally."""
    unheld: tuple[Unheld, ...] = ()
    """Areas that no raster holds enough of; none while there may be scenes that nobody has read yet."""
    index: Path
    seconds: float
    requests: int
    bytes: int

    @property
    def clean(self) -> bool:
        """Every job has an answer and every search is complete."""
        return not self.failed and not self.incomplete
