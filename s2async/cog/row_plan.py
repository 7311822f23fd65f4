"""Plans which bytes of which blocks a read by rows requests. Pure.

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
"""Minimum number of bytes of a second range: cheap, compared with the round trip of a third range."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plan:
    """The bytes of blocks to request for a read, and the request that they serve."""

    request: Request
    margin: Margin
    blocks: Mapping[int, Block]
    """The rows to read of each block that contains a pixel that matters."""
    wanted: Mapping[int, int]
    """Number of bytes to request of each block, from its start."""
    ranges: Sequence[ByteRange]
    """The ranges to request if no bytes are in a tile cache."""

    @classmethod
    def of(cls, request: Request, rows_under: Mapping[int, int], margin: Margin) -> Plan:
        """Return the plan of a read that needs the given number of rows of each block."""
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
        # The checksum is at the end of a stream, so comparing it requires the whole block.
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
        """Total bytes of all ranges."""
        return sum(part.stop - part.start for part in self.ranges)

    def second_size(self, block: int, asked: int) -> int:
        """Return up to how many bytes of a block, from its start, a second range should reach."""
        wanted = self.blocks[block]
        size = wanted.count if self.request.verify else self.margin.size(wanted, times=3)
        return self.widened(block, size, asked)

    def widened(self, block: int, size: int, had: int) -> int:
        """Return ``size``, increased if it is hardly more than the ``had`` bytes of a block that are available."""
        return min(max(size, had + CHEAP), self.request.count(block))
