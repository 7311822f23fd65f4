"""Which item of each overpass counts for an area, by what the state knows of all of them.

The choice itself is made by `clouds.overpass`. It rests on facts alone, not on the order in which they came, so it
can be made again at any time: for the jobs of a batch, and for all jobs when settings have changed.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from s2async import reasons
from s2async.catalog.overpasses import overpasses, zone_number
from s2async.catalog.reprocessing import LONGEST_DATATAKE
from s2async.clouds.overpass import DELAYS, Standing, View, choose
from s2async.clouds.rule import CloudRule
from s2async.models import CloudMeasure, Job, Selection, Status
from s2async.reasons import is_due
from s2async.state import packed
from s2async.state import writer_sql as sql
from s2async.state.database import Connection
from s2async.state.jobs import Answer, answer, reopen
from s2async.state.packed import QUEUED, measure_at
from s2async.state.records import OPEN
from s2async.state.serialization import from_microseconds, selection_values, to_microseconds

_LONGEST: Final = LONGEST_DATATAKE // timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sighting:
    """A job, and what tells its overpass."""

    view: View
    collection: str
    platform: str
    datatake: str
    datetime: datetime


def choose_for(db: Connection, jobs: Collection[Job], rule: CloudRule, selection: Selection) -> list[int]:
    """Choose for the overpasses of some jobs, and give the jobs the statuses that follow.

    Args:
        db: the open transaction.
        jobs: jobs of one overpass.
        rule: judges measurements.
        selection: which crops count.

    Returns:
        The jobs that are to be cut before the choice can be made again.
    """
    times = [to_microseconds(job.scene.datetime) for job in jobs]
    ours = {job.id for job in jobs}
    areas = json.dumps(sorted({packed.area_of(job) for job in ours}))
    which = {"since": min(times) - _LONGEST, "until": max(times) + _LONGEST, "areas": areas}
    rows = db.execute(sql.VIEWS_OF_TIME, selection_values(selection) | which)
    found: list[int] = []
    for group in _groups(rows, rule, selection, is_running=True):
        if any(one.view.job in ours for one in group):
            found += _apply(db, group, rule)[0]
    return found


def choose_for_all(db: Connection, rule: CloudRule, selection: Selection) -> int:
    """Choose for all overpasses of active areas; returns the number of jobs that got another status.

    A job that would have to be cut is opened; the run that follows works on it.

    Args:
        db: the open transaction.
        rule: judges measurements.
        selection: which crops count.
    """
    changed = 0
    kind = selection_values(selection)
    for (area,) in db.execute(sql.ACTIVE_AREAS).fetchall():
        rows = db.execute(sql.VIEWS_OF_AREA, kind | {"area": area})
        for group in _groups(rows, rule, selection, is_running=False):
            cut, statuses = _apply(db, group, rule)
            old = {one.view.job: one.view.status for one in group}
            opened = [job for job in cut if old[job] == Status.DUPLICATE]
            reopen(db, opened)
            changed += statuses + len(opened)
    return changed


def _apply(db: Connection, group: Sequence[_Sighting], rule: CloudRule) -> tuple[list[int], int]:
    """Choose for one area in one overpass; returns the job to be cut, if any, and how many got another status."""
    choice = choose([one.view for one in group], rule.spoilt)
    answer(db, [Answer(job, status) for job, status in choice.statuses])
    return [one.view.job for one in group if one.view.job == choice.cut], len(choice.statuses)


def _groups(
    rows: Iterable[Sequence[Any]], rule: CloudRule, selection: Selection, *, is_running: bool
) -> Iterator[list[_Sighting]]:
    """The jobs of each area by overpass; those of one job alone, too: its status may follow from its facts."""
    by_area: Mapping[int, list[_Sighting]] = defaultdict(list)
    for row in rows:
        one = _sighting(row, rule, selection, is_running=is_running)
        by_area[packed.area_of(one.view.job)].append(one)
    for sightings in by_area.values():
        yield from overpasses(sightings)


def _sighting(columns: Sequence[Any], rule: CloudRule, selection: Selection, *, is_running: bool) -> _Sighting:
    """A row of `writer_sql.VIEWS_OF_TIME`; an item that a run has queued is expected to be measured."""
    job, _, _, status, attempts, transient, code, zone, *columns = columns
    collection, name, sensed, datatake, platform, grid, epsg, slot, cells, saved, lacks, better = columns
    measure = measure_at(cells, slot, rule.name)
    now = int(time.time())
    missing = [asset for asset, due, tried in json.loads(lacks) if status != OPEN or not is_due(due, tried, now)]
    is_expected = (
        (not is_running or code == QUEUED)
        if status == OPEN
        else status == Status.FAILED and _is_delay(transient, attempts)
    )
    standing = (
        _measured(measure, status, rule, selection, json.loads(saved), missing, is_expected=is_expected)
        if measure
        else Standing.EXPECTED
        if is_expected
        else Standing.OUT
    )
    view = View(
        job=job,
        status=status,
        standing=standing,
        measure=measure,
        is_home=zone is not None and zone_number(grid, epsg) == zone,
        item=f"{name} {collection}",
        better=frozenset(json.loads(better)) if selection.newest_only else frozenset(),
    )
    return _Sighting(
        view=view,
        collection=collection,
        platform=platform,
        datatake=datatake,
        datetime=from_microseconds(sensed),
    )


def _is_delay(transient: int, attempts: int) -> bool:
    """Whether a job that has failed is worth waiting for."""
    return bool(transient) and attempts <= DELAYS


def _measured(
    measure: CloudMeasure,
    status: str,
    rule: CloudRule,
    selection: Selection,
    saved: Collection[str],
    lacks: Collection[str],
    *,
    is_expected: bool,
) -> Standing:
    """The standing of a job that was measured."""
    if verdict := rule.verdict(measure):
        return Standing.CLOUDY if verdict is Status.CLOUDY else Standing.OUT
    has_crop = not selection.assets or any(asset in saved for asset in selection.assets)
    if reasons.covers(selection.assets, saved, lacks):
        return Standing.SAVED if has_crop else Standing.OUT
    if status == Status.FAILED:
        return Standing.SAVED if has_crop else Standing.DELAYED if is_expected else Standing.OUT
    return Standing.OUT if status == Status.MISSING else Standing.CLEAR
