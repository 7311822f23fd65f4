"""The whole check against a sandbox that is sound, and against worlds with one fault each."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import shapely

from s2async.sandbox.world.parks import PARKS
from tests.support import worlds
from tests.support.checks import alarms, checked, only, right, untried
from tests.support.fault_server import FaultServer
from tests.support.shell import Shell
from tests.support.worlds import Stage

pytestmark = pytest.mark.slow
ORDINARY = 8
"""Requests with one asset: landing page, collection, two pages, and header and block of two files."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    items = [worlds.day(number, datatake=True) for number in range(0, 24, 2)]
    yield from worlds.staged(tmp_path_factory.mktemp("world"), items)


@pytest.fixture(scope="module")
def jp2_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    items = [worlds.day(number, jp2=True, datatake=True) for number in (0, 3)]
    yield from worlds.staged(tmp_path_factory.mktemp("jp2"), items)


@pytest.fixture(autouse=True)
def _sound(stage: Stage, no_proxies: None) -> Iterator[None]:
    """No proxies of the environment, and a server without faults."""
    stage.sandbox.reset()
    yield
    stage.sandbox.clear_faults()


# ---- a sound world ------------------------------------------------------------------------------------------


def test_a_sound_service_is_right_in_every_line(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    before = sorted(tmp_path.rglob("*"))
    found = checked(path)
    assert alarms(found) == {}
    assert untried(found) == set()
    told = right(found)
    assert told["areas"] == "6 areas"
    assert told["search"].startswith("12 of 12 items over North and 5 more")
    assert told["conformance"].startswith("core, item-search")
    assert "proj:epsg (older form)" in told["item fields"]
    assert (
        "strong ETag, 512 x 512 x 3 uint8, tiles of 128, DEFLATE, 0 overviews, EPSG:32633" in told["file visual"]
    )
    assert found.exit_code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_the_number_of_requests_is_exact(tmp_path: Path, stage: Stage) -> None:
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    log = stage.sandbox.log()
    assert (found.requests, len(log)) == (ORDINARY, ORDINARY)
    assert found.bytes == sum(entry.bytes for entry in log)
    assert [entry.path for entry in log[:4]] == [
        "/v1",
        "/v1/collections/sentinel-2-l2a",
        "/v1/search",
        "/v1/search",
    ]
    stage.sandbox.reset()
    two = checked(worlds.write_config(tmp_path, stage.sandbox, output={"assets": ["visual", "red"]}))
    assert two.requests == len(stage.sandbox.log()) == ORDINARY + 2


def test_nine_parks_and_one_asset_take_about_ten_requests(tmp_path: Path, stage: Stage) -> None:
    parks = {name: shapely.Polygon(shapely.get_coordinates(shapely.from_wkt(wkt))) for name, wkt in PARKS}
    found = checked(worlds.write_config(tmp_path, stage.sandbox, areas=parks))
    assert right(found)["areas"] == "9 areas"
    assert found.requests == len(stage.sandbox.log()) == ORDINARY
    assert alarms(found) == {}


def test_a_state_is_left_as_it_is(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    ran = worlds.run(path, stage.sandbox, limit=6)
    folder = ran.config.output.folder
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}
    found = checked(path)
    assert right(found)["state"].startswith(str(ran.config.run.state))
    after = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}
    assert after == before


def test_a_folder_of_another_state_is_told_although_there_is_one(tmp_path: Path, stage: Stage) -> None:
    worlds.run(worlds.write_config(tmp_path, stage.sandbox, name="first"), stage.sandbox, limit=6)
    own = worlds.write_config(tmp_path, stage.sandbox, name="second")
    worlds.run(own, stage.sandbox, limit=6)
    assert checked(own).exit_code == 0
    path = worlds.write_config(tmp_path, stage.sandbox, name="second", output={"folder": "first-data"})
    found = checked(path)
    assert "first-data belongs to the state" in only(found, "state")
    assert found.exit_code == 2


