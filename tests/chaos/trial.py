"""One case of the fault matrix: a run with a fault, a run without it, and an oracle after both."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from s2async.net.retries import MOST
from s2async.sandbox.server.process import Sandbox, start
from tests.chaos import editions
from tests.chaos.kind import PLACES, WHOLE, Kind
from tests.chaos.runs import LIMIT, Ended, hurried, run
from tests.chaos.truths import AREAS, Pair, differs, items, polygon, quarters, truth_of
from tests.support import worlds

SEARCHES: Final = 10
"""Quarters up to the first of 2022; each is a search with two scenes."""
HURRIED: Final = {
    "connections": 12, "attempts": 3, "connect_timeout": 1, "idle_timeout": 0.5, "total_timeout": 1.5,
    "patience": 1,
}  # fmt: skip
"""Settings of the network that let a run soon be through with a fault."""
ATTEMPTS: Final = 5
"""Of a run that is not hurried, at most."""
WORLDS: Final = frozenset({"world", "alike", "longer"})
"""Folders of what is served, and of later editions of it."""
ANSWERS: Final = ("saved", "cloudy", "nodata", "outside")
GRACE: Final = 5.0
"""Seconds that a fault that passes may cost, besides three times those that it lasts."""


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
    cost: float = 0.0
    """Seconds that the fault cost, at most: more than a run without it."""
    allowed: float | None = None
    """Seconds that it may cost; None for any."""


class Bench:
    """A world, its server and the truth, for many cases one after the other."""

    def __init__(self, folder: Path, sandbox: Sandbox, searches: int) -> None:
        self.folder, self.sandbox = folder, sandbox
        self.truth = truth_of(folder / "world")
        self.later = truth_of(folder / "alike")
        year, month = quarters(searches)[0]
        self._cases = 0
        self._period = f"{year}-{month + 1:02}-01/2022-03-31"
        self.needed = 0
        """Requests of a run without faults."""
        self.undisturbed = {unhurried: self._undisturbed(unhurried) for unhurried in (False, True)}
        """Seconds of a run without faults."""

    def try_out(self, kind: Kind, position: str, cell: Cell) -> None:
        """One case: a run with the fault, a run without it, and the oracle after both."""
        place, path = self._config(kind)
        self._set(kind, position)
        first = self._run(path, kind)
        met = sum(fault["met"] for fault in self.sandbox.faults() if fault["kind"] == kind.fault)
        cell.injected += met + len(kind.limits)
        cell.codes[first.code] += 1
        self.sandbox.clear_faults()
        self._judge(kind, position, first, cell)
        if first.requests > 1.1 * self.needed + MOST + 2 * met:
            cell.violations.append(f"I8: {first.requests} requests, where {self.needed} do")
        if not kind.limits:  # which take a process of their own
            cell.cost = max(cell.cost, first.seconds - self.undisturbed[kind.unhurried])
        cell.allowed = self._allowed(kind)
        cell.said = cell.said or _said(first)
        if not first.hung:
            self._heal(kind, path, first, cell)
        self._look_around(place, cell)
        shutil.rmtree(place)

    def _allowed(self, kind: Kind) -> float | None:
        """Seconds that a fault may cost, if it is one that passes."""
        if kind.rate:
            return 1.5 * self.needed / kind.rate
        if not kind.recovers or kind.limits:
            return None
        waited = {**HURRIED, **kind.network}["idle_timeout"] if kind.waits else 3 * kind.lasts
        return waited + GRACE

    def _undisturbed(self, unhurried: bool) -> float:
        """Seconds of a run without faults: the median of three."""
        found = []
        for _ in range(3):
            kind = Kind(name="none", unhurried=unhurried)
            place, path = self._config(kind)
            self._set(kind, "")
            ended = self._run(path, kind)
            shutil.rmtree(place)
            if ended.code:
                raise RuntimeError(f"a run without faults ended with {ended.code}: {ended.output}")
            self.needed = max(self.needed, ended.requests)
            found.append(ended.seconds)
        return median(found)

    def _config(self, kind: Kind) -> tuple[Path, Path]:
        """A folder for a case, and the config in it."""
        self._cases += 1
        place = self.folder / f"case-{self._cases}"
        settings: dict[str, Any] = {} if kind.unhurried else {**HURRIED, **kind.network}
        path = worlds.write_config(
            place,
            self.sandbox,
            areas={name: polygon(name) for name in AREAS},
            search={"datetime": self._period, "max_scene_cloud": 100},
            clouds={"min_area_valid": 0},
            network={"origins": [self.sandbox.origin], "connections": 64, **settings},
            run={"state": "config-data/state.sqlite", "reserve": "1 MiB", "verify": kind.verify},
        )
        return place, path

    def _set(self, kind: Kind, position: str) -> None:
        names = {"FORBIDDEN": self.sandbox.forbidden, "WORLDS": str(self.folder)}
        settings = dict(kind.settings)
        for name, text in names.items():
            settings = {
                key: value.replace(name, text) if isinstance(value, str) else value
                for key, value in settings.items()
            }
        self.sandbox.clear_faults()
        self.sandbox.fault("pages", size=1, count=None)
        if kind.fault:
            path, part = PLACES[position]
            how = {"skip": kind.skip, "seconds": kind.seconds, "onwards": kind.onwards, "by_range": kind.by_range}
            each = kind.by_range or position not in WHOLE
            self.sandbox.fault(
                kind.fault, path=path, position=part, count=kind.count, each=each, **how, **settings
            )
        for name, value in kind.always.items():
            self.sandbox.fault("always", path=r"\.tif$", count=None, name=name, value=value)

    def _run(self, path: Path, kind: Kind, command: str = "run") -> Ended:
        arguments = [command, str(path)] + (["--missing"] if command == "retry" else [])
        with contextlib.nullcontext() if kind.unhurried else hurried():
            return run(self.sandbox, path, arguments, kind.limits if command == "run" else ())

    # ---- the oracle ---------------------------------------------------------------------------------------

    def _judge(self, kind: Kind, position: str, ended: Ended, cell: Cell) -> None:
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
                if kind.recovers or not _touched(position, pair):
                    blame(f"not recovered: {pair}: {_state_of(ended, pair)}")
            else:
                cell.wrong += 1
                blame(f"{found}: {pair}")
        if kind.recovers and ended.code:
            blame(f"I6: exit code {ended.code} after a fault that passed: {_said(ended)}")
        if kind.codes and ended.code not in kind.codes:
            blame(f"I6: exit code {ended.code}: {_said(ended)}")
        # once more from the header, once more after the server was parked
        attempts = ATTEMPTS if kind.unhurried else {**HURRIED, **kind.network}["attempts"]
        if kind.fault != "redirect" and ended.often > attempts * (2 if kind.count else 4) + 1:
            blame(f"I8: the same bytes were asked for {ended.often} times")

    def _verdict(self, kind: Kind, ended: Ended, pair: Pair) -> str:
        """``right``, ``told`` (no answer, and that is no secret), or what is wrong."""
        job = ended.jobs.get(pair)
        if job is None:
            if ended.code or (kind.notice and kind.notice in ended.output):
                return "told"
            return "I1: lost, and exit code 0"
        if job.status == "missing":
            return "told" if kind.missing and job.reason else "I4: called missing"
        if job.status in ANSWERS:
            files = self.folder.glob(f"case-{self._cases}/config-data/{job.folder}/{job.item}*.tif")
            truths = [self.truth[pair], *([self.later[pair]] if kind.later else [])]
            return differs(job, files, truths) or "right"
        if job.status == "failed" and not job.reason:
            return "I1: failed without a reason"
        return "told" if ended.code else f"I6: {job.status}, and exit code 0"

    def _heal(self, kind: Kind, path: Path, first: Ended, cell: Cell) -> None:
        """The fault is over: everything gets its answer, and nothing is asked for twice."""
        right = {pair for pair in self.truth if self._verdict(kind, first, pair) == "right"}
        if not kind.by_itself and any(job.status in ("failed", "missing") for job in first.jobs.values()):
            self._run(path, Kind(name="none"), "retry")
        second = self._run(path, Kind(name="none"))
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
        strange |= {path.name for path in self.folder.iterdir() if not path.name.startswith("case-")} - WORLDS
        strange |= {str(path) for path in place.rglob("*.part")}
        if strange:
            cell.violations.append(f"I9: strange files: {sorted(strange)[:3]}")


def _state_of(ended: Ended, pair: Pair) -> str:
    job = ended.jobs.get(pair)
    return "unknown" if job is None else f"{job.status} {job.reason}"


def _said(ended: Ended) -> str:
    """The first line that tells of trouble, without where the run looked."""
    words = ("incomplete", "failed", "missing", "skipped", "s2async:", "asked to", "asked again", "not there")
    lines = [" ".join(line.split()) for line in ended.output.splitlines()]
    reasons = [job.reason for job in ended.jobs.values() if job.status in ("failed", "missing")]
    told = next((line for line in lines if any(word in line for word in words)), "")
    return reasons[0] if reasons else told


def _touched(position: str, pair: Pair) -> bool:
    """Whether a fault there can befall any request for a pair's item."""
    pattern, _ = PLACES[position]
    return any(re.search(pattern, f"/cogs/{pair[1]}/{name}.tif") for name in ("SCL", "TCI"))


@contextlib.contextmanager
def bench(searches: int = SEARCHES) -> Iterator[Bench]:
    """A world and its server, for the length of a ``with`` block."""
    with tempfile.TemporaryDirectory(prefix="s2async-matrix-") as name:
        folder = Path(name)
        worlds.World(folder / "world", items(searches))
        editions.make(folder / "world", folder / "alike", folder / "longer")
        with start(folder / "world", forbidden=True) as sandbox:
            yield Bench(folder, sandbox, searches)
