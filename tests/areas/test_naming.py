"""Names of areas: the field, what else may stand for it, and values that are no names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest

from s2async.areas.naming import names
from s2async.areas.table import Table
from s2async.errors import AreaError

Columns = Mapping[str, Sequence[Any]]


def table(columns: Columns, pseudo: Columns | None = None, n: int = 2) -> Table:
    return Table(place="a.gpkg", geometries=np.full(n, None, object), columns=columns, pseudo=pseudo or {})


@pytest.mark.parametrize(
    ("value", "name"),
    [(" P ", "P"), (7, "7"), (7.0, "7"), (np.int64(7), "7"), (np.float64(-3), "-3"), (10**20, str(10**20))],
)
def test_text_and_whole_numbers_are_names(value: Any, name: str) -> None:
    assert names(table({"name": [value, "Q"]}), "name") == ([name, "Q"], {})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, 'the name is empty; fill the field "name"'),
        (" \t", "the name is empty"),
        (float("nan"), "the name is empty"),
        (1.5, "the name is 1.5; write text or a whole number"),
        (True, "the name is true; write text"),
        (date(2024, 5, 1), 'the name is "2024-05-01"; write text'),
        (["a"], 'the name is ["a"]; write text'),
    ],
)
def test_other_values_are_faults_of_their_record(value: Any, says: str) -> None:
    found, faults = names(table({"name": ["P", value]}), "name")
    assert found == ["P", ""]
    assert list(faults) == [1]
    assert says in faults[1]


def test_columns_come_before_pseudo_columns() -> None:
    pseudo = {"fid": [3, 9]}
    assert names(table({}, pseudo), "fid") == (["3", "9"], {})
    assert names(table({}, pseudo), "FID") == (["3", "9"], {})
    assert names(table({"fid": ["a", "b"]}, pseudo), "fid")[0] == ["a", "b"]
    assert names(table({}, pseudo), "row") == (["1", "2"], {})
    assert names(table({"row": ["A1", "A2"]}), "row")[0] == ["A1", "A2"]


def test_case_decides_only_between_several() -> None:
    assert names(table({"Name": ["P", "Q"]}), "name")[0] == ["P", "Q"]
    both = table({"NAME": ["a", "b"], "Name": ["c", "d"]})
    assert names(both, "Name")[0] == ["c", "d"]
    with pytest.raises(AreaError, match="set name_field to one of: NAME, Name, row"):
        names(both, "name")


@pytest.mark.parametrize(
    ("columns", "pseudo", "advice"),
    [
        ({"title": ["a", "b"], "x": [1, 2]}, {}, "set name_field to one of: title, x, row"),
        ({}, {"fid": [1, 2], "folder": ["a", "b"]}, "set name_field to one of: fid, row"),
        ({}, {}, 'give every area one, or set name_field = "row"'),
    ],
)
def test_a_file_without_the_field(
    columns: Mapping[str, Sequence[Any]], pseudo: Mapping[str, Sequence[Any]], advice: str
) -> None:
    with pytest.raises(AreaError) as caught:
        names(table(columns, pseudo), "name")
    assert str(caught.value) == f'a.gpkg: feature 1: no field "name" for the name; {advice}' + (
        " to number them" if "give" in advice else ""
    )


def test_the_folder_tells_equal_names_apart() -> None:
    pseudo = {"folder": ["North", "South/2024", "North", "", "North"]}
    found, faults = names(table({"Name": ["1", "1", "2", "1", None]}, pseudo, n=5), "Name")
    assert found == ["North/1", "South/2024/1", "2", "1", ""]
    assert list(faults) == [4]


def test_no_records_need_no_field() -> None:
    assert names(table({}, n=0), "name") == ([], {})
