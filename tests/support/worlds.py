"""Small worlds for tests of the run: a few items of every kind over six areas, real COGs, a real server.

One scene is 5.12 km wide: 512 x 512 pixels of TCI in 4 x 4 tiles, 256 x 256 of SCL in 2 x 2. Every picture has
pixels of its own, so that a crop of the wrong item or place is never equal to the right one.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from s2async.areas import loader as area_files
from s2async.config.model import Config
from s2async.engine import pipeline
from s2async.engine.limits import RunLimits
from s2async.engine.progress import Progress, Summary
from s2async.events import Event
from s2async.sandbox.server.journal import LogEntry
from s2async.sandbox.server.process import Sandbox
from s2async.sandbox.server.process import start as start_server
from s2async.sandbox.settings import toml
from s2async.sandbox.truth import oracle
from s2async.state import packed

WEST, NORTH, SIDE = 390_000.0, 5_820_000.0, 5120.0
EPSG = 32633
BLOCK = 128

SHAPES = {
    "North": [(200, 200), (900, 260), (1000, 900), (500, 1100), (240, 800)],
    "Wide": [(700, 1500), (2100, 1400), (2000, 2100), (900, 2300)],
    "Tall": [(2700, 1700), (3400, 1600), (3300, 3300), (2900, 3500)],
    "Rim": [(4500, 200), (5700, 300), (5600, 1000), (4600, 900)],
    "Beyond": [(5300, 1500), (5900, 1500), (5900, 2200), (5300, 2200)],
    "South": [(1500, 4100), (2300, 4000), (2200, 4800), (1600, 4700)],
}
"""Areas by name, in metres to the east and to the south of the scene's corner.

In tiles of TCI (row, column): North (0, 0); Wide (1, 0) and (1, 1); Tall (1, 2) and (2, 2); Rim (0, 3), half of it
beyond the edge; Beyond none; South (3, 1)."""


@cache
def polygon(name: str) -> Polygon:
    """An area's polygon in lon/lat."""
    return lonlat(SHAPES[name])


def lonlat(metres: Iterable[tuple[float, float]]) -> Polygon:
    """A polygon in metres from the scene's corner, in lon/lat."""
    points = [(WEST + east, NORTH - south) for east, south in metres]
    to_lonlat = Transformer.from_crs(f"EPSG:{EPSG}", "OGC:CRS84", always_xy=True)
    return Polygon([to_lonlat.transform(*point) for point in points])


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item, and what its files show and lack."""

    id: str
    when: datetime
    clouded: frozenset[str] = frozenset()
    """Areas under cloud."""
    empty_metres: float = 0
    """Without data from the western edge to here."""
    lacks: frozenset[str] = frozenset()
    """Files that the server does not have: ``scl``, ``visual``, ``red``; and assets that the item does not name,
    as ``key:red``."""
    jp2: bool = False
    """The item names JPEG 2000 files only."""
    cloud: float | None = 10.0
    baseline: str = "05.09"
    datastrip: str = ""
    version: str = "1"
    updated: str = "2022-02-01T00:00:00Z"
    code: bool = False
    """Tell the CRS as ``proj:code``."""
    datatake: bool = False
    """Tell the datatake."""
    start: datetime | None = None
    """When the datatake started that it tells; by default ten minutes before."""
    subtracted: bool | None = None
    """Whether the item says that the offset of its bands was subtracted; None: it does not say."""
    epsg: int = EPSG
    """Its CRS: that of another zone holds the same square, turned by some degrees."""

    @property
    def seed(self) -> int:
        return sum(self.id.encode()) + len(self.version) * 101 + ord(self.version[-1])


def day(number: int, **item: Any) -> Item:
    """An item of the number-th day of 2022."""
    when = item.pop("when", datetime(2022, 1, 1, 10, 20, 30, tzinfo=UTC) + timedelta(days=number))
    name = item.pop("id", f"S2A_33UUU_{when:%Y%m%d}_0_L2A")
    return Item(id=name, when=when, **item)


def every_kind() -> list[Item]:
    """One item of every kind, and some plain ones."""
    everywhere = frozenset(SHAPES)
    noon = datetime(2022, 1, 20, 10, 20, 30, tzinfo=UTC)
    return [
        day(0),
        day(2, clouded=everywhere),
        day(4, clouded=frozenset({"North", "Tall"}), code=True),
        day(6, empty_metres=1500.0),
        day(8, jp2=True),
        day(10, lacks=frozenset({"scl"})),
        day(12, lacks=frozenset({"visual"}), clouded=frozenset({"Wide"})),
        day(14, cloud=None),
        day(16, cloud=95.0),
        # twins: one datastrip, processed twice
        day(19, id="S2A_33UUU_20220120_1_L2A", when=noon + timedelta(seconds=0.4), baseline="05.09",
            datastrip="S20220120T102025"),
        day(19, id="S2A_33UUU_20220120_0_L2A", when=noon, baseline="04.00", datastrip="S20220120T102025",
            clouded=frozenset({"South"})),
        # halves: two datastrips of one pass
        day(30, id="S2A_33UUU_20220131_1_L2A", when=noon + timedelta(days=11, seconds=9), empty_metres=1500.0,
            datastrip="S20220131T102040"),
        day(30, id="S2A_33UUU_20220131_0_L2A", when=noon + timedelta(days=11), datastrip="S20220131T102020"),
    ]  # fmt: skip


class World:
    """Items and files in a folder, as the sandbox's server wants them; can be changed and written again."""

    def __init__(self, folder: Path, items: Iterable[Item] = ()) -> None:
        self.folder = folder
        self._made: dict[str, Item] = {}
        self.items: dict[str, Item] = {item.id: item for item in items}
        self.write()

    def put(self, item: Item) -> None:
        """Add an item, or replace the one of its name; `write` brings it to the server's next start."""
        self.items[item.id] = item

    def change(self, name: str, **what: Any) -> None:
        """Replace some of an item's properties."""
        self.put(replace(self.items[name], **what))

    def write(self) -> None:
        """Bring the folder up to date."""
        for item in self.items.values():
            if self._made.get(item.id) != item:
                _write_files(self.folder, item)
                self._made[item.id] = item
        lines = [json.dumps(document(item), separators=(",", ":")) for item in self.items.values()]
        (self.folder / "items.jsonl").write_text("\n".join(lines) + "\n")
        (self.folder / "world.json").write_text(json.dumps({"format": 1, "key": "test", "items": len(lines)}))

    def local(self, href: str) -> Path:
        """The file behind an address."""
        return self.folder / urlsplit(href).path.lstrip("/")


