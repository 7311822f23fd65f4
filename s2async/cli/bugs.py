"""Unexpected errors: one line on the terminal, the details in a file, and no secret in either.

The line says that it is a bug, because a user can only report it. The file never contains values of variables.
Texts of errors are included, with URLs as `text.public` shows them and without secrets of the environment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
import secrets
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from s2async import means
from s2async._version import __version__
from s2async.errors import LocalError, S2AsyncError
from s2async.text import excerpt, masked

EXIT: Final = 70
"""``EX_SOFTWARE`` of sysexits.h."""
KEPT: Final = 20
"""Number of files that are kept: those of the newest bugs."""
_LONGEST: Final = 100_000
"""Maximum number of characters of a file."""
_SECRET: Final = re.compile(
    r"_PROXY$|TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|SIGNATURE|SAS$", re.IGNORECASE
)
"""Environment variables whose values are secret."""
_QUERY: Final = re.compile(r"""\?[\w.%~-]+=[^\s"'<>]*""")
_CREDENTIAL: Final = re.compile(r"\b(Basic|Bearer) [\w.~+/=-]{4,}")
_SHORTEST: Final = 4
"""Minimum number of characters of a part of a secret that is masked: shorter parts occur in any text."""


def tell(error: BaseException, environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Return the line about an unexpected error that ended a command, and the exit code.

    An error that the machine caused, such as too little memory, is not called a bug; its exit code is that of
    `LocalError`.
    """
    local = means.shortage(error)
    # only errors of the operating system: not those of connections, nor subclasses in libraries
    if local is None and type(error).__module__ == "builtins" and isinstance(error, OSError) and error.errno:
        where = f": {error.filename}" if error.filename else ""
        local = LocalError(f"this machine stopped the command ({error.strerror}{where})")
    if local is not None:
        return brief(str(local), environment), LocalError.exit_code
    path = keep(error, environment)
    details = f"details are in {path}" if path else "the details could not be written to a file"
    text = brief(str(error), environment)
    return f"this is a bug: {type(error).__name__}{': ' if text else ''}{text}; {details}; please report it", EXIT


def brief(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return an external text as one short line, without secrets."""
    return excerpt(without_secrets(text, environment).encode("utf-8", "backslashreplace"), 300)


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a string without secrets of the environment, and without users or queries in its URLs."""
    for secret in sorted(secret_values(environment), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _CREDENTIAL.sub(r"\1 ***", _QUERY.sub("?...", masked(text)))


def secret_values(environment: Mapping[str, str]) -> set[str]:
    """Return values that may be secret, and parts of them that an error may quote."""
    found: set[str] = set()
    for name, value in environment.items():
        if not _SECRET.search(name) or name.lower() == "no_proxy":
            continue
        pieces = [value]
        if name.lower().endswith("_proxy"):
            before, at, _ = value.rpartition("@")
            pieces = [value, *re.split(r"[:/?#@\\]+", before.partition("://")[2] or before)] if at else [value]
        found.update(form for piece in pieces for form in (piece, unquote(piece)))
    return {piece for piece in found if len(piece) >= _SHORTEST}


# ---- the file ---------------------------------------------------------------------------------------------


def keep(error: BaseException, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Write the details of a bug to a file, and return its path; None if no folder can be written."""
    try:
        text = without_secrets(_details(error), environment)
    except Exception:  # noqa: BLE001 - the machine may be out of memory; the bug is reported nevertheless
        return None
    for folder in _folders():
        with contextlib.suppress(Exception):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"s2async-bug-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}.txt"
            # O_EXCL: in a shared folder, another user may have created a link with this name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
                file.write(text)
            _forget_old(folder)
            return path
    return None


def _details(error: BaseException) -> str:
    trace = "".join(traceback.format_exception(error))
    if len(trace) > _LONGEST:
        trace = f"{trace[: _LONGEST // 2]}\n...\n{trace[-_LONGEST // 2 :]}"
    command = next((word for word in sys.argv[1:] if word.isalpha()), "")
    return (
        f"s2async {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
        f"Python {platform.python_version()} on {platform.platform()}\n"
        f"command: {command}\n\n{trace}"
    )


def _folders() -> Iterator[Path]:
    """Yield folders for the file, the best one first."""
    with contextlib.suppress(Exception):
        from platformdirs import user_state_path

        yield user_state_path("s2async", appauthor=False) / "bugs"
    with contextlib.suppress(OSError):  # no temporary folder is writable
        yield Path(tempfile.gettempdir())


def _forget_old(folder: Path) -> None:
    found = sorted(folder.glob("s2async-bug-*T*-*.txt"))
    for path in found[:-KEPT]:
        path.unlink(missing_ok=True)


# ---- errors outside the command --------------------------------------------------------------------------------


class Watch:
    """Records errors that do not end a command: in threads, in callbacks of an event loop, in finalizers.

    Python would print them with tracebacks. Errors of connections that are no longer used are not bugs, and a lack
    of memory shows up in the command itself.
    """

    def __init__(self) -> None:
        self.first: BaseException | None = None
        """The first error that is a bug."""

    def note(self, error: BaseException | None) -> None:
        """Record an error unless it is harmless."""
        harmless = S2AsyncError, OSError, EOFError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit
        if error is None or self.first is not None or isinstance(error, harmless) or means.shortage(error):
            return
        self.first = error

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Record such errors inside this context."""
        listener = _Listener(self)
        logger = logging.getLogger("asyncio")  # event loops report errors of callbacks and tasks here
        former = threading.excepthook, sys.unraisablehook, logger.propagate
        threading.excepthook = lambda args: self.note(args.exc_value)
        sys.unraisablehook = lambda args: self.note(args.exc_value)
        logger.addHandler(listener)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(listener)
            threading.excepthook, sys.unraisablehook, logger.propagate = former


class _Listener(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        information: Any = record.exc_info
        if isinstance(information, tuple):
            self._watch.note(information[1])
