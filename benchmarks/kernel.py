"""Only the statistics of many fields, pixels in memory: s2async for all at once, other tools field by field."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from benchmarks.masks import BLOCK, blocks, fields
from benchmarks.options import Options
from s2async import geo
from s2async.cog.grid import Grid
from s2async.masks.drawing import draw
from s2async.masks.gather import Gather
from s2async.masks.plan import GridPlan
from s2async.models import Area
from s2async.zonal.statistics import Pixels, measure
from s2async.zonal.wanted import Variable

Line = dict[str, Any]
Floats = NDArray[np.float64]

SIDE: Final = 4096
"""Rows and columns of the raster: small enough that NDVI, which the other tools need as a raster, fits into
memory."""
GRID: Final = Grid(width=SIDE, height=SIDE, transform=Affine(10, 0, 399_960, 0, -10, 5_800_020), epsg=32633)
GOOD: Final = 0.6
"""Share of the pixels that are clear."""
STATISTICS: Final = ("mean", "stdev", "min", "max", "median")
VARIABLES: Final = (
    Variable(name="red", formula="red", bands=("red",)),
    Variable(name="nir", formula="nir", bands=("nir",)),
    Variable(name="NDVI", formula="(nir - red) / (nir + red)", bands=("nir", "red")),
)
TOLERANCE: Final = 1e-9
"""Tolerance of the comparison, for tools that select pixels by their centre."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class World:
    """Fields, and rasters in memory."""

    areas: list[Area]
    plane: NDArray[np.object_]
    """The polygons in the plane of the raster."""
    rasters: Mapping[str, NDArray[Any]]
    """red and nir, uint16; clear, bool."""
    masked: Mapping[str, Floats]
    """Reflectance or index by variable; NaN where a pixel does not count."""


def run(options: Options) -> Iterator[Line]:
    """Compare CPU time of counts and statistics of red, nir and NDVI: s2async, exactextract, rasterstats."""
    world = _world(options.areas)
    sample = min(options.sample, options.areas)
    plan = draw(world.areas, GRID)
    flat = gathered(plan, world.rasters)
    ways: dict[str, tuple[int, Callable[[], Any]]] = {
        "kernel": (options.areas, lambda: kernel(*flat)),
        "gathered, then kernel": (options.areas, lambda: kernel(*gathered(plan, world.rasters))),
        "drawn, gathered, then kernel": (
            options.areas,
            lambda: kernel(*gathered(draw(world.areas, GRID), world.rasters)),
        ),
        "numpy, field by field, masks in hand": (sample, lambda: by_numpy(world, plan, sample)),
    }
    for name, way in (("exactextract", by_exactextract), ("rasterstats", by_rasterstats)):
        if find_spec(name):
            ways[f"{name}, field by field"] = (sample, lambda way=way: way(world, sample))  # type: ignore[misc]
        else:
            yield {"way": name, "skipped": "not installed: pip install 's2async[bench]'"}
    yield {"way": "pixels", "mean": round(float(np.diff(flat[1].starts).mean()), 1)}
    rates: dict[str, list[float]] = {}
    for number in range(1, options.rounds + 1):
        for name, (count, work) in ways.items():
            start = time.process_time()
            found = work()
            rate = count / (time.process_time() - start)
            rates.setdefault(name, []).append(rate)
            line = {"way": name, "round": number, "fields_per_cpu_s": round(rate)}
            if name.startswith("kernel"):
                ours = found
            elif "numpy" in name or "rasterstats" in name:  # exactextract weights pixels by their share
                wrong = differing(ours, found)
                line |= {"compared": sample} | ({"fault": f"{wrong} numbers differ"} if wrong else {})
            yield line
    medians = {name: float(np.median(own)) for name, own in rates.items()}
    for name, rate in medians.items():
        yield {"way": name, "median": round(rate), "kernel_is_faster_by": round(medians["kernel"] / rate, 1)}


