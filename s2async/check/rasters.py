"""Verdicts on files: ranges, ETag, layout, CRS. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from s2async.check.findings import Finding, odd, right
from s2async.cog.grid import Cutout, Window
from s2async.cog.tiff import Layout
from s2async.net.editions import Edition

LARGE_BLOCK: Final = 1024
"""Side of a block in pixels above which a small area needs many bytes; Earth Search has 1024 and 512."""
_COMPRESSIONS: Final = {
    1: "not compressed",
    5: "LZW",
    7: "JPEG",
    8: "DEFLATE",
    32773: "PackBits",
    32946: "DEFLATE",
    34887: "LERC",
    34925: "LZMA",
    50000: "ZSTD",
    50001: "WebP",
}
"""TIFF 6.0, section 8, and the codes of libtiff."""


def header(topic: str, levels: Sequence[Layout], edition: Edition, stated: int | None) -> Finding:
    """Judge the header of a file, and how its server identifies its edition.

    Args:
        topic: topic of the finding.
        levels: the full resolution, then the overviews.
        edition: edition as reported by the server.
        stated: EPSG code according to the item; None if unknown.
    """
    issues = [*_edition_issues(edition), *_layout_issues(levels, stated)]
    summary = _summary(levels, edition)
    return odd(topic, f"{'; '.join(issues)} ({summary})") if issues else right(topic, summary)


def _edition_issues(edition: Edition) -> list[str]:
    if edition.strong:
        return []
    if edition.etag:
        return [
            "weak ETag: a replaced file is noticed by its date and size, and headers are read again by each run"
        ]
    if edition.modified:
        return ["no ETag: a replaced file is noticed by its date and size, and headers are read again by each run"]
    return ["neither ETag nor Last-Modified: a file that is replaced by one of the same size is not noticed"]


def _layout_issues(levels: Sequence[Layout], stated: int | None) -> list[str]:
    whole, issues = levels[0], []
    if stated is not None and stated != whole.grid.epsg:
        issues.append(f"the item says EPSG:{stated}, the file EPSG:{whole.grid.epsg}; that of the file counts")
    if not whole.tiled:
        issues.append("strips instead of tiles: whole rows of the scene are read")
    elif max(whole.block_width, whole.block_height) > LARGE_BLOCK:
        issues.append(
            f"blocks of {whole.block_width} x {whole.block_height} pixels: much is read for a small area"
        )
    if len(levels) == 1 and max(whole.grid.width, whole.grid.height) > LARGE_BLOCK:
        issues.append("no overviews: the report shows no picture of a whole scene")
    return issues


def _summary(levels: Sequence[Layout], edition: Edition) -> str:
    whole = levels[0]
    blocks = f"tiles of {whole.block_width}" if whole.tiled else f"strips of {whole.block_height}"
    codec = _COMPRESSIONS.get(whole.compression, f"compression {whole.compression}")
    parts = [
        f"ranges work, {'strong ETag' if edition.strong else f'{edition.size:,} bytes'}",
        f"{whole.grid.width:,} x {whole.grid.height:,} x {whole.bands} {whole.dtype}",
        f"{blocks}, {codec}",
        f"{len(levels) - 1} overviews",
        f"EPSG:{whole.grid.epsg}",
    ]
    return ", ".join(parts)


def middle_block(layout: Layout) -> Cutout | None:
    """Return the window of the block with pixels nearest to the middle of the file.

    The result is None if no block has pixels.
    """
    present = np.flatnonzero(layout.block_counts[: layout.across * layout.down])
    if not len(present):
        return None
    block = int(present[np.abs(present - layout.across * layout.down // 2).argmin()])
    row, col = block // layout.across * layout.block_height, block % layout.across * layout.block_width
    window = Window(col=col, row=row, width=layout.block_width, height=layout.block_height)
    inside = window.clip(layout.grid.width, layout.grid.height)
    if inside is None:
        return None
    return Cutout(window=inside, inside=np.ones(inside.shape, dtype=bool), total=inside.pixels)
