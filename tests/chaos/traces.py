"""What kills may leave behind: what a campaign has seen, and the oracle that looks for it.

It shares nothing with the package: rasterio.mask on the local scenes, SQL on the state, and names of files.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
import rasterio.features
import shapely
from shapely import Polygon

from s2async.sandbox.truth import oracle
from tests.chaos import kept_plans


@dataclass
class Found:
    """What a campaign has seen; all but the counts at the top should stay empty."""

    kills: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    saved: int = 0
    plans: Counter[str] = field(default_factory=Counter)
    """Kept plans that were looked at, that were damaged on purpose, and what runs made of them."""
    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    half: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    believed: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Sum up."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


WORDS: Final = {
    "lost": "jobs without an answer, or a crop that is not there",
    "duplicate": "jobs or crops that are there twice",
    "half": "crops that cannot be read to the end, and half-written files",
    "wrong": "answers or pixels that differ from rasterio.mask",
    "aside": "jobs that were set aside, or failed",
    "again": "requests for files whose jobs had all been recorded",
    "said": "runs that ended otherwise than by the kill or well",
    "torn": "kept plans that a kill left in part, or with other pixels than rasterio's",
    "believed": "kept plans that are not whole, and were believed",
}


def query(state: Path, statement: str) -> list[Any]:
    """Rows of a state, by SQL alone."""
    if not state.exists():
        return []
    with closing(sqlite3.connect(f"{state.as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchall()


def settled(state: Path) -> set[str]:
    """Files all of whose jobs have been recorded."""
    rows = query(
        state, "SELECT i.item, min(j.status != 'open') FROM jobs j JOIN items i ON i.id = j.item GROUP BY 1"
    )
    return {f"/cogs/{item}/{name}.tif" for item, done in rows if done for name in ("SCL", "TCI")}


def unreadable(data: Path, seen: dict[Path, tuple[int, int]]) -> list[str]:
    """Crops, new since the last look, that cannot be read to the end."""
    new = []
    for path in data.glob("*/*.tif"):
        stat = path.stat()
        if seen.get(path) != (stat.st_ino, stat.st_mtime_ns):
            seen[path] = stat.st_ino, stat.st_mtime_ns
            new.append(path)
    return [str(path.relative_to(data)) for path in new if not readable(path)]


def readable(path: Path) -> bool:
    """Whether all of a crop is there."""
    try:
        with rasterio.open(path) as raster:
            return bool(raster.read().size)
    except rasterio.RasterioIOError:
        return False


class PlanWatch:
    """Looks at the kept plans of a state after each run, and damages some of them before.

    Args:
        state: its file.
        notes: where runs note which plans they believe; see `kept_plans.note_what_is_believed`.
    """

    def __init__(self, state: Path, notes: Path) -> None:
        self._state = state
        self._notes = notes
        self._known: dict[str, bool] = {}
        """Whether a plan is whole and right, by the name of its content."""

    def files(self) -> list[Path]:
        """The kept plans."""
        return sorted(self._state.with_name(self._state.name + ".plans").glob("*.plan"))

    def spoil(self, chance: random.Random, found: Found) -> None:
        """Damage or remove all of them."""
        for path in self.files():
            if name := kept_plans.spoil(path, chance):
                self._known[name] = False
                found.plans["damaged on purpose"] += 1

    def look(self, found: Found) -> None:
        """Look at what is there, and at what the last run believed."""
        for path in self.files():
            data = path.read_bytes()
            name = kept_plans.name_of(data)
            if name not in self._known:
                wrong = faults_of_plan(data, self._state)
                found.plans["looked at"] += 1
                found.torn += [f"{path.name}: {fault}" for fault in wrong]
                self._known[name] = not wrong
        if self._notes.exists():
            for word, name in map(str.split, self._notes.read_text().splitlines()):
                found.plans[word] += 1
                if word == "believed" and not self._known.get(name):
                    found.believed.append(name)
            self._notes.unlink()


def faults_of_plan(data: bytes, state: Path) -> list[str]:
    """What is wrong with a kept plan: that it is not whole, or pixels."""
    if not kept_plans.is_whole(data):
        return ["not whole"]
    rows = query(state, "SELECT fingerprint, polygon FROM areas")
    return kept_plans.faults(data, {int(name, 16): shapely.from_wkb(polygon) for name, polygon in rows})


# ---- the oracle -------------------------------------------------------------------------------------------


def judge(data: Path, world: Path, areas: Mapping[str, Polygon], found: Found) -> None:
    """Compare a finished round with what rasterio.mask makes of the scenes."""
    rows = query(
        data / "state.sqlite",
        "SELECT i.item, s.name, s.folder, j.status, j.reason, p.file FROM jobs j JOIN items i ON i.id = j.item "
        "JOIN shelves s ON s.area = j.area LEFT JOIN products p ON p.job = j.id",
    )
    times = Counter((item, area) for item, area, *_ in rows)
    items = sorted(path.name for path in (world / "cogs").iterdir())
    found.duplicate += [f"{area} {item}: {count} jobs" for (item, area), count in times.items() if count > 1]
    found.lost += [f"{area} {item}" for item in items for area in areas if not times[item, area]]
    recorded = {(item, area): row for item, area, *row in rows}
    crops = set[Path]()
    for item in items:
        with (
            rasterio.open(world / "cogs" / item / "SCL.tif") as scl,
            rasterio.open(world / "cogs" / item / "TCI.tif") as tci,
        ):
            for name, polygon in areas.items():
                shape = projected(polygon, tci.crs.to_epsg())
                if (item, name) in recorded:
                    folder, status, reason, file = recorded[item, name]
                    crop = data / folder / file if file else None
                    label = f"{name} {item}"
                    if status == "failed":
                        found.aside.append(f"{label}: {reason}")
                    elif status != expected(scl, shape):
                        found.wrong.append(f"{label}: {status} instead of {expected(scl, shape)}")
                    elif status == "saved" and (crop is None or not crop.exists()):
                        found.lost.append(f"{label}: no crop")
                    elif status == "saved" and crop:
                        crops.add(crop)
                        if not same(crop, tci, shape):
                            found.wrong.append(f"{label}: other pixels")
    found.duplicate += [str(path.relative_to(data)) for path in {*data.rglob("*.tif")} - crops]
    # what is left of a plan is removed when it is an hour old: see `masks.store`
    parts = [path for path in data.rglob("*.part") if not path.name.startswith(".s2async-plan-")]
    found.half += [str(path.relative_to(data)) for path in parts]
    found.jobs += len(recorded)
    found.saved += len(crops)


@cache
def projected(polygon: Polygon, epsg: int) -> Any:
    """A polygon in a scene's CRS."""
    return oracle.project(polygon, f"EPSG:{epsg}")


