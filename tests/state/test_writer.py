from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from s2async.causes import Cause, Reason
from s2async.engine.crash_marker import Left
from s2async.models import (
    BatchResult,
    CloudMeasure,
    FileFact,
    Job,
    Order,
    Outcome,
    Scene,
    Selection,
    Status,
    Traffic,
    Use,
)
from s2async.state.records import OPEN, Cursor
from s2async.state.writer import State
from tests.support.lanes import few_quick
from tests.support.states import (
    CLEAR,
    CLOUDS,
    EMPTY,
    VISUAL,
    A,
    B,
    C,
    add,
    cloudy,
    each,
    failed,
    judge,
    lack,
    make_area,
    make_product,
    make_scene,
    missing,
    open_jobs,
    record,
    saved,
    start,
)


def reopened(state: State) -> State:
    state.close()
    return State.create_or_open(state.path)


# ---- scenes and jobs ---------------------------------------------------------------------------------------


def test_a_scene_gives_each_job_once(state: State) -> None:
    start(state, [A, B, C])
    scene = make_scene()
    jobs = add(state, scene, [A, B])
    assert [(job.area, job.scene, job.measure, job.saved) for job in jobs] == [
        (A, scene, None, frozenset()),
        (B, scene, None, frozenset()),
    ]
    assert add(state, scene, [A, B]) == []
    assert [job.area for job in add(state, scene, [A, B, C])] == [C]
    assert state.counts(VISUAL).total == {OPEN: 3}


def test_a_scene_without_areas_leaves_no_row(state: State) -> None:
    start(state, [A])
    assert add(state, make_scene(), []) == []
    assert state._db.execute("SELECT count(*) FROM items").fetchone() == (0,)


def test_open_jobs_are_those_of_earlier_runs(state: State) -> None:
    start(state, [A, B])
    old = add(state, make_scene(), [A, B])
    assert open_jobs(state) == []
    record(state, saved(old[0]))
    state = reopened(state)
    start(state, [A, B])
    assert add(state, make_scene(), [A, B]) == []
    new = add(state, make_scene("S2", minutes=10), [A, B])
    resumed = open_jobs(state)
    assert [job.id for job in resumed] == [old[1].id]
    assert resumed[0].scene == make_scene()
    assert resumed[0].area is B
    assert not {job.id for job in resumed} & {job.id for job in new}
    state.close()


def test_pages_hold_every_open_job_once_also_when_rows_come_and_go_meanwhile(state: State) -> None:
    areas = [make_area(f"area {i:02}") for i in range(13)]
    start(state, areas)
    scenes = [make_scene(f"S{i}", minutes=10 * i) for i in range(9)]
    expected = []
    for shift in range(13):  # the jobs of an item are not neighbours in the table
        for scene in scenes:
            expected += [job.id for job in add(state, scene, [areas[shift]])]
    state.update_statuses(each(judge), VISUAL)
    state.begin_run("{}", "1.0")
    seen: list[Job] = []
    cursor: Cursor | None = None
    number = 100
    while True:
        page, cursor = state.open_jobs(VISUAL, cursor, 5)
        seen += page
        record(state, *(saved(job) for job in page))
        number += 1
        add(state, make_scene(f"new {number}", minutes=10 * number), areas[:3])
        if cursor is None:
            break
    assert sorted(job.id for job in seen) == sorted(expected)
    order = [job.scene.id for job in seen]
    assert [name for i, name in enumerate(order) if not i or order[i - 1] != name] == [
        scene.id for scene in scenes
    ]
    assert state.counts(VISUAL).total == {"saved": 117, OPEN: 3 * (number - 100)}


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 100])
def test_pages_neither_repeat_nor_leave_out_a_job(state: State, limit: int) -> None:
    start(state, [A, B, C])
    expected = [job.id for i in range(2) for job in add(state, make_scene(f"S{i}", minutes=10 * i), [A, B, C])]
    start(state, [A, B, C])
    assert [job.id for job in open_jobs(state, limit)] == expected


