"""The time left of simulated runs, and the estimate that was shown on the way."""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from s2async.engine.time_left import Amount, Coverage, Outlook, Rates, Tally, TimeLeft
from s2async.text import roughly
from tests.support.lanes import slow

QUEUE = 1000
BURST = 512
"""Jobs of a scene that are answered at once."""


@dataclass(frozen=True)
class Simulated:
    """A run: its searches, one after another, and what its work costs."""

    searches: Sequence[Sequence[int]]
    """Jobs of each scene, by search. Searches span a quarter each."""
    areas: Sequence[int]
    """Number of areas of each search."""
    scene: float = 0.05
    """Seconds of a scene; of all workers together, as `job`."""
    job: float = 0.003
    lanes: int = 16
    """Batches under way at the same time."""
    resumed: Sequence[int] = ()
    """Jobs of the scenes that an earlier run left open."""
    slower: Callable[[float], float] = field(default=lambda _: 1.0)
    """Factor of the costs by the part of the work that is done."""
    noise: float = 0.5
    """Standard deviation of the logarithm of costs."""

    @property
    def work(self) -> float:
        scenes = [*self.resumed, *itertools.chain.from_iterable(self.searches)]
        return sum(self.scene + self.job * jobs for jobs in scenes)


@functools.cache
def shown(name: str, every: float = 1.0) -> list[tuple[float, TimeLeft | None]]:
    """What a run shows of the time left: by seconds since its start; the last entry is its end."""
    run = RUNS[name]
    chance, outlook, told = random.Random(1), Outlook(), list[tuple[float, TimeLeft | None]]()
    outlook.coverage = Coverage({str(key): (91.0, areas) for key, areas in enumerate(run.areas)})
    outlook.ahead = sum(run.resumed)

    def resume() -> Iterator[tuple[object, int, int]]:
        for number, jobs in enumerate(run.resumed):
            outlook.ahead -= jobs
            outlook.tally.enter({number: jobs}, resumed=True)
            yield from ((number, part, jobs) for part in parts(jobs))

    def search() -> Iterator[tuple[object, int, int]]:
        for key, scenes in enumerate(run.searches):
            for number, jobs in enumerate(scenes):
                outlook.tally.enter({(key, number): jobs}, resumed=False)
                outlook.coverage.reach(str(key), (number + 1) / len(scenes))
                yield from (((key, number), part, jobs) for part in parts(jobs))
            outlook.coverage.reach(str(key), 1.0)

    feeders = [resume(), search()]
    waiting, now, next_look, spent = list[tuple[object, int, int]](), 3.0, 0.0, 0.0
    under_way: list[tuple[float, int, object, int]] = []
    count = itertools.count()
    while True:
        while feeders and sum(jobs for _, jobs, _ in waiting) < QUEUE:
            feeder = feeders.pop(0)
            if batch := next(feeder, None):  # batches of scene, jobs, and jobs of the whole scene
                waiting.append(batch)
                feeders.append(feeder)
        while waiting and len(under_way) < run.lanes:
            scene, jobs, whole = waiting.pop(0)
            cost = (run.scene * jobs / whole + run.job * jobs) * run.slower(spent / run.work)
            spent += run.scene * jobs / whole + run.job * jobs
            noisy = cost * run.lanes * chance.lognormvariate(-(run.noise**2) / 2, run.noise)
            heapq.heappush(under_way, (now + noisy, next(count), scene, jobs))
        if not under_way:
            told.append((now, None))
            return told
        end, _, scene, jobs = heapq.heappop(under_way)
        while next_look < end:
            open_jobs = outlook.tally.entered.jobs - outlook.tally.done.jobs
            told.append((next_look, outlook.left(next_look, int(open_jobs))))
            next_look += every
        now = end
        outlook.tally.leave(scene, jobs)


def parts(jobs: int) -> list[int]:
    return [min(BURST, jobs - start) for start in range(0, jobs, BURST)]


def weights(kind: random.Random, count: int, low: int, high: int) -> list[int]:
    """Jobs of scenes whose weights spread evenly over orders of magnitude."""
    return [round(low * (high / low) ** kind.random()) for _ in range(count)]


CHANCE = random.Random(7)
DENSE, PARKS = ([10_000] * 30, 10_000), ([9] * 30, 9)
"""Jobs of each scene of a quarter, and areas."""


def regions(*searches: tuple[list[int], int], **costs: float) -> Simulated:
    return Simulated([scenes for scenes, _ in searches], [areas for _, areas in searches], **costs)  # type: ignore[arg-type]


RUNS = {
    "nine parks, searches soon done": Simulated([[9] * 150] * 4, [9] * 4),
    "dense fields": regions(*[DENSE] * 4),
    "dense fields, then parks": regions(*[DENSE] * 2, *[PARKS] * 20),
    "parks, then dense fields": regions(*[PARKS] * 20, *[DENSE] * 2),
    "scenes that cost much, fields first": regions(*[DENSE] * 4, *[PARKS] * 8, scene=0.3, job=0.003),
    "scenes that cost much, parks first": regions(*[PARKS] * 8, *[DENSE] * 4, scene=0.3, job=0.003),
    "now these, now those": regions(*[PARKS, PARKS, DENSE] * 4, scene=0.3, job=0.003),
    "any weight": Simulated([weights(CHANCE, 100, 1, 10_000) for _ in range(4)], [10_000] * 4),
    "one batch at a time": Simulated([weights(CHANCE, 100, 1, 3_000) for _ in range(4)], [3_000] * 4, lanes=1),
    "a link that becomes slow": Simulated([[9] * 900] * 8, [9] * 8, slower=lambda part: 1 + 3 * (part > 0.2)),
    "a second run": Simulated([[], [], [], [9] * 30], [9] * 4, resumed=[9] * 900),
    "a new band": Simulated([[]] * 4, [10_000] * 4, resumed=weights(CHANCE, 200, 9, 5_000)),
}

