"""What a person sees on the terminal: a live line while a run goes on, and tables after it.

Everything that comes from outside (names, ids, reasons) passes `text.safe`: no markup, no escape sequence and no
line break of its own ever reaches the terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from s2async.engine.progress import Progress
from s2async.errors import LocalError
from s2async.models import Event, JobDone, Notice, SearchDone, Status
from s2async.text import duration, safe, size

LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""
FAILURES_SHOWN = 10
"""Failures that are told as they happen; the rest is counted, and told by ``status``."""
COLOURS = {
    Status.SAVED: "green",
    Status.CLOUDY: "bright_black",
    Status.NODATA: "bright_black",
    Status.OUTSIDE: "bright_black",
    Status.MISSING: "yellow",
    Status.FAILED: "red",
}


def tell(console: Console, notice: Notice, *, quiet: bool) -> None:
    """A notice on a line of its own; while only failures are told, those that are as grave."""
    if notice.grave or not quiet:
        console.print(Text(safe(notice.text), style="yellow" * notice.grave), soft_wrap=True)


class RunView:
    """Shows one run: a live line on a terminal, a plain line now and then elsewhere.

    Args:
        progress: what the run has done so far.
        console: standard error, so that standard output stays for results.
        verbose: tell every outcome.
        quiet: tell failures only.
    """

    def __init__(
        self, progress: Progress, console: Console, *, verbose: bool = False, quiet: bool = False
    ) -> None:
        self.progress = progress
        self.console = console
        self.verbose = verbose
        self.quiet = quiet
        self.told = 0
        """Lines so far, but for those that are told now and then."""
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
        """Tell what a person should read at once."""
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
        """A line, unless only failures are told."""
        if not self.quiet:
            self.tell(text)

    def tell(self, text: str, style: str = "") -> None:
        """One line, above the live one."""
        self.told += 1
        self.console.print(Text(safe(text), style=style), soft_wrap=True)

    def _tell_incomplete(self, event: SearchDone) -> None:
        self._incomplete += 1
        if self.verbose or self._incomplete <= FAILURES_SHOWN:
            self.tell(f"search incomplete: {event.report.label}: {event.report.reason}", "red")
        elif self._incomplete == FAILURES_SHOWN + 1:
            self.tell("more searches are incomplete; s2async status tells which", "red")

    def _tell_outcome(self, event: JobDone) -> None:
        outcome = event.outcome
        failed = outcome.status is Status.FAILED
        if failed:
            self._failures += 1
        if not self.verbose and not (failed and self._failures <= FAILURES_SHOWN):
            if failed and self._failures == FAILURES_SHOWN + 1:
                self.tell("more jobs failed; s2async status tells which", "red")
            return
        line = f"{outcome.status:8} {outcome.job.area.name}  {outcome.job.scene.id}"
        self.tell(f"{line}  {outcome.reason}".rstrip(), COLOURS[outcome.status])

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(LINE_EVERY)
            self.tell(f"{duration(self.progress.seconds)}: {self._figures()}")

    def _live(self) -> RenderableType:
        """Three lines that fit a terminal of 80 columns."""
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
            Text(f"{progress.done[status]:,} {status}", style=COLOURS[status] if progress.done[status] else "dim")
            for status in Status
        )
        return Group(head, counts, Text(self._traffic(), style="cyan"))

    def _figures(self) -> str:
        progress = self.progress
        done = sum(progress.done.values())
        statuses = ", ".join(f"{progress.done[status]:,} {status}" for status in Status if progress.done[status])
        counts = f" ({statuses})" if statuses else ""
        return f"{self._jobs(done)}{counts}, {self._traffic()}, {self._pace(done)}"

    def _jobs(self, done: int) -> str:
        searching = self.progress.searches_done < self.progress.searches
        return f"{done:,} of {self.progress.found:,} jobs" + (" so far" if searching else "")

    def _traffic(self) -> str:
        meter = self.progress.meter
        return f"{size(meter.bytes)} in {meter.requests:,} requests"

    def _pace(self, done: int) -> str:
        """Jobs a second over the last half minute, and the time that the known jobs will take at that pace."""
        now = time.monotonic()
        self._rates = [entry for entry in self._rates if now - entry[0] < 30] + [(now, done)]
        since, before = self._rates[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        left = self.progress.found - done
        if not rate:
            return "-- jobs/s"
        text = f"{rate:.0f} jobs/s" if rate >= 10 else f"{rate:.1f} jobs/s"
        return f"{text}, {duration(left / rate)} left" if left else text


def table(title: str, columns: Mapping[str, str], rows: Iterable[Iterable[str]]) -> Table:
    """A plain table.

    Args:
        title: above it.
        columns: heading to kind: ``text`` (folded where there is no room), ``id`` (never folded) or ``number``.
        rows: cells, in the order of the columns.
    """
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading, kind in columns.items():
        made.add_column(
            heading,
            justify="right" if kind == "number" else "left",
            header_style="dim",
            no_wrap=kind != "text",
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(Text(safe(cell)) for cell in row))
    return made


def facts(rows: Mapping[str, str]) -> Text:
    """Labelled lines, one below the other."""
    width = max(map(len, rows))
    lines = (Text.assemble((f"{label:{width}}  ", "dim"), safe(text)) for label, text in rows.items())
    return Text("\n").join(lines)


class _Patient:
    """A stream that falls silent when its reader has gone, as in ``s2async status config.toml | head -1``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._until_gone():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._until_gone():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _until_gone(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            # EIO: a terminal that hung up. A log that cannot be written stops nothing; a result may not end early
            if error.errno not in (errno.EPIPE, errno.EIO) and self._stream.fileno() == 1:
                raise LocalError(f"cannot write the output: {error.strerror}") from error


@contextlib.contextmanager
def patient_streams() -> Iterator[None]:
    """Inside, a reader of standard output or error may go, and no name is too odd for the terminal's encoding."""
    with contextlib.ExitStack() as stack:
        for redirect, stream in (
            (contextlib.redirect_stdout, sys.stdout),
            (contextlib.redirect_stderr, sys.stderr),
        ):
            if isinstance(stream, io.TextIOWrapper):  # not None, as without a terminal, nor a test's own
                stream.reconfigure(errors="backslashreplace")
                patient = _Patient(stream)
                stack.callback(patient.flush)
                stack.enter_context(redirect(cast("TextIO", patient)))
        yield


def standard_error() -> Console:
    """Where progress and errors go."""
    return Console(stderr=True, highlight=False)


def standard_output() -> Console:
    """Where results go; as wide as they need when nobody watches."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(highlight=False, width=None if terminal else 160, soft_wrap=not terminal)
