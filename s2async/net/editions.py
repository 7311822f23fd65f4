"""Editions of a remote file: what identifies the content that an answer was taken from. Pure.

A file may be replaced between two requests. A strong ETag shows that (RFC 9110, 8.8.1): equal tags mean equal
bytes. A weak ETag only promises the same meaning, so Last-Modified and the size must be equal as well. Without any
tag, these two stand in for it.

For them no condition is sent. If-Unmodified-Since would show nothing that the headers of the answer do not, and
some servers compare the date, which has whole seconds, with times that have fractions: they would refuse every
request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Edition:
    """What the answers of one edition of a file have in common. If any value differs, the edition does."""

    size: int
    """Bytes of the whole file."""
    etag: str = ""
    """As the server sent it; empty if it sent none."""
    modified: str = ""
    """Last-Modified as the server sent it; empty if it sent none, and beside a strong ETag."""

    @classmethod
    def of(cls, headers: Mapping[str, str], size: int) -> Self:
        """Return the edition that an answer was taken from.

        Args:
            headers: of the answer; names in any case if the mapping ignores case.
            size: bytes of the whole file, from Content-Range.
        """
        etag = headers.get("ETag", "").strip()
        # Mirrors behind one name may have copied a file at different times; a strong ETag is enough.
        modified = "" if _is_strong(etag) else headers.get("Last-Modified", "").strip()
        return cls(size=size, etag=etag, modified=modified)

    @property
    def strong(self) -> bool:
        """Whether the ETag is strong: bytes read at any time under it are still those of the file."""
        return _is_strong(self.etag)

    @property
    def named(self) -> bool:
        """Whether more than the size distinguishes it from other editions."""
        return bool(self.etag or self.modified)

    @property
    def conditions(self) -> dict[str, str]:
        """Headers that make a server answer 412 if the file is of another edition now (RFC 9110, 13.1.1)."""
        return {"If-Match": self.etag} if self.strong else {}


def _is_strong(etag: str) -> bool:
    return bool(etag) and etag[:2].upper() != "W/"
