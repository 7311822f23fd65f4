"""The state's choice among the items of an overpass: by facts alone, in batches and for all jobs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from s2async.clouds.scl import SclRule
from s2async.models import BatchResult, CloudMeasure, Job, Outcome, Scene, Status
from s2async.state import schema
from s2async.state.records import OPEN
from s2async.state.writer import State
from tests.support.states import (
    CLEAR,
    VISUAL,
    A,
    add,
    cloudy,
    failed,
    make_area,
    make_scene,
    missing,
    open_jobs,
    record,
    saved,
    start,
    steps_of,
)

RULE = SclRule.from_percent(classes=[9], max_cloud=2, min_valid=95)
ONE = replace(VISUAL, one_per_overpass=True)
FIRST, SECOND = "S2A_20220101T095000", "S2A_20220103T095000"


def home(name: str = "home", *, minutes: float = 0, datatake: str = FIRST) -> Scene:
    return make_scene(name, minutes=minutes, datatake=datatake)


def other(name: str = "other", *, minutes: float = 0.1, datatake: str = FIRST) -> Scene:
    return replace(make_scene(name, minutes=minutes, datatake=datatake), grid="32UQD", epsg=32632)


def measured(state: State, *jobs: Job) -> None:
    """What a batch leaves that only measures: clear jobs, undecided."""
    for job in jobs:
        state.record(BatchResult(outcomes=(), undecided=(replace(job, measure=CLEAR),)), [])


def statuses(state: State) -> dict[str, str]:
    with closing(sqlite3.connect(state.path)) as db:
        return dict(db.execute("SELECT i.item, j.status FROM jobs j JOIN items i ON i.id = j.item"))


def begin(state: State, *scenes: Scene) -> list[Job]:
    start(state, [A], ONE)
    return [job for scene in scenes for job in add(state, scene, [A], ONE)]


def test_the_zone_of_an_area_is_stored_and_stays(state: State) -> None:
    start(state, [A])
    with closing(sqlite3.connect(state.path)) as db, db:
        assert db.execute("SELECT zone FROM areas").fetchall() == [(33,)]
        db.execute("UPDATE areas SET zone = 32")
    start(state, [A, make_area("b")])
    with closing(sqlite3.connect(state.path)) as db:
        assert db.execute("SELECT zone FROM areas ORDER BY id").fetchall() == [(32,), (33,)]
    jobs = [job for scene in (home(), other()) for job in add(state, scene, [A], ONE)]
    measured(state, *jobs)
    assert [job.scene.id for job in state.choose(jobs, RULE, ONE)] == ["other"]


def test_a_state_without_zones_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with State.create_or_open(path) as state:
        start(state, [A])
    number = next(n for n, one in enumerate(schema.MIGRATIONS) if one.__name__ == "_home_zones")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP INDEX items_time")
        db.execute("ALTER TABLE areas DROP COLUMN zone")
        schema.MIGRATIONS[number](db)
        assert db.execute("SELECT zone FROM areas").fetchall() == [(33,)]


def test_undecided_jobs_stay_open_with_their_measurements(state: State) -> None:
    jobs = begin(state, home(), other())
    measured(state, *jobs)
    assert statuses(state) == {"home": OPEN, "other": OPEN}
    state.begin_run("{}", "1.0")
    assert [(job.scene.id, job.measure) for job in open_jobs(state, selection=ONE)] == [
        ("other", CLEAR),
        ("home", CLEAR),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
def test_open_jobs_of_an_overpass_are_adjacent_in_pages_of_any_size(state: State, limit: int) -> None:
    begin(state, home("h1"), home("h2", minutes=2880, datatake=SECOND), other("o1"))
    begin(state, other("o2", minutes=2880.1, datatake=SECOND))
    state.begin_run("{}", "1.0")
    assert [job.scene.id for job in open_jobs(state, limit, selection=ONE)] == ["o2", "h2", "o1", "h1"]


def test_the_choice_is_made_again_after_each_answer(state: State) -> None:
    at_home, elsewhere = begin(state, home(), other())
    measured(state, at_home, elsewhere)
    (best,) = state.choose([at_home, elsewhere], RULE, ONE)
    assert (best.scene.id, best.measure) == ("home", CLEAR)
    record(state, missing(best, measure=CLEAR))
    (best,) = state.choose([at_home, elsewhere], RULE, ONE)
    assert best.scene.id == "other"
    record(state, saved(best))
    assert state.choose([at_home, elsewhere], RULE, ONE) == []
    assert statuses(state) == {"home": "missing", "other": "saved"}


def test_an_item_that_comes_later_takes_the_place_of_a_crop_once_it_has_one(state: State) -> None:
    (elsewhere,) = begin(state, other())
    record(state, saved(elsewhere))
    assert state.choose([elsewhere], RULE, ONE) == []
    (at_home,) = begin(state, home())
    measured(state, at_home)
    assert state.choose([at_home], RULE, ONE) == [replace(at_home, measure=CLEAR)]
    assert [row.item for row in state.saved_rows(ONE)] == ["other"]
    record(state, saved(at_home))
    state.choose([at_home], RULE, ONE)
    assert [row.item for row in state.saved_rows(ONE)] == ["home"]
    assert {crop.item: crop.unwanted for crop in state.stored_crops(ONE)} == {"home": False, "other": True}


def test_a_failure_that_may_pass_delays_an_overpass_by_one_run(state: State) -> None:
    at_home, elsewhere = begin(state, home(), other())
    record(state, failed(at_home, transient=True))
    measured(state, elsewhere)
    assert state.choose([at_home, elsewhere], RULE, ONE) == []
    assert state.reopen_transient() == 1
    state.begin_run("{}", "1.0")
    assert [job.scene.id for job in open_jobs(state, selection=ONE)] == ["other", "home"]
    record(state, failed(at_home, transient=True))
    assert [job.scene.id for job in state.choose([at_home, elsewhere], RULE, ONE)] == ["other"]


def test_a_failure_for_good_delays_nothing(state: State) -> None:
    at_home, elsewhere = begin(state, home(), other())
    record(state, failed(at_home))
    measured(state, elsewhere)
    assert [job.scene.id for job in state.choose([at_home, elsewhere], RULE, ONE)] == ["other"]


def test_settings_that_change_are_applied_to_what_is_known(state: State) -> None:
    jobs = [*begin(state, home("h1"), other("o1")), *begin(state, home("h2", minutes=2880, datatake=SECOND))]
    (second,) = begin(state, other("o2", minutes=2880.1, datatake=SECOND))
    record(state, *map(saved, jobs[:2]), cloudy(jobs[2]), saved(second))
    assert state.choose_for_all(RULE, VISUAL) == 0
    state.update_statuses(RULE.verdicts, ONE)
    assert state.choose_for_all(RULE, ONE) == 2
    assert statuses(state) == {"h1": "saved", "o1": "duplicate", "h2": "duplicate", "o2": "saved"}
    state.update_statuses(RULE.verdicts, ONE)
    assert state.choose_for_all(RULE, ONE) == 0
    counted = state.counts(ONE).total
    assert counted == {"saved": 2, "duplicate": 2}
    assert state.clear_days() == 2
    state.update_statuses(RULE.verdicts, VISUAL)
    assert statuses(state) == {"h1": "saved", "o1": "saved", "h2": "cloudy", "o2": "saved"}


def test_days_that_are_wanted_again_are_judged_by_the_settings_of_now(state: State) -> None:
    at_home, elsewhere = begin(state, home(), other())
    hazy = CloudMeasure(histogram=(0, 0, 0, 0, 99, *[0] * 4, 1, 0, 0, 0), total=100)
    record(
        state,
        replace(saved(at_home), measure=hazy),
        Outcome(job=elsewhere, status=Status.DUPLICATE, measure=CLEAR),
    )
    strict = replace(RULE, max_cloud=0)
    for area, opened in ((replace(A, start=date(2022, 3, 1)), 0), (A, 1)):
        state.sync_areas([area])
        state.commit_folders()
        state.update_statuses(strict.verdicts, ONE, "strict")
        assert state.choose_for_all(strict, ONE) == opened
        state.begin_run("{}", "1.0")
        state.end_run("finished")
    assert statuses(state) == {"home": "cloudy", "other": OPEN}


def test_where_the_item_that_counts_lost_its_crop_it_is_cut_again(state: State) -> None:
    at_home, elsewhere = begin(state, home(), other())
    record(state, saved(at_home), Outcome(job=elsewhere, status=Status.DUPLICATE, measure=CLEAR))
    state.forget_crops(list(state.stored_crops(ONE)))
    state.update_statuses(RULE.verdicts, ONE)
    assert state.choose_for_all(RULE, ONE) == 0
    assert statuses(state) == {"home": OPEN, "other": "duplicate"}


def test_a_better_edition_takes_the_place_of_its_former_one_in_the_choice(state: State) -> None:
    """Both of one square; the former one was saved, and the better one loses to an item of the home zone."""
    (former,) = begin(state, other("former"))
    record(state, saved(former))
    better = replace(other("better"), baseline="05.09")
    jobs = begin(state, better, home())
    measured(state, *jobs)
    (best,) = state.choose(jobs, RULE, ONE)
    record(state, saved(best))
    assert state.choose(jobs, RULE, ONE) == []
    assert [row.item for row in state.saved_rows(ONE)] == ["home"]


def test_an_overpass_is_cloudy_only_where_all_of_its_items_are(state: State) -> None:
    at_home, elsewhere = begin(state, home(), other())
    record(state, cloudy(at_home))
    measured(state, elsewhere)
    assert [job.scene.id for job in state.choose([at_home, elsewhere], RULE, ONE)] == ["other"]
    record(state, saved(elsewhere))
    assert state.choose([at_home, elsewhere], RULE, ONE) == []
    assert statuses(state) == {"home": "duplicate", "other": "saved"}
    at_home, elsewhere = begin(
        state, home("h2", minutes=2880, datatake=SECOND), other("o2", minutes=2880.1, datatake=SECOND)
    )
    record(state, cloudy(at_home), cloudy(elsewhere))
    assert state.choose([at_home, elsewhere], RULE, ONE) == []
    assert statuses(state) == {"home": "duplicate", "other": "saved", "h2": "cloudy", "o2": "duplicate"}


def test_items_that_show_none_of_the_areas_cost_the_choice_next_to_nothing(state: State) -> None:
    """An overpass of a continent has hundreds of items, of which an area is in one to four."""
    areas = [make_area(f"a{number}") for number in range(768)]
    start(state, areas, ONE)
    jobs = add(state, home(), areas[:512], ONE)
    state.record(BatchResult(outcomes=(), undecided=tuple(replace(job, measure=CLEAR) for job in jobs)), [])
    alone = steps_of(state, lambda: state.choose(jobs, RULE, ONE))
    for number in range(100):
        add(state, other(f"far{number}"), areas[-1:], ONE)
    assert steps_of(state, lambda: state.choose(jobs, RULE, ONE)) < 1.5 * alone
    assert len(state.choose(jobs, RULE, ONE)) == 512
