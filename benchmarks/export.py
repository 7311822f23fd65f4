"""The cost of exporting a state with many crops."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from shapely.geometry import mapping

from benchmarks import measure, scenes
from benchmarks.options import Options
from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.models import Asset, BatchResult, CloudMeasure, Job, Outcome, Product, Scene, Status
from s2async.sandbox.settings import toml
from s2async.state.writer import State

AREAS: Final = 1000
"""Number of parks, each with all scenes."""
_FILES: Final = {"scl": "SCL", "visual": "TCI"}
_MEASURE: Final = CloudMeasure(histogram=(0, 0, 0, 3, 700, 200, 0, 90, 7, 0, 0, 0, 0), total=1000)


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure `s2async export` with 1,000 parks and --items scenes (100,000 rows by default): time and memory."""
    with tempfile.TemporaryDirectory(prefix="s2async-") as name:
        config = fill(Path(name), AREAS, options.items)
        rows = AREAS * options.items
        for kind, count in READERS.items():
            file = Path(name) / f"crops.{kind}"
            command = [sys.executable, "-m", "s2async", "export", str(config), "--format", kind]
            for number in range(1, options.rounds + 1):
                with (Path(name) / "said").open("wb") as said:
                    usage = measure.run([*command, "--output", str(file)], stdout=said)
                line = {
                    "format": kind,
                    "round": number,
                    "rows": count(file),
                    "seconds": round(usage.seconds, 2),
                    "cpu_seconds": round(usage.cpu_seconds, 2),
                    "peak_megabytes": round(usage.peak_bytes / 1e6, 1),
                    "file_megabytes": round(file.stat().st_size / 1e6, 1),
                }
                yield line if line["rows"] == rows else {**line, "fault": f"{rows:,} rows were in the state"}


def fill(folder: Path, parks: int, items: int) -> Path:
    """Make a state in which each park has a crop of each of the scenes; return the configuration.

    The crops themselves do not exist, because tables do not read them.
    """
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": mapping(polygon)}
        for name, polygon in scenes.parks_and_more(parks).items()
    ]
    (folder / "areas.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    path = folder / "config.toml"
    path.write_text(toml(areas="areas.geojson", output={"folder": "data"}, run={"state": "state.sqlite"}))
    config = Config.load(path)
    areas, wanted = area_files.load(config), config.selection()
    with State.create_or_open(config.run.state) as state:
        state.sync_areas(areas)
        state.commit_folders()
        state.begin_run("{}", "benchmark")
        for number in range(items):
            jobs = state.add_scene(scene(number), areas, wanted)
            state.record(BatchResult(outcomes=tuple(map(_saved, jobs))), [])
        state.end_run("finished")
    return path


def scene(number: int) -> Scene:
    """Return a scene with a different day for each number."""
    sensed = datetime(2015, 7, 1, 10, 10, 31, 24000, tzinfo=UTC) + timedelta(days=number)
    name = f"S2A_33UUU_{sensed:%Y%m%d}_0_L2A"
    base = f"https://sentinel-cogs.example/sentinel-s2-l2a-cogs/33/U/UU/{sensed:%Y/%m}/{name}"
    return Scene(
        id=name,
        collection="sentinel-2-l2a",
        version="v1",
        updated="",
        datetime=sensed,
        platform="sentinel-2a",
        grid="33UUU",
        cloud=number % 1000 / 10,
        epsg=32633,
        baseline="05.00",
        generated="",
        datastrip="",
        footprint=None,
        assets={key: Asset(key=key, href=f"{base}/{file}.tif") for key, file in _FILES.items()},
    )


def _saved(job: Job) -> Outcome:
    product = Product(
        asset="visual",
        file=f"{job.scene.id}_visual.tif",
        bytes=100_000 + job.id % 65_536,
        sha256=f"{job.id:064x}",
        mask=True,
        format="gtiff",
        epsg=32633,
    )
    return Outcome(job=job, status=Status.SAVED, measure=_MEASURE, products=(product,))


def _csv_rows(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def _geojson_rows(path: Path) -> int:
    return len(json.loads(path.read_bytes())["features"])


def _parquet_rows(path: Path) -> int:
    import pyarrow.parquet as pq

    rows: int = pq.read_metadata(path).num_rows
    return rows


READERS: Final[dict[str, Callable[[Path], int]]] = {
    "csv": _csv_rows,
    "geojson": _geojson_rows,
    "parquet": _parquet_rows,
}
"""Returns the number of rows of a file, by format."""
