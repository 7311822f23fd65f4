"""Evidence about an offset from pixels: with an offset of -1000, hardly any DN is below 800."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from s2async.reflectance.decision import LARGEST

DARK: Final = 800
"""DN below which a file with an offset has almost no pixels. Of 48 scenes, the one with an offset had a 0.1 %
quantile of 1003, the others of 96 to 2048: a low quantile proves that there is no offset, a high one proves
nothing."""
QUANTILE: Final = 0.001
"""Minimum fraction of valid pixels that must be darker for a proof. A single dark pixel is not enough: of 7.5
million pixels with an offset, 2 are dark."""
ENOUGH: Final = 10_000
"""Minimum number of valid pixels for a proof."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Counts of valid pixels of one file, or of several files and areas of one item."""

    pixels: int = 0
    """Number of valid pixels: those with a DN above 0."""
    dark: int = 0
    """Number of valid pixels below 800."""
    wrapped: int = 0
    """Number of valid pixels above 32,767, which are impossible in a reflectance band."""

    @classmethod
    def of(cls, dn: NDArray[np.generic]) -> Self:
        """Count the pixels of a band.

        Args:
            dn: DN of any shape; 0 and negative numbers mean no data. Floats are not DN, and are not counted.
        """
        numbers: NDArray[Any] = dn if np.issubdtype(dn.dtype, np.integer) else dn[:0]
        valid = numbers[numbers > 0]
        return cls(
            pixels=int(valid.size),
            dark=int(np.count_nonzero(valid < DARK)),
            wrapped=int(np.count_nonzero(valid > LARGEST)),
        )

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.pixels + other.pixels, self.dark + other.dark, self.wrapped + other.wrapped)

    @property
    def proves_none(self) -> bool:
        """Whether there are enough pixels and their 0.1 % quantile is below 800: then the DN have no offset."""
        return self.pixels >= ENOUGH and self.dark > QUANTILE * self.pixels
