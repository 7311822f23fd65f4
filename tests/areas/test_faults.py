"""Faults of many areas in one answer."""

from __future__ import annotations

from s2async.areas.faults import Remark, refusal, repaired_notices, skipped_notices


def remarks(count: int) -> list[Remark]:
    return [
        Remark(place=f"a.csv: feature {n}", name=f"P{n}", text="is empty; draw a polygon") for n in range(count)
    ]


def test_one_fault_is_one_line() -> None:
    assert str(refusal("a.csv", remarks(1), 9)) == 'a.csv: feature 0: area "P0": is empty; draw a polygon'
    (nameless,) = [Remark(place="a.csv:2", name="", text="the name is empty; fill it")]
    assert str(refusal("a.csv", [nameless], 9)) == "a.csv:2: the name is empty; fill it"


def test_several_faults_are_a_heading_and_a_line_for_each() -> None:
    head, *lines = str(refusal("a.csv", remarks(3), 1200)).split("\n")
    assert head.startswith("a.csv: 3 of 1,200 areas cannot be used; ")
    assert 'invalid = "skip"' in head
    assert lines == [f'  feature {n}: area "P{n}": is empty; draw a polygon' for n in range(3)]


def test_the_first_thirty_are_listed_and_the_others_counted() -> None:
    for lines in (
        str(refusal("a.csv", remarks(1031), 2000)).split("\n"),
        skipped_notices("a.csv", remarks(1031), 2000),
        repaired_notices("a.csv", remarks(1031), 2000),
    ):
        assert len(lines) == 32
        assert "1,031 of 2,000" in lines[0]
        assert lines[30].startswith("  feature 29: ")
        assert lines[31] == "  and 1,001 more"
    assert len(str(refusal("a.csv", remarks(30), 40)).split("\n")) == 31


def test_names_and_nothing_else_are_cut_to_one_line() -> None:
    odd = Remark(place="a.csv:2", name="a\nb" + "c" * 100, text="is empty")
    assert str(odd).isprintable()
    assert len(str(odd)) < 100
