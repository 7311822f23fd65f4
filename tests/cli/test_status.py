"""The state in words: what is told at the end of a run and by ``status``, for people and as JSON."""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from shapely import Polygon, box

from s2async.areas import loader as area_files
from s2async.cli import run_summary, status, status_tables
from s2async.events import SearchReport
from s2async.models import Area, Status
from s2async.net import retries
from s2async.state.reader import Ledger
from s2async.state.writer import State
from s2async.text import size
from tests.support import worlds
from tests.support.worlds import Ran, Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, stage: Stage) -> Ran:
    """A finished run, in which the pictures of two items were refused."""
    stage.sandbox.fault("code", path="2022010[15]_0_L2A/TCI", count=None, status=403)
    found = worlds.run(worlds.write_config(tmp_path_factory.mktemp("run"), stage.sandbox), stage.sandbox)
    stage.sandbox.clear_faults()
    return found


def shown_run(ran: Ran, **changed: object) -> str:
    out = io.StringIO()
    with Ledger.read(ran.config.run.state) as state:
        result = replace(ran.summary, **changed)  # type: ignore[arg-type]  # of any field
        run_summary.show_run(Console(file=out, width=160), state, ran.config, area_files.load(ran.config), result)
    return out.getvalue()


def shown_status(ran: Ran, width: int = 160, *, verbose: bool = False) -> str:
    out = io.StringIO()
    with Ledger.read(ran.config.run.state) as state:
        status_tables.show_status(Console(file=out, width=width), state, ran.config, verbose=verbose)
    return out.getvalue()


def area(polygon: Polygon) -> Area:
    return Area(name="a", wkb=polygon.wkb, fingerprint="0" * 16, folder="a")


def test_days_of_several_scenes_are_counted_once_for_each_area(ran: Ran) -> None:
    saved = [key for key, found in worlds.statuses(ran.config).items() if found == "saved"]
    replaced = {(area, "S2A_33UUU_20220120_0_L2A") for area, _ in saved}  # processed twice
    counted = set(saved) - replaced
    days = {(area, item[10:18]) for area, item in counted}
    assert len(days) < len(counted)
    assert f"the {len(counted)} saved jobs are {len(days)} clear days (one area on one day)" in shown_status(ran)


# ---- where ------------------------------------------------------------------------------------------------


def test_where_shows_hemispheres_and_sizes_at_a_glance() -> None:
    berlin = area(box(13.2, 52.4, 13.3, 52.5))
    assert run_summary.where([berlin]) == "1 area: 52.400 N to 52.500 N, 13.200 E to 13.300 E; 76 km2"
    rio = area(box(-43.30, -22.96, -43.29, -22.95))
    text = run_summary.where([berlin, rio])
    assert text == "2 areas: 22.960 S to 52.500 N, 43.300 W to 13.300 E; 1.1 km2 to 76 km2 each"
    assert run_summary.where([area(box(13, 52, 13.0001, 52.0001))]).endswith("; 76 m2")
    assert run_summary.where([berlin, berlin]).endswith("13.300 E; 76 km2 each")


# ---- the end of a run -------------------------------------------------------------------------------------


def test_the_end_of_a_run(ran: Ran) -> None:
    text = shown_run(ran, seconds=200.0)
    assert text.startswith("66 jobs processed in 3 min 20 s\n")
    assert "16 saved   7 cloudy   13 nodata   9 outside   15 missing   6 failed" in text
    assert "\n  15 missing: 9 not there, 6 only as JPEG 2000\n  6 failed: 6 access denied\n" in text
    assert f"{len(ran.log)} requests in this run" in text
    assert "all runs" not in text, "this was the only one"
    assert "6 jobs have failed so far; s2async status lists them with reasons" in text
    assert "left" not in text
    assert "No scene" not in text