def expected(scl: Any, shape: Any) -> str:
    """What becomes of an area under the default limits of the cloud rule."""
    found = oracle.masked(scl, shape)
    if found is None:
        return "outside"
    classes, transform = found
    counts = np.bincount(classes.ravel(), minlength=12)
    valid, total = int(counts[1:12].sum()), pixels_of(shape, transform)
    if not valid or valid < oracle.MIN_VALID / 100 * total:
        return "nodata"
    return "cloudy" if counts[list(oracle.BAD_CLASSES)].sum() > oracle.MAX_CLOUD / 100 * valid else "saved"


def pixels_of(shape: Any, transform: Any) -> int:
    """Pixels of an area, including those beyond the scene's edge.

    Args:
        shape: the area's polygon.
        transform: of any window of the grid.
    """
    west, south, east, north = shape.bounds
    (left, top), (right, bottom) = ~transform * (west, north), ~transform * (east, south)
    first, wide, high = (
        (int(left // 1), int(top // 1)),
        int(right // 1 - left // 1) + 1,
        int(bottom // 1 - top // 1) + 1,
    )
    whole = transform * transform.translation(*first)
    return int(rasterio.features.geometry_mask([shape], (high, wide), whole, invert=True).sum())


def same(crop: Path, tci: Any, shape: Any) -> bool:
    """Whether a crop is what rasterio.mask makes."""
    found = oracle.masked(tci, shape)
    assert found is not None
    pixels, transform = found
    with rasterio.open(crop) as raster:
        return bool(raster.transform == transform and np.array_equal(raster.read(), pixels))
