"""One scene with bands of all resolutions behind the fault server, and what batches make of its values."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from s2async.catalog.facts import Conventions
from s2async.clouds.scl import SclRule
from s2async.cog import polygon_mask, tiles
from s2async.cog.grid import Grid
from s2async.cog.memory import Budget
from s2async.cog.tile_cache import Shelf
from s2async.engine import worker
from s2async.models import Area, Asset, Batch, BatchResult, Job, Outcome
from s2async.net.client import Transport
from s2async.reflectance.decision import Convention
from s2async.reflectance.evidence import Evidence
from s2async.sandbox.truth import values as truth
from s2async.zonal.wanted import AreaValues, Variable, Wanted
from tests.support.fault_server import FaultServer
from tests.support.served import run
from tests.support.states import make_scene
from tests.support.streams import layout_of

SIDE: Final = 5400
"""Metres."""
WEST, NORTH = 399_960.0, 5_700_000.0
SIZES: Final = {"scl": 20, "red": 10, "nir": 10, "swir16": 20, "coastal": 60}
"""Metres of a pixel of each file."""
CLASSES: Final = (1, 3, 8, 9, 10)
NDVI: Final = Variable(name="NDVI", formula="(nir - red) / (nir + red)", bands=("nir", "red"))
ODD: Final = Variable(name="ODD", formula="swir16 / (nir - red)", bands=("swir16", "nir", "red"))
"""It has no value where both bands are alike."""
FORMULAS: Final[Mapping[str, truth.Formula]] = {
    "NDVI": truth.ndvi,
    "ODD": lambda found: truth.ratio(found["swir16"], found["nir"] - found["red"]),
}
STATISTICS: Final = ("mean", "stdev", "median", "p10", "p90", "p2.5", "min", "max")


def band(key: str) -> Variable:
    return Variable(name=key, formula=key, bands=(key,))


ALL: Final = Wanted(
    variables=(*map(band, ("red", "nir", "swir16", "coastal")), NDVI, ODD),
    statistics=STATISTICS,
    classes=CLASSES,
)


def pixels_of(key: str) -> NDArray[Any]:
    """Patches of classes, or noise with dark pixels, gaps, and pairs that are alike in both bands of 10 m."""
    size = SIZES[key]
    side, generator = SIDE // size, np.random.default_rng(sum(key.encode()))
    if key == "scl":
        patches = generator.choice([4, 5, 6, 9, 8, 0], (27, 27), p=[0.35, 0.2, 0.2, 0.1, 0.1, 0.05])
        found = patches.repeat(10, axis=0).repeat(10, axis=1)
        return np.where(generator.random((side, side)) < 0.02, 3, found).astype(np.uint8)
    found = generator.integers(900, 5000, (side, side), dtype=np.uint16)
    found[generator.random((side, side)) < 0.01] = 0
    if key == "nir":
        alike = np.random.default_rng(7).random((side, side)) < 0.05
        found[alike] = pixels_of("red")[alike]
    return found


def path_of(folder: Path, key: str) -> Path:
    return folder / f"value-{key}.tif"


@lru_cache(maxsize=100)
def _look(folder: Path, polygon: Polygon | MultiPolygon) -> truth.Look:
    bands = {key: path_of(folder, key) for key in SIZES if key != "scl"}
    found = truth.look(path_of(folder, "scl"), bands, polygon)
    assert found is not None
    return found


class ValueScene:
    """The files of one scene, and what batches make of them.

    Args:
        server: serves them.
        conventions: what is said of the archive.
    """

    def __init__(self, server: FaultServer, conventions: Convention = Convention.NONE) -> None:
        self.server = server
        self.conventions = Conventions(present=conventions)
        for key in SIZES:
            if not self.path(key).exists():
                self.write(key, pixels_of(key))

    def path(self, key: str) -> Path:
        return path_of(self.server.folder, key)

    def write(self, key: str, pixels: NDArray[Any]) -> None:
        profile = {
            "driver": "GTiff",
            "count": 1,
            "height": len(pixels),
            "width": len(pixels),
            "dtype": pixels.dtype.name,
            "nodata": 0,
            "crs": "EPSG:32633",
            "transform": Affine(SIZES[key], 0, WEST, 0, -SIZES[key], NORTH),
            "tiled": True,
            "blockxsize": 64,
            "blockysize": 64,
            "compress": "DEFLATE",
            "predictor": 2,
        }
        with rasterio.open(self.path(key), "w", **profile) as file:
            file.write(pixels, 1)

    @property
    def grid(self) -> Grid:
        """That of the bands of 10 m."""
        transform = Affine(10, 0, WEST, 0, -10, NORTH)
        return Grid(width=SIDE // 10, height=SIDE // 10, transform=transform, epsg=32633)

    def jobs(self, areas: Sequence[Area], modes: Mapping[str, tuple[str, Mapping[str, Any]]] = {}) -> list[Job]:
        """One for each area; files may be served in other modes than ``well``, with arguments."""
        assets = {}
        for key in SIZES:
            mode, query = modes.get(key, ("well", {}))
            href = self.server.url(mode, 0 if mode == "well" else -1, self.path(key).name, **query)
            assets[key] = Asset(key=key, href=href)
        scene = replace(make_scene("S2A_33UUU_20230101_0_L2A", baseline="05.09"), assets=assets)
        return [Job(id=number, area=area, scene=scene) for number, area in enumerate(areas, 1)]

    def process(
        self,
        folder: Path,
        jobs: Sequence[Job],
        wanted: Wanted | None = ALL,
        *,
        assets: tuple[str, ...] = (),
        limit: float = 80,
        min_valid: float = 50,
        measuring: bool = False,
        evidence: Evidence | None = None,
        **tools: Any,
    ) -> BatchResult:
        """Work on a batch; the log of the server then has its requests alone."""
        folder.mkdir(exist_ok=True)

        def rule(most: float) -> SclRule:
            return SclRule.from_percent(classes=CLASSES, max_cloud=most, min_valid=min_valid)

        settings = worker.Settings(
            rule=rule(20),
            assets=assets,
            mask=True,
            conventions=self.conventions,
            folder=folder,
            token="s2async-test",
            reserve=1,
            verify=False,
            attribution="synthetic",
            values=wanted,
            values_rule=rule(limit) if wanted else None,
        )

        async def work(transport: Transport, pool: ThreadPoolExecutor) -> BatchResult:
            shelf = Shelf(1 << 24, transport.meter)
            mine = worker.Tools(
                transport=transport, budget=Budget(1 << 24), pool=pool, writers=pool, shelf=shelf, **tools
            )
            batch = Batch(scene=jobs[0].scene, jobs=tuple(jobs), measuring=measuring, evidence=evidence)
            async with asyncio.timeout(60):
                return await worker.process(batch, settings, mine)

        self.server.ask("/__reset")
        return run(self.server, work)[0]

    def block_under(self, key: str, job: Job) -> tuple[int, int]:
        """Place and size of the first block of a file under an area."""
        layout = layout_of(self.path(key).read_bytes())
        found = polygon_mask.cutout(job.area, layout.grid)
        assert found is not None
        block = tiles.blocks_under(layout, [found.window])[0]
        return int(layout.block_offsets[block]), int(layout.block_counts[block])

    def asked(self) -> list[str]:
        """Keys of the files that the last batch asked for, one for each request."""
        return [entry["path"].rpartition("value-")[2].removesuffix(".tif") for entry in self.server.log]

    def bytes_of(self, key: str) -> int:
        """Bytes that the last batch asked of a file, all ranges together."""
        mine = [entry for entry in self.server.log if f"value-{key}" in entry["path"]]
        ranges = (entry["range"].removeprefix("bytes=").split("-") for entry in mine)
        return sum(int(last) + 1 - int(first) for first, last in ranges)

    def values(self, variable: Variable) -> NDArray[np.float64]:
        """A raster of 10 m: the variable where it has a value, without an offset, and -9 elsewhere."""
        side = SIDE // 10

        def fine(key: str) -> NDArray[Any]:
            with rasterio.open(self.path(key)) as file:
                found = file.read(1)
            return np.asarray(found.repeat(SIZES[key] // 10, axis=0).repeat(SIZES[key] // 10, axis=1))

        classes, dn = fine("scl"), {key: fine(key) for key in variable.bands}
        valid = (classes != 0) & ~np.isin(classes, CLASSES) & np.all([one != 0 for one in dn.values()], axis=0)
        reflectances = {key: one[valid] / 10_000 for key, one in dn.items()}
        found = np.full((side, side), -9.0)
        formula = FORMULAS.get(variable.name)
        found[valid] = formula(reflectances)[0] if formula else reflectances[variable.name]
        return found

    def expected(self, outcome: Outcome, variable: Variable, offset: int) -> tuple[list[float], list[float]]:
        """What the plain way gives."""
        look = _look(self.server.folder, outcome.job.area.polygon)
        offsets = dict.fromkeys(variable.bands, offset)
        return truth.summary(look, CLASSES, variable.bands, FORMULAS.get(variable.name), STATISTICS, offsets)

    def check(self, outcome: Outcome, wanted: Wanted = ALL, offset: int = 0) -> None:
        """Compare the values of an outcome with the plain way: all that are wanted must be there, once."""
        found = values_of(outcome)
        assert found.keys() == {wanted.key(variable) for variable in wanted.variables}
        for variable in wanted.variables:
            one = found[wanted.key(variable)]
            counts, statistics = self.expected(outcome, variable, offset)
            assert [*one.counts] == counts, (outcome.job.area.name, variable.name)
            assert one.offsets == (offset,) * len(variable.bands)
            for name, ours, theirs in zip(STATISTICS, one.statistics, statistics, strict=True):
                close = 0 if name in ("min", "max", "median") else 1e-9
                np.testing.assert_allclose(ours, theirs, rtol=close, atol=close, err_msg=f"{variable.name} {name}")


def values_of(outcome: Outcome) -> dict[str, AreaValues]:
    """The values of an outcome by what was asked; none twice."""
    results = [result for result in outcome.results if isinstance(result, AreaValues)]
    found = {result.key: result for result in results}
    assert len(found) == len(results)
    return found