def test_a_state_that_was_moved_is_not_taken_for_another_one(tmp_path: Path, stage: Stage) -> None:
    ran = worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox, limit=6)
    (tmp_path / "elsewhere").mkdir()
    state = ran.config.run.state.rename(tmp_path / "elsewhere" / "state.sqlite")
    path = worlds.write_config(tmp_path, stage.sandbox, run={"state": "elsewhere/state.sqlite"})
    found = checked(path)
    assert f"{state} is there" in right(found)["state"]
    assert found.exit_code == 0
    worlds.run(path, stage.sandbox, limit=6)


# ---- the command --------------------------------------------------------------------------------------------


def test_the_table_fits_80_columns_and_ends_with_the_verdict(
    tmp_path: Path, stage: Stage, s2: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, search={"reprocessed": "all"})
    monkeypatch.setenv("COLUMNS", "80")
    ended = s2("check", path)
    assert ended.code == 0
    *lines, last = ended.out.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "][:5] == [
        "configuration",
        "period",
        "areas",
        "file",
        "disk",
    ]
    assert re.match(r"(everything is right: |)a run can start.*\(8 requests, ", last), last
    quiet = s2("-q", "check", path)
    assert "right" not in quiet.out


def test_a_wrong_line_says_what_to_do_and_gives_its_exit_code(tmp_path: Path, stage: Stage, s2: Shell) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    stage.sandbox.fault("code", path="/search$", count=None, status=500)
    ended = s2("check", path)
    assert ended.code == 3
    (line,) = [line for line in ended.out.splitlines() if line.startswith("search")]
    assert re.search(r"wrong +the server answers 500: .*; the service has a problem: try again later", line)
    assert ended.out.splitlines()[-1].startswith("1 thing is wrong")
    assert "a run would end with exit code 3" in ended.out


def test_json_holds_no_secrets_and_no_people(
    tmp_path: Path, stage: Stage, s2: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / "annabella"
    path = worlds.write_config(home / "projects", stage.sandbox)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "annabella")
    monkeypatch.setenv("https_proxy", "http://annabella:geheim1@127.0.0.1:9")
    stage.sandbox.fault("item", how="href", to=f"{stage.sandbox.origin}/cogs/x/SCL.tif?sig=geheim2", count=None)
    ended = s2("check", path, "--json")
    told = json.loads(ended.out)
    assert told["exit_code"] == ended.code == 3
    assert {one["check"]: one["verdict"] for one in told["findings"]}["file scl"] == "wrong"
    assert {"s2async", "python", "system", "verdict", "requests", "bytes"} <= told.keys()
    for secret in ("geheim", "annabella", str(home)):
        assert secret not in ended.out
    assert "~/projects/config-data" in ended.out


def test_a_configuration_that_cannot_be_read_is_the_only_thing_checked(tmp_path: Path, s2: Shell) -> None:
    path = tmp_path / "c.toml"
    path.write_text('areas = "C:\\temp\\fields.geojson"\n')
    ended = s2("check", path)
    assert ended.code == 2
    told = re.sub(r"\s+", " ", ended.out)
    assert re.match(
        r"configuration wrong .*c\.toml:1: .*; write C:/Users/\.\.\. or single quotes not tried, ", told
    )
    assert "not tried, because the configuration cannot be used: period, areas, file handles, disk" in told
    assert told.endswith("a run would end with exit code 2 (0 requests, 0 B; nothing was kept) ")


# ---- broken worlds: configuration and this machine ----------------------------------------------------------


def test_each_area_that_cannot_be_used_has_a_line(s2: Shell, tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("areas = ")]
    path.write_text("\n".join(['areas = "a.csv"', *lines]))
    (tmp_path / "a.csv").write_text('name,wkt\nP,POINT EMPTY\n"Q\u202e",POINT EMPTY\n')
    ended = s2("check", path)
    assert ended.code == 2
    assert "\\u000a" not in ended.out
    assert "\u202e" not in ended.out
    told = [line for line in ended.out.splitlines() if "is empty; draw a polygon" in line]
    assert ["a.csv:2" in line for line in told] == [True, False]
    assert ["a.csv:3" in line for line in told] == [False, True]
    answer = json.loads(s2("check", path, "--json").out)
    (found,) = [one["found"] for one in answer["findings"] if one["verdict"] == "wrong"]
    assert [line.rpartition(": ")[2] for line in found.split("\n")[1:]] == ["is empty; draw a polygon"] * 2


