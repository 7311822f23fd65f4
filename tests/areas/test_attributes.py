"""Columns that areas carry: which ones, and in which types."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from s2async.areas.attributes import carried, plain, rows
from s2async.areas.table import Table
from s2async.errors import AreaError


def table(**columns: Any) -> Table:
    return Table(place="a.csv", geometries=np.full(2, None, object), columns=columns)


def test_all_but_the_name_and_the_season_are_carried() -> None:
    some = table(crop=["a", "b"], NAME=["P", "Q"], valid_from=[None, None], Valid_To=[None, None], id=[1, None])
    assert carried(some, None, "name") == {"crop": ["a", "b"], "id": [1, None]}
    assert carried(some, None, "id") == {"crop": ["a", "b"], "NAME": ["P", "Q"]}


def test_wanted_columns_are_carried_in_the_order_of_the_file() -> None:
    some = table(crop=["a", "b"], name=["P", "Q"], id=[1, 2])
    assert list(carried(some, ["id", "name"], "name")) == ["name", "id"]
    with pytest.raises(AreaError, match=r'a\.csv: columns: no column "Crop"; the columns are: crop, name, id'):
        carried(some, ["Crop"], "name")
    with pytest.raises(AreaError, match="the columns are: none"):
        carried(table(), ["crop"], "name")


def test_values_are_plain() -> None:
    given = [1, 2.5, True, "x", None, date(2024, 1, 1), float("inf"), np.float64(3), np.int64(4), [1], {"a": None}]
    wanted = [1, 2.5, True, "x", None, date(2024, 1, 1), None, 3.0, 4, "[1]", '{"a": null}']
    found = plain(given)
    assert found == wanted
    assert list(map(type, found)) == list(map(type, wanted))


def test_text_that_no_file_can_hold_is_replaced() -> None:
    assert plain(["ä\ud800", "ü", None]) == ["ä?", "ü", None]
    assert carried(table(**{"a\ud800": [1, 2]}), None, "name") == {"a?": [1, 2]}


def test_rows_are_the_values_of_each_record() -> None:
    assert rows({"a": [1, 2], "b": ["x", None]}, 2) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert rows({}, 2) == [{}, {}]


def test_equal_texts_are_one_object() -> None:
    first, second, other = plain(["".join(["rape", "seed"]), "".join(["rape", "seed"]), "oats"])
    assert first == "rapeseed"
    assert first is second
    assert other == "oats"
