"""Decides whether a run that ended without errors has found nothing usable, and says what to do about it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from s2async.causes import Cause
from s2async.models import BandEvidence, Outcome, Scene, Status
from s2async.reasons import OUTAGE, SETTINGS, Again, counted
from s2async.text import listing, origin

ENOUGH: Final = 8
"""Scenes that must be affected, to rule out chance; if there are fewer scenes, all of them must be."""
MOST: Final = 95
"""Per cent of the jobs that must have the same fault before an alarm is raised."""
NAMED: Final = 30
"""Maximum number of asset keys that a message names."""


_NOTHING: Final = Again()


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """A message that all or nearly all files could not be read."""

    text: str
    """One line: what is wrong, and what to do."""
    settings: bool = False
    """Whether only other settings can help."""


def is_most(part: int, whole: int) -> bool:
    """Return whether a part is nearly the whole."""
    return bool(part) and part * 100 >= whole * MOST


# ---- one server, in one run ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    jobs: int = 0
    """Jobs for which the server returned a file, or should have."""
    bad: Counter[Cause] = field(default_factory=Counter)
    """Jobs that have no result because of its files, by cause."""
    scenes: set[str] = field(default_factory=set)
    """Scenes of these jobs; no more than are needed."""
    served: bool = False


class Servers:
    """Counts the outcomes of a run, and reports which servers returned none of their files.

    Args:
        measured: keys of the assets in which cloud cover is measured.
    """

    def __init__(self, measured: Sequence[str]) -> None:
        self._measured = measured
        self._tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._last: tuple[Scene, set[str]] | None = None
        """The scene of the last outcome, and the assets that could be read, ..."""
        self._hosts = frozenset[str]()
        """... from these servers."""

    def add(self, outcome: Outcome) -> None:
        """Count an outcome. Assets are ignored if they were already missing while their server returned others."""
        job = outcome.job
        given = {product.asset for product in outcome.products}
        given.update(result.asset for result in outcome.results if isinstance(result, BandEvidence))
        if outcome.status is Status.OUTSIDE or (outcome.measure is not None and job.measure is None):
            given.update(self._measured)
        if (job.scene, given) != self._last:  # consecutive jobs mostly have the same scene
            hrefs = (job.scene.assets[key].href for key in given if key in job.scene.assets)
            self._last, self._hosts = (job.scene, given), frozenset(map(origin, hrefs))
            for host in self._hosts:
                self._tallies[host].served = True
        hosts = self._hosts
        if not outcome.lacks:
            for host in hosts:
                self._tallies[host].jobs += 1
            return
        alone = {lack.asset for lack in job.lacks if lack.alone}
        lacking = {
            lack.host: lack.cause
            for lack in reversed(outcome.lacks)
            if lack.host and not lack.known and lack.cause in OUTAGE and lack.asset not in alone
        }
        answered = outcome.status not in (Status.MISSING, Status.FAILED)
        for host in hosts | lacking.keys():
            tally = self._tallies[host]
            tally.jobs += 1
            if host in lacking and not answered:
                tally.bad[lacking[host]] += 1
                if len(tally.scenes) < ENOUGH:
                    tally.scenes.add(job.scene.id)

    @property
    def served(self) -> frozenset[str]:
        """Origins of the servers that returned a file."""
        return frozenset(host for host, tally in self._tallies.items() if tally.served)

    def alarms(self, again: Callable[[str], Again]) -> tuple[Alarm, ...]:
        """Return an alarm for each server that returned none or nearly none of its files.

        Args:
            again: returns, for an origin, when its files are requested again.
        """
        return tuple(
            Alarm(text=_outage(host, tally, again(host)))
            for host, tally in sorted(self._tallies.items())
            if len(tally.scenes) >= ENOUGH and is_most(tally.bad.total(), tally.jobs)
        )


def _outage(host: str, tally: _Tally, again: Again) -> str:
    told = [f"{host} gave next to no file: {tally.bad.total():,} of {tally.jobs:,} jobs of this run got none"]
    told[0] += f" ({counted(tally.bad)})"
    if Cause.DENIED in tally.bad:
        told.append("it may want credentials, or have been moved")
    elif Cause.NOT_THERE in tally.bad:
        told.append("its files may have been moved")
    return "; ".join(filter(None, (*told, again.words)))


# ---- all jobs of the state ----------------------------------------------------------------------------------

_UNREAD: Final = frozenset(Cause) - {Cause.NETWORK, Cause.CHANGED, Cause.CRASH, Cause.SMALL, Cause.LARGE}
"""Failures that depend on what the files are, or where; all others are reported individually."""


def state_alarm(
    jobs: Mapping[str, int],
    causes: Mapping[str, Mapping[Cause, int]],
    *,
    scenes: tuple[int, int],
    keys: Collection[str],
    forbidden: Sequence[str],
    again: Again,
) -> Alarm | None:
    """Return the alarm that nearly all jobs of a state lack files, or None if they do not.

    Args:
        jobs: number of jobs by status, without open jobs.
        causes: number of missing and failed jobs, by status and cause.
        scenes: number of scenes with a missing or failed job, and number of all scenes.
        keys: asset keys that the catalogue offers.
        forbidden: origins that are needed but not allowed.
        again: when files that no change of settings would provide are requested again.
    """
    bad = Counter(causes.get(Status.MISSING, {}))
    bad.update({cause: n for cause, n in causes.get(Status.FAILED, {}).items() if cause in _UNREAD})
    everything = sum(jobs.values())
    if not is_most(bad.total(), everything) or scenes[0] < min(ENOUGH, scenes[1]):
        return None
    text = f"{bad.total():,} of {everything:,} jobs have no file that can be read: {counted(bad)}"
    return Alarm(text=f"{text}; {advice(bad, keys, forbidden, again)}", settings=bad.keys() <= SETTINGS)


def asset_alarm(
    saved: int, without: Mapping[tuple[str, Cause], int], lacking: Mapping[str, int], *, scenes: int
) -> Alarm | None:
    """Return the alarm that nearly all saved jobs lack the same asset, or None if they do not.

    Args:
        saved: number of saved jobs.
        without: number of saved jobs that lack an asset, by asset and cause.
        lacking: number of scenes of these jobs, by asset.
        scenes: number of scenes of all saved jobs.
    """
    by_asset: dict[str, Counter[Cause]] = defaultdict(Counter)
    for (asset, cause), jobs in without.items():
        by_asset[asset][cause] += jobs
    found = {
        asset: causes
        for asset, causes in by_asset.items()
        if is_most(causes.total(), saved) and lacking[asset] >= min(ENOUGH, scenes)
    }
    if not found:
        return None
    told = "; ".join(
        f"{causes.total():,} of {saved:,} jobs are saved without {asset}: {counted(causes)}"
        for asset, causes in sorted(found.items())
    )
    causes = {cause for each in found.values() for cause in each}
    do = "leave it out of assets in [output], or see whether the catalogue has it elsewhere"
    return Alarm(text=f"{told}; {do}", settings=causes <= SETTINGS)


def advice(
    causes: Collection[Cause], keys: Collection[str], forbidden: Sequence[str], again: Again = _NOTHING
) -> str:
    """Return what to do about files that cannot be read.

    Args:
        causes: why they cannot be read.
        keys: asset keys that the catalogue offers.
        forbidden: origins that are needed but not allowed.
        again: when files that no change of settings would provide are requested again; by default there are none.
    """
    found = set(causes)
    told = []
    if Cause.NO_ASSET in found:
        told.append(f"there are: {named(keys)}; correct assets in [output], or in catalog of [search]")
    if found & {Cause.JPEG2000, Cause.FORMAT}:
        told.append("only COGs can be read: name assets, or a catalogue, that has them")
    if Cause.SCHEME in found:
        told.append(
            "say in buckets of the catalogue at which URL they are, or name one whose files are public over https"
        )
    elif Cause.ADDRESS in found:
        told.append("name a catalogue whose files are public over https")
    if Cause.ORIGIN in found:
        told.append(listing(*forbidden) if forbidden else "s2async status tells what to list in [network]")
    if not found <= SETTINGS and again.words:
        told.append(again.words)
    return "; ".join(told)


def named(keys: Collection[str]) -> str:
    """Return asset keys for people."""
    return ", ".join(sorted(keys)[:NAMED]) or "none that can be read"
