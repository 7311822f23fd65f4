"""What one read wants of a file: windows, and how strictly the bytes are checked. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2async.cog.grid import Window
from s2async.cog.tiff import Layout
from s2async.errors import CorruptFile

Pixels = NDArray[np.generic] | CorruptFile
"""Result of a window: (bands, rows, columns) of the file's own type, or why they cannot be had."""
PoolOver = Callable[[Sequence[int]], Executor]
"""Returns the pool that decodes what some windows need, by their indices."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """Windows wanted of one file."""

    layout: Layout
    windows: tuple[Window, ...]
    """Inside the raster."""
    insides: tuple[NDArray[np.bool_] | None, ...]
    """For each window (rows, columns) of the pixels that matter; None when all of them do."""
    verify: bool
    """Whether whole blocks are read, and the checksums of their streams compared."""
    highest: int | None
    """Highest value that a sound file has, nodata aside; None when any value is possible."""

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Bands, rows, columns of each result."""
        return [(self.layout.bands, *window.shape) for window in self.windows]

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all pixels."""
        return sum(map(math.prod, self.shapes)) * np.dtype(self.layout.dtype).itemsize

    def offset(self, block: int) -> int:
        """Return the first byte of a block in the file."""
        return int(self.layout.block_offsets[block])

    def count(self, block: int) -> int:
        """Return the compressed bytes of a block."""
        return int(self.layout.block_counts[block])

    def check_values(self, pixels: NDArray[Any]) -> None:
        """Look for values that no sound file has: where no checksum shows damage, they may.

        Raises:
            CorruptFile: there are such values.
        """
        if self.highest is None or not pixels.size or pixels.max() <= self.highest:
            return
        odd = pixels[(pixels > self.highest) & (pixels != self.layout.nodata)]
        if odd.size:
            raise CorruptFile(f"holds the value {odd.max()}; the highest valid value is {self.highest}")
