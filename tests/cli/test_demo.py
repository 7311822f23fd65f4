"""The demo: a sandbox, a config that points at it, the same address next time, and nobody else's file touched."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio.mask
import rasterio.warp
import shapely
from shapely.geometry.base import BaseGeometry

from s2async.areas import loader as area_files
from s2async.cli import demo, main
from s2async.config.model import Config
from s2async.errors import ConfigError, LocalError
from s2async.sandbox.world import make, parks
from tests.support import worlds
from tests.support.pages import Page

pytestmark = pytest.mark.slow


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the year of the nine parks, which takes a minute to make: a small world, and any port."""
    folder = tmp_path / "made"
    folder.mkdir()
    worlds.World(folder, [worlds.day(0), worlds.day(3)])
    add_infrared(folder)
    monkeypatch.setattr(make, "default_folder", lambda: folder)
    monkeypatch.setattr(make, "make_world", lambda _, **__: SimpleNamespace(folder=folder, items=2))
    monkeypatch.setattr(demo, "PORT", 0)
    return folder


def add_infrared(folder: Path) -> None:
    """Give each scene a band ``nir``: the red one of another scene."""
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    for item, other in zip(items, reversed(items), strict=True):
        red = item["assets"]["red"]
        item["assets"]["nir"] = red | {"href": red["href"].replace("B04", "B08")}
        place = folder / "cogs"
        (place / item["id"] / "B08.tif").write_bytes((place / other["id"] / "B04.tif").read_bytes())
    (folder / "items.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items))


def mean_ndvi(folder: Path, area: BaseGeometry) -> float:
    """The mean NDVI of an area on all dates, by rasterio alone."""
    means = []
    for scene in sorted((folder / "cogs").iterdir()):
        bands = []
        for name in ("B04", "B08"):
            with rasterio.open(scene / f"{name}.tif") as file:
                shape = rasterio.warp.transform_geom("OGC:CRS84", file.crs, shapely.geometry.mapping(area))
                pixels, _ = rasterio.mask.mask(file, [shape], crop=True, filled=False)
                bands.append(pixels.astype(float))
        red, nir = bands
        means.append(((nir - red) / (nir + red)).mean())
    return float(np.mean(means))


@pytest.mark.usefixtures("made")
def test_a_config_for_a_running_sandbox_at_the_same_address_each_time(tmp_path: Path) -> None:
    told: list[str] = []
    folder = tmp_path / "a folder"
    with demo.prepared(folder, tell=told.append) as path:
        first = Config.load(path)
        assert first.output.folder == folder / "data"
        assert [area.name for area in area_files.load(first)] == [name for name, _ in parks.PARKS]
        catalog = first.search.resolve()
        assert first.allowed_origins() == (f"http://127.0.0.1:{urlsplit(catalog.url).port}",)
        assert catalog.attribution == "synthetic data of the s2async sandbox, {year}"
        assert first.values
        assert first.values.indices == ("NDVI",)
        assert first.selection().one_per_overpass
    assert told == [f"sandbox with 2 generated scenes at {catalog.url}"]
    with demo.prepared(folder, tell=told.append) as path:
        assert Config.load(path) == first
        with demo.prepared(tmp_path / "other", tell=told.append) as other:
            assert Config.load(other).search.resolve().url != catalog.url


@pytest.mark.usefixtures("made")
def test_a_port_that_is_taken_is_no_fault(tmp_path: Path) -> None:
    with demo.prepared(tmp_path / "one", tell=lambda _: None) as first:
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "config.toml").write_text(first.read_text())
        with demo.prepared(tmp_path / "two", tell=lambda _: None) as second:
            assert Config.load(second).search.resolve().url != Config.load(first).search.resolve().url


@pytest.mark.usefixtures("made")
def test_a_config_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n")
    with (
        pytest.raises(ConfigError, match="not from a demo: it is left unchanged"),
        demo.prepared(tmp_path, tell=print),
    ):
        pass
    assert path.read_text() == "# mine\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="file"), demo.prepared(tmp_path / "file", tell=print):
        pass


def test_the_command_does_the_job_and_goes_on_next_time(
    tmp_path: Path, made: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One of the nine parks lies in the small world. The report shows its scene, whose server still runs."""
    folder = tmp_path / "demo"
    mean = mean_ndvi(made, shapely.from_wkt(dict(parks.PARKS)["Hasenheide"]))
    for again in (False, True):
        with pytest.raises(SystemExit) as ended:
            main.main(["demo", "--folder", str(folder)])
        out, error = capfd.readouterr()
        assert ended.value.code == 0, error
        assert "sandbox with 2 generated scenes" in error
        assert out.startswith("0 jobs processed") == again
        report = folder / "data" / "report.html"
        told, table = out.split("\n\n")
        assert told.endswith(f"\nreport      {report}")
        assert table.splitlines() == [
            "NDVI             winter       spring       summer       autumn",
            f"Hasenheide{f'{mean:.2f} (2)':>13}            -            -            -",
        ]
        page = Page.read(report)
        assert "Clear views of 9 areas" in page.text
        assert "not asked for" not in page.text
        assert "no answer" not in page.text
        assert "opernicus" not in page.text
        assert page.tags.count("image") == 2, "the scene whose cloud is not over the park, and the park"
    crops = [path.parent.name for path in folder.rglob("*.tif")]
    assert crops == ["Hasenheide"] * 2


@pytest.mark.usefixtures("made")
def test_without_its_report_a_demo_has_done_its_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo" / "data" / "report.html").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        main.main(["demo", "--folder", str(tmp_path / "demo")])
    out, error = capfd.readouterr()
    assert ended.value.code == 0
    assert "no report: cannot" in error
    assert "2 saved" in out
    assert "report  " not in out


@pytest.mark.usefixtures("made")
def test_a_quiet_demo_writes_its_report_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["-q", "demo", "--folder", str(tmp_path / "demo")])
    assert ended.value.code == 0
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "demo" / "data" / "report.html").is_file()


SLOW = """
import time
from contextlib import contextmanager
from s2async.cli import main as cli, demo

@contextmanager
def prepared(folder, tell):
    try:
        tell("begun")
        time.sleep(600)
        yield
    finally:
        tell("let go")

demo.prepared = prepared
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_scenes_are_made_lets_go_of_all(number: int) -> None:
    command = [sys.executable, "-c", SLOW, "demo"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    assert child.stderr is not None
    assert child.stderr.readline() == b"begun\n"
    child.send_signal(number)
    _, error = child.communicate(timeout=200)
    assert child.returncode == 128 + number
    assert error.strip() == b"let go"
