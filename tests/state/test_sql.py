from __future__ import annotations

import re

import pytest

from s2async.state import reader_sql, totals_sql, writer_sql
from s2async.state.records import OPEN
from s2async.state.writer import State
from tests.support.states import VISUAL, add, make_area, make_scene, open_jobs, start

SMALL = r"(a|areas|l|s|superseded|x|t|known)\b|(e|json_each) VIRTUAL|CONSTANT"
MODULES = (writer_sql, reader_sql, totals_sql)


def plan(state: State, statement: str) -> list[str]:
    values: dict[str, int] | tuple[int, ...] = dict.fromkeys(re.findall(r":(\w+)", statement), 0)
    values = values or (0,) * statement.count("?")
    return [row[3] for row in state._db.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


@pytest.mark.parametrize(
    "name",
    [
        "OPEN_JOBS",
        "OPEN_JOBS_NEWEST_FIRST",
        "OPEN_JOBS_OLDEST_FIRST",
        "CRASHED_JOBS",
        "ROWS_TO_JUDGE",
        "OTHER_CELLS",
        "VALID_PRODUCTS",
        "MISSING_ASSETS",
        "TROUBLED",
        "SAVED_ROWS",
        "JOB_ROWS",
        "JOB_ROWS_OF_PLACE",
        "MOVES",
        "CROPS_IN_SPAN",
        "RENAMED_CROPS",
        "REMOVED_JOBS",
        "FILES_IN_FOLDER",
        "FIND_ITEM",
        "NAMESAKE",
        "ITEM_EDITION",
        "SENSED_TOGETHER",
        "UNLINK_ITEM",
        "JOBS_OF_ITEM",
        "LACKING_OF_ITEM",
        "WANTED_JOBS",
        "FAILED_FOR_NOW",
        "DUE",
        "TO_RETRY",
        "ADD_PRODUCT",
        "DROP_OTHER_KIND",
        "VALID_ASSETS",
        "VALID_ABSENCES",
        "KNOWN_HEADERS",
        "FORGET_HEADERS",
        "AREAS_OF_NEWER",
        "KNOWN_JOBS",
        "FORGET_ABSENCES",
        "ADD_ABSENCE",
        "TRIES",
        "ANSWERS",
        "VIEWS_OF_TIME",
        "ROWS_OF_ITEM",
        "ANY_ABSENCES",
        "ITEM_OF_ROWS",
        "CODES_OF_BLOCK",
        "CAUSES",
        "AGAIN",
        "PROBLEMS",
        "LACKING",
        "LACKING_COUNTS",
        "MEASURES_OF_AREA",
        "EVIDENCE",
    ],
)
def test_no_statement_of_a_run_scans_a_big_table(state: State, name: str) -> None:
    steps = plan(state, next(getattr(module, name) for module in MODULES if hasattr(module, name)))
    assert steps
    scans = [
        step
        for step in steps
        if re.match(
            r"SCAN (?!a\b|areas\b|l\b|s\b|e VIRTUAL|CONSTANT|superseded\b|x\b|t\b|known\b|b\b|json_each VIRTUAL)",
            step,
        )
    ]
    assert scans == []


def test_pages_and_rows_are_streamed_in_order_without_sorting_all(state: State) -> None:
    by_time = writer_sql.OPEN_JOBS_OLDEST_FIRST, writer_sql.OPEN_JOBS_NEWEST_FIRST
    for statement in (writer_sql.OPEN_JOBS, *by_time):
        assert not [step for step in plan(state, statement) if "TEMP B-TREE" in step]
    assert "PRIMARY KEY ((item,block)>(?,?))" in plan(state, writer_sql.OPEN_JOBS)[0]
    assert not [step for step in plan(state, writer_sql.ROWS_TO_JUDGE) if "TEMP B-TREE" in step]
    assert [step for step in plan(state, reader_sql.SAVED_ROWS) if "TEMP B-TREE" in step] == [
        "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"
    ]


def test_the_jobs_of_one_area_are_found_without_looking_at_the_others(state: State) -> None:
    assert plan(state, reader_sql.JOB_ROWS_OF_PLACE)[0] == "SEARCH l USING INDEX places_name (name=? AND since=?)"


@pytest.mark.slow
def test_a_hundred_thousand_jobs(state: State) -> None:
    areas = [make_area(f"area {i:05}") for i in range(2000)]
    start(state, areas)
    for i in range(50):
        assert len(add(state, make_scene(f"S{i:03}", minutes=10 * i), areas)) == 2000
    start(state, areas)
    assert sum(1 for _ in open_jobs(state)) == 100_000
    assert state.counts(VISUAL).total == {OPEN: 100_000}
