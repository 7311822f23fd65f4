"""Runs in processes of their own that are killed on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from s2async.sandbox.server.process import Sandbox

SLACK = 2
"""Requests that a run makes before it is killed, at most, after those it is killed for."""


def kill_after(path: Path, sandbox: Sandbox, requests: int) -> bool:
    """Run, and kill the process when the server has had so many requests for files.

    Soon after these the server stalls, and is sound again in the end: a run does not end while nobody looks.
    """
    before = len(sandbox.log())
    sandbox.fault("stall", path="^/cogs/", skip=requests + SLACK, count=None)
    child = subprocess.Popen([sys.executable, "-m", "s2async", "-q", "run", str(path)], stderr=subprocess.PIPE)
    with child:
        while child.poll() is None:
            if sum(entry.kind == "cogs" for entry in sandbox.log()[before:]) >= requests:
                child.kill()
                break
            time.sleep(0.01)
        child.wait()
    sandbox.clear_faults()
    return child.returncode == -signal.SIGKILL
