"""A log file of JSON lines, written by a separate thread: ``s2async run --log FILE``.

The event loop only puts records into a queue. If the disk is too slow, records are dropped and counted: a log must
not delay the work that it describes.
"""

from __future__ import annotations

import logging
import queue
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Any, Final

from s2async.errors import ConfigError
from s2async.log import JsonLines

MAX_BYTES: Final = 50_000_000
"""Size at which the file is renamed to ``FILE.1``, ``FILE.1`` to ``FILE.2`` and so on: about 150,000 requests."""
BACKUPS: Final = 4
"""Number of older files that are kept."""
QUEUED: Final = 20_000
"""Maximum number of records that wait for the disk: about 20 MB."""


@contextmanager
def writing(
    path: Path | None,
    *,
    level: int = logging.INFO,
    secrets: Iterable[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Write the events that this package logs inside the block to a file; existing content is kept.

    Args:
        path: the file, in an existing folder; None writes nothing.
        level: lowest level that is written: ``logging.INFO``, or ``logging.DEBUG`` for every request.
        secrets: texts that must not be written, such as passwords of proxies.
        tell: called with one line if the log is incomplete at the end.

    Raises:
        ConfigError: the file cannot be written.
    """
    if path is None:
        yield
        return
    file = _File(path, secrets)
    records: queue.Queue[Any] = queue.Queue(QUEUED)
    entry = _Entry(records)
    listener = _Listener(records, file)
    logger = logging.getLogger("s2async")
    former = logger.level
    logger.setLevel(min(level, logger.getEffectiveLevel()) if former else level)
    entry.setLevel(level)
    logger.addHandler(entry)
    listener.start()
    try:
        yield
    finally:
        logger.removeHandler(entry)
        logger.setLevel(former)
        if entry.dropped:
            records.put(_dropped(entry.dropped))
        listener.stop()
        with suppress(OSError):  # writing the rest of its buffer may fail too; the first failure is already known
            file.close()
        if file.failure or entry.dropped:
            why = f"{file.failure}" if file.failure else f"{entry.dropped:,} events came too fast for this disk"
            tell(f"the log {path} is incomplete: {why}")


def _dropped(count: int) -> logging.LogRecord:
    """Return the record that states in the log itself how many records are missing."""
    record = logging.LogRecord("s2async", logging.WARNING, __file__, 0, "log_incomplete", None, None)
    record.fields = {"dropped": count}
    return record


class _Entry(QueueHandler):
    """Puts records into the queue as they are: within one process, they need not be formatted first."""

    def __init__(self, records: queue.Queue[Any]) -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            super().enqueue(record)
        except queue.Full:
            self.dropped += 1


class _Listener(QueueListener):
    def __init__(self, records: queue.Queue[Any], file: logging.Handler) -> None:
        super().__init__(records, file)
        self._records = records

    def enqueue_sentinel(self) -> None:
        self._records.put(None)  # waits until there is room, whereas the inherited method raises


class _File(RotatingFileHandler):
    def __init__(self, path: Path, secrets: Iterable[str]) -> None:
        try:
            super().__init__(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write the log {path}: {error.strerror}; name another file") from None
        self.failure = ""
        """Why a record could not be written: the first reason."""
        self.setFormatter(_Masked(secrets))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's interface
        """Store the reason, whereas logging would print a traceback for each record."""
        error = sys.exc_info()[1]
        self.failure = self.failure or str(getattr(error, "strerror", None) or error)


class _Masked(JsonLines):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = sorted(secrets, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line
