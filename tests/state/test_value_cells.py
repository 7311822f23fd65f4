"""Packed tables of values come back bit by bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.state import value_cells
from s2async.state.value_cells import ValueCells
from s2async.zonal.wanted import AreaValues

NUMBER = (
    st.floats(allow_nan=True)
    | st.integers(0, 2**33).map(float)
    | st.integers(0, 40_000).map(lambda dn: dn / 10_000)
    | st.sampled_from([0.0, -1000.0, math.nan])
)
ROWS = st.dictionaries(st.integers(0, 255), st.lists(NUMBER, min_size=10, max_size=10), min_size=1, max_size=50)


def table(rows: dict[int, list[float]]) -> ValueCells:
    slots = sorted(rows)
    return ValueCells(("nir", "red"), np.array(slots, np.uint8), np.array([rows[slot] for slot in slots]))


@given(ROWS)
def test_what_is_packed_comes_back(rows: dict[int, list[float]]) -> None:
    packed = value_cells.pack(table(rows))
    found = value_cells.unpack(packed)
    assert found.bands == ("nir", "red")
    assert found.slots.tolist() == sorted(rows) == value_cells.slots_of(packed[: value_cells.HEADER]).tolist()
    expected = np.array([rows[slot] for slot in sorted(rows)])
    assert np.array_equal(found.numbers, expected, equal_nan=True)
    assert (found.counts.shape[1], found.offsets.shape[1], found.statistics.shape[1]) == (5, 2, 2)


@given(ROWS, ROWS)
def test_of_merged_tables_the_new_numbers_count(old: dict[int, list[float]], new: dict[int, list[float]]) -> None:
    found, expected = value_cells.merged(table(old), table(new)), table(old | new)
    assert found.slots.tolist() == expected.slots.tolist()
    assert np.array_equal(found.numbers, expected.numbers, equal_nan=True)
    assert value_cells.merged(None, table(new)).slots.tolist() == sorted(new)


def test_reflectances_and_counts_take_few_bytes() -> None:
    chance = np.random.default_rng(1)
    counts = np.repeat(chance.integers(100, 900, (256, 1)).astype(float), 5, axis=1)
    exact = chance.integers(1, 10_000, (256, 2)) / 10_000
    numbers = np.hstack([counts, np.zeros((256, 2)), exact])
    packed = value_cells.pack(ValueCells(("red",), np.arange(256, dtype=np.uint8), numbers))
    assert len(packed) < 256 * 10
    assert np.array_equal(value_cells.unpack(packed).numbers, numbers)


def test_an_unknown_offset_is_no_number() -> None:
    what = {"key": "k", "counts": (4, 4, 4, 4, 0), "offsets": (None, -1000), "statistics": (0.5,)}
    one, other = AreaValues.of(**what, classes=1 << 11), AreaValues.of(**what)  # type: ignore[arg-type]
    assert (one.counts, one.offsets, one.statistics, one.classes) == ((4, 4, 4, 4, 0), (None, -1000), (0.5,), 2048)
    assert other.classes is None
    assert one != other
    found = value_cells.unpack(value_cells.pack(value_cells.cells({7: one}, ("nir", "red"))))
    assert np.isnan(found.offsets[0, 0])
    assert (found.offsets[0, 1], found.statistics[0, 0], found.classes[0]) == (-1000, 0.5, 2048)
    unknown = value_cells.cells({7: other}, ("nir", "red"))
    assert np.isnan(value_cells.unpack(value_cells.pack(unknown)).classes[0])


def test_nothing_and_unknown_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="no cells"):
        value_cells.pack(ValueCells((), np.zeros(0, np.uint8), np.zeros((0, 5))))
    with pytest.raises(ValueError, match="unknown format"):
        value_cells.unpack(b"\7" + value_cells.pack(table({1: [0.0] * 10}))[1:])


def test_evidence_is_a_set_of_jobs_and_sums() -> None:
    assert value_cells.counted(None) == (0, (0, 0, 0))
    packed = value_cells.pack_counted(1 << 255 | 1, (10**12, 5, 0))
    assert value_cells.counted(packed) == (1 << 255 | 1, (10**12, 5, 0))
    assert len(packed) == 56
