"""Serves the files of a world like S3: strict ranges, strong ETags, conditions.

Ranges (RFC 9110, section 14; S3 where that allows a choice): one range gives 206; a range that begins beyond the
end, ``bytes=-0``, and any range of an empty file give 416 with ``Content-Range: bytes */N``; a header that is not
a range of bytes, or has several ranges, is ignored, and the whole file is sent with 200.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import stat
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from pathlib import Path

from s2async.sandbox.server.answers import Answer, Asked, Slice, s3_error

_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*")


class Unsatisfiable(ValueError):
    """A range beyond the end of the file."""


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the number of bytes that a Range header requests; None for the whole file.

    Raises:
        Unsatisfiable: the range contains no byte of the file.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise Unsatisfiable(header)
    return start, end - start


def etag_of(path: str, status: os.stat_result) -> str:
    """Return a strong ETag, which stays the same until the file is written again."""
    edition = f"{path}\0{status.st_size}\0{status.st_mtime_ns}"
    return f'"{hashlib.md5(edition.encode(), usedforsecurity=False).hexdigest()}"'


class Files:
    """The files under ``folder``, by the path in their URL. No file outside the folder is ever opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        # Resolving a path costs more than the rest of a response.
        self._locate = lru_cache(maxsize=10_000)(self._resolve)

    def answer(self, asked: Asked) -> Answer:
        """Answer a GET or HEAD for ``/<path inside the folder>``."""
        if asked.method not in ("GET", "HEAD"):
            return s3_error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        path = self._locate(asked.path)
        try:
            status = path.stat() if path else None
        except OSError:
            status = None
        if path is None or status is None or not stat.S_ISREG(status.st_mode):
            return s3_error(404, "NoSuchKey", "The specified key does not exist.", Key=asked.path.lstrip("/"))
        return self._found(asked, path, status)

    def _found(self, asked: Asked, path: Path, status: os.stat_result) -> Answer:
        size, etag = status.st_size, etag_of(asked.path, status)
        headers = {
            "ETag": etag,
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
            "Accept-Ranges": "bytes",
            "Content-Type": _media_type(path.suffix),
        }
        wanted = asked.headers.get("If-Match")
        since = asked.headers.get("If-Unmodified-Since") if wanted is None else None
        if (wanted is not None and not _named(etag, wanted)) or (since and _changed(status.st_mtime, since)):
            message = "At least one of the pre-conditions you specified did not hold"
            condition = "If-Unmodified-Since" if wanted is None else "If-Match"
            return s3_error(412, "PreconditionFailed", message, Condition=condition)
        if _named(etag, asked.headers.get("If-None-Match", "")):
            return Answer(status=304, headers=headers)
        ranged = asked.headers.get("Range") if asked.headers.get("If-Range", etag) == etag else None
        try:
            span = byte_range(ranged, size)
        except Unsatisfiable:
            error = s3_error(
                416, "InvalidRange", "The requested range is not satisfiable", ActualObjectSize=str(size)
            )
            return Answer(
                status=416, headers={**error.headers, "Content-Range": f"bytes */{size}"}, body=error.body
            )
        if span is None:
            return Answer(status=200, headers=headers, body=Slice(path=path, start=0, length=size))
        start, length = span
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        return Answer(status=206, headers=headers, body=Slice(path=path, start=start, length=length))

    def _resolve(self, path: str) -> Path | None:
        parts = path.split("/")[1:]
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            return None
        try:
            found = self._folder.joinpath(*parts).resolve()
        except OSError:
            return None
        return found if found.is_relative_to(self._folder) else None


@lru_cache(maxsize=100)
def _media_type(suffix: str) -> str:
    return mimetypes.guess_type(f"file{suffix}")[0] or "binary/octet-stream"


def _changed(modified: float, since: str) -> bool:
    """Return whether a file was written after a date; an invalid date is ignored (RFC 9110, section 13.1.4)."""
    try:
        return int(modified) > parsedate_to_datetime(since).timestamp()
    except ValueError:
        return False


def _named(etag: str, header: str) -> bool:
    return any(tag.strip() in ("*", etag) for tag in header.split(","))
