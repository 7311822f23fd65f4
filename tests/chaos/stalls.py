"""SIGTERM while every read stalls: how long a run takes to stop; and how late its event loop is meanwhile."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from s2async.sandbox.server.process import Sandbox, start
from tests.support import worlds

COUNT: Final = 50
ABREAST: Final = 5
"""Runs that are stopped side by side."""
READS: Final = 64
"""That stall in the run whose loop is watched."""
FEW: Final = 8
"""That stall in each run that is stopped, at least: more are not begun towards a server that answers none."""
ANSWERED: Final = 100
"""Reads of each run before the stall, where it comes late."""
SECONDS: Final = 10.0
"""In which a run must have stopped."""
LATEST: Final = 0.1
"""Seconds that 999 of 1,000 beats of the loop may be late."""
WATCHED: Final = 30.0
"""Seconds for which the beats of a stalled run are watched."""


@dataclass
class Stopped:
    """How one run ended."""

    seconds: float
    fault: str


def main(arguments: list[str]) -> int:
    """Stop stalled runs; 1 when one takes too long, says nothing of how to go on, or the loop is late."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos stalls", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"runs (default: {COUNT})")
    asked = parser.parse_args(arguments)
    watched = WATCHED if asked.count >= COUNT else WATCHED / 10
    with tempfile.TemporaryDirectory(prefix="s2async-stalls-") as name:
        folder = Path(name)
        (folder / "world").mkdir()
        worlds.World(folder / "world", [worlds.day(number) for number in range(READS + 6)])
        with start(folder / "world") as sandbox:
            late = lateness(folder, sandbox, watched)
            ends: list[Stopped] = []
            while len(ends) < asked.count:
                number = min(ABREAST, asked.count - len(ends))
                late_stall = bool(len(ends) // ABREAST % 2)
                ends += stop_some(folder / f"after{len(ends)}", sandbox, number, late=late_stall)
    slowest = max(end.seconds for end in ends)
    within = sum(end.seconds <= SECONDS for end in ends)
    faults = [end.fault for end in ends if end.fault]
    tail = float(np.percentile(late, 99.9))
    print(
        f"{within} of {len(ends)} runs stopped within {SECONDS:.0f} s of SIGTERM; the slowest in {slowest:.2f} s"
    )
    print(f"{len(faults)} of them did not end as they should", *faults[:3], sep="\n  ")
    print(f"event loop with {READS} stalled reads: {len(late):,} beats, p99.9 {tail * 1000:.1f} ms late")
    return int(within < len(ends) or bool(faults) or tail > LATEST)


def lateness(folder: Path, sandbox: Sandbox, seconds: float) -> list[float]:
    """How late the beats of a stalled run were."""
    beats = folder / "beats.json"
    (config,) = configs(folder / "watched", sandbox, 1)
    with stalled(sandbox):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.beats", str(beats), "-q", "run", str(config)],
            stderr=subprocess.DEVNULL,
        )
        stall = wait_for(sandbox, in_flight=READS)
        since = time.monotonic()
        time.sleep(seconds)
        child.terminate()
        child.wait(200)
    if not stall:
        raise RuntimeError("the reads did not stall")
    return [late for when, late in json.loads(beats.read_text()) if when >= since]


def stop_some(folder: Path, sandbox: Sandbox, number: int, *, late: bool) -> list[Stopped]:
    """Start some runs, let all reads stall from the beginning or from later on, and stop them."""
    made = configs(folder, sandbox, number)
    with contextlib.ExitStack() as stall:
        if not late:
            stall.enter_context(stalled(sandbox))
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "s2async", "run", str(config)], stderr=subprocess.PIPE, text=True
            )
            for config in made
        ]
        if late:
            wait_for(sandbox, requests=ANSWERED * number)
            stall.enter_context(stalled(sandbox))
        ready = wait_for(sandbox, in_flight=FEW * number, running=made)
        begun = time.monotonic()
        for child in children:
            child.send_signal(signal.SIGTERM)
        ends = [ended(child, begun) for child in children]
    return ends if ready else [Stopped(end.seconds, end.fault or "its reads did not stall") for end in ends]


def ended(child: subprocess.Popen[str], begun: float) -> Stopped:
    """Wait for a run that was told to stop."""
    try:
        _, said = child.communicate(timeout=6 * SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return Stopped(time.monotonic() - begun, "had to be killed")
    seconds = time.monotonic() - begun
    good = child.returncode == 128 + signal.SIGTERM and "To go on: s2async run" in said and "Traceback" not in said
    return Stopped(seconds, "" if good else f"exit {child.returncode}: {said.strip()[-200:]}")


def configs(folder: Path, sandbox: Sandbox, number: int) -> list[Path]:
    """Some configs that wait long for answers."""
    sandbox.reset()
    patience = {"idle_timeout": 600, "total_timeout": 3600}
    network = {"origins": [sandbox.origin], "connections": READS, **patience}
    return [worlds.write_config(folder, sandbox, name=f"run{each}", network=network) for each in range(number)]


@contextlib.contextmanager
def stalled(sandbox: Sandbox) -> Iterator[None]:
    """A server that answers no read."""
    sandbox.fault("stall", path=r"\.tif$", count=None)
    try:
        yield
    finally:
        sandbox.clear_faults()


def wait_for(sandbox: Sandbox, *, requests: int = 0, in_flight: int = 0, running: Sequence[Path] = ()) -> bool:
    """Wait until so many reads came, so many wait for an answer, and all runs began; False after a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        seen = sandbox.totals()["cogs"]
        begun = all((path.parent / f"{path.stem}-data" / "state.sqlite.decoding").exists() for path in running)
        if begun and seen.requests >= requests and seen.in_flight >= in_flight:
            time.sleep(0.3 if in_flight else 0)
            return True
        time.sleep(0.05)
    return False
