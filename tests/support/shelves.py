"""A job whose runs are over, without a server: its config, its crops on disk, and the state that knows them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import Transformer
from shapely import MultiPolygon, Polygon, box

from s2async import files
from s2async.areas import loader as area_files
from s2async.cli.export import table
from s2async.config.model import Config
from s2async.export.columns import Table
from s2async.models import Area, BatchResult, CloudMeasure, Job, Outcome, Product, Status
from s2async.output import crops
from s2async.output.geotiff import Crop
from s2async.sandbox.settings import toml
from s2async.state.reader import Ledger
from tests.support.states import CLEAR, add, cloudy, failed, make_scene, missing, new_state, record, start
from tests.support.values import numbers

PARK = Polygon(
    [(13.35, 52.51), (13.36, 52.51), (13.355, 52.516)], [[(13.354, 52.511), (13.355, 52.512), (13.356, 52.511)]]
)
SHAPES: Mapping[str, Polygon | MultiPolygon] = {
    "=Park": PARK,
    'Müggelsee "🏞",\n<b>': MultiPolygon([box(13.60, 52.43, 13.61, 52.44), box(13.62, 52.43, 13.63, 52.44)]),
    "plain": box(13.40, 52.50, 13.41, 52.505),
}
"""Odd names, a hole, two parts."""
SPECKLED = CloudMeasure(histogram=(10, 0, 0, 1, 200, 97, 0, 0, 2, 0, 0, 0, 0), total=320)
"""3 of 300 valid pixels are spoilt."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where it all is."""

    config: Path
    settings: Config
    areas: Mapping[str, Area]

    @property
    def output(self) -> Path:
        return self.settings.output.folder

    def table(self, state: Ledger, *, everything: bool = False) -> Table:
        return table(state, self.settings, everything=everything)


def fill(
    folder: Path,
    *,
    shapes: Mapping[str, Polygon | MultiPolygon] = SHAPES,
    dates: int = 2,
    assets: Sequence[str] = ("visual", "nir"),
    rejected: bool = False,
    indices: Sequence[str] = (),
    unvalued: Sequence[str] = (),
) -> Shelf:
    """Save crops of each area on so many dates; with rejected ones, one more date of every other ending.

    Args:
        folder: for all of it.
        shapes: areas by name.
        dates: number of dates with crops.
        assets: of each crop.
        rejected: whether there is a date of every other ending.
        indices: indices of which each area and date has values, made up by `values.numbers`.
        unvalued: names of areas that have none nevertheless.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.toml"
    path.write_text(
        toml(
            areas=[{"name": name, "wkt": shape.wkt} for name, shape in shapes.items()],
            output={"folder": "data", "assets": list(assets)},
            run={"state": "data/state.sqlite"},
            **({"values": {"indices": list(indices)}} if indices else {}),
        )
    )
    settings = Config.load(path)
    areas = {area.name: area for area in area_files.load(settings)}
    settings.output.folder.mkdir()
    wanted = settings.selection()
    bands = wanted.values.bands if wanted.values else ()
    with new_state(settings.run.state) as state:
        start(state, list(areas.values()), wanted)
        for number in range(dates):
            scene = make_scene(
                f"S2A_33UUU_{number:08}_0_L2A", minutes=1440 * number, assets=("scl", *assets, *bands)
            )
            for job in add(state, scene, list(areas.values()), wanted):
                products = tuple(save(settings.output.folder, job, asset) for asset in assets)
                measure = SPECKLED if number and not bands else CLEAR  # values need more valid pixels
                outcome = Outcome(job=job, status=Status.SAVED, measure=measure, products=products)
                if wanted.values and job.area.name not in unvalued:
                    results = (numbers(job, one, wanted.values) for one in wanted.values.variables)
                    outcome = replace(outcome, results=tuple(results))
                state.record(BatchResult(outcomes=(outcome,)), [], wanted=wanted.values)
        if rejected:
            scene = make_scene("S2B_33UUU_rejected", minutes=1440 * dates, assets=("scl", *assets))
            first, second, third = add(state, scene, list(areas.values()), wanted)
            record(state, cloudy(first), missing(second), failed(third))
        state.end_run("finished")
    return Shelf(config=path, settings=settings, areas=areas)


@functools.cache
def _to_utm() -> Transformer:
    return Transformer.from_crs("OGC:CRS84", "EPSG:32633", always_xy=True)


def save(output: Path, job: Job, asset: str) -> Product:
    """A crop of made-up pixels around the job's area, on 10 m of UTM zone 33."""
    folder = output / job.area.folder
    folder.mkdir(exist_ok=True)
    west, south, east, north = (value // 10 * 10 for value in _to_utm().transform_bounds(*job.area.polygon.bounds))
    rows, columns = int(north - south) // 10 + 1, int(east - west) // 10 + 1
    random = np.random.default_rng([job.id, len(asset)])
    bands, dtype, top = (3, np.uint8, 255) if asset == "visual" else (1, np.uint16, 10_000)
    crop = Crop(
        pixels=random.integers(1, top, (bands, rows, columns)).astype(dtype),
        transform=Affine(10, 0, west, 0, -10, north + 10),
        epsg=32633,
        nodata=0,
        scales=[1.0 if asset == "visual" else 0.0001] * bands,
        offsets=[0.0 if asset == "visual" else -0.1] * bands,
        tags={"AREA_NAME": job.area.name},
    )
    path = folder / crops.file_name(job.scene.id, asset)
    product, data = crops.encode(crop, path.name, mask=True, asset=asset)
    files.replace(path, data, token="test")
    return product
