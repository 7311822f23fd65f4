"""Reads the tags that a run writes into a crop, without GDAL."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import BinaryIO, Final, cast

from s2async.cog import directories, tiff
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile

_ITEM: Final = re.compile(r'<Item name="([^"]*)">([^<]*)</Item>')
"""An item of GDAL's metadata, as written by `gdal_metadata`."""


def read(data: bytes) -> dict[str, str]:
    """Return the tags of a crop (see `engine.cut.crop_tags`); empty if the data is not a valid GeoTIFF."""
    layout = _parsed(data)
    return of_layout(layout) if layout else {}


def of_file(path: Path) -> dict[str, str]:
    """Return the tags of a crop on disk; empty if the file does not exist or cannot be read."""
    layout = layout_of(path)
    return of_layout(layout) if layout else {}


def layout_of(path: Path) -> Layout | None:
    """Return the header of a crop on disk; None if the file is missing or not a valid GeoTIFF.

    The directory follows the pixels, which are skipped without being read.
    """
    try:
        with path.open("rb") as file:
            return _parsed(cast("bytes", _InPart(file)))
    except OSError:
        return None


def of_layout(layout: Layout) -> dict[str, str]:
    """Return the tags in a header."""
    xml = next((raw for tag, _, _, raw in layout.tags if tag == directories.GDAL_METADATA), b"")
    # Escaped twice: once as XML, once by GDAL itself.
    return {unescape(key): unescape(unescape(text)) for key, text in _ITEM.findall(xml.decode(errors="replace"))}


def _parsed(data: bytes) -> Layout | None:
    try:
        layout = tiff.parse(data)
    except CorruptFile:
        return None
    return layout if isinstance(layout, Layout) else None


class _InPart:
    """The bytes of a file, read on access; implements as much of `bytes` as `cog.tiff.parse` needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))
