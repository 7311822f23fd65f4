"""Values of the nine parks: what they cost beside crops of the same bands, and what ten kills change."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest
import shapely
from shapely import Polygon

from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.world.make import make_world
from s2async.sandbox.world.parks import PARKS
from tests.support import worlds
from tests.support.kills import kill_after

pytestmark = pytest.mark.long

LIMIT = 80
"""Cloud cover of an area up to which it has values, or crops."""
KILLS = 10


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Passes of a summer over the squares of the demo; answers take a while, so that kills meet work under way."""
    made = make_world(
        tmp_path_factory.mktemp("parks") / "world",
        assets=["scl", "red", "nir"],
        only=["33UUU", "33UVU"],
        period=(date(2022, 6, 1), date(2022, 8, 31)),
        items=8,
    )
    with start(made.folder, delay=10) as sandbox:
        yield sandbox


def config(folder: Path, sandbox: Sandbox, **sections: Any) -> Path:
    catalog = {"url": sandbox.api, "collection": "sentinel-2-l2a", "assets": {"scl": "scl"}}
    return worlds.write_config(
        folder,
        sandbox,
        areas={name: cast("Polygon", shapely.from_wkt(wkt)) for name, wkt in PARKS},
        search={
            "catalog": {**catalog, "offsets": "earth-search"},
            "datetime": "2022-06-01/2022-08-31",
            "max_scene_cloud": 100,
            "overlaps": "one",
        },
        # What a file's header and last block are guessed to need is learned from the files before it: with one
        # connection these are the same in each run, so that counts of two runs can be compared.
        network={"connections": 1},
        **sections,
    )


def of_values(folder: Path, sandbox: Sandbox) -> Path:
    values = {"indices": ["NDVI"], "max_area_cloud": LIMIT}
    return config(folder, sandbox, output={"assets": []}, values=values)


def keys(path: Path) -> list[tuple[str, str]]:
    """Area and item of each row of a table of values."""
    with path.open(newline="") as lines:
        return [(row["area"], row["item"]) for row in csv.DictReader(lines)]


def test_values_cost_what_crops_of_their_bands_cost_and_outlive_ten_kills(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    crops = worlds.run(
        config(tmp_path / "crops", sandbox, output={"assets": ["red", "nir"]}, clouds={"max_area_cloud": LIMIT}),
        sandbox,
    )
    calm = worlds.run(of_values(tmp_path / "calm", sandbox), sandbox)
    assert crops.summary.left == calm.summary.left == 0
    assert (crops.bytes, calm.bytes) == (crops.summary.bytes, calm.summary.bytes), "the server counts the same"
    assert calm.bytes <= 1.01 * crops.bytes
    assert len(calm.log) <= 1.01 * len(crops.log)
    assert {entry.path for entry in calm.log} == {entry.path for entry in crops.log}
    table = calm.config.output.folder / "values.csv"
    found = keys(table)
    cut = {key for key, job in worlds.jobs(crops.config).items() if job.products.keys() == {"red", "nir"}}
    assert sorted(found) == sorted(cut)
    assert len({area for area, _ in found}) == len(PARKS)
    assert not [*calm.config.output.folder.rglob("*.tif")]

    path, chance = of_values(tmp_path / "torn", sandbox), random.Random(7)
    kills = sum(kill_after(path, sandbox, chance.randint(2, 9)) for _ in range(KILLS))
    assert kills == KILLS
    torn = worlds.run(path, sandbox)
    if torn.summary.left:  # on a slow machine an overpass may wait
        torn = worlds.run(path, sandbox)
    again = torn.config.output.folder / "values.csv"
    assert len({*keys(again)}) == len(keys(again))
    assert again.read_bytes() == table.read_bytes()
