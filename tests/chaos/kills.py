"""SIGKILL at random instants and at named points, until all is done; then an oracle looks for a trace of it.

Two campaigns side by side, each with a server and an output of its own. With ``--many``, crops are written in
batches and plans are kept; the campaigns then also damage kept plans, which no run may believe. The oracle
(`traces`) shares nothing with the package: rasterio.mask on the local scenes, SQL on the state, the server's log,
and the names in the output folder.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from shapely import Polygon

from s2async import file_batches
from s2async.cli.main import main as command_line
from s2async.sandbox.server.process import Sandbox, start
from tests.chaos import dense, kept_plans
from tests.chaos.points import arm, arm_clock
from tests.chaos.traces import WORDS, Found, PlanWatch, judge, query, settled, unreadable
from tests.support import worlds

KILLS: Final = 500
CAMPAIGNS: Final = 2
FIELDS: Final = 10
"""In a row, and rows of fields."""
JOBS_A_KILL: Final = 40
RANDOM: Final = "at random"
DATES: Final = "2022-01-01/2024-12-31"
SURPLUS: Final = 40
"""Rounds of a campaign, at most, when its jobs are done before its kills are."""


def grid() -> dict[str, Polygon]:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of campaign."""

    areas: Callable[[], Mapping[str, Polygon]]
    connections: int
    """As many and a half batches are under way when a run is killed."""
    longest: float
    """Seconds from the start of a run to a kill at a random instant, at most."""
    spread: Mapping[str, int]
    """How often a run comes by each point, at most, before it is killed there."""


KINDS: Final = {
    "few": Kind(
        areas=grid,
        connections=8,
        longest=1.2,
        spread={
            "after fetch": 14, "in decode": 60, "in file": 110, "after write": 110, "after replace": 110,
            "before sync": 4, "after sync": 4, "before commit": 3, "in transaction": 20, "after commit": 3,
        },
    ),
    "many": Kind(
        areas=dense.fields,
        connections=2,
        longest=1.6,
        spread={
            "after fetch": 14, "in decode": 60, "in file": 400, "after write": 400, "after replace": 400,
            "before sync": 4, "after sync": 4, "before commit": 2, "in transaction": 20, "after commit": 2,
            "in plan": 20, "before plan": 2, "after plan": 2,
        },
    ),
}  # fmt: skip
PLANS: Final = frozenset({"in plan", "before plan", "after plan"})
"""Points that a run comes by where no kept plan can be believed."""
SPOILED: Final = 4
"""Before one run in so many, and before all that are killed at such points, the kept plans are damaged."""


