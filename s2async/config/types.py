"""Types of settings: periods, sizes, origins, asset keys and others, parsed from text.

Every function returns the value, or raises a ValueError that says what is wrong and what to do; the caller adds
the place.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo
from yarl import URL

from s2async.catalog.providers import KNOWN
from s2async.clouds import scl
from s2async.config.messages import nearest
from s2async.config.toml import BACKSLASHES, toml_value
from s2async.files import check_names
from s2async.text import one_line, parsed_url

_UNITS: Final = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIMES: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
"""Names that S3 allows, including older forms."""
_ASSET_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST: Final = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")
_ESCAPED: Final = "\b\t\n\f\r\x1b"
"""Control characters that TOML makes of a backslash and the first letter of a name, as in a Windows path."""
_MOMENT: Final = re.compile(
    r"""[0-9]{4}-[0-9]{2}-[0-9]{2}
    (?P<minute> [Tt\ ][0-9]{2}:[0-9]{2} (?P<second> :[0-9]{2} (?P<fraction> \.[0-9]{1,6})? )?
        (?: [Zz] | [+-][0-9]{2}:[0-9]{2} )? )?""",
    re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """A half-open period, UTC. None stands for an open end; at most one end is open."""

    start: datetime | None
    """First instant of the period, timezone-aware."""
    end: datetime | None
    """First instant after the period, timezone-aware."""


def parse_period(text: str) -> Period:
    """Parse ``a``, ``a/b``, ``../b`` or ``a/..``, where a and b are dates or times, both included.

    The last day, minute or second is included completely. A time without an offset is UTC.

    Raises:
        ValueError: the text has another form, its end is before its start, or both ends are open. Sentinel-2's
            whole archive must be requested as ``2015-06-23/..``, so that it is not searched by accident.
    """
    advice = 'write "2022-01-01/2022-12-31", or ".." for an open end'
    parts = text.split("/")
    if len(parts) > 2:
        raise ValueError(f'"{one_line(text)}" has more than two ends; {advice}')
    if set(parts) == {".."}:
        raise ValueError(f'"{one_line(text)}" is open at both ends; give at least one, such as "2015-06-23/.."')
    spans = [None if part == ".." and len(parts) == 2 else _moment(part, advice) for part in parts]
    start, end = spans[0] and spans[0][0], spans[-1] and spans[-1][1]
    if start and end and start >= end:
        raise ValueError(f'"{one_line(text)}" ends before it starts; write the earlier end first')
    return Period(start=start, end=end)


def _moment(text: str, advice: str) -> tuple[datetime, datetime]:
    """Return the first instant of a day, minute or second, and the first instant after it."""
    match = _MOMENT.fullmatch(text)
    try:
        if not match:
            raise ValueError
        start = datetime.fromisoformat(text.upper())
        start = start.astimezone(UTC) if start.tzinfo else start.replace(tzinfo=UTC)
        length = timedelta(days=1)
        for part, unit in (("minute", "minutes"), ("second", "seconds"), ("fraction", "microseconds")):
            length = timedelta(**{unit: 1}) if match[part] else length
        return start, start + length
    except (ValueError, OverflowError):
        raise ValueError(f'"{one_line(text)}" is not a date or time; {advice}') from None


def parse_size(value: object) -> int:
    """Parse a number of bytes: a whole number, or text such as ``128 MiB`` or ``1.5 GB``.

    Raises:
        ValueError: the value is not a size, not a whole number of bytes, or more than 1 PiB.
    """
    advice = f'write a whole number of bytes or a size such as "128 MiB" ({", ".join(_UNITS)})'
    if isinstance(value, int) and not isinstance(value, bool):
        size = Decimal(value)
    else:
        match = (
            re.fullmatch(r"([0-9]{1,16}(?:\.[0-9]{1,9})?) ?([A-Za-z]+)", value) if isinstance(value, str) else None
        )
        if not match or match[2] not in _UNITS:
            raise ValueError(f"{toml_value(value)} is not a size; {advice}")
        size = Decimal(match[1]) * _UNITS[match[2]]
    if not 0 <= size <= 1 << 50 or size != int(size):
        raise ValueError(f"{toml_value(value)} is not a whole number of bytes from 0 to 1 PiB; {advice}")
    return int(size)


def parse_duration(value: object) -> float:
    """Parse a number of seconds, or a string such as ``90 min`` or ``1.5 h``.

    Raises:
        ValueError: the value is not a duration, or is longer than 366 days.
    """
    advice = f'write a number of seconds or a duration such as "90 min" ({", ".join(_TIMES)})'
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = (
            re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)", value) if isinstance(value, str) else None
        )
        if not match or (match[2] or "s") not in _TIMES:
            raise ValueError(f"{toml_value(value)} is not a duration; {advice}")
        seconds = float(match[1]) * _TIMES[match[2] or "s"]
    if not 0 <= seconds <= 366 * 86_400:
        raise ValueError(f"{toml_value(value)} is not a duration of at most 366 days; {advice}")
    return seconds


def normal_origin(text: str) -> str:
    """Normalise ``scheme://host[:port]``: lower case, without default port or trailing slash.

    Raises:
        ValueError: the text is not http(s), has no plain host, or has more parts (user, path, query). The message
            does not repeat the text, which may contain a password.
    """
    url = _web(text)
    if url.path not in ("", "/"):
        raise ValueError("an origin ends with its host or port; drop the path, such as https://data.example.org")
    return str(url.origin())


def _web(text: str) -> URL:
    advice = "write scheme://host[:port], such as https://data.example.org"
    try:
        url = parsed_url(text) if text.isprintable() and " " not in text else URL()
    except ValueError:
        url = URL()
    if url.user is not None or url.password is not None:
        raise ValueError("holds a user name or password, which would end up in logs; drop it")
    if url.scheme not in ("http", "https") or not url.raw_host or not _HOST.fullmatch(url.raw_host):
        raise ValueError(f"is not an http(s) URL with a plain host; {advice}")
    if url.query_string or url.fragment or "?" in text or "#" in text:
        raise ValueError("holds a query or fragment; end the URL before ? and #")
    return url


def _address(text: str) -> str:
    return str(_web(text)).rstrip("/")


def _percent(value: float) -> float:
    if Decimal(repr(value)) * 100 % 1:
        raise ValueError(f"{value} has more than two decimals; round it, such as {round(value, 2)}")
    return value + 0.0


def _classes(values: tuple[int, ...]) -> tuple[int, ...]:
    for value in values:
        if value == 0:
            raise ValueError(
                "class 0 is nodata and cannot be a bad class; remove it (min_area_valid limits nodata)"
            )
        if not 1 <= value < scl.CLASSES:
            raise ValueError(f"{value} is not an SCL class; use classes 1 to {scl.CLASSES - 1}")
        if values.count(value) > 1:
            raise ValueError(f"class {value} is listed twice; remove one")
    return values


def _asset_key(value: str) -> str:
    if not _ASSET_KEY.fullmatch(value):
        raise ValueError(
            f'"{one_line(value)}" cannot be part of a file name; use letters, digits, "_", "-" and "."'
        )
    return value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    folded = [value.casefold() for value in values]
    for value in values:
        if folded.count(value.casefold()) > 1:
            raise ValueError(f'"{value}" is listed twice (some systems ignore case in file names); remove one')
    return values


def _names_scl(assets: dict[str, str]) -> dict[str, str]:
    if scl.ASSET not in assets:
        raise ValueError(f'does not say which asset is the scene classification; add {scl.ASSET} = "..."')
    return assets


def _bucket(name: str) -> str:
    if not _BUCKET.fullmatch(name):
        raise ValueError(f'"{one_line(name)}" is not the name of an S3 bucket; write it without s3:// and slashes')
    return name


def _known(name: str) -> str:
    if name not in KNOWN:
        raise ValueError(
            f'"{one_line(name)}" is not a known catalogue, nor a table {{ url, collection, assets }}; '
            f"{nearest(name, KNOWN)}"
        )
    return name


def _path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | Path):
        return value
    if not str(value).isprintable() and any(char in _ESCAPED for char in str(value)):
        raise ValueError(f"is not a path (it contains a control character): {BACKSLASHES}")
    if not str(value).strip() or not str(value).isprintable():
        raise ValueError("is not a path; name a file or folder")
    check_names([str(value)])
    folder: Path = (info.context or {}).get("folder", Path())
    try:
        path = (folder / Path(value).expanduser()).resolve()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # raises for names that are too long and folders that cannot be entered
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"is not a path that can be followed ({reason}); name another") from None
    check_names([path])
    return path


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; write a text")
    return value


def _day(value: object) -> date | str:
    if isinstance(value, date) or (isinstance(value, str) and value.strip()):
        return value
    raise ValueError(f"{toml_value(value)} is not a day; write one such as 2024-05-01")


def _memory(size: int) -> int:
    if size < 16 << 20:
        raise ValueError(f'{size} bytes are too few for the tiles of one read; write at least "16 MiB"')
    return size


def _interval(text: str) -> str:
    parse_period(text)
    return text


def listed(value: object) -> object:
    """Return a list from the file as a tuple; other values are returned unchanged, to be reported later."""
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, AfterValidator(_filled)]
Day = Annotated[date | str, PlainValidator(_day)]
Columns = Annotated[tuple[Text, ...], BeforeValidator(listed)]
Invalid = Literal["refuse", "skip", "repair"]
Percent = Annotated[float, Field(ge=0, le=100), AfterValidator(_percent)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Size = Annotated[int, BeforeValidator(parse_size)]
Memory = Annotated[Size, AfterValidator(_memory)]
Interval = Annotated[str, AfterValidator(_interval)]
Classes = Annotated[tuple[int, ...], BeforeValidator(listed), AfterValidator(_classes)]
AssetKey = Annotated[str, AfterValidator(_asset_key)]
AssetKeys = Annotated[tuple[AssetKey, ...], BeforeValidator(listed), AfterValidator(_distinct)]
AssetNames = Annotated[dict[AssetKey, Text], AfterValidator(_names_scl)]
CatalogName = Annotated[str, AfterValidator(_known)]
Address = Annotated[str, AfterValidator(_address)]
Buckets = dict[Annotated[str, AfterValidator(_bucket)], Address]
Origins = Annotated[tuple[Annotated[str, AfterValidator(normal_origin)], ...], BeforeValidator(listed)]
FilePath = Annotated[Path, BeforeValidator(_path)]