def gathered(plan: GridPlan, rasters: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], Pixels]:
    """Return the pixels of all fields, block by block."""
    gathers = {name: Gather(plan, range(len(plan)), raster.dtype) for name, raster in rasters.items()}
    for block in blocks(GRID):
        rows, columns = slice(block.row, block.row + BLOCK), slice(block.col, block.col + BLOCK)
        for name, gather in gathers.items():
            gather.take(block, rasters[name][rows, columns])
    return {name: gather.values for name, gather in gathers.items()}, Pixels(starts=gathers["clear"].starts)


def kernel(flat: Mapping[str, NDArray[Any]], pixels: Pixels) -> Floats:
    """Return how many pixels are valid, and their statistics: (fields, variables, 1 + statistics)."""
    found = []
    for variable in VARIABLES:
        data = np.ones_like(flat["clear"])
        counts, statistics = measure(variable, flat, flat["clear"], data, pixels, STATISTICS)
        found.append(np.column_stack([counts[:, 3], statistics]))
    return np.stack(found, axis=1)


def by_numpy(world: World, plan: GridPlan, sample: int) -> Floats:
    """Return the same, computed only by numpy."""
    found = np.full((sample, len(VARIABLES), 6), np.nan)
    for index in range(sample):
        row, col, height, width = plan.windows[index].tolist()
        mask = plan.mask(index)
        for place, raster in enumerate(world.masked.values()):
            values = raster[row : row + height, col : col + width][mask]
            good = values[~np.isnan(values)]
            found[index, place, 0] = len(good)
            if len(good):
                found[index, place, 1:] = good.mean(), good.std(), good.min(), good.max(), np.median(good)
    return found


def by_exactextract(world: World, sample: int) -> Floats:
    """Return the same, computed by exactextract, which weights pixels by their share."""
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    west, north, east, south = GRID.bounds
    sources = [
        NumPyRasterSource(raster, xmin=west, ymin=south, xmax=east, ymax=north, nodata=float("nan"), name=name)
        for name, raster in world.masked.items()
    ]
    operations = ["count", *STATISTICS]
    found = np.empty((sample, len(VARIABLES), 6))
    for index, polygon in enumerate(world.plane[:sample]):
        feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(polygon)}
        (result,) = exact_extract(sources, feature, operations)
        for place, name in enumerate(world.masked):
            found[index, place] = [result["properties"][f"{name}_{operation}"] for operation in operations]
    return found


def by_rasterstats(world: World, sample: int) -> Floats:
    """Return the same, computed by rasterstats, which selects pixels by their centre."""
    from rasterstats import zonal_stats

    operations = ("count", "mean", "std", "min", "max", "median")
    found = np.full((sample, len(VARIABLES), 6), np.nan)
    for index, polygon in enumerate(world.plane[:sample]):
        for place, raster in enumerate(world.masked.values()):
            (result,) = zonal_stats(
                polygon, raster, affine=GRID.transform, nodata=float("nan"), stats=list(operations)
            )
            found[index, place] = [result[operation] for operation in operations]
    return found


def differing(ours: Floats, theirs: Floats) -> int:
    """Return how many numbers differ by more than rounding."""
    same = np.isclose(ours[: len(theirs)], theirs, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return int(np.count_nonzero(~same))


def _world(count: int) -> World:
    random = np.random.default_rng(23)
    polygons = fields(count, GRID)
    areas = [Area(name="", wkb=polygon.wkb, fingerprint="", folder="") for polygon in polygons]
    shape = (GRID.height, GRID.width)
    red, nir = (random.integers(low, high, shape, np.uint16) for low, high in ((300, 1500), (1500, 5000)))
    clear = random.random(shape, np.float32) < GOOD
    rho_red, rho_nir = (np.where(clear, raster / 10_000, np.nan) for raster in (red, nir))
    return World(
        areas=areas,
        plane=shapely.transform(polygons, lambda points: geo.projected(points, GRID.epsg)),
        rasters={"red": red, "nir": nir, "clear": clear},
        masked={"red": rho_red, "nir": rho_nir, "NDVI": (rho_nir - rho_red) / (rho_nir + rho_red)},
    )
