"""A year of generated scenes in both collections of Earth Search: all values of every overpass are right."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from shapely.affinity import rotate

from s2async.events import JobDone
from s2async.models import Scene
from s2async.reflectance.decision import UNSETTLED
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.truth import values as truth
from s2async.sandbox.world.archives import C1, L2A
from s2async.sandbox.world.assets import Scaling
from s2async.zonal.wanted import AreaValues
from tests.support import worlds
from tests.support.seasons import FIELDS, PERIOD, Year

pytestmark = pytest.mark.long

CLASSES = (1, 3, 8, 9, 10)
STATISTICS = ("mean", "stdev", "median", "p10", "p90", "min", "max")
VARIABLES = {
    "red": (("red",), None),
    "swir16": (("swir16",), None),
    "NDVI": (("nir", "red"), truth.ndvi),
    "NDMI": (
        ("nir", "swir16"),
        lambda found: truth.ratio(found["nir"] - found["swir16"], found["nir"] + found["swir16"]),
    ),
}
NAMED = {L2A: "earth-search", C1: "esa"}


def areas() -> dict[str, Any]:
    """The two fields of the world, and small ones in the first: turned, with holes, and in two parts."""
    west, south, east, north = FIELDS["wide"].bounds
    found: dict[str, Any] = {**FIELDS}
    for number in range(20):
        lon, lat = (
            west + (east - west) * (0.1 + 0.2 * (number % 5)),
            south + (north - south) * (0.15 + 0.22 * (number // 5)),
        )
        field: Any = rotate(shapely.box(lon, lat, lon + 0.0028, lat + 0.0018), 11 * number)
        if number % 4 == 1:
            field = field.difference(shapely.box(lon + 0.001, lat + 0.0006, lon + 0.0016, lat + 0.001))
        if number % 4 == 2:
            field = shapely.union(field, shapely.box(lon + 0.0035, lat, lon + 0.0038, lat + 0.0002))
        found[f"field {number}"] = field
    return found


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    folder = tmp_path_factory.mktemp("year")
    yield Year.made(folder / "world")
    shutil.rmtree(folder)  # hundreds of MB


@pytest.fixture(scope="module")
def served(year: Year) -> Iterator[Sandbox]:
    with start(year.world.folder) as sandbox:
        yield sandbox


@pytest.mark.parametrize(("collection", "number"), [(L2A, 22), (C1, 7)])
def test_values_of_every_area_and_overpass(
    year: Year, served: Sandbox, tmp_path: Path, collection: str, number: int
) -> None:
    shapes = dict(list(areas().items())[:number])
    catalog = {"url": served.api, "collection": collection, "assets": {"scl": "scl"}, "offsets": NAMED[collection]}
    path = worlds.write_config(
        tmp_path,
        served,
        areas=shapes,
        search={"catalog": catalog, "datetime": "/".join(map(str, PERIOD)), "max_scene_cloud": 100},
        output={"assets": []},
        values={"bands": ["red", "swir16"], "indices": ["NDVI", "NDMI"]},
    )
    ran = worlds.run(path, served)
    found: dict[str, dict[str, list[AreaValues]]] = defaultdict(dict)
    scenes: dict[str, Scene] = {}
    for event in ran.events:
        if isinstance(event, JobDone):
            results = [one for one in event.outcome.results if isinstance(one, AreaValues)]
            if results:
                found[event.outcome.job.scene.id][event.outcome.job.area.name] = results
                scenes[event.outcome.job.scene.id] = event.outcome.job.scene
    recorded = worlds.jobs(ran.config)
    overpasses = [(area, scenes[item].datatake) for item, several in found.items() for area in several]
    assert len(overpasses) == len(set(overpasses)), "one item of each overpass"
    assert len({datatake for _, datatake in overpasses}) > 40
    for item, several in found.items():
        scene = scenes[item]
        files = {key: year.world.local(scene.assets[key].href) for key in ("red", "nir", "swir16")}
        looks = truth.looks(
            year.world.local(scene.assets["scl"].href), files, [recorded[area, item].polygon for area in several]
        )
        scaling = year.truth.record(collection, item).scaling
        early = UNSETTLED[0] <= scene.datetime < UNSETTLED[1]
        for look, results in zip(looks, several.values(), strict=True):
            assert look is not None
            for (bands, formula), one in zip(VARIABLES.values(), results, strict=True):
                (offset,) = set(one.offsets)
                if not (early and collection == L2A):
                    assert offset == (0 if scaling is Scaling.PLAIN else -1000)
                offsets = dict.fromkeys(bands, offset or 0)
                counts, statistics = truth.summary(look, CLASSES, bands, formula, STATISTICS, offsets)
                assert [*one.counts] == counts
                for name, ours, theirs in zip(STATISTICS, one.statistics, statistics, strict=True):
                    close = 0 if name in ("min", "max", "median") else 1e-9
                    np.testing.assert_allclose(ours, theirs, rtol=close, atol=close)
