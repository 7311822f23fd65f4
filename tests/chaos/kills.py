"""SIGKILL at random instants and at named points, until all is done; then an oracle looks for a trace of it.

Two campaigns side by side, each with a server and an output of its own. The oracle shares nothing with the
package: rasterio.mask on the local scenes, SQL on the state, the server's log, and the names in the output folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
import rasterio.mask
from shapely import Polygon

from s2async.cli.main import main as command_line
from s2async.sandbox.server.process import Sandbox, start
from s2async.sandbox.truth import oracle
from tests.chaos.points import POINTS, arm, arm_clock
from tests.support import worlds

KILLS: Final = 500
CAMPAIGNS: Final = 2
FIELDS: Final = 10
"""In a row, and rows of fields."""
JOBS_A_KILL: Final = 40
RANDOM: Final = "at random"
SPREAD: Final = {
    "after fetch": 14, "in decode": 60, "after write": 110, "after replace": 110, "before sync": 4,
    "after sync": 4, "before commit": 3, "after commit": 3,
}  # fmt: skip
"""How often a run comes by each point, at most, before it is killed there."""
LONGEST: Final = 1.2
"""Seconds from the start of a run to a kill at a random instant, at most."""
DATES: Final = "2022-01-01/2024-12-31"
SURPLUS: Final = 2
"""Rounds of a campaign, at most, when its jobs are done before its kills are."""


@dataclass
class Found:
    """What a campaign has seen; all but the first three should stay empty."""

    kills: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    saved: int = 0
    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    half: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Sum up."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


WORDS: Final = {
    "lost": "jobs without an answer, or a crop that is not there",
    "duplicate": "jobs or crops that are there twice",
    "half": "crops under their final names that cannot be read to the end",
    "wrong": "answers or pixels that differ from rasterio.mask",
    "aside": "jobs that were set aside, or failed",
    "again": "requests for files whose jobs had all been recorded",
    "said": "runs that ended otherwise than by the kill or well",
}


def main(arguments: list[str]) -> int:
    """Kill and look; 1 when there is a trace."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos kills", description=__doc__)
    parser.add_argument("--count", type=int, default=KILLS, metavar="N", help=f"kills (default: {KILLS})")
    parser.add_argument("--seed", type=int, default=2022, metavar="N")
    asked = parser.parse_args(arguments)
    each = -(-asked.count // CAMPAIGNS)
    items = max(2, -(-each * JOBS_A_KILL // FIELDS**2))
    begun, total = time.monotonic(), Found()
    with tempfile.TemporaryDirectory(prefix="s2async-kills-") as name:
        world = Path(name) / "world"
        world.mkdir()
        worlds.World(world, [made_item(number) for number in range(items)])
        spawn = multiprocessing.get_context("spawn")  # a campaign forks: it must begin without threads
        with ProcessPoolExecutor(CAMPAIGNS, mp_context=spawn) as pool:
            tasks = [
                pool.submit(campaign, Path(name) / f"campaign{number}", world, each, asked.seed + number)
                for number in range(CAMPAIGNS)
            ]
            for task in tasks:
                total.add(task.result())
    return report(total, asked.count, time.monotonic() - begun)


def report(total: Found, wanted: int, seconds: float) -> int:
    """Print the table."""
    kills = sum(total.kills.values())
    print(f"{kills} kills over {total.jobs:,} jobs ({total.saved:,} crops) in {seconds:.0f} s")
    for point, count in sorted(total.kills.items()):
        print(f"  {count:5} {point}")
    worst = int(kills < wanted or total.jobs < wanted * JOBS_A_KILL)
    for name, words in WORDS.items():
        faults = getattr(total, name)
        print(f"  {len(faults):5} {words}")
        for fault in faults[:5]:
            print(f"        {fault}")
        worst |= bool(faults)
    return worst


def made_item(number: int) -> worlds.Item:
    """Days of which some have clouds, and some a margin without data."""
    clouded = frozenset({"Wide", "South"} if number % 4 == 1 else {"Tall"} if number % 4 == 2 else ())
    return worlds.day(number, clouded=clouded, empty_metres=1500.0 if number % 5 == 3 else 0.0)


def fields() -> dict[str, Polygon]:
    """Small areas all over a scene, 400 m wide; no edge goes through the middle of a pixel."""
    step = worlds.SIDE / FIELDS
    corners = [(51.3, 53.7), (451.9, 77.2), (433.4, 461.8), (67.6, 447.1)]
    return {
        f"Field{row}{column}": worlds.lonlat(
            [(column * step + east, row * step + south) for east, south in corners]
        )
        for row in range(FIELDS)
        for column in range(FIELDS)
    }


# ---- a campaign -------------------------------------------------------------------------------------------


def campaign(folder: Path, world: Path, kills: int, seed: int) -> Found:
    """Kill runs so often, over as many jobs as that takes."""
    chance, found = random.Random(seed), Found()
    with start(world) as sandbox:
        for number in range(SURPLUS):
            if sum(found.kills.values()) < kills:
                one_round(folder / f"round{number}", world, sandbox, kills, chance, found)
    return found


def one_round(
    folder: Path, world: Path, sandbox: Sandbox, kills: int, chance: random.Random, found: Found
) -> None:
    """All jobs: runs that are killed, then one that ends, then one that has nothing to do."""
    config = worlds.write_config(folder, sandbox, areas=fields(), search={"datetime": DATES})
    data = folder / "config-data"
    state, seen = data / "state.sqlite", dict[Path, tuple[int, int]]()
    names, answered = [*POINTS, *[RANDOM] * len(POINTS)], 0
    while sum(found.kills.values()) < kills:
        point = chance.choice(names)
        known, before = settled(state), last(sandbox)
        if point == RANDOM:
            code = forked(partial(arm_clock, chance.uniform(0, LONGEST)), config, folder)
        else:
            code = forked(partial(arm, point, chance.randint(1, SPREAD[point])), config, folder)
        found.again += [path for path in asked_for(sandbox, before) if path in known]
        found.half += unreadable(data, seen)
        now = len(query(state, "SELECT 1 FROM jobs WHERE status != 'open'"))
        if now < answered:
            found.lost.append(f"{answered - now} answers that were there before a kill")
        answered = now
        if code == -signal.SIGKILL:
            found.kills[point] += 1
        else:
            if code:
                found.said.append(f"exit {code}: {words(folder)}")
            break
    for _ in range(2):  # the second one finds nothing to do
        known, before = settled(state), last(sandbox)
        code = forked(lambda: None, config, folder)
        found.again += [path for path in asked_for(sandbox, before) if path in known]
        if code or words(folder):
            found.said.append(f"exit {code}: {words(folder)}")
    judge(data, world, found)


def forked(prepare: Callable[[], None], config: Path, folder: Path) -> int:
    """Run the command line in a fork of this process; its exit code, negative for a signal.

    A fork, because the start of an interpreter would be most of the time, and nobody doubts that one.
    """
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            descriptor = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 2)
            prepare()
            command_line(["-q", "run", str(config)])
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def words(folder: Path) -> str:
    """The last that a run said."""
    lines = (folder / "said").read_text().strip().splitlines()
    return lines[-1] if lines else ""


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


def last(sandbox: Sandbox) -> int:
    """The number of the newest request."""
    return sandbox.totals()["all"].requests


def asked_for(sandbox: Sandbox, before: int) -> set[str]:
    """Files that were asked for since then."""
    return {entry.path for entry in sandbox.log(since=before) if entry.kind == "cogs"}


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


# ---- the oracle -------------------------------------------------------------------------------------------


def judge(data: Path, world: Path, found: Found) -> None:
    """Compare a finished round with what rasterio.mask makes of the scenes."""
    rows = query(
        data / "state.sqlite",
        "SELECT i.item, s.name, s.folder, j.status, j.reason, p.file FROM jobs j JOIN items i ON i.id = j.item "
        "JOIN shelves s ON s.area = j.area LEFT JOIN products p ON p.job = j.id",
    )
    times = Counter((item, area) for item, area, *_ in rows)
    areas, items = fields(), sorted(path.name for path in (world / "cogs").iterdir())
    found.duplicate += [f"{area} {item}: {count} jobs" for (item, area), count in times.items() if count > 1]
    found.lost += [f"{area} {item}" for item in items for area in areas if not times[item, area]]
    recorded = {(item, area): row for item, area, *row in rows}
    crops = set[Path]()
    for item in items:
        with (
            rasterio.open(world / "cogs" / item / "SCL.tif") as scl,
            rasterio.open(world / "cogs" / item / "TCI.tif") as tci,
        ):
            shapes = {name: oracle.project(polygon, tci.crs) for name, polygon in areas.items()}
            for name, shape in shapes.items():
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
    found.half += [str(path.relative_to(data)) for path in data.rglob("*.part")]
    found.jobs += len(recorded)
    found.saved += len(crops)


def expected(scl: Any, shape: Any) -> str:
    """What becomes of an area under the default limits of the cloud rule."""
    classes, _ = rasterio.mask.mask(scl, [shape], crop=True)
    inside, _, _ = rasterio.mask.raster_geometry_mask(scl, [shape], crop=True)
    counts = np.bincount(classes.ravel(), minlength=12)
    valid, total = int(counts[1:12].sum()), int(np.count_nonzero(~inside))
    if not valid or valid < oracle.MIN_VALID / 100 * total:
        return "nodata"
    return "cloudy" if counts[list(oracle.BAD_CLASSES)].sum() > oracle.MAX_CLOUD / 100 * valid else "saved"


def same(crop: Path, tci: Any, shape: Any) -> bool:
    """Whether a crop is what rasterio.mask makes."""
    pixels, transform = rasterio.mask.mask(tci, [shape], crop=True)
    with rasterio.open(crop) as raster:
        return bool(raster.transform == transform and np.array_equal(raster.read(), pixels))
