from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import pytest
import shapely

from s2async.clouds.scl import SclRule
from s2async.events import Estimate, SearchReport
from s2async.models import BatchResult, CloudMeasure, FileFact, Job, Outcome, Selection, Status, Traffic, Use
from s2async.state.reader import Ledger
from s2async.state.records import OPEN, FileSum, SavedRow, Square, Unheld
from s2async.state.writer import State
from tests.support.states import (
    CLEAR,
    CLOUDS,
    VISUAL,
    A,
    B,
    add,
    cloudy,
    failed,
    make_area,
    make_scene,
    record,
    saved,
    start,
)


def test_counts_have_every_active_area_by_name(state: State) -> None:
    areas = [make_area(name) for name in ("zebra", "Ödland", "acre", "Berlin")]
    start(state, areas)
    jobs = add(state, make_scene(), areas[:2])
    record(state, cloudy(jobs[0]))
    counts = state.counts(VISUAL)
    assert [(area.name, dict(area.by_status)) for area in counts.areas] == [
        ("Berlin", {}),
        ("acre", {}),
        ("zebra", {"cloudy": 1}),
        ("Ödland", {OPEN: 1}),
    ]
    assert (counts.total, counts.open) == ({"cloudy": 1, OPEN: 1}, 1)


def traffic(stage: str, asset: str, use: Use, requests: int, size: int) -> Traffic:
    return Traffic(stage=stage, asset=asset, use=use, requests=requests, bytes=size)


def test_traffic_is_rolled_up_by_stage_asset_and_use(state: State) -> None:
    assert state.last_run() is None
    assert state.traffic(last_run=True) == ()
    start(state, [A])
    (job,) = add(state, make_scene(), [A])
    state.add_traffic([traffic("search", "", Use.USEFUL, 2, 200)])
    state.record(BatchResult(outcomes=(saved(job),)), [traffic("tiles", "scl", Use.USEFUL, 1, 50)])
    state.add_traffic([traffic("tiles", "scl", Use.USEFUL, 1, 7), traffic("tiles", "scl", Use.WASTED, 0, 3)])
    state.end_run("finished")
    start(state, [A])
    state.add_traffic([traffic("search", "", Use.USEFUL, 1, 90)])
    assert state.traffic() == (
        traffic("search", "", Use.USEFUL, 3, 290),
        traffic("tiles", "scl", Use.USEFUL, 2, 57),
        traffic("tiles", "scl", Use.WASTED, 0, 3),
    )
    assert state.traffic(last_run=True) == (traffic("search", "", Use.USEFUL, 1, 90),)
    run = state.last_run()
    assert run is not None
    assert (run.id, run.ended, run.version) == (2, "", "1.0")
    state.end_run("stopped")
    run = state.last_run()
    assert run is not None
    assert run.how == "stopped"
    assert datetime.fromisoformat(run.started) <= datetime.fromisoformat(run.ended)


LIMITS = SclRule.from_percent(classes=[9], max_cloud=2, min_valid=95)


def measured(job: Job, held: int, *, valid: bool) -> Outcome:
    """An answer of nodata: so many of 100 pixels lie in the raster."""
    histogram = (0 if valid else held, 0, 0, 0, held if valid else 0, *[0] * 8)
    return Outcome(job=job, status=Status.NODATA, measure=CloudMeasure(histogram=histogram, total=100))


def outside(job: Job) -> Outcome:
    return Outcome(job=job, status=Status.OUTSIDE)


HELD: dict[str, tuple[Sequence[Callable[[Job], Outcome]], float | None]] = {
    "half in each raster": ([lambda j: measured(j, 50, valid=True), lambda j: measured(j, 60, valid=False)], 0.6),
    "just too little": ([lambda j: measured(j, 94, valid=True)], 0.94),
    "in none": ([outside, outside], 0.0),
    "beside one, partly in another": ([outside, lambda j: measured(j, 3, valid=True)], 0.03),
    "at the edge of a swath": (
        [lambda j: measured(j, 40, valid=True), lambda j: measured(j, 100, valid=False)],
        None,
    ),
    "just enough, without data": ([lambda j: measured(j, 95, valid=False)], None),
    "saved": ([outside, saved], None),
    "cloudy": ([lambda j: measured(j, 50, valid=True), cloudy], None),
    "mostly failed": ([outside, failed, failed], None),
    "failed once": ([outside, outside, failed], 0.0),
    "open": ([], None),
}


@pytest.mark.parametrize("kind", HELD)
def test_areas_that_no_raster_holds(state: State, kind: str) -> None:
    answers, share = HELD[kind]
    start(state, [A])
    for number in range(max(1, len(answers))):
        (job,) = add(state, make_scene(f"S2A_33UUU_2022010{number}_0_L2A", minutes=number), [A])
        if answers:
            record(state, answers[number](job))
    assert state.unheld(LIMITS) == (() if share is None else (Unheld(name=A.name, share=share),))


