"""One case of the fault matrix: a world, a run with a fault, a run without it, and an oracle after both."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from shapely import Polygon

from benchmarks.chaos.kinds import Kind
from s2async import cli, search, transport
from s2async.retries import MOST
from s2async.sandbox.process import Sandbox, start
from tests import oracle, worlds

LIMIT: Final = 30.0
"""Seconds after which a run counts as hung; the longest ones take some seconds of stalls."""
ATTEMPTS: Final = 3
AREAS: Final = ("North", "Wide")
SEARCHES: Final = 10
"""Quarters up to the first of 2022; each is a search with two scenes."""
_KNOWN: Final = re.compile(r"^(/v1/search|/cogs/[^/]+/(SCL|TCI)\.tif)$")
ANSWERS: Final = ("saved", "cloudy", "nodata", "outside")

Pair = tuple[str, str]
"""An area and an item."""


class HungError(BaseException):
    """A run takes longer than it may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What is right of one job."""

    status: str
    crop: NDArray[Any] | None
    """Of the picture; None when there is to be none."""


@dataclass(kw_only=True, slots=True)
class Cell:
    """What became of one kind at one position."""

    kind: str
    position: str
    injected: int = 0
    right: int = 0
    """Jobs with the right answer after the first run."""
    told: int = 0
    """Jobs without an answer, and with a reason or an exit code that says so."""
    wrong: int = 0
    """Jobs with a wrong answer."""
    hangs: int = 0
    healed: int = 0
    """Jobs that were without an answer, and had the right one after the second run."""
    codes: Counter[int] = field(default_factory=Counter)
    said: str = ""
    """The first line that told the user of it."""
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """One run of the program."""

    code: int
    output: str
    jobs: dict[Pair, oracle.RecordedJob]
    files: Counter[str]
    """Requests by the item's name in their paths."""
    often: int
    """How often the same bytes were asked for, at most."""
    requests: int
    strays: Counter[str]
    """Requests for what no item names, such as side-cars."""
    hung: bool = False


