"""What jobs lack, by asset: remembered, asked for again, and what older twins of their items have of it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from s2async.causes import Cause
from s2async.models import Selection
from s2async.state.writer import State
from tests.support.states import (
    CLEAR,
    VISUAL,
    A,
    B,
    add,
    cloudy,
    each,
    failed,
    judge,
    lack,
    make_product,
    make_scene,
    missing,
    open_jobs,
    record,
    saved,
    start,
)

OTHER = Selection(assets=("visual", "nir"), mask=True, format="gtiff")
ASSETS = ("scl", "visual", "nir")
OLD = make_scene("S2A_33UUU_20220101_0_L2A", baseline="03.01", assets=ASSETS)
NEW = make_scene("S2A_33UUU_20220101_1_L2A", baseline="05.09", minutes=0.001 / 60, assets=ASSETS)


def lacking(state: State, selection: Selection = OTHER) -> list[tuple[str, str, str, int]]:
    return [(row.area, row.asset, row.cause, row.tries) for row in state.lacking(selection)]


def test_what_a_job_lacks_is_remembered_by_asset_until_it_is_there(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(state, [A, B], OTHER)
    one, two = add(state, make_scene(assets=("scl", "visual", "nir")), [A, B], OTHER)
    record(state, replace(saved(one), lacks=(lack("nir"),)), missing(two, "scl"))
    assert lacking(state) == [("a", "nir", "not-there", 1), ("b", "scl", "not-there", 1)]
    told = state.without(OTHER)
    assert told.by_status == {"missing": {Cause.NOT_THERE: 1}}
    assert (told.saved, told.scenes) == ({("nir", Cause.NOT_THERE): 1}, {"nir": 1})
    assert lacking(state, VISUAL) == [("b", "scl", "not-there", 1)], "what is not wanted does not count"
    now = time.time()
    for day, (tries, cause) in enumerate(((2, Cause.NOT_THERE), (1, Cause.DENIED), (2, Cause.DENIED))):
        monkeypatch.setattr("s2async.state.writer.seconds", lambda day=day: int(now) + day * 86_400)
        assert state.update_statuses(each(judge), OTHER) == {}
        state.reopen_due(OTHER)
        state.reopen_transient(limit=10)
        state.begin_run("{}", "1.0")
        for job in open_jobs(state):
            assert [(was.known, was.again) for was in job.lacks] == [(True, True)]
            if job.area is A:
                answer = failed(job, transient=True, measure=CLEAR) if cause is Cause.DENIED else saved(job)
                record(state, replace(answer, cause=cause, lacks=(lack("nir", cause),), products=()))
                assert lacking(state)[0] == ("a", "nir", cause, tries)
    state.retry(missing=True)
    start(state, [A, B], OTHER)
    jobs = {job.area.name: job for job in open_jobs(state)}
    assert [job.lacks for job in jobs.values()] == [(), ()]
    record(state, saved(jobs["a"], "nir"), saved(jobs["b"], "visual", "nir"))
    assert lacking(state) == []
    assert state.counts(VISUAL).total == {"saved": 2}


def test_a_job_without_its_classification_stays_missing_whatever_is_wanted(state: State) -> None:
    start(state, [A, B])
    first, second = add(state, make_scene(), [A, B])
    record(state, missing(first, "scl"), missing(second, "visual", cause=Cause.JPEG2000))
    assert start(state, [A, B], OTHER) == {("missing", "open"): 1}
    assert [job.area for job in open_jobs(state)] == [B]
    record(state, missing(open_jobs(state)[0], "visual", "nir", cause=Cause.JPEG2000))
    assert start(state, [A, B], VISUAL) == {}
    assert start(state, [A, B], replace(VISUAL, assets=())) == {("missing", "open"): 1}, "clouds can be measured"


def test_only_what_is_wanted_is_asked_for_again(state: State) -> None:
    start(state, [A], OTHER)
    (job,) = add(state, make_scene(assets=("scl", "visual", "nir")), [A], OTHER)
    record(state, replace(saved(job), lacks=(lack("nir"),)))
    start(state, [A], VISUAL)
    assert state.reopen_due(VISUAL) == 0
    start(state, [B], OTHER)
    assert state.reopen_due(OTHER) == 0, "the area is not watched"
    start(state, [A], OTHER)
    assert state.reopen_due(OTHER) == 1


def test_a_new_edition_lacks_nothing_yet(state: State) -> None:
    start(state, [A], OTHER)
    (job,) = add(state, make_scene(), [A], OTHER)
    record(state, replace(saved(job), lacks=(lack("nir", Cause.NO_ASSET),)))
    (again,) = add(state, make_scene(version="v2"), [A], OTHER)
    assert again.lacks == ()
    assert lacking(state) == []


# ---- twins ---------------------------------------------------------------------------------------------------


def rows(state: State, selection: Selection) -> list[tuple[str, str]]:
    told = [(row.item, row.asset) for row in state.saved_rows(selection)]
    crops = [(row.item, row.asset) for row in state.job_rows(selection) if hasattr(row, "asset")]
    assert crops == told
    return told


def test_an_older_crop_counts_for_the_asset_that_the_newer_twin_lacks(state: State) -> None:
    start(state, [A], OTHER)
    record(state, *(saved(job, "visual", "nir") for job in add(state, OLD, [A], OTHER)))
    (job,) = add(state, NEW, [A], OTHER)
    without = replace(saved(job, "visual"), lacks=(lack("nir"),))
    record(state, without)
    assert rows(state, OTHER) == [(OLD.id, "nir"), (NEW.id, "visual")]
    assert [(crop.item, crop.asset) for crop in state.stored_crops(VISUAL) if crop.unwanted] == [
        (OLD.id, "visual")
    ], "prune leaves what counts"
    told = [(row.item, row.status) for row in state.job_rows(VISUAL)]
    assert told == [(OLD.id, "saved"), (NEW.id, "saved")]
    assert state.retry(missing=True) == 1
    start(state, [A], OTHER)
    (again,) = open_jobs(state)
    assert again.saved == {"visual"}
    record(state, saved(again, "nir"))
    assert rows(state, OTHER) == [(NEW.id, "nir"), (NEW.id, "visual")]
    assert [row.item for row in state.job_rows(OTHER)] == [NEW.id, NEW.id]


def test_a_crop_of_a_newer_twin_that_failed_counts_and_hides_that_of_the_older_one(state: State) -> None:
    start(state, [A], OTHER)
    record(state, *(saved(job, "visual") for job in add(state, OLD, [A], OTHER)))
    (job,) = add(state, NEW, [A], OTHER)
    half = replace(failed(job, transient=True, measure=CLEAR), products=(make_product(job),))
    record(state, replace(half, cause=Cause.NETWORK, lacks=(lack("nir", Cause.NETWORK),)))
    assert rows(state, OTHER) == [(NEW.id, "visual")]
    assert [(row.item, row.status) for row in state.job_rows(OTHER)] == [(NEW.id, "failed")], (
        "a job whose crops all have newer ones is not told"
    )
    state.retry()
    record(state, cloudy(job))
    assert rows(state, OTHER) == []
