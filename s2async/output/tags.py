"""What a crop says of itself: the tags that a run writes into it, read again without GDAL."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import BinaryIO, Final, cast

from s2async.cog import tiff
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile

_ITEM: Final = re.compile(r'<Item name="([^"]*)">([^<]*)</Item>')
"""Of GDAL's metadata: one plain element an item, as `geotiff` writes it."""


def read(data: bytes) -> dict[str, str]:
    """The tags of a crop (see `engine.worker.crop_tags`); none where it is not a GeoTIFF that can be read."""
    layout = _parsed(data)
    return told(layout) if layout else {}


def of_file(path: Path) -> dict[str, str]:
    """The tags of a crop on disk; none where there is no such file, or it cannot be read."""
    layout = layout_of(path)
    return told(layout) if layout else {}


def layout_of(path: Path) -> Layout | None:
    """What the header of a crop on disk says; None when it is not there, or no header.

    The directory stands behind the pixels, which are passed over.
    """
    try:
        with path.open("rb") as file:
            return _parsed(cast("bytes", _InPart(file)))
    except OSError:
        return None


def told(layout: Layout) -> dict[str, str]:
    """The tags of a header."""
    xml = next((raw for tag, _, _, raw in layout.tags if tag == tiff.GDAL_METADATA), b"")
    # escaped twice: once as XML, once by GDAL itself
    return {unescape(key): unescape(unescape(text)) for key, text in _ITEM.findall(xml.decode(errors="replace"))}


def _parsed(data: bytes) -> Layout | None:
    try:
        layout = tiff.parse(data)
    except CorruptFile:
        return None
    return layout if isinstance(layout, Layout) else None


class _InPart:
    """The bytes of a file, read where they are looked at; as much of `bytes` as `cog.tiff.parse` needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))
