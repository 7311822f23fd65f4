"""Types of columns that are text in their file: a number only where nothing of the text is lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2async.areas.cell_values import typed


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["1", "", " 23 ", None, "-4", "0"], [1, None, 23, None, -4, 0]),
        (["1", "2.5", ""], [1.0, 2.5, None]),
        (["1e3", "-0.5"], [1000.0, -0.5]),
        (["1", "02"], ["1", "02"]),
        (["1", "+2"], ["1", "+2"]),
        (["1", "1_0"], ["1", "1_0"]),
        (["-0"], [0.0]),
        (["1", "\u0662"], ["1", "\u0662"]),
        (["nan", "1"], ["nan", "1"]),
        (["1e999", "1"], ["1e999", "1"]),
        (["01.5"], ["01.5"]),
        (["1.", "1"], ["1.", "1"]),
        (["1,5"], ["1,5"]),
        (["123456789012345678"], [123456789012345678]),
        (["1234567890123456789"], ["1234567890123456789"]),
        (["0.1234567890123456789"], ["0.1234567890123456789"]),
        (["true", "1"], ["true", "1"]),
        (["", " ", None], [None, None, None]),
        ([" rye ", "  "], [" rye ", None]),
        ([], []),
    ],
)
def test_rule(cells: list[str | None], wanted: list[Any]) -> None:
    found = typed(cells)
    assert found == wanted
    assert [type(value) for value in found] == [type(value) for value in wanted]


def test_decimal_commas() -> None:
    assert typed(["1,5", "2"], decimal_comma=True) == [1.5, 2.0]
    assert typed(["1,5", "2.5"], decimal_comma=True) == ["1,5", "2.5"]
    assert typed(["1,500,000"], decimal_comma=True) == ["1,500,000"]
    assert typed(["1.5"], decimal_comma=True) == [1.5]


def test_names_are_no_floats() -> None:
    assert typed(["1.5", "2"], floats=False) == ["1.5", "2"]
    assert typed(["1", "2"], floats=False) == [1, 2]


@given(st.lists(st.integers(-(10**18) + 1, 10**18 - 1), min_size=1))
def test_integers_come_back(values: list[int]) -> None:
    assert typed([str(value) for value in values]) == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_come_back(values: list[float]) -> None:
    assert typed([repr(value) for value in values]) == values
