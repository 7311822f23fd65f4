"""Log events: a name and fields, based on the standard library's ``logging``.

Each package has a logger, ``s2async.net``, ``s2async.engine`` and so on, below the logger ``s2async``. An event is
a log record whose text reads ``retry host=https://example.org try=2 reason=...``. The record also has the
attributes ``event`` (the name), ``fields`` (a mapping) and one attribute per field, for your own handlers and
formatters.

Texts in fields have passed :func:`s2async.text.without_secrets`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from s2async.text import without_secrets

Fields = Mapping[str, Any]

# Without a handler, logging would print warnings to standard error in programs that never asked for them.
logging.getLogger("s2async").addHandler(logging.NullHandler())

_CONTEXT: Final[ContextVar[Fields]] = ContextVar("_CONTEXT", default={})  # noqa: B039 - it is never changed


@contextmanager
def context(**fields: Any) -> Iterator[None]:
    """Add fields to all events that are logged inside the block by the current task and by tasks that it starts.

    Args:
        **fields: for example ``item``, which the network layer does not know.
    """
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def log(logger: logging.Logger, level: int, event: str, fields: Fields, *, inherit: bool = True) -> None:
    """Log an event, if the level is enabled.

    Args:
        logger: logger of the package.
        level: such as ``logging.INFO``.
        event: name of the event: one or two words with an underscore.
        fields: JSON values. Fields that are None or an empty text are left out.
        inherit: add the fields of :func:`context`; False for events that do not concern the current task alone.
    """
    if not logger.isEnabledFor(level):
        return
    whole = {**_CONTEXT.get(), **fields} if inherit else fields
    plain = {key: _plain(value) for key, value in whole.items() if value is not None and value != ""}
    logger.log(level, _Text(event, plain), extra={**plain, "event": event, "fields": plain}, stacklevel=2)


def _plain(value: Any) -> Any:
    """Return a value that JSON can express, without secrets."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else str(value)
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return without_secrets(str(value))


class _Text:
    """The text of an event, which is only made if a handler needs it."""

    __slots__ = ("_event", "_fields")

    def __init__(self, event: str, fields: Fields) -> None:
        self._event, self._fields = event, fields

    def __str__(self) -> str:
        return " ".join([self._event, *(f"{key}={value}" for key, value in self._fields.items())])


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: ``ts``, ``level``, ``logger``, ``event``, followed by the fields.

    For a record of a plain ``logging`` call, ``event`` is its text. Characters that are not ASCII are escaped.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "ts": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "event": getattr(record, "event", None) or without_secrets(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = without_secrets(repr(record.exc_info[1]))
        return json.dumps(line)
