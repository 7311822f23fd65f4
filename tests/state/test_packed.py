from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.models import CloudMeasure, Status
from s2async.state import packed
from s2async.state.packed import Cells
from s2async.state.records import OPEN

COUNTS = st.integers(0, 2**60) | st.integers(0, 300) | st.just(0)
MEASURES = st.dictionaries(
    st.integers(0, packed.BLOCK - 1), st.lists(COUNTS, min_size=5, max_size=5), min_size=1, max_size=60
)


def measures(counts: dict[int, list[int]], rule: str = "dark") -> dict[int, CloudMeasure]:
    return {
        slot: CloudMeasure(histogram=tuple(row[:-1]), total=sum(row), rule=rule) for slot, row in counts.items()
    }


@given(MEASURES)
def test_measurements_come_back_as_they_were(counts: dict[int, list[int]]) -> None:
    found = measures(counts)
    column = packed.pack_cells(packed.measure_cells(found))
    assert {slot: packed.measure_at(column, slot, "dark") for slot in range(packed.BLOCK)} == {
        slot: found.get(slot) for slot in range(packed.BLOCK)
    }
    assert packed.all_measures(column, "dark") == [found[slot] for slot in sorted(found)]


@given(MEASURES, MEASURES)
def test_of_merged_tables_the_new_cells_count(old: dict[int, list[int]], new: dict[int, list[int]]) -> None:
    table = packed.merged(packed.measure_cells(measures(old)), packed.measure_cells(measures(new)))
    expected = packed.measure_cells(measures(old | new))
    assert table.slots.tolist() == expected.slots.tolist()
    assert table.values.tolist() == expected.values.tolist()


@given(MEASURES, MEASURES)
def test_few_measurements_are_packed_like_many(old: dict[int, list[int]], new: dict[int, list[int]]) -> None:
    column = packed.pack_cells(packed.measure_cells(measures(old)))
    expected = packed.pack_cells(packed.measure_cells(measures(old | new)))
    assert packed.with_measures(column, measures(new)) == expected
    assert packed.with_measures(None, measures(old)) == column
    rows = packed.unpack_few(column)
    assert (rows is None) == (len(old) > 32)
    wider = {1: CloudMeasure(histogram=(1, 2, 3, 4, 5), total=15, rule="dark")}
    assert packed.with_measures(column, wider) == packed.pack_cells(packed.measure_cells(wider)), (
        "of another version"
    )


def test_tables_of_another_number_of_columns_are_replaced() -> None:
    old = packed.measure_cells({1: CloudMeasure(histogram=(0, 1, 0), total=1, rule="a")})
    new = packed.measure_cells({2: CloudMeasure(histogram=(0, 1, 0, 0), total=1, rule="a")})
    assert packed.merged(old, new) is new
    assert packed.merged(None, new) is new


def test_few_measurements_take_few_bytes() -> None:
    """Nine parks are not larger than with a row for each: 13 bytes of counts, a total and a key."""
    row = (0, 0, 3, 0, 140, 90, 0, 8, 2, 0, 0, 0, 0)
    nine = {slot: CloudMeasure(histogram=row, total=sum(row)) for slot in range(1, 10)}
    assert len(packed.pack_cells(packed.measure_cells(nine))) < 9 * 13
    assert len(packed.pack_cells(packed.measure_cells({1: nine[1]}))) < 13 + 14


def test_many_measurements_are_compressed_where_it_pays() -> None:
    random = np.random.default_rng(1)
    values = np.zeros((256, 14), np.int64)
    values[:, [4, 5]] = random.integers(0, 900, (256, 2))
    slots = np.arange(256).astype(np.uint8)
    assert len(packed.pack_cells(Cells(slots, values))) < 256 * 4 + 60
    values[:, 5] = 900 - values[:, 4]
    values[50:, :] = values[0]
    assert len(packed.pack_cells(Cells(slots, values))) < 500


def test_a_table_without_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="no cells"):
        packed.pack_cells(Cells(np.zeros(0, np.uint8), np.zeros((0, 14), np.int64)))


def test_jobs_are_numbered_by_item_and_area() -> None:
    job = packed.job_number(70_000, 1_000_003)
    assert (packed.item_of(job), packed.area_of(job)) == (70_000, 1_000_003)
    assert packed.block_of(job) * packed.BLOCK + packed.slot_of(job) == 1_000_003
    other = packed.job_number(70_000, 3)
    assert packed.by_row([job, other, job + 1]) == {(70_000, 3906): [job, job + 1], (70_000, 0): [other]}
    assert job < 2**63


@given(st.text(alphabet=" oscm", max_size=20), st.dictionaries(st.integers(0, 255), st.sampled_from(" oscm")))
def test_codes_are_set_by_slot(codes: str, changes: dict[int, str]) -> None:
    codes = codes.rstrip()
    found = packed.with_codes(codes, changes)
    for slot in range(packed.BLOCK):
        assert packed.code_at(found, slot) == changes.get(slot, packed.code_at(codes, slot))
    assert not found.endswith(" ")


def test_each_status_has_a_code_of_its_own() -> None:
    assert set(packed.CODES) == {*Status, OPEN}
    assert len(set(packed.CODES.values()) | {packed.QUEUED, packed.NO_JOB}) == len(packed.CODES) + 2
    assert packed.STATUSES[packed.QUEUED] == OPEN
