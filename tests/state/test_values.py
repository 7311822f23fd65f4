"""Values in the state: stored, valid for an edition, and opened again by counts of jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from s2async.catalog.providers import custom
from s2async.causes import Cause, Lack
from s2async.clouds.scl import SclRule
from s2async.models import BandEvidence, BatchResult, Job, Outcome, Selection, Status
from s2async.reflectance.decision import Convention
from s2async.reflectance.evidence import Evidence
from s2async.state import reader_sql, statuses
from s2async.state.records import OPEN
from s2async.state.value_choice import Asking
from s2async.state.writer import State
from s2async.zonal.wanted import Variable, Wanted
from tests.support.states import A, B, C, add, make_area, make_product, make_scene, read_while
from tests.support.values import ALL, LAX, NDVI, NDWI, RED, SELECTION, WANTED, measure, numbers, valued, wanting

STRICT = SclRule.from_percent(classes=[3, 8, 9], max_cloud=2, min_valid=50)


def begin(state: State, areas: Sequence[object] = (A, B, C)) -> None:
    state.sync_areas(areas)  # type: ignore[arg-type]
    state.commit_folders()
    judged(state, replace(SELECTION, values=None), None)
    state.begin_run("{}", "1.0")


def record(state: State, *outcomes: Outcome, wanted: Wanted | None = WANTED) -> None:
    state.record(BatchResult(outcomes=outcomes), [], wanted=wanted)


def judged(
    state: State, selection: Selection = SELECTION, rule: SclRule | None = LAX, strict: SclRule = STRICT
) -> dict[tuple[str, str], int]:
    """What a run does before its first request, with settings that name both rules."""
    settings = f"{strict!r} {rule!r}"
    return state.update_statuses(
        strict.verdicts, selection, settings, judge_values=rule.verdicts if rule else None
    )


def opened(state: State, selection: Selection = SELECTION) -> list[Job]:
    state.begin_run("{}", "1.0")
    return state.open_jobs(selection)[0]


def asked(wanted: Wanted, *variables: Variable) -> set[str]:
    return {wanted.key(variable) for variable in variables or wanted.variables}


@pytest.fixture
def jobs(state: State) -> list[Job]:
    """Three areas of a scene: one is saved, one is cloudy, and one is too cloudy for values."""
    begin(state)
    found = add(state, make_scene(assets=ALL), [A, B, C], SELECTION)
    clear = valued(found[0], status=Status.SAVED, measured=measure())
    record(
        state,
        replace(clear, products=(make_product(found[0]),)),
        valued(found[1], measured=measure(cloud=100)),
        Outcome(job=found[2], status=Status.CLOUDY, measure=measure(cloud=900)),
    )
    assert judged(state) == {}, "what is recorded follows from the facts"
    return found


# ---- storing ----------------------------------------------------------------------------------------------


def rows(
    state: State, selection: Selection = SELECTION, rule: SclRule = LAX
) -> dict[tuple[str, str], list[float]]:
    """The first statistic and all counts by area and variable."""
    wanted = selection.values
    assert wanted is not None
    found = {}
    for page in state.value_pages(Asking(wanted, selection, rule.verdicts)):
        for at in range(len(page.place)):
            key = page.places[page.place[at]].name, wanted.variables[page.variable[at]].name
            found[key] = [*page.statistics[at].tolist(), *page.counts[at].tolist()]
    return found


def test_values_come_back_as_they_were(state: State, jobs: list[Job]) -> None:
    expected = {}
    for job in jobs[:2]:
        for variable in WANTED.variables:
            one = numbers(job, variable)
            expected[job.area.name, variable.name] = [*one.statistics, *one.counts]
    assert rows(state) == expected
    totals = state.values(Asking(WANTED, SELECTION, LAX.verdicts))
    assert (totals.dates, totals.rows, totals.scenes, totals.doubts) == (2, 4, 1, ())


def test_values_that_a_run_writes_while_they_are_counted_are_counted_next_time(
    state: State, jobs: list[Job]
) -> None:
    def write() -> None:
        later = make_scene("later", minutes=1440, assets=ALL)
        record(state, *map(valued, add(state, later, [A, B, C], SELECTION)))

    asking = Asking(WANTED, SELECTION, LAX.verdicts)
    with read_while(state.path, write, after=reader_sql.SENSED) as ledger:
        assert [ledger.values(asking).dates for _ in range(2)] == [2, 5]


def test_jobs_bring_what_they_have(state: State, jobs: list[Job]) -> None:
    more = wanting(variables=(RED, NDVI, NDWI))
    assert judged(state, more) == {("saved", OPEN): 1, ("cloudy", OPEN): 1}
    found = opened(state, more)
    assert {job.area.name: job.valued for job in found} == dict.fromkeys("ab", frozenset(asked(WANTED, RED, NDVI)))
    known = {job.fingerprint: job.valued for job in state.known_jobs(jobs[0].scene, more)}
    assert known[A.fingerprint] == asked(WANTED, RED, NDVI)
    assert known[C.fingerprint] == frozenset()


def test_a_new_edition_makes_values_invalid(state: State, jobs: list[Job]) -> None:
    again = add(state, make_scene(assets=ALL, version="v2"), [], SELECTION)
    assert [job.valued for job in again] == [frozenset()] * 3
    assert rows(state) == {}


def test_values_of_another_question_are_not_recorded(state: State, jobs: list[Job]) -> None:
    other = replace(WANTED, classes=(3,))
    record(state, valued(jobs[0], other))
    assert rows(state, wanting(classes=(3,))) == {}


def test_jobs_that_are_left_keep_their_results(state: State) -> None:
    begin(state)
    (job,) = add(state, make_scene(assets=ALL), [A], SELECTION)
    left = replace(job, measure=measure(), results=(numbers(job, RED),))
    state.record(BatchResult(outcomes=(), left=(left,)), [], wanted=WANTED)
    (again,) = opened(state)
    assert again.valued == asked(WANTED, RED)


def test_a_job_stays_open_that_lacks_an_asset_which_a_search_has_found_meanwhile(state: State) -> None:
    begin(state)
    bare = make_scene(assets=("red", "visual"))  # as from the tags of a crop
    (job,) = add(state, bare, [A], SELECTION)
    assert add(state, make_scene(assets=ALL), [A], SELECTION) == []
    lack = Lack(asset="scl", cause=Cause.NO_ASSET, text="why")
    outcome = Outcome(
        job=job, status=Status.SAVED, measure=measure(), products=(make_product(job),), lacks=(lack,)
    )
    record(state, outcome)
    assert state.counts(SELECTION).total == {OPEN: 1}
    (again,) = opened(state)
    assert (again.saved, again.measure) == (frozenset({"visual"}), measure())
    assert not again.lacks
    unknown = Lack(asset="swir16", cause=Cause.NO_ASSET, text="why")
    record(state, replace(outcome, lacks=(unknown,)))
    assert state.counts(SELECTION).total == {"saved": 1}


def test_what_is_pruned_has_no_values(state: State, jobs: list[Job]) -> None:
    state.sync_areas([B, C])
    state.commit_folders()
    state.forget_removed()
    state.sync_areas([A, B, C])
    assert rows(state).keys() == {("b", "red"), ("b", "NDVI")}


def test_values_of_many_blocks_are_told_by_name(state: State) -> None:
    areas = [make_area(f"area {number:03}") for number in range(300)]
    begin(state, areas)
    scenes = [make_scene(f"S{number}", minutes=9000 * number, assets=ALL) for number in range(2)]
    jobs = [job for scene in scenes for job in add(state, scene, areas[::-1], SELECTION)]
    record(state, *map(valued, jobs[:300]))
    record(state, *map(valued, jobs[300:]))
    (page,) = state.value_pages(Asking(WANTED, SELECTION, LAX.verdicts))
    assert len(page.place) == 300 * 2 * 2
    order = list(zip(page.place.tolist(), page.item.tolist(), page.variable.tolist(), strict=True))
    assert order == sorted(order)
    by_key = {(job.area.name, job.scene.id): job for job in jobs}
    for at in range(0, len(order), 37):
        job = by_key[page.places[page.place[at]].name, page.items[page.item[at]].item]
        one = numbers(job, WANTED.variables[page.variable[at]])
        assert page.statistics[at].tolist() == list(one.statistics)
    (one_area,) = state.value_pages(Asking(WANTED, SELECTION, LAX.verdicts), area="area 007")
    assert {place.name for place in one_area.places} == {"area 007"}
    assert len(one_area.place) == 4


def test_small_pages_tell_the_same(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    areas = [make_area(f"area {number:02}") for number in range(20)]
    begin(state, areas)
    record(state, *map(valued, add(state, make_scene(assets=ALL), areas, SELECTION)))
    whole = rows(state)
    monkeypatch.setattr("s2async.state.value_pages.PAGE_BYTES", 1)
    assert len(list(state.value_pages(Asking(WANTED, SELECTION, LAX.verdicts)))) == 20
    assert rows(state) == whole


# ---- which jobs are opened --------------------------------------------------------------------------------


def test_nothing_is_opened_for_the_same_settings(state: State, jobs: list[Job]) -> None:
    assert judged(state) == {}
    assert state.update_statuses(STRICT.verdicts, SELECTION, judge_values=LAX.verdicts) == {}
    assert opened(state) == []


def test_a_section_that_is_new_opens_what_counts_by_its_rule(state: State, jobs: list[Job]) -> None:
    begin(state)
    other = add(state, make_scene("S2", minutes=20, assets=ALL), [A, B, C], SELECTION)
    record(
        state,
        Outcome(job=other[0], status=Status.SAVED, measure=measure(), products=(make_product(other[0]),)),
        Outcome(job=other[1], status=Status.CLOUDY, measure=measure(cloud=300)),
        Outcome(job=other[2], status=Status.CLOUDY, measure=measure(cloud=900)),
    )
    assert judged(state, rule=SclRule.from_percent(classes=[3, 8, 9], max_cloud=79, min_valid=50)) == {
        ("saved", OPEN): 1,
        ("cloudy", OPEN): 1,
    }
    assert {(job.area.name, job.scene.id) for job in opened(state)} == {("a", "S2"), ("b", "S2")}


def test_a_higher_limit_opens_dates_that_count_now(state: State, jobs: list[Job]) -> None:
    assert judged(state, rule=SclRule.from_percent(classes=[3, 8, 9], max_cloud=95, min_valid=50)) == {
        ("cloudy", OPEN): 1
    }
    assert [job.area.name for job in opened(state)] == ["c"]


def test_a_lower_limit_hides_values_and_opens_nothing(state: State, jobs: list[Job]) -> None:
    low = SclRule.from_percent(classes=[3, 8, 9], max_cloud=10, min_valid=50)
    assert judged(state, rule=low) == {}
    assert rows(state, rule=low).keys() == {("a", "red"), ("a", "NDVI")}
    assert rows(state).keys() == {(area, name) for area in "ab" for name in ("red", "NDVI")}


def test_removing_the_section_opens_nothing_and_loses_nothing(state: State, jobs: list[Job]) -> None:
    assert judged(state, replace(SELECTION, values=None), None) == {}
    assert opened(state) == []
    assert judged(state) == {}
    assert len(rows(state)) == 4


def test_fewer_statistics_are_served_by_those_that_are_there(state: State, jobs: list[Job]) -> None:
    fewer = wanting(statistics=("min", "mean"))
    assert judged(state, fewer) == {}
    found = rows(state, fewer)
    assert found["b", "NDVI"][:2] == [numbers(jobs[1], NDVI).statistics[at] for at in (2, 0)]
    assert judged(state, wanting(statistics=("mean", "p10"))) == {("saved", OPEN): 1, ("cloudy", OPEN): 1}


def test_other_classes_ask_only_where_a_pixel_has_one(state: State) -> None:
    begin(state)
    jobs = add(state, make_scene(assets=ALL), [A, B, C], SELECTION)
    record(
        state,
        valued(jobs[0], measured=measure(cloud=100)),
        valued(jobs[1], measured=measure(cloud=100, shadow=1)),
        valued(jobs[2], measured=measure(cloud=50)),
    )
    for classes in ((8, 9), (3, 8, 9)):  # and back again
        other = SclRule.from_percent(classes=classes, max_cloud=80, min_valid=50)
        strict = replace(STRICT, classes=frozenset(classes))
        selection = wanting(classes=classes)
        changes = judged(state, selection, other, strict)
        back = 3 in classes
        assert changes == ({(OPEN, "cloudy"): 1} if back else {("cloudy", OPEN): 1})
        assert {area for area, _ in rows(state, selection, other)} == ({*"abc"} if back else {*"ac"})


def test_classes_at_the_edge_that_no_measurement_counts_matter_as_well(state: State) -> None:
    begin(state)
    jobs = add(state, make_scene(assets=ALL), [A, B], SELECTION)
    for job, classes in zip(jobs, (1 << 4 | 1 << 9, 1 << 4 | 1 << 9 | 1 << 7), strict=True):
        results = tuple(numbers(job, variable, classes=classes) for variable in WANTED.variables)
        record(state, replace(valued(job), results=results))
    wider = wanting(classes=(3, 7, 8, 9))
    assert judged(state, wider) == {("cloudy", OPEN): 1}
    assert [job.area.name for job in opened(state, wider)] == ["b"]


def test_two_names_of_one_formula_are_taken_over_together(state: State) -> None:
    begin(state)
    (job,) = add(state, make_scene(assets=ALL), [A], SELECTION)
    record(state, valued(job))
    other = wanting(classes=(9,), variables=(RED, NDVI, replace(NDVI, name="MINE")))
    assert judged(state, other) == {}
    assert rows(state, other).keys() == {("a", name) for name in ("red", "NDVI", "MINE")}


def test_values_of_other_classes_keep_more_statistics(state: State) -> None:
    begin(state)
    (job,) = add(state, make_scene(assets=ALL), [A], SELECTION)
    record(state, valued(job))
    other = wanting(classes=(9,), statistics=("mean",))
    assert judged(state, other) == {}
    assert judged(state, wanting(classes=(9,))) == {}, "all statistics were taken over"


@pytest.mark.parametrize("missing", ["nir", "scl", "values"])
def test_values_that_cannot_be_had_open_nothing(state: State, missing: str) -> None:
    begin(state)
    (job,) = add(state, make_scene(assets=ALL), [A], SELECTION)
    lack = Lack(asset=missing, cause=Cause.NOT_THERE, text="why")
    have = [RED] if missing == "nir" else []
    record(state, replace(valued(job, variables=have), lacks=(lack,)))
    assert judged(state) == {}
    more = wanting(variables=(RED, NDVI, NDWI))  # NDWI needs nir as well
    assert judged(state, more) == {}
    others = wanting(variables=(RED, Variable(name="green", formula="green", bands=("green",))))
    assert judged(state, others) == ({("cloudy", OPEN): 1} if missing == "nir" else {})


def test_jobs_of_overpasses_that_do_not_count_stay(state: State, jobs: list[Job]) -> None:
    one = replace(wanting(variables=(NDWI,)), one_per_overpass=True)
    record(state, Outcome(job=jobs[1], status=Status.DUPLICATE, measure=measure(cloud=100)))
    assert judged(state, one) == {("saved", OPEN): 1}
    assert rows(state, replace(SELECTION, one_per_overpass=True)).keys() == {("a", "red"), ("a", "NDVI")}


def test_failed_jobs_are_not_opened_for_values(state: State) -> None:
    begin(state)
    (job,) = add(state, make_scene(assets=ALL), [A], SELECTION)
    record(state, Outcome(job=job, status=Status.FAILED, reason="why", measure=measure()))
    assert judged(state) == {}


def test_a_missing_crop_does_not_matter_for_values(state: State) -> None:
    begin(state)
    (job,) = add(state, make_scene(assets=ALL), [A], SELECTION)
    lack = Lack(asset="visual", cause=Cause.NOT_THERE, text="why")
    record(state, Outcome(job=job, status=Status.MISSING, reason="why", measure=measure(), lacks=(lack,)))
    assert judged(state) == {("missing", OPEN): 1}
    (again,) = opened(state)
    assert again.lacks[0].asset == "visual"
    record(state, valued(again, status=Status.MISSING, measured=measure()))
    assert judged(state) == {}


def test_a_newer_edition_takes_the_place_of_an_older_item(state: State) -> None:
    begin(state)
    old = make_scene("S2A_T33UUU_20220101T100000_L2A", assets=ALL, datatake="S2A_20220101T095000")
    new = make_scene(
        "S2A_T33UUU_20220101T100001_L2A", assets=ALL, datatake="S2A_20220101T095000", baseline="05.10"
    )
    (first,) = add(state, old, [A], SELECTION)
    record(state, valued(first))
    (second,) = add(state, new, [A], SELECTION)
    assert rows(state)["a", "red"][0] == numbers(first, RED).statistics[0], "until the newer one has an answer"
    record(state, valued(second, variables=[RED]))
    found = rows(state)
    assert found["a", "red"][0] == numbers(second, RED).statistics[0]
    assert found["a", "NDVI"][0] == numbers(first, NDVI).statistics[0]
    record(state, Outcome(job=second, status=Status.NODATA, measure=measure(good=1)))


# ---- offsets ----------------------------------------------------------------------------------------------

DARK, BRIGHT = Evidence(6_000, 500, 0), Evidence(6_000, 0, 0)


def early(name: str = "S") -> object:
    """A scene of early 2022 whose file may or may not have an offset: pixels decide."""
    scene = make_scene(name, assets=ALL, baseline="04.00", host="https://sentinel-cogs.s3.us-west-2.amazonaws.com")
    return replace(scene, datetime=datetime(2022, 2, 1, 10, tzinfo=UTC))


def seen(outcome: Outcome, evidence: Evidence, assets: Collection[str] = ("red",)) -> Outcome:
    shown = tuple(BandEvidence(asset=asset, evidence=evidence) for asset in assets)
    return replace(outcome, results=(*outcome.results, *shown))


def test_values_follow_the_offset_that_all_pixels_decide(state: State) -> None:
    begin(state)
    scene = early()
    jobs = add(state, scene, [A, B, C], SELECTION)  # type: ignore[arg-type]
    record(state, seen(valued(jobs[0], offset=-1000), BRIGHT, ("red", "nir")))
    assert state.dropped == 0
    assert state.values(Asking(WANTED, SELECTION, LAX.verdicts)).doubts[0].basis == "doubtful"
    assert judged(state) == {}
    record(state, seen(valued(jobs[1], offset=0), DARK, ("red", "nir")))
    assert state.evidence(scene) == Evidence(24_000, 1_000, 0)  # type: ignore[arg-type]
    assert state.dropped == 1
    assert rows(state).keys() == {("b", "red"), ("b", "NDVI")}
    assert judged(state) == {("cloudy", OPEN): 1}
    (page,) = state.value_pages(Asking(WANTED, SELECTION, LAX.verdicts))
    assert np.array_equal(page.offset, [0, 0])
    assert page.items[0].bands["red"].basis == "pixels"
    assert state.values(Asking(WANTED, SELECTION, LAX.verdicts)).doubts == ()


def test_values_follow_an_offset_that_was_decided_while_they_were_computed(state: State) -> None:
    begin(state)
    jobs = add(state, early(), [A, B], SELECTION)  # type: ignore[arg-type]
    record(state, seen(valued(jobs[0], offset=0), replace(DARK, pixels=10_000), ("red", "nir")))
    record(state, seen(valued(jobs[1], offset=-1000), replace(BRIGHT, pixels=100), ("red", "nir")))
    assert state.dropped == 1
    assert rows(state).keys() == {("a", "red"), ("a", "NDVI")}
    assert judged(state) == {("cloudy", OPEN): 1}


def test_an_area_shows_its_pixels_once(state: State) -> None:
    begin(state)
    (job,) = add(state, early(), [A], SELECTION)  # type: ignore[arg-type]
    for _ in range(2):
        record(state, seen(valued(job, offset=-1000), DARK))
    assert state.evidence(job.scene) == DARK


def test_what_the_user_says_about_offsets_drops_other_values(state: State) -> None:
    begin(state)
    (job,) = add(state, early(), [A], SELECTION)  # type: ignore[arg-type]
    record(state, seen(valued(job, offset=-1000), BRIGHT, ("red", "nir")))
    catalog = custom("https://stac.example/v1", job.scene.collection, {"scl": "scl"}, offsets=Convention.NONE)
    state.note_convention(catalog)
    assert (state.dropped, rows(state)) == (1, {})
    assert judged(state) == {("cloudy", OPEN): 1}
    assert state.dropped == 0, "the run that begins computes them again, not the next one"


def test_pixels_of_a_band_that_is_cut_and_read_count_once(state: State) -> None:
    begin(state)
    (job,) = add(state, early(), [A], SELECTION)  # type: ignore[arg-type]
    record(state, seen(valued(job, offset=-1000), DARK))
    with state._writing() as db:
        from s2async.state import answers

        answers.add_evidence(db, job.id, "red", Evidence(5_000, 5, 0), None)
    assert state.evidence(job.scene) == DARK


# ---- what is told -----------------------------------------------------------------------------------------


def test_bands_that_values_lack_are_told_with_the_files_that_crops_lack(state: State) -> None:
    begin(state)
    jobs = add(state, make_scene(assets=ALL), [A, B], SELECTION)
    lack = Lack(asset="nir", cause=Cause.NOT_THERE, text="why")
    clear = valued(jobs[0], status=Status.SAVED, measured=measure(), variables=[RED])
    record(state, replace(clear, lacks=(lack,)), replace(valued(jobs[1], variables=[RED]), lacks=(lack,)))
    assert state.without(SELECTION).saved == {("nir", Cause.NOT_THERE): 1}
    assert [(one.area, one.status, one.asset) for one in state.lacking(SELECTION)] == [
        ("a", "saved", "nir"),
        ("b", "cloudy", "nir"),
    ]
    without = replace(SELECTION, values=None)
    assert (state.without(without).saved, state.lacking(without)) == ({}, ())
    assert state.reopen_due(without, now=2**40) == 0
    with state._writing() as db:
        db.execute("UPDATE absences SET due = 1")
    assert state.reopen_due(SELECTION, now=2**40) == 2


def test_jobs_that_the_next_run_opens_are_counted_before_it(state: State, jobs: list[Job]) -> None:
    def count(selection: Selection = SELECTION, rule: SclRule = LAX) -> int:
        assert selection.values is not None
        return state.valueless(Asking(selection.values, selection, rule.verdicts))

    higher = SclRule.from_percent(classes=[3, 8, 9], max_cloud=95, min_valid=50)
    assert (count(), count(wanting(variables=(NDWI,))), count(rule=higher)) == (0, 2, 1)
    lack = Lack(asset="green", cause=Cause.NOT_THERE, text="why")
    record(state, replace(valued(jobs[1]), lacks=(lack,)))
    assert count(wanting(variables=(NDWI,))) == 1
    for selection, rule in ((SELECTION, LAX), (wanting(variables=(NDWI,)), LAX), (SELECTION, higher)):
        expected = count(selection, rule)
        with state._writing() as db:
            db.execute("SAVEPOINT before")
            changes = statuses.update_all(db, STRICT.verdicts, selection, "", rule.verdicts)
            db.execute("ROLLBACK TO before")
        assert sum(changes.values()) == expected


def test_whole_files_count_the_bands_of_scenes_with_values(state: State, jobs: list[Job]) -> None:
    add(state, make_scene("S2", minutes=20, assets=ALL), [A], SELECTION)
    whole = state.whole_files(SELECTION)
    assert (whole.all.files, whole.saved.files) == (2 * 4, 4), "scl, visual, red and nir"
    plain = state.whole_files(replace(SELECTION, values=None))
    assert (plain.all.files, plain.saved.files) == (2 * 2, 2)
