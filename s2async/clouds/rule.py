"""What a cloud rule is: the seam between the pixels of some assets and the verdict on an area.

To add a rule, write a module beside `scl` with a class of this protocol, and let the configuration make it. A
measurement carries the name of its rule. When the configuration selects another rule, measurements of the former
one do not count: a run opens their jobs again and measures them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from s2async.models import DEFAULT_RULE, CloudMeasure, Status

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


VERDICTS: Final = (None, Status.CLOUDY, Status.NODATA, Status.OUTSIDE)
"""What `CloudRule.verdicts` counts by: None is a clear area."""


def judge_each(
    verdict: Callable[[CloudMeasure], Status | None],
    histograms: NDArray[np.int64],
    totals: NDArray[np.int64],
    rule: str = DEFAULT_RULE,
) -> NDArray[np.uint8]:
    """Judge measurements one by one: `CloudRule.verdicts` of a rule that is not in a hurry.

    Args:
        verdict: judges one.
        histograms: (measurements, bins).
        totals: (measurements,), pixels of the areas.
        rule: name of the rule that measured.
    """
    import numpy as np  # loaded only here: settings need rules, and no arrays

    pairs = zip(histograms.tolist(), totals.tolist(), strict=True)
    found = (verdict(CloudMeasure(histogram=tuple(counts), total=total, rule=rule)) for counts, total in pairs)
    return np.fromiter((VERDICTS.index(one) for one in found), np.uint8, len(totals))


@dataclass(frozen=True, slots=True)
class AreaPixels:
    """The pixels of one asset in the window around an area."""

    pixels: NDArray[np.generic]
    """(bands, rows, columns), of the file's dtype."""
    inside: NDArray[np.bool_]
    """(rows, columns), True where the centre of the pixel lies inside the polygon."""
    total: int
    """Pixel centres inside the polygon, including those that the raster does not hold."""


class CloudRule(Protocol):
    """Decides which areas are clear. It does no input or output, can be pickled and used in several threads.

    The bins of its histograms follow one convention: the first counts pixels without data, and the last counts
    pixels whose value has no meaning. All others hold valid pixels.
    """

    @property
    def name(self) -> str:
        """Names the rule in measurements: small letters, digits and ``_``."""
        ...

    @property
    def assets(self) -> tuple[str, ...]:
        """Keys of the assets that it needs, in the order in which they are read; at least one."""
        ...

    @property
    def bins(self) -> int:
        """Number of counts in its histograms."""
        ...

    @property
    def spoilt(self) -> Collection[int]:
        """Bins whose pixels spoil a crop."""
        ...

    def check(self, asset: str, bands: int, dtype: str) -> str:
        """Check the layout of an asset's file.

        Args:
            asset: its key.
            bands: of the file.
            dtype: numpy's name for the file's type.

        Returns:
            Why the file cannot be measured; the empty string when it can.
        """
        ...

    def highest(self, asset: str) -> int | None:
        """The greatest value of sound pixels, above which blocks are read once more; None for no such check."""
        ...

    def measure(self, found: Mapping[str, AreaPixels], /) -> CloudMeasure:
        """Count what lies inside an area.

        Args:
            found: the area's pixels by asset: all of `assets`.

        Raises:
            CorruptFile: the pixels are not what the rule needs.
        """
        ...

    def verdict(self, measured: CloudMeasure, /) -> Status | None:
        """Judge a measurement of this rule: NODATA or CLOUDY, or None when the area is clear."""
        ...

    def verdicts(self, histograms: NDArray[np.int64], totals: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Judge many measurements of this rule at once, each as `verdict` does.

        Args:
            histograms: (measurements, bins).
            totals: (measurements,), pixels of the areas.

        Returns:
            (measurements,), each the index of its verdict in `VERDICTS`.
        """
        ...

    def is_held(self, pixels: int, total: int, /) -> bool:
        """Whether a raster covers enough of an area, with or without data: if so, another date may be clear.

        Args:
            pixels: of the area that the raster holds.
            total: pixels of the area. An area without any counts as held: it is too small for every raster.
        """
        ...


@runtime_checkable
class CountingRule(CloudRule, Protocol):
    """A rule of one asset with one band, whose values are the bins: many areas can be counted at once."""

    def measures(self, counts: NDArray[np.int64], totals: NDArray[np.int64], /) -> list[CloudMeasure]:
        """The measurements of n areas.

        Args:
            counts: (n, bins) pixels inside each area by value; the last bin counts all higher values, too.
            totals: (n,) pixel centres inside each polygon, including those that the raster does not hold.
        """
        ...
