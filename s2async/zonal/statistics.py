"""Computes statistics of the pixels of many areas at once: counts, moments and percentiles. Pure.

The pixels of all areas lie one after another in flat arrays. Sums, minima and maxima each take one call of numpy
for a group of areas that fits into the processor's cache. Only sorting is done area by area, because many small
sorts are faster than a large one.
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
"""Names of statistics, in addition to percentiles such as ``p10`` or ``p2.5``. ``stdev`` is that of the
population."""
SCALE: Final = 10_000.0
"""DN of reflectance 1 (ESA, Level-2A: QUANTIFICATION_VALUE)."""
PIXELS: Final = 1 << 17
"""Number of pixels that are processed together, exceeded by at most one area: arrays of a megabyte."""
_PERCENTILE: Final = re.compile(r"p([0-9]{1,3}(?:\.[0-9]{1,6})?)")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def is_statistic(name: str) -> bool:
    """Return whether there is a statistic of the given name."""
    return name in STATISTICS or percentile(name) is not None


def percentile(name: str) -> float | None:
    """Return the percentile that a name stands for, 0 to 100; None if it is not the name of a percentile."""
    found = _PERCENTILE.fullmatch(name)
    value = float(found[1]) if found else None
    return value if value is not None and value <= 100 else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pixels:
    """The positions of the pixels of n areas in flat arrays, and their weights."""

    starts: Integers
    """(n + 1,): the pixels of area i are `starts[i]` up to, but not including, `starts[i + 1]`. The first is 0."""
    weights: Floats | None = None
    """(pixels,): the fraction of each pixel that its area covers, above 0; None to count pixels fully."""


def measure(
    variable: Variable,
    dn: Mapping[str, NDArray[np.uint16]],
    clear: NDArray[np.bool_],
    data: NDArray[np.bool_],
    pixels: Pixels,
    statistics: Sequence[str],
) -> tuple[Floats, Floats]:
    """Count and summarise the pixels of n areas for one variable; see `measure_all`."""
    (found,) = measure_all([variable], dn, clear, data, pixels, statistics)
    return found


def measure_all(
    variables: Sequence[Variable],
    dn: Mapping[str, NDArray[np.uint16]],
    clear: NDArray[np.bool_],
    data: NDArray[np.bool_],
    pixels: Pixels,
    statistics: Sequence[str],
) -> list[tuple[Floats, Floats]]:
    """Count and summarise the pixels of n areas.

    A pixel is valid if it has data, is clear, and the DN of every band of the variable is not 0. Its value is the
    reflectance, DN / 10000, or the value of the formula over reflectances. Pixels for which the formula is
    undefined are counted but left out.

    With weights, sums of weights replace numbers of pixels in the counts and in mean and stdev. Median and
    percentiles are then those of exactextract (``WeightedQuantiles``), which differ from numpy's "linear" if
    values repeat, even if all weights are equal.

    Args:
        variables: bands and indices.
        dn: (pixels,) harmonised DN by key of the band, uint16; 0 means no data. It may contain other bands.
        clear: (pixels,) whether the class of the pixel counts as clear.
        data: (pixels,) whether the classification is not 0.
        pixels: positions and weights of the areas' pixels.
        statistics: names for which `is_statistic` is true.

    Returns:
        For each variable, (n, 5) numbers of pixels in the order of `wanted.COUNTS`, and (n, statistics), which are
        NaN for areas without valid pixels.

    Raises:
        FormulaError: the formula of a variable cannot be parsed.
        KeyError: a band is missing.
        ValueError: there is no such statistic.
    """
    if unknown := [name for name in statistics if not is_statistic(name)]:
        raise ValueError(f"there is no statistic {unknown[0]!r}")
    parsed = [None if one.bands == (one.formula,) else _parsed(one.formula, one.bands) for one in variables]
    bands = {band: dn[band] for one in variables for band in one.bands}
    starts = pixels.starts
    areas = len(starts) - 1
    results = [(np.zeros((areas, len(COUNTS))), np.full((areas, len(statistics)), np.nan)) for _ in variables]
    for first, last in _groups(starts):
        part = slice(int(starts[first]), int(starts[last]))
        look = _Clear.of(
            clear[part] & data[part],
            data[part],
            {band: numbers[part] for band, numbers in bands.items()},
            starts[first : last + 1] - starts[first],
            None if pixels.weights is None else pixels.weights[part],
        )
        for variable, formula, (counts, found) in zip(variables, parsed, results, strict=True):
            counts[first:last], sample = _counted(look, variable.bands, formula)
            with np.errstate(over="ignore", invalid="ignore"):  # a formula may give values with infinite squares
                found[first:last][sample.areas] = _summarised(sample, statistics)
    return results


@lru_cache(maxsize=256)
def _parsed(text: str, bands: tuple[str, ...]) -> Formula:
    return formulas.parse(text, bands)


def _groups(starts: Integers) -> list[tuple[int, int]]:
    """Return first and last area (exclusive) of groups that begin in different sections of `PIXELS` pixels."""
    stretches = np.arange(0, starts[-1], PIXELS)
    edges = np.unique([0, *np.searchsorted(starts, stretches).tolist(), len(starts) - 1]).tolist()
    return list(pairwise(edges))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Clear:
    """The clear pixels of a group of areas, from which every variable takes its values."""

    where: NDArray[np.intp]
    """(clear,): positions of the clear pixels among all pixels of the areas."""
    bands: Mapping[str, NDArray[np.uint16]]
    """(clear,): DN of the clear pixels, keyed by band."""
    starts: Integers
    """(areas + 1,): where the pixels of each area begin."""
    weights: Floats | None
    """(pixels,): weights of all pixels."""
    counts: Sequence[Floats]
    """Three arrays (areas,): numbers, or sums of weights, of all pixels, data pixels, and clear data pixels."""

    @classmethod
    def of(
        cls,
        clear: NDArray[np.bool_],
        data: NDArray[np.bool_],
        bands: Mapping[str, NDArray[np.uint16]],
        starts: Integers,
        weights: Floats | None,
    ) -> _Clear:
        """Select the clear pixels; all given arrays except ``starts`` have the shape (pixels,)."""
        where = np.flatnonzero(clear)
        everywhere, there = np.arange(len(data)), np.flatnonzero(data)
        return cls(
            where=where,
            bands={band: numbers[where] for band, numbers in bands.items()},
            starts=starts,
            weights=weights,
            counts=[_count(some, starts, weights) for some in (everywhere, there, where)],
        )


def _count(where: NDArray[np.intp], starts: Integers, weights: Floats | None) -> Floats:
    """Return (areas,): number, or sum of weights, of each area's pixels at the given positions (ascending)."""
    cuts = np.searchsorted(where, starts)
    numbers = np.diff(cuts).astype(np.float64)
    if weights is not None:
        some = numbers > 0  # for an empty group, `reduceat` would return the entry after it
        numbers[some] = np.add.reduceat(weights[where], cuts[:-1][some])
    return numbers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sample:
    """The valid values of those areas that have any."""

    areas: NDArray[np.intp]
    """(m,): indices of the areas."""
    values: NDArray[Any]
    """(values,): values area by area: uint16 DN of a band, or float64."""
    scale: float
    """Divisor of values. It is applied to the results for areas, because sums of DN are exact."""
    starts: NDArray[np.intp]
    """(m,): where the values of each area begin."""
    numbers: Integers
    """(m,): number of values of each area."""
    weights: Floats | None


