"""The output of a run in progress: live lines on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from s2async.cli.console import status_word, tell
from s2async.engine.progress import Progress
from s2async.events import Event, JobDone, Notice, SearchDone
from s2async.models import Status
from s2async.text import duration, safe, size

LINE_EVERY = 10.0
"""Seconds between two lines if there is no terminal."""
FAILURES_SHOWN = 10
"""Maximum number of failures that are printed when they happen; later ones are counted, and listed by
``status``."""
COLOURS = {
    Status.SAVED: "green",
    Status.CLOUDY: "bright_black",
    Status.NODATA: "bright_black",
    Status.OUTSIDE: "bright_black",
    Status.MISSING: "yellow",
    Status.FAILED: "red",
    Status.DUPLICATE: "bright_black",
}


class RunView:
    """Shows one run: live lines on a terminal, otherwise a plain line every few seconds.

    Args:
        progress: what the run has done so far.
        console: standard error, so that standard output is free for results.
        verbose: print the outcome of every job.
        quiet: print only failures.
        crops: whether crops are wanted.
    """

    def __init__(
        self,
        progress: Progress,
        console: Console,
        *,
        verbose: bool = False,
        quiet: bool = False,
        crops: bool = True,
    ) -> None:
        self.progress = progress
        self.console = console
        self.verbose = verbose
        self.quiet = quiet
        self._words = {status: status_word(status, crops=crops) for status in Status}
        self.printed = 0
        """Number of lines printed so far, except the regular ones about progress."""
        self._failures = 0
        self._incomplete = 0
        self._rates = [(progress.started, 0)]

    @contextlib.asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Show the run as long as this context is open."""
        if self.quiet:
            yield
        elif self.console.is_terminal:
            with Live(get_renderable=self._live, console=self.console, refresh_per_second=5, transient=True):
                yield
        else:
            telling = asyncio.create_task(self._lines())
            try:
                yield
            finally:
                telling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await telling

    def on_event(self, event: Event) -> None:
        """Print what the user should know at once."""
        if isinstance(event, JobDone):
            self._tell_outcome(event)
        elif isinstance(event, SearchDone):
            if not event.report.complete:
                self._tell_incomplete(event)
            elif self.verbose:
                self.tell(f"searched {event.report.label}: {event.report.items} items")
        elif isinstance(event, Notice):
            tell(self.console, event, quiet=self.quiet)

    def warn(self, text: str) -> None:
        """Print a line, unless only failures are printed."""
        if not self.quiet:
            self.tell(text)

    def tell(self, text: str, style: str = "") -> None:
        """Print one line, above the live lines."""
        self.printed += 1
        self.console.print(Text(safe(text), style=style), soft_wrap=True)

    def _tell_incomplete(self, event: SearchDone) -> None:
        self._incomplete += 1
        if self.verbose or self._incomplete <= FAILURES_SHOWN:
            self.tell(f"search incomplete: {event.report.label}: {event.report.reason}", "red")
        elif self._incomplete == FAILURES_SHOWN + 1:
            self.tell("more searches are incomplete; s2async status lists them", "red")

    def _tell_outcome(self, event: JobDone) -> None:
        outcome = event.outcome
        failed = outcome.status is Status.FAILED
        if failed:
            self._failures += 1
        if not self.verbose and not (failed and self._failures <= FAILURES_SHOWN):
            if failed and self._failures == FAILURES_SHOWN + 1:
                self.tell("more jobs failed; s2async status lists them", "red")
            return
        line = f"{self._words[outcome.status]:8} {outcome.job.area.name}  {outcome.job.scene.id}"
        self.tell(f"{line}  {outcome.reason}".rstrip(), COLOURS[outcome.status])

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(LINE_EVERY)
            self.tell(f"{duration(self.progress.seconds)}: {self._figures()}")

    def _live(self) -> RenderableType:
        """Return three lines, for a terminal of at least 80 columns."""
        progress = self.progress
        done = sum(progress.done.values())
        jobs, pace = self._jobs(done), self._pace(done)
        room = self.console.width - len(jobs) - len(pace) - 5
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=max(progress.found, 1), completed=done, width=max(1, min(30, room))),
            Text(jobs, style="bold", no_wrap=True),
            Text(pace, no_wrap=True),
        )
        counts = Text("  ").join(
            Text(f"{progress.done[status]:,} {word}", style=COLOURS[status] if progress.done[status] else "dim")
            for status, word in self._words.items()
            if status is not Status.DUPLICATE or progress.done[status]
        )
        return Group(head, counts, Text(self._traffic(), style="cyan"))

    def _figures(self) -> str:
        progress = self.progress
        done = sum(progress.done.values())
        jobs = ((progress.done[status], word) for status, word in self._words.items())
        statuses = ", ".join(f"{count:,} {word}" for count, word in jobs if count)
        counts = f" ({statuses})" if statuses else ""
        return f"{self._jobs(done)}{counts}, {self._traffic()}, {self._pace(done)}"

    def _jobs(self, done: int) -> str:
        searching = self.progress.searches_done < self.progress.searches
        return f"{done:,} of {self.progress.found:,} jobs" + (" so far" if searching else "")

    def _traffic(self) -> str:
        meter = self.progress.meter
        return f"{size(meter.bytes)} in {meter.requests:,} requests"

    def _pace(self, done: int) -> str:
        """Return the jobs per second over the last 30 seconds, and the time left if it is known."""
        now = time.monotonic()
        self._rates = [entry for entry in self._rates if now - entry[0] < 30] + [(now, done)]
        since, before = self._rates[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        left = self.progress.time_left()
        text = "-- jobs/s" if not rate else f"{rate:.0f} jobs/s" if rate >= 10 else f"{rate:.1f} jobs/s"
        return f"{text}, {left} left" if left else text
