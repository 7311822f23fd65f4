"""Interprets HTTP responses by status, headers and body. Pure."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from s2async.errors import AccessDenied, BadAnswer, FileChanged, NotFound, RemoteError, TransientError, WrongKind
from s2async.text import excerpt, is_too_deep, shown

TRANSIENT: Final = frozenset({408, 425, 429, *range(500, 600)} - {501})
"""Statuses for which another try may succeed. 501 means that the server lacks the function (RFC 9110, 15.6.2)."""
OVERLOADED: Final = frozenset({429, 503})
"""Statuses with which an overloaded server responds (RFC 6585, 4 and RFC 9110, 15.6.4)."""
MAX_JSON: Final = 64 << 20
"""Maximum size in bytes of a JSON response after decompression; a body of 0.3 MB can unpack to 300 MB."""
_OF_STAC: Final = frozenset({"links", "features", "conformsTo"})
"""Members of the documents of a catalogue. Each document has at least one of them."""
_CONTENT_RANGE: Final = re.compile(r"\s*bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})\s*", re.IGNORECASE)


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, href: str, transient: frozenset[int]
) -> RemoteError:
    """Return the error for a response that is neither a success nor a redirect.

    Args:
        status: status of the response.
        headers: response headers, as a case-insensitive mapping or spelled ``Retry-After``.
        body: body of the response, or its start, which often says what is wrong.
        href: URL of the request.
        transient: statuses for which another try may succeed.
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
    if status == 409 and b"PublicAccessNotPermitted" in body:  # Azure Blob Storage
        return AccessDenied(
            f"this storage needs signed addresses, and the catalogue gives none (409): {shown(href)}; use another "
            "catalogue for these scenes"
        )
    if status in (401, 403):
        return AccessDenied(f"access denied ({status}): {shown(href)}")
    says = f" '{excerpt(body)}'" if body else ""
    return BadAnswer(f"the server answers {status}{says}: {shown(href)}", status=status)


def content_range(status: int, headers: Mapping[str, str], href: str) -> tuple[int, int, int]:
    """Return which part of a file a successful response contains (RFC 9110, 14.4).

    Returns:
        First byte, last byte, and size of the whole file in bytes.

    Raises:
        BadAnswer: the response is the whole file, is not a file, or does not state which part it contains.
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
    """Return the seconds of a Retry-After header, which contains a number or a date (RFC 9110, 10.2.3).

    Args:
        text: value of the header.
        now: the time that a date is compared with; by default the clock of this machine.

    Returns:
        0 or more, possibly infinity; None if the header is absent or invalid.
    """
    if re.fullmatch(r"[0-9]+", text.strip()):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        wait = date.replace(tzinfo=date.tzinfo or UTC) - (now or datetime.now(UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, wait.total_seconds())


def concealed(body: bytes, secrets: Iterable[str]) -> bytes:
    """Return the body of a response for messages, without secrets of the request that it may repeat.

    It may repeat them without the scheme before them (``Bearer``), and as JSON writes them.
    """
    parts = {part for secret in secrets for part in (secret, secret.split()[-1])}
    forms = {form for part in parts for form in (part, json.dumps(part)[1:-1])}
    for form in sorted(forms, key=len, reverse=True):
        body = body.replace(form.encode(), b"***")
    return body


def decode_json(raw: bytes, headers: Mapping[str, str], url: str, *, secrets: Iterable[str] = ()) -> Any:
    """Decode a JSON body.

    The caller runs it on the event loop: json.loads never releases the GIL, so a thread would block the loop for
    just as long (measured with 4 MB: 72 ms on the loop, 89 ms with a thread).

    Args:
        raw: the body as received.
        headers: headers of the response.
        url: URL of the request.
        secrets: secrets of the request, which no message may repeat.

    Raises:
        TransientError: the body is damaged or incomplete.
        BadAnswer: the body is not JSON, is larger than :data:`MAX_JSON` when unpacked, or is nested deeper than
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
        said = excerpt(concealed(raw, secrets))
        raise WrongKind(f"expected JSON, got {got} '{said}': {shown(url)}")
    try:
        value = json.loads(raw)
        if not (isinstance(value, dict) and value.keys() & _OF_STAC):
            value = json.loads(concealed(raw, secrets))  # messages quote documents that are not STAC
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
