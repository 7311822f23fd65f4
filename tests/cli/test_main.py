"""The command as a user meets it, in a process of its own: exit codes, what it prints where, terminals, pipes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shapely

from s2async.config.model import Config
from s2async.state.writer import State
from tests.support import worlds
from tests.support.lanes import long
from tests.support.shell import COMMAND, Shell, one_line, process
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow


# ---- plain endings ----------------------------------------------------------------------------------------


def test_a_run_from_the_first_to_the_last_word(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    before = s2("status", path)
    assert before.code == 2
    assert "nothing has been run yet; next: s2async run" in one_line(before)
    assert not (tmp_path / "config-data").exists(), "status makes nothing"

    ran = s2("run", path.name, cwd=tmp_path)
    assert ran.code == 0
    where, notice = ran.told
    assert where == "6 areas: 52.476 N to 52.518 N, 13.382 E to 13.466 E; 42 ha to 97 ha each"
    assert "tell no cloud cover, kept" in notice
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert re.fullmatch(r"66 jobs processed in \d+ s", lines[0])
    assert lines[1] == "  22 saved   7 cloudy   13 nodata   9 outside   15 missing"
    assert lines[2] == "  15 missing: 9 not there, 6 only as JPEG 2000"
    del lines[2]
    assert lines[2] == "crops       config-data/<area>/<item>_<asset>.tif"
    assert lines[3] == "index       config-data/overview.csv"
    assert lines[4] == "state       config-data/state.sqlite"
    log = stage.sandbox.log()
    megabytes = sum(entry.bytes for entry in log) / 1e6
    assert lines[5] == f"traffic     {megabytes:.1f} MB in {len(log)} requests in this run"
    assert re.fullmatch(r"instead of  about 4\.\d MB for the whole files, which is 4 times the traffic", lines[6])
    assert lines[7].startswith("no scene so far covers enough of 1 area: Rim (at most 51.51 %); min_area_v")
    assert lines[8].startswith("no scene so far covers any part of 1 area: Beyond; ")
    assert len(lines) == 9

    again = s2("run", path.name, cwd=tmp_path)
    assert again.code == 0
    assert re.match(r"9 jobs processed in \d+ s\n  9 missing\n", again.out), "it may be there by now"
    assert re.match(r"0 jobs processed in \d+ s\n", s2("run", path.name, cwd=tmp_path).out)
    shown = s2("status", path)
    assert shown.code == 0
    assert "\n  22 saved   7 cloudy   13 nodata   9 outside   15 missing\n" in shown.out
    assert "searches    1 of 1 complete in the last run" in shown.out
    assert lines[7] in again.out
    assert lines[7] in " ".join(shown.out.split())


def test_status_and_summary_as_json_agree_with_the_log(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    ran = s2("run", path, "--json")
    assert ran.code == 0
    told: dict[str, Any] = json.loads(ran.out)
    log = stage.sandbox.log()
    assert told["run"]["requests"] == len(log)
    assert told["run"]["bytes"] == sum(entry.bytes for entry in log)
    assert told["run"]["done"] == {"saved": 22, "cloudy": 7, "nodata": 13, "outside": 9, "missing": 15}
    assert sum(entry["requests"] for entry in told["traffic"]) == len(log)
    assert {area["name"] for area in told["areas"]} == set(worlds.SHAPES)
    status = json.loads(s2("status", path, "--json").out)
    assert status == {key: value for key, value in told.items() if key != "run"}
    assert status["unheld"] == [{"area": "Beyond", "percent": 0.0}, {"area": "Rim", "percent": 51.51}]
    quiet = s2("-q", "run", path, "--json")
    assert not quiet.error
    assert json.loads(quiet.out)["run"]["done"] == {"missing": 9}
    assert told["reasons"] == {"missing": {"jpeg2000": 6, "not-there": 9}}
    assert told["alarms"] == told["saved_without"] == []
    lacking = {(row["item"][10:20], row["asset"], row["cause"], row["tries"]) for row in told["lacking"]}
    assert lacking == {
        ("20220109_0", "scl", "jpeg2000", 1),
        ("20220109_0", "visual", "jpeg2000", 1),
        ("20220111_0", "scl", "not-there", 1),
        ("20220113_0", "visual", "not-there", 1),
    }


def test_quiet_and_verbose(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    loud = s2("run", "-v", worlds.write_config(tmp_path, stage.sandbox))
    assert loud.code == 0
    told = [line for line in loud.error.splitlines() if line.startswith(("saved", "cloudy", "nodata", "outside"))]
    assert len(told) == 66 - 15
    assert "searched " in loud.error
    quiet = s2("--quiet", "run", worlds.write_config(tmp_path, stage.sandbox, name="other"))
    assert (quiet.code, quiet.out, quiet.error) == (0, "", "")
    stage.sandbox.fault("code", path="20220101_0_L2A/TCI", count=None, status=403)
    failing = s2("run", "-q", worlds.write_config(tmp_path, stage.sandbox, name="third"))
    assert failing.code == 3
    assert len(failing.told) == 4
    assert "access denied (403)" in failing.error
    assert "exclude each other" in s2("-q", "run", "x.toml", "-v").error


def test_a_limit_tells_what_is_left(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    ran = s2("run", path, "--limit", 3)
    assert ran.code == 0
    assert "at least 3 jobs are left: --limit ended the run; run again to go on" in ran.out
    assert "left" not in s2("run", path, "--limit", 1000).out
    assert s2("run", path, "--limit", 0).code == 2


def test_bytes_and_time_end_a_run_in_order(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    ran = s2("run", path, "--max-bytes", "1 kB", "--json")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["run"]["limit"] == "bytes"
    assert told["run"]["left"] == told["jobs"]["open"] > 0
    assert told["run"]["bytes"] >= 1000
    soon = s2("run", path, "--max-time", "0.000001s")
    assert soon.code == 0
    assert "jobs are left: --max-time ended the run; run again to go on" in soon.out
    enough = s2("run", path, "--max-bytes", "2 GB", "--max-time", "2h", "--json")
    assert (enough.code, json.loads(enough.out)["run"]["limit"]) == (0, None)
    for option, value in (
        ("--max-bytes", "2 miles"),
        ("--max-bytes", 0),
        ("--max-time", "soon"),
        ("--max-time", "0"),
    ):
        refused = s2("run", path, option, value)
        assert refused.code == 2
        assert option in refused.error


def test_failed_jobs_end_with_3_until_they_are_mended(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.fault("code", path="20220101_0_L2A/TCI", count=None, status=403)
    ran = s2("run", path)
    assert ran.code == 3
    assert "4 jobs have failed so far" in ran.out
    shown = s2("status", path)
    assert shown.code == 0
    assert shown.out.count("visual: access denied (403): ") == 4
    assert s2("run", path).code == 3
    stage.sandbox.clear_faults()
    retried = s2("retry", path)
    assert (retried.code, retried.out) == (0, f"4 jobs are open again; next: s2async run {path}\n")
    assert s2("run", path).code == 0
    assert s2("retry", path, "--missing").out.startswith("15 jobs are open again")


def test_places_in_doubt_are_told_by_every_command_that_reads_them_and_in_quiet_runs_too(
    s2: Shell, tmp_path: Path, stage: Stage
) -> None:
    """Of lon/lat on an ellipsoid without a datum PROJ makes the same numbers, so that all else goes well."""
    path = worlds.write_config(tmp_path, stage.sandbox, crs="EPSG:4004")
    doubt = (
        "6 of 6 areas may be hundreds of metres off, because Unknown datum based upon the Bessel 1841 ellipsoid"
    )
    for arguments in (("plan", path), ("run", path), ("run", path, "--json")):
        ended = s2("-q", *arguments)
        assert ended.code == 0
        assert len(ended.error.splitlines()) == 1, ended.error
        assert doubt in ended.error
        assert doubt not in ended.out
        assert doubt in s2(*arguments).error
    page = s2("report", path)
    assert (page.code, page.error.count(doubt)) == (0, 1)
    assert doubt in (tmp_path / "config-data" / "report.html").read_text()
    (tmp_path / "config-data" / "state.sqlite").unlink()
    assert "state.sqlite is gone" in one_line(s2("status", path)), "that alone: nothing of places is asked"
    assert doubt in s2("rebuild", path).error


def test_a_crs_that_wins_over_the_file_is_told_unless_only_failures_are(
    s2: Shell, tmp_path: Path, stage: Stage
) -> None:
    file = tmp_path / "areas.geojson"
    member = {"crs": {"type": "name", "properties": {"name": "EPSG:4314"}}}
    file.write_text(json.dumps(json.loads(shapely.to_geojson(worlds.polygon("North"))) | member))
    path = worlds.write_config(tmp_path, stage.sandbox, crs="EPSG:4326")
    text = re.sub(r"areas = .*", 'areas = "areas.geojson"', path.read_text())
    path.write_text(text)
    notice = "the CRS of the file is EPSG:4314, by which the areas would lie 1"
    for command in ("plan", "run"):
        assert notice in s2(command, path).error
        assert not s2("-q", command, path).error


def test_all_faults_of_the_areas_are_lines_of_one_answer(s2: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('name,wkt\nP,POINT EMPTY\n"Q\u202e",POINT EMPTY\nR,POINT EMPTY\n')
    (tmp_path / "c.toml").write_text('areas = "a.csv"\n')
    for command in ("run", "plan"):
        ended = s2(command, tmp_path / "c.toml")
        assert (ended.code, ended.out) == (2, "")
        head, *lines = ended.error.splitlines()
        assert head.startswith(f"s2async: {tmp_path / 'a.csv'}: 3 of 3 areas cannot be used; ")
        assert [line.split(": ")[-1] for line in lines] == ["is empty; draw a polygon"] * 3
        assert all(line.isprintable() for line in lines)


def test_areas_that_are_left_out_are_told_by_the_run_and_by_status(
    s2: Shell, tmp_path: Path, stage: Stage
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": json.loads(shapely.to_geojson(shape))}
        for name, shape in (("North", worlds.polygon("North")), ("Well", shapely.Point(13.4, 52.5)))
    ]
    (tmp_path / "areas.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    text = re.sub(r"areas = .*", 'areas = "areas.geojson"\ninvalid = "skip"', path.read_text())
    path.write_text(text)
    ran = s2("run", path)
    assert ran.code == 0
    assert "1 of 2 areas was left out" in ran.error
    assert 'feature 2: area "Well": is a Point' in ran.error
    status = s2("status", path).out
    assert "1 area was left out:" in status
    assert 'area "Well": is a Point' in status
    (skipped,) = json.loads(s2("status", path, "--json").out)["skipped"]
    assert (skipped["area"], skipped["place"]) == ("Well", f"{tmp_path / 'areas.geojson'}: feature 2")
    features[1]["geometry"] = None
    (tmp_path / "areas.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features[:1]}))
    assert s2("run", path).code == 0
    assert "left out" not in s2("status", path).out


# ---- bad input --------------------------------------------------------------------------------------------

AREA = "POLYGON ((13.40 52.50, 13.42 52.50, 13.42 52.52, 13.40 52.50))"
GOOD = f'[[areas]]\nname = "Park"\nwkt = "{AREA}"\n'


def area(wkt: str, name: str = "Park") -> str:
    return f'[[areas]]\nname = "{name}"\nwkt = "{wkt}"\n'


BAD = {
    "unknown key": ("[clouds]\nmax_area_clouds = 3\n" + GOOD, 'did you mean "max_area_cloud"?'),
    "wrong type": ('[clouds]\nmax_area_cloud = "two"\n' + GOOD, "must be a number"),
    "unclosed polygon": (area("POLYGON ((13.40 52.50, 13.42 52.50, 13.42 52.52))"), "Park"),
    "self-crossing polygon": (area("POLYGON ((13.4 52.5, 13.5 52.6, 13.5 52.5, 13.4 52.6, 13.4 52.5))"), "Park"),
    "latitude above 90": (area("POLYGON ((52.5 93.4, 52.6 93.4, 52.6 93.5, 52.5 93.4))"), "Park"),
    "a line": (area("LINESTRING (13.4 52.5, 13.5 52.6)"), "Park"),
    "an empty polygon": (area("POLYGON EMPTY"), "Park"),
    "two areas of one name": (GOOD + area(AREA.replace("13.42", "13.43")), "Park"),
    "missing areas file": ('areas = "nowhere.geojson"\n', "nowhere.geojson"),
    "a date range upside down": ('[search]\ndatetime = "2022-12-31/2022-01-01"\n' + GOOD, "datetime"),
    "unknown catalogue": ('[search]\ncatalog = "earth-serch"\n' + GOOD, 'did you mean "earth-search"?'),
    "class 0": ("[clouds]\nclasses = [0, 9]\n" + GOOD, "classes"),
    "no areas": ("[clouds]\nclasses = [9]\n", "areas"),
    "not TOML": ("[clouds\n", ""),
    "not a text": ("\udcff\udcfe", ""),
    "too many decimals": ("[clouds]\nmax_area_cloud = 0.125\n" + GOOD, "max_area_cloud"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_2_before_any_request(tmp_path: Path, s2: Shell, name: str) -> None:
    """Nothing is made either, and no address is asked: the only one in these configs is that of Earth Search."""
    text, expected = BAD[name]
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    for command in ("run", "status", "retry") if name == "class 0" else ("run",):
        ended = s2(command, path)
        assert ended.code == 2
        assert expected in one_line(ended)
    assert {path.name for path in tmp_path.iterdir()} == {"bad.toml"}


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "-nan"])
@pytest.mark.parametrize("option", ["plan --bandwidth", "sandbox --bandwidth", "sandbox --delay"])
def test_what_is_no_finite_number_is_refused(tmp_path: Path, s2: Shell, option: str, number: str) -> None:
    command, name = option.split()
    ended = s2(command, *[tmp_path / "any.toml"] * (command == "plan"), name, number)
    assert (ended.code, ended.out) == (2, "")
    assert f"Invalid value for '{name}': " in ended.error


def test_a_busy_port_of_the_sandbox_is_told_before_a_world_is_made(tmp_path: Path, s2: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = s2("sandbox", "--folder", tmp_path / "world", "--port", port, "--items", 1)
    assert ended.code == 6
    assert f"cannot listen on 127.0.0.1:{port}: " in one_line(ended)
    assert not (tmp_path / "world").exists()


def test_no_config_at_all(tmp_path: Path, s2: Shell) -> None:
    assert "no such file" in one_line(s2("run", tmp_path / "nowhere.toml"))
    assert "cannot be read" in one_line(s2("run", tmp_path))
    for arguments in (["no-such-command"], ["run"], ["run", "x.toml", "--limit", "many"]):
        ended = s2(*arguments)
        assert ended.code == 2
        assert ended.error.startswith("Usage: ")


# ---- servers, state, machine ------------------------------------------------------------------------------


def test_an_unreachable_api_ends_with_3_and_is_named(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # it is nobody else's port meanwhile
        origin = f"http://127.0.0.1:{bound.getsockname()[1]}"
        catalog = {"url": f"{origin}/v1", "collection": "c", "assets": {"scl": "scl"}}
        path = worlds.write_config(
            tmp_path, stage.sandbox, search={"catalog": catalog}, network={"origins": [origin], "attempts": 1}
        )
        ended = s2("run", path)
    assert ended.code == 3
    assert "search incomplete: North and 5 more, 2022-01-01/2022-03-31: " in ended.error
    assert f"{origin}/v1/search" in ended.error
    assert "a search is incomplete: " in ended.out
    assert "No scene was found" not in ended.out, "nobody knows"


def test_an_origin_that_is_not_allowed_is_named_with_what_to_add(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2022-01-01/2022-01-01"})
    stage.sandbox.reset()
    elsewhere = stage.sandbox.origin.replace("127.0.0.1", "localhost")
    items = stage.world.folder / "items.jsonl"
    before = items.read_text()
    items.write_text(before.replace("{origin}", elsewhere))
    try:
        with Stage(stage.world) as moved:
            items.write_text(before)
            path.write_text(path.read_text().replace(stage.sandbox.origin, moved.sandbox.origin))
            ended = s2("run", path)
            quiet = s2("-q", "run", path)
            status = s2("status", path)
            text = path.read_text()
            path.write_text(
                text.replace(f'["{moved.sandbox.origin}"]', f'["{moved.sandbox.origin}", "{elsewhere}"]')
            )
            mended = s2("-q", "run", path)
    finally:
        items.write_text(before)
    assert (ended.code, quiet.code) == (2, 2), "only other settings can help"
    advice = (
        f'6 of 6 jobs have no file that can be read: 6 origin not allowed; if you trust it, add "{elsewhere}" to'
    )
    assert advice in ended.told[-1]
    assert advice in quiet.told[-1]
    assert advice in status.out
    assert mended.code == 0, "once it is listed, the next run asks"
    assert set(worlds.statuses(Config.load(path)).values()) == {"saved", "nodata", "outside"}


def test_a_search_that_finds_nothing_says_what_may_be_wrong(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2019-01-01/2019-01-31"})
    ended = s2("run", path)
    assert ended.code == 0
    assert "No scene was found. Check the position of the areas (6 areas: 52.476 N to" in ended.out
    assert "Longitude comes before latitude" in ended.out


@pytest.mark.parametrize("command", ["run", "run -q", "plan", "run --json"])
@pytest.mark.parametrize(
    ("period", "why"),
    [
        ("2999-01-01/2999-12-31", "begins in the future: this machine's clock says 20"),
        ("2999-01-01/..", "correct the year, or the clock if that is wrong"),
        ("2014-01-01/2014-12-31", "ends before the launch of Sentinel-2 (2015-06-23); correct the year"),
    ],
)
def test_a_period_that_cannot_hold_a_scene_is_refused_before_any_request(
    s2: Shell, tmp_path: Path, stage: Stage, period: str, why: str, command: str
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, search={"datetime": period})
    ended = s2(*command.split(), path)
    assert ended.code == 2
    told = one_line(ended)
    assert f'config.toml:{_line_of(path, "datetime")}: [search] datetime: "{period}" ' in told
    assert why in told
    assert stage.sandbox.log() == []
    assert {file.name for file in tmp_path.iterdir()} == {"config.toml"}


def _line_of(path: Path, key: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(key))


def test_a_period_that_ends_in_the_future_is_searched_until_today(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    ended = s2("run", worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2022-01-01/2999-12-31"}))
    assert ended.code == 0
    assert "22 saved" in ended.out


def test_a_count_that_is_an_estimate_is_a_notice_and_checked_once(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    """Of four searches, each checked in the first run; later runs ask as if the count were exact."""
    path = worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2022-01-01/2022-12-31"})
    stage.sandbox.fault("matched", path="/v1/search", count=None, number=400)
    first = s2("run", path)
    assert first.code == 0
    assert "22 saved" in first.out
    (told,) = [line for line in first.error.splitlines() if "estimate" in line]
    assert told.startswith("4 searches: the catalogue counts more items than it gives, also in pages of another")
    assert "incomplete" not in first.out + first.error
    checked = len([entry for entry in stage.sandbox.log() if entry.path == "/v1/search"])
    assert checked == 5 + 6, "a second look: of 13 items in pages of 7, and of nothing in three searches"
    worlds.settle(Config.load(path))
    for command in ("run", "plan"):
        stage.sandbox.reset()
        again = s2(command, path)
        assert again.code == 0
        assert "4 searches: the catalogue counts more" in again.error
        assert len(stage.sandbox.log()) == 5, "no second look"
    assert (s2("run", "-q", path).error, s2("-q", "plan", path).error) == ("", "")


def test_a_lost_link_is_no_estimate_however_often_one_looks(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.fault("pages", path="/v1/search", count=None, size=5)
    stage.sandbox.fault("next", path="/v1/search", count=None, how="lost")
    for _ in range(2):
        ended = s2("run", path, "-q")
        assert ended.code == 3
        assert (
            "search incomplete: North and 5 more, 2022-01-01/2022-03-31: the server counts 13 items, but gave 5"
            in (ended.error)
        )
    stage.sandbox.clear_faults()
    assert s2("run", path).code == 0


ODD_ITEMS = {
    "no_datetime": "neither datetime nor start_datetime is a time",
    "no_properties": "neither datetime nor start_datetime is a time",
    "nowhere": "neither geometry nor bbox is valid",
    "no_object": "an item that is not an object",
    "id:path": "its id cannot name a file",
}


@pytest.mark.parametrize("how", ODD_ITEMS)
def test_a_search_of_which_no_item_can_be_used_is_incomplete(
    s2: Shell, tmp_path: Path, stage: Stage, how: str
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.fault("item", path="/v1/search", count=None, how=how)
    quiet = s2("run", "-q", path)
    assert (quiet.code, quiet.out) == (3, "")
    assert quiet.error.startswith("search incomplete: North and 5 more, 2022-01-01/2022-03-31: none of its ")
    assert ODD_ITEMS[how] in quiet.error
    loud = s2("run", path)
    assert loud.code == 3
    assert "a search is incomplete: none of its " in loud.out
    assert "No scene was found" not in loud.out, "that is not what is wrong"
    planned = s2("plan", path)
    assert planned.code == 3
    assert ODD_ITEMS[how] in planned.out
    stage.sandbox.clear_faults()
    assert s2("run", path).code == 0


def test_quiet_never_ends_with_3_without_a_word(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    """What failed for good in an earlier run is not tried again, so nothing is told of it while a run goes on."""
    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.fault("shift", path="20220101_0_L2A/TCI", count=None, honest=False)
    first = s2("run", "-q", path)
    assert first.code == 3
    assert len(first.told) == 4
    stage.sandbox.clear_faults()
    with contextlib.closing(sqlite3.connect(Config.load(path).run.state)) as db, db:
        db.execute("UPDATE troubles SET transient = 0")
    for arguments in (["-q"], ["-q", "--json"]):
        again = s2("run", path, *arguments)
        assert again.code == 3
        told = f"4 jobs have failed so far; s2async status {path} lists them with reasons\n"
        assert again.error == told
    assert len(s2("status", path).out.split("visual: ")) == 5


def test_many_incomplete_searches_are_told_in_few_lines(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2018-01-01/2022-12-31"})
    stage.sandbox.fault("code", path="/v1/search", count=None, status=400)
    ended = s2("run", "-q", path)
    assert ended.code == 3
    *ten, last = ended.told
    assert len(ten) == 10
    assert last == "more searches are incomplete; s2async status lists them"
    assert "20 searches are incomplete: the server answers 400" in s2("run", path).out


def test_two_runs_of_one_state(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    with State.create_or_open(config.run.state):
        ended = s2("run", path, "-q")
        assert ended.code == 4
        assert f"in use by pid {os.getpid()} since" in one_line(ended)
        assert s2("retry", path).code == 4
        assert s2("status", path).code == 0, "looking is always allowed"
    assert not stage.sandbox.log()


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_state_is_never_replaced(s2: Shell, tmp_path: Path, stage: Stage, content: bytes) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    state = Config.load(path).run.state
    state.parent.mkdir()
    state.write_bytes(content)
    for command in ("run", "status", "retry"):
        ended = s2("-q", command, path)
        assert ended.code == 5
        assert "s2async rebuild" in one_line(ended)
    assert state.read_bytes() == content
    assert not stage.sandbox.log()


def test_a_machine_that_cannot_begin_ends_with_6_before_any_request(
    s2: Shell, tmp_path: Path, stage: Stage
) -> None:
    full = worlds.write_config(tmp_path, stage.sandbox, run={"reserve": "1000000 GiB"})
    ended = s2("-q", "run", full)
    assert ended.code == 6
    assert "disk full" in one_line(ended)
    assert "free some space and run again" in ended.error
    taken = worlds.write_config(tmp_path, stage.sandbox, name="taken")
    (tmp_path / "taken-data").write_text("a file")
    ended = s2("-q", "run", taken)
    assert ended.code == 6
    assert str(tmp_path / "taken-data") in one_line(ended)
    assert not stage.sandbox.log()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_a_read_only_folder_ends_with_6(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    """/proc stands for a read-only disk: it refuses root too."""
    path = worlds.write_config(tmp_path, stage.sandbox, output={"folder": "/proc/s2async"})
    ended = s2("-q", "run", path)
    assert ended.code == 6
    assert "/proc/s2async" in one_line(ended)
    assert not stage.sandbox.log()


def test_a_machine_that_cannot_go_on_ends_with_6_and_goes_on_later(
    s2: Shell, tmp_path: Path, stage: Stage
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    (config.output.folder).mkdir()
    (config.output.folder / "Tall").write_text("in the way of a folder")
    ended = s2("-q", "run", path)
    assert ended.code == 6
    assert "cannot make the folder" in one_line(ended)
    assert "failed" not in worlds.statuses(config).values()
    (config.output.folder / "Tall").unlink()
    assert s2("-q", "run", path).code == 0
    assert list(worlds.statuses(config).values()).count("saved") == 22


def test_status_while_a_run_is_going_on(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, network={"connections": 2, "idle_timeout": 2})
    with Stage(stage.world, delay=60) as slow:
        path.write_text(path.read_text().replace(stage.sandbox.origin, slow.sandbox.origin))
        # one file does not come until the last look: the run cannot end before it
        slow.sandbox.fault("stall", path="20220115_0_L2A/TCI", count=None)
        child = subprocess.Popen([*COMMAND, "-q", "run", str(path)])
        slow.wait_for(5)
        seen = [json.loads(s2("status", path, "--json").out)["jobs"] for _ in range(3)]
        running = child.poll() is None
        slow.sandbox.clear_faults()
        assert child.wait(200) == 0
    assert running
    assert all(sum(jobs.values()) <= 66 for jobs in seen)
    assert json.loads(s2("status", path, "--json").out)["jobs"]["saved"] == 22


# ---- terminals, pipes and odd names -----------------------------------------------------------------------


def on_terminal(*arguments: object, columns: int = 80) -> tuple[int, str]:
    """Run the command on a terminal of its own; its exit code, and all that it wrote there."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    termios, fcntl = pytest.importorskip("termios"), pytest.importorskip("fcntl")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
        while piece := os.read(ours, 65536):
            seen += piece
    os.close(ours)
    return child.wait(), seen.decode()


