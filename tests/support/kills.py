"""Runs in processes of their own that are killed on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from s2async.sandbox.server.process import Sandbox


def kill_after(path: Path, sandbox: Sandbox, requests: int) -> bool:
    """Run, and kill the process when the server has had so many requests for files."""
    before = len(sandbox.log())
    child = subprocess.Popen([sys.executable, "-m", "s2async", "-q", "run", str(path)], stderr=subprocess.PIPE)
    with child:
        for _ in range(2000):
            if child.poll() is not None:
                return False
            if sum(entry.kind == "cogs" for entry in sandbox.log()[before:]) >= requests:
                break
            time.sleep(0.01)
        child.kill()
        child.wait()
    return child.returncode == -signal.SIGKILL
