"""Takes jobs from the queue, has batches of them processed, and records the results in the state."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from s2async.causes import Cause
from s2async.engine import worker
from s2async.engine.context import Context
from s2async.engine.crash_marker import Left
from s2async.engine.executor import Executor
from s2async.engine.job_queue import batches
from s2async.engine.state_thread import to_the_end
from s2async.engine.waiting import Waiting, overpass_keys
from s2async.errors import HostParked, S2AsyncError
from s2async.events import JobDone, JobsFound
from s2async.models import Batch, BatchResult, Job, Outcome, Scene, Status
from s2async.net.limiter import TURN
from s2async.reflectance.decision import is_reflectance
from s2async.state.packed import row_of
from s2async.state.records import OPEN

T = TypeVar("T")

WORKERS: Final = 1.5
"""Batches in progress per connection: while one batch is decoded or saved, another uses its connection."""

SCENES: Final = 3
"""Approximate number of scenes of an overpass that are measured at the same time. The number of workers is divided
by it; otherwise the first crops would wait for classifications of later overpasses."""

RECORDED_TOGETHER: Final = 512
"""Number of jobs of a batch that are recorded in one transaction of a few hundredths of a second."""
ALONE_TOGETHER: Final = 128
"""Maximum size of a batch of jobs that may have crashed an earlier run: no more are lost if this run is killed."""
TOLD_TOGETHER: Final = 128
"""Number of outcomes that are reported before other tasks get a turn, which takes a few milliseconds."""


class Recorder:
    """Processes the jobs of the queue, batch by batch, and records their outcomes.

    Args:
        context: the context of the run.
        connections: maximum number of simultaneous requests to one server.
    """

    def __init__(self, context: Context, connections: int) -> None:
        self._context = context
        self._connections = connections
        values = context.selection.values
        self._read = {*context.selection.assets, *(values.bands if values else ())}
        """Assets that are read in addition to those of the cloud rule."""
        self._has_bands = any(map(is_reflectance, self._read))
        self._parked: set[str] = set()
        """Servers that receive no requests for a while."""
        self._turns = itertools.count(1)
        """Numbers batches in the order in which they start."""
        self._begun: dict[object, asyncio.Event] = {}
        """Keys of the jobs that are being processed (`_keys`), each with an event for the end of the
        processing."""
        self._waiting = Waiting()
        """Outcomes so far of jobs that wait for other jobs of their overpass."""
        self._clear: dict[int, tuple[Scene, bytes]] = {}
        """The clear pixels of jobs whose overpass is not decided yet, and the edition of the scene that they come
        from."""

    def start(self, group: asyncio.TaskGroup, executor: Executor) -> None:
        """Start the tasks, which work until the queue is closed and empty."""
        together = SCENES if self._context.selection.one_per_overpass else 1
        for _ in range(max(1, round(WORKERS * self._connections / together))):
            group.create_task(self._work(executor))

    async def work_alone(self, executor: Executor) -> None:
        """Process the jobs that may have crashed an earlier run; see `Executor.alone`."""
        context = self._context
        jobs = await context.ask(context.state.crashed_jobs, context.selection)
        jobs = jobs[: context.watch.jobs_left(len(jobs))]
        if not jobs:
            return
        context.progress.found += len(jobs)
        context.emit(JobsFound(jobs=len(jobs), resumed=True))
        waiting = iter([part for scene in by_scene(jobs) for part in parts_of(scene, ALONE_TOGETHER)])

        async def work(alone: Executor) -> None:
            for some in waiting:
                async with self._by_itself(some):
                    await self._answer(some, alone)

        async with executor.alone() as alone, asyncio.TaskGroup() as group:
            for _ in range(min(self._connections, len(jobs))):
                group.create_task(work(alone))

    async def _work(self, executor: Executor) -> None:
        queue = self._context.queue
        while True:
            jobs, shared = await queue.take_run()
            if not jobs:
                return
            TURN.set(next(self._turns))
            try:
                async with self._by_itself(jobs):
                    await self._answer(jobs, executor, shared=shared)
            finally:
                await queue.done(len(jobs))

    @contextlib.asynccontextmanager
    async def _by_itself(self, jobs: Sequence[Job]) -> AsyncIterator[None]:
        """Wait until no other batch is processing these jobs.

        If one item of each overpass counts, wait until no other batch is processing their overpasses. A search may
        find a newer edition of an item while the older one is being processed. The crops of the newer edition must
        be written last.
        """
        ids = {key for job in jobs for key in self._keys(job)}
        while before := next((self._begun[job] for job in ids if job in self._begun), None):
            await before.wait()
        ended = asyncio.Event()
        self._begun.update(dict.fromkeys(ids, ended))
        try:
            yield
        finally:
            for job in ids:
                del self._begun[job]
            ended.set()

    def _keys(self, job: Job) -> set[object]:
        """Return the keys of a job; jobs that share a key may not be processed at the same time."""
        return overpass_keys(job) if self._context.selection.one_per_overpass else {job.id}

    async def _answer(self, jobs: Sequence[Job], executor: Executor, *, shared: bool = False) -> None:
        """Process jobs until each has an outcome, a server is given up, or a limit is reached."""
        if self._context.selection.one_per_overpass:
            await self._answer_overpass(jobs, executor, shared=shared)
        else:
            await self._answer_scene(jobs, executor, self._tell, shared=shared)

    def _tell(self, outcome: Outcome) -> None:
        context = self._context
        context.progress.add(outcome)
        context.servers.add(outcome)
        context.emit(JobDone(outcome=outcome))

    async def _answer_overpass(self, jobs: Sequence[Job], executor: Executor, *, shared: bool) -> None:
        """Measure the jobs of one overpass, choose the jobs that count, and process these.

        If the files of a chosen job are missing, the next best job is chosen. The choice depends only on the
        state, so a run that is killed in between resumes where it stopped.
        """
        context = self._context
        shared = shared or not self._read.isdisjoint(context.rule.assets)  # the asset is read twice
        found = {job.id: job for job in jobs}
        answered: dict[int, Outcome] = {}

        def note(outcome: Outcome) -> None:
            job = outcome.job
            first = found.get(job.id, job)  # the job before it was measured
            if job.clear_pixels is not None:
                self._clear[job.id] = job.scene, job.clear_pixels
            answered[first.id] = replace(outcome, job=first)

        try:
            await self._answer_scenes(jobs, executor, note, shared=shared, measuring=True)
            await self._work_on_chosen(jobs, found, executor, note, shared=shared)
        except BaseException:
            with contextlib.suppress(S2AsyncError):  # the error that stopped the run is the one to raise
                await to_the_end(self._tell_answers(found, answered))
            raise
        await to_the_end(self._tell_answers(found, answered))

    async def _work_on_chosen(
        self,
        jobs: Sequence[Job],
        found: dict[int, Job],
        executor: Executor,
        note: Callable[[Outcome], None],
        *,
        shared: bool,
    ) -> None:
        """Process the chosen jobs of one overpass; jobs of earlier runs are added to ``found``."""
        context, state = self._context, self._context.state
        tried: set[int] = set()
        rules = context.rule, context.selection, context.values_rule
        while chosen := await context.ask(state.choose, jobs, *rules):
            chosen = [job for job in chosen if job.id not in tried]
            if not chosen or context.watch.over:
                break
            tried.update(job.id for job in chosen)
            more = {job.id: job for job in chosen if job.id not in found and job.id not in self._waiting}
            if more:  # jobs of earlier runs that are now chosen
                context.progress.found += len(more)
                context.emit(JobsFound(jobs=len(more), resumed=True))
                found |= more
            await self._answer_scenes([*map(self._with_clear_pixels, chosen)], executor, note, shared=shared)

    def _with_clear_pixels(self, job: Job) -> Job:
        """Return a job with what this run has read of its classification."""
        scene, clear = self._clear.get(job.id, (None, None))
        return replace(job, clear_pixels=clear) if scene == job.scene else job

    async def _tell_answers(self, jobs: Mapping[int, Job], answered: Mapping[int, Outcome]) -> None:
        """Report the jobs of an overpass that are decided by now, and remember the others."""
        known = self._waiting.beside({key for job in jobs.values() for key in overpass_keys(job)})
        known |= {row: Outcome(job=job, status=Status.DUPLICATE, measure=job.measure) for row, job in jobs.items()}
        known |= answered
        answers = await self._context.ask(self._context.state.answers, known)
        for number, (row, (status, reason, cause)) in enumerate(answers.items(), 1):
            if status == OPEN:
                # An answer of another job decides only about jobs that have been measured.
                if known[row].measure:
                    self._waiting.put(known[row])
            else:
                self._waiting.drop(row)
                self._clear.pop(row, None)
                if status == known[row].status:
                    self._tell(known[row])
                else:
                    self._tell(replace(known[row], status=Status(status), reason=reason, cause=cause, lacks=()))
            if number % TOLD_TOGETHER == 0:
                await asyncio.sleep(0)

    async def _answer_scenes(
        self,
        jobs: Sequence[Job],
        executor: Executor,
        tell: Callable[[Outcome], None],
        *,
        shared: bool,
        measuring: bool = False,
    ) -> None:
        """Process jobs of several scenes; see `_answer_scene`."""
        async with asyncio.TaskGroup() as group:
            for some in by_scene(jobs):
                group.create_task(self._answer_scene(some, executor, tell, shared=shared, measuring=measuring))

    async def _answer_scene(
        self,
        jobs: Sequence[Job],
        executor: Executor,
        tell: Callable[[Outcome], None],
        *,
        shared: bool = False,
        measuring: bool = False,
    ) -> None:
        """Process jobs of one scene until each has an outcome, a server is given up, or a limit is reached.

        Args:
            jobs: jobs of one scene.
            executor: processes the jobs.
            tell: called with each outcome that is recorded.
            shared: whether other batches have jobs of the scene.
            measuring: only measure; clear jobs get no outcome, but ``tell`` is called for them as well.
        """
        context = self._context
        while jobs and not context.watch.over:
            begin = partial(self._begun_batch, jobs, shared=shared, measuring=measuring)
            batch = await context.ask_about(len(jobs), begin)
            if batch is None:  # the jobs are queued again with a newer edition of their item
                context.progress.found -= len(jobs)
                return
            try:
                result = await executor.process(batch, partial(self._set_aside, tell))
            except worker.Stopped as stopped:
                with contextlib.suppress(S2AsyncError):  # the error that stopped the run is the one to raise
                    await to_the_end(self._record(stopped.result, tell))
                raise
            await to_the_end(self._record(result, tell))
            jobs = result.left
            if jobs and not await self._outage(result.parked, executor):
                return  # they stay open; this task continues with jobs that need another server

    def _begun_batch(self, jobs: Sequence[Job], *, shared: bool, measuring: bool) -> Batch | None:
        """In the state's thread: start a batch of jobs; return None if their edition was replaced."""
        state, scene = self._context.state, jobs[0].scene
        if not state.begin(jobs, self._context.selection):
            return None
        return Batch(
            scene=scene,
            jobs=tuple(jobs),
            files=state.known_files(scene),
            shared=shared,
            evidence=state.evidence(scene) if self._has_bands else None,
            measuring=measuring,
        )

    async def _record(self, result: BatchResult, tell: Callable[[Outcome], None]) -> None:
        """Record the result of a batch in slices, so that other batches do not wait long, and report it."""
        context = self._context
        for part in slices(result):
            traffic = context.progress.meter.drain()
            wanted = context.selection.values
            record = partial(context.state.record, part, traffic, context.rule.assets, wanted)
            try:
                await context.ask_about(len(part.outcomes) + len(part.left) + len(part.undecided), record)
            except BaseException:
                context.progress.meter.take_back((*part.traffic, *traffic))
                raise
            undecided = (Outcome(job=job, status=Status.DUPLICATE, measure=job.measure) for job in part.undecided)
            for number, outcome in enumerate((*part.outcomes, *undecided), 1):
                tell(outcome)
                if number % TOLD_TOGETHER == 0:
                    await asyncio.sleep(0)

    async def _set_aside(self, tell: Callable[[Outcome], None], jobs: Sequence[Job]) -> Collection[int]:
        """Record that a worker process with only these jobs was lost, and report the jobs that are set aside.

        With several jobs, it is unknown which of them ended the process: all are marked, and none is set aside.
        """
        context = self._context
        left = Left(jobs=frozenset(job.id for job in jobs), alone=len(jobs) == 1)
        if not await context.ask(context.state.mark_crashed, left):
            return ()
        answers = await context.ask(context.state.answers, left.jobs)
        aside = {job: reason for job, (status, reason, _) in answers.items() if status == Status.FAILED}
        for job in jobs:
            if job.id in aside:
                tell(Outcome(job=job, status=Status.FAILED, reason=aside[job.id], cause=Cause.CRASH))
        return aside

    async def _outage(self, origin: str, executor: Executor) -> bool:
        """Wait until a server that currently receives no requests may be used again.

        Returns:
            False if the server is given up, or if a limit of the run is reached first.
        """
        context = self._context
        if origin not in self._parked and not executor.is_given_up(origin):
            self._parked.add(origin)
            context.outages.note(origin)
        try:
            if await context.watch.comes_first(executor.reopened(origin)):
                return False
        except HostParked as error:
            if origin not in context.given_up:
                context.given_up[origin] = error
                context.tell(str(error))
            return False
        if not executor.is_parked(origin):
            self._parked.discard(origin)
        return True


