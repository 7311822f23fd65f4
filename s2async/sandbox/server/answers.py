"""A request and its response as plain values: made, modified by faults and tested without a connection."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from s2async.sandbox.server.stac import compact

JSON = "application/json; charset=utf-8"
GEOJSON = "application/geo+json; charset=utf-8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    """Path, unquoted, without the query."""
    headers: Mapping[str, str]
    """Headers; their names may have any case."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the query."""
    body: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Bytes of a file, which are only read when they are sent."""

    path: Path
    start: int
    length: int

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A response, and how its transfer is disturbed."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers without Content-Length, which is that of the body."""
    body: bytes | Slice = b""
    cut: int | None = None
    """Close the connection after this many body bytes."""
    stalled: bool = False
    """Send nothing at all, and keep the connection open."""
    hang: int | None = None
    """Send no more than this many body bytes, and keep the connection open."""
    drip: float | None = None
    """Body bytes per second, sent ten at a time."""
    closed: bool = False
    """Close the connection without a response."""
    reset: bool = False
    """If the connection is closed early, reset it (TCP RST)."""


Fault = Callable[[Asked, Answer], Answer]
"""A fault: takes a request and the correct response, and returns the response that is sent instead."""


def content(body: bytes | Slice) -> bytes:
    """Return all bytes of a body."""
    return b"".join(pieces(body, 1 << 20))


def pieces(body: bytes | Slice, size: int) -> Generator[bytes, None, None]:
    """Yield the bytes of a body in order, at most ``size`` at once; ends early if a file has become shorter."""
    if isinstance(body, bytes):
        yield from (body[at : at + size] for at in range(0, len(body), size))
        return
    if not body.length:
        return
    with body.path.open("rb", buffering=0) as file:
        file.seek(body.start)
        left = body.length
        while left and (piece := file.read(min(size, left))):
            yield piece
            left -= len(piece)


def json_answer(document: Any, status: int = 200, media_type: str = JSON) -> Answer:
    """Return a response with a JSON document; text is assumed to be JSON already."""
    text = document if isinstance(document, str) else compact(document)
    return Answer(status=status, headers={"Content-Type": media_type}, body=text.encode())


def api_error(status: int, description: str) -> Answer:
    """Return an error in the words of the API (404 as recorded) or, for other statuses, of its gateway."""
    if status not in (400, 404, 500):
        return json_answer({"message": "Internal server error" if status == 502 else description}, status)
    return json_answer({"code": HTTPStatus(status).phrase.replace(" ", ""), "description": description}, status)


def s3_error(status: int, code: str, message: str, **more: str) -> Answer:
    """Return an error in the words of S3."""
    details = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in more.items())
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>{details}</Error>"
    )
    return Answer(status=status, headers={"Content-Type": "application/xml"}, body=text.encode())
