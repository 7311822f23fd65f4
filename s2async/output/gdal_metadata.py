"""GDAL's metadata in a TIFF: an XML document, whose items are the tags of crops.

Pure: the entries of a directory in, the entry of the metadata out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from s2async.cog.directories import GDAL_METADATA, Tag

_ASCII: Final = 2
"""TIFF's type code for text."""
_NOT_IN_XML: Final = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML does not allow (XML 1.0, section 2.2), and the carriage return, which readers change."""
_SPECIAL: Final = re.compile("[^\t\n\x20-\x25\x27-\x3b\x3d\x3f-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""These characters, and those that XML escapes: ``&``, ``<`` and ``>``. Most texts contain none of them."""
_NO_ITEMS: Final = b"<GDALMetadata>\n</GDALMetadata>\n\0"


def entry(tags: tuple[Tag, ...], items: Mapping[str, str]) -> list[Tag]:
    """Return the entry of GDAL's metadata with further items: XML with one element for each item.

    Args:
        tags: entries of a directory, with or without metadata.
        items: strings, keyed by name; if empty, no entry is returned.
    """
    if not items:
        return []
    old = next((raw for tag, _, _, raw in tags if tag == GDAL_METADATA), _NO_ITEMS)
    lines = (f"  <Item name={_quoted(key)}>{_escaped(text)}</Item>\n" for key, text in items.items())
    start, _, end = old.partition(b"\n")
    raw = b"".join([start, b"\n", "".join(lines).encode(), end])
    return [(GDAL_METADATA, _ASCII, len(raw), raw)]


def with_text(tags: tuple[Tag, ...], key: str, text: str) -> list[Tag]:
    """Return the entry of GDAL's metadata with another text in one of its items.

    Args:
        tags: entries of a directory.
        key: name of the item; if there is no such item, no entry is returned.
        text: its new text.
    """
    raw = next((raw for tag, _, _, raw in tags if tag == GDAL_METADATA), b"")
    start = f"<Item name={quoteattr(key)}>".encode()
    before, found, rest = raw.partition(start)
    if not found:
        return []
    _, end, after = rest.partition(b"</Item>")
    raw = b"".join([before, start, _escaped(text).encode(), end, after])
    return [(GDAL_METADATA, _ASCII, len(raw), raw)]


_quoted = lru_cache(maxsize=256)(quoteattr)


def legal(text: str) -> str:
    """Replace the characters that XML does not allow."""
    return _NOT_IN_XML.sub("?", text)


def _escaped(text: str) -> str:
    """Escape a string twice, because GDAL unescapes it twice: once as XML, once by itself."""
    return text if _SPECIAL.search(text) is None else escape(escape(legal(text)))
