"""Plans a read of blocks row by row: which bytes of which blocks are requested. Pure.

This is step 1 of :mod:`s2async.cog.reader`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from s2async.cog import tiles
from s2async.cog.prefix import Block, Margin, rows_of, typical_size
from s2async.cog.request import Request
from s2async.cog.tiles import ByteRange

CHEAP: Final = 65536
"""Minimum number of bytes of a second range: few, compared with the round trip that a third one would cost."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """Which bytes of which blocks are requested, and which windows they serve."""

    request: Request
    margin: Margin
    blocks: Mapping[int, Block]
    """What is wanted of each block that has a pixel that matters."""
    wanted: Mapping[int, int]
    """Bytes that are requested of each, from its start."""
    ranges: Sequence[ByteRange]
    """The requests, as long as nothing is in a tile cache."""

    @classmethod
    def of(cls, request: Request, rows_under: Mapping[int, int], margin: Margin) -> Plan:
        """The plan of a read that needs so many rows of each of some blocks."""
        layout, grid = request.layout, request.layout.grid
        typical = typical_size(layout)
        blocks = {
            block: Block(
                place=(grid.epsg, grid.transform.c, grid.transform.f, block),
                rows=rows,
                count=request.count(block),
                share=min(1.0, rows / rows_of(layout, block)),
                typical=typical,
            )
            for block, rows in rows_under.items()
        }
        # A checksum is at the end of its stream: to compare it takes the whole block.
        wanted = {index: block.count if request.verify else margin.size(block) for index, block in blocks.items()}
        return cls(
            request=request,
            margin=margin,
            blocks=blocks,
            wanted=wanted,
            ranges=tiles.byte_ranges(layout, wanted),
        )

    @property
    def fetched_bytes(self) -> int:
        """Bytes of all ranges."""
        return sum(part.stop - part.start for part in self.ranges)

    def second_size(self, block: int, asked: int) -> int:
        """Return how many bytes of a block to have after a second range, from its start."""
        wanted = self.blocks[block]
        size = wanted.count if self.request.verify else self.margin.size(wanted, times=3)
        return self.widened(block, size, asked)

    def widened(self, block: int, size: int, had: int) -> int:
        """Return ``size``, or where it is hardly more than the bytes of a block that are there, somewhat more."""
        return min(max(size, had + CHEAP), self.request.count(block))
