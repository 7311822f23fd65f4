"""A disk that fills up at random levels: what is in sight is whole and right, and with room the run goes on.

On a small tmpfs where one can be mounted; where not, with a limit on the size of files in its stead.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import rasterio
from shapely import Polygon

from s2async.config.model import Config
from s2async.sandbox.server.process import Sandbox, start
from tests.chaos import dense, traces
from tests.support import worlds

COUNT: Final = 100
ITEMS: Final = {"few": 6, "many": 2}
SIZE: Final = 64 << 20
"""Bytes of the tmpfs; what one run needs is a part of it."""


def main(arguments: list[str]) -> int:
    """Fill up the disk under runs; 1 when something wrong is in sight, or a run cannot go on."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos disk", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"levels (default: {COUNT})")
    parser.add_argument("--many", action="store_true", help="so many areas that files are written in batches")
    parser.add_argument("--seed", type=int, default=2022, metavar="N")
    parser.add_argument("--limit", action="store_true", help="limit the size of files, though a mount is possible")
    asked = parser.parse_args(arguments)
    chance, endings, faults = random.Random(asked.seed), Counter[str](), list[str]()
    begun, items = time.monotonic(), ITEMS["many" if asked.many else "few"]
    areas = dense.fields() if asked.many else {name: worlds.polygon(name) for name in worlds.SHAPES}
    with tempfile.TemporaryDirectory(prefix="s2async-disk-") as name, contextlib.ExitStack() as stack:
        world = worlds.World(make(Path(name) / "world"), [worlds.day(number) for number in range(items)])
        sandbox = stack.enter_context(start(world.folder))
        disk = make(Path(name) / "disk")
        mounted = not asked.limit and stack.enter_context(small_disk(disk))
        taken, largest = measured(make(disk / "calm"), areas, sandbox)
        for number in range(asked.count):
            folder = make(disk / f"level{number}")
            config = worlds.write_config(folder, sandbox, areas=areas, run={"reserve": 0})
            level = chance.randrange(taken if mounted else largest)
            code, said = squeezed(config, disk, level, mounted=mounted)
            endings[told(code, said)] += 1
            if code not in (0, 6) or "Traceback" in said:
                faults.append(f"level {level}: exit {code}: {said[-300:]}")
            faults += [f"level {level}: {fault}" for fault in wrong(config, world)]
            wanted = items * len(areas)
            faults += [f"level {level}, resumed: {fault}" for fault in resumed(config, world, sandbox, wanted)]
            shutil.rmtree(folder)
    print(f"{asked.count} levels of a full {'tmpfs' if mounted else 'file (RLIMIT_FSIZE)'}", end=" ")
    print(f"under runs of {items * len(areas)} jobs", end=" ")
    print(f"in {time.monotonic() - begun:.0f} s; {len(faults)} faults", *faults[:5], sep="\n  ")
    for ending, count in endings.most_common():
        print(f"  {count:5} {ending}")
    return int(bool(faults))


def make(folder: Path) -> Path:
    """A new folder."""
    folder.mkdir()
    return folder


def measured(folder: Path, areas: Mapping[str, Polygon], sandbox: Sandbox) -> tuple[int, int]:
    """The bytes that a run without a fault takes on its disk, and those of its largest file; levels are below."""
    ran = worlds.run(worlds.write_config(folder, sandbox, areas=areas, run={"reserve": 0}), sandbox)
    if not ran.summary.clean:
        raise RuntimeError("a run with room enough is not clean")
    stats = [path.stat() for path in folder.rglob("*")]
    shutil.rmtree(folder)
    return sum(512 * stat.st_blocks for stat in stats), max(stat.st_size for stat in stats)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A tmpfs in a folder; False where none can be mounted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    mount = shutil.which("mount")
    mounted = mount is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def squeezed(config: Path, disk: Path, level: int, *, mounted: bool) -> tuple[int, str]:
    """Run with so many bytes left; the exit code, and what was said."""
    command = [sys.executable, "-m", "s2async", "-q", "run", str(config)]
    filler = disk / "filler"
    if mounted:
        with filler.open("wb") as file:
            left = shutil.disk_usage(disk).free - level
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 20)))

    def limit() -> None:
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (level, resource.RLIM_INFINITY))

    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, preexec_fn=limit)
    finally:
        filler.unlink(missing_ok=True)
    return ended.returncode, ended.stderr


def told(code: int, said: str) -> str:
    """The ending in a few words, without names and numbers."""
    if code == 0:
        return "enough room"
    line = said.strip().splitlines()[-1] if said.strip() else ""
    what = " ".join(word for word in line.split() if "/" not in word and not any(map(str.isdigit, word)))
    return f"exit {code}: {what}"


def wrong(path: Path, world: worlds.World) -> list[str]:
    """Crops in sight that are not whole, or not what rasterio.mask makes of the scene."""
    config, found = Config.load(path), list[str]()
    for crop in config.output.folder.rglob("*.tif"):
        try:
            with rasterio.open(crop) as raster:
                raster.read()
        except rasterio.RasterioIOError as error:
            found.append(f"{crop.name}: {error}")
    for plan in config.run.state.parent.glob("*.plans/*.plan"):
        found += [f"{plan.name}: {fault}" for fault in traces.faults_of_plan(plan.read_bytes(), config.run.state)]
    with contextlib.suppress(FileNotFoundError):
        if config.run.state.stat().st_size:
            found += worlds.faults_of(config, world)
            found += [f"{key} {job.reason}" for key, job in worlds.jobs(config).items() if job.status == "failed"]
    return found


def resumed(path: Path, world: worlds.World, sandbox: Sandbox, expected: int) -> list[str]:
    """What is wrong after a run with room enough, which must leave so many jobs."""
    config = Config.load(path)
    ran = worlds.run(path, sandbox)
    found = [] if ran.summary.clean and not ran.summary.left else ["not all was done"]
    if len(worlds.jobs(config)) != expected:
        found.append(f"{len(worlds.jobs(config))} jobs instead of {expected}")
    recorded = {
        config.output.folder / job.folder / file
        for job in worlds.jobs(config).values()
        for file in job.products.values()
    }
    found += [f"{crop.name} is in nobody's record" for crop in {*config.output.folder.rglob("*.tif")} - recorded]
    found += [f"{part.name} was left" for part in config.output.folder.rglob("*.part")]
    return found + wrong(path, world)