def test_a_terminal_shows_the_run_while_it_goes_on(tmp_path: Path, stage: Stage) -> None:
    with Stage(stage.world, delay=60) as slow:
        slow.sandbox.fault("code", path="20220103_0_L2A/SCL", count=None, status=403)
        path = worlds.write_config(tmp_path, slow.sandbox, network={"connections": 4})
        code, seen = on_terminal("run", path)
    assert code == 3
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", "")
    done = [int(number) for number in re.findall(r"(\d+) of \d+ jobs", plain)]
    assert len(set(done)) > 3, "it moves"
    assert done == sorted(done)
    assert re.search(r"\d+ saved  \d+ cloudy  \d+ nodata  \d+ outside  \d+ missing  \d+ failed", plain)
    assert re.search(r"[\d.]+ [kM]?B in \d+ requests", plain)
    assert re.search(r"[\d.]+ jobs/s", plain)
    assert plain.count("failed   ") == 6, "failures are told once, above the live lines"
    assert "66 jobs processed in" in plain
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1, "the cursor comes back"
    assert not re.search(r"[0-9] of [0-9]+ jobs", plain[plain.index("66 jobs processed") :]), "the live lines go"


@pytest.mark.parametrize(
    "command",
    ["status {path} | head -1", "run -v {path} 2>&1 | head -1", "--help | true", "run {path} >&-",
     *long("status {path} --json | true", "status {path} >&-", "run -v {path} 2>&-")],
)  # fmt: skip
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, stage: Stage, command: str) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    worlds.run(path, stage.sandbox, limit=6)
    line = f"set -o pipefail; {sys.executable} -m s2async {command.format(path=path)}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr
    if command.startswith("run"):
        assert len(worlds.statuses(Config.load(path))) == 66, "the work goes on"


