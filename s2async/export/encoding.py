"""Values as text: files in UTF-8, times and JSON."""

from __future__ import annotations

import codecs
import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO, Protocol


class TextFile(Protocol):
    """An object that text can be written to."""

    def write(self, text: str, /) -> object:
        """Append text."""


def utf8(file: BinaryIO) -> TextFile:
    """Wrap a binary file so that text can be written to it as UTF-8; line ends are not translated."""
    return codecs.getwriter("utf-8")(file)


def iso(time: datetime) -> str:
    """Format a UTC time as in RFC 3339, with ``Z``."""
    return time.isoformat().replace("+00:00", "Z")


def to_json(value: Any) -> str:
    """Encode a value as JSON, including the dates, times and decimals that rows contain.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"no JSON for {value!r}")
