"""How much of a tile to ask for: a DEFLATE tile is one stream in row order, so its first rows need only its start.

Pure, but for what :class:`Margin` learns.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from s2async.tiff import Layout

START: Final = 0.25
"""First value of the margin's factor. On Sentinel-2 pictures: 1.10 times the least bytes, 0.7 in 100 too short."""
SHORT: Final = 0.01
"""Share of prefixes that may be too short. One costs a round trip; a larger margin costs bytes every time."""
STEP: Final = 0.04
"""Rise of the factor after a prefix that was too short; after others it falls by ``SHORT / (1 - SHORT)`` of it."""
RANGE: Final = (0.02, 2.0)
"""Least and largest factor."""
HEAD: Final = 96
"""Bytes before the first pixel: the header of the stream and the code tables of its first block."""
REST: Final = 2048
"""When the rest of a tile is no longer than this, the tile is asked for whole."""


def rows_of(layout: Layout, block: int) -> int:
    """Rows of the raster in a block: those below the raster's edge are filling that needs next to no bytes."""
    row = block % (layout.across * layout.down) // layout.across
    return min(layout.block_height, layout.grid.height - row * layout.block_height)


def typical_size(layout: Layout) -> float:
    """The 90 % quantile of the sizes of a file's blocks, in bytes: a measure of how uneven its tiles can be."""
    present = layout.block_counts[layout.block_counts > 0]
    return float(np.quantile(present, 0.9)) if len(present) else 0.0


class Margin:
    """What is asked for beyond a block's share of bytes, of one kind of file; learned from the blocks that came.

    Rows of a tile differ in size (cloud, water, the edge of the swath), least so at both ends of the tile, where
    nothing or everything has been read. So the margin is ``factor * x * (1 - x) * typical`` at the share x of the
    rows. The factor follows the :data:`SHORT` quantile of what would have been enough (stochastic approximation
    after Robbins and Monro, 1951).
    """

    def __init__(self, factor: float = START) -> None:
        self.factor = factor
        self.asked = 0
        """Prefixes that were asked for."""
        self.short = 0
        """How many of them were too short."""

    def size(self, count: int, share: float, typical: float, *, times: float = 1) -> int:
        """Bytes to ask for.

        Args:
            count: bytes of the whole block.
            share: of its rows that are needed, 0 to 1.
            typical: see :func:`typical_size`.
            times: widens the margin, for another try.

        Returns:
            At most ``count``; exactly that when hardly anything would be saved.
        """
        wanted = share * count + times * (self.factor * share * (1 - share) * typical + HEAD)
        return count if wanted > count - REST else math.ceil(wanted)

    def learn(self, count: int, share: float, typical: float, *, used: int, asked: int) -> None:
        """Take in how many bytes the rows of a block needed, and how many had been asked for."""
        spread = share * (1 - share) * typical
        if spread <= 0 or asked >= count:
            return
        self.asked += 1
        self.short += used > asked
        enough = (used - share * count - HEAD) / spread
        change = STEP if enough > self.factor else -STEP * SHORT / (1 - SHORT)
        self.factor = min(max(self.factor + change, RANGE[0]), RANGE[1])
