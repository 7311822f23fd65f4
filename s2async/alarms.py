"""When a run that had no error was none the less in vain, and what to do about it. Pure."""

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
"""Scenes that tell more than chance would; where there are fewer, all of them must."""
MOST: Final = 95
"""Per cent of the jobs that must have the same fault to be said."""
NAMED: Final = 30
"""Asset keys that are named."""


_NOTHING: Final = Again()


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """That nothing, or next to nothing, could be had."""

    text: str
    """One line: what, and what to do."""
    settings: bool = False
    """Only other settings can help."""


def is_most(part: int, whole: int) -> bool:
    """Whether a part is nearly the whole of something."""
    return bool(part) and part * 100 >= whole * MOST


# ---- one server, in one run ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Tally:
    jobs: int = 0
    """That a server gave a file, or should have given one."""
    bad: Counter[Cause] = field(default_factory=Counter)
    """Those without an answer for want of its files, by cause."""
    scenes: set[str] = field(default_factory=set)
    """Scenes of those; no more than are needed."""
    served: bool = False


class Servers:
    """Takes in the outcomes of a run, and tells which servers gave none of their files.

    Args:
        measured: Keys of the assets in which cloud cover is measured.
    """

    def __init__(self, measured: Sequence[str]) -> None:
        self._measured = measured
        self._tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
        self._last: tuple[Scene, set[str]] | None = None
        """The scene of the last outcome, and the assets that it gave, ..."""
        self._hosts = frozenset[str]()
        """... from these servers."""

    def add(self, outcome: Outcome) -> None:
        """Take in an outcome. What was lacking before, while its server gave others, tells nothing new."""
        job = outcome.job
        given = {product.asset for product in outcome.products}
        given.update(result.asset for result in outcome.results if isinstance(result, BandEvidence))
        if outcome.status is Status.OUTSIDE or (outcome.measure is not None and job.measure is None):
            given.update(self._measured)
        if (job.scene, given) != self._last:  # many jobs of a scene follow one another
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
        """Origins of servers that gave a file."""
        return frozenset(host for host, tally in self._tallies.items() if tally.served)

    def alarms(self, again: Callable[[str], Again]) -> tuple[Alarm, ...]:
        """One for each server whose files were all but none of them to be had.

        Args:
            again: When its files are asked for again, by its origin.
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
"""Failures that have to do with what the files are, or where; others are told one by one."""


def state_alarm(
    jobs: Mapping[str, int],
    causes: Mapping[str, Mapping[Cause, int]],
    *,
    scenes: tuple[int, int],
    keys: Collection[str],
    forbidden: Sequence[str],
    again: Again,
) -> Alarm | None:
    """That nearly all jobs of a state lack files; None where it is not so.

    Args:
        jobs: By status, those that are open left out.
        causes: Missing and failed ones, by status and cause.
        scenes: Those with a missing or failed job, and all.
        keys: Asset keys that the catalogue offers.
        forbidden: Origins that are needed, and not allowed.
        again: When the files are asked for again that other settings would not give.
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
    """That nearly all saved jobs lack the same asset; None where it is not so.

    Args:
        saved: Jobs that are saved.
        without: Those that lack an asset, by asset and cause.
        lacking: Scenes of those, by asset.
        scenes: Scenes of all that are saved.
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
    """What to do about files that cannot be had.

    Args:
        causes: Why.
        keys: Asset keys that the catalogue offers.
        forbidden: Origins that are needed, and not allowed.
        again: When the files are asked for again that other settings would not give; by default there are none.
    """
    found = set(causes)
    told = []
    if Cause.NO_ASSET in found:
        told.append(f"there are: {named(keys)}; correct assets in [output], or in catalog of [search]")
    if found & {Cause.JPEG2000, Cause.FORMAT}:
        told.append("only COGs can be read: name assets, or a catalogue, that has them")
    if found & {Cause.SCHEME, Cause.ADDRESS}:
        told.append("name a catalogue whose files are public over https")
    if Cause.ORIGIN in found:
        told.append(listing(*forbidden) if forbidden else "s2async status tells what to list in [network]")
    if not found <= SETTINGS and again.words:
        told.append(again.words)
    return "; ".join(told)


def named(keys: Collection[str]) -> str:
    """Asset keys for people."""
    return ", ".join(sorted(keys)[:NAMED]) or "none that can be read"
