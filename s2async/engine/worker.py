"""Processes one batch of jobs, all of one scene: one step after another, until every job has an outcome.

This module and its imports depend on neither the state nor the command line, so that a batch can be processed in
any process. What it learns for later runs is returned with the outcomes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from s2async.engine.cut import Cut
from s2async.engine.endings import Endings
from s2async.engine.measure import Measure
from s2async.engine.scene_files import SceneFiles
from s2async.engine.step import Bench, StepKind
from s2async.engine.tools import Settings, Tools
from s2async.engine.values import Values
from s2async.errors import HostParked
from s2async.log import context, log
from s2async.models import Batch, BatchResult, Status
from s2async.net.accounting import Meter

__all__ = ["MEASURING", "STEPS", "Settings", "Stopped", "Tools", "process"]

_log = logging.getLogger("s2async.engine")

STEPS: Final[tuple[StepKind, ...]] = (Measure, Values, Cut)
"""The steps of a job, in order."""
MEASURING: Final[tuple[StepKind, ...]] = (Measure,)
"""The steps that determine whether a job is clear."""


class Stopped(asyncio.CancelledError):
    """A batch was cancelled.

    Args:
        result: what is known by then: outcomes, and the other jobs with what was measured and saved. Traffic that
            is not part of it is counted by the tools' own meter.
    """

    def __init__(self, result: BatchResult) -> None:
        super().__init__()
        self.result = result


async def process(
    batch: Batch, settings: Settings, tools: Tools, *, steps: Sequence[StepKind] = STEPS
) -> BatchResult:
    """Process a batch.

    Args:
        batch: jobs of one scene.
        settings: what is requested.
        tools: the tools of this process.
        steps: kinds of work, in order; for a batch that only measures, `MEASURING` is used instead.

    Returns:
        Outcomes in the order of the batch, one for every job that is neither left nor undecided, and what was
        transferred for them. Errors of the network or of a file are outcomes; jobs are left if a server currently
        receives no requests.

    Raises:
        Stopped: the batch was cancelled; what is known by then can be recorded.
        LocalError: this machine cannot continue (disk full, read-only). Nothing is then known about the jobs, and
            the tools' own meter counts what was transferred.
    """
    begun = time.monotonic()
    meter = Meter(tools.transport.meter)
    own = replace(tools, transport=tools.transport.counted_by(meter))
    with context(item=batch.scene.id):
        try:
            result = await _work(batch, settings, own, steps)
        except BaseException:
            meter.hand_over()
            raise
        if _log.isEnabledFor(logging.DEBUG):
            fields = {"jobs": len(batch.jobs), "left": len(result.left), "seconds": time.monotonic() - begun}
            log(_log, logging.DEBUG, "batch_done", fields)
    return replace(result, traffic=tuple(meter.drain()))


async def _work(batch: Batch, settings: Settings, tools: Tools, steps: Sequence[StepKind]) -> BatchResult:
    endings = Endings(batch, settings.rule, settings.assets, settings.values, settings.values_rule)
    files = SceneFiles(batch, settings, tools, endings)
    bench = Bench(settings=settings, tools=tools, endings=endings, files=files)
    parked = ""
    try:
        endings.judge()
        endings.give_up()
        await asyncio.sleep(0)  # here and below: going through thousands of jobs takes a hundredth of a second
        for step in [kind(bench) for kind in (MEASURING if batch.measuring else steps)]:
            await step.run()
            await asyncio.sleep(0)
        if not batch.measuring:
            endings.end_all()
    except HostParked as error:
        parked = error.origin
    except asyncio.CancelledError:
        # A header from an earlier run may have put these outside, while nothing of the file has been read yet.
        sure = tuple(outcome for outcome in endings.outcomes if outcome.status is not Status.OUTSIDE)
        known = BatchResult(outcomes=sure, files=tuple(files.facts.values()), left=endings.left)
        raise Stopped(known) from None
    undecided = tuple(job for job in endings.left if batch.measuring and job.measure)
    return BatchResult(
        outcomes=endings.outcomes,
        files=tuple(files.facts.values()),
        left=tuple(job for job in endings.left if not (batch.measuring and job.measure)),
        parked=parked,
        undecided=undecided,
    )
