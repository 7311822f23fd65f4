"""Jobs that are judged as arrays get the statuses that follow from their facts one by one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from s2async import reasons
from s2async.clouds.scl import SclRule
from s2async.models import CloudMeasure, Job, Outcome, Selection, Status
from s2async.state import statuses
from s2async.state.records import OPEN
from s2async.state.writer import State
from tests.support.lanes import few_quick
from tests.support.states import (
    VISUAL,
    add,
    cloudy,
    each,
    judge,
    lack,
    make_area,
    make_product,
    make_scene,
    record,
    start,
)

STRICT = SclRule.from_percent(classes=[9], max_cloud=1, min_valid=50)
LAX = SclRule.from_percent(classes=[9], max_cloud=60, min_valid=5)
BOTH = replace(VISUAL, assets=("visual", "red"))


def random_outcome(job: Job, chance: random.Random) -> Outcome:
    """An answer as a run gives it, by the strict rule and for the true colour image."""
    good, cloud = chance.randrange(440), chance.choice((0, 1, chance.randrange(60)))
    measure = CloudMeasure(histogram=(0, 0, 0, 0, good, 0, 0, 0, 0, cloud, 0, 0, 0), total=500)
    if chance.random() < 0.1:
        return Outcome(job=job, status=Status.OUTSIDE)
    if chance.random() < 0.1:
        gone = (lack("scl"),)
        return Outcome(job=job, status=Status.MISSING, reason="scl: why", cause=gone[0].cause, lacks=gone)
    if verdict := STRICT.verdict(measure):
        return Outcome(job=job, status=verdict, measure=measure)
    if chance.random() < 0.2:
        lacks = (lack("visual"),)
        cause = lacks[0].cause
        return Outcome(job=job, status=Status.MISSING, reason="why", cause=cause, measure=measure, lacks=lacks)
    if chance.random() < 0.2:
        return Outcome(job=job, status=Status.FAILED, reason="why", transient=True, measure=measure)
    assets = chance.choice((["visual"], ["visual", "red"]))
    products = tuple(make_product(job, asset) for asset in assets)
    return Outcome(job=job, status=Status.SAVED, measure=measure, products=products)


def expected(outcome: Outcome, rule: SclRule, selection: Selection, *, changed: bool) -> str:
    """The status of one job, by the documentation of `State.update_statuses`."""
    old = outcome.status
    saved, gone = {crop.asset for crop in outcome.products}, {one.asset for one in outcome.lacks}
    if old is Status.OUTSIDE:
        return old
    if outcome.measure is None:
        return old if not changed or "scl" in gone else OPEN
    if verdict := rule.verdict(outcome.measure):
        return verdict
    if reasons.covers(selection.assets, saved, gone):
        has_crop = not selection.assets or saved.intersection(selection.assets)
        return Status.SAVED if has_crop else Status.MISSING
    return old if old in (Status.MISSING, Status.FAILED) and not changed else OPEN


@pytest.mark.parametrize("seed", few_quick(range(6)))
def test_a_page_is_judged_like_each_of_its_jobs(state: State, seed: int) -> None:
    chance = random.Random(seed)
    areas = [make_area(f"area {number}") for number in range(300)]
    answered: dict[int, Outcome] = {}
    start(state, areas)
    state.update_statuses(STRICT.verdicts, VISUAL)
    for number in range(3):
        jobs = add(state, make_scene(f"S{number}", minutes=60 * number), chance.sample(areas, 200))
        answered |= {job.id: random_outcome(job, chance) for job in jobs if chance.random() < 0.8}
    record(state, *answered.values())
    assert state.update_statuses(STRICT.verdicts, VISUAL) == {}, "what is recorded follows from the facts"
    for rule, selection in ((LAX, VISUAL), (LAX, BOTH), (STRICT, replace(VISUAL, assets=()))):
        before = {job: status for job, (status, *_) in state.answers(answered).items()}
        changed = selection != VISUAL
        state._db.execute("BEGIN")
        changes = statuses.update_all(state._db, rule.verdicts, selection, "")
        after = {job: status for job, (status, *_) in state.answers(answered).items()}
        wanted = {
            job: expected(replace(outcome, status=Status(before[job])), rule, selection, changed=changed)
            for job, outcome in answered.items()
        }
        state._db.execute("ROLLBACK")
        assert after == wanted
        moved = [(before[job], after[job]) for job in answered if before[job] != after[job]]
        assert changes == {pair: moved.count(pair) for pair in moved}
        assert moved, (rule, selection, changes, len(answered))


def test_nothing_is_judged_twice_for_the_same_settings(state: State) -> None:
    calls = list[int]()

    def counted(measured: CloudMeasure) -> Status | None:
        calls.append(measured.total)
        return judge(measured)

    areas = [make_area("a"), make_area("b")]
    start(state, areas)
    jobs = add(state, make_scene(), areas)
    record(state, *map(cloudy, jobs))
    for settings, expected_calls in (("one", 2), ("one", 0), ("other", 2), ("", 2), ("other", 2)):
        calls.clear()
        state.update_statuses(each(counted), VISUAL, settings)
        assert len(calls) == expected_calls, settings
    state.sync_areas([areas[0]])
    calls.clear()
    state.update_statuses(each(counted), VISUAL, "other")
    assert len(calls) == 2, "cells of a row are judged together"
    state.sync_areas(areas)
    calls.clear()
    state.update_statuses(each(counted), VISUAL, "other")
    assert len(calls) == 2, "the area that is back may have been judged by other settings"
