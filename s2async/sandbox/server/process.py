"""The sandbox's server in a separate process, and the requests that a test sends to control it.

Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.request import ProxyHandler, Request, build_opener

from s2async.errors import LocalError
from s2async.sandbox.server.journal import Count, LogEntry

_STOP_SECONDS = 5.0
# Requests to loopback never use a proxy that the environment names.
_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A running server."""

    origin: str
    """Such as ``http://127.0.0.1:8080``."""
    api: str
    """URL of the STAC API."""
    pid: int
    folder: Path
    """Folder of the world that is served."""
    forbidden: str = ""
    """A second origin that should receive no requests; the empty string if there is none."""

    def log(self, since: int = 0) -> list[LogEntry]:
        """Return the requests after number ``since``, in the order of their arrival."""
        return [LogEntry(**json.loads(line)) for line in self._call("GET", f"/_log?since={since}").splitlines()]

    def totals(self) -> dict[str, Count]:
        """Return the totals since the last reset, for ``search``, ``cogs``, ``other`` and ``all``."""
        return {kind: Count(**count) for kind, count in json.loads(self._call("GET", "/_totals")).items()}

    def reset(self) -> None:
        """Clear the log and the totals."""
        self._call("POST", "/_reset")

    def fault(
        self,
        kind: str,
        *,
        path: str = "",
        position: str = "",
        count: int | None = 1,
        each: bool = False,
        **more: Any,
    ) -> None:
        """Set a fault in addition to those already set; see ``faults.FaultTable.add``.

        Args:
            kind: a name in ``faults.FAULTS``, such as ``code`` (settings ``status``, ``retry_after`` in seconds),
                ``cut`` (``after`` bytes of the body, by default half of it) or ``stall``.
            path: regular expression to search for in the path of a request.
            position: ``page``, ``first``, ``later``, ``header`` or ``tile``; any by default.
            count: number of requests that are affected; None for all.
            each: count separately for each file and for each search.
            **more: ``by_range``, ``skip``, ``seconds`` and ``onwards``, as there, and the settings of the fault.

        Raises:
            urllib.error.HTTPError: there is no such fault, or no such setting.
        """
        where = {"path": path, "position": position, "count": count, "each": each}
        self._call("POST", "/_faults", {"kind": kind, **where, **more})

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are set, each with ``met``: the number of requests affected so far."""
        found: list[dict[str, Any]] = json.loads(self._call("GET", "/_faults"))
        return found

    def intrusions(self) -> tuple[int, list[LogEntry]]:
        """Return the number of connections to the forbidden origin, and the requests on them."""
        found = json.loads(self._call("GET", "/_forbidden"))
        return found["connections"], [LogEntry(**entry) for entry in found["requests"]]

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._call("DELETE", "/_faults")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.origin + path, data=data, method=method)  # noqa: S310 - an http origin on loopback
        with _OPENER.open(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content


@contextlib.contextmanager
def start(
    folder: Path,
    *,
    port: int = 0,
    delay: float = 0,
    bandwidth: float | None = None,
    per_client: bool = False,
    forbidden: bool = False,
) -> Iterator[Sandbox]:
    """Serve a world in a new process for the duration of a ``with`` block.

    The process ends with the block, and also if this process ends in any way, because it watches its standard
    input. Its standard error is forwarded at the end.

    Args:
        folder: folder of the world.
        port: port of the server; 0 for any free port.
        delay: round-trip time in milliseconds, added to every request.
        bandwidth: Mbit/s over all connections; None for no limit.
        per_client: apply the bandwidth to each client address, such as 127.0.0.2, separately.
        forbidden: open a second origin, which should receive no requests.

    Raises:
        LocalError: the server did not start; the text says why.
    """
    command = [sys.executable, "-m", "s2async.sandbox.server.serving"]
    command += ["--folder", str(folder), "--port", str(port), "--delay", str(delay)]
    command += [] if bandwidth is None else ["--bandwidth", str(bandwidth)]
    command += ["--per-client"] if per_client else []
    command += ["--forbidden"] if forbidden else []
    with tempfile.TemporaryFile() as errors:
        # A separate session: Ctrl-C in a terminal is for the client, which still needs its server to end
        # properly.
        process = subprocess.Popen(  # noqa: S603 - the interpreter and a module of this package
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
        try:
            yield _greeted(process, folder, errors)
        finally:
            _stop(process)
            errors.seek(0)
            sys.stderr.write(errors.read().decode(errors="replace"))


def _greeted(process: subprocess.Popen[bytes], folder: Path, errors: IO[bytes]) -> Sandbox:
    assert process.stdout is not None  # noqa: S101 - a pipe was requested
    line = process.stdout.readline()
    if not line:
        process.wait()
        errors.seek(0)
        reason = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        if reason.startswith("Error: "):
            errors.truncate(0)
        raise LocalError(f"the sandbox did not start: {reason.removeprefix('Error: ')}")
    greeting = json.loads(line)
    return Sandbox(
        origin=greeting["origin"],
        api=greeting["api"],
        pid=greeting["pid"],
        folder=folder,
        forbidden=greeting.get("forbidden", ""),
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
