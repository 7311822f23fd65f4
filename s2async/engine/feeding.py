"""Fills the queue with jobs that earlier runs left open and, at the same time, with jobs that searches find."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from s2async import alarms, means
from s2async.catalog import search
from s2async.catalog.overpasses import Together
from s2async.catalog.pages import Asker, Fetch
from s2async.catalog.periods import TOLERANCE
from s2async.catalog.planning import is_near_180
from s2async.cog import memory
from s2async.engine import ordering
from s2async.engine.context import Context
from s2async.engine.job_queue import by_area
from s2async.engine.time_left import Coverage
from s2async.events import JobsFound, Notice, SearchDone
from s2async.models import Job, Scene
from s2async.net.client import Transport
from s2async.scene_jobs import SceneJobs

STATE_PAGE: Final = 500
"""Number of open jobs that are read from the state at a time."""


class Feeder:
    """Fills the queue of a run until it has received every job or a limit is reached.

    Args:
        context: the context of the run.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._planning: asyncio.Future[list[search.Search]]
        self._matcher: search.Matcher
        self._estimates = context.state.estimates()
        self._order = context.config.search.order
        self._late: set[tuple[str, str]] = set()
        """Scenes whose open jobs are postponed until the searches end; see `_is_turn`."""
        self._late_jobs = 0
        self._adding = asyncio.Lock()
        """Held while the jobs of scenes are made, so that jobs of 100,000 areas wait for room one scene at a
        time."""

    def begin(self) -> None:
        """Start to plan the searches in a thread, while the state is prepared for the first search."""
        search.expect_load()
        self._planning = asyncio.get_running_loop().run_in_executor(None, self._plan)

    async def feed(self, transport: Transport) -> None:
        """Put all jobs into the queue, and close it. `begin` must be called first."""
        context = self._context
        try:
            if context.watch.over:
                return
            async with asyncio.TaskGroup() as watched:
                limit = watched.create_task(self._stop_at_limit())
                # The inner group ends with the last feeder, so the watch does not keep the outer group waiting.
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._resume())
                    group.create_task(self._search(Asker(transport.json, context.tell)))
                if self._late:
                    await self._resume(late=True)
                limit.cancel()
        except* _LimitReachedError:
            pass
        finally:
            await asyncio.wait([self._planning])  # the summary says whether searches are left
            await context.queue.close()

    async def _stop_at_limit(self) -> None:
        """Cancel the feeders when no more batches may start: they may be waiting for a server or for room."""
        await self._context.watch.wait()
        raise _LimitReachedError

    async def _resume(self, *, late: bool = False) -> None:
        self._late_jobs = 0
        if not self._context.selection.one_per_overpass:
            async for jobs in self._open_scenes():
                if self._is_turn(jobs, late=late):
                    await self._enqueue(jobs, resumed=True)
            return
        oldest_first = self._order == "oldest"
        together = Together[Scene](descending=not oldest_first, ascending=oldest_first)
        held: dict[tuple[str, str], list[Job]] = {}
        async for jobs in self._open_scenes():
            scene = jobs[0].scene
            for overpass in together.add(scene):
                of_overpass = [job for one in overpass for job in held.pop(_key(one))]
                if self._is_turn(of_overpass, late=late):
                    await self._enqueue(of_overpass, resumed=True)
            held[_key(scene)] = jobs
        for overpass in together.rest():
            of_overpass = [job for one in overpass for job in held.pop(_key(one))]
            if self._is_turn(of_overpass, late=late):
                await self._enqueue(of_overpass, resumed=True)

    def _is_turn(self, jobs: Sequence[Job], *, late: bool) -> bool:
        """Return whether open jobs enter the queue now: before the searches end, or afterwards if ``late`` is set.

        An item may lack a requested file that the catalogue offers by now, especially an item that was rebuilt
        from the tags of crops. A job that started before a search returned this item again would do without the
        file.
        """
        scenes = {_key(job.scene): job.scene for job in jobs}
        if late:
            return not self._late.isdisjoint(scenes)
        selection = self._context.selection
        bands = selection.values.bands if selection.values else ()
        wanted = {*selection.measured, *selection.assets, *bands}
        if all(wanted <= scene.assets.keys() for scene in scenes.values()):
            return True
        self._late |= scenes.keys()
        self._late_jobs += len(jobs)
        return False

    async def _open_scenes(self) -> AsyncIterator[list[Job]]:
        """Yield the jobs that earlier runs left open, scene by scene."""
        context = self._context
        cursor, rest = None, list[Job]()
        while True:
            first = cursor is None
            page, cursor = await context.ask(
                context.state.open_jobs, context.selection, cursor, STATE_PAGE, order=self._order
            )
            of_items = itertools.groupby([*rest, *page], key=lambda job: _key(job.scene))
            runs = [list(run) for _, run in of_items]
            rest = runs.pop() if cursor else []  # the next page may begin with more jobs of this scene
            for jobs in runs:
                yield _of_one_scene(jobs)
            if cursor is None:
                context.progress.outlook.ahead = self._late_jobs
                return
            if first:  # the workers already have something to do
                found = (await context.ask(context.state.counts, context.selection)).open
                context.progress.outlook.ahead = max(0, found - context.progress.open)

    def _plan(self) -> list[search.Search]:
        """Plan the searches. This takes a second for 100,000 areas; open jobs do not wait for it."""
        with means.loading():
            search.load()
        context = self._context
        period, tomorrow = context.config.search.period, datetime.now(UTC) + TOLERANCE
        found = search.plan(context.areas, period.start, period.end, context.catalog, now=tomorrow)
        context.progress.searches = len(found)
        context.progress.outlook.coverage = Coverage(
            {one.key: ((min(one.end, tomorrow) - one.start).days + 1, len(one.areas)) for one in found}
        )
        self._matcher = search.Matcher(context.areas)
        memory.give_back()  # the parts of 100,000 polygons are no longer used
        return found

    async def _search(self, fetch: Fetch) -> None:
        for together in ordering.rounds(await asyncio.shield(self._planning), self._order):
            waiting = iter(together)
            async with asyncio.TaskGroup() as group:
                for _ in range(search.SEARCHERS):
                    group.create_task(self._searcher(waiting, fetch))
        del self._matcher  # with 100,000 areas, it takes 7 MB

    async def _searcher(self, searches: Iterator[search.Search], fetch: Fetch) -> None:
        context = self._context
        one = context.selection.one_per_overpass
        for wanted in searches:
            arranged = ordering.Arranged(self._order, descending=context.catalog.descending, by_overpass=one)

            async def pass_on(found: Sequence[Sequence[Scene]], wanted: search.Search = wanted) -> None:
                for scenes in found:
                    await self._add_scenes(scenes, wanted.areas if one else None)
                    self._note_reached(wanted, scenes[0].datetime)

            async def add(
                scene: Scene,
                arranged: ordering.Arranged = arranged,
                pass_on: Callable[[Sequence[Sequence[Scene]]], Awaitable[None]] = pass_on,
            ) -> None:
                await pass_on(arranged.add(scene))

            report = await search.run_search(
                wanted,
                context.catalog,
                fetch,
                max_scene_cloud=context.config.search.max_scene_cloud,
                newest_only=context.selection.newest_only,
                measured=context.selection.measured,
                on_scene=add,
                on_notice=context.tell,
                known=self._estimates.get(wanted.key),
            )
            await pass_on(arranged.rest())
            context.progress.outlook.coverage.reach(wanted.key, 1.0)
            context.items += report.items
            if not report.complete or report.estimate:
                context.noted.append(report)
            await context.ask_about(1, context.state.record_search, report)
            context.progress.searches_done += 1
            context.progress.searches_incomplete += not report.complete
            context.emit(SearchDone(report=report))

    def _note_reached(self, wanted: search.Search, when: datetime) -> None:
        """Record how far a search has advanced, from the time of a scene, if its scenes arrive in order."""
        start, end = wanted.start, min(wanted.end, datetime.now(UTC) + TOLERANCE)
        if self._order == "oldest":
            part = (when - start) / (end - start)
        elif self._order == "newest" or self._context.catalog.descending:
            part = (end - when) / (end - start)
        else:
            return
        self._context.progress.outlook.coverage.reach(wanted.key, min(part, 0.99))

    async def _add_scenes(self, scenes: Sequence[Scene], only: Collection[str] | None = None) -> None:
        """Put the jobs of some scenes into the queue together.

        Args:
            scenes: one scene, or the scenes of an overpass.
            only: fingerprints of the areas that this search is for; the overpass is complete only for these. None
                for all areas. Ignored for scenes near 180 degrees, because the search of an area on the other side
                may not return them.
        """
        context, found = self._context, list[Sequence[Job]]()
        async with self._adding:
            if len(context.areas) > context.queue.capacity:
                await context.queue.room()
            for scene in scenes:
                context.lacking.add(scene)
                if context.lacking.scenes == alarms.ENOUGH and context.lacking.keys:
                    context.emit(Notice(text=f"so far: {context.lacking.told}"))
                found.append(await context.ask_about(len(context.areas), self._jobs_of, scene, only))
            jobs = found[0] if len(found) == 1 else [job for of_scene in found for job in of_scene]
            await self._enqueue(jobs, resumed=False)
        await asyncio.sleep(0)  # a page contains hundreds of scenes, so other tasks get a turn in between

    def _jobs_of(self, scene: Scene, only: Collection[str] | None) -> SceneJobs:
        """Record a scene and return its new jobs. Runs in the state's thread, as there may be 100,000 areas."""
        areas = self._matcher.areas_for(scene)
        self._context.found.add(scene, needed=bool(areas))
        if only is not None and not is_near_180(scene):
            areas = [area for area in areas if area.fingerprint in only]
        return self._context.state.add_scene(scene, areas, self._context.selection)

    async def _enqueue(self, jobs: Sequence[Job], *, resumed: bool) -> None:
        context = self._context
        if context.watch.over:
            raise _LimitReachedError
        if context.selection.one_per_overpass:  # a limit cuts off whole areas
            jobs = [job for of_area in by_area(jobs) for job in of_area]
        jobs = jobs[: context.watch.jobs_left(len(jobs))]
        if jobs:
            context.progress.enter(jobs, resumed=resumed)
            context.emit(JobsFound(jobs=len(jobs), resumed=resumed))
            await context.queue.put_run(jobs)
        if context.watch.are_jobs_enough():
            await context.queue.settle()  # raising cancels the other feeders, which may still be waiting for room
            raise _LimitReachedError


def _key(scene: Scene) -> tuple[str, str]:
    return scene.collection, scene.id


def _of_one_scene(jobs: Sequence[Job]) -> list[Job]:
    """Give all jobs of an item the scene that was read last: a search may update an item between two pages."""
    scene = jobs[-1].scene
    return [job if job.scene is scene else replace(job, scene=scene) for job in jobs]


class _LimitReachedError(Exception):
    """A limit of the run is reached, so nothing more enters the queue."""
