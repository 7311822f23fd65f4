"""One run of the program against the sandbox, and what can be seen of it: its end, its state, the server's log."""

from __future__ import annotations

import contextlib
import gc
import io
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from s2async.catalog import search
from s2async.cli import main
from s2async.net import retries
from s2async.sandbox.server.process import Sandbox
from s2async.sandbox.truth import oracle
from tests.chaos.truths import Pair

LIMIT: Final = 120.0
"""Seconds after which a run counts as hung; the longest ones take some seconds of stalls."""
_KNOWN: Final = re.compile(r"^(/v1/search|/cogs/[^/]+/(SCL|TCI)\.tif)$")


class HungError(BaseException):
    """A run takes longer than it may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """One run of the program."""

    code: int
    output: str
    seconds: float
    jobs: dict[Pair, oracle.RecordedJob]
    files: Counter[str]
    """Requests by the item's name in their paths."""
    often: int
    """How often the same bytes were asked for, at most."""
    requests: int
    strays: Counter[str]
    """Requests for what no item names, such as side-cars."""
    hung: bool = False


def run(sandbox: Sandbox, config: Path, arguments: Sequence[str], limits: Sequence[str] = ()) -> Ended:
    """Run the program to its end.

    Args:
        sandbox: The server, whose log is emptied first.
        config: Of the run, in a folder of its own.
        arguments: Of the command line.
        limits: What the shell's ``ulimit`` is told. With any, the program is a process of its own.
    """
    sandbox.reset()
    begun = time.monotonic()
    code, output, hung = _beside(arguments, limits) if limits else _within(arguments)
    seconds = time.monotonic() - begun
    everything = sandbox.log()
    log = [entry for entry in everything if entry.kind == "cogs"]
    state = config.parent / "config-data" / "state.sqlite"
    return Ended(
        code=code,
        output=output,
        seconds=seconds,
        jobs={(job.area, job.item): job for job in oracle.recorded_jobs(state)} if state.exists() else {},
        files=Counter(entry.path.split("/")[-2] for entry in log),
        often=max(Counter((entry.path, entry.range) for entry in log).values(), default=0),
        requests=len(everything),
        strays=Counter(entry.path for entry in everything if not _KNOWN.search(entry.path)),
        hung=hung,
    )


def _within(arguments: Sequence[str]) -> tuple[int, str, bool]:
    """Exit code, output, and whether the run hung: it is interrupted then."""
    output = io.StringIO()
    code, hung = -1, False
    former = signal.signal(signal.SIGALRM, _hung)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = main.run_command(arguments)
    except HungError:
        hung = True
    except Exception as error:  # noqa: BLE001 - that there is one is the finding
        print(f"Traceback: {error!r}", file=output)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        gc.collect()  # errors of this run hold the blocks that were being read
    return code, output.getvalue(), hung


def _beside(arguments: Sequence[str], limits: Sequence[str]) -> tuple[int, str, bool]:
    allowed = "".join(f"ulimit {limit} && " for limit in limits)
    command = ["sh", "-c", f'{allowed}exec "$@"', "sh", sys.executable, "-m", "s2async", *arguments]
    try:
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        return -1, str(error.output), True
    return ended.returncode, ended.stdout, False


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Retries come at once, and a search is endless sooner."""
    longest, most = retries._longest_wait, search.MAX_ITEMS
    retries._longest_wait = lambda attempt: 0.01 * attempt
    search.MAX_ITEMS = 30
    try:
        yield
    finally:
        retries._longest_wait = longest
        search.MAX_ITEMS = most


def _hung(_number: int, _frame: FrameType | None) -> None:
    raise HungError
