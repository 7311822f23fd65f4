"""The cost of masks of many fields: one by one, at once and stored; and the cost of a pass over a raster."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from benchmarks.options import Options
from s2async import geo
from s2async.clouds import scl
from s2async.cog.grid import Cutout, Grid, Window
from s2async.cog.polygon_mask import cutout
from s2async.masks.plan import GridPlan
from s2async.masks.store import Plans
from s2async.masks.sweep import Sweep
from s2async.models import Area

Line = dict[str, Any]

FIELDS: Final = 10_000
RADIUS: Final = 201.0
"""Distance in metres to the farthest corner: fields have 900 pixels of 10 m on average."""
BLOCK: Final = 1024
"""Rows and columns of the blocks of a raster."""
GRIDS: Final = {
    metres: Grid(
        width=109_800 // metres,
        height=109_800 // metres,
        transform=Affine(metres, 0, 399_960, 0, -metres, 5_800_020),
        epsg=32633,
    )
    for metres in (10, 20)
}
"""The rasters of tile 33UUU, by the size of their pixels in metres."""


def run(options: Options) -> Iterator[Line]:
    """Measure CPU time of masks of 10,000 fields (one by one, at once, stored), and of a pass over a raster."""
    polygons = fields(FIELDS)
    for metres, grid in GRIDS.items():
        for number in range(1, options.rounds + 1):
            # with other fingerprints, so that no round finds the masks of an earlier one
            areas = [
                Area(name="", wkb=polygon.wkb, fingerprint=f"{number:02x}{index:014x}", folder="")
                for index, polygon in enumerate(polygons)
            ]
            for line in once(areas, grid):
                yield {"metres": metres, "round": number, **line}


def once(areas: list[Area], grid: Grid) -> Iterator[Line]:
    """Yield the CPU time of each way, in microseconds per field."""
    count = len(areas)

    def timed(way: str, work: Callable[[], Any]) -> Line:
        start = time.process_time()
        found.append(work())
        return {"way": way, "cpu_us": round((time.process_time() - start) / count * 1e6, 2)}

    found: list[Any] = []
    yield timed("one by one", lambda: [cutout(area, grid) for area in areas])
    with tempfile.TemporaryDirectory(prefix="s2async-") as folder:
        path = Path(folder) / "plans"
        yield timed("at first, and kept", lambda: Plans(path).of(areas, grid)[0])
        size = sum(file.stat().st_size for file in path.iterdir())
        yield {
            **timed("from the kept plan", lambda: Plans(path).of(areas, grid)[0]),
            "disk_bytes": round(size / count),
        }
    one_by_one, plan, kept = found
    line: Line = {
        "way": "check",
        "pixels": round(plan.totals.mean()),
        "runs": round(plan.starts[-1] / count, 1),
        "memory_bytes": round(plan.nbytes / count),
    }
    if wrong := differing(one_by_one, plan) + differing(one_by_one, kept):
        line["fault"] = f"{wrong} fields differ"
    yield line
    raster = np.random.default_rng(1).integers(0, scl.CLASSES, (grid.height, grid.width)).astype(np.uint8)
    yield timed("histograms", lambda: histograms(plan, raster))
    yield timed("windows", lambda: windows(plan, raster))
    yield timed("masks", lambda: plan.masks(range(count)))


def fields(count: int, grid: Grid = GRIDS[10]) -> NDArray[np.object_]:
    """Return fields of 5 to 12 corners at random places of a raster, in lon/lat."""
    random = np.random.default_rng(22)
    west, north, east, south = grid.bounds
    polygons = []
    for corners in random.integers(5, 13, count).tolist():
        angles = (np.arange(corners) + random.uniform(0, 0.5, corners)) * 2 * np.pi / corners
        radii = RADIUS * random.uniform(0.8, 1, corners)
        middle = random.uniform((west + 500, south + 500), (east - 500, north - 500))
        polygons.append(
            shapely.Polygon(middle + radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]))
        )
    moved: NDArray[np.object_] = shapely.transform(
        np.array(polygons, np.object_), lambda points: np.round(geo.unprojected(points, grid.epsg), 7)
    )
    return moved


def differing(one_by_one: list[Cutout | None], plan: GridPlan) -> int:
    """Return how many fields have another window, mask or total in the plan."""
    wrong = 0
    for index, expected in enumerate(one_by_one):
        found = plan.cutout(index)
        if expected is None or found is None:
            wrong += expected is not found
        else:
            same = (found.window, found.total) == (expected.window, expected.total)
            wrong += not (same and np.array_equal(found.inside, expected.inside))
    return wrong


def histograms(plan: GridPlan, raster: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the histograms of classes in all fields, block by block."""
    sweep, counts = Sweep(plan, range(len(plan))), np.zeros((len(plan), scl.BINS), np.int64)
    for block in blocks(plan.grid):
        sweep.count(part(raster, block), block, counts)
    return counts


def windows(plan: GridPlan, raster: NDArray[np.uint8]) -> int:
    """Cut out the windows of all fields, block by block; each window is dropped when it is complete."""
    sweep, opened, complete = Sweep(plan, range(len(plan))), dict[int, NDArray[Any]](), 0
    for block in blocks(plan.grid):
        for position in sweep.touching(block).tolist():
            if position not in opened:
                height, width = plan.windows[position, 2:].tolist()
                opened[position] = np.zeros((height, width), np.uint8)
        sweep.scatter(part(raster, block), block, opened)
        if block.col + block.width == plan.grid.width:
            for position in sweep.ending(block.row, block.row + block.height).tolist():
                del opened[position]
                complete += 1
    return complete


def blocks(grid: Grid) -> Iterator[Window]:
    """Yield the blocks of a raster, row by row."""
    for row in range(0, grid.height, BLOCK):
        for col in range(0, grid.width, BLOCK):
            height, width = min(BLOCK, grid.height - row), min(BLOCK, grid.width - col)
            yield Window(row=row, col=col, height=height, width=width)


def part(raster: NDArray[np.uint8], block: Window) -> NDArray[np.uint8]:
    """Return the pixels of a block."""
    return raster[block.row : block.row + block.height, block.col : block.col + block.width]
