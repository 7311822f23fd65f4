"""What a report tells, from rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from s2async.models import CloudMeasure, Status
from s2async.report import data
from s2async.report.data import Scatter, looks, run_seconds, saving
from s2async.state.records import OPEN, FileSum, JobRow, RunRow, SavedRow, WholeFiles
from tests.support.looks import look, watched

NOON = datetime(2022, 3, 1, 12, tzinfo=UTC)
HALF = CloudMeasure(histogram=(50, 0, 0, 0, 25, 0, 0, 0, 0, 25, 0, 0, 0), total=100)


def job(item: str, *, days: int = 0, measure: CloudMeasure | None = HALF, status: str = "cloudy") -> JobRow:
    return JobRow(**_job(item, days, measure, status))


def crop(item: str, asset: str, *, days: int = 0) -> SavedRow:
    told = _job(item, days, HALF, "saved")
    return SavedRow(**told, asset=asset, href="", file=f"{item}_{asset}.tif", bytes=1, sha256="", epsg=32633)


def _job(item: str, days: int, measure: CloudMeasure | None, status: str) -> dict[str, Any]:
    return {
        "area": "a", "fingerprint": "0" * 16, "folder": "a", "home": "a", "item": item, "collection": "c",
        "datetime": NOON + timedelta(days=days), "platform": "", "grid": "33UUU", "baseline": "",
        "scene_cloud": 12.0, "measure": measure, "status": status,
    }  # fmt: skip


def test_a_job_with_several_crops_is_one_look_and_shows_the_picture() -> None:
    rows = [job("x"), crop("y", "nir"), crop("y", "visual"), crop("z", "nir", days=1)]
    found = list(looks(rows, classes=[9]))
    assert [(one.item, one.status, one.path) for one in found] == [
        ("x", "cloudy", ""),
        ("y", "saved", "a/y_visual.tif"),
        ("z", "saved", "a/z_nir.tif"),
    ]
    assert found[0].area_cloud == 50.0
    assert found[2].day == date(2022, 3, 2)


def test_a_look_without_true_colour_shows_three_bands_or_the_first_of_the_configuration() -> None:
    keys = ("blue", "green", "nir", "red")
    rows = [*(crop("x", key) for key in keys), *(crop("y", key, days=1) for key in keys[:3])]
    three, one = looks(rows, classes=[9], assets=("nir", "red", "green", "blue"))
    assert (three.asset, three.path, three.more) == (
        "red, green, blue", "a/x_red.tif", ("a/x_green.tif", "a/x_blue.tif")
    )  # fmt: skip
    assert (one.asset, one.path, one.more) == ("nir", "a/y_nir.tif", ())
    assert (three.crops, one.crops) == (4, 3)


def test_a_job_that_was_not_measured_has_no_cloud() -> None:
    (found,) = looks([job("x", measure=None, status=OPEN)], classes=[9])
    assert (found.area_cloud, found.status) == (None, OPEN)


def test_of_several_looks_at_a_day_the_most_telling_comes_first() -> None:
    found = watched(look(0, "outside"), look(0, "cloudy"), look(0, "saved"), look(1, "failed")).days()
    assert [one.status for one in found[date(2022, 1, 1)]] == ["saved", "cloudy", "outside"]
    assert len(found) == 2


def test_the_longest_gap_is_between_neighbouring_clear_days() -> None:
    found = watched(*(look(day, "saved") for day in (0, 5, 5, 40, 60)), look(50, "cloudy"))
    assert found.clear_days == [date(2022, 1, 1), date(2022, 1, 6), date(2022, 2, 10), date(2022, 3, 2)]
    assert found.longest_gap == (date(2022, 1, 6), date(2022, 2, 10))
    assert watched(look(0, "saved")).longest_gap is None
    assert found.counts == {"saved": 5, "cloudy": 1}


def test_every_status_has_its_place_in_the_order() -> None:
    assert set(data.ORDER) == {*map(str, Status), OPEN}


def test_the_scatter_has_the_examined_jobs_only() -> None:
    scatter = Scatter()
    scatter.add(
        watched(
            look(0, "saved", scene=60.0, area=0.0),
            look(1, "cloudy", scene=10.0, area=100.0),
            look(2, "saved", scene=20.0, area=1.0),
            look(3, "nodata", scene=20.0, area=None),
            look(4, "saved", scene=None, area=1.0),
        )
    )
    assert [(point.scene, point.area) for point in scatter.points] == [(60, 0), (10, 100), (20, 1)]
    assert scatter.count == scatter.extreme == 3
    scatter.add(watched(look(0, "cloudy", area=2.0), look(1, "cloudy", area=97.9)))
    assert (scatter.count, scatter.extreme) == (5, 3)
    assert scatter.misjudged == {"clear": 2, "clear under clouds": 1, "blue": 4, "covered under blue": 2}


def test_too_many_points_are_counted_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "POINTS", 3)
    scatter = Scatter()
    scatter.add(watched(*(look(day, "saved", scene=100.0, area=0.5) for day in range(3))))
    assert len(scatter.points) == 3
    scatter.add(watched(look(4, "saved", scene=1.99, area=2.0), look(5, "saved", scene=1.0, area=3.9)))
    assert not scatter.points
    assert scatter.cells == {(49, 0): 3, (0, 1): 2}
    assert scatter.count == 5


def whole(all_: int, saved: int) -> WholeFiles:
    return WholeFiles(
        opened=FileSum(files=0, bytes=0),
        all=FileSum(files=7, bytes=all_, estimated=2, unknown=1),
        saved=FileSum(files=3, bytes=saved),
    )


def test_what_was_saved_is_split_into_skipped_scenes_and_windows() -> None:
    # 10 scenes of 2 (SCL) and 100 (picture), 4 of them clear: all SCL, but only 4 pictures are needed
    found = saving(whole(1020, 408), whole(20, 8), moved=12)
    assert (found.whole, found.skipped, found.window, found.moved) == (1020, 600, 408, 12)
    assert (found.files, found.estimated, found.unknown) == (7, 2, 1)


def test_measuring_only_skips_nothing() -> None:
    found = saving(whole(20, 8), whole(20, 8), moved=1)
    assert (found.skipped, found.window) == (0, 19)


def test_the_time_of_runs_that_ended() -> None:
    def run(number: int, ended: str) -> RunRow:
        return RunRow(id=number, started="2022-01-01T00:00:00+00:00", ended=ended, how="", version="1")

    runs = [run(1, "2022-01-01T00:00:07+00:00"), run(2, ""), run(3, "2022-01-01T01:00:00+00:00")]
    assert run_seconds(runs) == (3607.0, 1)
    assert run_seconds([]) == (0.0, 0)
