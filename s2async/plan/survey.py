"""Runs the searches of a plan like a run, and reads the state; writes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from s2async.areas import loader as area_files
from s2async.catalog import search
from s2async.catalog.lacking import Lacking
from s2async.catalog.pages import Asker, Fetch
from s2async.catalog.periods import TOLERANCE
from s2async.catalog.yields import Yield
from s2async.clouds.rule import CloudRule
from s2async.config.model import Config
from s2async.errors import RemoteError
from s2async.events import Event, Notice, SearchDone, SearchReport
from s2async.maintenance.guards import opened
from s2async.models import Area, Scene, Status
from s2async.net.client import Meter, open_client
from s2async.net.outages import Outages
from s2async.plan.costs import Experience, chance_of_values
from s2async.plan.forecast import Known, Plan, Planner
from s2async.reasons import covers
from s2async.state.reader import Ledger
from s2async.state.records import KnownJob
from s2async.zonal.wanted import VALUES

PATIENCE: Final = 15.0
"""Seconds to wait for a catalogue that does not respond: a user waits for the plan."""
REMEMBERED = 20_000
"""Number of newest measurements that are used to estimate how often areas are clear."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surveyed:
    """A plan, and the data that it is based on."""

    plan: Plan
    searches: tuple[SearchReport, ...]
    experience: int
    """Number of measured scenes behind the estimate of saved crops; 0 if only cloud covers of scenes are used."""
    requests: int
    """Requests of the survey itself; likewise `bytes`."""
    bytes: int
    found: Yield = field(default_factory=Yield)
    """How many of the scenes found are needed."""

    @property
    def incomplete(self) -> tuple[SearchReport, ...]:
        """Searches that did not end normally; the scenes that they missed are not in the plan."""
        return tuple(report for report in self.searches if not report.complete)

    @property
    def offline(self) -> bool:
        """Whether no server answered any request."""
        return bool(self.searches) and not self.requests

    @property
    def empty(self) -> bool:
        """Whether no scene is known, because no search could be completed: the numbers are meaningless."""
        return bool(self.incomplete) and len(self.incomplete) == len(self.searches) and not self.plan.scenes


