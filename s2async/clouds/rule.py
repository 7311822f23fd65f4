"""The protocol of cloud rules, which turn the pixels of some assets into a verdict on an area.

To add a rule, write a module next to `scl` with a class that implements this protocol, and let the configuration
create it. A measurement carries the name of its rule. If the configuration selects another rule, measurements of
the former rule do not count: a run reopens their jobs and measures them again.
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
"""The verdicts to which `CloudRule.verdicts` returns indices; None is a clear area."""


def judge_each(
    verdict: Callable[[CloudMeasure], Status | None],
    histograms: NDArray[np.int64],
    totals: NDArray[np.int64],
    rule: str = DEFAULT_RULE,
) -> NDArray[np.uint8]:
    """Judge measurements one by one: a simple implementation of `CloudRule.verdicts`, for rules that may be slow.

    Args:
        verdict: judges one measurement.
        histograms: (measurements, bins).
        totals: (measurements,), pixels of the areas.
        rule: name of the rule that measured.
    """
    import numpy as np  # imported only here, because settings need rules but no arrays

    pairs = zip(histograms.tolist(), totals.tolist(), strict=True)
    found = (verdict(CloudMeasure(histogram=tuple(counts), total=total, rule=rule)) for counts, total in pairs)
    return np.fromiter((VERDICTS.index(one) for one in found), np.uint8, len(totals))


@dataclass(frozen=True, slots=True)
class AreaPixels:
    """The pixels of one asset in the window around an area."""

    pixels: NDArray[np.generic]
    """(bands, rows, columns), of the file's dtype."""
    inside: NDArray[np.bool_]
    """(rows, columns), True if the centre of the pixel lies inside the polygon."""
    total: int
    """Number of pixel centres inside the polygon, including those outside the raster."""


class CloudRule(Protocol):
    """Decides which areas are clear.

    A rule does no input or output, can be pickled, and can be used in several threads. The bins of its histograms
    follow one convention: the first bin counts pixels without data, and the last bin counts pixels whose value has
    no meaning. All other bins count valid pixels.
    """

    @property
    def name(self) -> str:
        """Name of the rule in measurements: lower-case letters, digits and ``_``."""
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
        """Bins whose pixels count as cloudy."""
        ...

    def check(self, asset: str, bands: int, dtype: str) -> str:
        """Check the layout of an asset's file.

        Args:
            asset: key of the asset.
            bands: number of bands in the file.
            dtype: numpy's name for the file's type.

        Returns:
            Why the file cannot be measured; empty if it can.
        """
        ...

    def highest(self, asset: str) -> int | None:
        """Return the greatest value of valid pixels, above which blocks are read again; None for no such check."""
        ...

    def measure(self, found: Mapping[str, AreaPixels], /) -> CloudMeasure:
        """Count the pixels inside an area.

        Args:
            found: the area's pixels, by asset, for all of `assets`.

        Raises:
            CorruptFile: the pixels are not what the rule needs.
        """
        ...

    def verdict(self, measured: CloudMeasure, /) -> Status | None:
        """Judge a measurement of this rule: return NODATA or CLOUDY, or None if the area is clear."""
        ...

    def verdicts(self, histograms: NDArray[np.int64], totals: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Judge many measurements of this rule at once, each as `verdict` does.

        Args:
            histograms: (measurements, bins).
            totals: (measurements,), pixels of the areas.

        Returns:
            (measurements,), the index of each verdict in `VERDICTS`.
        """
        ...

    def is_held(self, pixels: int, total: int, /) -> bool:
        """Return whether a raster covers enough of an area, with or without data: another date may be clear.

        Args:
            pixels: number of the area's pixels inside the raster.
            total: number of pixels of the area. An area without pixels counts as covered, as it is too small for
                any raster.
        """
        ...


@runtime_checkable
class CountingRule(CloudRule, Protocol):
    """A rule for one asset with one band, whose values are the bins, so that many areas can be counted at once."""

    def measures(self, counts: NDArray[np.int64], totals: NDArray[np.int64], /) -> list[CloudMeasure]:
        """Return the measurements of n areas.

        Args:
            counts: (n, bins) pixels inside each area by value; the last bin also counts all higher values.
            totals: (n,) number of pixel centres inside each polygon, including those outside the raster.
        """
        ...
