from __future__ import annotations

import bisect
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from s2async.zonal import formulas, statistics
from s2async.zonal.statistics import Pixels, is_statistic, measure
from s2async.zonal.wanted import Variable

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Bands = dict[str, NDArray[np.uint16]]
RED = Variable(name="red", formula="red", bands=("red",))
NDVI = Variable(name="NDVI", formula="(nir - red) / (nir + red)", bands=("nir", "red"))
ROUGH = Variable(name="rough", formula="1 / (nir - red) + nir ** 0.5 - 10 ** (300 * red)", bands=("nir", "red"))
NONE = np.zeros(0, np.bool_)
ALL = ("max", "mean", "p10", "stdev", "median", "p2.5", "min", "p90", "p0", "p100", "p50")
EXACT = [ALL.index(name) for name in ("max", "median", "min")]


@pytest.mark.parametrize("name", [*statistics.STATISTICS, "p0", "p5", "p05", "p2.5", "p99.9", "p100"])
def test_statistics_by_name(name: str) -> None:
    assert is_statistic(name)


@pytest.mark.parametrize("name", ["", "p", "p101", "p-1", "p1e1", "P10", "p10 ", "p.5", "p1000", "sum", "p٣"])
def test_there_are_no_others(name: str) -> None:
    assert not is_statistic(name)
    with pytest.raises(ValueError, match="there is no statistic"):
        measure(RED, {}, NONE, NONE, Pixels(starts=np.zeros(1, np.int64)), [name])


def sample(sizes: list[int], seed: int, highest: int) -> tuple[Bands, list[Flags], Pixels]:
    """DN of red and nir with zeros and equal pairs, clear, data; areas may lose all their pixels."""
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    total = int(starts[-1])
    red = random.integers(0, highest, total).astype(np.uint16)
    nir = np.where(random.random(total) < 0.2, red, random.integers(0, highest, total)).astype(np.uint16)
    red[random.random(total) < 0.1] = 0
    data, clear = random.random(total) < 0.9, random.random(total) < 0.7
    for start, stop in pairwise(starts.tolist()):
        if random.random() < 0.2:
            clear[start:stop] = False
    return {"red": red, "nir": nir}, [clear & data, data], Pixels(starts=starts)


SIZES = st.lists(st.sampled_from([0, 0, 1, 2, 3, 5, 30, 200]), max_size=12)


@given(
    sizes=SIZES,
    seed=st.integers(0, 10_000),
    highest=st.sampled_from([3, 200, 10_000, 65_535]),
    variable=st.sampled_from([RED, NDVI, ROUGH]),
    group=st.sampled_from([1, 40, 1 << 16]),
)
def test_areas_have_the_statistics_of_numpy(
    sizes: list[int], seed: int, highest: int, variable: Variable, group: int
) -> None:
    dn, (clear, data), pixels = sample(sizes, seed, highest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "PIXELS", group)
        counts, found = measure(variable, dn, clear, data, pixels, ALL)
    assert (counts.shape, found.shape) == ((len(sizes), 5), (len(sizes), len(ALL)))
    assert counts.dtype == found.dtype == np.float64
    for index, (start, stop) in enumerate(pairwise(pixels.starts.tolist())):
        part = slice(start, stop)
        own = {band: dn[band][part] for band in dn}
        expected_counts, values = by_definition(variable, own, clear[part], data[part])
        assert counts[index].tolist() == expected_counts
        if not len(values):
            assert np.isnan(found[index]).all()
            continue
        expected = by_numpy(values)
        assert found[index][EXACT].tolist() == expected[EXACT].tolist()
        finite = np.isfinite(expected)
        assert np.isfinite(found[index]).tolist() == finite.tolist()
        scale = np.abs(values).max()
        assert np.allclose(found[index][finite], expected[finite], rtol=1e-9, atol=1e-12 * scale)


def by_definition(variable: Variable, dn: Bands, clear: Flags, data: Flags) -> tuple[list[float], Floats]:
    valid = clear.copy()
    for band in variable.bands:
        valid &= dn[band] != 0
    red, nir = dn["red"][valid] / 10_000, dn["nir"][valid] / 10_000
    with np.errstate(all="ignore"):
        values, denominator = {
            "red": lambda: (red, np.ones_like(red)),
            "NDVI": lambda: ((nir - red) / (nir + red), nir + red),
            "rough": lambda: (1 / (nir - red) + nir**0.5 - 10 ** (300 * red), nir - red),
        }[variable.name]()
    defined = (denominator != 0) & np.isfinite(values)
    counts = [len(clear), data.sum(), clear.sum(), defined.sum(), (~defined).sum()]
    return [float(count) for count in counts], values[defined]


def by_numpy(values: Floats) -> Floats:
    with np.errstate(all="ignore"):
        expected = {"mean": values.mean(), "stdev": values.std(), "median": np.median(values)}
        expected |= {"min": values.min(), "max": values.max()}
        expected |= {name: np.percentile(values, float(name[1:])) for name in ALL if name not in expected}
    return np.array([expected[name] for name in ALL])


@pytest.mark.parametrize("names", [(), ("mean",), ("min",), ("max", "stdev"), ("p75",), ("median", "min")])
def test_any_choice_of_statistics(names: tuple[str, ...]) -> None:
    dn, (clear, data), pixels = sample([30, 0, 40], 1, 9000)
    counts, whole = measure(NDVI, dn, clear, data, pixels, (*ALL, "p75"))
    same_counts, found = measure(NDVI, dn, clear, data, pixels, names)
    assert np.array_equal(counts, same_counts)
    wanted = [(*ALL, "p75").index(name) for name in names]
    assert np.array_equal(found, whole[:, wanted], equal_nan=True)
    assert found.shape == (3, len(names))


