"""Whose values count where one item of each overpass counts, also while its crops cannot be had."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from s2async.causes import Cause
from s2async.clouds.scl import SclRule
from s2async.models import BatchResult, Job, Outcome, Scene, Selection, Status
from s2async.state.records import OPEN
from s2async.state.value_choice import Asking
from s2async.state.writer import State
from tests.support.states import A, add, failed, make_product, make_scene, missing, open_jobs, start
from tests.support.values import ALL, LAX, SELECTION, WANTED, measure, valued

RULE = SclRule.from_percent(classes=[3, 8, 9], max_cloud=2, min_valid=50)
ONE = replace(SELECTION, one_per_overpass=True)
TAKE = "S2A_20220101T095000"
CLEAR = measure()


def home(name: str = "home", *, minutes: float = 0) -> Scene:
    return make_scene(name, minutes=minutes, datatake=TAKE, assets=ALL)


def other(name: str = "other", *, minutes: float = 0.1) -> Scene:
    return replace(home(name, minutes=minutes), grid="32UQD", epsg=32632)


def begin(state: State, *scenes: Scene) -> list[Job]:
    start(state, [A], ONE)
    return [job for scene in scenes for job in add(state, scene, [A], ONE)]


def record(state: State, *outcomes: Outcome) -> None:
    state.record(BatchResult(outcomes=outcomes), [], wanted=WANTED)


def cut(job: Job) -> Outcome:
    """It has its crop and values."""
    return replace(valued(job, status=Status.SAVED, measured=CLEAR), products=(make_product(job),))


def gone(job: Job) -> Outcome:
    """It has values, and its crop cannot be had."""
    bare = missing(job, measure=CLEAR, cause=Cause.JPEG2000)
    return replace(bare, results=valued(job).results)


def broken(job: Job) -> Outcome:
    """It has values, and its crop has failed for good."""
    return replace(failed(job, measure=CLEAR), results=valued(job).results)


def cloudy(job: Job) -> Outcome:
    return valued(job, measured=measure(cloud=50))


def counting(state: State, selection: Selection = ONE) -> list[str]:
    """The items whose values count."""
    asking = Asking(WANTED, selection, LAX.verdicts)
    found = [page.items[at].item for page in state.value_pages(asking) for at in page.item.tolist()]
    totals = state.values(asking)
    assert (totals.dates, totals.rows) == (len({*found}), len(found)) == (len(found) // 2, len(found))
    return sorted({*found})


def statuses(state: State) -> dict[str, str]:
    with closing(sqlite3.connect(state.path)) as db:
        return dict(db.execute("SELECT i.item, j.status FROM jobs j JOIN items i ON i.id = j.item"))


@pytest.mark.parametrize("first", [gone, broken])
def test_values_of_an_item_whose_crop_cannot_be_had_do_not_count_beside_those_of_the_next_one(
    state: State, first: Callable[[Job], Outcome]
) -> None:
    at_home, elsewhere = begin(state, home(), other())
    record(state, first(at_home))
    assert counting(state) == ["home"]
    record(state, cut(elsewhere))
    assert state.choose([at_home, elsewhere], RULE, ONE, LAX) == []
    assert counting(state) == ["other"], "crop and values of an overpass are those of one item"
    assert counting(state, SELECTION) == ["home", "other"], "all items count"


def test_nor_beside_those_of_one_that_is_cloudy(state: State) -> None:
    at_home, elsewhere = begin(state, home(), other())
    record(state, gone(at_home))
    record(state, cloudy(elsewhere))
    assert state.choose([at_home, elsewhere], RULE, ONE, LAX) == []
    assert statuses(state) == {"home": "missing", "other": "cloudy"}
    assert counting(state) == ["other"]


def test_where_no_item_has_a_crop_the_values_of_the_one_at_home_count(state: State) -> None:
    jobs = begin(state, other(), home(), other("a"))
    for job in jobs:
        record(state, gone(job))
    assert state.choose(jobs, RULE, ONE, LAX) == []
    assert set(statuses(state).values()) == {"missing"}
    assert counting(state) == ["home"]


def test_values_of_another_overpass_count(state: State) -> None:
    early, late = begin(state, home(), replace(other("late", minutes=50), datatake="S2B_20220101T104000"))
    record(state, gone(early))
    record(state, cut(late))
    assert counting(state) == ["home", "late"]


# ---- values that are wanted later -------------------------------------------------------------------------


def wanting_values(state: State) -> list[Job]:
    """The next run, which is the first to want values; returns its open jobs."""
    state.update_statuses(RULE.verdicts, ONE, "values", judge_values=LAX.verdicts)
    state.choose_for_all(RULE, ONE, LAX)
    state.begin_run("{}", "1.0")
    return open_jobs(state, selection=ONE)


def test_an_item_without_crops_alone_in_its_overpass_gets_values_that_are_wanted_later(state: State) -> None:
    (job,) = begin(state, home())
    record(state, missing(job, measure=CLEAR, cause=Cause.JPEG2000))
    (job,) = wanting_values(state)
    assert [one.id for one in state.choose([job], RULE, ONE, LAX)] == [job.id]
    record(state, gone(job))
    assert state.choose([job], RULE, ONE, LAX) == []
    assert statuses(state) == {"home": "missing"}
    assert counting(state) == ["home"]
    assert wanting_values(state) == []


def test_one_beside_another_that_counts_has_its_answer_again(state: State) -> None:
    at_home, elsewhere = begin(state, home(), other())
    record(state, missing(at_home, measure=CLEAR, cause=Cause.JPEG2000))
    record(state, replace(cut(elsewhere), results=()))
    before = state.answers([at_home.id])
    jobs = wanting_values(state)
    assert {job.scene.id for job in jobs} == {"home", "other"}
    (best,) = state.choose(jobs, RULE, ONE, LAX)
    assert best.scene.id == "other"
    assert statuses(state) == {"home": OPEN, "other": OPEN}
    record(state, cut(best))
    assert state.choose(jobs, RULE, ONE, LAX) == []
    assert statuses(state) == {"home": "missing", "other": "saved"}
    assert state.answers([at_home.id]) == before, "with its reason"
    assert counting(state) == ["other"]