@pytest.mark.parametrize("order", ["oldest", "newest"])
@pytest.mark.parametrize("limit", few_quick([256, 7, 2000]))
def test_pages_are_in_order_of_time_however_long_they_are(state: State, order: Order, limit: int) -> None:
    areas = [make_area(f"area {number}") for number in range(300)]  # more than a row of the state holds
    start(state, areas)
    times = {"33UUU": 10, "33UVU": 0, "33UVV": 10, "33UUV": 20}
    scenes = [replace(make_scene(grid, minutes=minutes), grid=grid) for grid, minutes in times.items()]
    jobs = [job for scene in scenes for job in add(state, scene, areas)]
    start(state, areas)
    record(state, *(saved(job) for job in jobs[::5]))
    found, cursor = list[Job](), None
    while not found or cursor:
        page, cursor = state.open_jobs(VISUAL, cursor, limit, order=order)
        found += page
    left = [job for number, job in enumerate(jobs) if number % 5]
    left.sort(key=lambda job: (job.scene.datetime, job.id), reverse=order == "newest")
    assert [job.id for job in found] == [job.id for job in left]


def test_a_resumed_job_brings_what_is_known(state: State) -> None:
    both = Selection(assets=("visual", "nir"), mask=True, format="gtiff")
    start(state, [A, B], both)
    jobs = add(state, make_scene(assets=("scl", "visual", "nir")), [A, B], both)
    half = Outcome(
        job=jobs[0],
        status=Status.FAILED,
        measure=CLEAR,
        products=(make_product(jobs[0]),),
        reason="nir: timed out",
        transient=True,
    )
    record(state, half, failed(jobs[1], transient=True))
    state.sync_areas([A, B])
    state.commit_folders()
    state.update_statuses(each(judge), both)
    assert state.reopen_transient() == 2
    state.begin_run("{}", "1.0")
    found = {job.area.name: job for job in open_jobs(state)}
    assert (found["a"].measure, found["a"].saved) == (CLEAR, frozenset({"visual"}))
    assert (found["b"].measure, found["b"].saved) == (None, frozenset())


def test_a_job_that_is_left_stays_open_with_what_is_known(state: State) -> None:
    both = Selection(assets=("visual", "nir"), mask=True, format="gtiff")
    start(state, [A], both)
    (job,) = add(state, make_scene(assets=("scl", "visual", "nir")), [A], both)
    left = replace(job, measure=CLEAR, saved=frozenset({"visual"}), products=(make_product(job),))
    state.record(BatchResult(outcomes=(), left=(left,)), ())
    assert state.counts(both).total == {OPEN: 1}
    start(state, [A], both)
    (again,) = open_jobs(state, selection=both)
    assert (again.measure, again.saved) == (CLEAR, frozenset({"visual"}))
    add(state, make_scene(version="v2", assets=("scl", "visual", "nir")), [A], both)
    state.record(BatchResult(outcomes=(), left=(left,)), ())  # it came late: the item is another edition by now
    start(state, [A], both)
    (new,) = open_jobs(state, selection=both)
    assert (new.measure, new.saved) == (None, frozenset())


@pytest.mark.parametrize("change", [{"version": "v2"}, {"host": "https://moved.example"}])
def test_a_new_edition_opens_all_its_jobs_again_and_nothing_old_is_believed(
    state: State, change: dict[str, str]
) -> None:
    start(state, [A, B, C])
    jobs = add(state, make_scene(), [A, B, C])
    record(state, saved(jobs[0]), cloudy(jobs[1]), missing(jobs[2]))
    start(state, [A, B])
    scene = make_scene(**change)  # type: ignore[arg-type]
    again = add(state, scene, [A])
    assert [(job.id, job.area, job.scene, job.measure, job.saved) for job in again] == [
        (jobs[0].id, A, scene, None, frozenset()),
        (jobs[1].id, B, scene, None, frozenset()),
    ]
    assert add(state, scene, [A, B]) == []
    assert open_jobs(state) == []
    assert not list(state.saved_rows(VISUAL))
    start(state, [A, B, C])
    resumed = open_jobs(state)
    assert [(job.area.name, job.measure, job.saved) for job in resumed] == [(n, None, frozenset()) for n in "abc"]
    record(state, saved(resumed[0]))
    (row,) = state.saved_rows(VISUAL)
    assert row.href == scene.assets["visual"].href


def test_a_crop_of_an_old_edition_does_not_count_beside_a_new_measurement(state: State) -> None:
    both = Selection(assets=("visual", "nir"), mask=True, format="gtiff")
    start(state, [A, B], both)
    assets = ("scl", "visual", "nir")
    record(state, *(saved(job, "visual", "nir") for job in add(state, make_scene(assets=assets), [A, B], both)))
    first, second = add(state, make_scene(assets=assets, version="v2"), [A, B], both)
    record(state, failed(first, measure=CLEAR), saved(second, "visual"))
    assert [(row.area, row.asset) for row in state.saved_rows(VISUAL)] == [("b", "visual")]
    assert start(state, [A, B], both) == {("saved", "open"): 1}
    state.retry()
    assert [(job.measure, job.saved) for job in open_jobs(state)] == [
        (CLEAR, frozenset()),
        (CLEAR, frozenset({"visual"})),
    ]