def test_areas_that_no_raster_holds_by_other_limits_and_names(state: State) -> None:
    areas = [make_area(name) for name in ("b", "a", "tiny")]
    start(state, areas)
    b, a, tiny = add(state, make_scene(), areas)
    record(state, measured(b, 50, valid=True), measured(a, 80, valid=False))
    record(state, Outcome(job=tiny, status=Status.NODATA, measure=CloudMeasure(histogram=(0,) * 13, total=0)))
    assert [area.name for area in state.unheld(LIMITS)] == ["a", "b"]
    assert [area.name for area in state.unheld(replace(LIMITS, min_valid=80_00))] == ["b"]
    assert state.unheld(replace(LIMITS, min_valid=0)) == ()
    state.sync_areas(areas[:1])
    assert [area.name for area in state.unheld(LIMITS)] == ["b"], "of the active areas"


def test_a_measure_of_an_older_edition_does_not_tell_where_a_raster_lies(state: State) -> None:
    start(state, [A])
    (job,) = add(state, make_scene(), [A])
    record(state, measured(job, 100, valid=False))
    (again,) = add(state, make_scene(version="v2"), [A])
    record(state, outside(again))
    assert state.unheld(LIMITS) == (Unheld(name=A.name, share=0.0),)


def test_estimates_are_remembered_by_search(state: State) -> None:
    start(state, [A])
    assert state.estimates() == {}
    first, second = Estimate(counted=8, ids="ab" * 16), Estimate(counted=9, ids="cd" * 16)
    for key, estimate in (("k1", first), ("k2", second), ("k1", second), ("k3", None)):
        state.record_search(SearchReport(label="a", key=key, complete=True, items=6, estimate=estimate))
    start(state, [A])
    assert state.estimates() == {"k1": second, "k2": second}
    with Ledger.read(state.path) as ledger:
        assert ledger.estimates() == state.estimates()


def test_searches_are_those_of_the_last_run(state: State) -> None:
    good = SearchReport(label="a, 2022", key="1", complete=True, items=7)
    bad = SearchReport(label="b, 2022", key="2", complete=False, items=3, reason="503")
    start(state, [A])
    state.record_search(bad)
    assert state.searches() == (bad,)
    start(state, [A])
    assert state.searches() == ()
    state.record_search(bad)
    state.record_search(good)
    state.record_search(good)
    assert state.searches() == (good, bad)


def test_whole_files(state: State) -> None:
    start(state, [A, B])
    sizes = {"S1": {"scl": 100, "visual": 1000}, "S2": {"scl": 120}, "S3": {"scl": 500}, "S4": {}}
    for i, (name, known) in enumerate(sizes.items()):
        assets = ("scl",) if name == "S4" else ("scl", "visual")
        jobs = add(state, make_scene(name, minutes=10 * i, assets=assets), [A, B])
        facts = tuple(FileFact(asset=key, href="", size=size, etag="") for key, size in known.items())
        outcomes = tuple(saved(job) for job in jobs) if name == "S1" else tuple(map(cloudy, jobs))
        state.record(BatchResult(outcomes=outcomes, files=facts), [])
    whole = state.whole_files(VISUAL)
    assert whole.opened == FileSum(files=4, bytes=1720)
    # SCL of S4 as the median of 100, 120 and 500; TCI of S2 and S3 as the only one known
    assert whole.all == FileSum(files=7, bytes=720 + 120 + 3000, estimated=3)
    assert whole.saved == FileSum(files=2, bytes=1100)
    assert state.whole_files(Selection(assets=("nir", "scl"), mask=True, format="gtiff")).all.files == 4
    add(state, make_scene("S1", version="v2"), [A, B])
    assert state.whole_files(VISUAL).opened == FileSum(
        files=2, bytes=620
    )  # the files of its new version are not yet
    start(state, [])
    assert state.whole_files(VISUAL).all == FileSum(files=0, bytes=0)


def test_the_median_of_two_is_between_them_and_unknown_sizes_are_said(state: State) -> None:
    start(state, [A])
    for i, size in enumerate((100, 200, None)):
        jobs = add(state, make_scene(f"S{i}", minutes=10 * i), [A])
        facts = (FileFact(asset="scl", href="", size=size, etag=""),) if size else ()
        state.record(BatchResult(outcomes=tuple(map(cloudy, jobs)), files=facts), [])
    assert state.whole_files(VISUAL).all == FileSum(files=6, bytes=450, estimated=1, unknown=3)


