"""Runs a command in a separate process, and measures its cost."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

REPOSITORY: Final = Path(__file__).parents[1]
_PAUSE: Final = 0.02
"""Seconds between two queries of the process; allocations in its last moments may be missed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """The resources that a process used from its start, including imports, to its end."""

    began: float
    """Start time in seconds since 1970."""
    seconds: float
    """Wall time."""
    cpu_seconds: float
    """User and system time, of all threads and the children that it waited for."""
    peak_bytes: int
    """Maximum resident size."""


def run(
    command: Sequence[str],
    *,
    stdout: IO[bytes] | None = None,
    tree: Path = REPOSITORY,
    watch: Callable[[int], None] = lambda _: None,
) -> Usage:
    """Run a command to its end, in a repository's folder and without the environment's proxies.

    Args:
        command: program and arguments.
        stdout: where its output is written; by default, this process's standard output.
        tree: the repository whose packages it imports.
        watch: called with the process's id at intervals.

    Raises:
        RuntimeError: the command ended with a status other than 0.
    """
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["PYTHONPATH"] = str(tree)
    began, start = time.time(), time.perf_counter()
    process = subprocess.Popen(command, stdout=stdout, cwd=tree, env=environment)
    peak = ended = status = 0
    while not ended:
        peak = max(peak, high_water(process.pid))
        watch(process.pid)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if not ended:
            time.sleep(_PAUSE)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command[1:4])} ended with {process.returncode}")
    return Usage(began=began, seconds=seconds, cpu_seconds=used.ru_utime + used.ru_stime, peak_bytes=peak)


def now() -> float:
    """Return the seconds since 1970, as in `Usage.began`."""
    return time.time()


def high_water(pid: int) -> int:
    """Return the maximum resident size of a process so far, in bytes; 0 if it has ended.

    From the kernel's own record, because ``ru_maxrss`` of a child starts with the size of the parent that forked
    it.
    """
    return _size(pid, "VmHWM")


def resident(pid: int) -> int:
    """Return the resident size of a process, in bytes; 0 if it has ended."""
    return _size(pid, "VmRSS")


def _size(pid: int, key: str) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"{key}:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a running process so far (``/proc/PID/stat``, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
