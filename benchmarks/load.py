"""The cost of loading many areas, and how long an event loop waits in the meantime."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmarks import measure
from benchmarks.options import Options
from s2async.sandbox.settings import toml

AREAS: Final = 100_000
TICK: Final = 0.002
"""Seconds that the event loop sleeps between two readings of the clock."""
LATE: Final = 0.1
"""Maximum delay in seconds, except for one tick in a thousand."""

CHILD: Final = """
import asyncio, hashlib, json, sys, time
from pathlib import Path
from s2async.areas.loader import load
from s2async.config.model import Config

config, tick, in_thread = Config.load(Path(sys.argv[1])), float(sys.argv[2]), sys.argv[3] == "loop"
import pyproj, shapely

async def watched():
    late, loading = [], asyncio.create_task(asyncio.to_thread(load, config))
    while not loading.done():
        asked = time.perf_counter() + tick
        await asyncio.sleep(tick)
        late.append(time.perf_counter() - asked)
    return loading.result(), sorted(late)

before = time.process_time()
areas, late = asyncio.run(watched()) if in_thread else (load(config), [])
used = time.process_time() - before
lines = "".join(f"{area.fingerprint} {area.name} {area.folder}\\n" for area in areas)
digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
found = {"areas": len(areas), "cpu_seconds": round(used, 2), "digest": digest}
if late:
    found |= {"ticks": len(late), "late_p999": round(late[int(len(late) * 0.999)], 4)}
    found |= {"late_most": round(late[-1], 4)}
print(json.dumps(found))
"""
"""Loads the areas of a configuration; it also runs in older versions of the package."""


def run(options: Options) -> Iterator[dict[str, Any]]:
    """Measure CPU time and peak memory of loading 100,000 areas by format, and how late an event loop is."""
    with tempfile.TemporaryDirectory(prefix="s2async-") as name:
        digests = set()
        for kind, config in write(Path(name), AREAS).items():
            for mode in ("alone", "loop"):
                for number in range(1, options.rounds + 1):
                    found = once(config, mode)
                    digests.add(found["digest"])
                    line = {"format": kind, "mode": mode, "round": number, **found}
                    if len(digests) > 1:
                        line["fault"] = "another format gives other areas"
                    if found.get("late_p999", 0) > LATE:
                        line["fault"] = f"the event loop was late by more than {LATE} s"
                    yield line


def once(config: Path, mode: str) -> dict[str, Any]:
    """Load the areas of a configuration in a separate process.

    Args:
        config: the configuration.
        mode: ``alone``, or ``loop`` for a thread in addition to an event loop.
    """
    said = config.with_suffix(".said")
    with said.open("wb") as out:
        usage = measure.run([sys.executable, "-c", CHILD, str(config), str(TICK), mode], stdout=out)
    found: dict[str, Any] = json.loads(said.read_bytes())
    return {**found, "peak_megabytes": round(usage.peak_bytes / 1e6, 1)}


def write(folder: Path, count: int) -> dict[str, Path]:
    """Write the same areas in several formats.

    Args:
        folder: folder for the files.
        count: number of areas.

    Returns:
        Configurations by format.
    """
    polygons, columns = fields(count)
    found = {}
    for kind, save in WRITERS.items():
        save(folder / f"fields.{kind}", polygons, columns)
        config = found[kind] = folder / f"{kind}.toml"
        config.write_text(toml(areas=f"fields.{kind}", output={"folder": "data"}, run={"state": "state.sqlite"}))
    return found


def fields(count: int) -> tuple[NDArray[np.object_], dict[str, list[Any]]]:
    """Return fields of 5 to 12 corners in rows across Brandenburg, with attributes as in farmers' declarations."""
    random = np.random.default_rng(20)
    across = int(np.ceil(np.sqrt(count)))
    polygons = []
    for number, corners in enumerate(random.integers(5, 13, count).tolist()):
        angles = np.sort(random.random(corners)) * 0.4 + np.arange(corners)
        radii = 0.0012 + 0.0005 * random.random(corners)
        x, y = 12 + number % across * 0.004, 51.5 + number // across * 0.004
        turn = 2 * np.pi * angles / corners
        points = np.column_stack([x + radii * np.cos(turn), y + radii * np.sin(turn)])
        polygons.append(shapely.Polygon(np.round(points, 7)))
    crops = ("winter wheat", "maize", "grassland", "sugar beet")
    columns: dict[str, list[Any]] = {
        "name": [f"DEBBLI{number:08}" for number in range(count)],
        "crop": [crops[number] for number in random.integers(0, 4, count).tolist()],
        "code": [int(code) if code % 9 else None for code in random.integers(100, 999, count).tolist()],
        "hectares": np.round(random.random(count) * 30, 4).tolist(),
    }
    return np.array(polygons, object), columns


def _geojson(path: Path, polygons: NDArray[np.object_], columns: dict[str, list[Any]]) -> None:
    rows = zip(*columns.values(), strict=True)
    head = '{"type": "Feature", "properties": '
    features = (
        f'{head}{json.dumps(dict(zip(columns, row, strict=True)))}, "geometry": {shape}}}'
        for row, shape in zip(rows, shapely.to_geojson(polygons).tolist(), strict=True)
    )
    path.write_text('{"type": "FeatureCollection", "features": [\n' + ",\n".join(features) + "\n]}\n")


def _gpkg(path: Path, polygons: NDArray[np.object_], columns: dict[str, list[Any]]) -> None:
    import pyogrio

    values = [np.array(column, object) for column in columns.values()]
    missing = [np.array([value is None for value in column]) for column in columns.values()]
    codes = list(columns).index("code")
    values[codes] = np.array([value or 0 for value in columns["code"]], np.int32)
    values[-1] = values[-1].astype(float)
    pyogrio.raw.write(
        path,
        shapely.to_wkb(polygons),
        values,
        list(columns),
        field_mask=missing,
        geometry_type="Polygon",
        crs="EPSG:4326",
    )


def _parquet(path: Path, polygons: NDArray[np.object_], columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB"}}}
    table = pa.table({**columns, "geometry": shapely.to_wkb(polygons)})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)


WRITERS: Final[dict[str, Callable[[Path, NDArray[np.object_], dict[str, list[Any]]], None]]] = {
    "geojson": _geojson,
    "gpkg": _gpkg,
    "parquet": _parquet,
}
"""How areas are written, by suffix."""
