"""The handed-out inputs that failed once: each ends as its README expects, by one command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.geometry.base import BaseGeometry

from s2async import read
from s2async.areas import loader
from s2async.config.model import Config
from s2async.sandbox.truth import oracle
from tests.support import bugs

pytestmark = pytest.mark.long

FIELD = shapely.box(12.9, 52.47, 12.91, 52.48)
"""Where the shapefile's field lies."""


@pytest.fixture(scope="module")
def made(bug_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bugs.make_worlds(bug_cases, tmp_path_factory.mktemp("worlds"))


@pytest.fixture(scope="module")
def plain_server(bug_cases: Path, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[bugs.Served]:
    with bugs.serve(bug_cases, made / "plain", tmp_path_factory.mktemp("log") / "log.jsonl") as served:
        yield served


@pytest.fixture
def plain(plain_server: bugs.Served) -> bugs.Served:
    """The plain world, with an empty log."""
    plain_server.log.write_text("")
    return plain_server


def metres(one: BaseGeometry, other: BaseGeometry) -> float:
    """How far two shapes lie apart, about."""
    return 111_000 * one.hausdorff_distance(other)


# ---- 01 and 02: places ------------------------------------------------------------------------------------


def test_a_projection_without_a_datum_is_refused(bug_cases: Path, tmp_path: Path) -> None:
    folder = bugs.copied(bug_cases, "01-prj-without-datum", tmp_path)
    for command in ("plan", "run"):
        ended = bugs.s2async(folder, command, "c.toml")
        assert ended.code == 2, ended
        assert "datum" in ended.said
        assert "crs" in ended.said
        assert "fields" in ended.said


def test_a_crs_in_the_config_mends_a_projection_without_a_datum(bug_cases: Path, tmp_path: Path) -> None:
    folder = bugs.copied(bug_cases, "01-prj-without-datum", tmp_path)
    config = folder / "c.toml"
    config.write_text('crs = "EPSG:31468"\n' + config.read_text())
    (field,) = loader.load(Config.load(config))
    assert metres(field.polygon, FIELD) < 5


def test_a_place_that_may_be_far_off_is_doubted_aloud(bug_cases: Path, plain: bugs.Served, tmp_path: Path) -> None:
    config = plain.config(tmp_path / "here")
    text = config.read_text().partition("[[areas]]")[0]
    config.write_text('areas = "twd67.geojson"\n' + text)
    shutil.copy(bug_cases / "02-crs-ballpark-only" / "twd67.geojson", config.parent)
    for command in ("plan", "run"):
        ended = bugs.s2async(config.parent, command, config.name)
        assert ended.code == 0, ended
        assert "hundreds of metres" in ended.said, ended


# ---- 13: a count that is estimated ------------------------------------------------------------------------


def test_an_estimated_count_is_no_alarm(bug_cases: Path, made: Path, tmp_path: Path) -> None:
    with bugs.serve(bug_cases, made / "plain", tmp_path / "log.jsonl", {"matched": 1.3}) as served:
        config = served.config(tmp_path / "here")
        first, second, silent = (
            bugs.s2async(config.parent, *options, "run", config.name) for options in ([], [], ["-q"])
        )
        asked = [entry for entry in served.requests() if entry["m"] == "POST"]
        assert (first.code, second.code, silent.code) == (0, 0, 0), first
        assert "incomplete" not in first.said + second.said
        assert not served.faults(config, config.parent)
        assert 2 <= len(asked) <= 12


# ---- 16: nothing that can be read -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "words"),
    [("cdse", ("jp2", "jpeg 2000", "jpeg2000", "s3://")), ("s3only", ("s3://", "not public over https"))],
)
def test_nothing_readable_is_no_success(
    bug_cases: Path, made: Path, tmp_path: Path, world: str, words: tuple[str, ...]
) -> None:
    with bugs.serve(bug_cases, made / world, tmp_path / "log.jsonl") as served:
        change = {}
        if world == "cdse":
            change["assets"] = 'scl = "scl", visual = "visual" -> scl = "SCL_20m", visual = "TCI_10m"'
        config = served.config(tmp_path / "loud", **change)
        ended = bugs.s2async(config.parent, "run", config.name)
        assert ended.code == 2, ended
        assert any(word in ended.said for word in words), ended
        told = bugs.s2async(config.parent, "status", config.name)
        assert any(word in told.said for word in words), told
        config = served.config(tmp_path / "quiet", **change)
        silent = bugs.s2async(config.parent, "-q", "run", config.name)
        assert silent.code == 2, silent
        assert any(word in silent.err.lower() for word in words), silent


def test_an_alternate_address_at_an_allowed_origin_is_read(bug_cases: Path, made: Path, tmp_path: Path) -> None:
    with bugs.serve(bug_cases, made / "s3alt", tmp_path / "log.jsonl") as served:
        config = served.config(tmp_path / "here")
        ended = bugs.s2async(config.parent, "run", config.name)
        assert ended.code == 0, ended
        assert not served.faults(config, config.parent)


# ---- 27: a proxy's password -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "proxy",
    [
        "http://anna:geheim1#x@127.0.0.1:8807",
        r"http://CORP\anna:geheim1@host:8080",
        "http://anna:geheim1/b@host:8080",
        "http://host:80geheim1",
        "http://[::geheim1:8807",
    ],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_proxy_that_is_no_address_is_refused_without_its_text(
    plain: bugs.Served, tmp_path: Path, proxy: str, command: str
) -> None:
    config = plain.config(
        tmp_path / "here",
        url=f"http://127.0.0.1:{plain.port}/v1 -> https://stac.example.test/v1",
    )
    ended = bugs.s2async(config.parent, command, config.name, HTTPS_PROXY=proxy)
    assert ended.code == 2, ended
    assert "https_proxy" in ended.said
    assert "geheim1" not in ended.said
    assert "anna" not in ended.said
    assert len(ended.err.strip().splitlines()) <= 2, ended
    left = [path for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert not [path for path in left if b"geheim1" in path.read_bytes()]


# ---- 28: shares -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nolock(bug_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that lets a folder behave like an office's share."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for a file system that cannot sync folders or lock files")
    library = tmp_path_factory.mktemp("library") / "nolock.so"
    source = bug_cases / "_harness" / "nolock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=200)
    return library


@pytest.mark.parametrize("state", ["elsewhere", "share"])
def test_a_share_that_cannot_sync_its_folders_takes_crops(
    plain: bugs.Served, nolock: Path, tmp_path: Path, state: str
) -> None:
    share, config = _on_share(plain, tmp_path, state)
    env = {"LD_PRELOAD": str(nolock), "NOLOCK_DIR": str(share), "NOLOCK_MODE": "dirsync"}
    ended = bugs.s2async(tmp_path, "run", str(config), **env)
    assert ended.code == 0, ended
    assert not plain.faults(config, share)
    assert bugs.s2async(tmp_path, "verify", str(config), **env).code == 0


@pytest.mark.parametrize("mode", ["flock", "fcntl", "flock,fcntl", "flock,fcntl,dirsync"])
def test_a_share_without_locks_takes_no_state(plain: bugs.Served, nolock: Path, tmp_path: Path, mode: str) -> None:
    share, config = _on_share(plain, tmp_path, "share")
    env = {"LD_PRELOAD": str(nolock), "NOLOCK_DIR": str(share), "NOLOCK_MODE": mode}
    ended = bugs.s2async(tmp_path, "run", str(config), **env)
    assert ended.code == 6, ended
    assert "lock" in ended.said
    assert "state" in ended.said
    assert "local" in ended.said
    share, config = _on_share(plain, tmp_path / "other", "elsewhere")
    ended = bugs.s2async(tmp_path, "run", str(config), **{**env, "NOLOCK_DIR": str(share)})
    assert ended.code == 0, ended
    assert not plain.faults(config, share)


def _on_share(plain: bugs.Served, folder: Path, state: str) -> tuple[Path, Path]:
    """The share's folder, and a config whose crops are there."""
    share = folder / "share"
    share.mkdir(parents=True)
    config = plain.config(folder, "28-share-without-folder-fsync/c.toml")
    (folder / "elsewhere").mkdir()
    config.write_text(
        f'{config.read_text()}[output]\nfolder = "{share}"\n[run]\nstate = "{folder / state}/state.sqlite"\n'
    )
    return share, config


# ---- 30: one folder, two states ---------------------------------------------------------------------------


def test_a_folder_belongs_to_one_state(plain: bugs.Served, tmp_path: Path) -> None:
    full = plain.config(tmp_path, "30-two-states-one-folder/full.toml")
    core = plain.config(tmp_path, "30-two-states-one-folder/core.toml")
    ended = bugs.s2async(tmp_path, "run", full.name)
    assert ended.code == 0, ended
    assert not plain.faults(full, tmp_path / "shared")
    before = {path: path.read_bytes() for path in (tmp_path / "shared").rglob("*.tif")}
    refused = bugs.s2async(tmp_path, "run", core.name)
    assert refused.code == 2, refused
    assert "shared" in refused.said
    assert "state" in refused.said
    again = bugs.s2async(tmp_path, "run", full.name)
    assert again.code == 0, again
    assert before == {path: path.read_bytes() for path in (tmp_path / "shared").rglob("*.tif")}
    assert bugs.s2async(tmp_path, "verify", full.name).code == 0
    assert not plain.faults(full, tmp_path / "shared")


def test_read_gives_no_other_job_s_pictures(plain: bugs.Served, tmp_path: Path) -> None:
    full = plain.config(tmp_path, "30-two-states-one-folder/full.toml")
    core = plain.config(tmp_path, "30-two-states-one-folder/core.toml")
    for config in (full, core):
        bugs.s2async(tmp_path, "run", config.name)
    crops = list(read(full))
    assert len(crops) == 5
    shape = shapely.from_wkt("POLYGON ((13.4 52.47, 13.42 52.47, 13.42 52.48, 13.4 52.48, 13.4 52.47))")
    for crop in crops:
        right = oracle.plain_crop(plain.world / "files" / crop.item / "TCI.tif", shape)
        assert right is not None
        assert np.array_equal(crop.pixels, right.pixels)


# ---- 37: a locale of one byte -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Latin-1 locale."""
    folder = tmp_path_factory.mktemp("locale")
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", folder / "de_DE.ISO-8859-1"],
        capture_output=True,
        timeout=200,
        check=False,
    )
    if not made or made.returncode:
        pytest.skip("no localedef, or no definitions of locales: a Latin-1 locale cannot be made")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.ISO-8859-1"}


def test_a_locale_that_cannot_name_the_folders_is_refused(
    plain: bugs.Served, tmp_path: Path, latin: dict[str, str]
) -> None:
    config = plain.config(tmp_path, "37-latin1-locale/c.toml")
    ended = bugs.s2async(tmp_path, "run", config.name, **latin)
    assert ended.code == 2, ended
    assert "utf-8" in ended.said
    assert not plain.requests()
    ended = bugs.s2async(tmp_path, "run", config.name, **latin, PYTHONUTF8="1")
    assert ended.code == 0, ended
    assert not plain.faults(config, tmp_path)
    assert {"Поле", "Mühlenfeld"} <= {path.name for path in tmp_path.rglob("*") if path.is_dir()}


# ---- 39: Windows paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["users", "unc", "temp"])
def test_a_windows_path_in_double_quotes_says_what_to_write(bug_cases: Path, tmp_path: Path, name: str) -> None:
    folder = bugs.copied(bug_cases, "39-windows-path", tmp_path)
    ended = bugs.s2async(folder, "plan", f"{name}.toml")
    assert (ended.code, ended.out) == (2, ""), ended
    assert f"{name}.toml:1: " in ended.err
    assert "write c:/users/... or single quotes" in ended.said