def test_areas_that_are_not_there(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("areas = ")]
    path.write_text("\n".join(['areas = "nowhere.geojson"', *lines]))
    found = checked(path)
    assert "no such file" in only(found, "areas")
    assert (found.exit_code, found.requests) == (2, 2)
    assert untried(found) == {
        "search",
        "next page",
        "item fields",
        "asset scl",
        "asset visual",
        "file scl",
        "file visual",
    }


def test_a_period_in_the_future(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2099-01-01/.."})
    found = checked(path)
    assert "begins in the future" in only(found, "period")
    assert found.exit_code == 2


def test_a_full_disk(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, run={"reserve": "1048576 GiB"})
    found = checked(path)
    assert re.search("wrong: disk full at .*; free some space", only(found, "disk"))
    assert found.exit_code == 6


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder in which nobody can write")
def test_a_folder_that_cannot_be_written(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(
        tmp_path, stage.sandbox, output={"folder": "/sys/kernel/s2async"}, run={"reserve": 0}
    )
    found = checked(path)
    assert re.search(r"wrong: cannot write /sys/kernel/\S+: .*make it writable", only(found, "output"))
    assert found.exit_code == 6


def test_few_file_handles(tmp_path: Path, stage: Stage) -> None:
    resource = pytest.importorskip("resource")
    path = worlds.write_config(tmp_path, stage.sandbox, network={"connections": 64})
    told = json.loads(process_with_limit(resource, path, 60)[1])
    found = {one["check"]: one for one in told["findings"] if one["verdict"] in ("odd", "wrong")}
    assert found.keys() == {"file handles"}
    assert "instead of 64" in found["file handles"]["found"]
    code, out = process_with_limit(resource, path, 26)
    found = {one["check"]: one for one in json.loads(out)["findings"] if one["verdict"] == "wrong"}
    assert code == 6
    assert "raise the limit (ulimit -n)" in found["file handles"]["found"]


def process_with_limit(resource: Any, path: Path, files: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "s2async", "check", str(path), "--json"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_clock_that_is_off(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    date = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)
    stage.sandbox.fault("always", path="^/v1$", count=None, name="Date", value=date)
    found = checked(path)
    assert "this machine is 3.0 hours behind the catalogue; set the clock" in only(found, "clock")
    assert found.exit_code == 0


# ---- broken worlds: the way to the service ------------------------------------------------------------------


def foreign(tmp_path: Path, url: str, **network: Any) -> Path:
    """A config for another catalogue."""
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
[[areas]]
name = "Meadow"
wkt = "POLYGON ((13.4 52.47, 13.42 52.47, 13.42 52.48, 13.4 52.47))"
[search]
catalog = {{ url = "{url}", collection = "sentinel-2-l2a", assets = {{ scl = "scl" }} }}
[network]
connect_timeout = 5
"""
    )
    return path


def test_a_name_that_does_not_resolve(tmp_path: Path) -> None:
    found = checked(foreign(tmp_path, f"https://{'a' * 64}.test/v1"))  # no label is so long: nobody is asked
    assert "cannot be resolved" in only(found, "name")
    assert (found.exit_code, found.requests) == (3, 0)
    assert {"TLS", "catalogue", "search", "file scl"} <= untried(found)


def test_a_name_that_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 443))]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolved)
        found = checked(foreign(tmp_path, "https://stac.lan.test/v1"))
    assert "add its origin to private_origins in [network]" in only(found, "name")


def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        found = checked(foreign(tmp_path, f"https://127.0.0.1:{bound.getsockname()[1]}/v1"))
    assert "cannot connect (Connection refused)" in only(found, "catalogue")
    assert (found.exit_code, found.requests) == (3, 0)


def test_a_proxy_that_refuses(tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", server.origin.replace("//", "//me:geheim@"))
    found = checked(foreign(tmp_path, "https://stac.example.test/v1"))
    told = only(found, "proxy")
    assert f"{server.origin}, with a user name (from HTTPS_PROXY): the proxy answers 407" in told
    assert "geheim" not in told
    assert found.exit_code == 3
    assert [entry["method"] for entry in server.log] == ["CONNECT", "CONNECT"]


def test_a_proxy_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{bound.getsockname()[1]}")
        found = checked(foreign(tmp_path, "https://stac.example.test/v1"))
    assert "cannot connect to the proxy" in only(found, "proxy")


def test_a_proxy_variable_that_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:ge#heim@proxy:1")
    found = checked(foreign(tmp_path, "https://stac.example.test/v1"))
    told = only(found, "proxy")
    assert "https_proxy is not an address" in told
    assert "heim" not in told
    assert (found.exit_code, found.requests) == (2, 0)


def test_a_certificate_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    found = checked(foreign(tmp_path, "https://stac.example.test/v1"))
    assert "SSL_CERT_FILE names" in only(found, "TLS")
    assert found.exit_code == 2


def test_a_server_without_tls(tmp_path: Path, server: FaultServer) -> None:
    found = checked(foreign(tmp_path, f"{server.origin.replace('http:', 'https:')}/v1"))
    assert "TLS failed" in only(found, "TLS")
    assert found.exit_code == 3


# ---- broken worlds: the catalogue ---------------------------------------------------------------------------


def test_a_page_to_sign_in_to_in_place_of_the_catalogue(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("html", path="^/v1", count=None)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    assert re.search("expected JSON, got text/html .*perhaps a page to sign in to", only(found, "catalogue"))
    assert (found.exit_code, found.requests) == (3, 2)


def test_a_collection_that_is_not_there(tmp_path: Path, stage: Stage) -> None:
    catalog = {"url": stage.sandbox.api, "collection": "sentinel-2-l3a", "assets": {"scl": "scl"}}
    found = checked(worlds.write_config(tmp_path, stage.sandbox, search={"catalog": catalog}))
    assert "has no collection sentinel-2-l3a; correct it under [search] (did you mean sentinel-2-l2a?)" in only(
        found, "collection"
    )
    assert (found.exit_code, found.requests) == (2, 2)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (403, "an API key under [network] headers"),
        (500, "the service has a problem: try again later"),
        (429, "too many requests"),
    ],
)
def test_a_search_that_is_refused(tmp_path: Path, stage: Stage, status: int, advice: str) -> None:
    stage.sandbox.fault("code", path="/search$", count=None, status=status)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    told = only(found, "search")
    assert f"the server answers {status}" in told
    assert advice in told
    assert found.exit_code == 3
    assert untried(found) == {"next page", "item fields", "asset scl", "asset visual", "file scl", "file visual"}


def test_a_search_that_no_method_reaches(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path="/search$", count=None, status=405)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    assert "405" in only(found, "search")
    assert found.exit_code == 3


def test_a_landing_page_that_fails_while_the_search_works(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path="^/v1$", count=None, status=404)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    assert only(found, "catalogue").startswith("odd: not there (404)")
    assert found.exit_code == 0
    assert untried(found) == {"clock", "conformance"}


def test_a_link_that_cannot_be_followed(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("next", count=None, how="odd")
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    assert "the next page cannot be asked for" in only(found, "next page")
    assert found.exit_code == 3


def test_no_scene_over_the_areas(tmp_path: Path, stage: Stage) -> None:
    found = checked(worlds.write_config(tmp_path, stage.sandbox, search={"datetime": "2021-01-01/2021-02-01"}))
    assert "no scene over North and 5 more, 2021-01-01/2021-02-01" in only(found, "search")
    assert found.exit_code == 0


@pytest.mark.parametrize(
    ("how", "says", "code"),
    [
        ("no_datetime", "wrong: 12 of 12 items cannot be used, such as item S2A_", 3),
        ("nowhere", "neither geometry nor bbox is valid", 3),
        ("null_geometry", "odd: geometry: missing in 12 of 12 items; the bbox is used", 0),
        ("cloud:text", "odd: eo:cloud_cover: not usable ('many') in 12 of 12 items; such scenes are kept", 0),
        ("proj_null", "odd: CRS: no EPSG code in proj:epsg or proj:code in 12 of 12 items", 0),
    ],
)
def test_items_that_are_not_as_expected(tmp_path: Path, stage: Stage, how: str, says: str, code: int) -> None:
    stage.sandbox.fault("item", how=how, count=None)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    told = alarms(found)
    assert list(told) == ["item fields"]
    assert says in told["item fields"]
    assert found.exit_code == code


# ---- broken worlds: the files -------------------------------------------------------------------------------


def test_only_jpeg_2000(tmp_path: Path, jp2_stage: Stage) -> None:
    found = checked(worlds.write_config(tmp_path, jp2_stage.sandbox))
    told = alarms(found)
    assert told.keys() == {"asset scl", "asset visual"}
    assert "scl cannot be read in any of 2 scenes: only as JPEG 2000; only COGs can be read" in told["asset scl"]
    assert found.exit_code == 2
    assert untried(found) == {"file scl", "file visual"}


def test_an_asset_key_that_no_item_has(tmp_path: Path, stage: Stage) -> None:
    found = checked(worlds.write_config(tmp_path, stage.sandbox, output={"assets": ["visual", "B04"]}))
    told = only(found, "asset B04")
    assert "B04 is no asset of any of 12 scenes; there are: red, scl, visual" in told
    assert found.exit_code == 2


def test_a_picture_in_place_of_the_classification(tmp_path: Path, stage: Stage) -> None:
    catalog = {"url": stage.sandbox.api, "collection": "sentinel-2-l2a", "assets": {"scl": "visual"}}
    path = worlds.write_config(tmp_path, stage.sandbox, search={"catalog": catalog}, output={"assets": ["red"]})
    found = checked(path)
    told = only(found, "file scl")
    assert told.startswith("wrong: not a scene classification: 3 x uint8; correct the key")
    assert found.exit_code == 3


def test_no_ranges(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("norange", path="/cogs/", count=None)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    assert "the server does not serve ranges" in only(found, "file scl")
    assert untried(found) == {"file visual"}
    assert found.exit_code == 3


def test_a_weak_etag(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("always", path="/cogs/", count=None, name="ETag", value='W/"x"')
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    told = alarms(found)
    assert told.keys() == {"file scl", "file visual"}
    assert all(text.startswith("odd: weak ETag") for text in told.values())
    assert found.exit_code == 0


def test_no_etag_and_no_date(tmp_path: Path, stage: Stage) -> None:
    for name in ("ETag", "Last-Modified"):
        stage.sandbox.fault("always", path="/SCL.tif", count=None, name=name)
    told = only(checked(worlds.write_config(tmp_path, stage.sandbox)), "file scl")
    assert "neither ETag nor Last-Modified" in told


def test_a_crs_that_differs_from_the_item(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("item", how="proj_wrong", count=None)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    told = alarms(found)
    assert told.keys() == {"file scl", "file visual"}
    assert "the item says EPSG:32601, the file EPSG:32633" in told["file scl"]
    assert found.exit_code == 0


def test_a_page_to_sign_in_to_in_place_of_files(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("html", path="/cogs/", count=None)
    told = only(checked(worlds.write_config(tmp_path, stage.sandbox)), "file scl")
    assert re.search("wrong: .*got text/html.*perhaps one to sign in to", told)


def test_files_that_are_denied(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path="/cogs/", count=None, status=403)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    assert "access denied (403)" in only(found, "file scl")
    assert "signed addresses" in only(found, "file scl")


def test_files_that_are_not_there(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("code", path="/SCL.tif", count=None, status=404)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    assert "(nor 2 others)" in only(found, "file scl")
    assert found.exit_code == 3
    assert found.requests == ORDINARY + 1, "three headers in place of a header and a block"


def test_a_block_that_is_damaged(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("noise", path="/TCI.tif", position="tile", count=None)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    assert re.search(r"wrong: block \d+ .*TCI\.tif", only(found, "file visual"))
    assert found.exit_code == 3


def test_an_address_that_is_not_allowed(tmp_path: Path, stage: Stage) -> None:
    stage.sandbox.fault("item", how="href", to="https://cogs.example.test/SCL.tif", count=None)
    found = checked(worlds.write_config(tmp_path, stage.sandbox))
    told = only(found, "asset scl")
    assert 'add "https://cogs.example.test" to origins in [network]' in told
    assert found.exit_code == 2
