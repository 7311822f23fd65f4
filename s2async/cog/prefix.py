"""Estimates how many bytes of a block to request for its first rows.

A DEFLATE block is one stream in row order, so the first rows require only the start of the stream. How many bytes
they take is unknown until they are inflated. A request for too few bytes costs another round trip, and a request
for too many costs bytes; neither makes pixels wrong. The estimate has three parts::

    size = share * count  +  lean * x(1-x) * usual  +  factor * spread  + HEAD + SPARE
           by rows alone     learned for this place    margin, learned for all

No I/O. A :class:`Margin` learns from the blocks that have arrived.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from s2async.cog.tiff import Layout

EVEN: Final = 0.3
"""Weight of a block's usual size in its spread; the remaining weight is that of the difference between its usual
size and its size."""
START: Final = {False: 1.3, True: 0.7}
"""Initial factors of the margin, for new rows of a place (False) and for rows that were read before (True).

A factor of 0.83 is a margin of a quarter of ``x * (1 - x)`` of a large block. On Sentinel-2 scenes, this margin
took 1.10 times the minimum number of bytes, and 0.7 % of the requests for blocks were too short. For uneven blocks
the percentage was higher, so new rows start with a wider margin.
"""
SHORT: Final = 0.01
"""Fraction of requests that may be too short; it determines the quantile that the factor follows."""
STEP: Final = 0.1
"""Largest increase of the factor after a short request; after any other request, the factor decreases by
``SHORT / (1 - SHORT)`` times this step."""
RANGE: Final = (0.1, 5.0)
"""Smallest and largest factor."""
MEMORY: Final = 0.2
"""Weight of the newest block in the averages for its place."""
PLACES: Final = 50_000
"""Maximum number of places that are remembered; an MGRS tile of Sentinel-2 has 121."""
ROWS: Final = 16
"""Maximum number of different row counts that are remembered for a place; the least recently used are dropped."""
HEAD: Final = 96
"""Bytes before the first pixel: the header of the stream and the code tables of its first DEFLATE block."""
SPARE: Final = 1024
"""Bytes that are always added to the margin: a negligible cost, but enough for most small blocks."""
REST: Final = 16384
"""If no more than this number of bytes of a block would remain, the block is requested whole: another request
would cost more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A block whose first rows are to be read."""

    place: tuple[object, ...]
    """Key of the block's place on Earth: blocks of the same place show the same land."""
    rows: int
    """Number of rows to read, from the top."""
    count: int
    """Compressed bytes of the whole block."""
    share: float
    """Rows to read, divided by all rows of the raster in the block: more than 0, at most 1."""
    typical: float
    """Compressed bytes of a large block of the same file; see :func:`typical_size`."""


@dataclass(slots=True)
class _Place:
    largest: int = 0
    """Compressed bytes of the largest block seen at this place, which most likely has no clouds."""
    lean: float = 0.0
    """Average excess of the needed bytes over the share of rows, in units of ``x * (1 - x)`` of the usual size."""
    leans: dict[int, float] = field(default_factory=dict)
    """The same average by number of rows: areas do not move, so mostly the same rows are read again."""


def rows_of(layout: Layout, block: int) -> int:
    """Return the number of raster rows in a block; rows below the raster are fill, which takes few bytes."""
    row = block % (layout.across * layout.down) // layout.across
    return min(layout.block_height, layout.grid.height - row * layout.block_height)


def typical_size(layout: Layout) -> float:
    """Return the 90 % quantile of the sizes of a file's blocks in bytes: the size of a block full of land."""
    present = layout.block_counts[layout.block_counts > 0]
    place = len(present) * 9 // 10
    return float(np.partition(present, place)[place]) if len(present) else 0.0


class Margin:
    """Learns from blocks of one kind of file how many bytes to request in addition to a block's share.

    Rows of a block differ in size (cloud, water, forest, the edge of the swath), so a share x of the rows does not
    take exactly the share x of the bytes. The deviation is zero at both ends of the block, for x = 0 and x = 1;
    therefore it is measured in units of ``x * (1 - x)`` of the block's usual size. It has two parts:

    - The permanent part is remembered by place (:attr:`_Place.lean`), because the land is the same on every date.
    - The variable part is larger for a block that is smaller than usual: such a block is partly cloudy, and it is
      unknown which rows are. ``spread = EVEN * usual + (1 - EVEN) * (usual - count)``, times ``x(1-x)``.

    The margin is ``factor * spread``. The factor follows the quantile ``1 - SHORT`` of the factors that would have
    been enough (stochastic approximation according to Robbins and Monro, 1951). There is one factor for rows that
    are read for the first time, and another for rows that were read before, about which more is known.
    """

    def __init__(self) -> None:
        self.factors = dict(START)
        """Factors, by whether the same rows of the same place were read before."""
        self.asked = 0
        """Number of blocks of which only a part was requested."""
        self.short = 0
        """Number of these parts that were too short."""
        self._places: dict[tuple[object, ...], _Place] = {}

    def size(self, block: Block, *, times: float = 1) -> int:
        """Return how many bytes to request, from the block's start.

        Args:
            block: the block and its rows to read.
            times: factor for the margin of a second request.

        Returns:
            A number from 1 to the size of the block; the size of the block if a part would save hardly any bytes.
        """
        expected, spread, known = self._expected(block)
        wanted = max(expected + times * (self.factors[known] * spread + SPARE) + HEAD, 1)
        return block.count if wanted > block.count - REST else math.ceil(wanted)

    def learn(self, block: Block, *, used: int, asked: int) -> None:
        """Learn from a block that arrived.

        Args:
            block: the block and its rows that were read.
            used: number of bytes that the rows took.
            asked: number of bytes that were requested at first.
        """
        expected, spread, known = self._expected(block)
        place = self._places.pop(block.place, None) or _Place()
        self._places[block.place] = place  # the most recently used place is the last
        if len(self._places) > PLACES:
            del self._places[next(iter(self._places))]
        place.largest = max(place.largest, block.count)
        if asked >= block.count or spread <= 0:
            return  # a whole block shows neither whether the margin was right nor how its bytes are distributed
        self.asked += 1
        self.short += used > asked
        factor = self.factors[known]
        if used > asked:
            # Increase to the factor that would have been enough, but in steps: a single odd block must not widen
            # the margin of all others. Increases and decreases balance if the fraction SHORT of the requests is
            # too short.
            enough = (used - HEAD - SPARE - expected) / spread
            factor = max(factor, min(factor + STEP, enough))
        else:
            factor -= STEP * SHORT / (1 - SHORT)
        self.factors[known] = min(max(factor, RANGE[0]), RANGE[1])
        scale = block.share * (1 - block.share) * max(block.typical, place.largest)
        lean = (used - HEAD - block.share * block.count) / scale
        # The first block of a place sets its lean; later blocks adjust it. New rows start from the lean of the
        # place.
        place.lean += (MEMORY if place.leans else 1) * (lean - place.lean)
        place.leans[block.rows] = place.leans.pop(block.rows, lean) * (1 - MEMORY) + lean * MEMORY
        if len(place.leans) > ROWS:
            del place.leans[next(iter(place.leans))]

    def _expected(self, block: Block) -> tuple[float, float, bool]:
        """Return the bytes that the rows most likely take, the spread, and whether the rows were read before."""
        place = self._places.get(block.place) or _Place()
        usual, between = max(block.typical, block.count, place.largest), block.share * (1 - block.share)
        lean = place.leans.get(block.rows, place.lean)
        spread = EVEN * usual + (1 - EVEN) * (usual - block.count)
        return block.share * block.count + lean * between * usual, between * spread, block.rows in place.leans