def main(arguments: list[str]) -> int:
    """Kill and look; 1 when there is a trace."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos kills", description=__doc__)
    parser.add_argument("--count", type=int, default=KILLS, metavar="N", help=f"kills (default: {KILLS})")
    parser.add_argument("--many", action="store_true", help="so many areas that files are written in batches")
    parser.add_argument("--seed", type=int, default=2022, metavar="N")
    asked = parser.parse_args(arguments)
    kind = "many" if asked.many else "few"
    each = -(-asked.count // CAMPAIGNS)
    items = max(4, -(-each * JOBS_A_KILL // len(KINDS[kind].areas())))
    begun, total = time.monotonic(), Found()
    with place() as folder:
        world = folder / "world"
        world.mkdir()
        worlds.World(world, [made_item(number) for number in range(items)])
        points = chosen(kind, CAMPAIGNS * each, random.Random(asked.seed))
        spawn = multiprocessing.get_context("spawn")  # a campaign forks: it must begin without threads
        with ProcessPoolExecutor(CAMPAIGNS, mp_context=spawn) as pool:
            tasks = [
                pool.submit(
                    campaign,
                    folder / f"campaign{number}",
                    world,
                    kind,
                    points[number::CAMPAIGNS],
                    asked.seed + number,
                )
                for number in range(CAMPAIGNS)
            ]
            for task in tasks:
                total.add(task.result())
    return report(total, asked.count, time.monotonic() - begun)


@contextmanager
def place() -> Iterator[Path]:
    """A folder whose file system is synced as a whole; in any other one, batches of files are not used."""
    shared = Path("/dev/shm")
    usual = Path(tempfile.gettempdir())
    where = usual if file_batches.syncs_whole(usual) or not file_batches.syncs_whole(shared) else shared
    with tempfile.TemporaryDirectory(prefix="s2async-kills-", dir=where) as name:
        if not file_batches.syncs_whole(Path(name)):
            print("files are synced one by one here: some points are not reached")
        yield Path(name)


def chosen(kind: str, kills: int, chance: random.Random) -> list[str]:
    """Where runs are killed: half of them at random instants, the rest at each point equally often."""
    points = KINDS[kind].spread
    found = [name for name in itertools.islice(itertools.cycle(points), -(-kills // 2)) for name in (name, RANDOM)]
    chance.shuffle(found)
    return found[:kills]


def report(total: Found, wanted: int, seconds: float) -> int:
    """Print the table."""
    kills = sum(total.kills.values())
    print(f"{kills} kills over {total.jobs:,} jobs ({total.saved:,} crops) in {seconds:.0f} s")
    for counts, what in ((total.kills, ""), (total.plans, "kept plans: ")):
        for name, count in sorted(counts.items()):
            print(f"  {count:5} {what}{name}")
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


# ---- a campaign -------------------------------------------------------------------------------------------


def campaign(folder: Path, world: Path, kind: str, points: list[str], seed: int) -> Found:
    """Kill runs at these points, in this order, over as many jobs as that takes."""
    chance, found, left = random.Random(seed), Found(), deque(points)
    with start(world) as sandbox:
        for number in range(SURPLUS):
            if left or not number:
                Round(folder / f"round{number}", world, sandbox, KINDS[kind], chance, found).go_on(left)
    return found


class Round:
    """All jobs once: runs that are killed, then one that ends, then one that has nothing to do."""

    def __init__(
        self, folder: Path, world: Path, sandbox: Sandbox, kind: Kind, chance: random.Random, found: Found
    ) -> None:
        self._folder, self._world, self._sandbox = folder, world, sandbox
        self._kind, self._chance, self._found = kind, chance, found
        self._config = worlds.write_config(
            folder,
            sandbox,
            areas=kind.areas(),
            search={"datetime": DATES},
            network={"connections": kind.connections},
        )
        self._data = folder / "config-data"
        self._state = self._data / "state.sqlite"
        self._notes = folder / "plans.txt"
        self._plans = PlanWatch(self._state, self._notes)
        self._seen: dict[Path, tuple[int, int]] = {}
        self._answered = 0

    def go_on(self, points: deque[str]) -> None:
        """Kill runs until there is no point left, or no job; then see the rest done, and judge it."""
        found = self._found
        while points:
            point = points[0]
            if point in PLANS or not self._chance.randrange(SPOILED):
                self._plans.spoil(self._chance, found)
            code = self._run(self._armed(point))
            if code != -signal.SIGKILL:
                if code:
                    found.said.append(f"exit {code}: {words(self._folder)}")
                break
            found.kills[points.popleft()] += 1
        for _ in range(2):  # the second one finds nothing to do
            code = self._run(lambda: None)
            if code or words(self._folder):
                found.said.append(f"exit {code}: {words(self._folder)}")
        judge(self._data, self._world, self._kind.areas(), found)

    def _armed(self, point: str) -> Callable[[], None]:
        if point == RANDOM:
            return partial(arm_clock, self._chance.uniform(0, self._kind.longest))
        return partial(arm, point, self._chance.randint(1, self._kind.spread[point]))

    def _run(self, prepare: Callable[[], None]) -> int:
        """One run, and a look at what it has left; its exit code, negative for a signal."""
        found, known, before = self._found, settled(self._state), last(self._sandbox)

        def begin() -> None:
            kept_plans.note_what_is_believed(self._notes)
            prepare()

        code = forked(begin, self._config, self._folder)
        found.again += [path for path in asked_for(self._sandbox, before) if path in known]
        found.half += unreadable(self._data, self._seen)
        self._plans.look(found)
        now = len(query(self._state, "SELECT 1 FROM jobs WHERE status != 'open'"))
        if now < self._answered:
            found.lost.append(f"{self._answered - now} answers that were there before a kill")
        self._answered = now
        return code


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
    """The last lines that a run said."""
    lines = (folder / "said").read_text().strip().splitlines()
    return " | ".join(lines[-3:])


def last(sandbox: Sandbox) -> int:
    """The number of the newest request."""
    return sandbox.totals()["all"].requests


def asked_for(sandbox: Sandbox, before: int) -> set[str]:
    """Files that were asked for since then."""
    return {entry.path for entry in sandbox.log(since=before) if entry.kind == "cogs"}
