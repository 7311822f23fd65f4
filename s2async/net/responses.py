"""What an HTTP answer means: pure decisions on its status, headers and bytes. Nothing here opens a connection."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from s2async.errors import AccessDenied, BadAnswer, FileChanged, NotFound, RemoteError, TransientError, WrongKind
from s2async.text import excerpt, is_too_deep, shown

TRANSIENT: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Answers that may be better on another try."""
OVERLOADED: Final = frozenset({429, 503})
"""Answers of a server that has too much to do (RFC 6585, 4 and RFC 9110, 15.6.4)."""
MAX_JSON: Final = 64 << 20
"""Decoded bytes of one JSON answer; a body of 0.3 MB can unpack to 300 MB."""
_CONTENT_RANGE: Final = re.compile(r"\s*bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})\s*", re.IGNORECASE)


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, href: str, transient: frozenset[int]
) -> RemoteError:
    """The error for an answer that is neither a success nor a redirect.

    Args:
        status: of the answer.
        headers: of the answer; names in any case if the mapping allows it.
        body: of the answer, or its start: servers often say there what they dislike.
        href: what was asked for.
        transient: statuses that may be better on another try.
    """
    if status in transient:
        seconds = retry_after(headers.get("Retry-After", ""))
        asks = f" and asks to wait {seconds:,.0f} s" if seconds else ""
        return TransientError(
            f"the server answers {status}{asks}: {shown(href)}", status=status, retry_after=seconds
        )
    if status in (404, 410):
        return NotFound(f"not there ({status}): {shown(href)}")
    if status == 412:
        return FileChanged(f"the file changed while it was read: {shown(href)}")
    if status in (401, 403):
        return AccessDenied(f"access denied ({status}): {shown(href)}")
    says = f" '{excerpt(body)}'" if body else ""
    return BadAnswer(f"the server answers {status}{says}: {shown(href)}", status=status)


def content_range(status: int, headers: Mapping[str, str], href: str) -> tuple[int, int, int]:
    """What part of a file a successful answer brings (RFC 9110, 14.4).

    Returns:
        First byte, last byte, and bytes of the whole file.

    Raises:
        BadAnswer: the whole file, something else than part of it, or no word about which part.
    """
    kind = headers.get("Content-Type", "").lower()
    if status != 206:
        if "html" in kind:
            raise WrongKind(f"expected part of a file, got {excerpt(kind.encode())}: {shown(href)}")
        raise BadAnswer(f"the server does not serve ranges, it sends the whole file: {shown(href)}")
    text = headers.get("Content-Range", "")
    found = _CONTENT_RANGE.fullmatch(text)
    if not found:
        raise BadAnswer(f"no usable Content-Range ('{excerpt(text.encode())}'): {shown(href)}")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadAnswer(f"a compressed range: {shown(href)}")
    first, last, whole = (int(number) for number in found.groups())
    return first, last, whole


def retry_after(text: str, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date (RFC 9110, 10.2.3).

    Args:
        text: value of the header.
        now: the time that a date is compared with; by default this machine's clock.

    Returns:
        0 or more, infinity included; None when there is no such header or it is nonsense.
    """
    if re.fullmatch(r"[0-9]+", text.strip()):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        wait = date.replace(tzinfo=date.tzinfo or UTC) - (now or datetime.now(UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, wait.total_seconds())


def decode_json(raw: bytes, headers: Mapping[str, str], url: str) -> Any:
    """A JSON body as Python values.

    Meant to be called on the event loop: json.loads never lets go of the interpreter, so a thread holds the loop
    up just as long (measured with 4 MB: 72 ms on the loop, 89 ms by way of a thread).

    Args:
        raw: the body as it came over the wire.
        headers: of the answer.
        url: what was asked for.

    Raises:
        TransientError: the body is damaged or was cut off.
        BadAnswer: it is something else than JSON, unpacks to more than :data:`MAX_JSON`, or is nested deeper than
            :data:`s2async.text.MAX_DEPTH`.
    """
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding in ("gzip", "x-gzip"):
        raw = _gunzip(raw, url)
    elif encoding != "identity":
        raise BadAnswer(f"an unknown encoding '{excerpt(encoding.encode())}': {shown(url)}")
    kind = headers.get("Content-Type", "").split(";")[0].lower()
    if "json" not in kind:
        got = excerpt(kind.encode()) or "no type"
        raise WrongKind(f"expected JSON, got {got} '{excerpt(raw)}': {shown(url)}")
    try:
        value = json.loads(raw)
    except RecursionError as error:
        raise BadAnswer(f"JSON that is nested too deeply: {shown(url)}") from error
    except ValueError as error:
        place = getattr(error, "pos", getattr(error, "start", 0))
        raise TransientError(f"not JSON at byte {place:,} of {len(raw):,}: {shown(url)}") from error
    if is_too_deep(value):
        raise BadAnswer(f"JSON that is nested too deeply: {shown(url)}")
    return value


def _gunzip(raw: bytes, url: str) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(raw, MAX_JSON)
    except zlib.error as error:
        raise TransientError(f"a damaged gzip body: {shown(url)}") from error
    if unpacker.unconsumed_tail:
        raise BadAnswer(f"a body that unpacks to more than {MAX_JSON:,} bytes: {shown(url)}")
    if not unpacker.eof:
        raise TransientError(f"a gzip body that was cut off: {shown(url)}")
    return plain
