"""How many bytes of a block to request for its first rows.

A DEFLATE block is one stream in row order, so its first rows need only its start. How many bytes that takes is
unknown until they are inflated. A request for too little costs a round trip, one for too much costs bytes; neither
makes pixels wrong. The estimate has three parts::

    size = share * count  +  lean * x(1-x) * usual  +  factor * spread  + HEAD + SPARE
           by rows alone     learned for this place    margin, learned for all

No I/O; a :class:`Margin` learns from the blocks that arrived.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from s2async.cog.tiff import Layout

EVEN: Final = 0.3
"""Weight of a block's usual size in its spread; the rest is the weight of what the block lacks of that size."""
START: Final = {False: 1.3, True: 0.7}
"""First factors of the margin, for rows of a place that are new (False) and for those read before (True).

A factor of 0.83 is a margin of a quarter of ``x * (1 - x)`` of a large block. On Sentinel-2 scenes that took 1.10
times the minimum number of bytes, and 0.7 % of the blocks were short; of uneven blocks more, so new rows start
with a wider margin.
"""
SHORT: Final = 0.01
"""Share of requests that may be too short: the quantile that the factor follows."""
STEP: Final = 0.1
"""Largest rise of the factor after a short request; after any other it falls by ``SHORT / (1 - SHORT)`` of it."""
RANGE: Final = (0.1, 5.0)
"""Smallest and largest factor."""
MEMORY: Final = 0.2
"""Weight of the newest block in what is remembered of its place."""
PLACES: Final = 50_000
"""Places that are remembered; an MGRS tile of Sentinel-2 has 121."""
ROWS: Final = 16
"""Numbers of rows that are remembered of a place; those used longest ago go first."""
HEAD: Final = 96
"""Bytes before the first pixel: the header of the stream and the code tables of its first DEFLATE block."""
SPARE: Final = 1024
"""Bytes that are always added to the margin: next to nothing, and enough for most small blocks."""
REST: Final = 16384
"""A block whose rest has no more bytes than this is requested whole: another request would cost more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A block of which the first rows are wanted."""

    place: tuple[object, ...]
    """Key of its place on Earth: blocks of the same place show the same land."""
    rows: int
    """How many are wanted, from the top."""
    count: int
    """Compressed bytes of the whole block."""
    share: float
    """Wanted rows over all rows of the raster in the block: more than 0, at most 1."""
    typical: float
    """Compressed bytes of a large block of the same file; see :func:`typical_size`."""


@dataclass(slots=True)
class _Place:
    largest: int = 0
    """Compressed bytes of the largest block seen here: most likely one without cloud."""
    lean: float = 0.0
    """Average excess of the needed bytes over the share of rows, in units of ``x * (1 - x)`` of the usual size."""
    leans: dict[int, float] = field(default_factory=dict)
    """The same by number of rows: areas stay where they are, so mostly the same rows are wanted again."""


def rows_of(layout: Layout, block: int) -> int:
    """Return the rows of the raster in a block. Rows below the raster's edge are fill, which needs few bytes."""
    row = block % (layout.across * layout.down) // layout.across
    return min(layout.block_height, layout.grid.height - row * layout.block_height)


def typical_size(layout: Layout) -> float:
    """Return the 90 % quantile of the sizes of a file's blocks, in bytes: that of a block full of land."""
    present = layout.block_counts[layout.block_counts > 0]
    place = len(present) * 9 // 10
    return float(np.partition(present, place)[place]) if len(present) else 0.0


class Margin:
    """How many bytes to request beyond a block's share, for one kind of file; learned from blocks that arrived.

    Rows of a block differ in size (cloud, water, forest, the edge of the swath), so a share x of the rows does not
    take exactly the share x of the bytes. The deviation is zero at both ends of the block, for x = 0 and x = 1;
    therefore it is measured in units of ``x * (1 - x)`` of the block's usual size. It has two parts:

    - The part that lasts is remembered by place (:attr:`_Place.lean`): the land is the same on every date.
    - The part that does not last is larger for a block that is smaller than usual: such a block is partly cloud,
      and it is unknown in which rows. ``spread = EVEN * usual + (1 - EVEN) * (usual - count)``, times ``x(1-x)``.

    The margin is ``factor * spread``. The factor follows the quantile ``1 - SHORT`` of what would have been enough
    (stochastic approximation after Robbins and Monro, 1951): there is one factor for rows that are read for the
    first time, and another for rows that were read before, of which more is known.
    """

    def __init__(self) -> None:
        self.factors = dict(START)
        """By whether the same rows of the same place were read before."""
        self.asked = 0
        """Blocks of which a part was requested."""
        self.short = 0
        """How many of these parts were too short."""
        self._places: dict[tuple[object, ...], _Place] = {}

    def size(self, block: Block, *, times: float = 1) -> int:
        """Return how many bytes to request, from the block's start.

        Args:
            block: what is wanted.
            times: multiplies the margin, for a second request.

        Returns:
            From 1 to all bytes of the block; all when hardly any would be saved.
        """
        expected, spread, known = self._expected(block)
        wanted = max(expected + times * (self.factors[known] * spread + SPARE) + HEAD, 1)
        return block.count if wanted > block.count - REST else math.ceil(wanted)

    def learn(self, block: Block, *, used: int, asked: int) -> None:
        """Learn from a block that arrived.

        Args:
            block: what was wanted.
            used: bytes that its rows needed.
            asked: bytes that were requested at first.
        """
        expected, spread, known = self._expected(block)
        place = self._places.pop(block.place, None) or _Place()
        self._places[block.place] = place  # the last in order is the newest
        if len(self._places) > PLACES:
            del self._places[next(iter(self._places))]
        place.largest = max(place.largest, block.count)
        if asked >= block.count or spread <= 0:
            return  # a whole block says nothing about how the margin did, nor where its bytes lie
        self.asked += 1
        self.short += used > asked
        factor = self.factors[known]
        if used > asked:
            # Rise to the factor that would have been enough, but in steps: a single odd block must not widen the
            # margin of all others. Rises and falls balance when SHORT of the requests are too short.
            enough = (used - HEAD - SPARE - expected) / spread
            factor = max(factor, min(factor + STEP, enough))
        else:
            factor -= STEP * SHORT / (1 - SHORT)
        self.factors[known] = min(max(factor, RANGE[0]), RANGE[1])
        scale = block.share * (1 - block.share) * max(block.typical, place.largest)
        lean = (used - HEAD - block.share * block.count) / scale
        # The first block of a place sets its lean; later ones move it. New rows start from the lean of their
        # block.
        place.lean += (MEMORY if place.leans else 1) * (lean - place.lean)
        place.leans[block.rows] = place.leans.pop(block.rows, lean) * (1 - MEMORY) + lean * MEMORY
        if len(place.leans) > ROWS:
            del place.leans[next(iter(place.leans))]

    def _expected(self, block: Block) -> tuple[float, float, bool]:
        """Return the bytes that the rows most likely need, the spread, and whether they were read before."""
        place = self._places.get(block.place) or _Place()
        usual, between = max(block.typical, block.count, place.largest), block.share * (1 - block.share)
        lean = place.leans.get(block.rows, place.lean)
        spread = EVEN * usual + (1 - EVEN) * (usual - block.count)
        return block.share * block.count + lean * between * usual, between * spread, block.rows in place.leans