def slices(result: BatchResult, size: int = RECORDED_TOGETHER) -> Iterator[BatchResult]:
    """Split a result into parts of this many jobs.

    The first part also has everything that does not concern single jobs. Jobs of one row of the state stay
    together, so that each row is written once.
    """
    outcomes = _parts(result.outcomes, lambda outcome: outcome.job.id, size)
    left, undecided = (_parts(jobs, lambda job: job.id, size) for jobs in (result.left, result.undecided))
    rest = itertools.zip_longest(outcomes, left, undecided, fillvalue=())
    for number, (some, open_, measured) in enumerate(rest):
        part = replace(result, outcomes=tuple(some), left=tuple(open_), undecided=tuple(measured))
        yield replace(part, files=(), traffic=()) if number else part
    if not (outcomes or left or undecided):
        yield result


def _parts(jobs: Sequence[T], number: Callable[[T], int], size: int) -> list[Sequence[T]]:
    """Split jobs, or objects that concern one job each, into parts of this size; jobs of one row stay together.

    Args:
        jobs: jobs (or objects) of one item.
        number: returns the number of a job.
        size: maximum size of a part; a larger row is a part of its own.
    """
    if len(jobs) <= size:
        return [jobs] if jobs else []
    parts: list[list[T]] = [[]]
    for _, row in itertools.groupby(sorted(jobs, key=number), lambda job: row_of(number(job))):
        some = [*row]
        if parts[-1] and len(parts[-1]) + len(some) > size:
            parts.append([])
        parts[-1] += some
    return [*parts]


def by_scene(jobs: Sequence[Job]) -> list[list[Job]]:
    """Group jobs by edition of a scene, in the order in which the scenes first occur."""
    scenes: dict[tuple[str, str, str], list[Job]] = {}
    for job in jobs:
        scenes.setdefault((job.scene.collection, job.scene.id, job.scene.version), []).append(job)
    return list(scenes.values())


def parts_of(jobs: Sequence[Job], most: int) -> list[list[Job]]:
    """Split jobs of one scene into parts of at most this many, keeping neighbours together."""
    found = [[jobs[index] for index in part] for part in batches([job.area for job in jobs])]
    return [part[start : start + most] for part in found for start in range(0, len(part), most)]