def _counted(look: _Clear, names: Sequence[str], formula: Formula | None) -> tuple[Floats, _Sample]:
    """Return the counts of pixels, (areas, 5), and the valid values."""
    where, bands = look.where, {name: look.bands[name] for name in names}
    undefined = where[:0]
    valid = np.logical_and.reduce([numbers != 0 for numbers in bands.values()])
    if not valid.all():
        where, bands = where[valid], {name: numbers[valid] for name, numbers in bands.items()}
    values: NDArray[Any]
    if formula is None:
        (values,) = bands.values()
        scale = SCALE
        if values is look.bands[names[0]]:
            values = values.copy()  # the array may be sorted in place
    else:
        values, wrong = formula.evaluate({name: numbers / SCALE for name, numbers in bands.items()})
        scale = 1.0
        if wrong.any():
            undefined, where, values = where[wrong], where[~wrong], values[~wrong]
    used = (_count(some, look.starts, look.weights) for some in (where, undefined))
    cuts = np.searchsorted(where, look.starts)
    numbers = np.diff(cuts)
    areas = np.flatnonzero(numbers)
    sample = _Sample(
        areas=areas,
        values=values,
        scale=scale,
        starts=cuts[areas],
        numbers=numbers[areas],
        weights=None if look.weights is None else look.weights[where],
    )
    return np.column_stack([*look.counts, *used]), sample


def _summarised(sample: _Sample, statistics: Sequence[str]) -> Floats:
    """Return the statistics of a sample: (areas of the sample, statistics)."""
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
    """Return mean and stdev of the population in two passes; the second sums squared distances from the mean."""
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
    """Return minimum, maximum, median as in ``numpy.median``, and percentiles as in numpy's "linear".

    Args:
        sample: sample whose values are sorted in place, area by area.
        shares: percentiles as fractions from 0 to 1, keyed by name.
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
        # numpy's order of operations (`_lerp` in lib/_function_base_impl.py) gives exactly the same numbers.
        columns[name] = np.where(rest < 0.5, low + (high - low) * rest, high - (high - low) * (1 - rest))
    return columns


def _weighted(sample: _Sample, weights: Floats, shares: Mapping[str, float]) -> dict[str, Floats]:
    """Return the same statistics as `_sorted`, by exactextract's rule for weights (src/weighted_quantiles.cpp).

    Equal values of an area are merged into one value with the sum of their weights. For n such values in ascending
    order, value i (from 0) is at position ``i * weight + (n - 1) * (sum of the weights before it)``, so the last
    one is at ``(n - 1) * (sum of all weights)``. Percentiles are interpolated linearly between two positions.
    """
    area = np.repeat(np.arange(len(sample.areas)), sample.numbers)
    order = np.empty(len(area), np.intp)
    # For 16 bits, the stable sort is a radix sort, which is the fastest.
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