NAMES = [*(name for name in RUNS if name != "a link that becomes slow"), *slow("a link that becomes slow")]


@pytest.mark.parametrize("name", NAMES)
def test_estimates_on_the_way_are_within_half_of_the_truth(name: str) -> None:
    told = shown(name)
    end = told[-1][0]
    for part in (0.25, 0.5, 0.75):
        at, left = next((at, left) for at, left in told if at >= part * end)
        assert left is not None, f"nothing is shown at {part:.0%}"
        truth = end - at
        assert truth / 1.5 <= left.likely <= truth * 1.5, (
            f"{left} ({left.likely:.0f} s) of {truth:.0f} s at {part:.0%}"
        )


@pytest.mark.parametrize("name", NAMES)
def test_estimates_do_not_jump_and_are_never_negative(name: str) -> None:
    told = shown(name)
    end = told[-1][0]
    later = [(at, left) for at, left in told if left is not None and left.most is not None and at > 0.2 * end]
    assert all(0 < left.least <= left.likely <= (left.most or 0) for _, left in later)
    ends = [at + left.likely for at, left in later]
    jumps = [max(one, other) / min(one, other) for one, other in itertools.pairwise(ends)]
    assert max(jumps) < 1.25, "a second moves the end that is shown by a quarter at most"


def test_nothing_is_shown_before_it_is_worth_something() -> None:
    outlook = Outlook()
    outlook.tally.enter(dict.fromkeys(range(100), 9), resumed=False)
    assert outlook.left(0.0, 900) is None
    for second in range(1, 40):
        if second > 20:
            outlook.tally.leave(second - 20, 9)
        left = outlook.left(float(second), 900 - 9 * max(0, second - 20))
        assert (left is None) == (second < 26), "the time before the first answer tells nothing"
    assert left is not None
    assert left.likely == pytest.approx(81, rel=0.01)
    assert str(left) == "about 1 min"


def test_a_pause_makes_it_longer() -> None:
    rates = Rates()
    for second in range(31):
        rates.note(second, Amount(second, 10 * second + 1))
    rest = Amount(60, 600)
    assert rates.seconds_for(rest, 31.0) == pytest.approx((60, 60), rel=0.02)
    assert rates.seconds_for(rest, 60.0)[0] > 100


def test_searches_that_are_not_done_are_said() -> None:
    assert str(TimeLeft(100, None)) == "at least 2 min"
    assert str(TimeLeft(1200, 2400)) == "20 to 40 min"
    assert str(TimeLeft(1200, 1300)) == "about 21 min"
    assert str(TimeLeft(50, 150)) == "50 s to 2 min"
    assert str(TimeLeft(5000, 9000)) == "1 h 20 min to 2 h 30 min"
    assert TimeLeft(1200, 4800).likely == 2400
    assert TimeLeft(1200, None).likely == 1200


def test_before_any_search_has_come_anywhere_there_is_a_lower_bound_alone() -> None:
    outlook = Outlook()
    outlook.coverage = Coverage({"a": (91.0, 9)})
    outlook.tally.enter(dict.fromkeys(range(100), 9), resumed=True)
    for second in range(20):
        outlook.tally.leave(second, 9)
        left = outlook.left(float(second), 900 - 9 * (second + 1))
    assert left is not None
    assert left.most is None
    assert left.least == pytest.approx(80, rel=0.05)


def test_searches_count_by_days_and_areas() -> None:
    coverage = Coverage({"fields": (30.0, 900), "parks": (90.0, 100)})
    assert coverage.scenes == coverage.jobs == 0
    coverage.reach("parks", 0.5)
    coverage.reach("parks", 0.2)
    assert coverage.scenes == pytest.approx(45 / 120)
    assert coverage.jobs == pytest.approx(4_500 / 36_000)
    coverage.reach("fields", 1.5)
    coverage.reach("unknown", 1.0)
    assert coverage.jobs == pytest.approx(31_500 / 36_000)
    assert Coverage().jobs == 1, "without searches there is nothing to find"


def test_a_scene_that_is_half_done_counts_half() -> None:
    tally = Tally()
    tally.enter({"a": 4}, resumed=False)
    tally.enter({"b": 2}, resumed=True)
    tally.leave("a", 2)
    assert tally.done == Amount(0.5, 2)
    assert tally.searched == Amount(1, 4)
    tally.enter({"a": 6}, resumed=False)  # more areas of the same scene, by another search
    assert tally.entered == Amount(2, 12)
    tally.leave("a", 8)
    assert tally.done.scenes == pytest.approx(1)
    tally.leave("unknown")
    assert tally.done.jobs == 11


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "5 s"), (42, "40 s"), (57, "55 s"), (58, "1 min"), (89, "1 min"), (200, "3 min"), (3_570, "1 h"),
     (4_000, "1 h 10 min"), (7_200, "2 h"), (50_000, "14 h"), (200_000, "2 days")],
)  # fmt: skip
def test_estimates_are_rounded_to_what_they_are_worth(seconds: float, text: str) -> None:
    assert roughly(seconds) == text
