"""What is known about each job of a batch so far, and the outcome that follows from it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from s2async import reasons
from s2async.catalog.assets import NO_ASSET
from s2async.causes import Cause, Lack
from s2async.clouds import scl
from s2async.clouds.rule import VERDICTS, CloudRule, CountingRule
from s2async.errors import NotAllowed, RemoteError
from s2async.models import Asset, Batch, CloudMeasure, Job, Outcome, Product, Status
from s2async.text import origin
from s2async.zonal.wanted import VALUES, AreaValues, Variable, Wanted


class Endings:
    """The jobs of a batch. Steps work on jobs that have no outcome yet.

    Args:
        batch: jobs of one scene.
        rule: judges measurements.
        assets: assets to cut; empty to measure only.
        wanted: the requested values; None if no values are requested.
        values_rule: decides whether an area and date gets values; None if no values are requested.
    """

    def __init__(
        self,
        batch: Batch,
        rule: CloudRule,
        assets: Sequence[str],
        wanted: Wanted | None = None,
        values_rule: CloudRule | None = None,
    ) -> None:
        self.measures: dict[int, CloudMeasure] = {
            job.id: job.measure for job in batch.jobs if job.measure and job.measure.rule == rule.name
        }
        """What the rule counted, by job id."""
        self.products: dict[int, list[Product]] = {job.id: [*job.products] for job in batch.jobs}
        """Crops that were written, by job id."""
        self.results: dict[int, list[object]] = {job.id: [*job.results] for job in batch.jobs if job.results}
        """Results of other kinds of steps, by job id."""
        self.clear_pixels: dict[int, bytes] = {
            job.id: job.clear_pixels for job in batch.jobs if job.clear_pixels is not None
        }
        """What values need from the classification, by job id; see `engine.clear_pixels`."""
        self._batch = batch
        self._rule = rule
        self._assets = assets
        self._needed = tuple(dict.fromkeys((*rule.assets, *assets)))
        """All assets that the jobs need for their crops, the assets of the rule first."""
        self._values_rule = values_rule
        self._variables = {wanted.key(variable): variable for variable in wanted.variables} if wanted else {}
        """The requested variables, by their key in the state."""
        self._valued = (scl.ASSET, *wanted.bands) if wanted else ()
        """All assets that values need."""
        self._verdicts: dict[int, Status | None] = {}
        """Verdicts of the rule on measurements, by job id."""
        self._valid: dict[int, bool] = {}
        """Whether the rule of values accepts a measurement, by job id."""
        self._spoilt: dict[int, Status] = {}
        """Final status of jobs that are not clear and whose values still have to be computed."""
        self._outcomes: dict[int, Outcome] = {}
        needed = dict.fromkeys((*self._needed, *self._valued))
        absent = [key for key in needed if key not in batch.scene.assets]
        known = ((job.id, self._known_lacks(job, absent)) for job in batch.jobs if absent or job.lacks)
        self._lacks: dict[int, dict[str, Lack]] = {job: lacks for job, lacks in known if lacks}
        """By job and asset: assets for which no request is sent, and assets that were requested and could not be
        read. Jobs that lack nothing have no entry."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """All outcomes, in the order of the batch."""
        return tuple(self._outcomes[job.id] for job in self._batch.jobs if job.id in self._outcomes)

    @property
    def left(self) -> tuple[Job, ...]:
        """The jobs without an outcome, with what is known about them, so that nothing is fetched again."""
        return tuple(map(self._so_far, self.open()))

    # ---- what the steps need ----

    def open(self) -> list[Job]:
        """Return the jobs without an outcome."""
        return [job for job in self._batch.jobs if job.id not in self._outcomes]

    def unmeasured(self) -> list[Job]:
        """Return the jobs without a measurement for which all assets of the rule may be read."""
        lacks, needed = self._lacks, self._rule.assets
        return [
            job
            for job in self.open()
            if job.id not in self.measures
            and not (job.id in lacks and any(key in lacks[job.id] for key in needed))
        ]

    def wanting(self, asset: str) -> list[Job]:
        """Return the jobs for which an asset must be cut."""
        lacking = self.lacking(asset)
        return [
            job
            for job in self.open()
            if asset not in job.saved
            and job.id not in lacking
            and job.id not in self._spoilt
            and not any(product.asset == asset for product in self.products[job.id])
        ]

    def has_values(self, job: Job) -> bool:
        """Return whether a job's area has values on its date, that is, whether its measurement is accepted."""
        measured = self.measures.get(job.id)
        if self._values_rule is None or measured is None:
            return False
        if job.id not in self._valid:
            self._valid[job.id] = self._values_rule.verdict(measured) is None
        return self._valid[job.id]

    def pending(self, job: Job) -> Mapping[str, Variable]:
        """Return the variables that still have to be computed for a job, keyed by `Wanted.key`."""
        return self._possible(job) if self.has_values(job) else {}

    def lacking(self, asset: str) -> set[int]:
        """Return the ids of the jobs that lack an asset."""
        return {job for job, lacks in self._lacks.items() if asset in lacks}

    # ---- what the steps learned ----

    def lack(self, asset: Asset, error: RemoteError, jobs: Sequence[Job]) -> None:
        """Record that those of the jobs that have no outcome yet could not get an asset."""
        cause = reasons.cause_of(error)
        host = error.origin if isinstance(error, NotAllowed) and error.origin else origin(asset.href)
        missing = cause in reasons.GONE
        transient = not missing and cause not in reasons.FINAL
        lack = Lack(asset=asset.key, cause=cause, text=str(error), host=host, missing=missing, transient=transient)
        for job in jobs:
            if job.id not in self._outcomes:
                self._lacks.setdefault(job.id, {}).setdefault(asset.key, lack)

    def count(self, jobs: Sequence[Job], histograms: NDArray[np.int64], totals: NDArray[np.int64]) -> None:
        """Record what was counted in the areas of jobs, and judge all of it at once.

        Args:
            jobs: jobs of the areas.
            histograms: (jobs, bins) pixels by bin of the rule, which must be a `CountingRule`.
            totals: (jobs,) pixels of the areas.

        Raises:
            TypeError: the rule does not count values.
        """
        rule, of_values = self._rule, self._values_rule
        if not isinstance(rule, CountingRule):
            raise TypeError(f"{rule.name} does not count values")
        ids = [job.id for job in jobs]
        self.measures.update(zip(ids, rule.measures(histograms, totals), strict=True))
        verdicts = rule.verdicts(histograms, totals).tolist()
        self._verdicts.update(zip(ids, map(VERDICTS.__getitem__, verdicts), strict=True))
        if of_values is not None:
            self._valid.update(zip(ids, (of_values.verdicts(histograms, totals) == 0).tolist(), strict=True))

    def refuse_values(self, job: Job, why: str) -> None:
        """Record that an area gets no values, and why. This does not affect its crops."""
        self._lacks.setdefault(job.id, {})[VALUES] = Lack(asset=VALUES, cause=Cause.LARGE, text=why)

    def forget(self, key: str, jobs: Sequence[Job]) -> None:
        """Drop what the first attempt at an asset gave for these jobs, before the second attempt."""
        for job in jobs:
            self._outcomes.pop(job.id, None)
            self._lacks.get(job.id, {}).pop(key, None)
            self._valid.pop(job.id, None)
            self._verdicts.pop(job.id, None)

    # ---- what follows ----

    def judge(self) -> None:
        """End the jobs that are not clear and those that could not be measured."""
        self._spoilt.clear()
        for job in self.open():
            measured = self.measures.get(job.id)
            status = self._verdict(job, measured) if measured else None
            if measured and status:
                if self.pending(job):
                    self._spoilt[job.id] = status
                else:
                    self._end_spoilt(job, status, measured)
            elif lacks := self._lacks.get(job.id):
                gone = [lacks[key] for key in self._rule.assets if key in lacks]
                if gone and not measured:  # an earlier measurement remains valid even if its file is missing now
                    self._end_lacking(job, [lacks[key] for key in self._needed if key in lacks])

    def give_up(self) -> None:
        """End the jobs that can get neither a requested asset nor values; their cloud cover does not matter."""
        for job in self.open() if self._lacks else ():
            lacks = self._lacks.get(job.id, {})
            hopeless = self._assets and all(key in lacks for key in self._assets)
            if hopeless and not job.saved.intersection(self._assets) and not self._may_have_values(job):
                self._end_lacking(job, [lacks[key] for key in self._assets])

    def end_all(self) -> None:
        """End the remaining jobs, which are clear or only waited for values, by what they have and lack."""
        for job in self.open():
            if status := self._spoilt.get(job.id):
                self._end_spoilt(job, status, self.measures[job.id])
                continue
            found = self._lacks.get(job.id)
            if not found:
                self.end(job, Status.SAVED)
                continue
            there = job.saved.union(product.asset for product in self.products[job.id])
            cut = [found[key] for key in self._assets if key in found and key not in there]
            lacks = [*cut, *(lack for lack in self._value_lacks(job) if lack not in cut)]
            in_vain = cut and not there.intersection(self._assets)
            if in_vain or not all(lack.missing for lack in lacks):
                self._end_lacking(job, lacks)
            else:
                self.end(job, Status.SAVED, f"without {reasons.told(lacks)}" if lacks else "", lacks=lacks)

    def end(
        self,
        job: Job,
        status: Status,
        reason: str = "",
        *,
        cause: Cause | None = None,
        transient: bool = False,
        lacks: Sequence[Lack] = (),
    ) -> None:
        """Set the outcome of a job. The arguments are fields of `Outcome`."""
        self._outcomes[job.id] = Outcome(
            job=job,
            status=status,
            measure=self.measures.get(job.id),
            products=tuple(self.products[job.id]),
            reason=reason,
            cause=cause,
            transient=transient,
            lacks=tuple(lacks),
            results=tuple(self.results.get(job.id, ())),
        )

    # ---- values ----

    def _possible(self, job: Job) -> Mapping[str, Variable]:
        """Return the variables that a job does not have and whose files may be read."""
        lacks = self._lacks.get(job.id, {})
        if not (lacks or job.valued or job.id in self.results):
            return self._variables
        there = self._answered(job)
        if VALUES in lacks or (scl.ASSET in lacks and job.id not in self.clear_pixels):
            return {}
        return {
            key: variable
            for key, variable in self._variables.items()
            if key not in there and not any(band in lacks for band in variable.bands)
        }

    def _answered(self, job: Job) -> set[str]:
        """Return the keys of variables that have already been answered for a job."""
        found = self.results.get(job.id, ())
        return {*job.valued, *(result.key for result in found if isinstance(result, AreaValues))}

    def _may_have_values(self, job: Job) -> bool:
        """Return whether a job has values or can still get values."""
        if job.id in self.measures and not self.has_values(job):
            return False
        return bool(self._possible(job)) or not self._answered(job).isdisjoint(self._variables)

    def _value_lacks(self, job: Job) -> list[Lack]:
        """Return the lacks that prevent a job from having all requested values."""
        lacks = self._lacks.get(job.id, {})
        if not lacks or not self.has_values(job):
            return []
        there = self._answered(job)
        needed = {
            key
            for asked, variable in self._variables.items()
            if asked not in there
            for key in (VALUES, scl.ASSET, *variable.bands)
        }
        return [lacks[key] for key in (VALUES, *self._valued) if key in needed and key in lacks]

    # ---- helpers ----

    def _end_spoilt(self, job: Job, status: Status, measured: CloudMeasure) -> None:
        """End a job that is not clear: as FAILED if it lacks values that may still become available."""
        lacks = self._value_lacks(job)
        if not all(lack.missing for lack in lacks):
            self._end_lacking(job, lacks)
            return
        small = measured.total == 0
        reason = "no centre of a pixel lies in the area: it is too small" if small else ""
        self.end(job, status, reason, cause=Cause.SMALL if small else None, lacks=lacks)

    def _verdict(self, job: Job, measured: CloudMeasure) -> Status | None:
        """Return the verdict of the rule on a measurement."""
        if job.id not in self._verdicts:
            self._verdicts[job.id] = self._rule.verdict(measured)
        return self._verdicts[job.id]

    def _known_lacks(self, job: Job, absent: Sequence[str]) -> dict[str, Lack]:
        """Return what a job lacks before any request: assets its item does not offer, and those not due again."""
        scene = self._batch.scene
        found = {lack.asset: lack for lack in job.lacks if not lack.again}
        for key in absent:
            if key not in job.saved or key in self._valued:
                reason = scene.absent.get(key, NO_ASSET)
                before = found.get(key)
                if before is None or (before.cause, before.text) != (reason.cause, reason.text):
                    found[key] = Lack(asset=key, cause=reason.cause, text=reason.text, host=reason.host)
        return found

    def _end_lacking(self, job: Job, lacks: Sequence[Lack]) -> None:
        """End a job because of what it lacks: FAILED if some of it may exist, otherwise MISSING."""
        failed = [lack for lack in lacks if not lack.missing]
        because = failed or lacks
        self.end(
            job,
            Status.FAILED if failed else Status.MISSING,
            reasons.told(because),
            cause=because[0].cause,
            transient=any(lack.transient for lack in failed),
            lacks=lacks,
        )

    def _so_far(self, job: Job) -> Job:
        """Return a job with what has been learned about it."""
        products = self.products[job.id]
        known = {lack.asset: lack for lack in job.lacks}
        missing = {key: lack for key, lack in self._lacks.get(job.id, {}).items() if lack.missing}
        return replace(
            job,
            measure=self.measures.get(job.id),
            saved=job.saved | {product.asset for product in products},
            products=tuple(products),
            lacks=tuple((known | missing).values()),
            results=tuple(self.results.get(job.id, ())),
            clear_pixels=self.clear_pixels.get(job.id),
        )
