"""Estimates how long a run will still take, from the work done, the known rest, and what its searches may find.

The number of jobs per scene varies by a factor of a thousand, so neither the rate of scenes nor the rate of jobs
alone gives the time. The model is that each scene costs a constant time, and each of its jobs another constant
time. The ratio of the two is fitted to all work done so far, and their absolute size to recent work. All functions
are pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from s2async.text import roughly

WARM_UP: Final = 5.0
"""Seconds of work before the first estimate, because an earlier one would be worthless."""
SAMPLES: Final = 3
"""Number of samples before the first estimate."""
SAMPLE: Final = 1.0
"""Minimum duration of a sample in seconds; a sample also waits until some job ends."""
SHORTEST_MEMORY: Final = 30.0
"""Minimum number of seconds after which a sample has half its weight. It is a quarter of the time since the first
result, so that little noise remains, ..."""
LONGEST_MEMORY: Final = 600.0
"""... and at most this number, so that the estimate adapts to a link that becomes slow."""
SCENE_IN_JOBS: Final = (2.0, 100.0)
"""Minimum and maximum number of jobs that take as long as the part of a scene that does not depend on its jobs.
Both are tried until the scenes processed differ enough in weight: 2 was measured for nine parks, about 50 for
dense fields."""
TRUST: Final = 0.02
"""Weight of that assumption, relative to the weight of all samples."""
STALLED: Final = 3.0
"""Multiple of the usual time between two results above which a pause counts as lost time."""
ENOUGH: Final = 0.05
"""Fraction of the work of all searches, in seconds, that must be known before the rest is extrapolated."""
DOUBT: Final = 1.5
"""Factor by which what searches will still find may differ from what they have found."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of work."""

    scenes: float = 0.0
    """Number of scenes; a scene of which some jobs are done counts in part."""
    jobs: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.scenes + other.scenes, self.jobs + other.jobs)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.scenes - other.scenes, self.jobs - other.jobs)


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """An estimate in seconds."""

    least: float
    """Lower bound; if ``most`` is None, for the known work only."""
    most: float | None
    """Upper bound; None if it is unknown how much the searches will still find."""

    @property
    def likely(self) -> float:
        """The estimate as a single number: the geometric mean of both bounds, or the lower bound."""
        return self.least if self.most is None else (self.least * self.most) ** 0.5

    def __str__(self) -> str:
        """Return the estimate in words, rounded: ``about 4 min``, ``20 to 40 min``, ``at least 2 h``."""
        if self.most is None:
            return f"at least {roughly(self.least)}"
        if self.most < 1.25 * self.least or roughly(self.least) == roughly(self.most):
            return f"about {roughly(self.likely)}"
        low, high = roughly(self.least), roughly(self.most)
        same = low.split()[1:] == high.split()[1:] and low.count(" ") == 1
        return f"{low.split()[0] if same else low} to {high}"


class Tally:
    """Counts the scenes and jobs that enter the queue, and those that are done."""

    def __init__(self) -> None:
        self.entered = Amount()
        self.searched = Amount()
        """The part that the searches of this run found."""
        self._scenes_done = 0.0
        self._jobs_done = 0
        self._open: dict[object, tuple[int, float]] = {}
        """By scene, the number of jobs that are not done, and the fraction of the scene that each of them
        represents."""

    @property
    def done(self) -> Amount:
        """The part that is done."""
        return Amount(self._scenes_done, self._jobs_done)

    def enter(self, jobs: Mapping[object, int], *, resumed: bool) -> None:
        """Count jobs that enter the queue.

        Args:
            jobs: number of jobs, by a key of their scene.
            resumed: whether an earlier run left them open.
        """
        for scene, count in jobs.items():
            known, part = self._open.get(scene, (0, 0.0))
            new = 0 if known else 1
            self._open[scene] = known + count, (known * part + new) / (known + count)
            amount = Amount(new, count)
            self.entered += amount
            if not resumed:
                self.searched += amount

    def leave(self, scene: object, jobs: int = 1) -> None:
        """Count jobs of a scene that are done. If the scene never entered, only the jobs are counted."""
        left, part = self._open.get(scene, (0, 0.0))
        self._scenes_done += part * min(jobs, left)
        self._jobs_done += jobs
        if left > jobs:
            self._open[scene] = left - jobs, part
        else:
            self._open.pop(scene, None)


@dataclass(slots=True)
class Coverage:
    """Which fraction of the searches is complete, weighted by the days and areas that they are for."""

    searches: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """Days and number of areas of each search of the run, by key."""
    _through: dict[str, float] = field(default_factory=dict)

    def reach(self, key: str, part: float) -> None:
        """Record how far a search has advanced.

        Args:
            key: key of the search.
            part: fraction of its days, from 0 to 1.
        """
        if key in self.searches:
            self._through[key] = min(1.0, max(part, self._through.get(key, 0.0)))

    @property
    def scenes(self) -> float:
        """Expected fraction of all scenes that has been found, 0 to 1: searches find about as many each day."""
        return self._part({key: days for key, (days, _) in self.searches.items()})

    @property
    def jobs(self) -> float:
        """Expected fraction of all jobs that has been found, 0 to 1: their number is proportional to the areas."""
        return self._part({key: days * areas for key, (days, areas) in self.searches.items()})

    def _part(self, weights: Mapping[str, float]) -> float:
        whole = sum(weights.values())
        through = sum(weight * self._through.get(key, 0.0) for key, weight in weights.items())
        return through / whole if whole else 1.0


