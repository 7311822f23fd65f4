"""Statistics of the pixels of many areas at once: counts, moments and percentiles. Pure.

The pixels of all areas lie one after another in flat arrays. Sums, minima and maxima of all areas are taken by one
call of numpy each, in groups of areas that fit into the processor's cache; only sorting goes area by area, because
many small sorts are faster than a large one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from s2async.zonal import formulas
from s2async.zonal.formulas import Formula
from s2async.zonal.wanted import COUNTS, Variable

STATISTICS: Final = ("mean", "stdev", "median", "min", "max")
"""Names of statistics; beside them there are percentiles, such as ``p10`` or ``p2.5``. ``stdev`` is that of the
population."""
SCALE: Final = 10_000.0
"""DN of reflectance 1 (ESA, Level-2A: QUANTIFICATION_VALUE)."""
PIXELS: Final = 1 << 17
"""Pixels that are worked on at once, beside those of one more area: arrays of a megabyte."""
_PERCENTILE: Final = re.compile(r"p([0-9]{1,3}(?:\.[0-9]{1,6})?)")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def is_statistic(name: str) -> bool:
    """Whether there is a statistic of that name."""
    return name in STATISTICS or percentile(name) is not None


def percentile(name: str) -> float | None:
    """The percentile that a name asks for, 0 to 100; None when it is not the name of a percentile."""
    found = _PERCENTILE.fullmatch(name)
    value = float(found[1]) if found else None
    return value if value is not None and value <= 100 else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pixels:
    """Where the pixels of n areas are in flat arrays, and how much each counts."""

    starts: Integers
    """(n + 1,): the pixels of area i are `starts[i]` up to, and without, `starts[i + 1]`. The first is 0."""
    weights: Floats | None = None
    """(pixels,): the share of each pixel that its area covers, above 0; None to count pixels fully."""


def measure(
    variable: Variable,
    dn: Mapping[str, NDArray[np.uint16]],
    clear: NDArray[np.bool_],
    data: NDArray[np.bool_],
    pixels: Pixels,
    statistics: Sequence[str],
) -> tuple[Floats, Floats]:
    """Count and summarise the pixels of n areas.

    A pixel is valid when it has data, is clear, and the DN of every band of the variable is not 0. Its value is
    the reflectance, DN / 10000, or that of the formula over reflectances. Pixels where the formula is undefined
    are counted, and left out.

    With weights, sums of weights take the place of numbers of pixels, in the counts and in the mean and stdev.
    Median and percentiles are then those of exactextract (``WeightedQuantiles``), which differ from numpy's
    "linear" where values repeat, even when all weights are equal.

    Args:
        variable: a band or an index.
        dn: by key of band (pixels,) uint16, harmonised; 0 means no data. Other bands may be in it, too.
        clear: (pixels,) whether the class of the pixel does not spoil it.
        data: (pixels,) whether the classification is not 0.
        pixels: where the areas are.
        statistics: names for which `is_statistic` holds.

    Returns:
        (n, 5) numbers of pixels by `wanted.COUNTS`, and (n, statistics); NaN for areas without valid pixels.

    Raises:
        FormulaError: of the variable.
        KeyError: a band is missing.
        ValueError: there is no such statistic.
    """
    if unknown := [name for name in statistics if not is_statistic(name)]:
        raise ValueError(f"there is no statistic {unknown[0]!r}")
    is_band = variable.bands == (variable.formula,)
    formula = None if is_band else _parsed(variable.formula, variable.bands)
    starts = pixels.starts
    counts = np.zeros((len(starts) - 1, len(COUNTS)))
    found = np.full((len(starts) - 1, len(statistics)), np.nan)
    for first, last in _groups(starts):
        part, own = slice(int(starts[first]), int(starts[last])), starts[first : last + 1] - starts[first]
        bands = {band: dn[band][part] for band in variable.bands}
        flags = _Flags(
            clear=clear[part] & data[part],
            data=data[part],
            starts=own,
            weights=None if pixels.weights is None else pixels.weights[part],
        )
        counts[first:last], sample = _counted(flags, bands, formula)
        with np.errstate(over="ignore", invalid="ignore"):  # a formula may give values whose squares are infinite
            found[first:last][sample.areas] = _summarised(sample, statistics)
    return counts, found


@lru_cache(maxsize=256)
def _parsed(text: str, bands: tuple[str, ...]) -> Formula:
    return formulas.parse(text, bands)


def _groups(starts: Integers) -> list[tuple[int, int]]:
    """First and last area, exclusive, of groups that begin in different stretches of `PIXELS` pixels."""
    stretches = np.arange(0, starts[-1], PIXELS)
    edges = np.unique([0, *np.searchsorted(starts, stretches).tolist(), len(starts) - 1]).tolist()
    return list(pairwise(edges))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Flags:
    """What is known of the pixels of some areas beside their bands."""

    clear: NDArray[np.bool_]
    data: NDArray[np.bool_]
    starts: Integers
    weights: Floats | None

    def count(self, where: NDArray[np.intp]) -> Floats:
        """(areas,) how much the pixels at these places, ascending, count in each area."""
        cuts = np.searchsorted(where, self.starts)
        numbers = np.diff(cuts).astype(np.float64)
        if self.weights is not None:
            some = numbers > 0  # `reduceat` would give an empty group the first entry behind it
            numbers[some] = np.add.reduceat(self.weights[where], cuts[:-1][some])
        return numbers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sample:
    """Valid values of areas, none of which is without any."""

    areas: NDArray[np.intp]
    """(m,) numbers of the areas."""
    values: NDArray[Any]
    """(values,) area by area: uint16 DN of a band, or float64."""
    scale: float
    """What values are divided by: those of areas in the end, because sums of DN are exact."""
    starts: NDArray[np.intp]
    """(m,) where the values of each area begin."""
    numbers: Integers
    """(m,) of values."""
    weights: Floats | None


def _counted(
    flags: _Flags, bands: Mapping[str, NDArray[np.uint16]], formula: Formula | None
) -> tuple[Floats, _Sample]:
    """Count pixels, (areas, 5), and select the values that count."""
    valid = flags.clear.copy()
    for numbers in bands.values():
        valid &= numbers != 0
    where, undefined = np.flatnonzero(valid), np.zeros(0, np.intp)
    values: NDArray[Any]
    if formula is None:
        (numbers,) = bands.values()
        values, scale = numbers[where], SCALE
    else:
        values, wrong = formula.evaluate({band: numbers[where] / SCALE for band, numbers in bands.items()})
        scale = 1.0
        if wrong.any():
            undefined, where, values = where[wrong], where[~wrong], values[~wrong]
    counts = np.column_stack(
        [
            flags.count(np.arange(len(flags.data))),
            flags.count(np.flatnonzero(flags.data)),
            flags.count(np.flatnonzero(flags.clear)),
            flags.count(where),
            flags.count(undefined),
        ]
    )
    cuts = np.searchsorted(where, flags.starts)
    areas = np.flatnonzero(np.diff(cuts))
    sample = _Sample(
        areas=areas,
        values=values,
        scale=scale,
        starts=cuts[areas],
        numbers=np.diff(cuts)[areas],
        weights=None if flags.weights is None else flags.weights[where],
    )
    return counts, sample


def _summarised(sample: _Sample, statistics: Sequence[str]) -> Floats:
    """(areas of the sample, statistics)."""
    columns: dict[str, Floats] = {}
    if not {"mean", "stdev"}.isdisjoint(statistics):
        columns |= _moments(sample)
    shares = {name: value / 100 for name in statistics if (value := percentile(name)) is not None}
    if shares or "median" in statistics:
        columns |= _sorted(sample, shares) if sample.weights is None else _weighted(sample, sample.weights, shares)
    elif not {"min", "max"}.isdisjoint(statistics):
        columns["min"] = np.minimum.reduceat(sample.values, sample.starts) / sample.scale
        columns["max"] = np.maximum.reduceat(sample.values, sample.starts) / sample.scale
    found = np.empty((len(sample.areas), len(statistics)))
    for place, name in enumerate(statistics):
        found[:, place] = columns[name]
    return found


def _moments(sample: _Sample) -> dict[str, Floats]:
    """Mean, and stdev of the population, in two passes: the second takes squares of distances to the mean."""
    values, weights = sample.values.astype(np.float64), sample.weights
    if weights is None:
        sizes = sample.numbers.astype(np.float64)
        mean = np.add.reduceat(values, sample.starts) / sizes
    else:
        sizes = np.add.reduceat(weights, sample.starts)
        mean = np.add.reduceat(values * weights, sample.starts) / sizes
    values -= np.repeat(mean, sample.numbers)
    values *= values
    if weights is not None:
        values *= weights
    variance = np.add.reduceat(values, sample.starts) / sizes
    return {"mean": mean / sample.scale, "stdev": np.sqrt(variance) / sample.scale}


def _sorted(sample: _Sample, shares: Mapping[str, float]) -> dict[str, Floats]:
    """Least and largest value, median as ``numpy.median``, and percentiles as numpy's "linear".

    Args:
        sample: whose values are sorted in place, area by area.
        shares: by name of the percentile, from 0 to 1.
    """
    values, starts, numbers, scale = sample.values, sample.starts, sample.numbers, sample.scale
    ends = starts + numbers
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        values[start:end].sort()
    columns: dict[str, Floats] = {"min": values[starts] / scale, "max": values[ends - 1] / scale}
    columns["median"] = (values[starts + (numbers - 1) // 2] / scale + values[starts + numbers // 2] / scale) / 2
    for name, share in shares.items():
        place = (numbers - 1) * share
        before = np.floor(place).astype(np.int64)
        rest = place - before
        low, high = values[starts + before] / scale, values[starts + np.minimum(before + 1, numbers - 1)] / scale
        # numpy's order of operations (`_lerp` in lib/_function_base_impl.py), which gives its very numbers
        columns[name] = np.where(rest < 0.5, low + (high - low) * rest, high - (high - low) * (1 - rest))
    return columns


def _weighted(sample: _Sample, weights: Floats, shares: Mapping[str, float]) -> dict[str, Floats]:
    """What `_sorted` gives, by exactextract's rule for weights (src/weighted_quantiles.cpp).

    Equal values of an area are one value, which has the sum of their weights. Of n such values, ascending, the
    i-th, from 0, lies at ``i * weight + (n - 1) * (sum of the weights before it)``, and the last at ``(n - 1) *
    (sum of all)``. A percentile is read from the line between two of them.
    """
    area = np.repeat(np.arange(len(sample.areas)), sample.numbers)
    order = np.empty(len(area), np.intp)
    # of 16 bits, the stable sort is a radix sort, and the fastest
    kind: Literal["stable"] | None = "stable" if sample.values.dtype == np.uint16 else None
    for start, end in zip(sample.starts.tolist(), (sample.starts + sample.numbers).tolist(), strict=True):
        order[start:end] = sample.values[start:end].argsort(kind=kind)
    order += sample.starts[area]
    values = sample.values[order] / sample.scale
    first = np.ones(len(values), np.bool_)
    first[1:] = (values[1:] != values[:-1]) | (area[1:] != area[:-1])
    distinct = np.flatnonzero(first)
    weights = np.add.reduceat(weights[order], distinct)
    values, area = values[distinct], area[distinct]
    numbers = np.bincount(area, minlength=len(sample.areas))
    starts = np.cumsum(numbers) - numbers
    sums = np.add.reduceat(weights, starts)
    before = np.cumsum(weights) - weights
    before -= before[starts][area]
    places = (np.arange(len(area)) - starts[area]) * weights + (numbers - 1)[area] * before
    columns = {"min": values[starts], "max": values[starts + numbers - 1]}
    for name, share in {"median": 0.5, **shares}.items():
        target = share * sums * (numbers - 1)
        at = starts + np.maximum(np.add.reduceat(places <= target[area], starts, dtype=np.int64) - 1, 0)
        behind = np.minimum(at + 1, starts + numbers - 1)
        gap = places[behind] - places[at]
        rest = np.divide(target - places[at], gap, out=np.zeros_like(gap), where=gap > 0)
        columns[name] = values[at] + rest * (values[behind] - values[at])
    return columns