def test_an_asset_that_is_absent_for_another_reason_opens_missing_jobs(state: State) -> None:
    start(state, [A])
    (job,) = add(state, replace(make_scene(), absent={"nir": Reason(Cause.JPEG2000, "only as JPEG 2000")}), [A])
    record(state, missing(job))
    assert [again.id for again in add(state, make_scene(), [A])] == [job.id]


def test_an_update_opens_missing_jobs_only(state: State) -> None:
    start(state, [A, B, C])
    jobs = add(state, make_scene(), [A, B, C])
    record(state, saved(jobs[0]), missing(jobs[1], measure=CLEAR), failed(jobs[2]))
    start(state, [A, B, C])
    assert add(state, make_scene(), [A, B, C]) == []
    (again,) = add(state, make_scene(updated="2023-01-01T00:00:00Z"), [A, B, C])
    assert (again.id, again.measure) == (jobs[1].id, CLEAR)
    assert state.counts(VISUAL).total == {"saved": 1, OPEN: 1, "failed": 1}


def test_an_asset_that_appears_opens_missing_jobs_and_spoils_nothing(state: State) -> None:
    start(state, [A, B])
    jobs = add(state, make_scene(assets=("scl",)), [A, B])
    record(state, cloudy(jobs[0]), missing(jobs[1], measure=CLEAR))
    assert [job.id for job in add(state, make_scene(), [A, B])] == [jobs[1].id]
    assert state.counts(VISUAL).total == {"cloudy": 1, OPEN: 1}


def test_an_answer_about_a_replaced_edition_is_not_believed(state: State) -> None:
    start(state, [A])
    (old,) = add(state, make_scene(), [A])
    (new,) = add(state, make_scene(version="v2"), [A])
    assert old.id == new.id
    record(state, saved(old))
    assert state.counts(VISUAL).total == {OPEN: 1}
    record(state, saved(new))
    assert state.counts(VISUAL).total == {"saved": 1}
    record(state, saved(old))  # it came late, and wrote over the file of the new one
    assert state.counts(VISUAL).total == {OPEN: 1}
    assert open_jobs(state) == []
    start(state, [A])
    (job,) = open_jobs(state)
    assert (job.measure, job.saved, job.scene.version) == (CLEAR, frozenset(), "v2")


def test_jobs_of_a_replaced_edition_are_not_begun(state: State) -> None:
    start(state, [A])
    (old,) = add(state, make_scene(), [A])
    assert state.begin([old], VISUAL)
    (new,) = add(state, make_scene(version="v2"), [A])
    assert not state.begin([old], VISUAL)
    assert state.begin([new], VISUAL)
    add(state, make_scene(version="v2", updated="2023-01-01T00:00:00Z"), [A])
    assert state.begin([new], VISUAL), "an update is no other edition"


@pytest.mark.parametrize("change", [{"mask": False}, {"format": "png"}])
def test_a_crop_of_another_kind_counts_no_more_once_its_job_is_begun_again(
    state: State, change: dict[str, Any]
) -> None:
    both = Selection(assets=("visual", "nir"), mask=True, format="gtiff")
    start(state, [A, B], both)
    jobs = add(state, make_scene(assets=("scl", "visual", "nir")), [A, B], both)
    record(state, *(saved(job, "visual", "nir") for job in jobs))
    other = replace(VISUAL, **change)
    start(state, [A, B], other)
    first, _ = open_jobs(state, selection=other)
    state.begin([first], other)
    start(state, [A, B], both)  # it was stopped, and the change undone
    rows = state.saved_rows(both)
    expected = {("a", "nir"), ("b", "nir"), ("b", "visual")}
    assert {(row.area, row.asset) for row in rows} == expected, "b was not begun, and nir not written"
    (again,) = open_jobs(state)
    assert (again.area, again.saved) == (A, frozenset({"nir"})), "only the picture may have been written over"
    state.begin([again], both)
    state.begin([replace(again, saved=frozenset())], both)
    start(state, [A, B], both)
    assert [job.saved for job in open_jobs(state)] == [frozenset({"nir"})], "crops of the wanted kind stay"


