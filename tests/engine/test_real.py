"""The whole line on real pixels: recorded items and their SCL and TCI, served by the sandbox's server."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from shapely import Polygon

from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.models import Area
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.truth import oracle

pytestmark = pytest.mark.slow

CONFIG = """
areas = [{areas}]
[search]
catalog = {{ url = "{api}", collection = "sentinel-2-l2a", assets = {{ scl = "scl" }} }}
datetime = "2020-01-01/2023-12-31"
max_scene_cloud = 100
[clouds]
min_area_valid = 0
max_area_cloud = 2
[network]
origins = ["{origin}"]
"""


@pytest.fixture(scope="module")
def server(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("real-world")
    lines = []
    for document in sorted((real_data / "raster").glob("*/*/*.json")) + sorted(
        (real_data / "raster").glob("29*/*.json")
    ):
        item = json.loads(document.read_text())
        place = folder / "cogs" / item["id"]
        place.mkdir(parents=True)
        item["assets"] = {
            key: {"href": f"{{origin}}/cogs/{item['id']}/{name}", "type": "image/tiff; application=geotiff"}
            for key, name in (("scl", "SCL.tif"), ("visual", "TCI.tif"))
        }
        item["links"] = []
        shutil.copy(document.with_name("SCL.tif"), place / "SCL.tif")
        tci = next(document.parent.glob("TCI*.tif"))
        shutil.copy(tci, place / "TCI.tif")
        lines.append(json.dumps(item, separators=(",", ":")))
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "world.json").write_text(json.dumps({"format": 1, "key": "real", "items": len(lines)}))
    with start(folder) as sandbox:
        yield sandbox


def _areas() -> list[str]:
    """Squares and odd shapes over both scenes, some across their edges, a ring of water and cloud in each."""
    generator = np.random.default_rng(1)
    shapes = []
    for index in range(40):
        west, east, south, north = (14.9, 16.3, 45.0, 46.2) if index % 3 else (-12.0, -10.8, 24.2, 25.4)
        x, y = generator.uniform(west, east), generator.uniform(south, north)
        radius = generator.uniform(0.01, 0.06)
        angles = np.sort(generator.uniform(0, 2 * np.pi, 7))
        points = [(x + radius * np.cos(a), y + radius * np.sin(a) * generator.uniform(0.4, 1)) for a in angles]
        polygon = Polygon(points)
        if polygon.is_valid and polygon.area:
            shapes.append(f'{{ name = "area {index}", wkt = "{polygon.wkt}" }}')
    return shapes


def test_real_pixels_give_the_numbers_and_the_crops_of_rasterio_mask(server: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(areas=", ".join(_areas()), api=server.api, origin=server.origin))
    config = Config.load(path)
    areas: list[Area] = area_files.load(config)
    summary = asyncio.run(pipeline.run(config, areas))
    assert summary.clean
    assert not summary.left
    jobs = list(oracle.recorded_jobs(config.run.state))
    statuses = {job.status for job in jobs}
    assert {"saved", "cloudy", "outside"} <= statuses
    local = server.folder
    faults = [
        fault
        for job in jobs
        for fault in oracle.check_job(
            job, lambda href: local / urlsplit(href).path.lstrip("/"), config.output.folder
        )
    ]
    assert not faults
    assert len(jobs) > 100