def test_saved_rows_are_valid_crops_by_area_and_time(state: State) -> None:
    both = Selection(assets=("visual", "nir"), mask=True, format="gtiff")
    areas = [make_area("b"), make_area("a")]
    start(state, areas, both)
    for name, minutes in (("late", 50), ("early", 10)):
        scene = make_scene(name, minutes=minutes, assets=("scl", "visual", "nir"))
        record(state, *(saved(job, "visual", "nir") for job in add(state, scene, areas, both)))
    found = list(state.saved_rows(both))
    assert [(row.area, row.item, row.asset) for row in found] == [
        (area, item, asset) for area in "ab" for item in ("early", "late") for asset in ("nir", "visual")
    ]
    row = found[1]
    assert (row.fingerprint, row.folder, row.file) == (areas[1].fingerprint, "a", "early_visual.tif")
    assert (row.collection, row.platform, row.grid, row.baseline) == (
        "sentinel-2-l2a",
        "sentinel-2a",
        "33UUU",
        "04.00",
    )
    assert row.datetime == make_scene(minutes=10).datetime
    assert (row.scene_cloud, row.measure, row.epsg, row.bytes) == (12.5, CLEAR, 32633, 1000)
    assert row.href == "https://cogs.example/early/VISUAL.tif"
    assert re.fullmatch("[0-9a-f]{64}", row.sha256)
    assert len(list(state.saved_rows(replace(both, mask=False)))) == 0
    assert len(list(state.saved_rows(replace(both, format="png")))) == 0


def test_job_rows_are_all_jobs_and_each_valid_crop(state: State) -> None:
    both = Selection(assets=("visual", "nir"), mask=True, format="gtiff")
    start(state, [A, B], both)
    scene = make_scene(assets=("scl", "visual", "nir"))
    first, second = add(state, scene, [A, B], both)
    record(state, saved(first, "visual", "nir"), cloudy(second))
    _, broken = add(state, make_scene("later", minutes=10), [A, B], both)
    record(state, failed(broken, measure=CLEAR))
    found = list(state.job_rows(both))
    assert [(row.area, row.item, row.status, row.reason, getattr(row, "asset", "")) for row in found] == [
        ("a", scene.id, "saved", "", "nir"),
        ("a", scene.id, "saved", "", "visual"),
        ("a", "later", OPEN, "", ""),
        ("b", scene.id, "cloudy", "", ""),
        ("b", "later", "failed", "timed out", ""),
    ]
    assert [row.measure for row in found] == [CLEAR, CLEAR, None, CLOUDS, CLEAR]
    assert found[:2] == list(state.saved_rows(both))
    other_kind = list(state.job_rows(replace(both, mask=False)))
    assert (other_kind[0].area, other_kind[0].status, len(other_kind)) == ("a", "saved", 4)
    assert not any(isinstance(row, SavedRow) for row in other_kind)
    start(state, [B], both)
    assert {row.area for row in state.job_rows(both)} == {"b"}


def test_job_rows_leave_out_what_a_newer_twin_has_answered(state: State) -> None:
    old = make_scene("S2A_33UUU_20220101_0_L2A", baseline="03.01")
    new = make_scene("S2A_33UUU_20220101_1_L2A", baseline="05.09")
    start(state, [A, B])
    record(state, *map(cloudy, add(state, old, [A, B])))
    start(state, [A, B])
    jobs = add(state, new, [A, B])
    record(state, cloudy(jobs[0]))

    def told(*, newest: bool) -> list[tuple[str, str, str]]:
        return [
            (row.area, row.item[-5], row.status) for row in state.job_rows(replace(VISUAL, newest_only=newest))
        ]

    assert told(newest=True) == [("a", "1", "cloudy"), ("b", "0", "cloudy"), ("b", "1", OPEN)]
    assert len(told(newest=False)) == 4


def test_a_polygon_is_told_by_its_fingerprint(state: State) -> None:
    start(state, [A])
    assert shapely.from_wkb(state.polygon(A.fingerprint)).equals(A.polygon)


def test_the_jobs_of_one_area_are_told_apart(state: State) -> None:
    start(state, [A, B])
    for number in range(2):
        one, other = add(state, make_scene(f"S{number}", minutes=10 * number), [A, B])
        record(state, saved(one), cloudy(other))
    every = list(state.job_rows(VISUAL))
    for area in (A, B):
        of_one = state.job_rows(VISUAL, area=area)
        assert list(of_one) == [row for row in every if row.fingerprint == area.fingerprint]
    assert not list(state.job_rows(VISUAL, area=make_area("unknown")))


def test_active_areas_and_the_squares_of_their_items(state: State) -> None:
    start(state, [B, A])
    assert state.squares() == ()
    for number, grid in enumerate(("33UVU", "33UUU", "33UVU")):
        scene = replace(make_scene(f"S{number}", minutes=10 * number), grid=grid)
        (job,) = add(state, scene, [A])
        fact = FileFact(asset="scl", href=scene.assets["scl"].href, size=9, etag="e", header=b"packed")
        state.record(BatchResult(outcomes=(cloudy(job),), files=(fact,) if number else ()), [])
    assert list(state.areas()) == [A, B]
    assert state.squares() == (
        Square(grid="33UUU", items=1, header=b"packed"),
        Square(grid="33UVU", items=2, header=b"packed"),
    )
    start(state, [B])
    assert (list(state.areas()), state.squares()) == ([B], ())


def test_all_runs_are_told_also_one_that_has_not_ended(state: State) -> None:
    assert state.runs() == ()
    start(state, [A])
    state.end_run("finished")
    start(state, [A])
    first, second = state.runs()
    assert (first.id, first.how, second.id, second.ended) == (1, "finished", 2, "")
    assert first.ended >= first.started
    assert second == state.last_run()
