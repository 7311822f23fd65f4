"""Which edition of a remote file an answer is of: what its headers tell, as a value to compare. Pure.

A file may be replaced between two requests. A strong ETag tells that by itself (RFC 9110, 8.8.1): equal tags are
equal bytes. A weak one promises the same meaning only, so Last-Modified and the size must be the same as well; and
where there is no tag, those two stand in for it.

For those two no condition is sent. If-Unmodified-Since would tell nothing that the answer's own headers do not,
and some servers compare the date, which has whole seconds, with times that have fractions of seconds: they would
refuse every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Edition:
    """What answers of one edition of a file have in common. An answer that tells more, or less, is of another."""

    size: int
    """Bytes of the whole file."""
    etag: str = ""
    """As the server gave it; the empty string when it gave none."""
    modified: str = ""
    """Last-Modified as the server gave it; the empty string when it gave none, or beside a strong ETag."""

    @classmethod
    def told(cls, headers: Mapping[str, str], size: int) -> Self:
        """The edition that an answer is of.

        Args:
            headers: of the answer; names in any case if the mapping allows it.
            size: bytes of the whole file, as Content-Range tells them.
        """
        etag = headers.get("ETag", "").strip()
        # servers of one name may copy a file at different times: what is strong needs no second witness
        modified = "" if _is_strong(etag) else headers.get("Last-Modified", "").strip()
        return cls(size=size, etag=etag, modified=modified)

    @property
    def strong(self) -> bool:
        """Whether it names its bytes for ever: what was read long ago is still that of the file."""
        return _is_strong(self.etag)

    @property
    def named(self) -> bool:
        """Whether more than the size tells it from another."""
        return bool(self.etag or self.modified)

    @property
    def conditions(self) -> dict[str, str]:
        """Headers with which a server answers 412 when the file is another by now (RFC 9110, 13.1.1)."""
        return {"If-Match": self.etag} if self.strong else {}


def _is_strong(etag: str) -> bool:
    return bool(etag) and etag[:2].upper() != "W/"
