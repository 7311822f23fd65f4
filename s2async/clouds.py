"""Scene classification pixels to a measurement, and a measurement to a verdict. Pure, integers only.

The classes of the Sentinel-2 scene classification (SCL), after ESA's Level-2A algorithm document: 0 no data,
1 saturated or defective, 2 dark or topographic shadow, 3 cloud shadow, 4 vegetation, 5 not vegetated, 6 water,
7 unclassified, 8 cloud of medium probability, 9 cloud of high probability, 10 thin cirrus, 11 snow or ice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from s2async.errors import CorruptFile
from s2async.models import HISTOGRAM_BINS, CloudMeasure, Status

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES = 12
"""SCL classes, 0 to 11."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What counts as a clear area. Per cents are kept in hundredths, so that 0.5 % is exact."""

    classes: frozenset[int]
    """SCL classes that spoil a picture; never 0."""
    max_cloud: int
    """Most spoilt share of the valid pixels, inclusive, in hundredths of a per cent."""
    min_valid: int
    """Least share of the area's pixels that hold data, inclusive, in hundredths of a per cent."""

    @classmethod
    def from_percent(cls, *, classes: Iterable[int], max_cloud: float, min_valid: float) -> Limits:
        """Limits from per cents of at most two decimals.

        Raises:
            ValueError: class 0, an unknown class, or a per cent with more decimals or out of 0 to 100.
        """
        wanted = frozenset(classes)
        if not wanted <= set(range(1, CLASSES)):
            raise ValueError(f"classes that spoil a picture are of 1 to {CLASSES - 1}, not {sorted(wanted)}")
        return cls(classes=wanted, max_cloud=_hundredths(max_cloud), min_valid=_hundredths(min_valid))


def measure(pixels: NDArray[np.generic], inside: NDArray[np.bool_], total: int) -> CloudMeasure:
    """Count the classes inside an area.

    Args:
        pixels: (1, rows, columns) or (rows, columns) of SCL, an unsigned integer type.
        inside: (rows, columns), True where the pixel's centre is inside the polygon.
        total: pixel centres inside the polygon, also those that the raster does not hold.

    Raises:
        CorruptFile: the raster is not one band of unsigned integers.
    """
    import numpy as np  # loaded only here: the limits are part of the settings, which need no arrays

    if pixels.ndim == 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim != 2 or pixels.dtype.kind != "u":
        raise CorruptFile(f"not a scene classification: {pixels.dtype} of shape {pixels.shape}")
    values = pixels[inside]
    if values.itemsize > 1:
        values = np.minimum(values, CLASSES)
    counts: list[int] = np.bincount(values, minlength=HISTOGRAM_BINS).tolist()
    return CloudMeasure(histogram=(*counts[:CLASSES], sum(counts[CLASSES:])), total=total)


def bad_pixels(measured: CloudMeasure, classes: Iterable[int]) -> int:
    """Pixels inside the area of the classes that spoil a picture."""
    return sum(measured.histogram[value] for value in classes)


def verdict(measured: CloudMeasure, limits: Limits) -> Status | None:
    """NODATA or CLOUDY, or None when the area is clear. Integers decide: never a division, never NaN."""
    if measured.valid == 0 or measured.valid * 100 * 100 < limits.min_valid * measured.total:
        return Status.NODATA
    if bad_pixels(measured, limits.classes) * 100 * 100 > limits.max_cloud * measured.valid:
        return Status.CLOUDY
    return None


def is_held(pixels: int, total: int, limits: Limits) -> bool:
    """Whether a raster reaches over enough of an area, be there data or not: then another date may be clear.

    Args:
        pixels: of the area that the raster holds, whatever their class.
        total: of the area. One without a pixel counts as held: it is too small for every raster.
        limits: the least share.
    """
    return total == 0 or (pixels > 0 and pixels * 100 * 100 >= limits.min_valid * total)


def cloud_percent(measured: CloudMeasure, classes: Iterable[int]) -> float | None:
    """Spoilt share of the valid pixels in per cent, for people; None when there are none."""
    return bad_pixels(measured, classes) / measured.valid * 100 if measured.valid else None


def valid_percent(measured: CloudMeasure) -> float | None:
    """Share of the area's pixels that hold data, in per cent, for people; None for an area without a pixel."""
    return measured.valid / measured.total * 100 if measured.total else None


def _hundredths(percent: float) -> int:
    exact = Fraction(repr(percent)) * 100
    if exact.denominator != 1 or not 0 <= exact <= 100 * 100:
        raise ValueError(f"{percent} is not a per cent from 0 to 100 with at most two decimals")
    return int(exact)
