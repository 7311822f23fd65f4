from __future__ import annotations

from dataclasses import replace
from datetime import date

from s2async.areas.edits import Place, edits, season_words, told_apart
from s2async.areas.folders import clash, season, span
from s2async.models import Area
from tests.support.states import A, B, C, make_area


def in_month(area: Area, month: int) -> Area:
    """Of May or June, whole."""
    return replace(area, start=date(2022, month, 1), end=date(2022, month, 36 - month))


def former(*areas: Area) -> list[Place]:
    return [Place(area.name, area.fingerprint, area.start, area.end) for area in areas]


def test_nothing_is_told_of_a_first_run_and_of_the_same_areas() -> None:
    assert edits([], [A, B]) == []
    assert edits(former(A, B), [B, replace(A, attributes={"crop": "rye"})]) == []


def test_each_kind_of_edit_has_its_line() -> None:
    lines = edits(
        former(A, B, C, make_area("d"), make_area("e")),
        [
            A,
            make_area("b", key="elsewhere"),
            make_area("Hill", key="c"),
            in_month(make_area("d"), 5),
            make_area("f"),
        ],
    )
    assert [line.partition(":")[0] for line in lines] == [
        "1 area is new",
        "1 area has another outline",
        "1 area has another name",
        "1 area has another season",
        "1 area of the last run is no longer in the configuration",
    ]
    assert [line.rpartition(": ")[2] for line in lines] == [
        "f", "b", "c is now Hill", "d (2022-05-01 to 2022-05-31)", "e"
    ]  # fmt: skip
    assert all("prune --removed" in lines[number] for number in (1, 3, 4))
    assert "nothing is read again" in lines[2]


def test_other_columns_are_counted() -> None:
    assert edits(former(A, B), [A, B], recolumned=1) == [
        "the columns of 1 area have changed: the tables follow, and nothing is read again"
    ]
    *_, last = edits(former(A), [A, B], recolumned=1234)
    assert last.startswith("the columns of 1,234 areas have changed: ")
    assert edits([], [A], recolumned=1) == []


def test_ten_areas_are_named_and_the_others_counted() -> None:
    fields = [make_area(f"field {number}") for number in range(1, 13)]
    (line,) = edits(former(*fields, A), [A])
    assert line.startswith("12 areas of the last run are no longer in the configuration: their crops stay on disk")
    assert line.endswith(f": {', '.join(area.name for area in fields[:10])} and 2 more")


def test_swapped_names_are_two_other_outlines() -> None:
    (line,) = edits(former(A, B), [make_area("a", key="b"), make_area("b", key="a")])
    assert line.startswith("2 areas have other outlines")


def test_a_new_season_of_a_name_and_polygon_is_no_new_area() -> None:
    (line,) = edits(former(in_month(A, 5)), [in_month(A, 5), in_month(A, 6)])
    assert line.endswith(": a (2022-05-01 to 2022-05-31, 2022-06-01 to 2022-06-30)")
    (line,) = edits(former(in_month(A, 5)), [A])
    assert line.endswith(": a (all days)")


def test_areas_of_one_name_are_told_apart_by_their_seasons() -> None:
    areas = [in_month(A, 5), replace(A, start=date(2022, 6, 1)), in_month(B, 5)]
    assert told_apart(areas) == ["a (2022-05-01 to 2022-05-31)", "a (from 2022-06-01)", "b"]
    assert told_apart([A, A]) == ["a", "a"]


def test_seasons_in_words_and_in_microseconds() -> None:
    cases = {
        (None, None): "",
        (date(2022, 5, 1), None): "from 2022-05-01",
        (None, date(2022, 5, 1)): "until 2022-05-01",
        (date(2022, 5, 1), date(2022, 5, 1)): "2022-05-01",
        (date.min, date.max): "0001-01-01 to 9999-12-31",
    }
    for (start, end), words in cases.items():
        assert season_words(start, end) == words
        assert season(*span(replace(A, start=start, end=end))) == (start, end)
    assert span(replace(A, start=date(1970, 1, 1), end=date(1970, 1, 2))) == (0, 2 * 86_400_000_000)


def test_one_folder_on_one_day_is_a_clash() -> None:
    other = make_area("a", key="b")
    assert clash([A, B, make_area("twin", key="a")]) is None, "one polygon, two names"
    assert clash([in_month(A, 5), in_month(other, 6)]) is None
    for one, two in (
        (A, other),
        (A, in_month(other, 5)),
        (replace(A, start=date(2022, 5, 31)), in_month(other, 5)),
        (in_month(A, 5), in_month(A, 5)),
        (A, make_area("A")),
    ):
        assert clash([one, two]) is not None