def test_an_answer_to_an_unknown_job_is_a_bug_and_keeps_nothing(state: State) -> None:
    start(state, [A])
    (job,) = add(state, make_scene(), [A])
    traffic = [Traffic(stage="tiles", asset="scl", use=Use.USEFUL, requests=1, bytes=10)]
    with pytest.raises(ValueError, match="not in this state"):
        state.record(BatchResult(outcomes=(saved(job), saved(replace(job, id=77)))), traffic)
    assert state.counts(VISUAL).total == {OPEN: 1}
    assert state.traffic() == ()


def test_failures_are_tried_again_by_five_runs_and_by_retry(state: State) -> None:
    start(state, [A, B, C])
    jobs = {job.area.name: job for job in add(state, make_scene(), [A, B, C])}
    record(state, failed(jobs["a"], transient=True), failed(jobs["b"]), missing(jobs["c"]))
    for _ in range(5):
        assert state.reopen_transient() == 1
        start(state, [A, B, C])
        (again,) = open_jobs(state)
        assert again.id == jobs["a"].id
        record(state, failed(again, transient=True))
    assert state.reopen_transient() == 0
    assert [(p.area, p.status, p.reason) for p in state.problems()] == [
        ("a", "failed", "timed out"),
        ("b", "failed", "timed out"),
        ("c", "missing", "visual: not there"),
    ]
    assert len(state.problems(limit=1)) == 1
    assert state.retry() == 2
    assert state.counts(VISUAL).total == {OPEN: 2, "missing": 1}
    assert state.retry(missing=True) == 1
    assert state.problems() == ()
    start(state, [A, B, C])
    record(state, *(failed(job, transient=True) for job in open_jobs(state)))
    assert state.reopen_transient() == 3  # tries are counted anew


# ---- headers of files ---------------------------------------------------------------------------------------


def fact_of(scene: Scene, asset: str = "scl", *, etag: str = '"1"', header: bytes = b"header") -> FileFact:
    return FileFact(asset=asset, href=scene.assets[asset].href, size=500, etag=etag, header=header)


def learn(state: State, job: Job, *facts: FileFact) -> None:
    state.record(BatchResult(outcomes=(cloudy(job),), files=facts), [])


def test_headers_are_told_to_whoever_asks_for_the_same_files(state: State) -> None:
    start(state, [A])
    scene, other = make_scene(), make_scene("S2A_33UUU_20220301_0_L2A", minutes=500)
    assert state.known_files(scene) == ()
    (job,), (second,) = add(state, scene, [A]), add(state, other, [A])
    learn(state, job, fact_of(scene), fact_of(scene, "visual", etag='W/"2"', header=b"another"))
    learn(state, second, fact_of(other, header=b"a third"))
    assert set(state.known_files(scene)) == {
        fact_of(scene),
        fact_of(scene, "visual", etag='W/"2"', header=b"another"),
    }
    assert state.known_files(other) == (fact_of(other, header=b"a third"),)
    assert state.known_files(replace(scene, collection="other")) == ()
    elsewhere = make_scene(host="https://mirror.example")
    assert state.known_files(elsewhere) == ()
    assert state.known_files(make_scene(assets=("visual",))) == (
        fact_of(scene, "visual", etag='W/"2"', header=b"another"),
    )


def test_a_fresh_header_replaces_the_old_one(state: State) -> None:
    start(state, [A, B, C])
    scene = make_scene()
    first, second, third = add(state, scene, [A, B, C])
    learn(state, first, fact_of(scene))
    learn(state, second, fact_of(scene, etag='"2"', header=b"fresh"))
    assert state.known_files(scene) == (fact_of(scene, etag='"2"', header=b"fresh"),)
    learn(state, third)
    assert state.known_files(scene) == (fact_of(scene, etag='"2"', header=b"fresh"),)


def test_a_file_that_has_no_etag_any_more_has_no_known_header(state: State) -> None:
    start(state, [A, B])
    scene = make_scene()
    first, second = add(state, scene, [A, B])
    learn(state, first, fact_of(scene))
    learn(state, second, fact_of(scene, etag="", header=b""))
    assert state.known_files(scene) == ()