def test_equal_pixels_deviate_by_nothing() -> None:
    starts = np.array([0, 1000, 4000], np.int64)
    dn = {"red": np.repeat(np.array([1234, 65_535], np.uint16), [1000, 3000])}
    flags = np.ones(4000, np.bool_)
    _, found = measure(RED, dn, flags, flags, Pixels(starts=starts), ("mean", "stdev"))
    assert found.tolist() == [[0.1234, 0.0], [6.5535, 0.0]]


def test_small_deviations_of_bright_pixels_are_exact() -> None:
    values = np.full(1_000_000, 65_000, np.uint16)
    values[::2] += 1
    flags = np.ones(len(values), np.bool_)
    _, found = measure(RED, {"red": values}, flags, flags, Pixels(starts=np.array([0, len(values)])), ("stdev",))
    assert found[0, 0] == pytest.approx(0.5e-4, rel=1e-12)


def test_nothing_is_changed_that_was_given() -> None:
    dn, (clear, data), pixels = sample([50, 50], 3, 9000)
    kept = [dn["red"].copy(), dn["nir"].copy(), clear.copy(), data.copy()]
    for variable in (RED, NDVI, Variable(name="plain", formula="(red)", bands=("red",))):
        for array in (*dn.values(), clear, data):
            array.flags.writeable = False
        measure(variable, dn, clear, data, pixels, ALL)
    assert all(np.array_equal(a, b) for a, b in zip(kept, [*dn.values(), clear, data], strict=True))


def test_data_decides_even_where_a_class_is_clear() -> None:
    flags, data = np.ones(2, np.bool_), np.array([True, False])
    counts, found = measure(
        RED, {"red": np.array([100, 300], np.uint16)}, flags, data, Pixels(starts=np.array([0, 2])), ("mean",)
    )
    assert counts.tolist() == [[2, 1, 1, 1, 0]]
    assert found.tolist() == [[0.01]]


def test_no_areas() -> None:
    dn = {"red": np.zeros(0, np.uint16)}
    for starts in ([0], [0, 0, 0]):
        counts, found = measure(RED, dn, NONE, NONE, Pixels(starts=np.array(starts, np.int64)), ("mean", "p10"))
        assert counts.tolist() == [[0.0] * 5] * (len(starts) - 1)
        assert found.shape == (len(starts) - 1, 2)
        assert np.isnan(found).all()


def test_memory_does_not_grow_with_the_areas() -> None:
    starts = np.arange(0, 1_000_001, 100)
    red = np.arange(1_000_000, dtype=np.uint16) + 1
    flags = np.ones(1_000_000, np.bool_)
    tracemalloc.start()
    measure(RED, {"red": red}, flags, flags, Pixels(starts=starts), ("median", "stdev"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


# ---- weights -----------------------------------------------------------------------------------------------


@given(
    sizes=SIZES,
    seed=st.integers(0, 10_000),
    highest=st.sampled_from([3, 10_000]),
    group=st.sampled_from([1, 1 << 16]),
)
def test_weighted_statistics_by_definition(sizes: list[int], seed: int, highest: int, group: int) -> None:
    dn, (clear, data), pixels = sample(sizes, seed, highest)
    weights = np.random.default_rng(seed).uniform(0.001, 1, len(clear))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "PIXELS", group)
        counts, found = measure(NDVI, dn, clear, data, Pixels(starts=pixels.starts, weights=weights), ALL)
    formula = formulas.parse(NDVI.formula, NDVI.bands)
    for index, (start, stop) in enumerate(pairwise(pixels.starts.tolist())):
        part = slice(start, stop)
        valid = np.flatnonzero(clear[part] & (dn["red"][part] > 0) & (dn["nir"][part] > 0))
        values, _ = formula.evaluate({band: dn[band][part][valid] / 10_000 for band in dn})
        own, of_valid = weights[part], weights[part][valid]
        expected_counts = [own.sum(), own[data[part]].sum(), own[clear[part]].sum(), of_valid.sum(), 0]
        assert np.allclose(counts[index], expected_counts, rtol=1e-12)
        if not len(values):
            assert np.isnan(found[index]).all()
            continue
        mean = np.average(values, weights=of_valid)
        expected = {
            "min": values.min(),
            "max": values.max(),
            "mean": mean,
            "stdev": np.average((values - mean) ** 2, weights=of_valid) ** 0.5,
        }
        for name in ALL:
            if name not in expected:
                share = 0.5 if name == "median" else float(name[1:]) / 100
                expected[name] = weighted_quantile(values, of_valid, share)
        assert np.allclose(found[index], [expected[name] for name in ALL], rtol=1e-9, atol=1e-12)


def weighted_quantile(values: Floats, weights: Floats, share: float) -> float:
    """exactextract's rule (src/weighted_quantiles.cpp), step by step."""
    sums: dict[float, float] = {}
    for value, weight in sorted(zip(values.tolist(), weights.tolist(), strict=True)):
        sums[value] = sums.get(value, 0) + weight
    distinct, before, places = list(sums), 0.0, []
    for index, value in enumerate(distinct):
        places.append(index * sums[value] + (len(sums) - 1) * before)
        before += sums[value]
    target = share * before * (len(sums) - 1)
    right = bisect.bisect_right(places, target)
    left = max(right - 1, 0)
    if right == len(places):
        return distinct[left]
    step = (target - places[left]) / (places[right] - places[left])
    return distinct[left] + step * (distinct[right] - distinct[left])
