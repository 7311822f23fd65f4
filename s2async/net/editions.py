"""Editions (versions) of a remote file: the headers that identify the content that a response contains. Pure.

A file may be replaced between two requests. A strong ETag shows this (RFC 9110, 8.8.1): equal tags mean equal
bytes. A weak ETag only promises the same meaning, so Last-Modified and the size must be equal as well. If there is
no ETag, only these two are compared.

Requests carry a condition only for a strong ETag. If-Unmodified-Since would add nothing to what the headers of the
response show, and some servers compare its date, which has whole seconds, with times that have fractions: they
would refuse every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Edition:
    """What all responses for one edition of a file have in common. If any value differs, the edition differs."""

    size: int
    """Size of the whole file in bytes."""
    etag: str = ""
    """ETag as the server sent it; empty if it sent none."""
    modified: str = ""
    """Last-Modified as the server sent it; empty if it sent none, or if the ETag is strong."""

    @classmethod
    def of(cls, headers: Mapping[str, str], size: int) -> Self:
        """Return the edition of the file that a response belongs to.

        Args:
            headers: response headers, as a case-insensitive mapping or spelled ``ETag`` and ``Last-Modified``.
            size: size of the whole file in bytes, from Content-Range.
        """
        etag = headers.get("ETag", "").strip()
        # Mirrors behind one name may have copied a file at different times; a strong ETag is enough.
        modified = "" if _is_strong(etag) else headers.get("Last-Modified", "").strip()
        return cls(size=size, etag=etag, modified=modified)

    @property
    def strong(self) -> bool:
        """Whether the ETag is strong: bytes read earlier under the same ETag are still valid."""
        return _is_strong(self.etag)

    @property
    def named(self) -> bool:
        """Whether a header, not only the size, distinguishes this edition from others."""
        return bool(self.etag or self.modified)

    @property
    def conditions(self) -> dict[str, str]:
        """Headers that make a server respond with 412 if the file now has another edition (RFC 9110, 13.1.1)."""
        return {"If-Match": self.etag} if self.strong else {}


def _is_strong(etag: str) -> bool:
    return bool(etag) and etag[:2].upper() != "W/"