@cache
def corner(epsg: int) -> tuple[float, float]:
    """The north-western corner of a scene in metres of its CRS: the middle of all scenes is one place."""
    half = SIDE / 2
    to_other = Transformer.from_crs(f"EPSG:{EPSG}", f"EPSG:{epsg}", always_xy=True)
    east, north = to_other.transform(WEST + half, NORTH - half)
    return (WEST, NORTH) if epsg == EPSG else (east // 20 * 20 - half, north // 20 * 20 + half)


def document(item: Item) -> dict[str, Any]:
    """The STAC item, in the shape of Earth Search."""
    to_lonlat = Transformer.from_crs(f"EPSG:{item.epsg}", "OGC:CRS84", always_xy=True)
    west, north = corner(item.epsg)
    corners = [(west, north), (west, north - SIDE), (west + SIDE, north - SIDE), (west + SIDE, north)]
    ring = [list(to_lonlat.transform(*corner)) for corner in [*corners, corners[0]]]
    lon, lat = zip(*ring, strict=True)
    time = item.when.isoformat().replace("+00:00", "Z")
    properties: dict[str, Any] = {
        "datetime": time,
        "updated": item.updated,
        "created": item.updated,
        "platform": item.id[:3].lower().replace("s2", "sentinel-2"),
        "grid:code": f"MGRS-{item.id[4:9]}",
        "s2:processing_baseline": item.baseline,
        "s2:product_uri": f"{item.id}_{item.version}.SAFE",
        "s2:generation_time": item.updated,
    }
    if item.datatake:
        start = item.start or item.when - timedelta(minutes=10)
        properties["s2:datatake_id"] = f"GS2A_{start:%Y%m%dT%H%M%S}_034012_N05.09"
    if item.subtracted is not None:
        properties["earthsearch:boa_offset_applied"] = item.subtracted
    if item.cloud is not None:
        properties["eo:cloud_cover"] = item.cloud
    properties |= {"proj:code": f"EPSG:{item.epsg}"} if item.code else {"proj:epsg": item.epsg}
    if item.datastrip:
        properties["s2:datastrip_id"] = f"S2A_OPER_MSI_L2A_DS_2APS_20220201T000000_{item.datastrip}_N05.09"
    suffix, media = ("jp2", "image/jp2") if item.jp2 else ("tif", "image/tiff; application=geotiff")
    assets = {
        f"{key}-jp2" if item.jp2 else key: {
            "href": f"{{origin}}/cogs/{item.id}/{name}.{suffix}",
            "type": media,
        }
        for key, name in (("scl", "SCL"), ("visual", "TCI"), ("red", "B04"))
        if f"key:{key}" not in item.lacks
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item.id,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(lon), min(lat), max(lon), max(lat)],
        "properties": properties,
        "assets": assets,
        "links": [],
    }


# ---- files ------------------------------------------------------------------------------------------------