NAMES = [
    "\x1b[31mred",
    "two\nlines",
    "[red]markup[/red]",
    "\u202ertl",
    "=1+1",
    "Grün 公園 🌳",
    "../../etc",
    "CON",
    "-x",
]


def test_hostile_names_stay_text_everywhere(tmp_path: Path, stage: Stage) -> None:
    """Escapes, line breaks, markup, right-to-left marks, formulas, paths: as names of areas in a GeoJSON file."""
    features = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": worlds.lonlat([(x, 200), (x + 200, 200), (x + 200, 400)]).__geo_interface__,
        }
        for x, name in zip(range(100, 5000, 400), NAMES, strict=False)
    ]
    (tmp_path / "areas.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    path = worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2022-01-01/2022-01-03"})
    text = re.sub(r"(?m)^areas = .*$", 'areas = "areas.geojson"', path.read_text())
    path.write_text(text)
    stage.sandbox.fault("code", path="20220103_0_L2A/SCL", count=None, status=403)
    ended = process("run", "-v", path, PYTHONIOENCODING="ascii")
    assert ended.code == 3
    shown = ended.error + process("status", path, PYTHONIOENCODING="utf-8").out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", shown)
    assert "\\u001b[31mred" in shown
    assert "two\\u000alines" in shown
    assert "[red]markup[/red]" in shown
    folder = Config.load(path).output.folder
    crops = list(folder.rglob("*.tif"))
    assert len(crops) == len(NAMES)
    assert all(len(crop.relative_to(folder).parts) == 2 for crop in crops)
    assert {path.name for path in tmp_path.iterdir()} == {"areas.geojson", "config.toml", "config-data"}
    rows = (folder / "overview.csv").read_text()
    assert "\n'=1+1," in rows
    assert "\n'-x," in rows
    with contextlib.closing(sqlite3.connect(folder / "state.sqlite")) as db:
        assert {name for (name,) in db.execute("SELECT name FROM places")} == set(NAMES)