def test_headers_of_a_replaced_edition_are_forgotten_and_not_learnt(state: State) -> None:
    start(state, [A])
    scene, later = make_scene(), make_scene(version="v2")
    (job,) = add(state, scene, [A])
    learn(state, job, fact_of(scene))
    (again,) = add(state, later, [A])
    assert state.known_files(later) == state.known_files(scene) == ()
    learn(state, job, fact_of(scene))
    assert state.known_files(later) == ()
    learn(state, again, fact_of(later))
    assert state.known_files(later) == (fact_of(later),)


def test_the_header_of_an_asset_that_went_and_came_back_elsewhere_is_not_told(state: State) -> None:
    start(state, [A])
    scene = make_scene()
    (job,) = add(state, scene, [A])
    learn(state, job, fact_of(scene, "visual"))
    add(state, make_scene(assets=("scl",)), [A])
    moved = replace(scene.assets["visual"], href="https://cogs.example/elsewhere.tif")
    back = replace(scene, assets={**scene.assets, "visual": moved})
    add(state, back, [A])
    assert state.known_files(back) == ()
    assert state.known_files(scene) == (fact_of(scene, "visual"),)


# ---- judging again ------------------------------------------------------------------------------------------

SAME, OTHER = VISUAL, Selection(assets=("visual", "nir"), mask=True, format="gtiff")


@pytest.mark.parametrize(
    ("before", "measure", "crop", "selection", "after"),
    [
        (Status.CLOUDY, CLOUDS, False, SAME, "cloudy"),
        (Status.CLOUDY, CLEAR, False, SAME, OPEN),
        (Status.CLOUDY, CLEAR, True, SAME, "saved"),
        (Status.CLOUDY, EMPTY, False, SAME, "nodata"),
        (Status.CLOUDY, None, False, SAME, "cloudy"),
        (Status.NODATA, EMPTY, False, SAME, "nodata"),
        (Status.NODATA, CLEAR, False, SAME, OPEN),
        (Status.NODATA, CLOUDS, False, SAME, "cloudy"),
        (Status.SAVED, CLEAR, True, SAME, "saved"),
        (Status.SAVED, CLEAR, True, OTHER, OPEN),
        (Status.SAVED, CLEAR, True, replace(SAME, mask=False), OPEN),
        (Status.SAVED, CLEAR, True, replace(SAME, format="png"), OPEN),
        (Status.SAVED, CLEAR, True, replace(SAME, assets=()), "saved"),
        (Status.SAVED, CLEAR, False, SAME, OPEN),
        (Status.SAVED, CLOUDS, True, SAME, "cloudy"),
        (Status.SAVED, None, True, SAME, "saved"),
        (Status.SAVED, None, True, OTHER, OPEN),
        (Status.OUTSIDE, None, False, SAME, "outside"),
        (Status.OUTSIDE, EMPTY, False, SAME, "outside"),
        (Status.MISSING, CLEAR, False, SAME, "missing"),
        (Status.MISSING, CLEAR, False, OTHER, OPEN),
        (Status.MISSING, CLEAR, False, replace(SAME, assets=()), "saved"),
        (Status.MISSING, CLOUDS, False, SAME, "cloudy"),
        (Status.MISSING, None, False, OTHER, OPEN),
        (Status.MISSING, None, False, SAME, "missing"),
        (Status.FAILED, CLEAR, False, SAME, "failed"),
        (Status.FAILED, CLEAR, True, OTHER, OPEN),
        (Status.FAILED, EMPTY, False, SAME, "nodata"),
        (Status.FAILED, None, False, OTHER, "failed"),
    ],
)
def test_what_follows_from_the_facts(
    state: State, before: Status, measure: CloudMeasure | None, crop: bool, selection: Selection, after: str
) -> None:
    start(state, [A])
    (job,) = add(state, make_scene(), [A])
    products = (make_product(job),) if crop else ()
    lacks = (lack("visual"),) if before is Status.MISSING else ()
    answer = Outcome(job=job, status=before, measure=measure, products=products, reason="why", lacks=lacks)
    record(state, answer)
    changes = state.update_statuses(each(judge), selection)
    assert changes == ({} if after == before else {(str(before), after): 1})
    assert state.counts(VISUAL).total == {after: 1}
    kept = state._db.execute("SELECT reason FROM jobs").fetchone()[0]
    lacks_none_now = after == "saved" and selection != SAME
    assert kept == ("why" if after == before and not lacks_none_now else "")
    assert state.update_statuses(each(judge), selection) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("saved", OPEN),
        ("cloudy", OPEN),
        ("nodata", OPEN),
        ("missing", OPEN),
        ("failed", OPEN),
        ("outside", "outside"),
    ],
)
def test_a_measurement_of_another_rule_is_not_judged(state: State, before: str, after: str) -> None:
    start(state, [A])
    (job,) = add(state, make_scene(), [A])
    record(state, Outcome(job=job, status=Status(before), measure=CLEAR, products=(make_product(job),)))
    other = replace(VISUAL, rule="dark", measured=("red",))

    def never(measured: CloudMeasure) -> Status | None:
        raise AssertionError(measured)

    assert state.update_statuses(each(never), other) == ({} if after == before else {(before, after): 1})
    assert [row.measure for row in state.job_rows(other)] == [None]
    assert [row.measure for row in state.job_rows(VISUAL)] == [CLEAR]
    state.begin_run("{}", "1.0")
    assert [job.measure for job in open_jobs(state, selection=other)] == [None] * (after == OPEN)
    assert state.update_statuses(each(never), other) == {}