class Bench:
    """A world, its server and the truth, for many cases one after the other."""

    def __init__(self, folder: Path, sandbox: Sandbox, searches: int) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.truth = truth_of(folder / "world")
        year, month = quarters(searches)[0]
        self._cases = 0
        self._period = f"{year}-{month + 1:02}-01/2022-03-31"
        self.needed = self._count_needed()

    def try_out(self, kind: Kind, position: str, cell: Cell) -> None:
        """One case: a run with the fault, a run without it, and the oracle after both."""
        place, path = self._config(verify=kind.verify)
        self._set(kind, position)
        first = self._run(path, ["run", str(path)])
        met = sum(fault["met"] for fault in self.sandbox.faults()[1:])
        cell.injected += met
        cell.codes[first.code] += 1
        self.sandbox.clear_faults()
        self._judge(kind, first, cell)
        if first.requests > 1.1 * self.needed + MOST + 2 * met:
            cell.violations.append(f"I8: {first.requests} requests, where {self.needed} do")
        cell.said = cell.said or _said(first)
        if not first.hung:
            self._heal(kind, path, first, cell)
        self._look_around(place, cell)
        shutil.rmtree(place)

    def _count_needed(self) -> int:
        """Requests of a run without faults."""
        place, path = self._config()
        self.sandbox.fault("pages", size=1, count=None)
        ended = self._run(path, ["run", str(path)])
        shutil.rmtree(place)
        if ended.code:
            raise RuntimeError(f"a run without faults ended with {ended.code}: {ended.output}")
        return ended.requests

    def _config(self, *, verify: bool = False) -> tuple[Path, Path]:
        """A folder for a case, and the config in it."""
        self._cases += 1
        place = self.folder / f"case-{self._cases}"
        path = worlds.write_config(
            place,
            self.sandbox,
            areas={name: polygon(name) for name in AREAS},
            search={"datetime": self._period, "max_scene_cloud": 100},
            clouds={"min_area_valid": 0},
            network={"origins": [self.sandbox.origin], "connections": 12, "attempts": ATTEMPTS,
                     "connect_timeout": 1, "idle_timeout": 0.5, "total_timeout": 1.5, "patience": 1},
            run={"state": "config-data/state.sqlite", "reserve": "1 MiB", "verify": verify},
        )  # fmt: skip
        return place, path

    def _set(self, kind: Kind, position: str) -> None:
        file, _, part = position.rpartition(" ")
        settings = {
            name: value.replace("FORBIDDEN", self.sandbox.forbidden) if isinstance(value, str) else value
            for name, value in kind.settings.items()
        }
        self.sandbox.clear_faults()
        self.sandbox.fault("pages", size=1, count=None)
        self.sandbox.fault(kind.fault, path=file, position=part, count=kind.count, each=True, **settings)

    def _run(self, path: Path, command: Sequence[str]) -> Ended:
        self.sandbox.reset()
        output = io.StringIO()
        code, hung = -1, False
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                code = cli._run_command(command)
        except HungError:
            hung = True
        except Exception as error:  # noqa: BLE001 - that there is one is the finding
            print(f"Traceback: {error!r}", file=output)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        everything = self.sandbox.log()
        log = [entry for entry in everything if entry.kind == "cogs"]
        state = path.parent / "config-data" / "state.sqlite"
        return Ended(
            code=code,
            output=output.getvalue(),
            jobs={(job.area, job.item): job for job in oracle.recorded_jobs(state)} if state.exists() else {},
            files=Counter(entry.path.split("/")[-2] for entry in log),
            often=max(Counter((entry.path, entry.range) for entry in log).values(), default=0),
            requests=len(everything),
            strays=Counter(entry.path for entry in everything if not _KNOWN.search(entry.path)),
            hung=hung,
        )

    # ---- the oracle ---------------------------------------------------------------------------------------

    def _judge(self, kind: Kind, ended: Ended, cell: Cell) -> None:
        blame = cell.violations.append
        if ended.hung:
            cell.hangs += 1
            blame(f"I7: no end after {LIMIT:.0f} s")
            return
        if ended.strays:
            blame(f"I9: requests that no item asks for: {ended.strays.most_common(3)}")
        if "Traceback" in ended.output:
            blame(f"I10: {ended.output[ended.output.index('Traceback') :][-300:]}")
        for pair in self.truth:
            found = self._verdict(kind, ended, pair)
            if found == "right":
                cell.right += 1
            elif found == "told":
                cell.told += 1
                if kind.recovers:
                    blame(f"not recovered: {pair}: {_state_of(ended, pair)}")
            else:
                cell.wrong += 1
                blame(f"{found}: {pair}")
        if kind.recovers and ended.code:
            blame(f"I6: exit code {ended.code} after a fault that passed: {_said(ended)}")
        # once more from the header, once more after the server was parked
        if kind.fault != "redirect" and ended.often > ATTEMPTS * (2 if kind.count else 4) + 1:
            blame(f"I8: the same bytes were asked for {ended.often} times")

    def _verdict(self, kind: Kind, ended: Ended, pair: Pair) -> str:
        """``right``, ``told`` (no answer, and that is no secret), or what is wrong."""
        job = ended.jobs.get(pair)
        if job is None:
            if ended.code or (kind.skipped and "skipped" in ended.output):
                return "told"
            return "I1: lost, and exit code 0"
        if job.status == "missing":
            return "told" if kind.missing and job.reason else "I4: called missing"
        if job.status in ANSWERS:
            return self._differs(job, pair) or "right"
        if job.status == "failed" and not job.reason:
            return "I1: failed without a reason"
        return "told" if ended.code else f"I6: {job.status}, and exit code 0"

    def _differs(self, job: oracle.RecordedJob, pair: Pair) -> str:
        truth = self.truth[pair]
        if job.status != truth.status:
            return f"I4: {job.status} instead of {truth.status}"
        if truth.crop is None:
            return "" if not job.products else "I2: a crop of what is not clear"
        files = list(self.folder.glob(f"case-{self._cases}/config-data/{job.folder}/{job.item}*.tif"))
        if len(files) != 1:
            return f"I2: {len(files)} files"
        try:
            with rasterio.open(files[0]) as raster:
                pixels = raster.read()
        except rasterio.errors.RasterioError as error:
            return f"I3: {error}"
        return "" if np.array_equal(pixels, truth.crop) else "I3: silent wrong pixels"

    def _heal(self, kind: Kind, path: Path, first: Ended, cell: Cell) -> None:
        """The fault is over: everything gets its answer, and nothing is asked for twice."""
        right = {pair for pair in self.truth if self._verdict(kind, first, pair) == "right"}
        if any(job.status in ("failed", "missing") for job in first.jobs.values()):
            self._run(path, ["retry", str(path), "--missing"])
        second = self._run(path, ["run", str(path)])
        if second.hung:
            cell.hangs += 1
        for pair in self.truth.keys() - right:
            if self._verdict(kind, second, pair) == "right":
                cell.healed += 1
            else:
                cell.violations.append(f"not healed: {pair}: {_state_of(second, pair)}; {_said(second)}")
        done = {item for _, item in right} - {item for _, item in self.truth.keys() - right}
        again = done & second.files.keys()
        if again:
            cell.violations.append(f"I5: {len(again)} finished items were read again")

    def _look_around(self, place: Path, cell: Cell) -> None:
        connections, requests = self.sandbox.intrusions()
        if connections:
            asked = requests[0].path if requests else "nothing"
            cell.violations.append(f"I9: {connections} connections to the forbidden origin, for {asked}")
        strange = {path.name for path in place.iterdir()} - {"config.toml", "config-data"}
        strange |= {path.name for path in self.folder.iterdir() if not path.name.startswith("case-")} - {"world"}
        strange |= {str(path) for path in place.rglob("*.part")}
        if strange:
            cell.violations.append(f"I9: strange files: {sorted(strange)[:3]}")