async def survey(
    config: Config,
    areas: Sequence[Area],
    *,
    connections: int,
    bandwidth: float,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Surveyed:
    """Search, and estimate what a run would cost. No asset is opened, and nothing is written.

    Args:
        config: settings of the job.
        areas: areas as :func:`s2async.areas.loader.load` returns them.
        connections: concurrent requests, assumed for the time estimate.
        bandwidth: bytes per second, assumed for the time estimate.
        on_event: called for each search that ends, and for each notice to the user.

    Raises:
        ConfigError: the period starts in the future or ends before Sentinel-2's launch, or the state or the output
            folder belongs to another configuration.
        StateError: the state exists but cannot be read.
    """
    config.check_period(datetime.now(UTC))
    with ExitStack() as held:
        ledger = held.enter_context(opened(config)) if config.run.state.exists() else None
        return await _Survey(config, areas, ledger, on_event).run(connections, bandwidth)


@dataclass
class _Survey:
    config: Config
    areas: Sequence[Area]
    ledger: Ledger | None
    emit: Callable[[Event], None]
    meter: Meter = field(default_factory=Meter)
    reports: list[SearchReport] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    """Scenes by collection and item, because overlapping searches find some scenes twice."""
    found: Yield = field(default_factory=Yield)

    def __post_init__(self) -> None:
        self.catalog = self.config.catalog()
        self.rule = self.config.cloud_rule()
        self.values_rule = self.config.values_rule()
        self.selection = self.config.selection()
        self.matcher = search.Matcher(self.areas)
        values = self.selection.values
        self.lacking = Lacking(
            self.selection.assets, measured=self.rule.assets, valued=values.bands if values else ()
        )
        self.estimates = self.ledger.estimates() if self.ledger else {}
        self.experience = self._experience(self.rule, Experience())
        self.planner = Planner(
            self.areas,
            assets=self.selection.assets,
            measured=self.selection.measured,
            mask=self.selection.mask,
            quicklook=self.config.output.quicklook,
            min_valid=self.config.clouds.min_area_valid,
            experience=self.experience,
            one_per_overpass=self.selection.one_per_overpass,
            values=self.selection.values,
            value_experience=self._value_experience(),
        )

    async def run(self, connections: int, bandwidth: float) -> Surveyed:
        began = time.monotonic()
        period, tomorrow = self.config.search.period, datetime.now(UTC) + TOLERANCE
        searches = iter(search.plan(self.areas, period.start, period.end, self.catalog, now=tomorrow))
        settings = self.config.client_settings()
        settings = replace(settings, patience=min(settings.patience, PATIENCE))
        async with open_client(settings, self.meter) as transport:
            fetch = Asker(transport.json, self._tell)
            outages = Outages(settings.patience, self._tell)
            try:
                async with outages.watching(transport), asyncio.TaskGroup() as group:
                    for _ in range(search.SEARCHERS):
                        group.create_task(self._searcher(searches, fetch))
            except* RemoteError as failures:
                raise failures.exceptions[0] from None
        told_of = (
            self.lacking.told,
            area_files.specks_notice(self.areas),
            search.estimates_told(self.reports),
            self.found.told,
        )
        for text in filter(None, told_of):
            self.emit(Notice(text=text))
        plan = self.planner.plan(
            searches=self.meter.requests,
            searched=self.meter.bytes,
            connections=connections,
            bandwidth=bandwidth,
            search_seconds=time.monotonic() - began,
        )
        return Surveyed(
            plan=plan,
            searches=tuple(self.reports),
            experience=self.experience.scenes,
            requests=self.meter.requests,
            bytes=self.meter.bytes,
            found=self.found,
        )

    async def _searcher(self, searches: Iterator[search.Search], fetch: Fetch) -> None:
        for wanted in searches:
            report = await search.run_search(
                wanted,
                self.catalog,
                fetch,
                max_scene_cloud=self.config.search.max_scene_cloud,
                newest_only=self.selection.newest_only,
                measured=self.selection.measured,
                on_scene=self._add,
                on_notice=self._tell,
                known=self.estimates.get(wanted.key),
            )
            self.reports.append(report)
            self.emit(SearchDone(report=report))

    def _tell(self, text: str) -> None:
        self.emit(Notice(text=text))

    async def _add(self, scene: Scene) -> None:
        areas = self.matcher.areas_for(scene)
        self.found.add(scene, needed=bool(areas))
        await asyncio.sleep(0)  # a page contains hundreds of scenes: let other tasks run in between
        if (scene.collection, scene.id) in self.seen:
            return
        self.seen.add((scene.collection, scene.id))
        self.lacking.add(scene)
        self.planner.add(scene, areas, self._known(scene) if self.ledger else {})

    def _known(self, scene: Scene) -> dict[str, Known]:
        """Look up what the state knows about a scene's jobs."""
        assert self.ledger is not None  # noqa: S101 - only called with a state
        return {job.fingerprint: self._judged(job, scene) for job in self.ledger.known_jobs(scene, self.selection)}

    def _judged(self, job: KnownJob, scene: Scene) -> Known:
        """Judge a job by the current settings, as the next run will."""
        wanted, have = self.selection.assets, job.saved | job.lacks
        done = covers(wanted, job.saved, job.lacks)
        if job.given_up or (job.status == Status.DUPLICATE and self.selection.one_per_overpass):
            return Known(answered=True, clear=False)
        if job.measure is None:
            unseen = any(key in job.lacks for key in self.rule.assets) or (bool(wanted) and done)
            return Known(answered=job.status == Status.OUTSIDE or unseen, clear=False)
        clear = self.rule.verdict(job.measure) is None
        bands = self._bands(job, scene)
        return Known(answered=(not clear or done) and not bands, clear=clear, saved=have, bands=bands)

    def _bands(self, job: KnownJob, scene: Scene) -> frozenset[str]:
        """Return the bands that a run will read for missing values of a measured job."""
        values = self.selection.values
        if values is None or self.values_rule is None or job.measure is None:
            return frozenset()
        if self.values_rule.verdict(job.measure) is not None or not job.lacks.isdisjoint(
            (*self.rule.assets, VALUES)
        ):
            return frozenset()
        lacking = [one for one in values.variables if values.key(one) not in job.valued]
        there = scene.assets.keys() - job.lacks
        return frozenset(band for one in lacking if there >= {*one.bands} for band in one.bands)

    def _value_experience(self) -> Experience | None:
        if self.values_rule is None or self.config.values is None:
            return None
        chance = partial(chance_of_values, most=self.config.values.max_area_cloud)
        return self._experience(self.values_rule, Experience(chance))

    def _experience(self, rule: CloudRule, experience: Experience) -> Experience:
        if self.ledger is not None:
            for scene, cloud, measure in self.ledger.newest_measures(rule.name, REMEMBERED):
                judged = rule.verdict(measure)
                if judged != Status.NODATA:  # missing data is estimated from the footprints
                    experience.add(scene, cloud, clear=judged is None)
        return experience