def _write_files(folder: Path, item: Item) -> None:
    place = folder / "cogs" / item.id
    place.mkdir(parents=True, exist_ok=True)
    if item.jp2:
        return
    for key, (name, cog) in _files(item.seed, item.clouded, item.empty_metres, item.epsg).items():
        path = place / f"{name}.tif"
        path.unlink(missing_ok=True)
        if key not in item.lacks:
            path.write_bytes(cog)


@lru_cache(maxsize=100)  # most worlds have the same days; a day's files have 1 MB
def _files(seed: int, clouded: frozenset[str], empty_metres: float, epsg: int) -> Mapping[str, tuple[str, bytes]]:
    """Name and bytes of an item's files by asset."""
    generator = np.random.default_rng(seed)
    scl = generator.integers(4, 7, (1, 256, 256), dtype=np.uint8)
    for name in clouded:
        east, south = np.array(SHAPES[name]).T
        left, right = int(east.min() // 20), int(east.max() // 20) + 1
        top, bottom = int(south.min() // 20), int(south.max() // 20) + 1
        scl[:, top:bottom, left:right] = 9
    columns, rows = np.meshgrid(np.arange(512), np.arange(512))
    noise = generator.integers(0, 8, (3, 512, 512), dtype=np.uint8)
    tci = ((columns // 3 + rows // 5 + seed) % 240 + 1 + noise).astype(np.uint8)
    red = (columns + rows + seed)[np.newaxis].astype(np.uint16) + noise[:1]
    scl[:, :, : int(empty_metres // 20)] = 0
    tci[:, :, : int(empty_metres // 10)] = 0
    red[:, :, : int(empty_metres // 10)] = 0
    return {
        "scl": ("SCL", _cog(scl, 20, epsg)),
        "visual": ("TCI", _cog(tci, 10, epsg)),
        "red": ("B04", _cog(red, 10, epsg)),
    }


def _cog(pixels: NDArray[Any], size: float, epsg: int = EPSG) -> bytes:
    """A COG as GDAL writes it, without overviews."""
    bands, height, width = pixels.shape
    profile = {
        "driver": "GTiff",
        "count": bands,
        "height": height,
        "width": width,
        "dtype": pixels.dtype.name,
        "nodata": 0,
        "crs": f"EPSG:{epsg}",
        "transform": Affine(size, 0, corner(epsg)[0], 0, -size, corner(epsg)[1]),
    }
    how = {"BLOCKSIZE": BLOCK, "COMPRESS": "DEFLATE", "LEVEL": 1, "PREDICTOR": 2, "OVERVIEWS": "NONE"}
    with MemoryFile() as memory, MemoryFile() as target:
        with memory.open(**profile) as raster:
            raster.write(pixels)
        with memory.open() as raster:
            copy(raster, target.name, driver="COG", **how)
        return bytes(target.getbuffer())


# ---- runs -------------------------------------------------------------------------------------------------


def write_config(
    folder: Path,
    sandbox: Sandbox,
    *,
    areas: Mapping[str, BaseGeometry] | None = None,
    name: str = "config",
    **sections: Any,
) -> Path:
    """A config in a folder; sections as in `toml` replace or add to plain defaults."""
    shapes = areas if areas is not None else {name: polygon(name) for name in SHAPES}
    settings: dict[str, Any] = {
        "areas": [{"name": label, "wkt": shape.wkt} for label, shape in shapes.items()],
        "search": {
            "catalog": {"url": sandbox.api, "collection": "sentinel-2-l2a", "assets": {"scl": "scl"}},
            "datetime": "2022-01-01/2022-03-31",
        },
        "clouds": {},
        "output": {"folder": f"{name}-data"},
        "network": {"origins": [sandbox.origin], "connections": 8},
        "run": {"state": f"{name}-data/state.sqlite", "reserve": "1 MiB"},
    }
    for section, keys in sections.items():
        settings[section] = {**settings.get(section, {}), **keys} if isinstance(keys, Mapping) else keys
    path = folder / f"{name}.toml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(toml(**settings), encoding="utf-8")
    return path


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A run that has ended, and what was seen of it."""

    config: Config
    summary: Summary
    progress: Progress
    events: list[Event]
    log: list[LogEntry]

    @property
    def cogs(self) -> list[LogEntry]:
        return [entry for entry in self.log if entry.kind == "cogs"]

    @property
    def paths(self) -> Counter[str]:
        """Requests by file, such as ``S2A_.../SCL.tif``."""
        return Counter(entry.path.removeprefix("/cogs/") for entry in self.cogs)

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.log)


def run(
    path: Path,
    sandbox: Sandbox,
    *,
    limit: int | None = None,
    limits: RunLimits | None = None,
    progress: Progress | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Ran:
    """Run a config in this process; ``limit`` is that of jobs alone."""
    config = Config.load(path)
    before = sandbox.log()
    progress, events = progress or Progress(), list[Event]()

    def note(event: Event) -> None:
        events.append(event)
        on_event(event)

    limits = limits or RunLimits(jobs=limit)
    areas = area_files.load(config)
    summary = asyncio.run(pipeline.run(config, areas, limits=limits, progress=progress, on_event=note))
    log = sandbox.log(since=before[-1].n if before else 0)
    return Ran(config=config, summary=summary, progress=progress, events=events, log=log)


def jobs(config: Config) -> dict[tuple[str, str], oracle.RecordedJob]:
    """All jobs of a config's state by area and item."""
    return {(job.area, job.item): job for job in oracle.recorded_jobs(config.run.state)}


def statuses(config: Config) -> dict[tuple[str, str], str]:
    """What became of each job, by area and item."""
    return {key: job.status for key, job in jobs(config).items()}


def query(state: Path, statement: str, *values: object) -> list[Any]:
    """Rows of a state file, read with SQL alone."""
    with closing(sqlite3.connect(f"{state.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(statement, values).fetchall()


@contextmanager
def writing(config: Config) -> Iterator[sqlite3.Connection]:
    """A state file, open for SQL alone."""
    with closing(sqlite3.connect(config.run.state)) as db, db:
        yield db


def forget_answers(db: sqlite3.Connection) -> None:
    """As if nothing had been measured or saved of the jobs, which are all open."""
    codes = "codes"
    for letter in set(packed.CODES.values()):
        codes = f"replace({codes}, '{letter}', 'o')"
    db.execute(f"UPDATE asked SET codes = {codes}")
    db.execute("DELETE FROM answers")
    db.execute("DELETE FROM products")


def settle(config: Config) -> None:
    """As if files that were not there had been asked for often enough."""
    with closing(sqlite3.connect(config.run.state)) as db, db:
        db.execute("UPDATE absences SET due = NULL")


def day_passes(config: Config) -> None:
    """As if files that are missing had been asked for a day earlier than they were."""
    with closing(sqlite3.connect(config.run.state)) as db, db:
        db.execute("UPDATE absences SET tried = tried - 86400, due = max(0, due - 86400) WHERE due IS NOT NULL")


def result(config: Config) -> dict[str, Any]:
    """Everything that a run leaves to its user, in a form that can be compared: answers, pixels, index."""
    folder = config.output.folder
    crops = {}
    for path in sorted(folder.rglob("*.tif")):
        with rasterio.open(path) as raster:
            place = (tuple(raster.transform), raster.crs.to_epsg(), raster.nodata)
            crops[str(path.relative_to(folder))] = (raster.read().tobytes(), raster.tags(), place)
    origin = re.compile(r"http://127\.0\.0\.1:\d+")
    index = (folder / "overview.csv").read_text()
    answers = {key: (job.status, job.histogram, job.total) for key, job in jobs(config).items()}
    return {"answers": answers, "crops": crops, "index": origin.sub("", index)}


def crops(config: Config) -> list[Path]:
    """All crops in the output folder."""
    return sorted(config.output.folder.rglob("*.tif"))


def faults_of(config: Config, world: World) -> list[str]:
    """What differs between the crops of a finished run and `rasterio.mask` of the local scenes, in words."""
    found = []
    for (area, item), job in jobs(config).items():
        for asset, file in job.products.items():
            path = config.output.folder / job.folder / file
            fault = oracle.crop_differs(path, world.local(job.hrefs[asset]), job.polygon)
            if job.status == "saved" and fault:
                found.append(f"{area} {item} {asset}: {fault}")
    return found


@dataclass
class Stage:
    """A world and its server, which can be stopped and started again at the same address."""

    world: World
    delay: float = 0
    _running: Any = None
    sandbox: Sandbox = field(init=False)

    def __enter__(self) -> Stage:
        self._start(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.__exit__(None, None, None)

    def _start(self, port: int) -> None:
        self._running = start_server(self.world.folder, port=port, delay=self.delay)
        self.sandbox = self._running.__enter__()

    def restart(self) -> None:
        """Serve what the world is now."""
        port = urlsplit(self.sandbox.origin).port or 0
        self._running.__exit__(None, None, None)
        self.world.write()
        self._start(port)

    def wait_for(self, requests: int) -> None:
        """Wait until the server has received so many requests; pytest's time limit ends what never happens."""
        while self.sandbox.totals()["all"].requests < requests:
            time.sleep(0.02)


def staged(folder: Path, items: Iterable[Item] | None = None, *, delay: float = 0) -> Iterator[Stage]:
    """A stage for the length of a fixture."""
    with Stage(World(folder, every_kind() if items is None else items), delay=delay) as stage:
        yield stage