def test_open_jobs_with_a_measurement_are_judged_too(state: State) -> None:
    start(state, [A, B])
    jobs = add(state, make_scene(), [A, B])
    record(state, failed(jobs[0], measure=CLEAR), failed(jobs[1]))
    state.retry()
    assert state.update_statuses(each(lambda _: Status.CLOUDY), VISUAL) == {("open", "cloudy"): 1}
    assert state.update_statuses(each(judge), VISUAL) == {("cloudy", "open"): 1}


def test_an_area_that_comes_back_is_compared_with_what_was_wanted_when_it_left(state: State) -> None:
    start(state, [A, B])
    jobs = add(state, make_scene(), [A, B])
    record(state, *(missing(job, measure=CLEAR) for job in jobs))
    assert start(state, [A], OTHER) == {("missing", "open"): 1}
    record(state, *(missing(job, measure=CLEAR) for job in open_jobs(state)))
    assert start(state, [A, B], OTHER) == {("missing", "open"): 1}
    assert [job.area for job in open_jobs(state)] == [B]


def test_many_jobs_are_judged_in_pages(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2async.state.statuses.PAGE", 7)
    areas = [make_area(f"area {i}") for i in range(40)]
    start(state, areas)
    jobs = add(state, make_scene(), areas)
    for i, job in enumerate(jobs):
        record(state, saved(job) if i % 3 == 0 else cloudy(job) if i % 3 == 1 else failed(job))
    assert state.update_statuses(each(lambda measured: None if judge(measured) else Status.CLOUDY), VISUAL) == {
        ("saved", "cloudy"): 14,
        ("cloudy", "open"): 13,
    }
    assert state.counts(VISUAL).total == {"cloudy": 14, OPEN: 13, "failed": 13}


# ---- twins --------------------------------------------------------------------------------------------------

OLD = make_scene("S2A_33UUU_20220101_0_L2A", baseline="03.01")
NEW = make_scene("S2A_33UUU_20220101_1_L2A", baseline="05.09", minutes=0.001 / 60)
HALF = make_scene("S2A_33UUU_20220101_2_L2A", baseline="05.10", minutes=0.2)


def index_items(state: State, *, newest: bool = True) -> list[str]:
    return [row.item for row in state.saved_rows(replace(VISUAL, newest_only=newest))]


def test_an_older_twin_that_comes_later_is_not_asked_for(state: State) -> None:
    start(state, [A])
    assert len(add(state, NEW, [A])) == 1
    assert add(state, OLD, [A]) == []
    assert len(add(state, HALF, [A])) == 1
    start(state, [A])
    assert len(add(state, OLD, [A], newest=False)) == 1
    assert len(open_jobs(state, newest=False)) == 2
    start(state, [A])
    assert [job.scene.id for job in open_jobs(state)] == [NEW.id, HALF.id]
    assert {job.scene.id for job in open_jobs(state, newest=False)} == {OLD.id, NEW.id, HALF.id}


def test_a_newer_twin_of_a_later_run_supersedes_when_it_has_an_answer(state: State) -> None:
    start(state, [A, B])
    for job in add(state, OLD, [A, B]):
        record(state, saved(job))
    start(state, [A, B])
    jobs = {job.area.name: job for job in add(state, NEW, [A, B])}
    assert index_items(state) == [OLD.id, OLD.id]
    record(state, failed(jobs["a"]), cloudy(jobs["b"]))
    assert [(row.area, row.item) for row in state.saved_rows(VISUAL)] == [("a", OLD.id)]
    assert index_items(state, newest=False) == [OLD.id, OLD.id]
    state.retry()
    start(state, [A, B])
    (again,) = open_jobs(state)
    record(state, saved(again))
    assert index_items(state) == [NEW.id]
    assert index_items(state, newest=False) == [OLD.id, NEW.id, OLD.id]


def test_a_newer_twin_whose_file_is_missing_hides_no_crop(state: State) -> None:
    start(state, [A])
    record(state, *map(saved, add(state, OLD, [A])))
    start(state, [A])
    (job,) = add(state, NEW, [A])
    record(state, missing(job, measure=CLEAR))
    assert index_items(state) == [OLD.id]
    assert [row.item for row in state.job_rows(VISUAL)] == [OLD.id, NEW.id]
    assert not any(crop.unwanted for crop in state.stored_crops(VISUAL)), "prune would remove it"
    (again,) = add(state, replace(NEW, updated="2023-01-01T00:00:00Z"), [A])
    record(state, saved(again))
    assert index_items(state) == [NEW.id]
    assert [crop.item for crop in state.stored_crops(VISUAL) if crop.unwanted] == [OLD.id]


def test_open_jobs_of_a_superseded_item_are_left_and_not_counted(state: State) -> None:
    start(state, [A, B])
    jobs = add(state, OLD, [A, B])
    record(state, failed(jobs[0]))
    start(state, [A, B])
    record(state, *(cloudy(job) for job in add(state, NEW, [A, B])))
    assert open_jobs(state) == []
    assert state.counts(VISUAL).total == {"cloudy": 2}
    assert state.counts(replace(VISUAL, newest_only=False)).total == {"cloudy": 2, "failed": 1, OPEN: 1}
    assert state.counts(VISUAL).areas[0].by_status == {"cloudy": 1}


def test_areas_that_the_newer_twin_does_not_have_are_asked_of_the_older_one(state: State) -> None:
    """A catalogue may drop the newer one, or it was searched for other areas only."""
    start(state, [A, B])
    record(state, *map(saved, add(state, NEW, [A])))
    (job,) = add(state, OLD, [A, B])
    assert (job.area, job.scene.id) == (B, OLD.id)
    assert state.counts(VISUAL).total == {"saved": 1, OPEN: 1}
    state.mark_crashed(Left(jobs=frozenset({job.id})))
    start(state, [A, B])
    assert state.crashed_jobs(VISUAL) == open_jobs(state)
    assert [again.id for again in open_jobs(state)] == [job.id]
    record(state, saved(job))
    assert [(row.area, row.item) for row in state.saved_rows(VISUAL)] == [
        ("a", NEW.id),
        ("b", OLD.id),
    ]
    add(state, NEW, [A, B])
    again_old = add(state, replace(OLD, version="v2"), [A, B])
    assert again_old == [], "the newer one has both now"
    start(state, [A, B])
    assert [again.scene.id for again in open_jobs(state)] == [NEW.id]
    assert state.crashed_jobs(VISUAL) == []
    assert state.counts(VISUAL).total == {"saved": 1, OPEN: 1}


def test_an_older_twin_is_asked_where_the_newer_one_has_no_file(state: State) -> None:
    start(state, [A, B])
    first, second = add(state, NEW, [A, B])
    record(state, missing(first), failed(second))
    (job,) = add(state, OLD, [A, B])
    assert (job.area, job.scene.id) == (A, OLD.id)
    assert state.counts(VISUAL).total == {"missing": 1, "failed": 1, OPEN: 1}
    told = [(row.area, row.item, row.status) for row in state.job_rows(VISUAL)]
    assert told == [("a", OLD.id, OPEN), ("a", NEW.id, "missing"), ("b", NEW.id, "failed")]
    (again,) = add(state, replace(NEW, updated="2023-01-01T00:00:00Z"), [A, B])
    assert again.id == first.id
    start(state, [A, B])
    assert [again.id for again in open_jobs(state)] == [first.id], "it may be there now"


def test_of_three_twins_the_newest_that_has_a_picture_counts(state: State) -> None:
    middle = make_scene("S2A_33UUU_20220101_3_L2A", baseline="04.00")
    start(state, [A])
    for scene in (OLD, middle):
        record(state, *map(saved, add(state, scene, [A])))
    (job,) = add(state, NEW, [A])
    record(state, missing(job))
    assert index_items(state) == [middle.id]
    state.retry(missing=True)
    record(state, saved(job))
    assert index_items(state) == [NEW.id]
    add(state, replace(middle, datetime=middle.datetime + timedelta(minutes=1)), [A])
    assert index_items(state) == [NEW.id, middle.id], (
        "it is another scene now, and the oldest still has a newer one"
    )


def test_another_collection_supersedes_nothing(state: State) -> None:
    start(state, [A])
    add(state, replace(NEW, collection="sentinel-2-c1-l2a"), [A])
    assert [job.scene.id for job in add(state, OLD, [A])] == [OLD.id]
    start(state, [A])
    assert len(open_jobs(state)) == 2


def test_of_three_twins_the_newest_stays_in_any_order(tmp_path: Path) -> None:
    third = make_scene("S2A_33UUU_20220101_3_L2A", baseline="04.00")
    for number, order in enumerate([(OLD, third, NEW), (NEW, third, OLD), (third, NEW, OLD), (third, OLD, NEW)]):
        with State.create_or_open(tmp_path / f"{number}.sqlite") as state:
            start(state, [A])
            for scene in order:
                add(state, scene, [A])
            kept = state._db.execute(
                "SELECT item FROM items WHERE id NOT IN (SELECT item FROM superseded)"
            ).fetchall()
            assert kept == [(NEW.id,)]


def test_an_item_that_turns_out_to_be_no_twin_hides_nothing(state: State) -> None:
    start(state, [A])
    add(state, OLD, [A])
    add(state, NEW, [A])
    add(state, replace(NEW, datetime=NEW.datetime + timedelta(minutes=1)), [A])
    start(state, [A])
    assert [job.scene.id for job in open_jobs(state)] == [OLD.id, NEW.id]


def test_an_item_whose_edition_changes_sides(state: State) -> None:
    start(state, [A])
    add(state, OLD, [A])
    add(state, NEW, [A])
    (job,) = add(state, replace(OLD, baseline="06.00", version="v2"), [A])
    assert job.scene.id == OLD.id
    start(state, [A])
    assert [job.id for job in open_jobs(state)] == [job.id]


# ---- hostile texts --------------------------------------------------------------------------------------------


def test_items_of_two_collections_with_one_id_have_crops_of_their_own_names(state: State) -> None:
    start(state, [A, B])
    (first,) = add(state, OLD, [A])
    record(state, saved(first))
    for number, collection in enumerate(("a", "z", "sentinel-2-l1c")):
        (job,) = add(state, replace(make_scene(f"S{number}", minutes=10), collection=collection), [A])
        assert job.stem == f"S{number}"
    other = replace(OLD, collection="sentinel-2-c1-l2a")
    assert add(state, other, []) == [], "it lies over no area"
    second, third = add(state, other, [A, B])
    odd = replace(OLD, collection="../x")
    (fourth,) = add(state, odd, [A])
    assert [job.stem for job in (first, second, third)] == [OLD.id, *[f"{OLD.id}_sentinel-2-c1-l2a"] * 2]
    assert re.fullmatch(f"{OLD.id}_[0-9a-f]{{16}}", fourth.stem), "no name of a folder"
    record(state, failed(second, transient=True), saved(third))
    assert index_items(state) == [OLD.id, OLD.id]
    (again,) = add(state, replace(OLD, version="v2"), [A])
    assert again.stem == OLD.id
    start(state, [A, B])
    resumed = {job.id: job.stem for job in open_jobs(state)}
    assert [resumed.get(job.id) for job in (first, second, third, fourth)] == [
        first.stem, None, None, fourth.stem,
    ]  # fmt: skip
    state.reopen_transient()
    assert {job.id: job.stem for job in open_jobs(state)}[second.id] == second.stem


def test_texts_are_only_texts(state: State) -> None:
    nasty = "'; DROP TABLE jobs; --\0\n\u202e🏞"
    area = make_area(nasty, folder="safe")
    start(state, [area])
    scene = replace(make_scene(nasty), platform=nasty, baseline='"', absent={nasty: Reason(Cause.JPEG2000, nasty)})
    (job,) = add(state, scene, [area])
    record(state, replace(failed(job), reason=nasty))
    state.retry()
    state = reopened(state)
    start(state, [area])
    (again,) = open_jobs(state)
    assert again.scene == scene
    assert state.counts(VISUAL).areas[0].name == nasty
    state.close()