def test_a_run_of_values_alone_tells_of_values_and_of_no_crops(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = worlds.write_config(
        tmp_path, stage.sandbox, name="fields", output={"assets": []}, values={"bands": ["red"], "indices": []}
    )
    valued = worlds.run(path, stage.sandbox)
    table = (tmp_path / "fields-data" / "values.csv").read_text().splitlines()
    rows = len(table) - 1
    assert rows > 0
    text = shown_run(valued)
    told = [
        "values      fields-data/values.csv",
        f"rows        {rows} for {rows} dates with values (one area in one scene)",
    ]
    lines = text.splitlines()
    start = lines.index(told[0])
    assert lines[start : start + 3] == [*told, "state       fields-data/state.sqlite"]
    clear = [key for key, found in worlds.statuses(valued.config).items() if found == "saved"]
    assert lines[1].startswith(f"  {len(clear)} clear   ")
    shown = shown_status(valued)
    assert shown.splitlines()[1].startswith(f"  {len(clear)} clear   ")
    assert "\n".join(told) in shown
    for words in (text, shown, shown_status(valued, verbose=True)):
        assert not any(word in words for word in ("crop", "saved", "index"))


def test_what_all_runs_moved_is_told_apart_from_this_run(ran: Ran) -> None:
    lines = shown_run(ran, requests=9, bytes=1_400_000).splitlines()
    (told,) = [number for number, line in enumerate(lines) if line.startswith("traffic ")]
    assert lines[told] == "traffic     1.4 MB in 9 requests in this run"
    assert lines[told + 1] == f"all runs    {size(ran.bytes)} in {len(ran.log)} requests"
    assert lines[told + 2].startswith("instead of  about ")
    assert lines[told + 2].endswith(" MB for the whole files, which is 5 times the traffic")


def test_what_is_left_and_what_is_incomplete_is_said(ran: Ran) -> None:
    reports = [
        SearchReport(label=f"Park {n}, 2022", key=str(n), complete=False, items=0, reason="the server answers 500")
        for n in range(5)
    ]
    one = SearchReport(label="[red]Wald[/red]\n", key="w", complete=False, items=3, reason="no next page")
    text = shown_run(ran, left=12, incomplete=(*reports, one))
    assert (
        "5 searches are incomplete: the server answers 500 (Park 0, 2022; Park 1, 2022; Park 2, 2022; ...)" in text
    )
    assert "a search is incomplete: no next page ([red]Wald[/red]\\u000a)" in text
    assert "\n12 jobs are left; run again to go on" in text


def test_after_a_limit_nobody_knows_how_many_are_left(ran: Ran) -> None:
    text = shown_run(ran, left=1200, cut_short=True, limit="jobs")
    assert "\nat least 1,200 jobs are left: --limit ended the run; run again to go on" in text
    text = shown_run(ran, left=0, cut_short=True, limit="seconds")
    assert "\nthere may be more jobs: --max-time ended the run; run again" in text
    text = shown_run(ran, left=7, limit="bytes")
    assert "\n7 jobs are left: --max-bytes ended the run; run again" in text


def test_areas_without_any_scene_are_named(ran: Ran) -> None:
    assert "no scene was found for" not in shown_run(ran)
    assert "no scene was found for 1 area: [red]x[/red]" in shown_run(ran, sceneless=("[red]x[/red]",))
    many = tuple(f"a{number}" for number in range(2_000))
    assert "no scene was found for 2,000 areas: a0, a1, a2, a3, a4, ..." in shown_run(ran, sceneless=many)
    assert "of 2,000 areas" not in shown_run(ran, sceneless=many, left=7), "they may come"


def test_nothing_found_is_only_said_when_it_is_known(ran: Ran) -> None:
    text = shown_run(ran, found_nothing=True)
    assert "No scene was found. Check" in text
    assert "2022-01-01/2022-03-31" in text
    report = SearchReport(label="Park", key="k", complete=False, items=0, reason="timed out")
    assert "No scene" not in shown_run(ran, found_nothing=True, incomplete=(report,))


# ---- status -----------------------------------------------------------------------------------------------


def test_status_has_a_row_for_each_area_and_kind_of_traffic(ran: Ran) -> None:
    lines = [line.split() for line in shown_status(ran).splitlines()]
    assert ["area", "saved", "cloudy", "nodata", "outside", "missing", "failed", "open"] in lines
    assert ["Beyond", "0", "0", "0", "9", "2", "0", "0"] in lines
    assert ["16", "saved", "7", "cloudy", "13", "nodata", "9", "outside", "15", "missing", "6", "failed"] in lines
    more = [line.split() for line in shown_status(ran, verbose=True).splitlines()]
    for stage in (["header", "scl"], ["header", "visual"], ["tiles", "scl"], ["tiles", "visual"], ["search"]):
        assert any(line[: len(stage)] == stage for line in more), stage
    assert ["searches", "1", "of", "1", "complete", "in", "the", "last", "run"] in lines
    reasons = [line for line in lines if "denied" in line and "visual:" in line]
    assert len(reasons) == 6
    assert ["15", "missing:", "9", "not", "there,", "6", "only", "as", "JPEG", "2000"] in lines
    assert ["only", "as", "JPEG", "2000:", "S2A_33UUU_20220109_0_L2A"] in lines
    assert ["not", "there:", "S2A_33UUU_20220111_0_L2A,", "the", "first", "of", "2", "scenes"] in lines
    assert ["6", "failed:", "6", "access", "denied"] in lines


def test_status_sums_agree_with_the_log(ran: Ran) -> None:
    with Ledger.read(ran.config.run.state) as state:
        told = status.to_json(state, ran.config)
    json.dumps(told)
    cogs = [entry for entry in told["traffic"] if entry["stage"] != "search"]
    assert sum(entry["requests"] for entry in cogs) == len(ran.cogs)
    assert sum(entry["bytes"] for entry in cogs) == sum(entry.bytes for entry in ran.cogs)
    assert {entry["use"] for entry in cogs} == {"useful", "retried", "wasted"}
    failed = [problem for problem in told["problems"] if problem["status"] == "failed"]
    assert len(failed) == 6
    assert {problem["item"] for problem in failed} == {"S2A_33UUU_20220101_0_L2A", "S2A_33UUU_20220105_0_L2A"}
    assert told["jobs"] == {"saved": 16, "cloudy": 7, "nodata": 13, "outside": 9, "missing": 15, "failed": 6}
    assert [entry["name"] for entry in told["areas"]] == sorted(worlds.SHAPES)


def test_whole_files_are_those_that_a_person_would_download(ran: Ran, stage: Stage) -> None:
    """SCL and TCI of each item with a job, at their true sizes where they were opened."""
    with Ledger.read(ran.config.run.state) as state:
        told = status.to_json(state, ran.config)["whole_files"]
    files = {entry.path.lstrip("/") for entry in ran.cogs if entry.status == 206}
    assert told["opened"] == {
        "files": len(files),
        "bytes": sum((stage.world.folder / path).stat().st_size for path in files),
        "estimated": 0,
        "unknown": 0,
    }
    named = {f"cogs/{item}/{name}" for _, item in worlds.jobs(ran.config) for name in ("SCL.tif", "TCI.tif")}
    named = {path for path in named if "20220109" not in path}  # JPEG 2000 only
    expected = 0
    for suffix in ("SCL.tif", "TCI.tif"):
        known = [(stage.world.folder / path).stat().st_size for path in files if path.endswith(suffix)]
        unknown = sum(path.endswith(suffix) for path in named) - len(known)
        expected += sum(known) + unknown * round(statistics.median(known))
    assert told["all"] == {
        "files": len(named),
        "bytes": expected,
        "estimated": len(named) - len(files),
        "unknown": 0,
    }
    saved = {job.item for job in worlds.jobs(ran.config).values() if job.status == "saved"}
    assert told["saved"]["files"] == 2 * len(saved)


def test_many_failures_are_cut_short_but_neither_in_json_nor_by_option(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_longest_wait", lambda _attempt: 0.0)
    stage.sandbox.fault("code", path="SCL", count=None, status=503)
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 1})
    ran = worlds.run(path, stage.sandbox)
    stage.sandbox.clear_faults()
    text = shown_status(ran)
    shown = text.count("scl: the server answers 503")
    assert 0 < shown < 30
    assert f"and {60 - shown} more failed jobs: s2async status -v {path}" in text
    assert shown_status(ran, verbose=True).count("scl: the server answers 503") == 60
    with Ledger.read(ran.config.run.state) as state:
        problems = status.to_json(state, ran.config)["problems"]
    assert sum(problem["status"] == Status.FAILED for problem in problems) == 60
    assert max(map(len, shown_status(ran, width=80).splitlines())) <= 80


def test_the_status_of_a_state_without_a_run(tmp_path: Path, ran: Ran) -> None:
    state = tmp_path / "state.sqlite"
    State.create_or_open(state).close()
    out = io.StringIO()
    with Ledger.read(state) as ledger:
        status_tables.show_status(Console(file=out, width=80), ledger, ran.config)
        told = status.to_json(ledger, ran.config)
    assert out.getvalue() == "0 jobs (one area in one scene) of 0 areas\n"
    assert (told["jobs"], told["areas"], told["traffic"], told["searches"]) == ({}, [], [], [])
