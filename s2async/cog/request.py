"""The request of one read of a file: its windows, and how strictly bytes are checked. Pure."""

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
"""Result for a window: (bands, rows, columns) of the file's own type, or the error that prevented reading it."""
PoolOver = Callable[[Sequence[int]], Executor]
"""Returns the pool that decodes pixels for the windows with the given indices."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """The windows to read of one file."""

    layout: Layout
    windows: tuple[Window, ...]
    """Windows inside the raster."""
    insides: tuple[NDArray[np.bool_] | None, ...]
    """For each window, which pixels matter (rows, columns); None if all pixels matter."""
    verify: bool
    """Whether whole blocks are read and the checksums of their streams compared."""
    highest: int | None
    """Highest valid value apart from nodata; None if any value is possible."""

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Shapes of the results: (bands, rows, columns)."""
        return [(self.layout.bands, *window.shape) for window in self.windows]

    @property
    def decoded_bytes(self) -> int:
        """Total bytes of the pixels of all windows."""
        return sum(map(math.prod, self.shapes)) * np.dtype(self.layout.dtype).itemsize

    def offset(self, block: int) -> int:
        """Return the offset of a block in the file."""
        return int(self.layout.block_offsets[block])

    def count(self, block: int) -> int:
        """Return the number of compressed bytes of a block."""
        return int(self.layout.block_counts[block])

    def check_values(self, pixels: NDArray[Any]) -> None:
        """Check that no value is above the highest valid value: damage may show there if there is no checksum.

        Raises:
            CorruptFile: a value is too high.
        """
        if self.highest is None or not pixels.size or pixels.max() <= self.highest:
            return
        odd = pixels[(pixels > self.highest) & (pixels != self.layout.nodata)]
        if odd.size:
            raise CorruptFile(f"holds the value {odd.max()}; the highest valid value is {self.highest}")
