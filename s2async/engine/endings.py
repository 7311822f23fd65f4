"""What becomes of a batch's jobs: what is known of each so far, and the outcome that follows from it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from s2async import clouds, reasons
from s2async.catalog.assets import NO_ASSET
from s2async.clouds import Limits
from s2async.errors import NotAllowed, RemoteError
from s2async.models import Asset, Batch, Cause, CloudMeasure, Job, Lack, Outcome, Product, Status
from s2async.text import origin

SCL: Final = "scl"
"""Our key of the scene classification."""


class Endings:
    """The jobs of a batch; what has no outcome goes on.

    Args:
        batch: Jobs of one scene.
        limits: Of clouds.
        assets: To be cut; none to measure only.
    """

    def __init__(self, batch: Batch, limits: Limits, assets: Sequence[str]) -> None:
        self.measures: dict[int, CloudMeasure] = {job.id: job.measure for job in batch.jobs if job.measure}
        self.products: dict[int, list[Product]] = {job.id: [*job.products] for job in batch.jobs}
        self._batch = batch
        self._limits = limits
        self._assets = assets
        self._outcomes: dict[int, Outcome] = {}
        self._lacks: dict[int, dict[str, Lack]] = {job.id: self._known_lacks(job) for job in batch.jobs}
        """By asset: what is not asked for, and what was asked for in vain."""

    @property
    def told(self) -> tuple[Outcome, ...]:
        """All outcomes, in the batch's order."""
        return tuple(self._outcomes[job.id] for job in self._batch.jobs if job.id in self._outcomes)

    @property
    def left(self) -> tuple[Job, ...]:
        """The jobs without one, with what is known of them: nothing is fetched again when they go on."""
        return tuple(map(self._so_far, self._open()))

    # ---- what is to be asked for ----

    def unmeasured(self) -> list[Job]:
        """Jobs whose clouds are to be looked at."""
        return [job for job in self._open() if job.id not in self.measures]

    def wanting(self, asset: str) -> list[Job]:
        """Jobs of which an asset is to be cut."""
        return [job for job in self._open() if asset not in job.saved and asset not in self._lacks[job.id]]

    # ---- what was learnt ----

    def lack(self, asset: Asset, error: RemoteError, jobs: Sequence[Job]) -> None:
        """Note that those of the jobs that have no outcome did not get an asset."""
        cause = reasons.cause_of(error)
        host = error.origin if isinstance(error, NotAllowed) and error.origin else origin(asset.href)
        missing = cause is Cause.NOT_THERE
        transient = not missing and cause not in reasons.FINAL
        lack = Lack(asset=asset.key, cause=cause, text=str(error), host=host, missing=missing, transient=transient)
        for job in jobs:
            if job.id not in self._outcomes:
                self._lacks[job.id].setdefault(asset.key, lack)

    def forget(self, key: str, jobs: Sequence[Job]) -> None:
        """An asset is to be tried once more for these jobs: what came of the first try does not count."""
        for job in jobs:
            self._outcomes.pop(job.id, None)
            self._lacks[job.id].pop(key, None)

    # ---- what follows ----

    def judge(self) -> None:
        """End the jobs that are not clear, and those that were to be measured and could not be."""
        for job in self._open():
            measured = self.measures.get(job.id)
            status = clouds.verdict(measured, self._limits) if measured else None
            if measured and status:
                small = measured.total == 0
                reason = "no centre of a pixel lies in the area: it is too small" if small else ""
                self.end(job, status, reason, cause=Cause.SMALL if small else None)
            elif SCL in (lacks := self._lacks[job.id]) and not (measured and lacks[SCL].missing):
                self._end_lacking(job, [lacks[key] for key in dict.fromkeys((SCL, *self._assets)) if key in lacks])

    def give_up(self) -> None:
        """End the jobs of which no wanted asset can be had: then their clouds do not matter."""
        for job in self._open():
            lacks = self._lacks[job.id]
            hopeless = self._assets and all(key in lacks for key in self._assets)
            if hopeless and not job.saved.intersection(self._assets):
                self._end_lacking(job, [lacks[key] for key in self._assets])

    def end_all(self) -> None:
        """End the clear jobs that are left by what was, and what could be, cut."""
        for job in self._open():
            there = job.saved.union(product.asset for product in self.products[job.id])
            found = self._lacks[job.id]
            lacks = [found[key] for key in self._assets if key in found and key not in there]
            if lacks and not (there.intersection(self._assets) and all(lack.missing for lack in lacks)):
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
        """Enter the outcome of a job; the arguments are parts of it."""
        self._outcomes[job.id] = Outcome(
            job=job,
            status=status,
            measure=self.measures.get(job.id),
            products=tuple(self.products[job.id]),
            reason=reason,
            cause=cause,
            transient=transient,
            lacks=tuple(lacks),
        )

    # ---- helpers ----

    def _open(self) -> list[Job]:
        return [job for job in self._batch.jobs if job.id not in self._outcomes]

    def _known_lacks(self, job: Job) -> dict[str, Lack]:
        """What a job lacks before anything is asked for: what its item does not offer, what is not due again."""
        scene = self._batch.scene
        found = {lack.asset: lack for lack in job.lacks if not lack.again}
        for key in (SCL, *self._assets):
            if key not in scene.assets and key not in job.saved:
                reason = scene.absent.get(key, NO_ASSET)
                before = found.get(key)
                if before is None or (before.cause, before.text) != (reason.cause, reason.text):
                    found[key] = Lack(asset=key, cause=reason.cause, text=reason.text, host=reason.host)
        return found

    def _end_lacking(self, job: Job, lacks: Sequence[Lack]) -> None:
        """End a job for what it lacks: FAILED where something of that may be there."""
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
        products = self.products[job.id]
        known = {lack.asset: lack for lack in job.lacks}
        missing = {key: lack for key, lack in self._lacks[job.id].items() if lack.missing}
        return replace(
            job,
            measure=self.measures.get(job.id),
            saved=job.saved | {product.asset for product in products},
            products=tuple(products),
            lacks=tuple((known | missing).values()),
        )