def _state_of(ended: Ended, pair: Pair) -> str:
    job = ended.jobs.get(pair)
    return "unknown" if job is None else f"{job.status} {job.reason}"


def _said(ended: Ended) -> str:
    """The first line that tells of trouble, without where the run looked."""
    words = ("incomplete", "failed", "missing", "skipped", "s2async:", "asked to", "only fails", "not there")
    lines = [" ".join(line.split()) for line in ended.output.splitlines()]
    reasons = [job.reason for job in ended.jobs.values() if job.status in ("failed", "missing")]
    told = next((line for line in lines if any(word in line for word in words)), "")
    return reasons[0] if reasons else told


# ---- the world --------------------------------------------------------------------------------------------


def quarters(count: int) -> list[tuple[int, int]]:
    """The year and first month (from 0) of so many quarters, of which the last is the first of 2022."""
    return [divmod(2022 * 12 - 3 * back, 12) for back in range(count - 1, -1, -1)]


def items(searches: int) -> list[worlds.Item]:
    """Two scenes a quarter; every third is cloudy over one area."""
    found = []
    for number, (year, month) in enumerate(quarters(searches) * 2):
        when = datetime(year, month + 1, 5 + 7 * (number // searches), 10, 20, 30, tzinfo=UTC)
        clouded = frozenset({"Wide"}) if number % 3 == 1 else frozenset[str]()
        name = f"S2A_33UUU_{when:%Y%m%d}_0_L2A"
        found.append(worlds.Item(id=name, when=when, clouded=clouded))
    return found


def polygon(name: str) -> Polygon:
    """An area none of whose corners lies on the edge of a pixel, where a hair's breadth would decide."""
    return worlds.lonlat([(east + 3.7, south + 3.1) for east, south in worlds.SHAPES[name]])


def truth_of(folder: Path) -> dict[Pair, Truth]:
    """What is right of every area and item, from the items as JSON and the local files alone."""
    found = {}
    for line in (folder / "items.jsonl").read_text().splitlines():
        item = json.loads(line)
        scl, visual = (folder / item["assets"][key]["href"].removeprefix("{origin}/") for key in ("scl", "visual"))
        for area in AREAS:
            percent = oracle.plain_cloud_percent(scl, polygon(area))
            crop = oracle.plain_crop(visual, polygon(area))
            assert percent is not None
            assert crop is not None
            clear = percent <= 2.0
            found[area, item["id"]] = Truth(
                status="saved" if clear else "cloudy", crop=crop.pixels if clear else None
            )
    return found


@contextlib.contextmanager
def bench(searches: int = SEARCHES) -> Iterator[Bench]:
    """A world and its server, for the length of a ``with`` block."""
    with tempfile.TemporaryDirectory(prefix="s2async-matrix-") as name:
        folder = Path(name)
        worlds.World(folder / "world", items(searches))
        with start(folder / "world", forbidden=True) as sandbox, _hurried():
            yield Bench(folder, sandbox, searches)


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    """Retries come at once, a search is endless sooner, and a run that hangs is interrupted."""
    jitter, most = transport._full_jitter, search.MAX_ITEMS
    former = signal.signal(signal.SIGALRM, _hung)
    transport._full_jitter = lambda attempt: 0.01 * attempt
    search.MAX_ITEMS = 30
    try:
        yield
    finally:
        transport._full_jitter = jitter
        search.MAX_ITEMS = most
        signal.signal(signal.SIGALRM, former)


def _hung(_number: int, _frame: FrameType | None) -> None:
    raise HungError
