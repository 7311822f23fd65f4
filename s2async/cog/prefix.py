"""How much of a tile to ask for: a DEFLATE tile is one stream in row order, so its first rows need only its start.

Asking for too little costs a round trip, asking for too much costs bytes every time; never are pixels wrong.
No I/O; a :class:`Margin` learns from the tiles that came.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from s2async.cog.tiff import Layout

EVEN: Final = 0.3
"""Weight of a tile's usual size in its spread; the rest is the weight of what it has less than that."""
START: Final = {False: 1.3, True: 0.7}
"""Factors of the margin at first, for rows that are new and for rows that were read before.

A factor of 0.83 is a margin of a quarter of ``x * (1 - x)`` of a large block. On Sentinel-2 pictures that took
1.10 times the least bytes, and 0.7 of 100 tiles were short; of uneven ones more, so new rows start with more.
"""
SHORT: Final = 0.01
"""Share of prefixes that may be too short."""
STEP: Final = 0.1
"""Rise of the factor after a short prefix, at most; after others it falls by ``SHORT / (1 - SHORT)`` of it."""
RANGE: Final = (0.1, 5.0)
"""Least and largest factor."""
MEMORY: Final = 0.2
"""Weight of the newest tile in what is remembered of its place."""
PLACES: Final = 50_000
"""Places that are remembered; a grid square of Sentinel-2 has 121."""
ROWS: Final = 16
"""Numbers of rows that are remembered of a place, those used last: areas come and go."""
HEAD: Final = 96
"""Bytes before the first pixel: the header of the stream and the code tables of its first block."""
SPARE: Final = 1024
"""Bytes that are always asked for beyond the margin: next to nothing, and enough for most small tiles."""
REST: Final = 16384
"""When the rest of a tile is no longer than this, the tile is asked for whole: a request costs more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A tile of which the first rows are wanted."""

    place: tuple[object, ...]
    """Where on Earth it lies: tiles of the same place show the same land."""
    rows: int
    """How many are wanted."""
    count: int
    """Bytes of the whole block."""
    share: float
    """Of its rows that are wanted, those beyond the raster left out: more than 0, at most 1."""
    typical: float
    """Bytes of a large tile of the same file."""


@dataclass(slots=True)
class _Place:
    largest: int = 0
    """Bytes of the largest tile that was seen here: with no cloud in it, most likely."""
    lean: float = 0.0
    """How much sooner or later its bytes come than its rows, in shares of ``x * (1 - x)`` of its usual size."""
    leans: dict[int, float] = field(default_factory=dict)
    """The same by rows: areas stay where they are, so mostly the same rows are wanted again."""


def rows_of(layout: Layout, block: int) -> int:
    """Rows of the raster in a block: those below the raster's edge are filling that needs next to no bytes."""
    row = block % (layout.across * layout.down) // layout.across
    return min(layout.block_height, layout.grid.height - row * layout.block_height)


def typical_size(layout: Layout) -> float:
    """The 90 % quantile of the sizes of a file's blocks, in bytes: what a tile has that is full of land."""
    present = layout.block_counts[layout.block_counts > 0]
    place = len(present) * 9 // 10
    return float(np.partition(present, place)[place]) if len(present) else 0.0


class Margin:
    """What is asked for beyond a tile's share of bytes, of one kind of file; learned from the tiles that came.

    Rows of a tile differ in size (cloud, water, forest, the edge of the swath). How far this can lead away from
    the share x of the rows is nil at both ends of a tile, so it is measured in ``x * (1 - x)`` of a tile's usual
    size. Of that,

    - what is lasting is remembered by place: the land stays the same from picture to picture;
    - what is not grows with what the tile has less than usual, because a small tile is cloud in part, and nobody
      knows in which: ``spread = EVEN * usual + (1 - EVEN) * (usual - count)``;
    - the margin is ``factor * spread``, and the factor follows the :data:`SHORT` quantile of what would have been
      enough (stochastic approximation after Robbins and Monro, 1951): one factor for what is read for the first
      time, another for rows that were read before.
    """

    def __init__(self) -> None:
        self.factors = dict(START)
        """By whether the same rows of the same place were read before."""
        self.asked = 0
        """Prefixes that were asked for."""
        self.short = 0
        """How many of them were too short."""
        self._places: dict[tuple[object, ...], _Place] = {}

    def size(self, block: Block, *, times: float = 1) -> int:
        """Bytes to ask for, from the tile's start.

        Args:
            block: what is wanted.
            times: widens the margin, for another try.

        Returns:
            From 1 to all bytes of the tile; all when hardly anything would be saved.
        """
        expected, spread, known = self._expected(block)
        wanted = max(expected + times * (self.factors[known] * spread + SPARE) + HEAD, 1)
        return block.count if wanted > block.count - REST else math.ceil(wanted)

    def learn(self, block: Block, *, used: int, asked: int) -> None:
        """Take in how many bytes the rows of a tile needed, and how many had been asked for."""
        expected, spread, known = self._expected(block)
        place = self._places.pop(block.place, None) or _Place()
        self._places[block.place] = place  # the last in order is the newest
        if len(self._places) > PLACES:
            del self._places[next(iter(self._places))]
        place.largest = max(place.largest, block.count)
        if asked >= block.count or spread <= 0:
            return
        self.asked += 1
        self.short += used > asked
        factor = self.factors[known]
        if used > asked:
            enough = (used - HEAD - SPARE - expected) / spread
            factor = max(factor, min(factor + STEP, enough))
        else:
            factor -= STEP * SHORT / (1 - SHORT)
        self.factors[known] = min(max(factor, RANGE[0]), RANGE[1])
        scale = block.share * (1 - block.share) * max(block.typical, place.largest)
        lean = (used - HEAD - block.share * block.count) / scale
        place.lean += (MEMORY if place.leans else 1) * (lean - place.lean)
        place.leans[block.rows] = place.leans.pop(block.rows, lean) * (1 - MEMORY) + lean * MEMORY
        if len(place.leans) > ROWS:
            del place.leans[next(iter(place.leans))]

    def _expected(self, block: Block) -> tuple[float, float, bool]:
        """Bytes that the rows need most likely, how far that may be off, and whether they were read before."""
        place = self._places.get(block.place) or _Place()
        usual, between = max(block.typical, block.count, place.largest), block.share * (1 - block.share)
        lean = place.leans.get(block.rows, place.lean)
        spread = EVEN * usual + (1 - EVEN) * (usual - block.count)
        return block.share * block.count + lean * between * usual, between * spread, block.rows in place.leans