class Rates:
    """The costs of scenes and jobs: least squares of seconds = a * scenes + b * jobs, with a and b >= 0."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._last = 0.0
        self._seen = Amount()
        self._samples = 0
        self._usual = 0.0
        """Mean duration of the samples in seconds."""
        self._time = self._scenes = self._jobs = 0.0
        """Sums over the samples; older samples have less weight."""
        self._ss = self._sj = self._jj = self._st = self._jt = 0.0
        """Sums of products of scenes, jobs and time, each divided by the duration of the sample, because its
        variance grows with its duration."""

    def note(self, now: float, done: Amount) -> None:
        """Record how much has been done by now. It may be called often or rarely.

        Args:
            now: seconds of a monotonic clock.
            done: amount done since the start of the run.
        """
        if self._first is None:
            if done.jobs > 0:  # the time before includes the start and the wait for the first responses
                self._first = self._last = now
                self._seen = done
            return
        seconds, new = now - self._last, done - self._seen
        if seconds < SAMPLE or new.jobs <= 0:
            return
        memory = min(LONGEST_MEMORY, max(SHORTEST_MEMORY, (now - self._first) / 4))
        self._forget(0.5 ** (seconds / memory))
        self._samples += 1
        self._usual += (seconds - self._usual) / min(self._samples, 20)
        self._time += seconds
        self._scenes += new.scenes
        self._jobs += new.jobs
        self._ss += new.scenes * new.scenes / seconds
        self._sj += new.scenes * new.jobs / seconds
        self._jj += new.jobs * new.jobs / seconds
        self._st += new.scenes
        self._jt += new.jobs
        self._last, self._seen = now, done

    def seconds_for(self, work: Amount, now: float) -> tuple[float, ...]:
        """Return how long this much work will take, for each of `SCENE_IN_JOBS`; empty while too little is known.

        Args:
            work: amount of work, not negative.
            now: as for `note`; if nothing has been done for an unusually long time, the work takes longer.
        """
        if self._first is None or self._samples < SAMPLES or self._last - self._first < WARM_UP:
            return ()
        pause = now - self._last
        lost = pause if pause > STALLED * self._usual + SAMPLE else 0.0
        found = []
        for ratio in SCENE_IN_JOBS:
            scene, job = self._costs(ratio)
            level = (self._time + lost) / (scene * self._scenes + job * self._jobs)
            found.append((scene * work.scenes + job * work.jobs) * level)
        return tuple(found)

    def _costs(self, ratio: float) -> tuple[float, float]:
        """Return the costs of a scene and of a job, up to a common factor.

        Args:
            ratio: ratio of the costs that is assumed if the samples do not determine it.
        """
        # Ridge regression towards scene = ratio * job: without it, there is no solution if all scenes have equally
        # many jobs. The smaller sum sets its strength, so that a few light scenes among heavy ones still have an
        # effect.
        pull = TRUST * min(self._ss, self._jj / ratio**2)
        ss, sj, jj = self._ss + pull, self._sj - pull * ratio, self._jj + pull * ratio**2
        determinant = ss * jj - sj * sj
        scene = (self._st * jj - self._jt * sj) / determinant
        job = (self._jt * ss - self._st * sj) / determinant
        if scene < 0 or job < 0:  # the other cost alone explains the time
            return (0.0, 1.0) if scene < job else (1.0, 0.0)
        return scene, job

    def _forget(self, factor: float) -> None:
        for name in ("_time", "_scenes", "_jobs"):
            setattr(self, name, getattr(self, name) * factor)


class Outlook:
    """Estimates the time left of one run."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.coverage = Coverage()
        self.ahead = 0
        """Jobs that an earlier run left open and that have not entered the queue yet."""
        self._rates = Rates()

    def left(self, now: float, jobs: int) -> TimeLeft | None:
        """Return the time left. It should be called every second or more often.

        Args:
            now: seconds of a monotonic clock.
            jobs: number of jobs in the queue or in progress.

        Returns:
            The estimate; None while it would be worthless, and if nothing is left.
        """
        tally = self.tally
        self._rates.note(now, tally.done)
        entered = tally.entered
        share = entered.scenes / entered.jobs if entered.jobs else 0.0
        known = Amount(max(0.0, entered.scenes - tally.done.scenes) if jobs else 0.0, max(0, jobs))
        known += Amount(share * self.ahead, self.ahead)
        certain = self._rates.seconds_for(known, now)
        scenes, through = self.coverage.scenes, self.coverage.jobs
        if not certain or (scenes >= 1 and not known.jobs):
            return None
        if not (scenes and through):
            return TimeLeft(min(certain), None)
        more = Amount(tally.searched.scenes * (1 / scenes - 1), tally.searched.jobs * (1 / through - 1))
        seen = self._rates.seconds_for(tally.searched, now)
        rest = self._rates.seconds_for(more, now)
        if any(found < ENOUGH * (found + later) for found, later in zip(seen, rest, strict=True)):
            return TimeLeft(min(certain), None)
        return TimeLeft(
            min(sure + later / DOUBT for sure, later in zip(certain, rest, strict=True)),
            max(sure + later * DOUBT for sure, later in zip(certain, rest, strict=True)),
        )
