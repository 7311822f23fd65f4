"""What the parts of one run share: its settings, its state, its queue, and what it has learned so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from s2async import alarms
from s2async.catalog.lacking import Lacking
from s2async.catalog.yields import Yield
from s2async.clouds.rule import CloudRule
from s2async.config.model import Config
from s2async.engine.job_queue import FEW, JobQueue, OverpassQueue
from s2async.engine.limit_watch import LimitWatch
from s2async.engine.limits import RunLimits
from s2async.engine.progress import Progress
from s2async.engine.state_thread import StateThread
from s2async.errors import HostParked
from s2async.events import Event, Notice, SearchReport
from s2async.models import Area
from s2async.net.outages import Outages
from s2async.state.writer import State

P = ParamSpec("P")
T = TypeVar("T")


class Context:
    """State that the parts of one run share. Must be created while the event loop is running.

    Args:
        config: settings.
        areas: the areas of this run.
        state: the state, open for writing.
        limits: when to stop even if jobs are left.
        progress: updated during the run.
        emit: called with every event.
    """

    def __init__(
        self,
        config: Config,
        areas: Sequence[Area],
        state: State,
        limits: RunLimits,
        progress: Progress,
        emit: Callable[[Event], None],
    ) -> None:
        self.config = config
        self.areas = areas
        self.state = state
        self.state_thread = StateThread()
        """Reads and writes the state while tasks run concurrently; see `ask`."""
        self.progress = progress
        self.emit = emit
        self.watch = LimitWatch(limits, progress)
        self.catalog = config.catalog()
        self.selection = config.selection()
        kind = OverpassQueue if self.selection.one_per_overpass else JobQueue
        self.queue: JobQueue = kind(config.run.queue)
        self.rule: CloudRule = config.cloud_rule()
        self.values_rule: CloudRule | None = config.values_rule()
        """Decides which areas and dates get values; None if no values are requested."""
        values = self.selection.values
        self.lacking = Lacking(
            self.selection.assets, measured=self.rule.assets, valued=values.bands if values else ()
        )
        """Requested assets that no scene has offered."""
        self.servers = alarms.Servers(self.rule.assets)
        """Counts which servers delivered files."""
        self.outages = Outages(config.network.patience, self.tell)
        """Reports servers that do not respond."""
        self.given_up: dict[str, HostParked] = {}
        """Servers that this run no longer waits for, keyed by origin; jobs that need them stay open."""
        self.items = 0
        """Number of items that the searches of this run returned."""
        self.found = Yield()
        """How many of their scenes are needed."""
        self.noted: list[SearchReport] = []
        """Searches that are incomplete, or for which the catalogue reports more items than it returns."""

    async def ask(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads or writes the state in the thread of the state."""
        return await self.state_thread.call(call, *args, **kwargs)

    async def ask_about(self, jobs: int, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `ask`, for a call that takes longer with more jobs; for a few jobs, it may stay in this thread."""
        ask = self.state_thread.brief if jobs <= FEW else self.state_thread.call
        return await ask(call, *args, **kwargs)

    def judge(self) -> dict[tuple[str, str], int]:
        """Derive the status of all jobs from the rules and the selection; see `State.update_statuses`."""
        rule, of_values = self.rule, self.values_rule
        settings = f"{rule!r} {of_values!r}" if of_values else repr(rule)
        judge_values = of_values.verdicts if of_values else None
        return self.state.update_statuses(rule.verdicts, self.selection, settings, judge_values=judge_values)

    def tell(self, text: str) -> None:
        """Emit a message for the user."""
        self.emit(Notice(text=text))
