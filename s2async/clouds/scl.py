"""The cloud rule of the scene classification (SCL): some classes count as cloudy. Pure, and uses integers only.

The classes, according to ESA's Level-2A algorithm document: 0 no data, 1 saturated or defective, 2 dark or
topographic shadow, 3 cloud shadow, 4 vegetation, 5 not vegetated, 6 water, 7 unclassified, 8 cloud of medium
probability, 9 cloud of high probability, 10 thin cirrus, 11 snow or ice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from s2async.clouds.rule import VERDICTS, AreaPixels, judge_each
from s2async.clouds.shares import WHOLE, bad_pixels, hundredths
from s2async.errors import CorruptFile
from s2async.models import DEFAULT_RULE, CloudMeasure, Status

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME: Final = DEFAULT_RULE
"""Name of the rule."""
ASSET: Final = "scl"
"""The program's key for the scene classification."""
CLASSES: Final = 12
"""Number of SCL classes, 0 to 11."""
BINS: Final = CLASSES + 1
"""Number of counts in a histogram: one for each class, and one for all other values."""

_LARGEST: Final = (2**63 - 1) // WHOLE
"""Maximum number of pixels of an area for which fractions can be compared in 64 bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SclRule:
    """Which classes count as cloudy, and which fractions of cloudy and of valid pixels are accepted."""

    name: ClassVar[str] = NAME
    assets: ClassVar[tuple[str, ...]] = (ASSET,)
    bins: ClassVar[int] = BINS

    classes: frozenset[int]
    """SCL classes that count as cloudy; never 0."""
    max_cloud: int
    """Largest accepted fraction of cloudy pixels among the valid ones, in hundredths of a per cent."""
    min_valid: int
    """Smallest accepted fraction of pixels with data, in hundredths of a per cent."""

    @classmethod
    def from_percent(cls, *, classes: Iterable[int], max_cloud: float, min_valid: float) -> SclRule:
        """Return the rule for limits in per cent with at most two decimals; the limits themselves are accepted.

        Raises:
            ValueError: a class is 0 or unknown, or a percentage has more decimals or is outside 0 to 100.
        """
        wanted = frozenset(classes)
        if not wanted <= set(range(1, CLASSES)):
            raise ValueError(f"classes that spoil a crop are of 1 to {CLASSES - 1}, not {sorted(wanted)}")
        return cls(classes=wanted, max_cloud=hundredths(max_cloud), min_valid=hundredths(min_valid))

    @property
    def spoilt(self) -> frozenset[int]:
        """The classes that count as cloudy; each class is a bin."""
        return self.classes

    def check(self, asset: str, bands: int, dtype: str) -> str:  # noqa: ARG002 - the rule has only one asset
        """Return why a file cannot be a scene classification; empty if it can. See `CloudRule.check`."""
        return "" if (bands, dtype) == (1, "uint8") else f"not a scene classification: {bands} x {dtype}"

    def highest(self, asset: str) -> int | None:
        """Return the highest class, or None for another asset."""
        return CLASSES - 1 if asset == ASSET else None

    def measure(self, found: Mapping[str, AreaPixels], /) -> CloudMeasure:
        """Count the classes inside an area.

        Args:
            found: the area's pixels of the classification.

        Raises:
            CorruptFile: the raster is not one band of unsigned integers.
        """
        look = found[ASSET]
        return measure(look.pixels, look.inside, look.total)

    def measures(self, counts: NDArray[np.int64], totals: NDArray[np.int64], /) -> list[CloudMeasure]:
        """Return the measurements of many areas. See `CountingRule.measures`."""
        return [
            CloudMeasure(histogram=tuple(histogram), total=total, rule=NAME)
            for histogram, total in zip(counts.tolist(), totals.tolist(), strict=True)
        ]

    def verdict(self, measured: CloudMeasure, /) -> Status | None:
        """Return NODATA or CLOUDY, or None if the area is clear. Compares integers only: no division, no NaN."""
        valid = measured.valid
        if valid == 0 or valid * WHOLE < self.min_valid * measured.total:
            return Status.NODATA
        if bad_pixels(measured, self.classes) * WHOLE > self.max_cloud * valid:
            return Status.CLOUDY
        return None

    def verdicts(self, histograms: NDArray[np.int64], totals: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Judge many measurements at once. See `CloudRule.verdicts`."""
        import numpy as np

        if totals.max(initial=0) > _LARGEST:  # Python's integers are unlimited
            return judge_each(self.verdict, histograms, totals)
        valid = histograms[:, 1:-1].sum(axis=1)
        bad = histograms[:, sorted(self.classes)].sum(axis=1)
        found = np.where(bad * WHOLE > self.max_cloud * valid, VERDICTS.index(Status.CLOUDY), 0)
        is_nodata = (valid == 0) | (valid * WHOLE < self.min_valid * totals)
        found[is_nodata] = VERDICTS.index(Status.NODATA)
        return found.astype(np.uint8)

    def is_held(self, pixels: int, total: int, /) -> bool:
        """Return whether a raster covers enough of an area. See `CloudRule.is_held`."""
        return total == 0 or (pixels > 0 and pixels * WHOLE >= self.min_valid * total)


def measure(pixels: NDArray[np.generic], inside: NDArray[np.bool_], total: int) -> CloudMeasure:
    """Count the classes inside an area.

    Args:
        pixels: (1, rows, columns) or (rows, columns) of SCL, an unsigned integer type.
        inside: (rows, columns), True if the centre of the pixel lies inside the polygon.
        total: number of pixel centres inside the polygon, including those outside the raster.

    Raises:
        CorruptFile: the raster is not one band of unsigned integers.
    """
    import numpy as np  # imported only here, because settings need the rule but no arrays

    if pixels.ndim == 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim != 2 or pixels.dtype.kind != "u":
        raise CorruptFile(f"not a scene classification: {pixels.dtype} of shape {pixels.shape}")
    values = pixels[inside]
    if values.itemsize > 1:  # a wide type may contain values that would make the array of counts very long
        values = np.minimum(values, CLASSES)
    counts: list[int] = np.bincount(values, minlength=BINS).tolist()
    return CloudMeasure(histogram=(*counts[:CLASSES], sum(counts[CLASSES:])), total=total, rule=NAME)
