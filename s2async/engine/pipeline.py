"""The run: searchers find jobs, a bounded queue holds a few of them, workers answer them, the driver records.

The only room with long-lived tasks and queues. One task group owns every task; their number is fixed, whatever
the number of areas. All state is written here, in the event loop's thread, in short transactions, and only
after the crops of an outcome have their final names.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from s2async import alarms, files, means
from s2async._version import __version__
from s2async.alarms import Alarm
from s2async.areas import loader as area_files
from s2async.catalog import search
from s2async.catalog.lacking import Lacking
from s2async.catalog.periods import TOLERANCE
from s2async.clouds import verdict
from s2async.cog import memory
from s2async.cog.memory import Budget
from s2async.cog.tile_cache import Shelf
from s2async.config.model import Config
from s2async.engine import event_log, worker
from s2async.engine.crash_marker import Left, Marks, take
from s2async.engine.endings import SCL
from s2async.engine.job_queue import JobQueue, scene_of
from s2async.engine.progress import Progress, Summary
from s2async.engine.writer_pool import PatientPool
from s2async.errors import ConfigError, HostParked, LocalError
from s2async.export import csv_table
from s2async.maintenance import guards, notes, owners, verify
from s2async.models import (
    LONGEST_BATCH,
    Area,
    Batch,
    Event,
    Job,
    JobDone,
    JobsFound,
    Notice,
    Scene,
    SearchDone,
    SearchReport,
    Status,
)
from s2async.net.client import Transport, open_client
from s2async.net.connections import check_certificates, check_proxies
from s2async.net.limiter import TURN
from s2async.output import folder_moves, strangers
from s2async.reasons import Again
from s2async.state.records import Counts
from s2async.state.writer import State

WORKERS = 1.5
"""Batches under way for each connection: while one is decoded or saved, another has its turn at the server."""
THREADS = os.cpu_count() or 2
"""Blocks that are decoded side by side."""
WRITERS = 4
"""Threads that put crops on disk, at most: a slow disk needs them, because it takes long to wait for, and hardly
longer to wait for many."""
STATE_PAGE = 500
"""Open jobs that are read from the state at once."""


async def run(
    config: Config,
    areas: Sequence[Area],
    *,
    limit: int | None = None,
    new_state: bool = False,
    progress: Progress | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Summary:
    """Search, check, crop, save; going on where an earlier run of the same state stopped.

    Args:
        config: settings.
        areas: as :func:`s2async.areas.loader.load` gives them.
        limit: most jobs to work on.
        new_state: start anew, although the former state is away.
        progress: filled while the run goes on.
        on_event: told of everything that happens.

    Raises:
        ConfigError: the state, its crops or the output folder are away, or others'; or the state holds the same
            items of another collection; or no scene can be of the period.
        StateInUse, StateError: the state cannot be used.
        LocalError: this machine stopped the run; it can be resumed.
        HostParked: a server gave no answer for as long as it is waited for, or asked for more patience than that.
            All else was done before, and ``progress.ended`` tells how that went; the run can be resumed.
        asyncio.CancelledError: the run was stopped; it can be resumed.
    """
    config.check_period(datetime.now(UTC))
    check(config, areas)
    progress, on_event = progress or Progress(), event_log.logged(on_event)

    def tell(text: str) -> None:
        on_event(Notice(text=text))

    for text in config.notices:
        tell(text)
    there = config.run.state.exists()
    if there and new_state:
        raise ConfigError(f"the state {config.run.state} is there: to start anew, move it and its crops away")
    if not there:
        guards.check_start(config, areas, tell, new_state=new_state)
    files.make_folder(config.run.state.parent, parents=True)
    with contextlib.ExitStack() as held:
        held.enter_context(means.told_short())
        wanted = _wanted(config)
        work = _fitted(config, wanted)
        if less := means.told(wanted, work):
            on_event(Notice(text=less))
        state = held.enter_context(State.create_or_open(config.run.state))
        _take_place(config, areas, state, new_state, tell)
        path = config.run.state.with_name(config.run.state.name + ".decoding")
        left = take(path)
        marks = held.enter_context(Marks(path, threads=work.threads, jobs=LONGEST_BATCH))
        progress.let_go = held.close
        return await _Run(config, areas, state, marks, work, limit, progress, on_event).run(left)


def check(config: Config, areas: Sequence[Area]) -> None:
    """Find out before anything is done whether proxies, certificates, names of folders and this machine will do.

    Raises:
        ConfigError: one of the first three cannot be used; the text says what to do.
        LocalError: this machine lets a program have too little.
    """
    check_proxies(config.allowed_origins())
    check_certificates(config.allowed_origins())
    files.check_names(area.folder for area in areas)
    _fitted(config, _wanted(config))


def _wanted(config: Config) -> means.Work:
    return means.Work(
        connections=config.network.connections, threads=THREADS, writers=WRITERS, memory=config.run.memory
    )


def _fitted(config: Config, wanted: means.Work) -> means.Work:
    """As much at once as this machine lets a program do."""
    written = worker.SAVED_TOGETHER * (1 + config.output.quicklook)
    return means.fit(wanted, means.look(), hosts=len(config.allowed_origins()), files_written=written)


def _take_place(
    config: Config, areas: Sequence[Area], state: State, new_state: bool, tell: Callable[[str], None]
) -> None:
    """Make the output folder ready and mark it, unless it or the state belongs to others.

    Raises:
        ConfigError: So it does; or the folder is not the one that the state's crops are in, or it is away.
        LocalError: It cannot be used.
    """
    folder = config.output.folder
    marked = owners.check(config, state)
    verify.check_place(state.crop_paths(), folder.resolve(), state.output())
    if not (marked or new_state or any(state.crop_paths())):
        notes.check(config)
    files.make_folder(folder, parents=True)
    files.check_writable(folder)
    files.check_space(folder, config.run.reserve)
    if marked:
        owners.put(folder, state.id, config.run.state, anew=True)  # it may have been moved
    else:
        guards.adopt(config, areas, state, tell)
    if former := owners.renamed(config, state):
        tell(f"the configuration {former} is gone: its state goes on with {config.file}")
    if (name := owners.configuration(config)) is not None:
        state.note_configuration(name)
    state.note_output(folder.resolve())
    notes.write(config, state.id)


class _Run:
    def __init__(
        self,
        config: Config,
        areas: Sequence[Area],
        state: State,
        marks: Marks,
        work: means.Work,
        limit: int | None,
        progress: Progress,
        on_event: Callable[[Event], None],
    ) -> None:
        self.config = config
        self.areas = areas
        self.state = state
        self.marks = marks
        self.work = work
        self.limit = limit
        self.progress = progress
        self.emit = on_event
        self.queue = JobQueue(config.run.queue)
        self.catalog = config.catalog()
        self.selection = config.selection()
        self.limits = config.limits()
        self.matcher = search.Matcher(areas)
        self.lacking = Lacking([SCL, *self.selection.assets])
        self.servers = alarms.Servers()
        self.parked: set[str] = set()
        self.given_up: dict[str, HostParked] = {}
        """Servers that are not waited for any more in this run: what needs them stays open."""
        self.items = 0
        self.noted: list[SearchReport] = []
        """Searches that are incomplete, or of which the catalogue counts more items than it gives."""
        self.estimates = state.estimates()
        self.batches = 0
        self.turns = itertools.count(1)
        """Batches that were begun, in their order."""
        self.replaced = strangers.Replaced()
        self.begun: dict[int, asyncio.Event] = {}
        """Jobs that are worked on, each with the end of its batch."""
        self.settings = worker.Settings(
            limits=self.limits,
            assets=self.selection.assets,
            mask=self.selection.mask,
            quicklook=config.output.quicklook,
            folder=config.output.folder,
            token=f"s2async-{state.id}",
            reserve=config.run.reserve,
            verify=config.run.verify,
            attribution=self.catalog.attribution,
        )

    async def run(self, left: Left) -> Summary:
        self._suspect(left)
        self._prepare()
        self.state.begin_run(self.config.model_dump_json(), __version__)
        event_log.log_begin(self.config, self.areas, self.limit)
        try:
            await self._work()
            self._settle()
            lacking = self._lacking_alarm()
            untold = "" if lacking else self.lacking.told
            for text in filter(None, (untold, search.estimates_told(self.noted))):
                self.emit(Notice(text=text))
            path = self._write_index()
        except BaseException as fault:
            with contextlib.suppress(LocalError):  # the first fault of a sick disk is the one to tell
                self._end("stopped", str(fault) or type(fault).__name__)
            raise
        self._end("finished")
        self.progress.ended = self._summary(path, lacking)
        for error in self.given_up.values():
            raise error
        return self.progress.ended

    def _end(self, how: str, reason: str = "") -> None:
        event_log.log_end(how, self.progress, reason)
        if self.replaced.summary:
            self.emit(Notice(text=self.replaced.summary))
        self.state.add_traffic(self.progress.meter.drain())
        self.state.end_run(how)

    def _suspect(self, left: Left) -> None:
        """Who was being decoded when the last run ended without a word runs alone, or not at all."""
        if left.jobs:
            self.emit(Notice(text=f"{len(left.jobs)} jobs were being decoded when a run died: they go first"))
            for area, item, reason in self.state.mark_crashed(left):
                self.emit(Notice(text=f"{area}  {item}  {reason}"))

    def _prepare(self) -> None:
        """Bring the state and the folders in line with the configuration of this run."""
        folder = self.config.output.folder
        if swept := files.sweep(folder, token=self.settings.token) + files.sweep(folder, token=files.PROBE):
            self.emit(Notice(text=f"removed {swept} half-written files of a run that was killed"))
        if left := area_files.removed_notice(self.state.area_names(), self.areas):
            self.emit(Notice(text=left))
        moves = self.state.sync_areas(self.areas)
        folder_moves.park(folder, moves)
        self.state.park_folders(moves)
        for path in folder_moves.place(folder, moves):
            self.replaced.add(path, strangers.OTHER)
        self.state.commit_folders(moves)
        if specks := area_files.specks_notice(self.areas):
            self.emit(Notice(text=specks))
        judged = self.state.update_statuses(lambda measured: verdict(measured, self.limits), self.selection)
        if judged:
            self.emit(Notice(text=f"judged {sum(judged.values())} measured jobs again by new settings"))
        if again := self.state.reopen_transient():
            self.emit(Notice(text=f"trying {again} failed jobs again"))
        if again := self.state.reopen_due(self.selection):
            self.emit(Notice(text=f"asking again for files of {again} jobs that were not there"))

    async def _work(self) -> None:
        work = self.work
        settings = replace(self.config.client_settings(), connections=work.connections)
        async with open_client(settings, self.progress.meter) as transport:
            with (
                ThreadPoolExecutor(work.threads, thread_name_prefix="s2async-decode") as pool,
                PatientPool(work.writers, name="s2async-write") as writers,
            ):
                budget = Budget(work.memory)
                shelf = Shelf(work.memory // 2, self.progress.meter)
                tools = worker.Tools(
                    transport=transport,
                    budget=budget,
                    pool=pool,
                    writers=writers,
                    shelf=shelf,
                    replaced=self.replaced,
                )
                try:
                    await self._work_alone(tools)
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._feed(transport))
                        for _ in range(round(WORKERS * work.connections)):
                            group.create_task(self._worker(tools))
                except BaseExceptionGroup as failures:
                    raise _first(failures) from None
                finally:
                    shelf.clear()

    async def _work_alone(self, tools: worker.Tools) -> None:
        """The suspects: each a batch of its own, and one thread for all, so that a crash tells whose it is."""
        jobs = self.state.crashed_jobs(self.selection)[: self.limit]
        if not jobs:
            return
        self.progress.found += len(jobs)
        self.emit(JobsFound(jobs=len(jobs), resumed=True))
        waiting = iter(jobs)

        async def work(alone: worker.Tools) -> None:
            for job in waiting:
                await self._answer([job], alone)

        self.marks.alone(True)
        with ThreadPoolExecutor(1, thread_name_prefix="s2async-alone") as pool:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.work.connections, len(jobs))):
                    group.create_task(work(replace(tools, pool=pool, writers=pool)))
        self.marks.alone(False)

    # ---- feeding the queue ----

    async def _feed(self, transport: Transport) -> None:
        """Jobs left open by earlier runs, and side by side with them whatever the searches find."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._resume())
                searches = iter(self._searches())
                for _ in range(search.SEARCHERS):
                    group.create_task(self._searcher(searches, transport))
        except* _LimitReachedError:
            pass
        finally:
            await self.queue.close()

    async def _resume(self) -> None:
        cursor, rest = None, list[Job]()
        while True:
            page, cursor = self.state.open_jobs(self.selection, cursor, STATE_PAGE)
            runs = [list(run) for _, run in itertools.groupby([*rest, *page], key=scene_of)]
            rest = runs.pop() if cursor else []  # its scene may go on in the next page
            for jobs in runs:
                await self._enqueue(jobs, resumed=True)
            if cursor is None:
                return

    def _searches(self) -> list[search.Search]:
        period, tomorrow = self.config.search.period, datetime.now(UTC) + TOLERANCE
        found = search.plan(self.areas, period.start, period.end, self.catalog, now=tomorrow)
        self.progress.searches = len(found)
        return found

    async def _searcher(self, searches: Iterator[search.Search], transport: Transport) -> None:
        for wanted in searches:
            report = await search.run_search(
                wanted,
                self.catalog,
                transport.json,
                max_scene_cloud=self.config.search.max_scene_cloud,
                newest_only=self.selection.newest_only,
                on_scene=self._add_scene,
                on_notice=lambda text: self.emit(Notice(text=text)),
                known=self.estimates.get(wanted.key),
            )
            self.items += report.items
            if not report.complete or report.estimate:
                self.noted.append(report)
            self.state.record_search(report)
            self.progress.searches_done += 1
            self.emit(SearchDone(report=report))

    async def _add_scene(self, scene: Scene) -> None:
        areas = self.matcher.areas_for(scene)
        self.lacking.add(scene)
        if self.lacking.scenes == alarms.ENOUGH and self.lacking.keys:
            self.emit(Notice(text=f"so far: {self.lacking.told}"))
        jobs = self.state.add_scene(scene, areas, self.selection)
        await self._enqueue(jobs, resumed=False)
        await asyncio.sleep(0)  # a page holds hundreds of scenes, and others wait for the loop

    async def _enqueue(self, jobs: Sequence[Job], *, resumed: bool) -> None:
        if self.limit is not None:
            jobs = jobs[: self.limit - self.progress.found]
        if jobs:
            self.progress.found += len(jobs)
            self.emit(JobsFound(jobs=len(jobs), resumed=resumed))
            await self.queue.put_run(jobs)
        if self.limit is not None and self.progress.found >= self.limit:
            await self.queue.settle()  # others, whom this ends, may still wait for room
            raise _LimitReachedError

    # ---- working ----

    async def _worker(self, tools: worker.Tools) -> None:
        while True:
            jobs, shared = await self.queue.take_run(LONGEST_BATCH)
            if not jobs:
                return
            TURN.set(next(self.turns))
            async with self._by_itself(jobs):
                await self._answer(jobs, tools, shared=shared)

    @contextlib.asynccontextmanager
    async def _by_itself(self, jobs: Sequence[Job]) -> AsyncIterator[None]:
        """Wait for a batch with some of these jobs: an old edition's crops must not come after the new one's."""
        ids = [job.id for job in jobs]
        while before := next((self.begun[job] for job in ids if job in self.begun), None):
            await before.wait()
        ended = asyncio.Event()
        self.begun.update(dict.fromkeys(ids, ended))
        try:
            yield
        finally:
            for job in ids:
                del self.begun[job]
            ended.set()

    async def _answer(self, jobs: Sequence[Job], tools: worker.Tools, *, shared: bool = False) -> None:
        while jobs:
            if not self.state.begin(jobs, self.selection):  # queued once more with the new edition of their item
                self.progress.found -= len(jobs)
                return
            scene = jobs[0].scene
            batch = Batch(scene=scene, jobs=tuple(jobs), files=self.state.known_files(scene), shared=shared)
            marked = replace(tools, pool=self.marks.during(tools.pool, [job.id for job in jobs]))
            try:
                result = await worker.process(batch, self.settings, marked)
            except MemoryError as error:
                raise LocalError("out of memory; lower memory in [run], or connections in [network]") from error
            self.state.record(result, self.progress.meter.drain())
            self.batches += 1
            if self.batches % memory.EVERY == 0:
                tools.writers.submit(memory.give_back)
            for outcome in result.outcomes:
                self.progress.add(outcome)
                self.servers.add(outcome)
                self.emit(JobDone(outcome=outcome))
            jobs = result.left
            if jobs and not await self._outage(result.parked, tools.transport):
                return  # they stay open; the worker goes on with those that need another server

    async def _outage(self, origin: str, transport: Transport) -> bool:
        """Wait until a server that is left alone may be asked again; False when it is given up."""
        if origin not in self.parked and not transport.is_given_up(origin):
            self.parked.add(origin)
            self.emit(Notice(text=f"{origin} only fails: it is left alone for a while, and its jobs wait"))
        try:
            await transport.reopened(origin)
        except HostParked as error:
            if origin not in self.given_up:
                self.given_up[origin] = error
                self.emit(Notice(text=str(error)))
            return False
        if not transport.is_parked(origin):
            self.parked.discard(origin)
        return True

    # ---- ending ----

    def _settle(self) -> None:
        """Hold for missing what was denied often enough."""
        if settled := self.state.settle_denied(self.servers.served, self.selection):
            asset, reason = settled[0]
            told = f"{len(settled):,} crops are not asked for any more, such as {asset}: {reason}"
            self.emit(Notice(text=told))

    def _lacking_alarm(self) -> Alarm | None:
        """That no scene of all the searches, nor of earlier ones, offers an asset that is wanted."""
        complete = all(report.complete for report in self.noted)
        known = complete and self.progress.searches_done == self.progress.searches
        if not (known and self.lacking.keys) or any(map(self.state.has_asset, self.lacking.keys)):
            return None
        place = self.lacking.place
        text = f"{self.config.place(*place)}: {place[1]}: {self.lacking.told}; {self.lacking.advice}"
        return Alarm(text=text, settings=True)

    def _alarms(self, lacking: Alarm | None, counts: Counts) -> tuple[Alarm, ...]:
        """That all was in vain, said once: of keys and of servers rather than of all jobs."""
        found = (*([lacking] if lacking else []), *self.servers.alarms(self._again))
        whole = None if found else self.state.alarm(counts, self.selection)
        return (whole,) if whole else found

    def _again(self, host: str) -> Again:
        """When the files of a server are asked for again that it did not give in this run."""
        return self.state.again(self.selection, host=host)

    def _write_index(self) -> Path:
        rows = self.state.saved_rows(self.selection)
        return csv_table.write_csv(rows, self.config.output.folder, classes=self.limits.classes)

    def _summary(self, path: Path, lacking: Alarm | None) -> Summary:
        counts = self.state.counts(self.selection)
        meter = self.progress.meter
        incomplete = tuple(report for report in self.noted if not report.complete)
        cut_short = self.progress.searches_done < self.progress.searches
        known = not (incomplete or cut_short or counts.open)
        return Summary(
            done=dict(self.progress.done),
            causes=dict(self.progress.causes),
            without=dict(self.progress.without),
            failed=counts.total.get(Status.FAILED, 0),
            left=counts.open,
            cut_short=cut_short,
            found_nothing=not self.items and not sum(counts.total.values()),
            sceneless=tuple(area.name for area in counts.areas if not area.by_status),
            incomplete=incomplete,
            unheld=self.state.unheld(self.limits) if known else (),
            alarms=self._alarms(lacking, counts),
            index=path,
            seconds=self.progress.seconds,
            requests=meter.requests,
            bytes=meter.bytes,
        )


class _LimitReachedError(Exception):
    """As many jobs as wanted are in the queue."""


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first fault inside groups of groups: the others are its cancelled siblings or say the same."""
    fault: BaseException = failures
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault
