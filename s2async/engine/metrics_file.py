"""The metrics file of a run, ``run --metrics FILE``, for the textfile collector of node_exporter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from s2async import disk_checks, files, means
from s2async.engine.metrics import LastRun, Moment, exposition
from s2async.engine.progress import Progress
from s2async.errors import ConfigError, LocalError, S2AsyncError, StateInUse

EVERY: Final = 5.0
"""Seconds between two versions of the file."""
BEAT: Final = 0.1
"""Seconds between two measurements of the event loop's delay."""
LATELY: Final = 30.0
"""Seconds over which the rate of jobs is averaged."""
BUG: Final = 70
"""Exit code of an error that s2async does not define."""


class MetricsFile:
    """The metrics of one run, from before it starts until its exit code is known.

    The file is replaced as a whole, so a reader never sees an incomplete file. If another run is using the state,
    nothing is written, because the file belongs to that run.

    Args:
        path: path of the file; its folder exists.
        config: name of the configuration in the file.
        tell: called once with a message if the file can no longer be written. The run continues.

    Raises:
        ConfigError: the path is a folder.
        LocalError: no file can be written into its folder.
    """

    def __init__(self, path: Path, config: str, tell: Callable[[str], None]) -> None:
        if path.is_dir():
            raise ConfigError(f"cannot write the metrics {path}: it is a folder; name a file in it")
        disk_checks.check_writable(path.parent)
        self.progress = Progress()
        """Progress of the run; to be replaced by the run's own progress before it starts."""
        self._path = path
        self._config = config
        self._tell = tell
        self._began = time.time()
        self._last = self._former()
        self._lag = 0.0
        self._rates = deque[tuple[float, int]]()
        self._writing = threading.Lock()
        self._ended = False

    async def keep(self) -> None:
        """Write the file every few seconds until cancelled, starting when the run has locked the state."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                if self.progress.begun:
                    await asyncio.to_thread(self._write, self._text(active=True), final=False)
                    self._lag = 0.0
                await asyncio.sleep(EVERY if self.progress.begun else BEAT)
        finally:
            watching.cancel()

    def end(self, exit_code: int) -> None:
        """Write the file for the last time, with the exit code of the command."""
        now = time.time()
        succeeded = now if exit_code == 0 else self._last.succeeded
        self._last = LastRun(exit_code=exit_code, ended=now, succeeded=succeeded)
        self._write(self._text(active=False), final=True)

    def fail(self, error: BaseException) -> None:
        """Write the file for the last time, with the exit code of an error."""
        if not isinstance(error, StateInUse):
            self.end(exit_code_of(error))

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + BEAT
            await asyncio.sleep(BEAT)
            self._lag = max(self._lag, time.monotonic() - due)

    def _text(self, *, active: bool) -> str:
        moment = Moment(
            began=self._began,
            active=active,
            jobs_per_second=self._rate() if active else 0.0,
            memory=_memory(),
            lag=self._lag,
            last=self._last,
        )
        return exposition(self.progress, moment, config=self._config)

    def _rate(self) -> float:
        now, done = time.monotonic(), self.progress.done.total()
        self._rates.append((now, done))
        while now - self._rates[0][0] > LATELY:
            self._rates.popleft()
        since, before = self._rates[0]
        return (done - before) / (now - since) if now > since else 0.0

    def _write(self, text: str, *, final: bool) -> None:
        with self._writing:
            if self._ended and not final:  # the thread that was writing the previous version is late
                return
            self._ended = final
            try:
                # If a power cut destroys a version, nothing is lost: it would be outdated anyway.
                files.replace(self._path, text.encode(errors="replace"), sync=False)
            except LocalError as error:
                tell, self._tell = self._tell, lambda _: None
                tell(f"the metrics are not up to date: {error}")

    def _former(self) -> LastRun:
        with contextlib.suppress(OSError):
            return LastRun.of(self._path.read_text(encoding="utf-8", errors="replace"))
        return LastRun()


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with an error."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    known = error if isinstance(error, S2AsyncError) else means.shortage(error)
    return known.exit_code if known else BUG


def _memory() -> int | None:
    """Return the bytes of memory that this process uses; None if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
